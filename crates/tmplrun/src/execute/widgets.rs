//! Widgets: what a browser would keep of them.
//!
//! A kernel tells the state of its widgets over comms. The last state of each goes into the notebook's metadata, where
//! viewers find it. One widget needs an answer: what is printed while an output widget captures belongs to the widget, and
//! the kernel is told of it, as a browser would.

use std::collections::HashMap;

use base64::Engine as _;

use crate::json::{Json, Object};
use crate::kernel::Message;
use crate::notebook::Notebook;

const STATE_TYPE: &str = "application/vnd.jupyter.widget-state+json";

/// All widgets of one kernel.
#[derive(Debug, Default)]
pub(super) struct Widgets {
    /// In the order in which they were made.
    models: Vec<Model>,
    /// Output widgets that capture what a request puts out; the last one of a request has it.
    capturing: HashMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Model {
    id: String,
    state: Object,
    /// Binary parts of the state, each with its path.
    buffers: Vec<(Json, Object)>,
    output: Option<Captured>,
}

/// What an output widget holds.
#[derive(Debug, Default)]
struct Captured {
    clear_before_next: bool,
    request: String,
    /// The kernel has not been told yet.
    unsent: bool,
}

impl Widgets {
    /// Takes a message of a comm.
    pub(super) fn take(&mut self, message: &Message) {
        let (Some(id), Some(data)) = (message.content.text("comm_id"), message.content.get("data")) else {
            return;
        };
        let Some(Json::Object(update)) = data.get("state") else {
            return;
        };
        let at = self.models.iter().position(|model| model.id == id).unwrap_or_else(|| {
            self.models.push(Model {
                id: id.to_string(),
                state: Object::new(),
                buffers: Vec::new(),
                output: None,
            });
            self.models.len() - 1
        });
        let model = &mut self.models[at];
        for (key, value) in update.iter() {
            model.state.set(&key, value.clone());
        }
        let paths = data.get("buffer_paths").and_then(Json::as_array).unwrap_or_default();
        for (path, bytes) in paths.iter().zip(&message.buffers) {
            let buffer = Object::new()
                .with("data", base64::engine::general_purpose::STANDARD.encode(bytes))
                .with("encoding", "base64")
                .with("path", path.clone());
            match model.buffers.iter_mut().find(|(known, _)| known == path) {
                Some((_, known)) => *known = buffer,
                None => model.buffers.push((path.clone(), buffer)),
            }
        }
        if message.kind == "comm_open" {
            let is = |key: &str, value: &str| update.get(key).and_then(Json::as_str).as_deref() == Some(value);
            let captures = message.content.text("target_name").as_deref() == Some("jupyter.widget")
                && is("_model_module", "@jupyter-widgets/output")
                && is("_model_name", "OutputModel");
            model.output = captures.then(Captured::default);
            return;
        }
        let request = update.get("msg_id").and_then(Json::as_str);
        if let (Some(request), Some(captured)) = (request, &mut model.output) {
            let id = id.into_owned();
            if request.is_empty() {
                if let Some(stack) = self.capturing.get_mut(&captured.request) {
                    stack.retain(|other| *other != id);
                }
            } else {
                self.capturing.entry(request.to_string()).or_default().push(id);
            }
            captured.request = request.into_owned();
        }
    }

    fn captor(&mut self, request: &str) -> Option<&mut Model> {
        let id = self.capturing.get(request)?.last()?;
        self.models.iter_mut().find(|model| model.id == *id)
    }

    /// Whether what `request` puts out now belongs to a widget.
    pub(super) fn captures(&mut self, request: &str) -> bool {
        self.captor(request).is_some()
    }

    /// Gives an output, or more of a stream, to the widget that captures.
    pub(super) fn capture(&mut self, request: &str, output: Json) {
        let Some(model) = self.captor(request) else { return };
        let Some(captured) = &mut model.output else { return };
        captured.unsent = true;
        if std::mem::take(&mut captured.clear_before_next) {
            model.state.set("outputs", Json::from(Vec::new()));
        }
        if !matches!(model.state.get("outputs"), Some(Json::Array(_))) {
            model.state.set("outputs", Json::from(Vec::new()));
        }
        let Some(outputs) = model.state.get_mut("outputs").and_then(Json::as_array_mut) else {
            return;
        };
        let same = |key: &str, last: &Json| last.get(key).is_some() && last.get(key) == output.get(key);
        match outputs.last_mut() {
            Some(last) if same("name", last) && same("output_type", last) => {
                let text = [last.text("text"), output.text("text")]
                    .map(Option::unwrap_or_default)
                    .concat();
                if let Some(last) = last.as_object_mut() {
                    last.set("text", text);
                }
            }
            _ => outputs.push(output),
        }
    }

    /// Empties the widget that captures, now or with its next output.
    pub(super) fn clear(&mut self, request: &str, wait: bool) {
        let Some(model) = self.captor(request) else { return };
        let Some(captured) = &mut model.output else { return };
        captured.clear_before_next = wait;
        if !wait {
            captured.unsent = true;
            model.state.set("outputs", Json::from(Vec::new()));
        }
    }

    /// What the kernel has to be told: the content of one `comm_msg` for each widget that changed here. The kernel reads
    /// them after the cell, so once per cell is enough.
    pub(super) fn unsent(&mut self) -> Vec<Object> {
        let mut messages = Vec::new();
        for model in &mut self.models {
            let Some(captured) = &mut model.output else { continue };
            if std::mem::take(&mut captured.unsent) {
                let outputs = model.state.get("outputs").cloned().unwrap_or(Json::Null);
                let data = Object::new()
                    .with("buffer_paths", Json::from(Vec::new()))
                    .with("method", "update")
                    .with("state", Object::new().with("outputs", outputs));
                messages.push(Object::new().with("comm_id", model.id.as_str()).with("data", data));
            }
        }
        messages
    }

    /// Puts the last states into the notebook's metadata. A notebook whose run made no widget keeps what it has, and so does
    /// one whose kernel `went_on` from an earlier run: the widgets that are there are this kernel's, too.
    pub(super) fn store(&self, notebook: &mut Notebook, went_on: bool) {
        if self.models.is_empty() {
            return;
        }
        let earlier = notebook
            .metadata()
            .and_then(|metadata| metadata.get("widgets")?.get(STATE_TYPE)?.get("state")?.as_object())
            .filter(|_| went_on);
        let mut models = earlier.cloned().unwrap_or_default();
        for model in &self.models {
            let Some(name) = model.state.get("_model_name") else {
                continue;
            };
            let value = |key: &str| model.state.get(key).cloned().unwrap_or(Json::Null);
            let mut entry = Object::new();
            if !model.buffers.is_empty() {
                let buffers = model.buffers.iter().map(|(_, buffer)| Json::from(buffer.clone()));
                entry.set("buffers", Json::from(buffers.collect::<Vec<_>>()));
            }
            entry.set("model_module", value("_model_module"));
            entry.set("model_module_version", value("_model_module_version"));
            entry.set("model_name", name.clone());
            entry.set("state", model.state.clone());
            models.set(&model.id, entry);
        }
        let stored = Object::new()
            .with("state", models)
            .with("version_major", 2_i64)
            .with("version_minor", 0_i64);
        notebook
            .metadata_mut()
            .set("widgets", Object::new().with(STATE_TYPE, stored));
    }
}
