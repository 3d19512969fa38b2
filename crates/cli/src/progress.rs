//! What happens during an apply, written as it happens: a bar on a terminal, a line per stage elsewhere, and on request every
//! event as a line of JSON in a file.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clusterbook_engine::{EVENTS_SCHEMA, Event, Events};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::error::CommandError;
use crate::output::{count, seconds};

/// Writers of events, at work until [`Progress::end`].
pub(crate) struct Progress {
    events: Events,
    writing: JoinHandle<Vec<String>>,
    lines: Lines,
}

/// Writes lines above the bar where there is one.
#[derive(Clone)]
struct Lines {
    bar: Option<ProgressBar>,
    context: Arc<Context>,
}

/// A line in the file of events.
#[derive(Serialize)]
struct Record<'a> {
    schema: u32,
    at: String,
    #[serde(flatten)]
    event: &'a Event,
}

/// The file of events. The first failure ends its writing, not the apply.
struct EventsFile {
    path: PathBuf,
    file: fs_err::File,
    failed: Option<String>,
}

impl Progress {
    /// Begins. Events are added to the end of `file`.
    pub(crate) fn begin(context: &Arc<Context>, file: Option<&Path>) -> Result<Self, CommandError> {
        let file = file.map(EventsFile::open).transpose()?;
        let lines = Lines {
            bar: has_terminal().then(bar),
            context: context.clone(),
        };
        let (sender, receiver) = unbounded_channel();
        Ok(Self {
            events: Events::to(sender),
            writing: tokio::spawn(write(receiver, lines.clone(), file)),
            lines,
        })
    }

    /// Where the engine sends its events.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Tells the person something in between.
    pub(crate) fn teller(&self) -> impl Fn(&str) + Send + use<> {
        let lines = self.lines.clone();
        move |text| lines.line(text)
    }

    /// Waits until everything is written.
    pub(crate) async fn end(self) -> Result<(), CommandError> {
        let Self { events, writing, lines } = self;
        drop(events);
        let warnings = writing
            .await
            .map_err(|error| CommandError::bug("the writer of events broke off").because(&error))?;
        if let Some(bar) = &lines.bar {
            bar.finish_and_clear();
        }
        for warning in warnings {
            lines.line(&warning);
        }
        Ok(())
    }
}

fn has_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} {elapsed}  {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

impl Lines {
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.context.output.note(text)),
            None => self.context.output.note(text),
        }
    }
}

impl EventsFile {
    fn open(path: &Path) -> Result<Self, CommandError> {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| CommandError::input("the file of events can't be written").because(&error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            failed: None,
        })
    }

    fn write(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        let record = Record {
            schema: EVENTS_SCHEMA,
            at: jiff::Timestamp::now().to_string(),
            event,
        };
        let written = serde_json::to_vec(&record)
            .map_err(std::io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                // One write per line, so that nobody reads half of one.
                self.file.write_all(&line)
            });
        if let Err(error) = written {
            self.failed = Some(format!("Warning: {} misses events: {error}", self.path.display()));
        }
    }
}

async fn write(mut receiver: UnboundedReceiver<Event>, lines: Lines, mut file: Option<EventsFile>) -> Vec<String> {
    while let Some(event) = receiver.recv().await {
        if let Some(file) = &mut file {
            file.write(&event);
        }
        if let Some(text) = line(&event) {
            lines.line(&text);
        }
        if let Some(bar) = &lines.bar {
            show(bar, &event);
        }
    }
    file.and_then(|file| file.failed).into_iter().collect()
}

/// What is worth a line: the beginning, each stage, each failure and the end.
fn line(event: &Event) -> Option<String> {
    Some(match event {
        // Nothing to do is said by the plan already.
        Event::Started { changes: 0, .. } => return None,
        Event::Finished {
            changed: 0, failed: 0, ..
        } => return None,
        Event::Started {
            what,
            cluster,
            apply,
            changes,
        } => {
            let what = if what == "destroy" { "removal" } else { "apply" };
            format!("Cluster {cluster}, {what} {apply}: {}", count(*changes, "change"))
        }
        Event::Stage { name, changes } => format!("  {name} ({})", count(*changes, "change")),
        // What a daemon said may be many lines; they stand in the error at the end.
        Event::Failed(failure) => format!(
            "  failed: {} ({}): {}",
            failure.what,
            failure.doing,
            failure.message.lines().next().unwrap_or_default()
        ),
        Event::Finished {
            changed,
            failed,
            milliseconds,
            ..
        } => {
            let rest = if *failed > 0 {
                format!(", {failed} not made")
            } else {
                String::new()
            };
            format!(
                "{} made{rest}, in {}",
                count(*changed, "change"),
                seconds(*milliseconds)
            )
        }
        _ => return None,
    })
}

fn show(bar: &ProgressBar, event: &Event) {
    match event {
        Event::Started { changes, .. } => {
            bar.set_length(u64::try_from(*changes).unwrap_or(u64::MAX));
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Event::Stage { name, .. } => bar.set_message(name.clone()),
        Event::Progress { what, text } => bar.set_message(format!("{what}: {text}")),
        Event::Ready { node } => bar.set_message(format!("{node} answers")),
        Event::Changed { text, .. } => {
            bar.inc(1);
            bar.set_message(text.clone());
        }
        Event::Failed(_) => bar.inc(1),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_schema_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let event = Event::Ready { node: "c1".to_owned() };
        for _ in 0..2 {
            EventsFile::open(&path).unwrap().write(&event);
        }
        let text = fs_err::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "a file that is there is added to");
        assert_eq!(lines[0]["schema"], 1);
        assert_eq!(lines[0]["event"], "ready");
        assert!(lines[0]["at"].as_str().unwrap().ends_with('Z'));
    }
}
