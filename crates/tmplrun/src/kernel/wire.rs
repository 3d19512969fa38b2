//! Jupyter's message format.
//!
//! Sent messages are exact; received ones are read leniently, because kernels print lone surrogates and other things that
//! strict readers stop at. A message with a wrong signature is not ours and is dropped.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeromq::ZmqMessage;

use crate::json::{self, Json, Object};

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// One received message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: String,
    /// The id of the request that caused it.
    pub(crate) parent: String,
    /// The kernel's own time stamp.
    pub(crate) date: Option<String>,
    pub(crate) content: Json,
    /// Binary parts, which only messages about widgets have.
    pub(crate) buffers: Vec<Bytes>,
}

/// Our end of a conversation.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    key: String,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            key: uuid::Uuid::new_v4().to_string(),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn signature(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    fn tag(&self, parts: &[&[u8]]) -> Option<Bytes> {
        let tag = self.signature(parts)?.finalize().into_bytes();
        Some(tag.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// A request of `kind`; gives its id too.
    pub(crate) fn request(&self, kind: &str, content: Object) -> Option<(String, ZmqMessage)> {
        let id = uuid::Uuid::new_v4().to_string();
        let header = Json::from(
            Object::new()
                .with("msg_id", id.as_str())
                .with("session", self.id.as_str())
                .with("username", "tmplrun")
                .with("date", crate::clock::now().as_str())
                .with("msg_type", kind)
                .with("version", "5.3"),
        )
        .to_compact();
        let content = Json::from(content).to_compact();
        let parts: [&[u8]; 4] = [header.as_bytes(), b"{}", b"{}", content.as_bytes()];
        let mut frames = vec![Bytes::from_static(DELIMITER), self.tag(&parts)?];
        frames.extend(parts.iter().map(|part| Bytes::copy_from_slice(part)));
        Some((id, ZmqMessage::try_from(frames).ok()?))
    }

    /// Reads a message; `None` if it is no message of this conversation.
    pub(crate) fn read(&self, message: ZmqMessage) -> Option<Message> {
        let frames = message.into_vec();
        let start = frames.iter().position(|frame| frame.as_ref() == DELIMITER)?;
        let [tag, header, parent, metadata, content, buffers @ ..] = &frames[start + 1..] else {
            return None;
        };
        let tag = from_hex(tag)?;
        self.signature(&[header, parent, metadata, content])?
            .verify_slice(&tag)
            .ok()?;
        let header = lenient(header)?;
        Some(Message {
            kind: header.text("msg_type")?.into_owned(),
            parent: lenient(parent)?
                .text("msg_id")
                .map(|id| id.into_owned())
                .unwrap_or_default(),
            date: header.text("date").map(|date| date.into_owned()),
            content: lenient(content)?,
            buffers: buffers.to_vec(),
        })
    }
}

/// Reads frames as those of a kernel are read, signed first if `sign` says so, and gives the message's kind and content.
/// Nothing but fuzzing needs it.
#[doc(hidden)]
#[must_use]
pub fn read_frames(frames: Vec<Vec<u8>>, sign: bool) -> Option<(String, Json)> {
    let session = Session::new();
    let mut signed = Vec::new();
    if sign {
        let parts: Vec<&[u8]> = frames.iter().take(4).map(Vec::as_slice).collect();
        signed = vec![Bytes::from_static(DELIMITER), session.tag(&parts)?];
    }
    signed.extend(frames.into_iter().map(Bytes::from));
    let message = session.read(ZmqMessage::try_from(signed).ok()?)?;
    Some((message.kind, message.content))
}

fn lenient(frame: &[u8]) -> Option<Json> {
    json::parse(&String::from_utf8_lossy(frame)).ok().map(Json::restyled)
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
