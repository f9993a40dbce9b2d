//! The Node.js addon: libmtasts' Rust interface as objects of JavaScript. It decides nothing, and lib/ gives it its shape.
//!
//! JavaScript runs on the thread of its environment alone, and so does all in here but for `poller`'s thread, which waits
//! for descriptors and nothing else. A panic ends in `error::guarded`.

mod answer;
mod certificate;
mod error;
mod poller;
mod resolver;

use napi_derive::napi;

/// The version of the library.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The names of the result types (RFC 8460 4.3).
#[napi]
pub fn result_names() -> Vec<&'static str> {
    mtasts::ResultType::ALL.iter().map(|result| result.name()).collect()
}
