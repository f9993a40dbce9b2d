//! What a TLS report counts (RFC 8460 4): plain data, one event for one session with an MX host.

use std::net::IpAddr;

use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::protocol::text::Line;
pub use crate::protocol::words::PolicyType;
use crate::protocol::words::ResultType;

/// One session with one MX host: a success or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportEvent {
    /// The policy that the session is counted under.
    pub policy_type: PolicyType,
    /// The policy domain (`policy-domain`): the recipient's domain, or the TLSA base domain under a policy of type `tlsa`,
    /// if it is known.
    pub domain: Domain,
    /// The lines of the policy as the policy host sent them, or the TLSA records (`policy-string`, RFC 8460 4.5). A stranger
    /// wrote them.
    pub policy_lines: Vec<String>,
    /// The MX patterns of the policy (`mx-host`).
    pub patterns: Vec<String>,
    /// The MX host (`receiving-mx-hostname`).
    pub host: MxName,
    /// Its address, if a connection was made (`receiving-ip`).
    pub address: Option<IpAddr>,
    /// The address that the connection came from (`sending-mta-ip`).
    pub local_address: Option<IpAddr>,
    /// What failed, or `None` for a success (`result-type`).
    pub result: Option<ResultType>,
    /// The `failure-reason-code`; empty for a success.
    pub reason_code: Line,
}
