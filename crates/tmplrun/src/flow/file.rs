//! Reading `flow.yaml`.
//!
//! A step that says what it `needs` waits for those steps alone; one that does not waits for every step before it, so a
//! plain list runs in its order.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::select::find;
use super::{FlowStep, graph};
use crate::error::{Error, Result};
use crate::json::{Json, Object};
use crate::parameters::{read_yaml, yaml_options};

/// The file that makes a folder a set of flows.
pub const FILE_NAME: &str = "flow.yaml";
/// The version of the file that is understood.
const SCHEMA: u64 = 1;

/// The flows of one folder.
#[derive(Debug, Clone)]
pub struct FlowFile {
    /// Where the file is.
    pub path: PathBuf,
    /// The flow to run when none is named.
    pub default: String,
    /// Every flow by its name.
    pub flows: BTreeMap<String, Flow>,
}

/// One flow.
#[derive(Debug, Clone)]
pub struct Flow {
    /// What it does.
    pub about: Text,
    /// Its notebooks, in order.
    pub steps: Vec<FlowStep>,
}

/// A text, perhaps in several languages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// In one language.
    One(String),
    /// By language code.
    Many(BTreeMap<String, String>),
    /// None.
    #[default]
    None,
}

impl Text {
    /// The text in `language`, else in English, else in whichever comes first.
    #[must_use]
    pub fn in_language(&self, language: &str) -> Option<&str> {
        match self {
            Self::One(text) => Some(text),
            Self::Many(texts) => texts
                .get(language)
                .or_else(|| texts.get("en"))
                .or_else(|| texts.values().next())
                .map(String::as_str),
            Self::None => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    schema: Spanned<u64>,
    default: Option<Spanned<String>>,
    flows: BTreeMap<String, Spanned<RawFlow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFlow {
    #[serde(default)]
    about: Text,
    steps: Vec<Spanned<Json>>,
}

impl FlowFile {
    /// Reads the flow file at `path`, or the one in the folder at `path`.
    ///
    /// # Errors
    /// When it is missing or wrong, with the line.
    pub fn read(path: &Path) -> Result<Self> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_path_buf()
        };
        let text = fs_err::read_to_string(&path).map_err(|error| {
            Error::yours("the flow file cannot be read")
                .at(&path)
                .help(format!(
                    "a folder of notebooks is run as its {FILE_NAME} says; name one notebook to run that alone"
                ))
                .because(error)
        })?;
        Self::parse(&text, &path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        // The schema is looked at by itself first: a newer file may have keys that would be called unknown.
        #[derive(Deserialize)]
        struct Version {
            schema: Option<Spanned<u64>>,
        }
        let wrong = |error: serde_saphyr::Error| {
            let plain = Error::yours(format!("the flow file is wrong: {}", error.without_snippet())).at(path);
            match error.location() {
                Some(location) if location.line() > 0 => plain.line(location.line() as usize),
                _ => plain,
            }
        };
        let version: Version = serde_saphyr::from_str_with_options(text, yaml_options()).map_err(wrong)?;
        match version.schema {
            Some(schema) if schema.value == SCHEMA => {}
            Some(schema) => {
                return Err(
                    Error::yours(format!("schema {} of flow files is not known here", schema.value))
                        .at(path)
                        .line(schema.referenced.line() as usize)
                        .help(format!("this program knows schema {SCHEMA}; a newer one may know more")),
                );
            }
            None => {
                return Err(Error::yours("the flow file does not say its schema")
                    .at(path)
                    .line(1)
                    .help(format!("begin it with `schema: {SCHEMA}`")));
            }
        }
        let raw: RawFile = serde_saphyr::from_str_with_options(text, yaml_options()).map_err(wrong)?;
        // A value means the same here as with -y, where it may come from.
        let values = read_yaml(text).map_err(|(message, line)| {
            let error = Error::yours(format!("the flow file is wrong: {message}")).at(path);
            match line {
                Some(line) => error.line(line),
                None => error,
            }
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut flows = BTreeMap::new();
        for (name, flow) in raw.flows {
            let line = flow.referenced.line() as usize;
            if flow.value.steps.is_empty() {
                return Err(Error::yours(format!("the flow `{name}` has no steps"))
                    .at(path)
                    .line(line));
            }
            let mut seen = HashSet::new();
            let mut steps: Vec<FlowStep> = Vec::new();
            let mut needs = Vec::new();
            let values = values
                .get("flows")
                .and_then(|flows| flows.get(&name)?.get("steps")?.as_array());
            for (index, mut raw) in flow.value.steps.into_iter().enumerate() {
                let line = raw.referenced.line() as usize;
                let values = values.and_then(|steps| steps.get(index)?.get("parameters"));
                if let (Json::Object(step), Some(values)) = (&mut raw.value, values) {
                    step.set("parameters", values.clone());
                }
                let (step, named) = step(raw.value, folder).map_err(|error| error.at(path).line(line))?;
                if !seen.insert(step.name.clone()) {
                    return Err(
                        Error::yours(format!("two steps of the flow `{name}` are called `{}`", step.name))
                            .at(path)
                            .line(line)
                            .help(
                                "a step is called as its notebook is: give one that runs it again a `name` of its own",
                            ),
                    );
                }
                needs.push((line, named));
                steps.push(step);
            }
            resolve(&mut steps, needs, path)?;
            graph(&steps).map_err(|error| error.at(path).line(line))?;
            flows.insert(
                name,
                Flow {
                    about: flow.value.about,
                    steps,
                },
            );
        }
        let default = match raw.default {
            Some(default) if flows.contains_key(&default.value) => default.value,
            Some(default) => {
                return Err(
                    Error::yours(format!("the default flow `{}` does not exist", default.value))
                        .at(path)
                        .line(default.referenced.line() as usize)
                        .help(known(&flows)),
                );
            }
            None => match flows.keys().next() {
                Some(only) if flows.len() == 1 => only.clone(),
                Some(_) => {
                    return Err(Error::yours("there are several flows, and none is the default")
                        .at(path)
                        .help("add `default: NAME`"));
                }
                None => return Err(Error::yours("the flow file has no flows").at(path)),
            },
        };
        debug_assert_eq!(raw.schema.value, SCHEMA);
        Ok(Self {
            path: path.to_path_buf(),
            default,
            flows,
        })
    }

    /// The flow called `name`, or the default.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn flow(&self, name: Option<&str>) -> Result<(&str, &Flow)> {
        let wanted = name.unwrap_or(&self.default);
        self.flows
            .get_key_value(wanted)
            .map(|(name, flow)| (name.as_str(), flow))
            .ok_or_else(|| {
                Error::yours(format!("there is no flow called `{wanted}`"))
                    .at(&self.path)
                    .help(known(&self.flows))
            })
    }
}

/// Turns the names of needed steps into places, which later steps have too.
fn resolve(steps: &mut [FlowStep], needs: Vec<(usize, Option<Vec<String>>)>, path: &Path) -> Result<()> {
    for (index, (line, named)) in needs.into_iter().enumerate() {
        let Some(named) = named else {
            steps[index].needs = (0..index).collect();
            continue;
        };
        let mut found = Vec::new();
        for name in named {
            let need = find(&name, steps).map_err(|error| error.at(path).line(line))?;
            if need > index && steps[need].always {
                return Err(Error::yours(format!(
                    "`{}` needs `{}`, which comes later and always runs",
                    steps[index].name, steps[need].name
                ))
                .at(path)
                .line(line)
                .help(
                    "a step that always runs cleans up after others: list it before the step, or take the need out",
                ));
            }
            if found.contains(&need) {
                return Err(
                    Error::yours(format!("`{}` needs `{}` twice", steps[index].name, steps[need].name))
                        .at(path)
                        .line(line),
                );
            }
            found.push(need);
        }
        steps[index].needs = found;
    }
    Ok(())
}

fn known(flows: &BTreeMap<String, Flow>) -> String {
    let names: Vec<&str> = flows.keys().map(String::as_str).collect();
    format!("the flows are: {}", names.join(", "))
}

/// A step is a file's name, or a mapping with it. Gives the names of the steps that it says it needs, too.
fn step(raw: Json, folder: &Path) -> Result<(FlowStep, Option<Vec<String>>)> {
    let (notebook, name, parameters, always, needs) = match &raw {
        Json::String(notebook) => (notebook.decode().into_owned(), None, Object::new(), false, None),
        Json::Object(object) => {
            for (key, _) in object.iter() {
                if !matches!(&*key, "notebook" | "name" | "parameters" | "needs" | "always") {
                    return Err(Error::yours(format!("a step has no key `{key}`"))
                        .help("a step's keys are: notebook, name, parameters, needs, always"));
                }
            }
            let notebook = raw
                .text("notebook")
                .ok_or_else(|| Error::yours("a step needs `notebook: FILE`"))?
                .into_owned();
            let name = object.get("name").map(own_name).transpose()?;
            let parameters = match object.get("parameters") {
                None | Some(Json::Null) => Object::new(),
                Some(Json::Object(parameters)) => parameters.clone(),
                Some(_) => return Err(Error::yours("`parameters` must map names to values")),
            };
            let always = match object.get("always") {
                None => false,
                Some(Json::Bool(always)) => *always,
                Some(_) => return Err(Error::yours("`always` must be true or false")),
            };
            let needs = object.get("needs").map(needed).transpose()?;
            (notebook, name, parameters, always, needs)
        }
        _ => {
            return Err(Error::yours(
                "a step is the name of a notebook, or a mapping with `notebook`",
            ));
        }
    };
    // Executed notebooks are written by the same names below the output folder, and must not land outside it.
    if !is_below(&notebook) {
        return Err(
            Error::yours(format!("the notebook `{notebook}` is not below the flow's folder"))
                .help("name it relative to the flow file, without `..`"),
        );
    }
    let path = folder.join(&notebook);
    if !path.is_file() {
        let mut there: Vec<String> = fs_err::read_dir(folder)
            .map(|entries| {
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        there.retain(|name| name.ends_with(".ipynb"));
        there.sort();
        return Err(
            Error::yours(format!("the notebook `{notebook}` does not exist")).help(format!(
                "the folder holds: {}",
                if there.is_empty() {
                    "no notebook".into()
                } else {
                    there.join(", ")
                }
            )),
        );
    }
    let step = FlowStep {
        name: name.unwrap_or(notebook),
        path,
        parameters,
        needs: Vec::new(),
        always,
    };
    Ok((step, needs))
}

/// Whether a path leads to something below the folder that it is read in.
fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The name that a step is given: its executed notebook's, with or without the ending.
fn own_name(value: &Json) -> Result<String> {
    let text = value
        .as_str()
        .ok_or_else(|| Error::yours("a step's `name` must be text").help("put a number in quotes: name: \"2026\""))?;
    let name = text.strip_suffix(".ipynb").unwrap_or(&text);
    if !is_below(name) || name.ends_with('/') || name.chars().any(char::is_control) {
        return Err(Error::yours(format!("`{text}` cannot be a step's name"))
            .help("the executed notebook is written by this name below the output folder: name: measure-eu"));
    }
    Ok(format!("{name}.ipynb"))
}

fn needed(value: &Json) -> Result<Vec<String>> {
    let wrong = || {
        Error::yours("`needs` must be a list of steps' names")
            .help("name steps as in --from, a bare number in quotes (\"010\"); `needs: []` for a step that needs none")
    };
    let names = value.as_array().ok_or_else(wrong)?;
    names
        .iter()
        .map(|name| name.as_str().map(|name| name.into_owned()).ok_or_else(wrong))
        .collect()
}
