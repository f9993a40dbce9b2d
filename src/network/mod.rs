//! DNS, HTTPS and the trust anchors: how this host asks strangers, and whom it believes.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod dns;
pub mod https;
pub mod roots;
pub mod tls;
