//! Going on with an earlier run.

use std::path::{Path, PathBuf};

use super::record::{digest, own};
use super::values::same;
use super::{RECORD_NAME, Record, Request, StepRecord, plan};
use crate::destination;
use crate::error::{Error, Result};
use crate::events::Status;
use crate::execute;
use crate::flow::Graph;
use crate::json::{Json, Object};
use crate::mask::Masker;
use crate::notebook::Notebook;

impl Request {
    /// Makes this request go on with the run that `record` tells of: steps which that run completed do not run again, and
    /// hand on what they handed on then. `chosen` says that the steps to run were named: those run in any case.
    ///
    /// Gives what to know about it, each with its step.
    ///
    /// # Errors
    /// When the record is of another flow, or its parameters were others and `new_parameters` does not say that this is
    /// meant.
    pub fn resume(&mut self, record: &Record, chosen: bool, new_parameters: bool) -> Result<Vec<(usize, String)>> {
        if record.name != self.name {
            return Err(Error::yours(format!("the earlier run was of `{}`", record.name))
                .help(format!("name the output of an earlier run of `{}`", self.name)));
        }
        let masker = self.options.masker();
        let mut others = self.other_parameters(record, &masker);
        let mut notes = Vec::new();
        // A request that is refused stays as it was.
        let mut done: Vec<Option<StepRecord>> = self.steps.iter().map(|step| step.done.clone()).collect();
        let graph = self.graph()?;
        for step in graph.order().to_vec() {
            let earlier = record.steps.iter().find(|each| each.name == self.steps[step].name);
            let completed = earlier.filter(|earlier| earlier.status == Status::Completed);
            let Some(completed) = completed else { continue };
            let request = &self.steps[step];
            // What cleaned up after a failure must do so again after what runs now.
            let settled = graph
                .ancestors(step)
                .all(|need| done[need].is_some() || !self.steps[need].wanted);
            let there = request.output.as_ref().is_some_and(|output| output.is_file());
            if !settled || !there || (chosen && request.wanted) {
                continue;
            }
            let now = match &request.content {
                Some(content) => Ok(content.clone()),
                None => fs_err::read(&request.path),
            };
            let changed = now
                .ok()
                .and_then(|bytes| Notebook::read(&bytes, &request.path).ok())
                .is_some_and(|notebook| digest(&notebook) != completed.digest);
            if changed && self.folder.is_none() {
                continue;
            }
            if changed {
                notes.push((
                    step,
                    format!(
                        "{} has changed since it was completed; what it came to then is used (--from {} runs it again)",
                        request.name, request.name
                    ),
                ));
            }
            if let Some(earlier) = &completed.own {
                let each = differences(earlier, &own(request, &masker));
                others.extend(each.into_iter().map(|each| format!("in {}, {each}", request.name)));
            }
            done[step] = Some(completed.clone());
        }
        if !others.is_empty() && !new_parameters {
            return Err(refused(&others, self.folder.is_some()));
        }
        for (step, done) in self.steps.iter_mut().zip(done) {
            step.wanted &= done.is_none();
            step.done = done;
        }
        self.resumes = true;
        Ok(notes)
    }

    /// The graph of the steps.
    pub(super) fn graph(&self) -> Result<Graph> {
        let names: Vec<&str> = self.steps.iter().map(|step| step.name.as_str()).collect();
        Graph::new(self.steps.iter().map(|step| step.needs.clone()).collect(), &names)
    }

    /// How the parameters for the whole run differ from those of the run that `record` tells of.
    fn other_parameters(&self, record: &Record, masker: &Masker) -> Vec<String> {
        let mut given = Json::Object(plan::given(&self.options));
        masker.mask_json(&mut given);
        differences(&record.parameters, &given.as_object().cloned().unwrap_or_default())
    }
}

/// Each parameter that is another now, in words.
fn differences(earlier: &Object, now: &Object) -> Vec<String> {
    let mut names: Vec<String> = earlier
        .iter()
        .chain(now.iter())
        .map(|(name, _)| name.into_owned())
        .filter(|name| match (earlier.get(name), now.get(name)) {
            (Some(earlier), Some(now)) => !same(earlier, now),
            _ => true,
        })
        .collect();
    names.sort();
    names.dedup();
    let show = |name: &String, from: &Object| from.get(name).map_or("not given".to_owned(), Json::to_compact);
    let each = names.iter();
    each.map(|name| format!("`{name}` was {}, now {}", show(name, earlier), show(name, now)))
        .collect()
}

fn refused(others: &[String], is_flow: bool) -> Box<Error> {
    let again = if is_flow {
        ", or choose with --from what is to run again"
    } else {
        ""
    };
    Error::yours(format!(
        "the earlier run had other parameters: {}",
        others.join("; ")
    ))
    .help(format!(
        "give the same ones, or add --new-parameters to run what is left with the new ones (what is done keeps what it was \
         run with){again}"
    ))
}

/// Puts executed notebooks together from the journals that a run left which did not come to its end. `path` is an output,
/// or a flow's output folder. Gives, for each notebook, how many cells had ended and whether one was running.
///
/// # Errors
/// When a run still writes one of them, or a journal is not of its notebook or of another version.
pub fn recover(path: &Path) -> Result<Vec<(PathBuf, usize, bool)>> {
    let outputs = if path.is_dir() {
        let record = Record::read(path)?;
        destination::sweep(&path.join(RECORD_NAME));
        record.steps.iter().map(|step| path.join(&step.name)).collect()
    } else {
        vec![path.to_path_buf()]
    };
    let mut found = Vec::new();
    for output in outputs {
        if let Some(recovered) = execute::recover(&output)? {
            found.push((output, recovered.ended, recovered.running.is_some()));
        }
    }
    Ok(found)
}
