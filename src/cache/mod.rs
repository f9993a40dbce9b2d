//! What is kept of a domain, and where: state without a policy of its own.
#![forbid(unsafe_code)]

#[cfg(test)]
mod conformance;
pub mod contract;
pub mod crowd;
pub mod entry;
pub mod memory;
pub mod store;

pub use contract::{Cache, CacheError};
