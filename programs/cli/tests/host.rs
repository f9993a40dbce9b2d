//! `mtasts host run` on a network of its own: what senders, proxies and attackers get.
//!
//! Debian packages: curl nginx-light bind9-utils.

#[path = "host/abuse.rs"]
mod abuse;
#[path = "host/hosting.rs"]
mod hosting;
#[path = "host/moving.rs"]
mod moving;
#[path = "host/mx_server.rs"]
mod mx_server;
#[path = "host/rollout.rs"]
mod rollout;
#[path = "host/senders.rs"]
mod senders;
