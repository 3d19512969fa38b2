//! ZeroMQ's wire protocol (ZMTP 3.0 without encryption), as far as a client of kernels needs it.
//!
//! Messages come in bursts of thousands. What they cost is not their bytes but the wake-ups: a kernel that prints wakes
//! its own sending threads for each message, and a reader that is woken for each as well takes the processor away from
//! them. So a reader that finds itself in a burst looks away for a moment, with its descriptor taken out of the
//! runtime's watch, and then reads everything that has come meanwhile in one go. A reader that waits for a single answer
//! is woken at once.
//!
//! A frame is read straight into the buffer that its message keeps, so a message of 40 MB is in memory once.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// So many messages since the last [`Socket::expect_answer`] make a burst.
const BURST: u32 = 24;
/// How long a reader looks away in a burst.
const REST: Duration = Duration::from_millis(1);
/// Read at once, if it is there.
const CHUNK: usize = 64 * 1024;
/// No message is longer. A frame that says it is comes from something that does not speak the protocol.
const LONGEST: u64 = 4 << 30;
/// Nor has any message more frames.
const MOST_FRAMES: usize = 4096;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Requests out, replies in.
    Dealer,
    /// Everything that is published.
    Subscriber,
}

/// A connected socket.
pub(super) struct Socket {
    link: Link,
    decoder: Decoder,
    since_answer: u32,
    /// The other side has closed it, or broken the protocol.
    ended: bool,
}

enum Link {
    Watched(AsyncFd<OwnedFd>),
    /// Out of the runtime's watch until then.
    Resting(OwnedFd, Instant),
    Closed,
}

impl Socket {
    /// Speaks to whoever listens on a Unix socket.
    pub(super) async fn unix(path: &Path, role: Role) -> io::Result<Self> {
        let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
        Self::greet(stream.into(), role).await
    }

