//! `mtasts serve`: one resident process that answers the socketmap lookups of Postfix and Sendmail, and the lines of an Exim
//! without `dlfunc`.
//!
//! The library decides: what a policy means and what its words are for each MTA. Here are the sockets, the limits and the
//! life of the process. All of it runs on one thread, but for what waits for the network: lookups are on the workers of
//! the library's queue, questions for MX hosts on a bounded number of threads.
#![forbid(unsafe_code)]

mod asked;
mod connection;
mod dane;
mod listener;
mod log;
mod lookups;
mod memory;
mod metrics;
mod mx;
mod netstring;
mod server;

pub use asked::version;
pub use listener::{Address, Listener, Socket, Stream, inherited};
pub use log::{Form, Log};
pub use server::{Options, run};
