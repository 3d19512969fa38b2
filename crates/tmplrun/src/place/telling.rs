//! What is told while a notebook runs elsewhere: the lines of the events file that `tmplrun` writes there.
//!
//! The run here has told already that the run and the notebook began, and will tell how they ended; the cells' events are
//! passed on as events of the step here. A line that this version doesn't know is passed over.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::events::{Event, EventSink, Record};
use crate::run::CellResult;

/// What one line meant.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Nothing that matters here; it may have been passed on.
    Plain,
    /// The program has started to run the notebook.
    Began,
    /// The program has ended, or could not be started; nothing more is to come.
    End(End),
}

/// How whatever started the program says that it ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct End {
    /// `exit`, or what was in the way.
    pub(super) end: String,
    /// The program's exit status.
    #[serde(default)]
    pub(super) status: i32,
    /// More about it.
    #[serde(default)]
    pub(super) detail: String,
}

/// Passes lines on as events.
pub(super) struct Telling<'a> {
    step: usize,
    sink: &'a dyn EventSink,
    headings: HashMap<usize, Option<String>>,
    began: bool,
    /// The cells that have ended.
    pub(super) cells: Vec<CellResult>,
}

impl<'a> Telling<'a> {
    pub(super) fn new(step: usize, sink: &'a dyn EventSink) -> Self {
        Self {
            step,
            sink,
            headings: HashMap::new(),
            began: false,
            cells: Vec::new(),
        }
    }

    /// Takes one line, without its newline.
    pub(super) fn take(&mut self, line: &[u8]) -> Line {
        let Ok(mut value) = serde_json::from_slice::<Value>(line) else {
            return Line::Plain;
        };
        let Some(event) = value.get("event").and_then(Value::as_str) else {
            return End::deserialize(&value).map_or(Line::Plain, Line::End);
        };
        match event {
            "notebook_started" => {
                self.began = true;
                // Another start is a job that was put back into the queue.
                self.cells.clear();
                return Line::Began;
            }
            "run_started" | "notebook_finished" | "run_finished" => return Line::Plain,
            // The plan's, which the plan here has given already.
            "warning" if !self.began => return Line::Plain,
            _ => {}
        }
        if let Some(step) = value.get_mut("step").filter(|step| !step.is_null()) {
            *step = self.step.into();
        }
        let Ok(record) = serde_json::from_value::<Record>(value) else {
            return Line::Plain;
        };
        match &record.event {
            Event::CellStarted { index, heading, .. } => {
                self.headings.insert(*index, heading.clone());
            }
            Event::CellFinished {
                index,
                status,
                seconds,
                processor_seconds,
                memory,
                memory_growth,
                ..
            } => self.cells.push(CellResult {
                index: *index,
                heading: self.headings.get(index).cloned().flatten(),
                status: *status,
                seconds: *seconds,
                processor_seconds: *processor_seconds,
                memory: *memory,
                memory_growth: *memory_growth,
            }),
            _ => {}
        }
        self.sink.take(&record);
        Line::Plain
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::events::{SCHEMA, Status, Stream};

    #[derive(Default)]
    struct Kept(Mutex<Vec<Event>>);

    impl EventSink for Kept {
        fn take(&self, record: &Record) {
            self.0.lock().unwrap().push(record.event.clone());
        }
    }

    fn line(event: Event) -> Vec<u8> {
        let record = Record {
            schema: SCHEMA,
            time: "2026-01-01T00:00:00Z".to_owned(),
            event,
        };
        serde_json::to_vec(&record).unwrap()
    }

    #[test]
    fn cells_are_told_as_the_step_s_own_and_the_rest_is_not_told_twice() {
        let kept = Kept::default();
        let mut telling = Telling::new(3, &kept);
        let warning = |message: &str| Event::Warning {
            step: Some(0),
            message: message.to_owned(),
        };
        let started = Event::CellStarted {
            step: 0,
            index: 4,
            number: 0,
            of: 1,
            heading: Some("H".to_owned()),
        };
        let output = Event::Output {
            step: 0,
            index: 4,
            stream: Stream::Stdout,
            text: "x".to_owned(),
        };
        let finished = Event::CellFinished {
            step: 0,
            index: 4,
            status: Status::Failed,
            seconds: 1.0,
            processor_seconds: 0.5,
            memory: 1 << 20,
            memory_growth: -4096,
        };
        assert_eq!(telling.take(&line(warning("the plan's"))), Line::Plain);
        assert_eq!(
            telling.take(br#"{"event": "notebook_started", "step": 0}"#),
            Line::Began
        );
        for event in [started, output, warning("a new one"), finished] {
            assert_eq!(telling.take(&line(event)), Line::Plain);
        }
        let passed_over: [&[u8]; 4] = [b"", b"{", b"[1]", br#"{"event": "sung", "step": 0}"#];
        for odd in passed_over {
            assert_eq!(telling.take(odd), Line::Plain);
        }
        let told: Vec<String> = kept
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|event| serde_json::to_value(event).unwrap())
            .map(|event| format!("{} {}", event["event"], event["step"]))
            .collect();
        assert_eq!(
            told,
            [
                "\"cell_started\" 3",
                "\"output\" 3",
                "\"warning\" 3",
                "\"cell_finished\" 3"
            ]
        );
        assert_eq!(telling.cells[0].heading.as_deref(), Some("H"));
        let end = End {
            end: "exit".to_owned(),
            status: 1,
            detail: String::new(),
        };
        assert_eq!(
            telling.take(br#"{"end":"exit","status":1,"detail":""}"#),
            Line::End(end)
        );
    }
}
