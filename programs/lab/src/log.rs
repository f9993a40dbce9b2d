//! What the lab has seen: questions, requests, sessions and mail.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What was asked how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// DNS queries by `NAME TYPE`, the name in lower case without the root dot.
    pub dns: BTreeMap<String, u64>,
    /// HTTPS requests by host, whatever the path.
    pub https: BTreeMap<String, u64>,
    /// TCP connections to policy hosts, with or without a request.
    pub https_connections: BTreeMap<String, u64>,
    /// TCP connections to MX hosts.
    pub smtp_connections: BTreeMap<String, u64>,
}

/// One HTTP request to a policy host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The policy host that was reached.
    pub host: String,
    /// At this address.
    pub address: IpAddr,
    /// The name in the ClientHello.
    pub sni: Option<String>,
    /// As `TLSv1_3`.
    pub tls_version: String,
    /// The request line.
    pub line: String,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// The TLS of an SMTP session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tls {
    /// As `TLSv1_3`.
    pub version: String,
    /// The name in the ClientHello.
    pub sni: Option<String>,
    /// An earlier TLS session was resumed: no certificate was shown.
    pub resumed: bool,
}

/// One connection to an MX host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The MX host that was reached.
    pub host: String,
    /// At this address.
    pub address: IpAddr,
    /// The last name given in EHLO or HELO.
    pub helo: Option<String>,
    /// Set once the handshake has succeeded.
    pub tls: Option<Tls>,
    /// Why the handshake failed, as far as the server can tell.
    pub tls_error: Option<String>,
    /// The last thing that succeeded: `connect`, `ehlo`, `starttls`, `tls`, `mail`, `rcpt`, `data`, `delivered`.
    pub reached: String,
    /// Every command line, as it came; those after the TLS handshake have `tls: ` before them.
    pub commands: Vec<String>,
    /// How many mails were delivered in it.
    pub delivered: usize,
}

/// One delivered mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mail {
    /// The domain of the first recipient.
    pub domain: String,
    /// The MX host that took it.
    pub host: String,
    /// At this address.
    pub address: IpAddr,
    /// Envelope sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// The name the client gave.
    pub helo: String,
    /// Came over TLS. Whether the client has verified anything, nobody can see from here.
    pub tls: Option<Tls>,
    /// The text as it came, without the dots of the transparency procedure.
    pub body: String,
    /// Index of its session: mails with the same one came over one connection.
    pub session: usize,
}

/// Everything.
#[derive(Default)]
pub(super) struct Log {
    pub(super) counters: Counters,
    pub(super) requests: Vec<Request>,
    pub(super) sessions: Vec<Session>,
    pub(super) mail: Vec<Mail>,
}

/// Adds one.
pub(super) fn count(counter: &mut BTreeMap<String, u64>, key: &str) {
    *counter.entry(key.to_owned()).or_default() += 1;
}
