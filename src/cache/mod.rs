//! What is kept of a domain, and in which place. The wing decides nothing.
#![forbid(unsafe_code)]

#[cfg(test)]
mod conformance;
pub mod contract;
pub mod crowd;
pub mod entry;
pub mod memory;
pub mod sealed;
pub mod store;

pub use contract::{Cache, CacheError, Condition};
