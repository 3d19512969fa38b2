//! The process between evcxr and the one that runs the cells.
//!
//! evcxr mixes its own protocol into the standard output of the process that runs the cells, reads it line by line, and
//! keeps to itself that a cell has panicked. So a relay stands in between: to evcxr it passes the lines of the protocol
//! and nothing else; to the kernel, over a socket, everything that the cell printed, as soon as it is printed, and what
//! the protocol says of panics. When it passes on that a cell is done, whatever the cell wrote has reached the kernel.
//!
//! That it is a process of its own and no thread of the one that runs the cells is because that one may end at any time,
//! and its last words matter most. And it sees when the kernel is gone, killed perhaps: then it ends what runs, and
//! removes the kernel's private folder.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::scratch;

/// Names the kernel's socket for a relay. What is behind the relay doesn't see it.
pub(crate) const SOCKET: &str = "TMPLRUN_RUST_STREAMS";
/// Set by evcxr for the process that is to run cells.
pub(crate) const EVCXR_RUNS_CELLS: &str = "EVCXR_IS_RUNTIME";

const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// What a frame on the socket holds. A frame is this byte, the length in four bytes (little-endian), and the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Frame {
    /// The relay's process number, in decimal; the first frame.
    Hello = 1,
    /// Bytes of standard output.
    Stdout = 2,
    /// Bytes of standard error.
    Stderr = 3,
    /// The cell panicked.
    Panicked = 4,
    /// A `?` ended the cell.
    Failed = 5,
    /// The process that runs cells has ended; how, in words.
    Ended = 6,
}

impl Frame {
    pub(crate) const HEADER: usize = 5;

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Hello,
            Self::Stdout,
            Self::Stderr,
            Self::Panicked,
            Self::Failed,
            Self::Ended,
        ]
        .into_iter()
        .find(|frame| *frame as u8 == byte)
    }
}

/// Whether this process was started to run cells, by evcxr itself.
pub(crate) fn wanted() -> bool {
    wanted_behind() && std::env::var_os(SOCKET).is_some()
}

/// Whether this process was started to run cells, by evcxr or by a relay.
pub(crate) fn wanted_behind() -> bool {
    std::env::var_os(EVCXR_RUNS_CELLS).is_some()
}

pub(crate) fn run() -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(relay()));
    match done {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write as _;
            // evcxr shows what the process that it started wrote there.
            let _ = writeln!(
                std::io::stderr(),
                "the program that runs the cells cannot be started: {error}"
            );
            ExitCode::FAILURE
        }
    }
}

async fn relay() -> std::io::Result<ExitCode> {
    let socket = PathBuf::from(std::env::var_os(SOCKET).unwrap_or_default());
    // Handled rather than ignored: what is ignored would be ignored by the cells as well. An interrupt is theirs; when
    // everything is asked to end, the kernel ends first and the socket tells.
    let _interrupts = signal(SignalKind::interrupt())?;
    let _terminations = signal(SignalKind::terminate())?;
    let (mut kernel, sink) = UnixStream::connect(&socket).await?.into_split();
    let mut sink = Sink(sink);
    sink.frame(Frame::Hello, std::process::id().to_string().as_bytes())
        .await?;
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(path) = library_path().await {
        command.env(LIBRARY_PATH, path);
    }
    let mut cells = command
        .env_remove(SOCKET)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (Some(mut stdout), Some(mut stderr)) = (cells.stdout.take(), cells.stderr.take()) else {
        return Err(std::io::Error::other("its output cannot be read"));
    };
    let mut splitter = Splitter::default();
    let (mut stdout_buffer, mut stderr_buffer, mut end) = (vec![0; 1 << 16], vec![0; 1 << 16], [0]);
    let (mut stdout_open, mut stderr_open) = (true, true);
    let status = loop {
        tokio::select! {
            biased;
            // The kernel never writes: this is its end.
            _ = kernel.read(&mut end) => {
                let _ = cells.kill().await;
                scratch::remove(socket.parent().unwrap_or(Path::new("")));
                return Ok(ExitCode::FAILURE);
            }
            count = stderr.read(&mut stderr_buffer), if stderr_open => {
                let count = count.unwrap_or(0);
                stderr_open = count > 0;
                sink.text(Frame::Stderr, &stderr_buffer[..count]).await?;
            }
            count = stdout.read(&mut stdout_buffer), if stdout_open => {
                let count = count.unwrap_or(0);
                stdout_open = count > 0;
                splitter.push(&stdout_buffer[..count]);
                sink.pieces(&mut splitter, &stderr).await?;
            }
            status = cells.wait() => break status?,
        }
    };
    // Something that a cell started may hold the pipes open for ever; only what is in them by now is waited for.
    sink.last_words(&mut splitter, &stdout, &stderr).await?;
    sink.frame(Frame::Ended, status.to_string().as_bytes()).await?;
    Ok(exit_code(status))
}

