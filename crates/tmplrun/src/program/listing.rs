//! What would be done, and what a notebook takes.

use std::fmt::Write as _;

use tmplrun::parameters::{Declared, declared, translator};
use tmplrun::run::Plan;
use tmplrun::{Request, Result};

use super::request::Prepared;
use super::{print, show};

/// The steps and their parameters.
pub(crate) fn steps(prepared: &Prepared, plan: &Plan, json: bool) -> Result<()> {
    if json {
        let steps: Vec<_> = plan
            .steps
            .iter()
            .map(|step| {
                serde_json::json!({
                    "name": step.name,
                    "title": step.notebook.title(),
                    "kernel": step.kernel.name,
                    "runs": step.wanted,
                    "parameters": step.parameters,
                    "declared": step.declared,
                })
            })
            .collect();
        let text = serde_json::json!({"schema": 1, "name": prepared.request.name, "steps": steps});
        return print(&format!("{text:#}\n"));
    }
    let mut out = String::new();
    for (step, request) in plan.steps.iter().zip(&prepared.request.steps) {
        let title = step
            .notebook
            .title()
            .map(|title| format!("  {title}"))
            .unwrap_or_default();
        let mark = if step.wanted { "run " } else { "skip" };
        let always = if request.always { "  (also after a failure)" } else { "" };
        let _ = writeln!(out, "{mark}  {}{title}  [{}]{always}", step.name, step.kernel.name);
        if !step.wanted {
            continue;
        }
        let declared = step.declared.iter().flatten();
        for each in declared.filter(|each| step.parameters.get(&each.name).is_none()) {
            let _ = writeln!(
                out,
                "        {} = {}  (default)",
                each.name,
                each.default.replace('\n', " ")
            );
        }
        for (name, value) in step.parameters.iter() {
            let _ = writeln!(out, "        {name} = {}", value.to_compact());
        }
    }
    print(&out)?;
    plan.warnings.iter().for_each(|(_, message)| show::warning(message));
    Ok(())
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
    print(&out)?;
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
