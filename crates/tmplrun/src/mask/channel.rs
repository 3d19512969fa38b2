//! The channel on which code in a kernel registers values to mask.
//!
//! A Unix socket in a folder that only its owner enters. The client sends one JSON object per line, `{"mask": "value"}`,
//! and gets `ok` once every output from then on is masked. Where the kernel may outlive the run, what must be masked is also
//! written into a file beside the socket, before `ok`: a later run that goes on in that kernel reads it from there, however
//! this one ended.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::Masker;
use crate::json::{self, Json};

/// A key file fits; a flood does not.
const LONGEST_LINE: u64 = 1 << 20;

/// The open channel; dropping it closes it.
#[derive(Debug)]
pub struct Channel {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Channel {
    /// The socket's name.
    pub(crate) const NAME: &str = "mask";
    /// The file of values to mask, each in base64 on a line.
    const VALUES: &str = "masked";

    /// Opens the channel as `mask` in `folder`, which must be the owner's alone.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(folder: &Path, masker: Arc<Masker>) -> std::io::Result<Self> {
        Self::serving(folder, masker, None)
    }

    /// The same, and what must be masked is kept in `folder`, for a later run.
    ///
    /// # Errors
    /// When the socket or the file cannot be made.
    pub fn open_keeping(folder: &Path, masker: Arc<Masker>) -> std::io::Result<Self> {
        // The last run's socket may still lie there.
        let _ = fs_err::remove_file(folder.join(Self::NAME));
        let mut options = fs_err::OpenOptions::new();
        options.append(true).create(true);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let values = options.open(folder.join(Self::VALUES))?;
        for value in masker.values() {
            keep(&values, &value)?;
        }
        Self::serving(folder, masker, Some(Arc::new(values)))
    }

    /// What was kept in `folder`.
    pub(crate) fn kept_values(folder: &Path) -> Vec<Vec<u8>> {
        let text = fs_err::read_to_string(folder.join(Self::VALUES)).unwrap_or_default();
        text.lines().filter_map(|line| STANDARD.decode(line).ok()).collect()
    }

    fn serving(folder: &Path, masker: Arc<Masker>, values: Option<Arc<fs_err::File>>) -> std::io::Result<Self> {
        let path = folder.join(Self::NAME);
        let listener = UnixListener::bind(&path)?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (masker, values) = (Arc::clone(&masker), values.clone());
                tokio::spawn(async move {
                    // A client that went away has nobody left to tell.
                    let _ = serve(stream, &masker, values.as_deref()).await;
                });
            }
        });
        Ok(Self { path, task })
    }

    /// Where clients connect.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// In one write, so that lines of several clients never mix.
fn keep(mut values: &fs_err::File, value: &[u8]) -> std::io::Result<()> {
    values.write_all(format!("{}\n", STANDARD.encode(value)).as_bytes())
}

async fn serve(stream: UnixStream, masker: &Masker, values: Option<&fs_err::File>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = String::new();
        if (&mut read).take(LONGEST_LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let value = json::parse(line.trim())
            .ok()
            .and_then(|message| match message.get("mask") {
                Some(Json::String(text)) => Some(text.decode().into_owned()),
                _ => None,
            });
        let answer: &[u8] = match value {
            Some(value) => {
                masker.register(value.as_bytes());
                if let Some(values) = values {
                    keep(values, value.as_bytes())?;
                }
                b"ok\n"
            }
            None => b"error: send {\"mask\": \"value\"} on one line\n",
        };
        write.write_all(answer).await?;
    }
}
