//! What only the system can give: the few calls that need `unsafe`, each behind a safe function.

pub mod descriptor;
pub mod host;
pub mod identity;
mod inheritance;
pub(crate) mod lock;
pub mod process;
pub mod quiet;
pub(crate) mod thread;
pub(crate) mod unshared;
pub(crate) mod wake_up;
