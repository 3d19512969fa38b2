//! Jupyter's message format, from the kernel's side.
//!
//! Written by hand rather than taken from a crate: the format is one signature and four JSON objects, and what arrives
//! must be read leniently (a front end may send fields that nobody has heard of).

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use zeromq::ZmqMessage;

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Who asked, in the sockets' own terms; goes before the reply.
    identities: Vec<Bytes>,
    pub(crate) header: Value,
    pub(crate) content: Value,
}

impl Request {
    pub(crate) fn kind(&self) -> &str {
        self.header["msg_type"].as_str().unwrap_or("")
    }

    /// A boolean in the content, or what the protocol takes when it is left out.
    pub(crate) fn flag(&self, name: &str, otherwise: bool) -> bool {
        self.content[name].as_bool().unwrap_or(otherwise)
    }
}

/// Makes and reads the messages of one connection.
#[derive(Debug)]
pub(crate) struct Messages {
    key: String,
    session: String,
}

impl Messages {
    /// With an empty `key` nothing is signed or checked, as the protocol has it.
    pub(crate) fn new(key: String) -> Self {
        Self {
            key,
            session: uuid::Uuid::new_v4().to_string(),
        }
    }

    fn signature(&self, parts: [&[u8]; 4]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    /// Reads a request; `None` if it is none or not signed with our key.
    pub(crate) fn read(&self, message: ZmqMessage) -> Option<Request> {
        let frames = message.into_vec();
        let start = frames.iter().position(|frame| frame.as_ref() == DELIMITER)?;
        let [tag, header, parent, metadata, content, ..] = &frames[start + 1..] else {
            return None;
        };
        if !self.key.is_empty() {
            let tag = from_hex(tag)?;
            self.signature([header, parent, metadata, content])?
                .verify_slice(&tag)
                .ok()?;
        }
        Some(Request {
            identities: frames[..start].to_vec(),
            header: read_json(header)?,
            content: read_json(content)?,
        })
    }

    /// The answer to `request`; its type follows from the request's.
    pub(crate) fn reply(&self, request: &Request, content: Value) -> Option<ZmqMessage> {
        let kind = request.kind().replace("_request", "_reply");
        self.message(request.identities.clone(), &request.header, &kind, content)
    }

    /// A message for everybody, caused by the request with this header.
    pub(crate) fn broadcast(&self, parent: &Value, kind: &str, content: Value) -> Option<ZmqMessage> {
        let topic = Bytes::copy_from_slice(kind.as_bytes());
        self.message(vec![topic], parent, kind, content)
    }

    fn message(&self, mut frames: Vec<Bytes>, parent: &Value, kind: &str, content: Value) -> Option<ZmqMessage> {
        let header = json!({
            "msg_id": uuid::Uuid::new_v4().to_string(),
            "session": self.session,
            "username": "kernel",
            "date": jiff::Timestamp::now().to_string(),
            "msg_type": kind,
            "version": "5.3",
        });
        let parts = [
            header.to_string(),
            parent.to_string(),
            "{}".to_owned(),
            content.to_string(),
        ];
        let [header, parent, metadata, content] = &parts;
        let tag = if self.key.is_empty() {
            String::new()
        } else {
            let tag = self
                .signature([
                    header.as_bytes(),
                    parent.as_bytes(),
                    metadata.as_bytes(),
                    content.as_bytes(),
                ])?
                .finalize()
                .into_bytes();
            tag.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        frames.push(Bytes::from_static(DELIMITER));
        frames.push(Bytes::from(tag));
        frames.extend(parts.into_iter().map(Bytes::from));
        ZmqMessage::try_from(frames).ok()
    }
}

fn read_json(frame: &[u8]) -> Option<Value> {
    serde_json::from_str(&String::from_utf8_lossy(frame)).ok()
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() % 2 != 0 {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
