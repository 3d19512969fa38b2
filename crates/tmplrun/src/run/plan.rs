//! What a run would do: everything is read, found and checked before the first kernel starts.

use std::path::PathBuf;

use super::{Options, Request, StepRequest, values};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::flow::Graph;
use crate::json::{Json, Object};
use crate::kernelspec::{self, KernelSpec};
use crate::notebook::Notebook;
use crate::parameters::{Declared, declared, merge, translator};

/// What would be done with one notebook.
#[derive(Debug, Clone)]
pub struct StepPlan {
    /// The step's name.
    pub name: String,
    /// The notebook, as read.
    pub notebook: Notebook,
    /// Its kernel.
    pub kernel: KernelSpec,
    /// Its language.
    pub language: String,
    /// What it declares; `None` without a parameters cell.
    pub declared: Option<Vec<Declared>>,
    /// The parameters it gets, apart from results of earlier notebooks.
    pub parameters: Object,
    /// Where each of these comes from.
    pub sources: Vec<(String, Source)>,
    /// What it gets from steps that an earlier run completed.
    pub handed: Vec<(String, Json, usize)>,
    /// Where the executed notebook goes.
    pub output: Option<PathBuf>,
    /// Whether it was asked for.
    pub wanted: bool,
}

/// Where a parameter's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The flow file.
    Flow,
    /// What was given for the whole run.
    Given,
    /// A secret that was given for the whole run: the value is a reference.
    Secret,
}

/// A whole run, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The steps, as they are listed.
    pub steps: Vec<StepPlan>,
    /// Which of them need which.
    pub graph: Graph,
    /// What to know beforehand; the step it is about, if one.
    pub warnings: Vec<(Option<usize>, String)>,
}

impl StepPlan {
    pub(super) fn declares(&self, name: &str) -> bool {
        self.declared
            .as_ref()
            .is_some_and(|declared| declared.iter().any(|each| each.name == name))
    }
}

/// The parameters for the whole run, secrets as references.
pub(super) fn given(options: &Options) -> Object {
    let mut given = options.parameters.clone();
    for secret in &options.secrets {
        given.set(&secret.name, secret.reference.as_str());
    }
    given
}

/// Reads and checks everything that `request` needs, and changes nothing.
///
/// # Errors
/// When a notebook cannot be read, its kernel is missing, or, in strict mode, a parameter has no taker.
pub fn plan(request: &Request, environment: &Environment) -> Result<Plan> {
    let options = &request.options;
    let given = given(options);
    let graph = request.graph()?;
    let mut warnings = Vec::new();
    let mut steps = Vec::new();
    for (index, step) in request.steps.iter().enumerate() {
        let mut planned = read_step(step, options, environment)?;
        let mut wanted = step.parameters.clone();
        if request.inject_undeclared {
            merge(&mut wanted, given.clone());
        }
        let unknown: Vec<String> = wanted
            .iter()
            .filter(|(name, _)| !planned.declares(name))
            .map(|(name, _)| name.into_owned())
            .collect();
        if step.wanted && !unknown.is_empty() {
            warnings.push((Some(index), undeclared(&planned, &unknown)));
        }
        // The step's own first, then what was given for the run, which wins.
        for (name, value) in wanted.iter().chain(given.iter()) {
            if request.inject_undeclared || planned.declares(&name) {
                planned.parameters.set(&name, value.clone());
                let source = match () {
                    () if options.secrets.iter().any(|secret| secret.name == *name) => Source::Secret,
                    () if given.get(&name).is_some() => Source::Given,
                    () => Source::Flow,
                };
                planned.sources.retain(|(known, _)| *known != name);
                planned.sources.push((name.into_owned(), source));
            }
        }
        if !planned.parameters.is_empty() {
            // Found out now, not after the notebooks before it have run.
            translator(&planned.kernel.name, &planned.language)?.cell(&planned.parameters, "")?;
        }
        steps.push(planned);
    }
    hand_on_what_is_known(request, &graph, &mut steps)?;
    if !request.inject_undeclared {
        for (name, _) in given.iter() {
            if !steps.iter().any(|step| step.wanted && step.declares(&name)) {
                warnings.push((None, format!("no notebook that runs declares the parameter `{name}`")));
            }
        }
    }
    if let (true, Some((step, message))) = (options.strict, warnings.first()) {
        let error = Error::yours(message.clone()).help("correct the name, or leave --strict out to be only warned");
        return Err(match step.and_then(|step| request.steps.get(step)) {
            Some(step) => error.at(&step.path),
            None => error,
        });
    }
    Ok(Plan { steps, graph, warnings })
}

/// What steps that are done hand on is known already, and so is whether it fits together.
fn hand_on_what_is_known(request: &Request, graph: &Graph, steps: &mut [StepPlan]) -> Result<()> {
    let done = |step: &StepRequest| step.done.as_ref().map(|done| done.results.clone()).unwrap_or_default();
    let results: Vec<Object> = request.steps.iter().map(done).collect();
    let names: Vec<&str> = request.steps.iter().map(|step| step.name.as_str()).collect();
    for (index, plan) in steps.iter_mut().enumerate().filter(|(_, plan)| plan.wanted) {
        let takes = |name: &str| plan.declares(name) && plan.parameters.get(name).is_none();
        let handed = values::handed(graph, index, &results, &takes, &names)?;
        plan.handed = handed
            .into_iter()
            .map(|each| (each.name, each.value, each.from))
            .collect();
    }
    Ok(())
}

fn undeclared(step: &StepPlan, unknown: &[String]) -> String {
    let names = unknown
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match &step.declared {
        None => format!(
            "{} has no cell tagged `parameters`, which would declare {names}",
            step.name
        ),
        Some(declared) => {
            let known: Vec<&str> = declared.iter().map(|each| each.name.as_str()).collect();
            format!(
                "{} does not declare {names}; it declares {}",
                step.name,
                known.join(", ")
            )
        }
    }
}

fn read_step(step: &StepRequest, options: &Options, environment: &Environment) -> Result<StepPlan> {
    let bytes = match &step.content {
        Some(content) => content.clone(),
        None => fs_err::read(&step.path).map_err(|error| {
            Error::yours("the notebook cannot be read")
                .at(&step.path)
                .because(error)
        })?,
    };
    let mut notebook = Notebook::read(&bytes, &step.path)?;
    let named = notebook.kernel_name().map(|name| name.into_owned());
    let Some(name) = options.kernel.clone().or(named) else {
        return Err(Error::yours("the notebook does not say which kernel it is for")
            .at(&step.path)
            .help("choose one with --kernel"));
    };
    let kernel = kernelspec::find(&name, &environment.jupyter_paths).map_err(|error| error.at(&step.path))?;
    let language = match (&options.kernel, notebook.language()) {
        (None, Some(language)) => language.into_owned(),
        _ if kernel.language.is_empty() => notebook.language().unwrap_or_default().into_owned(),
        _ => kernel.language.clone(),
    };
    if options.kernel.is_some() {
        let spec = notebook.metadata_mut().object_mut("kernelspec");
        spec.set("display_name", kernel.display_name.as_str());
        spec.set("language", Json::from(language.as_str()));
        spec.set("name", kernel.name.as_str());
    }
    let declared = declared(&notebook, &language);
    Ok(StepPlan {
        name: step.name.clone(),
        notebook,
        kernel,
        language,
        declared,
        parameters: Object::new(),
        sources: Vec::new(),
        handed: Vec::new(),
        output: step.output.clone(),
        wanted: step.wanted,
    })
}
