//! Putting a kernel's messages into cells, the way nbclient does.

use std::collections::HashMap;

use crate::json::{self, Array, Json, Object, Shelf};
use crate::kernel::Message;
use crate::mask::{Masker, StreamMask};
use crate::notebook::{Notebook, into_lines, lines};

use super::widgets::Widgets;

/// When outputs have come to so much text, they are put away.
const MUCH: usize = 128 * 1024;

/// Display data of this type is a result: a JSON object that later notebooks of a flow may take as parameters.
pub const RESULT_TYPE: &str = "application/vnd.tmplrun.result+json";

/// The outputs of the running cell, and what must be remembered between cells.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    cell: usize,
    clear_before_next: bool,
    /// Streams written since the last output of another kind; the same name goes on in the same output.
    streams: Vec<OpenStream>,
    /// Where each display id stands, in the whole notebook.
    displays: HashMap<String, Vec<(usize, usize)>>,
    widgets: Widgets,
    /// Where outputs go that memory need not hold; they stay in memory without one.
    shelf: Option<Shelf>,
    /// How much text of outputs is in memory, about, and which cells have it beside the running one.
    loose: usize,
    loose_cells: Vec<usize>,
    /// What cells handed on.
    pub(super) results: Object,
}

#[derive(Debug)]
struct OpenStream {
    name: String,
    output: usize,
    text: String,
    /// Where its last whole line ends.
    whole: usize,
    mask: StreamMask,
}

impl OpenStream {
    fn append(&mut self, text: &str) {
        if let Some(end) = text.rfind('\n') {
            self.whole = self.text.len() + end + 1;
        }
        self.text.push_str(text);
    }

    /// Puts lines away to which nothing will be added. The list has none of them yet.
    fn put_away(&mut self, lines_of: &mut Array, shelf: &Shelf) {
        let rest = self.text.split_off(self.whole);
        self.whole = 0;
        let mut text = std::mem::replace(&mut self.text, rest);
        if text.contains('\r') {
            text = overwritten(&text);
        }
        if let Json::Array(lines) = into_lines(text) {
            lines_of.items = lines.items;
        }
        // Without room for it on the disk the text has to stay.
        if lines_of.pack(shelf).is_err() {
            let mut text = Json::Array(std::mem::take(lines_of))
                .joined()
                .unwrap_or_default()
                .into_owned();
            self.whole = text.len();
            text.push_str(&self.text);
            self.text = text;
        }
    }
}

/// What a message meant to somebody who watches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    Display(String),
    Error {
        name: String,
        value: String,
        traceback: Vec<String>,
    },
}

impl Outputs {
    /// Outputs that need not be in memory go to `shelf`.
    pub(super) fn with_shelf(shelf: Shelf) -> Self {
        Self {
            shelf: Some(shelf),
            ..Self::default()
        }
    }

    /// Begins a cell with no outputs.
    pub(super) fn begin(&mut self, notebook: &mut Notebook, cell: usize) {
        if self.cell != cell {
            self.loose_cells.push(self.cell);
        }
        self.put_earlier_away(notebook);
        self.cell = cell;
        self.clear(notebook);
    }

    /// Puts what earlier cells put out away once there is much in memory.
    fn put_earlier_away(&mut self, notebook: &mut Notebook) {
        if let Some(shelf) = self.shelf.as_ref().filter(|_| self.loose > MUCH) {
            for cell in self.loose_cells.drain(..) {
                // What the disk doesn't take stays in memory.
                let _ = outputs_of(notebook, cell).map(|outputs| outputs.pack(shelf));
            }
            let running = outputs_of(notebook, self.cell).map(|outputs| &outputs.items);
            self.loose = running.into_iter().flatten().map(Json::weight).sum();
        }
    }

    /// Adds an output. Those before it are put away once there is much in memory, unless something is still added to them.
    fn push(&mut self, notebook: &mut Notebook, output: Json) -> usize {
        if self.streams.is_empty() {
            self.put_earlier_away(notebook);
            if let Some(shelf) = self.shelf.as_ref().filter(|_| self.loose > MUCH)
                && let Some(outputs) = outputs_of(notebook, self.cell)
            {
                let _ = outputs.pack(shelf);
                self.loose = outputs.items.iter().map(Json::weight).sum();
            }
        }
        self.loose += output.weight();
        outputs_of(notebook, self.cell).map_or(0, |outputs| {
            outputs.items.push(output);
            outputs.len() - 1
        })
    }

    /// Goes on with a cell that has outputs.
    pub(super) fn resume(&mut self, cell: usize) {
        self.cell = cell;
    }

