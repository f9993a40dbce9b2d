//! DNS, HTTPS and the trust anchors: how this host asks strangers, and whom it believes.
//!
//! All of it runs on the thread that it is given, and blocks that thread up to the deadline. What a question needs (a
//! runtime, sockets, buffers) ends with the question. Not to be called on a thread that runs an asynchronous runtime.
#![forbid(unsafe_code)]

use std::io;

pub mod addresses;
pub mod collector;
pub mod dns;
pub mod https;
pub mod roots;
pub mod tls;
pub mod valkey;

/// Whether the system had nothing left to give us: descriptors, memory, buffers. That is trouble of this host, and says
/// nothing of the peer.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
    )
}
