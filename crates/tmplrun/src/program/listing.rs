//! What would be done, and what a notebook takes.

use std::fmt::Write as _;

use tmplrun::json::Json;
use tmplrun::mask::Masker;
use tmplrun::parameters::{Declared, declared, translator};
use tmplrun::run::{Plan, Source, StepPlan, StepRequest, name_and_file};
use tmplrun::{Request, Result};

use super::request::Prepared;
use super::{print, show};

/// The steps and their parameters, without the secrets that were given.
pub(crate) fn steps(prepared: &Prepared, plan: &Plan, json: bool) -> Result<()> {
    let masker = prepared.request.options.masker();
    if json {
        let steps: Vec<_> = plan
            .steps
            .iter()
            .zip(&prepared.request.steps)
            .enumerate()
            .map(|(index, (step, request))| {
                let names = |steps: &[usize]| -> Vec<&str> {
                    steps.iter().map(|need| plan.steps[*need].name.as_str()).collect()
                };
                let ancestors: Vec<usize> = plan.graph.ancestors(index).collect();
                let sources: serde_json::Map<String, serde_json::Value> = sources(step, plan)
                    .into_iter()
                    .map(|(name, _, source)| (name, source.into()))
                    .collect();
                let handed: serde_json::Map<String, serde_json::Value> = step
                    .handed
                    .iter()
                    .map(|(name, value, _)| (name.clone(), serde_json::json!(value)))
                    .collect();
                let mut shown = serde_json::json!({
                    "name": step.name,
                    "notebook": request.path,
                    "title": step.notebook.title(),
                    "kernel": step.kernel.name,
                    "runs": step.wanted,
                    "parameters": step.parameters,
                    "declared": step.declared,
                    "needs": names(&plan.graph.edges(index)),
                    "results_of": names(&ancestors),
                    "handed_on": handed,
                    "sources": sources,
                    "always": request.always,
                    "done_before": request.done.is_some(),
                });
                let entries = shown.as_object_mut().into_iter().flat_map(|shown| shown.values_mut());
                entries.for_each(|value| mask(value, &masker));
                shown
            })
            .collect();
        let text = serde_json::json!({"schema": 1, "name": prepared.request.name, "steps": steps});
        return print(&format!("{text:#}\n"));
    }
    let mut out = String::new();
    if plan.steps.len() > 1 {
        picture(&mut out, prepared, plan);
    }
    for (index, (step, request)) in plan.steps.iter().zip(&prepared.request.steps).enumerate() {
        let title = step
            .notebook
            .title()
            .map(|title| format!("  {title}"))
            .unwrap_or_default();
        let always = if request.always { "  (also after a failure)" } else { "" };
        let _ = writeln!(
            out,
            "{}  {}{title}  [{}]{always}",
            mark(request),
            name_and_file(&step.name, &request.path),
            step.kernel.name
        );
        if !step.wanted {
            continue;
        }
        for (name, value, source) in sources(step, plan) {
            let _ = writeln!(out, "        {name} = {value}  ({source})");
        }
        let open: Vec<&str> = plan
            .graph
            .ancestors(index)
            .filter(|need| plan.steps[*need].wanted)
            .map(|need| plan.steps[need].name.as_str())
            .collect();
        if !open.is_empty() && step.declared.is_some() {
            let _ = writeln!(out, "        results of {} replace defaults", open.join(", "));
        }
    }
    print(&masker.mask(&out))?;
    let warnings = plan.warnings.iter();
    warnings.for_each(|(_, message)| show::warning(&masker.mask(message)));
    Ok(())
}

fn mask(value: &mut serde_json::Value, masker: &Masker) {
    if masker.is_empty() {
        return;
    }
    let shown = serde_json::from_value::<Json>(value.take()).map(|mut shown| {
        masker.mask_json(&mut shown);
        serde_json::json!(shown)
    });
    *value = shown.unwrap_or_default();
}

fn mark(request: &StepRequest) -> &'static str {
    match request {
        StepRequest { done: Some(_), .. } => "done",
        StepRequest { wanted: true, .. } => "run ",
        StepRequest { wanted: false, .. } => "skip",
    }
}

/// Which step needs which.
fn picture(out: &mut String, prepared: &Prepared, plan: &Plan) {
    let dot = |step: usize| match mark(&prepared.request.steps[step]) {
        "run " => '●',
        "done" => '✓',
        _ => '○',
    };
    let rows = plan.graph.picture(&dot);
    let width = rows.iter().map(|row| row.lines.chars().count()).max().unwrap_or(0);
    for row in rows {
        let name = row.step.map(|step| plan.steps[step].name.as_str()).unwrap_or_default();
        let _ = writeln!(out, "{}", format!("{:width$}  {name}", row.lines).trim_end());
    }
    out.push('\n');
}

/// Each parameter of a step, its value and where that comes from.
fn sources(step: &StepPlan, plan: &Plan) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for each in step.declared.iter().flatten() {
        let given = step.parameters.get(&each.name).is_some();
        if !given && !step.handed.iter().any(|(name, _, _)| *name == each.name) {
            all.push((each.name.clone(), each.default.replace('\n', " "), "default".to_owned()));
        }
    }
    for (name, value, from) in &step.handed {
        let from = format!("result of {}", plan.steps[*from].name);
        all.push((name.clone(), value.to_compact(), from));
    }
    for (name, value) in step.parameters.iter() {
        let source = step
            .sources
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, source)| source);
        let source = match source {
            Some(Source::Flow) => "flow file",
            Some(Source::Secret) => "secret",
            _ => "given",
        };
        all.push((name.into_owned(), value.to_compact(), source.to_owned()));
    }
    all
}

/// The parameters that a notebook declares, as papermill lays them out; whether it has a cell for them.
///
/// The kernel need not be installed for this.
pub(crate) fn parameters(request: &Request, usage: &str) -> Result<bool> {
    let mut out = format!("{usage}\n");
    let mut all_found = true;
    for step in &request.steps {
        let notebook = step.read()?;
        let kernel = request
            .options
            .kernel
            .clone()
            .or(notebook.kernel_name().map(Into::into));
        let language = request.options.language.clone().or(notebook.language().map(Into::into));
        let (kernel, language) = (kernel.unwrap_or_default(), language.unwrap_or_default());
        let known = translator(&kernel, &language).map(|known| known.language());
        let _ = writeln!(out, "\nParameters inferred for notebook '{}':", step.path.display());
        match declared(&notebook, known.unwrap_or(&language)) {
            None => {
                out.push_str("\n  No cell tagged 'parameters'\n");
                all_found = false;
            }
            Some(declared) if declared.is_empty() => out.push_str(
                "\n  Can't infer anything about this notebook's parameters. It may not have any parameter defined.\n",
            ),
            Some(declared) => declared.iter().for_each(|each| {
                let _ = writeln!(out, "{}", parameter(each));
            }),
        }
    }
    print(&request.options.masker().mask(&out))?;
    Ok(all_found)
}

/// One line, or two where the help would stand too far right.
fn parameter(declared: &Declared) -> String {
    let kind = declared.kind.as_deref().unwrap_or("Unknown type");
    let help = declared.help.as_deref().unwrap_or("");
    let definition = format!("  {}: {kind} (default {})", declared.name, declared.default);
    if definition.chars().count() <= 30 {
        format!("{definition:<34}{help}")
    } else if help.is_empty() {
        definition
    } else {
        format!("{definition}\n{:34}{help}", "")
    }
}
