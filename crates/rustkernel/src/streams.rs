//! The kernel's end of the relay's socket: what cells print becomes broadcasts at once, the rest is noted for whoever
//! runs the cell.
//!
//! A thread waits for what arrives. Whoever runs the cell calls [`Streams::settle`] when evcxr says that it is done;
//! by then all that belongs to it lies in the socket (see [`crate::relay`]), so nothing is waited for.

use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use serde_json::{Value, json};

use crate::relay::Frame;
use crate::server::Outlet;

/// So much of a cell's standard error is kept, to find a panic's message in.
const KEPT_ERRORS: usize = 1 << 16;

/// What became known about a cell from the relay.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// It panicked.
    pub(crate) panicked: bool,
    /// A `?` ended it.
    pub(crate) failed: bool,
    /// The process that runs cells ended; how, in words.
    pub(crate) ended: Option<String>,
    /// The last of what it wrote on standard error.
    pub(crate) errors: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Streams {
    path: PathBuf,
    listener: UnixListener,
    watch: OwnedFd,
    outlet: Outlet,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The header of the request whose cell runs, or ran last: what it left running may still print.
    parent: Value,
    peer: Option<Peer>,
    relay: Option<i32>,
    notes: Notes,
}

#[derive(Debug)]
struct Peer {
    socket: UnixStream,
    frames: Vec<u8>,
    stdout: Text,
    stderr: Text,
}

impl Streams {
    /// Listens at `path` and starts the thread that waits there.
    pub(crate) fn listen(path: &Path, outlet: Outlet) -> std::io::Result<Arc<Self>> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&watch, &listener, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        let streams = Arc::new(Self {
            path: path.to_owned(),
            listener,
            watch,
            outlet,
            state: Mutex::default(),
        });
        let waiting = Arc::clone(&streams);
        std::thread::Builder::new().name("streams".to_owned()).spawn(move || {
            let mut events = [epoll::Event {
                flags: epoll::EventFlags::empty(),
                data: epoll::EventData::new_u64(0),
            }; 2];
            loop {
                match epoll::wait(&waiting.watch, &mut events, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => waiting.pump(&mut waiting.lock()),
                    Err(_) => return,
                }
            }
        })?;
        Ok(streams)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What arrives from now on belongs to this request.
    pub(crate) fn begin(&self, parent: &Value) {
        let mut state = self.lock();
        self.pump(&mut state);
        state.parent = parent.clone();
        state.notes = Notes::default();
    }

    /// Takes in everything that is there and gives what became known about the cell.
    pub(crate) fn settle(&self) -> Notes {
        let mut state = self.lock();
        self.pump(&mut state);
        std::mem::take(&mut state.notes)
    }

    /// Where relays reach it.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The process number of the relay that is connected.
    pub(crate) fn relay(&self) -> Option<i32> {
        self.lock().relay
    }

    fn pump(&self, state: &mut State) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let Some(peer) = &mut state.peer else {
                let Ok((socket, _)) = self.listener.accept() else {
                    return;
                };
                let watched = socket.set_nonblocking(true).is_ok()
                    && epoll::add(
                        &self.watch,
                        &socket,
                        epoll::EventData::new_u64(1),
                        epoll::EventFlags::IN,
                    )
                    .is_ok();
                if watched {
                    state.peer = Some(Peer {
                        socket,
                        frames: Vec::new(),
                        stdout: Text::default(),
                        stderr: Text::default(),
                    });
                }
                continue;
            };
            match peer.socket.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    peer.frames.extend_from_slice(&buffer[..count]);
                    self.frames(state);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => {
                    state.peer = None;
                    state.relay = None;
                }
            }
        }
    }

    fn frames(&self, state: &mut State) {
        let Some(peer) = &mut state.peer else {
            return;
        };
        let mut at = 0;
        while let Some(header) = peer.frames.get(at..at + Frame::HEADER) {
            let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
            let kind = Frame::from_byte(header[0]);
            let start = at + Frame::HEADER;
            let Some(content) = peer.frames.get(start..start + length) else {
                break;
            };
            at = start + length;
            match kind {
                Some(Frame::Hello) => state.relay = String::from_utf8_lossy(content).parse().ok(),
                Some(Frame::Stdout) => {
                    let text = peer.stdout.push(content);
                    self.outlet.stream(&state.parent, "stdout", &text);
                }
                Some(Frame::Stderr) => {
                    let text = peer.stderr.push(content);
                    keep_end(&mut state.notes.errors, &text);
                    self.outlet.stream(&state.parent, "stderr", &text);
                }
                Some(Frame::Panicked) => state.notes.panicked = true,
                Some(Frame::Failed) => state.notes.failed = true,
                Some(Frame::Ended) => state.notes.ended = Some(String::from_utf8_lossy(content).into_owned()),
                None => {}
            }
        }
        peer.frames.drain(..at);
    }
}

impl Outlet {
    fn stream(&self, parent: &Value, name: &str, text: &str) {
        if !text.is_empty() {
            self.broadcast(parent, "stream", json!({"name": name, "text": text}));
        }
    }
}

fn keep_end(kept: &mut String, text: &str) {
    kept.push_str(text);
    if kept.len() > 2 * KEPT_ERRORS {
        let mut from = kept.len() - KEPT_ERRORS;
        while !kept.is_char_boundary(from) {
            from += 1;
        }
        kept.drain(..from);
    }
}

/// Bytes that become text; a character that is cut in two waits for its other half.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl Text {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let cut = match std::str::from_utf8(&self.0) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // What follows a byte that belongs to no character may again be a character cut in two.
            Err(_) => self.0.len() - unfinished(&self.0),
            Ok(_) => self.0.len(),
        };
        let rest = self.0.split_off(cut);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }
}

/// How many of the last bytes begin a character and don't end it.
fn unfinished(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|length| {
            let tail = &bytes[bytes.len() - length..];
            matches!(std::str::from_utf8(tail), Err(error) if error.error_len().is_none() && error.valid_up_to() == 0)
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        let mut text = Text::default();
        assert_eq!(text.push("計".as_bytes().split_at(1).0), "");
        assert_eq!(text.push("計".as_bytes().split_at(1).1), "計");
        assert_eq!(text.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(text.push(b"\xff\xe8"), "\u{fffd}");
        assert_eq!(text.push(b"\xa8\x88"), "計");
    }

    #[test]
    fn the_end_of_long_errors_is_kept() {
        let mut kept = String::new();
        for number in 0..40_000 {
            keep_end(&mut kept, &format!("計{number}\n"));
        }
        assert!(kept.len() <= 2 * KEPT_ERRORS, "{}", kept.len());
        assert!(kept.ends_with("計39999\n"));
    }
}
