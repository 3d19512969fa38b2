//! What would be done, and what a notebook takes.

use std::fmt::Write as _;

use tmplrun::Result;
use tmplrun::run::Plan;

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

/// The parameters that a notebook declares.
pub(crate) fn parameters(plan: &Plan) {
    let mut out = String::new();
    for step in &plan.steps {
        match &step.declared {
            None => {
                let _ = writeln!(out, "{} has no cell tagged `parameters`.", step.name);
            }
            Some(declared) => {
                let _ = writeln!(out, "Parameters of {}:", step.name);
                for each in declared {
                    let kind = each.kind.as_deref().unwrap_or("any type");
                    let help = each.help.as_deref().unwrap_or("");
                    let _ = writeln!(out, "  {}: {kind} (default {})  {help}", each.name, each.default);
                }
            }
        }
    }
    let _ = print(&out);
}