    /// Speaks to whoever listens on a port of this machine.
    pub(super) async fn tcp(port: u16, role: Role) -> io::Result<Self> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Self::greet(stream.into_std()?.into(), role).await
    }

    async fn greet(descriptor: OwnedFd, role: Role) -> io::Result<Self> {
        let mut socket = Self {
            link: Link::Watched(super::readiness::watched(descriptor)?),
            decoder: Decoder::default(),
            since_answer: 0,
            ended: false,
        };
        let mut opening = vec![0; 64];
        (opening[0], opening[9], opening[10]) = (0xff, 0x7f, 3);
        opening[12..16].copy_from_slice(b"NULL");
        let kind: &[u8] = match role {
            Role::Dealer => b"DEALER",
            Role::Subscriber => b"SUB",
        };
        let mut ready = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
        ready.push(kind.len() as u8);
        ready.extend_from_slice(kind);
        if role == Role::Dealer {
            ready.extend_from_slice(b"\x08Identity\0\0\0\0");
        }
        put_frame(&mut opening, COMMAND, &ready);
        socket.write(&opening).await?;
        loop {
            if socket.decoder.next()?.is_some() {
                return Err(broken("a message came before the greeting ended"));
            }
            if socket.decoder.ready {
                if role == Role::Subscriber {
                    // To everything.
                    socket.write(b"\x00\x01\x01").await?;
                }
                return Ok(socket);
            }
            socket.read().await?;
        }
    }

    /// Says that a single answer is waited for, which is to be heard at once.
    pub(super) fn expect_answer(&mut self) {
        self.since_answer = 0;
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 9).sum());
        for (index, frame) in frames.iter().enumerate() {
            let more = if index + 1 < frames.len() { MORE } else { 0 };
            put_frame(&mut bytes, more, frame);
        }
        self.write(&bytes).await
    }

    /// A message that has been read already.
    fn buffered(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let message = self.decoder.next()?;
        if message.is_some() {
            self.since_answer = self.since_answer.saturating_add(1);
        }
        Ok(message)
    }

    /// Whether more can come.
    pub(super) fn is_open(&self) -> bool {
        !self.ended
    }

    /// The next message's frames. May be dropped and called again without losing anything.
    pub(super) async fn receive(&mut self) -> io::Result<Vec<Vec<u8>>> {
        loop {
            let read = match self.buffered() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => self.read().await,
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                self.ended = true;
                return Err(error);
            }
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        loop {
            if let Link::Resting(_, until) = self.link {
                tokio::time::sleep_until(until).await;
            }
            let watched = self.link.watch()?;
            match rustix::io::read(watched.get_ref(), self.decoder.room()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.decoder.filled(count);
                    return Ok(());
                }
                Err(Errno::AGAIN) if self.since_answer > BURST && !self.decoder.in_large_frame() => self.link.rest(),
                // Cleared before the next look, so nothing that comes meanwhile is missed.
                Err(Errno::AGAIN) => watched.readable().await?.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let watched = self.link.watch()?;
        while !bytes.is_empty() {
            match rustix::net::send(watched.get_ref(), bytes, rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => watched.writable().await?.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Link {
    /// The descriptor, in the runtime's watch.
    fn watch(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        if matches!(self, Self::Resting(..))
            && let Self::Resting(descriptor, _) = std::mem::replace(self, Self::Closed)
        {
            *self = Self::Watched(super::readiness::watched(descriptor)?);
        }
        match self {
            Self::Watched(watched) => Ok(watched),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes the descriptor out of the watch for a moment.
    fn rest(&mut self) {
        if let Self::Watched(watched) = std::mem::replace(self, Self::Closed) {
            *self = Self::Resting(watched.into_inner(), Instant::now() + REST);
        }
    }
}

fn put_frame(out: &mut Vec<u8>, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(length) => out.extend_from_slice(&[flags, length]),
        Err(_) => {
            out.push(flags | LONG);
            out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
}

/// From bytes, in whatever pieces they come, to messages.
#[derive(Default)]
struct Decoder {
    greeted: bool,
    ready: bool,
    /// Bytes that no frame has taken yet, from `start` on; room for more behind `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A long frame that is being read: its flags, its whole length, what there is of it.
    large: Option<(u8, usize, Vec<u8>, usize)>,
    frames: Vec<Vec<u8>>,
}

impl Decoder {
    fn in_large_frame(&self) -> bool {
        self.large.is_some()
    }

    /// Where the next bytes go.
    fn room(&mut self) -> &mut [u8] {
        if let Some((_, length, body, filled)) = &mut self.large {
            if *filled == body.len() {
                // Grows with what really comes: a length alone costs nothing.
                let grown = (*filled + (4 << 20)).max(*filled * 2).min(*length);
                body.reserve_exact(grown - *filled);
                body.resize(grown, 0);
            }
            return &mut body[*filled..];
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < CHUNK {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.end < CHUNK {
            self.buffer.resize(self.end + CHUNK, 0);
        }
        &mut self.buffer[self.end..]
    }

    fn filled(&mut self, count: usize) {
        match &mut self.large {
            Some((_, _, _, filled)) => *filled += count,
            None => self.end += count,
        }
    }

    /// The next whole message, if there is one.
    fn next(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        loop {
            let (flags, body) = match self.frame()? {
                Some(frame) => frame,
                None => return Ok(None),
            };
            if flags & COMMAND != 0 {
                if body.starts_with(b"\x05ERROR") {
                    return Err(broken("the other side refuses"));
                }
                if !self.ready && body.starts_with(b"\x05READY") {
                    self.ready = true;
                    // Whoever waits for the end of the greeting is told before the first message is taken.
                    return Ok(None);
                }
                continue;
            }
            self.frames.push(body);
            if self.frames.len() > MOST_FRAMES {
                return Err(broken("a message has too many frames"));
            }
            if flags & MORE == 0 {
                return Ok(Some(std::mem::take(&mut self.frames)));
            }
        }
    }

    fn frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        if let Some((flags, length, mut body, filled)) = self.large.take() {
            if filled < length {
                self.large = Some((flags, length, body, filled));
                return Ok(None);
            }
            body.truncate(length);
            return Ok(Some((flags, body)));
        }
        let bytes = &self.buffer[self.start..self.end];
        if !self.greeted {
            if bytes.len() < 64 {
                return Ok(None);
            }
            if bytes[0] != 0xff || bytes[9] & 1 == 0 || bytes[10] < 3 || !bytes[12..].starts_with(b"NULL\0") {
                return Err(broken("the other side does not speak ZMTP 3 without encryption"));
            }
            self.greeted = true;
            self.start += 64;
            return self.frame();
        }
        let Some(flags) = bytes.first().copied() else {
            return Ok(None);
        };
        let (head, length) = if flags & LONG == 0 {
            match bytes.get(1) {
                Some(length) => (2, u64::from(*length)),
                None => return Ok(None),
            }
        } else {
            match bytes.get(1..9).and_then(|length| length.try_into().ok()) {
                Some(length) => (9, u64::from_be_bytes(length)),
                None => return Ok(None),
            }
        };
        if length > LONGEST {
            return Err(broken("a frame is longer than any message"));
        }
        let length = usize::try_from(length).map_err(|_| broken("a frame does not fit into memory"))?;
        let body = &bytes[head..];
        if body.len() >= length {
            let body = body[..length].to_vec();
            self.start += head + length;
            return Ok(Some((flags, body)));
        }
        if length > CHUNK {
            let mut large = Vec::with_capacity(length.min(4 << 20));
            large.extend_from_slice(body);
            let filled = large.len();
            self.start = self.end;
            self.large = Some((flags, length, large, filled));
        }
        Ok(None)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
