//! Choosing steps of a flow.

use super::{FlowStep, graph};
use crate::error::{Error, Result};

/// Which steps to run; by default all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The step to begin with, and all that need it.
    pub from: Option<String>,
    /// The step to end with, and all that it needs.
    pub until: Option<String>,
    /// The only steps to run.
    pub only: Vec<String>,
}

impl Selection {
    /// Whether nothing was chosen, so that every step runs.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.from.is_none() && self.until.is_none() && self.only.is_empty()
    }

    /// For each step, whether it runs: `from` means the step and all that need it, `until` the step and all that it needs,
    /// both the steps that lie between.
    ///
    /// # Errors
    /// When a name fits no step or several, or the first step does not lead to the last.
    pub fn apply(&self, steps: &[FlowStep]) -> Result<Vec<bool>> {
        let graph = graph(steps)?;
        let named = |name: &Option<String>| name.as_deref().map(|name| find(name, steps)).transpose();
        let (first, last) = (named(&self.from)?, named(&self.until)?);
        if let (Some(first), Some(last)) = (first, last) {
            let (from, until) = (&steps[first].name, &steps[last].name);
            if graph.comes_before(last, first) {
                return Err(Error::yours(format!("{from} comes after {until}"))
                    .help("give the earlier step to --from and the later one to --until"));
            }
            if first != last && !graph.comes_before(first, last) {
                return Err(Error::yours(format!("{until} does not need {from}"))
                    .help("name the steps to run with --only, which may be given several times"));
            }
        }
        let only = self
            .only
            .iter()
            .map(|name| find(name, steps))
            .collect::<Result<Vec<_>>>()?;
        Ok((0..steps.len())
            .map(|step| {
                first.is_none_or(|first| step == first || graph.comes_before(first, step))
                    && last.is_none_or(|last| step == last || graph.comes_before(step, last))
                    && (only.is_empty() || only.contains(&step))
            })
            .collect())
    }
}

/// A step is named by its name, with or without the ending, or by the number that it starts with.
pub(super) fn find(name: &str, steps: &[FlowStep]) -> Result<usize> {
    let exact = steps
        .iter()
        .position(|step| step.name == name || step.name.strip_suffix(".ipynb") == Some(name));
    if let Some(index) = exact {
        return Ok(index);
    }
    let numbered: Vec<usize> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| {
            let rest = step.name.strip_prefix(name);
            !name.is_empty() && rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        })
        .map(|(index, _)| index)
        .collect();
    match numbered.as_slice() {
        [index] => Ok(*index),
        found => {
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            let message = if found.is_empty() {
                format!("no step is called `{name}`")
            } else {
                format!("`{name}` fits several steps")
            };
            Err(Error::yours(message).help(format!("the steps are: {}", names.join(", "))))
        }
    }
}