    fn clear(&mut self, notebook: &mut Notebook) {
        self.clear_before_next = false;
        self.streams.clear();
        let cell = self.cell;
        for places in self.displays.values_mut() {
            places.retain(|(at, _)| *at != cell);
        }
        if let Some(object) = notebook.cell_mut(cell) {
            object.set("outputs", Json::from(Vec::new()));
        }
    }

    /// Takes one message of the running cell.
    pub(super) fn take(&mut self, notebook: &mut Notebook, masker: &Masker, message: &Message) -> Shown {
        let (kind, content) = (message.kind.as_str(), &message.content);
        match kind {
            "comm_open" | "comm_msg" => {
                self.widgets.take(message);
                return Shown::Nothing;
            }
            "clear_output" => {
                let wait = matches!(content.get("wait"), Some(Json::Bool(true)));
                if self.widgets.captures(&message.parent) {
                    self.widgets.clear(&message.parent, wait);
                } else if wait {
                    self.clear_before_next = true;
                } else {
                    self.clear(notebook);
                }
                return Shown::Nothing;
            }
            "update_display_data" => {
                self.update(notebook, masker, content);
                return Shown::Nothing;
            }
            "execute_input" => {
                let count = content.get("execution_count").cloned().unwrap_or(Json::Null);
                if let Some(cell) = notebook.cell_mut(self.cell) {
                    cell.set("execution_count", count);
                }
                return Shown::Nothing;
            }
            "display_data" | "execute_result" | "error" => {}
            _ => return Shown::Nothing,
        }
        if kind == "execute_result"
            && let Some(count @ Json::Number(_)) = content.get("execution_count")
            && let Some(cell) = notebook.cell_mut(self.cell)
        {
            cell.set("execution_count", count.clone());
        }
        // What stands under the same id elsewhere changes along with it.
        if matches!(kind, "display_data" | "execute_result") {
            self.update(notebook, masker, content);
        }
        if self.widgets.captures(&message.parent) {
            return self.captured(message, masker);
        }
        if self.clear_before_next {
            self.clear(notebook);
        }
        self.close_streams(notebook, masker);
        let (mut output, shown) = if kind == "error" {
            error(content, masker)
        } else {
            display(content, kind, masker)
        };
        masker.mask_output(&mut output);
        if let Some(Json::Object(result)) = output.get("data").and_then(|data| data.get(RESULT_TYPE)) {
            for (name, value) in result.iter() {
                self.results.set(&name, value.clone());
            }
        }
        let place = self.push(notebook, output);
        if let Some(id) = content
            .get("transient")
            .and_then(|transient| transient.text("display_id"))
        {
            self.displays
                .entry(id.into_owned())
                .or_default()
                .push((self.cell, place));
        }
        shown
    }

    /// Takes text of a stream that `request` put out.
    pub(super) fn take_stream(
        &mut self,
        notebook: &mut Notebook,
        masker: &Masker,
        request: &str,
        name: &str,
        text: String,
    ) {
        if self.widgets.captures(request) {
            let output = Object::new()
                .with("name", name)
                .with("output_type", "stream")
                .with("text", text);
            let mut output = Json::Object(output);
            masker.mask_output(&mut output);
            self.widgets.capture(request, output);
            return;
        }
        if self.clear_before_next {
            self.clear(notebook);
        }
        self.stream(notebook, masker, name, text);
    }

    /// Gives an output to the widget that captures. Such outputs are kept whole, not as lines.
    fn captured(&mut self, message: &Message, masker: &Masker) -> Shown {
        let (kind, content) = (message.kind.as_str(), &message.content);
        let (mut output, shown) = if kind == "error" {
            error(content, masker)
        } else {
            display(content, kind, masker)
        };
        masker.mask_output(&mut output);
        let data = output
            .as_object_mut()
            .and_then(|output| output.get_mut("data"))
            .and_then(Json::as_object_mut);
        for (mime, value) in data.into_iter().flat_map(Object::values_mut) {
            if is_lines(&mime)
                && let Some(text) = value.joined().map(|text| text.into_owned())
            {
                *value = text.into();
            }
        }
        self.widgets.capture(&message.parent, output);
        shown
    }

    /// What the kernel has to be told about its widgets, after a cell.
    pub(super) fn unsent(&mut self) -> Vec<Object> {
        self.widgets.unsent()
    }

    /// Puts the widgets' states into the notebook's metadata, beside those that are there if the kernel `went_on`.
    pub(super) fn store_widgets(&self, notebook: &mut Notebook, went_on: bool) {
        self.widgets.store(notebook, went_on);
    }

    /// Adds an output of our own.
    pub(super) fn add_error(&mut self, notebook: &mut Notebook, masker: &Masker, name: &str, value: &str) {
        self.close_streams(notebook, masker);
        let content = Object::new()
            .with("ename", name)
            .with("evalue", value)
            .with("traceback", Json::from(vec![Json::from(format!("{name}: {value}"))]));
        let (mut output, _) = error(&Json::Object(content), masker);
        masker.mask_output(&mut output);
        self.push(notebook, output);
    }

