//! Progress: a live line for each running notebook on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anstream::eprintln;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
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
    let names = prepared.request.steps.iter().map(|step| step.name.clone()).collect();
    // In a chain every line is of the notebook named last; otherwise each must say whose it is.
    let mixed = prepared.request.options.jobs > 1
        && (1..steps).any(|step| !prepared.request.steps[step].needs.contains(&(step - 1)));
    // A line that is written over needs a terminal, whatever was asked for; plain lines show as much.
    if level.shows_progress() && !arguments.no_progress_bar && terminal {
        Box::new(Live::new(names, log, mixed))
    } else {
        Box::new(Plain {
            names,
            log,
            mixed,
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

/// A job's state in the place's words: `job 7 is PENDING (Resources)`.
fn job_state(event: &Event) -> String {
    let Event::JobState {
        job,
        state,
        reason,
        nodes,
        ..
    } = event
    else {
        return String::new();
    };
    let reason = reason
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let nodes = nodes.as_deref().map(|nodes| format!(" on {nodes}")).unwrap_or_default();
    format!("job {job} is {state}{reason}{nodes}")
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
    names: Vec<String>,
    log: bool,
    mixed: bool,
    level: Level,
    /// For each running step, the cell and its output.
    state: Mutex<HashMap<usize, (String, Lines)>>,
}

/// Lines of one notebook, marked with its name where several run at once.
fn marked(mixed: bool, name: Option<&String>, text: &str) -> String {
    let Some(name) = name.filter(|_| mixed) else {
        return text.to_owned();
    };
    let lines: Vec<String> = text.split('\n').map(|line| format!("{name} │ {line}")).collect();
    lines.join("\n")
}

/// The line for a notebook that ended.
fn ended(place: &str, name: &str, status: Status, seconds: f64) -> String {
    let time = match status {
        Status::Skipped | Status::DoneBefore => String::new(),
        _ => duration(seconds),
    };
    format!("{place}{name}  {} {time}", show::status(status))
        .trim_end()
        .to_owned()
}

fn resumed(index: usize) -> String {
    format!("goes on at cell {} in the kernel that was kept", index + 1)
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
        if !self.shows(&record.event) {
            return;
        }
        let steps = self.names.len();
        match &record.event {
            Event::NotebookStarted { step, name, title, .. } => {
                state.insert(*step, Default::default());
                let title = title.as_deref().map(|title| format!("  {title}")).unwrap_or_default();
                eprintln!("{}{name}{title}", place(*step, steps));
            }
            Event::Submitted {
                step, job, place: on, ..
            } => {
                eprintln!("{}job {job} was submitted to {on}", place(*step, steps));
            }
            Event::JobState { step, .. } => {
                eprintln!("{}{}", place(*step, steps), job_state(&record.event));
            }
            Event::CellStarted {
                step,
                number,
                of,
                heading,
                ..
            } => {
                let heading = heading
                    .as_deref()
                    .map(|heading| format!("  {heading}"))
                    .unwrap_or_default();
                state.entry(*step).or_default().0 = format!("cell {}/{of}{heading}", number + 1);
            }
            Event::CellFinished {
                step, status, seconds, ..
            } => {
                let (cell, lines) = state.entry(*step).or_default();
                let name = self.names.get(*step);
                if let Some(rest) = lines.rest() {
                    eprintln!("{}", marked(self.mixed, name, &rest));
                }
                let line = format!("{cell}  {} {}", show::status(*status), duration(*seconds));
                match name.filter(|_| self.mixed) {
                    _ if !self.level.shows_progress() => {}
                    Some(name) => eprintln!("{name}  {line}"),
                    None => eprintln!("  {line}"),
                }
            }
            Event::Output { step, text, .. } if self.log => {
                let (_, lines) = state.entry(*step).or_default();
                if let Some(whole) = lines.take(text) {
                    eprintln!("{}", marked(self.mixed, self.names.get(*step), &whole));
                }
            }
            Event::KernelResumed { step, index } => {
                let name = self.names.get(*step).map(String::as_str).unwrap_or_default();
                eprintln!("{}{name}  {}", place(*step, steps), resumed(*index));
            }
            Event::Warning { message, .. } => show::warning(message),
            Event::NotebookFinished {
                step,
                name,
                status,
                seconds,
                ..
            } => {
                state.remove(step);
                if steps > 1 || *status == Status::DoneBefore {
                    eprintln!("{}", ended(&place(*step, steps), name, *status, *seconds));
                }
            }
            _ => {}
        }
    }
}

/// A line for each running notebook that is written over.
struct Live {
    names: Vec<String>,
    log: bool,
    mixed: bool,
    bars: MultiProgress,
    state: Mutex<HashMap<usize, State>>,
}

struct State {
    bar: ProgressBar,
    notebook: String,
    cell: String,
    last: String,
    /// Output that is shown in full, where that was asked for.
    lines: Lines,
}

impl State {
    fn draw(&self) {
        let mut message = self.notebook.clone();
        for part in [&self.cell, &self.last] {
            if !part.is_empty() {
                message.push_str(" · ");
                message.push_str(part);
            }
        }
        self.bar.set_message(message);
    }
}

impl Live {
    fn new(names: Vec<String>, log: bool, mixed: bool) -> Self {
        Self {
            names,
            log,
            mixed,
            bars: MultiProgress::new(),
            state: Mutex::default(),
        }
    }

    fn begin(&self, notebook: String) -> State {
        let bar = self.bars.add(ProgressBar::new_spinner());
        // The template is a constant; without it the line is only plainer.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        State {
            bar,
            notebook,
            cell: "starting the kernel".to_owned(),
            last: String::new(),
            lines: Lines::default(),
        }
    }

    fn print(&self, step: usize, text: &str) {
        let text = marked(self.mixed, self.names.get(step), text);
        self.bars.suspend(|| eprintln!("{text}"));
    }
}

/// What of an output fits behind the cell: its last line as a terminal would show it.
fn tail(text: &str) -> String {
    let plain = strip(text);
    let last = plain
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let last = last.rsplit('\r').next().unwrap_or_default();
    last.trim().chars().take(TAIL).collect()
}

impl EventSink for Live {
    fn take(&self, record: &Record) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = self.names.len();
        match &record.event {
            Event::NotebookStarted { step, name, .. } => {
                let begun = self.begin(format!("{}{name}", place(*step, steps)));
                begun.draw();
                state.insert(*step, begun);
            }
            Event::Submitted { step, job, place, .. } => {
                let Some(state) = state.get_mut(step) else { return };
                state.cell = format!("job {job} was submitted to {place}");
                state.draw();
            }
            Event::JobState { step, .. } => {
                let Some(state) = state.get_mut(step) else { return };
                state.cell = job_state(&record.event);
                state.draw();
            }
            Event::CellStarted {
                step,
                number,
                of,
                heading,
                ..
            } => {
                let Some(state) = state.get_mut(step) else { return };
                let heading = heading
                    .as_deref()
                    .map(|heading| format!(" {heading}"))
                    .unwrap_or_default();
                state.cell = format!("cell {}/{of}{heading}", number + 1);
                state.last.clear();
                state.draw();
            }
            Event::Output { step, text, .. } => {
                let Some(state) = state.get_mut(step) else { return };
                if let Some(whole) = Some(&mut state.lines)
                    .filter(|_| self.log)
                    .and_then(|lines| lines.take(text))
                {
                    self.print(*step, &whole);
                }
                state.last = tail(text);
                state.draw();
            }
            Event::CellFinished { step, .. } => {
                let rest = state.get_mut(step).and_then(|state| state.lines.rest());
                if let Some(rest) = rest.filter(|_| self.log) {
                    self.print(*step, &rest);
                }
            }
            Event::KernelResumed { step, index } => self.print(*step, &resumed(*index)),
            Event::Warning { message, .. } => self.bars.suspend(|| show::warning(message)),
            Event::NotebookFinished {
                step,
                name,
                status,
                seconds,
                ..
            } => {
                if let Some(state) = state.remove(step) {
                    state.bar.finish_and_clear();
                    self.bars.remove(&state.bar);
                }
                let line = ended(&place(*step, steps), name, *status, *seconds);
                self.bars.suspend(|| eprintln!("{line}"));
            }
            _ => {}
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.drain().for_each(|(_, state)| state.bar.finish_and_clear());
    }
}
