//! `clusterbook new`

use std::path::{Path, PathBuf};

use clusterbook_model::{Design, DesignFile, SCHEMA};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::design;
use crate::error::{CommandError, Ending};
use crate::files::{self, Readers};

/// Write NAME.cluster.yaml, a design with defaults for everything that you don't set
#[derive(clap::Args)]
#[command(after_help = "\
A path names list items by their name. A list of which you set a part holds only what you set: no default items.

Examples:
  clusterbook new demo
  clusterbook new demo --set 'groups[compute].nodes=4' --set 'groups[compute].flavor=small'
  clusterbook new demo --set network.subnet=10.8.0.0/24 --set 'disks[home].size=10 GiB'
  clusterbook new demo --set 'users=[{name: alice, sudo: true}]'")]
pub(crate) struct Arguments {
    /// The cluster's name, which is also the file's
    name: String,
    /// Set a parameter: PATH=VALUE, the value as in the design file; may be given several times
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    path: &'a Path,
    design: &'a Design,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let mut parameters = Value::Object(Map::from_iter([
        ("schema".to_owned(), SCHEMA.into()),
        ("name".to_owned(), arguments.name.as_str().into()),
    ]));
    for setting in &arguments.set {
        set(&mut parameters, setting)?;
    }
    let file_name = format!("{}{}", arguments.name, design::ENDING);
    let design =
        Design::from_parameters(&parameters).map_err(|faults| CommandError::faults("the new design", faults))?;
    let path = PathBuf::from(&file_name);
    files::create(&path, DesignFile::new(&design).text().as_bytes(), Readers::Umask)?;
    context.output.text(&format!(
        "Wrote {file_name}. Edit it, then look at `clusterbook plan {}`.",
        arguments.name
    ));
    context.output.document(&Written {
        path: &std::path::absolute(&path).unwrap_or(path),
        design: &design,
    });
    Ok(Ending::Done)
}

/// One step of a path.
enum Step<'a> {
    Key(&'a str),
    Item(&'a str),
}

/// Puts `PATH=VALUE` into raw parameters. They are checked together later, so that their order doesn't matter.
fn set(parameters: &mut Value, setting: &str) -> Result<(), CommandError> {
    let wrong = |message: &str| {
        CommandError::input(format!("--set '{setting}': {message}"))
            .hint("write PATH=VALUE, for example --set 'groups[compute].nodes=4'")
    };
    let (path, text) = setting.split_once('=').ok_or_else(|| wrong("there is no = in it"))?;
    let value: Value = serde_saphyr::from_str_with_options(
        text,
        // As in design files, only true and false are truth values.
        serde_saphyr::options! { strict_booleans: true, with_snippet: false },
    )
    .map_err(|_| wrong("the value is not YAML"))?;
    let steps = steps(path.trim()).ok_or_else(|| wrong("this is not a path"))?;
    let mut place = parameters;
    for step in steps {
        place = match step {
            Step::Key(key) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                let object = place
                    .as_object_mut()
                    .ok_or_else(|| wrong(&format!("'{key}' is asked of something that has no keys")))?;
                object.entry(key).or_insert(Value::Null)
            }
            Step::Item(name) => {
                if place.is_null() {
                    *place = Value::Array(Vec::new());
                }
                let items = place
                    .as_array_mut()
                    .ok_or_else(|| wrong(&format!("'[{name}]' is asked of something that is no list")))?;
                let known = items
                    .iter()
                    .position(|item| item.get("name").and_then(Value::as_str) == Some(name));
                let index = known.unwrap_or_else(|| {
                    items.push(serde_json::json!({ "name": name }));
                    items.len() - 1
                });
                &mut items[index]
            }
        };
    }
    *place = value;
    Ok(())
}

/// `groups[compute].nodes` → groups, [compute], nodes.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, items) = match part.find('[') {
            Some(bracket) => part.split_at(bracket),
            None => (part, ""),
        };
        if key.is_empty() || key.contains(']') {
            return None;
        }
        steps.push(Step::Key(key));
        if !items.is_empty() {
            for item in items.strip_prefix('[')?.strip_suffix(']')?.split("][") {
                if item.is_empty() || item.contains(['[', ']']) {
                    return None;
                }
                steps.push(Step::Item(item));
            }
        }
    }
    Some(steps)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_build_one_design_in_any_order() {
        let mut parameters = json!({"name": "demo"});
        for setting in [
            "groups[compute].nodes=4",
            "power=off",
            "groups[gpu].flavor=large",
            "groups[compute].features=[ib, avx]",
            "slurm_conf.MaxJobCount=20000",
            "disks[home].size=2 TB",
        ] {
            set(&mut parameters, setting).unwrap();
        }
        assert_eq!(
            parameters,
            json!({
                "name": "demo",
                "groups": [{"name": "compute", "nodes": 4, "features": ["ib", "avx"]}, {"name": "gpu", "flavor": "large"}],
                "power": "off",
                "slurm_conf": {"MaxJobCount": 20000},
                "disks": [{"name": "home", "size": "2 TB"}],
            })
        );
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for wrong in [
            "power",
            "=on",
            "groups[=1",
            "groups[].nodes=1",
            "name.first=1",
            "a..b=1",
            "name[x]=1",
        ] {
            assert!(set(&mut json!({"name": "demo"}), wrong).is_err(), "{wrong}");
        }
    }
}