    fn stream(&mut self, notebook: &mut Notebook, masker: &Masker, name: &str, text: String) {
        let known = self.streams.iter().position(|open| open.name == name);
        let at = known.unwrap_or_else(|| {
            let output = Object::new()
                .with("name", name)
                .with("output_type", "stream")
                .with("text", Json::from(Vec::new()));
            let output = self.push(notebook, Json::Object(output));
            self.streams.push(OpenStream {
                name: name.to_owned(),
                output,
                text: String::new(),
                whole: 0,
                mask: StreamMask::default(),
            });
            self.streams.len() - 1
        });
        let open = &mut self.streams[at];
        if open.text.len() > MUCH
            && open.whole > 0
            && let Some(shelf) = &self.shelf
            && let Some(lines_of) = text_of(notebook, self.cell, open.output)
        {
            open.put_away(lines_of, shelf);
        }
        if masker.is_empty() && open.text.is_empty() {
            // The first is often the only one, and may be large.
            open.whole = text.rfind('\n').map_or(0, |end| end + 1);
            open.text = text;
        } else {
            let safe = open.mask.feed(masker, &text);
            open.append(&safe);
            // A bar that is drawn again and again on one line.
            if open.text.len() > MUCH && open.whole == 0 && safe.contains('\r') {
                open.text = overwritten(&open.text);
            }
        }
    }

    /// Writes the streams so far into the notebook. What could still become a secret stays out.
    pub(super) fn write_streams(&mut self, notebook: &mut Notebook) {
        self.put_streams(notebook, |text| lines(text));
    }

    fn put_streams(&mut self, notebook: &mut Notebook, to_lines: impl Fn(&mut String) -> Json) {
        for open in &mut self.streams {
            if open.text.contains('\r') {
                open.text = overwritten(&open.text);
                open.whole = open.text.rfind('\n').map_or(0, |end| end + 1);
            }
            if let Some(lines_of) = text_of(notebook, self.cell, open.output)
                && let Json::Array(lines) = to_lines(&mut open.text)
            {
                lines_of.items = lines.items;
            }
        }
    }

    /// Ends the streams: nothing will be added to them.
    pub(super) fn close_streams(&mut self, notebook: &mut Notebook, masker: &Masker) {
        for open in &mut self.streams {
            let rest = open.mask.flush(masker);
            open.append(&rest);
            self.loose += open.text.len();
        }
        self.put_streams(notebook, |text| into_lines(std::mem::take(text)));
        // Which of the two came first is chance: they reach us by different ways. Standard output stands first, always.
        let place = |name: &str| {
            self.streams
                .iter()
                .find(|open| open.name == name)
                .map(|open| open.output)
        };
        if let (Some(stderr), Some(stdout)) = (place("stderr"), place("stdout"))
            && stdout == stderr + 1
            && let Some(outputs) = outputs_of(notebook, self.cell)
            && stdout < outputs.len()
            && let Some(stderr) = stderr.checked_sub(outputs.put_away())
        {
            outputs.items.swap(stderr, stderr + 1);
        }
        self.streams.clear();
    }

    fn update(&mut self, notebook: &mut Notebook, masker: &Masker, content: &Json) {
        let Some(id) = content
            .get("transient")
            .and_then(|transient| transient.text("display_id"))
        else {
            return;
        };
        let (mut new, _) = display(content, "display_data", masker);
        masker.mask_output(&mut new);
        for (cell, place) in self.displays.get(&*id).into_iter().flatten() {
            let output = outputs_of(notebook, *cell)
                .and_then(|outputs| outputs.item_mut(*place))
                .and_then(Json::as_object_mut);
            if let Some(output) = output {
                for key in ["data", "metadata"] {
                    output.set(key, new.get(key).cloned().unwrap_or_else(|| Object::new().into()));
                }
            }
        }
    }
}

/// What an output means as a result: its JSON data, or its text, whole or its last line, read as a JSON object. Kernels
/// that show a string in quotes are understood too.
pub(super) fn tagged_result(output: &Json) -> Option<Object> {
    let data = output.get("data");
    if let Some(Json::Object(object)) = data.and_then(|data| data.get("application/json")) {
        return Some(object.clone());
    }
    let text = match output.get("text") {
        Some(text) => text.joined(),
        None => data.and_then(|data| data.get("text/plain")).and_then(Json::joined),
    }?;
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    [&*text, last].into_iter().find_map(as_object)
}

