//! Sending an executed notebook to where it goes.
//!
//! The run writes a local file in a private folder; after every cell the newest state of it is sent, one sending at a time,
//! so that a slow network makes the copy older and not the run longer. What counts is the last sending, and if that fails
//! the file is kept and named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use super::{Remote, Stores};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::events::{Event, EventSink, Record};

/// An executed notebook on its way.
#[derive(Debug)]
pub struct Upload {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stores: Arc<Stores>,
    place: Remote,
    file: PathBuf,
    changed: Notify,
    /// What was sent last; held while sending.
    sent: Mutex<Option<Vec<u8>>>,
}

impl Shared {
    async fn send(&self) -> Result<()> {
        let mut sent = self.sent.lock().await;
        let bytes = fs_err::read(&self.file)
            .map_err(|error| Error::configuration("the executed notebook is not there to be sent").because(error))?;
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes).to_vec();
        if sent.as_ref() != Some(&digest) {
            self.stores.write(&self.place, bytes).await?;
            *sent = Some(digest);
        }
        Ok(())
    }
}

impl Upload {
    /// Makes the private folder. Nothing is sent yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(stores: Arc<Stores>, place: Remote, environment: &Environment) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tmplrun-upload-")
            .tempdir_in(&environment.temporary)
            .map_err(|error| {
                Error::configuration("no private folder can be made")
                    .at(&environment.temporary)
                    .because(error)
            })?;
        let file = folder.path().join(place.file_name());
        Ok(Self {
            shared: Arc::new(Shared {
                stores,
                place,
                file,
                changed: Notify::new(),
                sent: Mutex::new(None),
            }),
            folder,
            task: None,
        })
    }

    /// The local file to write, as [`crate::run::StepRequest::output`].
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.shared.file
    }

    /// Where it goes.
    #[must_use]
    pub fn place(&self) -> &Remote {
        &self.shared.place
    }

    /// Sends what is there now; proves, before anything runs, that the place takes it.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub async fn send(&self) -> Result<()> {
        self.shared.send().await
    }

    /// Sends after every cell from now on, in a task of its own.
    pub fn follow(&mut self) -> UploadSink {
        let shared = Arc::clone(&self.shared);
        self.task = Some(tokio::spawn(async move {
            loop {
                shared.changed.notified().await;
                // One that fails is not the last; if the last fails, that is told.
                let _ = shared.send().await;
            }
        }));
        UploadSink(Arc::clone(&self.shared))
    }

    /// Sends the last state.
    ///
    /// # Errors
    /// When it cannot be sent; the file is kept then, and the error names it.
    pub async fn finish(mut self) -> Result<()> {
        // Waits for what is being sent, so that nothing older arrives after the last.
        let last = self.shared.send().await;
        self.stop();
        last.map_err(|error| {
            let file = self.shared.file.display().to_string();
            self.folder.disable_cleanup(true);
            let help = error.help_text().map(|help| format!("; {help}")).unwrap_or_default();
            error.help(format!("the executed notebook is kept in {file}{help}"))
        })
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells an [`Upload`] that there may be something new.
#[derive(Debug)]
pub struct UploadSink(Arc<Shared>);

impl EventSink for UploadSink {
    fn take(&self, record: &Record) {
        if matches!(record.event, Event::CellFinished { .. } | Event::CellStarted { .. }) {
            self.0.changed.notify_one();
        }
    }
}
