//! One command on one machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelWriteHalf, Sig};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::quote::quote;
use crate::session::Session;
use crate::target::Target;

/// A command line for the remote user's shell, and what it reads on standard input.
///
/// Secrets belong into `stdin`: command lines show up in process lists and logs.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteCommand {
    /// The line as the remote shell gets it.
    pub line: String,
    /// Standard input; the command sees its end after these bytes.
    pub stdin: Bytes,
}

impl RemoteCommand {
    /// A command line, given as it is to the remote user's login shell.
    pub fn new(line: impl Into<String>) -> RemoteCommand {
        RemoteCommand {
            line: line.into(),
            stdin: Bytes::new(),
        }
    }

    /// One program and its arguments; each is quoted.
    pub fn argv<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> RemoteCommand {
        let words: Vec<String> = words.into_iter().map(|word| quote(word.as_ref())).collect();
        RemoteCommand::new(words.join(" "))
    }

    /// A script that `/bin/sh` reads from standard input, with its arguments. Nothing of the script shows up in the
    /// machine's process list, and the user's own shell, whatever it is, sees only harmless words.
    pub fn script<W: AsRef<str>>(text: impl Into<Bytes>, arguments: impl IntoIterator<Item = W>) -> RemoteCommand {
        let words: Vec<String> = arguments.into_iter().map(|word| quote(word.as_ref())).collect();
        let mut line = "/bin/sh -s".to_owned();
        if !words.is_empty() {
            line.push_str(" -- ");
            line.push_str(&words.join(" "));
        }
        RemoteCommand {
            line,
            stdin: text.into(),
        }
    }

    /// The same command with this standard input.
    pub fn with_stdin(mut self, stdin: impl Into<Bytes>) -> RemoteCommand {
        self.stdin = stdin.into();
        self
    }
}

impl fmt::Debug for RemoteCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdin = format_args!("{} bytes", self.stdin.len());
        f.debug_struct("RemoteCommand")
            .field("line", &self.line)
            .field("stdin", &stdin)
            .finish()
    }
}

/// Which of a command's outputs some bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a command left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// Its exit status; none if a signal ended it.
    pub code: Option<u32>,
    /// The signal that ended it, without `SIG`.
    pub signal: Option<String>,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text; what isn't UTF-8 is replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text; what isn't UTF-8 is replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs a command on a fresh channel. From here on the command counts as started.
pub(crate) async fn exec(
    target: &Target,
    session: &Arc<Session>,
    channel: Channel<Msg>,
    command: &RemoteCommand,
    on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    cancel: &CancellationToken,
) -> Result<Output, Error> {
    let lost = || Error::Closed {
        target: target.id.clone(),
        started: true,
        source: session.lost(),
    };
    let (mut read, write) = channel.split();
    let mut running = Running {
        write: Some(Arc::new(write)),
        session: Arc::clone(session),
    };
    let Some(write) = running.write.clone() else {
        return Err(lost());
    };

    // The request, its input and the end of it go out together: waiting for the answer to the request first would
    // add a round trip to every command.
    let input = async {
        write.exec(true, command.line.as_bytes()).await?;
        write.data_bytes(command.stdin.clone()).await?;
        write.eof().await
    };
    // Input and output move at the same time. A command that fills its output before it has read all its input would
    // otherwise wait for us while we wait for it.
    let mut input = Box::pin(input);
    let mut sending = true;
    let mut output = Output::default();
    loop {
        let message = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                running.stop().await;
                return Err(Error::Cancelled { target: target.id.clone(), started: true });
            }
            message = read.wait() => message,
            sent = &mut input, if sending => {
                sending = false;
                // A failure to send shows up as the end of the channel, with more to say about it.
                let _ = sent;
                continue;
            }
        };
        match message {
            Some(ChannelMsg::Data { data }) => {
                on_output(Stream::Stdout, &data);
                output.stdout.extend_from_slice(&data);
            }
            Some(ChannelMsg::ExtendedData { data, ext: 1 }) => {
                on_output(Stream::Stderr, &data);
                output.stderr.extend_from_slice(&data);
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => output.code = Some(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => output.signal = Some(signal_text(&signal_name)),
            Some(ChannelMsg::Failure) => {
                return Err(Error::Declined {
                    target: target.id.clone(),
                    what: "to run a command".to_owned(),
                    source: None,
                });
            }
            Some(ChannelMsg::Close) | None => {
                running.write = None;
                break;
            }
            Some(_) => {}
        }
    }
    if output.code.is_none() && output.signal.is_none() {
        Err(lost())
    } else {
        Ok(output)
    }
}

/// A command that must not be left running when its caller loses interest.
struct Running {
    write: Option<Arc<ChannelWriteHalf<Msg>>>,
    session: Arc<Session>,
}

impl Running {
    async fn stop(&mut self) {
        if let Some(write) = self.write.take() {
            stop(&write).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The caller's future was dropped. There is no one left to wait, so the runtime gets the rest of the work.
        let (Some(write), Ok(runtime)) = (self.write.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let session = Arc::clone(&self.session);
        runtime.spawn(async move {
            stop(&write).await;
            drop(session);
        });
    }
}

/// Asks for the command's end, then closes its channel. A server may decline the signal, and OpenSSH's does when root logs in; then the
/// command gets to know when it next reads or writes.
async fn stop(write: &ChannelWriteHalf<Msg>) {
    let goodbye = async {
        let _ = write.signal(Sig::TERM).await;
        let _ = write.close().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
}

fn signal_text(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}
