//! The channel on which code in a kernel registers values to mask.
//!
//! A Unix socket in a folder that only its owner enters. The client sends one JSON object per line, `{"mask": "value"}`,
//! and gets `ok` once every output from then on is masked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

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

    /// Opens the channel as `mask` in `folder`, which must be the owner's alone.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(folder: &Path, masker: Arc<Masker>) -> std::io::Result<Self> {
        let path = folder.join(Self::NAME);
        let listener = UnixListener::bind(&path)?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let masker = Arc::clone(&masker);
                tokio::spawn(async move {
                    // A client that went away has nobody left to tell.
                    let _ = serve(stream, &masker).await;
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

async fn serve(stream: UnixStream, masker: &Masker) -> std::io::Result<()> {
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
                b"ok\n"
            }
            None => b"error: send {\"mask\": \"value\"} on one line\n",
        };
        write.write_all(answer).await?;
    }
}
