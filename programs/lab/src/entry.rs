//! One row of the table: a domain, what is wrong there, what a conformant sender must do, and how the lab makes it so.

use super::behaviour::{Certificate, Fault, Https, Mx, Tlsa};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// What a sender that has nothing cached learns about the policy of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Mode enforce.
    Enforce,
    /// Mode testing.
    Testing,
    /// Mode none.
    None,
    /// There is no (valid) record: no policy, and no HTTPS request.
    Absent,
    /// There is a record but no policy to be had; the RFC 8460 result type.
    Unobtainable(&'static str),
    /// The DNS does not tell whether there is a record.
    Unknown,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
            Self::Absent => "no policy",
            Self::Unobtainable(result) => result,
            Self::Unknown => "cannot be learnt",
        })
    }
}

/// What a conformant sender must do with mail to a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Deliver to one of these hosts and no other, over TLS, verified (RFC 8461 4).
    DeliverVerified {
        /// The MX hosts that may get it.
        hosts: Vec<String>,
    },
    /// Deliver, whatever TLS there is: the policy must not stand in the way.
    Deliver,
    /// Send nothing, try again later, never bounce.
    Defer {
        /// The reason.
        why: &'static str,
    },
    /// Deliver verified, or give up for now: both are safe.
    DeliverVerifiedOrDefer {
        /// The MX hosts that may get it.
        hosts: Vec<String>,
    },
    /// The domain takes no mail at all: a bounce (RFC 7505).
    Bounce,
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeliverVerified { hosts } => {
                write!(f, "deliver over verified TLS to {}", hosts.join(" or "))
            }
            Self::Deliver => f.write_str("deliver"),
            Self::Defer { why } => write!(f, "defer: {why}"),
            Self::DeliverVerifiedOrDefer { hosts } => {
                write!(f, "deliver over verified TLS to {}, or defer", hosts.join(" or "))
            }
            Self::Bounce => f.write_str("bounce: the domain takes no mail"),
        }
    }
}

/// One domain of the test Internet.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The recipient domain.
    pub name: String,
    /// What is wrong there, in plain words.
    pub wrong: String,
    /// What a lookup with an empty cache learns.
    pub policy: Policy,
    /// What a conformant sender must do, at first contact.
    pub expect: Expect,
    /// The same for a sender that also does DANE, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_dane: Option<Expect>,
    /// The RFC 8460 result type of the session, if it is a failure that is reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'static str>,
    #[serde(skip)]
    pub(super) setup: Setup,
}

/// How a domain behaves; `set` changes it, `reset` brings the table's back.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) txt: Txt,
    /// TXT records at other names below the domain.
    pub(super) txt_at: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
    /// A wildcard in DNS: each name below is a mail domain with this record and policy.
    pub(super) every_name: bool,
    pub(super) https: Https,
    pub(super) https_certificate: Certificate,
    pub(super) policy_at: At,
    pub(super) mx: MxRecords,
    pub(super) hosts: Vec<Host>,
    /// A validating resolver sets the AD bit for this domain.
    pub(super) secure: bool,
}

/// The answer for `_mta-sts.DOMAIN`.
#[derive(Clone, Debug)]
pub(super) enum Txt {
    /// One text per record; a text in the form `"a" "b"` is a record of several strings.
    Records(Vec<String>),
    Alias(String),
    Fault(Fault),
}

/// The answer for the MX records of a domain.
#[derive(Clone, Debug)]
pub(super) enum MxRecords {
    Hosts(Vec<(u16, String)>),
    Fault(Fault),
}

/// Where a host is found.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// An IPv4 address of its own.
    Own,
    /// An IPv6 address of its own and no other.
    V6,
    /// An IPv4 and an IPv6 address of its own.
    Both,
    /// A live IPv4 address; the IPv6 address has no route.
    DeadV6,
    /// Two IPv4 addresses; nobody listens at the first.
    DeadFirst,
    /// The address of another host of the lab.
    With(String),
    /// These addresses.
    These(Vec<IpAddr>),
    /// A CNAME to this name, which has an IPv4 address of its own.
    Alias(String),
    Fault(Fault),
}

/// An MX host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) mx: Mx,
    pub(super) certificate: Certificate,
    pub(super) tlsa: Tlsa,
}

/// A policy as RFC 8461 3.2 writes it.
pub fn policy_text(mode: &str, mx: &[&str], max_age: u32) -> String {
    let mut text = format!("version: STSv1\r\nmode: {mode}\r\n");
    for pattern in mx {
        text.push_str(&format!("mx: {pattern}\r\n"));
    }
    text.push_str(&format!("max_age: {max_age}\r\n"));
    text
}

impl Host {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            at: At::Own,
            mx: Mx::Ok,
            certificate: Certificate::Valid,
            tlsa: Tlsa::None,
        }
    }
}
