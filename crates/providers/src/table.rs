//! Which providers there are. A new one is a file and a line here.

use std::path::PathBuf;
use std::sync::Arc;

use crate::checks::choose;
use crate::{ErrorKind, Local, Memory, Provider, ProviderError};

/// The names that a design may give.
pub const PROVIDERS: &[&str] = &["local", "memory"];

/// Everything that a provider needs from the outside. Programs fill it from their flags, files and environment; providers
/// read none of those themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderOptions {
    /// `local`: Unix sockets of container engines, tried in order.
    pub engine_sockets: Vec<PathBuf>,
    /// `local`: an owner's folder for locks of image builds; made when missing.
    pub cache: PathBuf,
    /// `local`: environment of the steps that build images, such as `http_proxy`.
    pub build_environment: Vec<(String, String)>,
    /// `local`: the registry image that `debian-13` is tried from; empty means the official one.
    pub registry_image: String,
    /// `memory`: socket of a served world. The provider exists only where this is set: it is for tests.
    pub world_socket: Option<PathBuf>,
}

/// The provider of that name. Nothing is contacted yet, except a served world.
pub fn open(name: &str, options: &ProviderOptions) -> Result<Arc<dyn Provider>, ProviderError> {
    match name {
        "local" => Ok(Arc::new(Local::new(options.clone()))),
        "memory" => Ok(open_memory(options)?),
        other => Err(
            ProviderError::new(ErrorKind::Invalid, "provider", format!("there is no provider {other}"))
                .with_hint(choose(other, PROVIDERS.iter().copied())),
        ),
    }
}

/// The provider `memory` with what it has beyond the trait.
pub fn open_memory(options: &ProviderOptions) -> Result<Arc<Memory>, ProviderError> {
    let Some(socket) = &options.world_socket else {
        return Err(ProviderError::new(
            ErrorKind::Invalid,
            "provider",
            "the provider memory is a stand-in for tests and makes no machines",
        )
        .with_hint("write `provider: local`; tests give the socket of a served world"));
    };
    Memory::connect(socket).map(Arc::new)
}
