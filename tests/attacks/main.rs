//! What was tried against the library, and does not work any more: read here who can do what.

#[path = "../dns_server/mod.rs"]
mod dns_server;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../pki/mod.rs"]
mod pki;
#[path = "../policy_server/mod.rs"]
mod policy_server;

mod hostile_domain;
