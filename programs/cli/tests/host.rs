//! `mtasts host run` on a network of its own: what senders, proxies and attackers get.
//!
//! Debian packages: curl nginx-light bind9-utils ldnsutils.

#[path = "host/abuse.rs"]
mod abuse;
#[path = "host/acme.rs"]
mod acme;
#[path = "host/authority.rs"]
mod authority;
#[path = "host/claims.rs"]
mod claims;
#[path = "host/dns_tools.rs"]
mod dns_tools;
#[path = "host/exchange.rs"]
mod exchange;
#[path = "host/hosting.rs"]
mod hosting;
#[path = "host/moving.rs"]
mod moving;
#[path = "host/mx_server.rs"]
mod mx_server;
#[path = "host/name_server.rs"]
mod name_server;
#[path = "host/proof.rs"]
mod proof;
#[path = "host/rollout.rs"]
mod rollout;
#[path = "host/rotation.rs"]
mod rotation;
#[path = "host/secondaries.rs"]
mod secondaries;
#[path = "host/senders.rs"]
mod senders;
#[path = "host/updates.rs"]
mod updates;