/// Where the dynamic linker looks, with the folder of Rust's own library first, as `cargo run` has it. A cell is linked with
/// that library by a path relative to where it was compiled, and evcxr moves it one folder up before it is loaded: below the
/// folder that the compiler is installed in, nothing is found there.
async fn library_path() -> Option<OsString> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir"]).stdin(Stdio::null());
    // The folder may choose the compiler, and this is the one that cells are compiled in.
    if let Some(folder) = std::env::var_os(scratch::EVCXR_FOLDER).filter(|folder| Path::new(folder).is_dir()) {
        rustc.current_dir(folder);
    }
    let told = rustc.output().await.ok().filter(|told| told.status.success())?;
    let own = PathBuf::from(OsStr::from_bytes(told.stdout.trim_ascii_end()));
    let known = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
    let known = std::env::split_paths(&known).filter(|folder| !folder.as_os_str().is_empty());
    std::env::join_paths([own].into_iter().chain(known)).ok()
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

/// The kernel's end of things.
struct Sink(OwnedWriteHalf);

impl Sink {
    async fn frame(&mut self, kind: Frame, content: &[u8]) -> std::io::Result<()> {
        let mut frame = Vec::with_capacity(Frame::HEADER + content.len());
        frame.push(kind as u8);
        frame.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend_from_slice(content);
        self.0.write_all(&frame).await
    }

    async fn text(&mut self, kind: Frame, content: &[u8]) -> std::io::Result<()> {
        // A single line may be long; frames stay small.
        for part in content.chunks(1 << 16) {
            self.frame(kind, part).await?;
        }
        Ok(())
    }

    /// Passes on what the splitter has made of standard output, each to whom it concerns.
    async fn pieces(&mut self, splitter: &mut Splitter, stderr: &ChildStderr) -> std::io::Result<()> {
        for piece in splitter.take() {
            match piece {
                Piece::Text(text) => self.text(Frame::Stdout, &text).await?,
                Piece::Protocol(line) => {
                    match line.as_slice().trim_ascii_end() {
                        // What the cell wrote before that is in the pipe by now.
                        COMPLETE => self.rest_of(stderr, Frame::Stderr).await?,
                        PANICKED => self.frame(Frame::Panicked, b"").await?,
                        FAILED => {
                            // What it failed with is the last thing there.
                            self.rest_of(stderr, Frame::Stderr).await?;
                            self.frame(Frame::Failed, b"").await?;
                        }
                        _ => {}
                    }
                    to_evcxr(&line)?;
                }
            }
        }
        Ok(())
    }

    /// Passes on what waits in a pipe, without waiting for more.
    async fn rest_of(&mut self, pipe: &impl AsFd, kind: Frame) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        while let Some(count) = read_now(pipe, &mut buffer) {
            self.text(kind, &buffer[..count]).await?;
        }
        Ok(())
    }

    async fn last_words(
        &mut self,
        splitter: &mut Splitter,
        stdout: &ChildStdout,
        stderr: &ChildStderr,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        while let Some(count) = read_now(stdout, &mut buffer) {
            splitter.push(&buffer[..count]);
            self.pieces(splitter, stderr).await?;
        }
        let rest = std::mem::take(&mut splitter.pending);
        self.text(Frame::Stdout, &rest).await?;
        self.rest_of(stderr, Frame::Stderr).await
    }
}

/// Reads what waits in a pipe; `None` when nothing does. The pipe is non-blocking.
fn read_now(pipe: &impl AsFd, buffer: &mut [u8]) -> Option<usize> {
    rustix::io::read(pipe, buffer).ok().filter(|count| *count > 0)
}

/// evcxr reads lines of text and stops at anything else.
fn to_evcxr(line: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(String::from_utf8_lossy(line).as_bytes())?;
    out.flush()
}

const MARK: &[u8] = b"EVCXR_";
const COMPLETE: &[u8] = b"EVCXR_EXECUTION_COMPLETE";
const PANICKED: &[u8] = b"EVCXR_PANIC_NOTIFICATION";
const FAILED: &[u8] = b"EVCXR_ERROR_OCCURRED";
const BEGIN: &[u8] = b"EVCXR_BEGIN_CONTENT ";
const END: &[u8] = b"EVCXR_END_CONTENT";

/// A part of standard output.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// What the cell printed.
    Text(Vec<u8>),
    /// A line of evcxr's protocol.
    Protocol(Vec<u8>),
}

