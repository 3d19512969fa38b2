//! Choosing steps of a flow.

use super::FlowStep;
use crate::error::{Error, Result};

/// Which steps to run; by default all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The first step to run.
    pub from: Option<String>,
    /// The last step to run.
    pub until: Option<String>,
    /// The only steps to run.
    pub only: Vec<String>,
}

impl Selection {
    /// For each step, whether it runs.
    ///
    /// # Errors
    /// When a name fits no step or several, or the first step comes after the last.
    pub fn apply(&self, steps: &[FlowStep]) -> Result<Vec<bool>> {
        let first = self.from.as_deref().map_or(Ok(0), |name| find(name, steps))?;
        let last = self
            .until
            .as_deref()
            .map_or(Ok(steps.len().saturating_sub(1)), |name| find(name, steps))?;
        if first > last {
            return Err(
                Error::yours(format!("{} comes after {}", steps[first].name, steps[last].name))
                    .help("give the earlier step to --from and the later one to --until"),
            );
        }
        let only = self
            .only
            .iter()
            .map(|name| find(name, steps))
            .collect::<Result<Vec<_>>>()?;
        Ok((0..steps.len())
            .map(|index| (first..=last).contains(&index) && (only.is_empty() || only.contains(&index)))
            .collect())
    }
}

/// A step is named by its file, by its file without the ending, or by the number it starts with.
fn find(name: &str, steps: &[FlowStep]) -> Result<usize> {
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
