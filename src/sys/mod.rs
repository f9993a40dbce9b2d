//! What only the system can give: the few calls that need `unsafe`, each behind a safe function.

pub(crate) mod bell;
pub(crate) mod lock;
#[cfg(feature = "lab")]
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod thread;
