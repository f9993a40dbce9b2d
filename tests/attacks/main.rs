//! What was tried against a host that uses the library, and fails. Each file is one kind of it, on the test Internet; as
//! root (`cargo test --features lab --test attacks`).

#[path = "../dns_server/mod.rs"]
mod dns_server;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../pki/mod.rs"]
mod pki;
#[path = "../policy_server/mod.rs"]
mod policy_server;

mod crowds;
mod hostile_domain;
mod roots;
