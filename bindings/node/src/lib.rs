//! The Node.js addon: libmtasts' Rust interface as objects of JavaScript. It decides nothing, and lib/ gives it its shape.
//!
//! JavaScript runs on the thread of its environment alone, and so does all in here but for `poller`'s thread, which waits
//! for descriptors and nothing else, and for the end of a question of `hosts`. A panic ends in `error::guarded`.

mod answer;
mod attempt;
mod certificate;
mod error;
mod hosts;
mod poller;
mod resolver;

use mtasts::protocol::words::VOCABULARIES;
use napi_derive::napi;

/// The version of the library.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The words of a kind, such as `Action`, in the order of the library's table; none for a kind that it does not know.
#[napi]
pub fn words(kind: String) -> Vec<&'static str> {
    let vocabulary = VOCABULARIES.iter().find(|vocabulary| vocabulary.name == kind);
    vocabulary.map_or_else(Vec::new, |vocabulary| {
        vocabulary.words.iter().map(|word| word.name).collect()
    })
}
