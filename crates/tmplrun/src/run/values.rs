//! Values that notebooks hand on.
//!
//! A step gets the results of the steps that it needs, and of those that these need. Where several hand on the same name,
//! one that comes after the others wins; where none does and the values differ, nobody can say which was meant.

use crate::error::{Error, Result};
use crate::flow::Graph;
use crate::json::{Json, Object};

/// A value and the step that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Handed {
    pub(super) name: String,
    pub(super) value: Json,
    pub(super) from: usize,
}

/// What `step` takes of `results`, which holds one entry a step; `takes` says whether it wants a name.
pub(super) fn handed(
    graph: &Graph,
    step: usize,
    results: &[Object],
    takes: &dyn Fn(&str) -> bool,
    names: &[&str],
) -> Result<Vec<Handed>> {
    let mut found: Vec<Handed> = Vec::new();
    for from in graph.ancestors(step) {
        for (name, value) in results[from].iter().filter(|(name, _)| takes(name)) {
            found.retain(|other| other.name != name || !graph.comes_before(other.from, from));
            if found
                .iter()
                .any(|other| other.name == name && graph.comes_before(from, other.from))
            {
                continue;
            }
            if let Some(other) = found.iter().find(|other| other.name == name) {
                if same(&other.value, value) {
                    continue;
                }
                return Err(Error::yours(format!(
                    "{} gets `{name}` from {} and from {}, with different values",
                    names[step], names[other.from], names[from]
                ))
                .help(format!(
                    "let one of them hand it on under another name, or give the value with -p {name} VALUE"
                )));
            }
            found.push(Handed {
                name: name.into_owned(),
                value: value.clone(),
                from,
            });
        }
    }
    Ok(found)
}

/// Equal as values, however they are written.
pub(super) fn same(one: &Json, other: &Json) -> bool {
    one == other
        || match (serde_json::to_value(one), serde_json::to_value(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::handed;
    use crate::flow::Graph;
    use crate::json::{Json, Object};

    fn number(value: i64) -> Object {
        Object::new().with("n", Json::from(value))
    }

    #[test]
    fn a_later_step_wins_and_branches_must_agree() {
        let names = ["a", "b", "c", "d", "e"];
        // 1 and 2 need 0; 3 needs both; 4 needs nothing.
        let needs = vec![vec![], vec![0], vec![0], vec![1, 2], vec![]];
        let graph = Graph::new(needs, &names).unwrap();
        let take = |step: usize, results: &[Object]| {
            handed(&graph, step, results, &|name| name == "n", &names).map(|found| {
                found
                    .into_iter()
                    .map(|each| (each.value.to_compact(), each.from))
                    .collect::<Vec<_>>()
            })
        };
        let none = Object::new;
        let first = [number(1), none(), none(), none(), none()];
        assert_eq!(take(3, &first).unwrap(), [("1".to_owned(), 0)]);
        assert_eq!(take(4, &first).unwrap(), []);
        let later = [number(1), none(), number(2), none(), none()];
        assert_eq!(take(3, &later).unwrap(), [("2".to_owned(), 2)]);
        assert_eq!(take(1, &later).unwrap(), [("1".to_owned(), 0)]);
        let equal = [none(), number(5), number(5), none(), none()];
        assert_eq!(take(3, &equal).unwrap(), [("5".to_owned(), 1)]);
        let clash = [none(), number(5), number(6), none(), none()];
        let error = take(3, &clash).unwrap_err().to_string();
        assert_eq!(error, "d gets `n` from b and from c, with different values");
    }
}