fn as_object(text: &str) -> Option<Object> {
    let text = text.trim();
    let unquoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    match json::parse(unquoted.unwrap_or(text)).ok()?.restyled() {
        Json::Object(object) => Some(object),
        Json::String(inner) => match json::parse(inner.decode().trim()).ok()?.restyled() {
            Json::Object(object) => Some(object),
            _ => None,
        },
        _ => None,
    }
}

fn outputs_of(notebook: &mut Notebook, cell: usize) -> Option<&mut Array> {
    notebook.cell_mut(cell)?.get_mut("outputs")?.as_list_mut()
}

/// The lines of a stream's output.
fn text_of(notebook: &mut Notebook, cell: usize, place: usize) -> Option<&mut Array> {
    let output = outputs_of(notebook, cell)?.item_mut(place)?.as_object_mut()?;
    output.get_mut("text")?.as_list_mut()
}

/// Whether notebooks keep this type's text as a list of lines.
fn is_lines(mime: &str) -> bool {
    mime.starts_with("text/") || mime == "image/svg+xml" || mime == "application/javascript"
}

/// Key order and line lists are nbformat's, so that files differ only where outputs do.
fn display(content: &Json, kind: &str, masker: &Masker) -> (Json, Shown) {
    let mut data = Object::new();
    for (mime, value) in content
        .get("data")
        .and_then(Json::as_object)
        .into_iter()
        .flat_map(Object::iter)
    {
        let value = match value.as_str() {
            Some(text) if is_lines(&mime) => lines(&masker.mask_coloured(&text)),
            _ => value.clone(),
        };
        data.set(&mime, value);
    }
    let shown = match data.get("text/plain").and_then(Json::joined) {
        Some(text) => Shown::Display(text.into_owned()),
        None => Shown::Display(
            data.iter()
                .next()
                .map(|(mime, _)| format!("<{mime}>"))
                .unwrap_or_default(),
        ),
    };
    let mut output = Object::new().with("data", data);
    if kind == "execute_result" {
        output.set(
            "execution_count",
            content.get("execution_count").cloned().unwrap_or(Json::Null),
        );
    }
    output.set(
        "metadata",
        content.get("metadata").cloned().unwrap_or_else(|| Object::new().into()),
    );
    output.set("output_type", kind);
    (Json::Object(output), shown)
}

fn error(content: &Json, masker: &Masker) -> (Json, Shown) {
    let text = |key: &str| {
        content
            .text(key)
            .map(|text| masker.mask_coloured(&text).into_owned())
            .unwrap_or_default()
    };
    let (name, value) = (text("ename"), text("evalue"));
    let traceback: Vec<String> = content
        .get("traceback")
        .and_then(Json::as_array)
        .map(|frames| {
            frames
                .iter()
                .filter_map(|frame| Some(masker.mask_coloured(&frame.as_str()?).into_owned()))
                .collect()
        })
        .unwrap_or_default();
    let output = Object::new()
        .with("ename", name.as_str())
        .with("evalue", value.as_str())
        .with("output_type", "error")
        .with(
            "traceback",
            Json::from(
                traceback
                    .iter()
                    .map(|frame| Json::from(frame.as_str()))
                    .collect::<Vec<_>>(),
            ),
        );
    (Json::Object(output), Shown::Error { name, value, traceback })
}

/// A progress bar writes one line again and again: only what a terminal would still show at the end of it is kept.
fn overwritten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = match (line.strip_suffix("\r\n"), line.strip_suffix('\n')) {
            (Some(body), _) => (body, "\r\n"),
            (None, Some(body)) => (body, "\n"),
            (None, None) => (line, ""),
        };
        // A return at the very end has nothing written over yet.
        let keep = body
            .strip_suffix('\r')
            .unwrap_or(body)
            .rfind('\r')
            .map_or(0, |at| at + 1);
        out.push_str(&body[keep..]);
        out.push_str(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{as_object, overwritten};

    #[test]
    fn a_tagged_result_is_an_object_in_any_kernels_spelling() {
        for text in ["{\"a\": 1}\n", "'{\"a\": 1}'", "\"{\\\"a\\\": 1}\""] {
            assert_eq!(as_object(text).unwrap().get("a").unwrap().as_i64(), Some(1), "{text}");
        }
        for text in ["", "[1]", "5", "\"text\"", "a: 1"] {
            assert_eq!(as_object(text), None, "{text}");
        }
    }

    #[test]
    fn lines_written_over_keep_what_a_terminal_shows_last() {
        let cases = [
            ("plain\n", "plain\n"),
            ("10%\r20%\r30%", "30%"),
            ("10%\r20%\r", "20%\r"),
            ("a\rb\nc\rd\n", "b\nd\n"),
            ("windows\r\nlines\r\n", "windows\r\nlines\r\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(overwritten(text), expected, "{text:?}");
        }
    }
}
