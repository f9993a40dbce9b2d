//! What only the system can give: the few calls that need `unsafe`, each behind a safe function.

pub(crate) mod process;
pub(crate) mod thread;
