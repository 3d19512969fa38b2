//! Where notebooks come from and go to: a local file, the standard streams, or a place on the network.
//!
//! A run itself works on local files, which it replaces atomically; what lies elsewhere is fetched before it and sent by an
//! [`Upload`] while it goes on and at its end. So a network that fails ends no cell, and nothing in a run knows of stores.
//! Credentials and proxies are taken from the variables that the caller passes, and nowhere else.

mod place;
#[cfg(feature = "stores")]
mod remote;
mod upload;

pub use place::{Place, Remote};
pub use upload::{Upload, UploadSink};

use crate::environment::Environment;
use crate::error::Result;

/// Reads and writes places on the network.
#[derive(Debug)]
pub struct Stores {
    #[cfg(feature = "stores")]
    inner: remote::Network,
}

#[cfg(feature = "stores")]
impl Stores {
    /// Stores that use the credentials, endpoints and proxies of `environment`.
    #[must_use]
    pub fn new(environment: &Environment) -> Self {
        Self {
            inner: remote::Network::new(environment),
        }
    }

    /// Everything at a place.
    ///
    /// # Errors
    /// When there is nothing, or it may not be read; the error says which variables matter.
    pub async fn read(&self, place: &Remote) -> Result<Vec<u8>> {
        self.inner.read(place).await
    }

    /// Replaces what is at a place.
    ///
    /// # Errors
    /// When it may not be written; the error says which variables matter.
    pub async fn write(&self, place: &Remote, bytes: Vec<u8>) -> Result<()> {
        self.inner.write(place, bytes).await
    }
}

#[cfg(not(feature = "stores"))]
impl Stores {
    /// Stores of a build without them, which refuse.
    #[must_use]
    pub fn new(_: &Environment) -> Self {
        Self {}
    }

    /// Refuses.
    ///
    /// # Errors
    /// Always.
    #[allow(clippy::unused_async, reason = "the same shape as with stores")]
    pub async fn read(&self, place: &Remote) -> Result<Vec<u8>> {
        Err(left_out(place))
    }

    /// Refuses.
    ///
    /// # Errors
    /// Always.
    #[allow(clippy::unused_async, reason = "the same shape as with stores")]
    pub async fn write(&self, place: &Remote, _: Vec<u8>) -> Result<()> {
        Err(left_out(place))
    }
}

#[cfg(not(feature = "stores"))]
fn left_out(place: &Remote) -> Box<crate::error::Error> {
    crate::error::Error::configuration("this tmplrun was built without places on the network")
        .at(std::path::Path::new(place.shown()))
        .help("build it with the feature `stores`, or copy the file here first")
}
