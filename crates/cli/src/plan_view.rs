//! A plan as a person reads it. Printing it is the dry run.

use clusterbook_engine::{Plan, Verb};

use crate::output::{Output, Tone, count, plain};

const VERBS: [Verb; 6] = [
    Verb::Build,
    Verb::Create,
    Verb::Update,
    Verb::Start,
    Verb::Stop,
    Verb::Delete,
];

/// Shows the changes, what else there is to know, and how much it is in all.
pub(crate) fn show(output: &Output, plan: &Plan) {
    if !plan.is_empty() {
        let rows = plan
            .changes
            .iter()
            .map(|change| {
                vec![
                    (change.verb.word().to_owned(), tone(change.verb)),
                    plain(&change.what),
                    plain(change.node.as_deref().unwrap_or("-")),
                    plain(&change.reason),
                ]
            })
            .collect();
        output.table(&["CHANGE", "WHAT", "NODE", "WHY"], rows);
    }
    for note in &plan.notes {
        output.text(&format!("Note: {note}"));
    }
    output.text(&summary(plan));
}

/// One line: how many changes of each sort.
fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("Nothing to do: cluster {} is as designed.", plan.cluster);
    }
    let parts: Vec<String> = VERBS
        .into_iter()
        .map(|verb| (verb, plan.count(verb)))
        .filter(|(_, number)| *number > 0)
        .map(|(verb, number)| format!("{number} to {}", verb.word()))
        .collect();
    format!(
        "{} for cluster {} on {}: {}.",
        count(plan.changes.len(), "change"),
        plan.cluster,
        plan.provider,
        parts.join(", ")
    )
}

fn tone(verb: Verb) -> Tone {
    match verb {
        Verb::Build | Verb::Create | Verb::Start => Tone::Good,
        Verb::Update | Verb::Stop => Tone::Note,
        Verb::Delete => Tone::Bad,
    }
}
