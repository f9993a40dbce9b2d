//! What is kept of a domain, and where: state without a policy of its own.
#![forbid(unsafe_code)]

pub mod crowd;
pub mod entry;
pub mod store;
