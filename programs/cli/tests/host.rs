//! `mtasts host run` on a network of its own: what senders, proxies and attackers get.
//!
//! Debian packages: curl nginx-light bind9-utils ldnsutils python3-venv.

#[path = "host/abuse.rs"]
mod abuse;
#[path = "host/accounts.rs"]
mod accounts;
#[path = "host/acme.rs"]
mod acme;
#[path = "host/acme2certifier.rs"]
mod acme2certifier;
#[path = "host/claims.rs"]
mod claims;
#[path = "host/dns_tools.rs"]
mod dns_tools;
#[path = "host/door.rs"]
mod door;
#[path = "host/exchange.rs"]
mod exchange;
#[path = "host/hostile.rs"]
mod hostile;
#[path = "host/hosting.rs"]
mod hosting;
#[path = "host/issuing.rs"]
mod issuing;
#[path = "host/moving.rs"]
mod moving;
#[path = "host/mx_server.rs"]
mod mx_server;
#[path = "host/name_server.rs"]
mod name_server;
#[path = "host/pebble.rs"]
mod pebble;
#[path = "host/peers.rs"]
mod peers;
#[path = "host/proof.rs"]
mod proof;
#[path = "host/renewal.rs"]
mod renewal;
#[path = "host/rivals.rs"]
mod rivals;
#[path = "host/rollout.rs"]
mod rollout;
#[path = "host/rotation.rs"]
mod rotation;
#[path = "host/sealed.rs"]
mod sealed;
#[path = "host/second.rs"]
mod second;
#[path = "host/secondaries.rs"]
mod secondaries;
#[path = "host/senders.rs"]
mod senders;
#[path = "host/updates.rs"]
mod updates;
