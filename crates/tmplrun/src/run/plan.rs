//! What a run would do: everything is read, found and checked before the first kernel starts.

use std::path::PathBuf;

use super::{Options, Request, StepRequest, values};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::flow::Graph;
use crate::json::{Json, Object};
use crate::kernelspec::{self, KernelSpec};
use crate::notebook::Notebook;
use crate::parameters::{Declared, INPUT_PATH, OUTPUT_PATH, declared, merge, translator};

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
            .filter(|(name, _)| !planned.declares(name) && !is_path(name))
            .map(|(name, _)| name.into_owned())
            .collect();
        if step.wanted && !unknown.is_empty() {
            warnings.push((Some(index), undeclared(&planned, &unknown)));
        }
        // The step's own first, then what was given for the run, which wins.
        for (name, value) in wanted.iter().chain(given.iter()) {
            if request.inject_undeclared || planned.declares(&name) || is_path(&name) {
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
        if !planned.parameters.is_empty() && options.place.is_none() {
            // Found out now, not after the notebooks before it have run.
            translator(&planned.kernel.name, &planned.language)?.cell(&planned.parameters, "")?;
        }
        steps.push(planned);
    }
    hand_on_what_is_known(request, &graph, &mut steps)?;
    if !request.inject_undeclared {
        for (name, _) in given.iter() {
            if !is_path(&name) && !steps.iter().any(|step| step.wanted && step.declares(&name)) {
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

/// Asked for by an option of its own, so no notebook need declare it.
fn is_path(name: &str) -> bool {
    name == INPUT_PATH || name == OUTPUT_PATH
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
    let mut notebook = step.read()?;
    let (kernel, chosen) = choose_kernel(&notebook, step, options, environment)?;
    let language = match (&options.language, notebook.language()) {
        (Some(language), _) => language.clone(),
        (None, Some(language)) if !chosen => language.into_owned(),
        (None, language) if kernel.language.is_empty() => language.unwrap_or_default().into_owned(),
        _ => kernel.language.clone(),
    };
    if chosen && options.place.is_none() {
        let spec = notebook.metadata_mut().object_mut("kernelspec");
        spec.set("display_name", kernel.display_name.as_str());
        spec.set("language", Json::from(language.as_str()));
        spec.set("name", kernel.name.as_str());
    }
    // A kernel may have its own word for a language.
    let known = translator(&kernel.name, &language).map(|known| known.language());
    let declared = declared(&notebook, known.unwrap_or(&language));
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

/// The kernel, and whether it is another than the notebook's own.
fn choose_kernel(
    notebook: &Notebook,
    step: &StepRequest,
    options: &Options,
    environment: &Environment,
) -> Result<(KernelSpec, bool)> {
    if options.place.is_some() {
        return choose_elsewhere(notebook, step, options);
    }
    let paths = &environment.jupyter_paths;
    let own = notebook.kernel_name().map(|name| name.into_owned());
    let written_in = notebook.language();
    let found = match (&options.kernel, own, &options.language) {
        (Some(name), ..) => kernelspec::find_for(name, None, environment).map(|kernel| (kernel, true)),
        (None, Some(name), None) => {
            kernelspec::find_for(&name, written_in.as_deref(), environment).map(|kernel| (kernel, false))
        }
        (None, Some(name), Some(language)) => match kernelspec::find(&name, paths) {
            Ok(kernel) => Ok((kernel, false)),
            Err(_) => kernelspec::for_language(language, paths).map(|kernel| (kernel, true)),
        },
        (None, None, Some(language)) => kernelspec::for_language(language, paths).map(|kernel| (kernel, true)),
        (None, None, None) => {
            return Err(Error::yours("the notebook does not say which kernel it is for")
                .at(&step.path)
                .help("choose one with --kernel, or by --language"));
        }
    };
    match found {
        Ok(found) => Ok(found),
        // Nothing will run, so the names are enough.
        Err(_) if options.prepare_only => {
            let name = options
                .kernel
                .clone()
                .or(notebook.kernel_name().map(|name| name.into_owned()));
            let language = options
                .language
                .clone()
                .or(notebook.language().map(|name| name.into_owned()));
            Ok((
                KernelSpec::only_named(&name.unwrap_or_default(), &language.unwrap_or_default()),
                false,
            ))
        }
        Err(error) => Err(error.at(&step.path)),
    }
}

/// Which kernels there are is for the place to know; only the name is chosen here.
fn choose_elsewhere(notebook: &Notebook, step: &StepRequest, options: &Options) -> Result<(KernelSpec, bool)> {
    let own = notebook.kernel_name().map(|name| name.into_owned());
    match options.kernel.clone().or(own) {
        Some(name) => Ok((KernelSpec::elsewhere(&name), options.kernel.is_some())),
        None => Err(Error::yours("the notebook does not say which kernel it is for")
            .at(&step.path)
            .help("choose one with --kernel")),
    }
}