/// Takes standard output apart. A line of the protocol counts as one also when it follows text on the same line: a
/// cell's last words need no line end, and evcxr itself would wait for ever behind those.
#[derive(Debug, Default)]
struct Splitter {
    pending: Vec<u8>,
    in_content: bool,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// What is certain by now. Kept back is only what could be the beginning of a line of the protocol.
    fn take(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        let mut text_from = 0;
        let mut at = 0;
        let text = |from: usize, to: usize, pieces: &mut Vec<Piece>| {
            if from < to {
                pieces.push(Piece::Text(pending[from..to].to_vec()));
            }
        };
        loop {
            let rest = &pending[at..];
            if self.in_content {
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    break;
                };
                let line = &rest[..=end];
                self.in_content = !matches!(line.trim_ascii_end(), END | PANICKED);
                pieces.push(Piece::Protocol(line.to_vec()));
                at += end + 1;
                text_from = at;
                continue;
            }
            let Some(mark) = memchr::memmem::find(rest, MARK) else {
                at = pending.len() - partial_mark(rest);
                break;
            };
            let Some(end) = memchr::memchr(b'\n', &rest[mark..]) else {
                at += mark;
                break;
            };
            let line = &rest[mark..=mark + end];
            if is_protocol(line) {
                text(text_from, at + mark, &mut pieces);
                self.in_content = line.starts_with(BEGIN);
                pieces.push(Piece::Protocol(line.to_vec()));
                at += mark + end + 1;
                text_from = at;
            } else {
                at += mark + MARK.len();
            }
        }
        text(text_from, at, &mut pieces);
        self.pending = pending[at..].to_vec();
        pieces
    }
}

fn is_protocol(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    matches!(line, COMPLETE | PANICKED | FAILED)
        || line.starts_with(BEGIN)
        || line.starts_with(b"EVCXR_VARIABLE_CHANGED_TYPE:")
        || line.starts_with(b"EVCXR_INPUT_REQUEST")
}

/// How many of the last bytes could be the beginning of [`MARK`].
fn partial_mark(bytes: &[u8]) -> usize {
    (1..MARK.len())
        .rev()
        .find(|length| bytes.ends_with(&MARK[..*length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.as_bytes().to_vec())
    }

    fn protocol(line: &str) -> Piece {
        Piece::Protocol(line.as_bytes().to_vec())
    }

    fn split(output: &str) -> Vec<Piece> {
        let mut splitter = Splitter::default();
        splitter.push(output.as_bytes());
        splitter.take()
    }

    #[test]
    fn text_and_protocol_are_told_apart() {
        let output = "one\ntwo\nEVCXR_BEGIN_CONTENT text/html\n<b>EVCXR_ not ours</b>\nEVCXR_END_CONTENT\nthree\nEVCXR_EXECUTION_COMPLETE\n";
        assert_eq!(
            split(output),
            [
                text("one\ntwo\n"),
                protocol("EVCXR_BEGIN_CONTENT text/html\n"),
                protocol("<b>EVCXR_ not ours</b>\n"),
                protocol("EVCXR_END_CONTENT\n"),
                text("three\n"),
                protocol("EVCXR_EXECUTION_COMPLETE\n"),
            ]
        );
    }

    #[test]
    fn a_cell_may_end_without_a_line_end() {
        assert_eq!(
            split("no line endEVCXR_EXECUTION_COMPLETE\n"),
            [text("no line end"), protocol("EVCXR_EXECUTION_COMPLETE\n")]
        );
    }

    #[test]
    fn text_that_only_looks_like_the_protocol_is_text() {
        assert_eq!(
            split("EVCXR_MINE and EVCXR_EXECUTION_COMPLETED\nE"),
            [text("EVCXR_MINE and EVCXR_EXECUTION_COMPLETED\n")]
        );
    }

    #[test]
    fn the_same_comes_out_however_the_bytes_arrive() {
        let output = "aEVCXR_ bEVCXR_PANIC_NOTIFICATION\nprogress 1\rEVCXprogress 2EVCXR_BEGIN_CONTENT a/b\nx\nEVCXR_END_CONTENT\nE";
        let joined = |pieces: Vec<Piece>| {
            let (mut texts, mut lines) = (Vec::new(), Vec::new());
            for piece in pieces {
                match piece {
                    Piece::Text(bytes) => texts.extend(bytes),
                    Piece::Protocol(line) => {
                        texts.push(b'|');
                        lines.push(line);
                    }
                }
            }
            (texts, lines)
        };
        let whole = joined(split(output));
        assert_eq!(whole.1.len(), 4);
        for cut in 0..output.len() {
            let mut splitter = Splitter::default();
            let mut pieces = Vec::new();
            for byte in output.as_bytes()[..cut].iter() {
                splitter.push(&[*byte]);
                pieces.extend(splitter.take());
            }
            splitter.push(&output.as_bytes()[cut..]);
            pieces.extend(splitter.take());
            assert_eq!(joined(pieces), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_shown_at_once() {
        assert_eq!(split("50 %\r"), [text("50 %\r")]);
    }
}
