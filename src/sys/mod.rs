//! What only the system can give: the few calls that need `unsafe`, each behind a safe function.

use std::io;

pub(crate) mod bell;
pub mod identity;
mod inheritance;
pub(crate) mod lock;
pub mod process;
pub mod quiet;
pub(crate) mod thread;

/// Whether the system had nothing left to give us: descriptors, memory, buffers. That is trouble of this host, and says
/// nothing of the peer.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
    )
}
