//! Waiting for a descriptor without asking again and again.

use rustix::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Lets the runtime wait for `descriptor`.
pub(super) fn watched(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the value owns its descriptor and gives out the same one until it is dropped.
    #[allow(unsafe_code)]
    unsafe {
        AsyncFd::register(descriptor).map_err(Into::into)
    }
}
