//! The Node.js addon: libmtasts' C interface as objects of JavaScript. It decides nothing, and lib/ gives it its shape.
//!
//! JavaScript runs on the thread of its environment alone, and so does all in here but for `poller`'s thread, which waits
//! for descriptors and nothing else.

mod answer;
mod certificate;
mod error;
mod poller;
mod resolver;
mod text;

use mtasts::capi;
use napi_derive::napi;

/// The version of the library.
#[napi]
pub fn version() -> String {
    // SAFETY: a static text.
    unsafe { text::of(capi::mtasts_version()) }
}

/// The names of the result types (RFC 8460 4.3).
#[napi]
pub fn result_names() -> Vec<&'static str> {
    certificate::results().map(|(_, name)| name).collect()
}
