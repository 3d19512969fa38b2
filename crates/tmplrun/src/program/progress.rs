//! Progress: one live line on a terminal, plain lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anstream::eprintln;
use indicatif::{ProgressBar, ProgressStyle};
use tmplrun::ansi::strip;
use tmplrun::events::{Event, EventSink, Record, Status, Stream};
use tmplrun::report::duration;

use super::arguments::Arguments;
use super::level::Level;
use super::request::Prepared;
use super::show;

/// So much of an output's last line is shown.
const TAIL: usize = 60;

pub(crate) fn choose(arguments: &Arguments, prepared: &Prepared) -> Box<dyn EventSink> {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = arguments.log_output && !arguments.no_log_output;
    let level = arguments.log_level;
    let steps = prepared.request.steps.len();
    if level.shows_progress() && !arguments.no_progress_bar && (terminal || arguments.progress_bar) {
        Box::new(Live::new(steps, log))
    } else {
        Box::new(Plain {
            steps,
            log,
            level,
            state: Mutex::default(),
        })
    }
}

/// The place in a flow, where there is more than one.
fn place(step: usize, steps: usize) -> String {
    if steps > 1 {
        format!("[{}/{steps}] ", step + 1)
    } else {
        String::new()
    }
}

/// Output comes in pieces; lines are shown whole, so that ours do not land in the middle of one.
#[derive(Default)]
struct Lines(String);

impl Lines {
    /// Takes a piece and gives the lines that it completes, the last newline left out.
    fn take(&mut self, text: &str) -> Option<String> {
        self.0.push_str(text);
        let end = self.0.rfind('\n')?;
        let rest = self.0.split_off(end + 1);
        let mut whole = std::mem::replace(&mut self.0, rest);
        whole.pop();
        Some(whole)
    }

    /// Gives what no newline ended.
    fn rest(&mut self) -> Option<String> {
        Some(std::mem::take(&mut self.0)).filter(|rest| !rest.is_empty())
    }
}

/// A line for each cell.
struct Plain {
    steps: usize,
    log: bool,
    level: Level,
    state: Mutex<(String, Lines)>,
}

impl Plain {
    /// Whether a line that tells of this is shown.
    fn shows(&self, event: &Event) -> bool {
        match event {
            Event::Output { stream, .. } => match stream {
                Stream::Stdout | Stream::Display => self.level.shows_progress(),
                Stream::Stderr | Stream::Error => self.level.shows_warnings(),
            },
            Event::Warning { .. } => self.level.shows_warnings(),
            // It also lets go of the last output's rest.
            Event::CellStarted { .. } | Event::CellFinished { .. } => true,
            _ => self.level.shows_progress(),
        }
    }
}

impl EventSink for Plain {
    fn take(&self, record: &Record) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (cell, lines) = &mut *state;
        if !self.shows(&record.event) {
            return;
        }
        match &record.event {
            Event::NotebookStarted { step, name, title, .. } => {
                let title = title.as_deref().map(|title| format!("  {title}")).unwrap_or_default();
                eprintln!("{}{name}{title}", place(*step, self.steps));
            }
            Event::CellStarted {
                number, of, heading, ..
            } => {
                let heading = heading
                    .as_deref()
                    .map(|heading| format!("  {heading}"))
                    .unwrap_or_default();
                *cell = format!("cell {}/{of}{heading}", number + 1);
            }
            Event::CellFinished { status, seconds, .. } => {
                if let Some(rest) = lines.rest() {
                    eprintln!("{rest}");
                }
                if self.level.shows_progress() {
                    eprintln!("  {cell}  {} {}", show::status(*status), duration(*seconds));
                }
            }
            Event::Output { text, .. } if self.log => {
                if let Some(whole) = lines.take(text) {
                    eprintln!("{whole}");
                }
            }
            Event::Warning { message, .. } => show::warning(message),
            Event::NotebookFinished {
                step,
                name,
                status,
                seconds,
                ..
            } if self.steps > 1 => {
                let time = if *status == Status::Skipped {
                    String::new()
                } else {
                    duration(*seconds)
                };
                eprintln!("{}{name}  {}{time}", place(*step, self.steps), show::status(*status));
            }
            _ => {}
        }
    }
}

/// One line that is written over.
struct Live {
    steps: usize,
    log: bool,
    bar: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    notebook: String,
    cell: String,
    last: String,
    /// Output that is shown in full, where that was asked for.
    lines: Lines,
}

impl Live {
    fn new(steps: usize, log: bool) -> Self {
        let bar = ProgressBar::new_spinner();
        // The template is a constant; without it the line is only plainer.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self {
            steps,
            log,
            bar,
            state: Mutex::default(),
        }
    }

    fn draw(&self, state: &State) {
        let mut message = state.notebook.clone();
        for part in [&state.cell, &state.last] {
            if !part.is_empty() {
                message.push_str(" · ");
                message.push_str(part);
            }
        }
        self.bar.set_message(message);
    }
}

impl EventSink for Live {
    fn take(&self, record: &Record) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &record.event {
            Event::NotebookStarted { step, name, .. } => {
                *state = State {
                    notebook: format!("{}{name}", place(*step, self.steps)),
                    ..State::default()
                };
                "starting the kernel".clone_into(&mut state.cell);
            }
            Event::CellStarted {
                number, of, heading, ..
            } => {
                let heading = heading
                    .as_deref()
                    .map(|heading| format!(" {heading}"))
                    .unwrap_or_default();
                state.cell = format!("cell {}/{of}{heading}", number + 1);
                state.last.clear();
            }
            Event::Output { text, .. } => {
                if let Some(whole) = Some(&mut state.lines)
                    .filter(|_| self.log)
                    .and_then(|lines| lines.take(text))
                {
                    self.bar.suspend(|| eprintln!("{whole}"));
                }
                let plain = strip(text);
                let last = plain
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or_default();
                state.last = last
                    .rsplit('\r')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .chars()
                    .take(TAIL)
                    .collect();
            }
            Event::CellFinished { .. } => {
                if let Some(rest) = state.lines.rest() {
                    self.bar.suspend(|| eprintln!("{rest}"));
                }
            }
            Event::Warning { message, .. } => self.bar.suspend(|| show::warning(message)),
            Event::NotebookFinished {
                step,
                name,
                status,
                seconds,
                ..
            } => {
                let time = if *status == Status::Skipped {
                    String::new()
                } else {
                    duration(*seconds)
                };
                let place = place(*step, self.steps);
                self.bar
                    .suspend(|| eprintln!("{place}{name}  {}{time}", show::status(*status)));
            }
            Event::RunFinished { .. } => {
                self.bar.finish_and_clear();
                return;
            }
            _ => return,
        }
        self.draw(&state);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
