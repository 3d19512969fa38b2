//! Jupyter's message format.
//!
//! Sent messages are exact; received ones are read leniently, because kernels print lone surrogates and other things that
//! strict readers stop at. A message with a wrong signature is not ours and is told apart from one that is.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

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
    pub(crate) buffers: Vec<Vec<u8>>,
}

/// What frames turned out to be.
#[derive(Debug)]
pub(super) enum Read {
    Message(Message),
    /// Made without the key.
    BadSignature,
    /// No message at all, or of a shape that cannot be read.
    Unreadable,
}

/// A request, ready to be sent.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: String,
    frames: [Vec<u8>; 6],
}

impl Request {
    pub(super) fn frames(&self) -> [&[u8]; 6] {
        self.frames.each_ref().map(Vec::as_slice)
    }
}

/// Our end of a conversation.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    key: String,
    /// The key, taken in: every message's signature starts from here.
    keyed: Option<Hmac<Sha256>>,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self::with_key(uuid::Uuid::new_v4().to_string())
    }

    /// A conversation with a kernel that has a key already.
    pub(crate) fn with_key(key: String) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            keyed: Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok(),
            key,
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn signature(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = self.keyed.clone()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    fn tag(&self, parts: &[&[u8]]) -> Option<Vec<u8>> {
        let tag = self.signature(parts)?.finalize().into_bytes();
        Some(
            tag.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into_bytes(),
        )
    }

    /// A request of `kind`.
    pub(super) fn request(&self, kind: &str, content: Object) -> Option<Request> {
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
        let tag = self.tag(&[header.as_bytes(), b"{}", b"{}", content.as_bytes()])?;
        Some(Request {
            id,
            frames: [
                DELIMITER.to_vec(),
                tag,
                header.into_bytes(),
                b"{}".to_vec(),
                b"{}".to_vec(),
                content.into_bytes(),
            ],
        })
    }

    /// Reads a message. The content's memory is the frame's own where that is worth it.
    pub(super) fn read(&self, mut frames: Vec<Vec<u8>>) -> Read {
        let Some(start) = frames.iter().position(|frame| frame == DELIMITER) else {
            return Read::Unreadable;
        };
        let [tag, header, parent, metadata, content, buffers @ ..] = &mut frames[start + 1..] else {
            return Read::Unreadable;
        };
        let signed = from_hex(tag)
            .zip(self.signature(&[header, parent, metadata, content]))
            .is_some_and(|(tag, signature)| signature.verify_slice(&tag).is_ok());
        if !signed {
            return Read::BadSignature;
        }
        let buffers = buffers.iter_mut().map(std::mem::take).collect();
        message(header, parent, std::mem::take(content), buffers).map_or(Read::Unreadable, Read::Message)
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
        signed = vec![DELIMITER.to_vec(), session.tag(&parts)?];
    }
    signed.extend(frames);
    match session.read(signed) {
        Read::Message(message) => Some((message.kind, message.content)),
        Read::BadSignature | Read::Unreadable => None,
    }
}

fn message(header: &[u8], parent: &[u8], content: Vec<u8>, buffers: Vec<Vec<u8>>) -> Option<Message> {
    let header = json::parse(&String::from_utf8_lossy(header)).ok()?;
    let parent = json::parse(&String::from_utf8_lossy(parent)).ok()?;
    let content =
        String::from_utf8(content).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Some(Message {
        kind: header.text("msg_type")?.into_owned(),
        parent: parent.text("msg_id").map(|id| id.into_owned()).unwrap_or_default(),
        date: header.text("date").map(|date| date.into_owned()),
        content: json::parse_owned(content).ok()?.restyled(),
        buffers,
    })
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
