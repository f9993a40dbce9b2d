//! What the tests of this workspace stand on: one test Internet for each test, one way to be an ordinary user, one way
//! to have a child process, and servers and certificates as a test wants them. Most of it needs root.

#[allow(missing_docs, reason = "the names say it")]
pub mod client;
pub mod command;
#[allow(missing_docs, reason = "the names say it")]
pub mod dns_server;
pub mod drivers;
pub mod hosted;
mod internet;
pub mod network;
pub mod opendkim;
#[allow(missing_docs, reason = "the names say it")]
pub mod pki;
#[allow(missing_docs, reason = "the names say it")]
pub mod policy_server;
pub mod process;
#[allow(missing_docs, reason = "the names say it")]
pub mod signed;
pub mod sys4;
mod user;
#[allow(missing_docs, reason = "the names say it")]
pub mod valkey;
pub mod walk;

pub use command::{Ran, mtasts};
pub use internet::{
    Internet, ask, name, on_the_internet, on_the_internet_with, on_the_internet_with_crowd, settings,
    settings_of_new_fleet,
};
pub use process::{Child, signal, until};
pub use user::{USER, as_user, become_user, give_up_root};

use std::path::Path;

/// The directory of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
