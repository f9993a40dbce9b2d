//! One line of the journal, which has the form of a datagram of libtlsrpt. Whoever may write to the cache directory wrote it,
//! and a crash may have cut it: what is not exactly such a line is not a session.

use std::net::IpAddr;

use mtasts::protocol::names::Domain;
use mtasts::protocol::words::{PolicyType, ResultType};
use serde::Deserialize;

/// One session with an MX host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose report counts it.
    pub domain: Domain,
    /// What it is counted under, mostly one policy.
    pub policies: Vec<Counted>,
}

/// A session under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The policy.
    pub policy: Policy,
    /// What failed; empty for a success.
    pub failures: Vec<Failure>,
    /// Whether the session is a failure under this policy.
    pub failed: bool,
}

/// A policy as a report names it (RFC 8460 4.4): one entry for each text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// The name of its kind (`policy-type`).
    pub kind: &'static str,
    /// The policy domain; the domain of the report if the line has none, as Postfix writes it without a policy.
    pub domain: Domain,
    /// Its lines as they were declared (`policy-string`).
    pub lines: Vec<String>,
    /// Its MX patterns (`mx-host`).
    pub patterns: Vec<String>,
}

/// What failed in a session. Sessions that failed alike are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The result type.
    pub result: &'static str,
    /// The address that the connection came from.
    pub sending_ip: Option<IpAddr>,
    /// The MX host.
    pub host: Option<String>,
    /// The name in its EHLO reply.
    pub helo: Option<String>,
    /// Its address.
    pub receiving_ip: Option<IpAddr>,
    /// A URI with more about the failure.
    pub additional: Option<String>,
    /// The `failure-reason-code`.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Datagram {
    dpv: String,
    d: String,
    policies: Vec<PolicyLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyLine {
    policy_type: i32,
    policy_domain: Option<String>,
    #[serde(default)]
    policy_string: Vec<String>,
    #[serde(default)]
    mx_host: Vec<String>,
    #[serde(default)]
    failure_details: Vec<Detail>,
    f: u8,
}

#[derive(Deserialize)]
struct Detail {
    c: i32,
    s: Option<String>,
    n: Option<String>,
    h: Option<String>,
    r: Option<String>,
    a: Option<String>,
    f: Option<String>,
}

impl Session {
    /// Reads a line; `None` if it is not one of a session.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let datagram: Datagram = serde_json::from_slice(line).ok()?;
        if datagram.dpv != "1" {
            return None;
        }
        let domain = Domain::parse(&datagram.d).ok()?;
        let policies = datagram.policies.into_iter().map(|policy| policy.counted(&domain));
        Some(Self {
            policies: policies.collect::<Option<_>>()?,
            domain,
        })
    }
}

impl PolicyLine {
    fn counted(self, domain: &Domain) -> Option<Counted> {
        let policy_domain = self
            .policy_domain
            .map_or_else(|| Ok(domain.clone()), |name| Domain::parse(&name));
        let failures = self.failure_details.into_iter().map(Detail::failure);
        Some(Counted {
            policy: Policy {
                kind: PolicyType::from_number(self.policy_type)?.name(),
                domain: policy_domain.ok()?,
                lines: self.policy_string,
                patterns: self.mx_host,
            },
            failures: failures.collect::<Option<_>>()?,
            failed: self.f != 0,
        })
    }
}

impl Detail {
    fn failure(self) -> Option<Failure> {
        // An empty text is not an address (RFC 8460 4.4).
        let ip = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Some(Failure {
            result: ResultType::from_number(self.c)?.name(),
            sending_ip: ip(self.s),
            host: some(self.n),
            helo: some(self.h),
            receiving_ip: ip(self.r),
            additional: some(self.a),
            reason: some(self.f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_session_or_nothing() {
        let line = br#"{"dpv":"1","d":"Example.com","pr":"x","policies":[{"policy-type":2,"policy-domain":"example.com",
            "policy-string":["version: STSv1"],"failure-details":[{"c":204,"s":"","n":"mx","r":"2001:0db8::1"}],"t":1,"f":1},
            {"policy-type":9,"t":0,"f":0}]}"#;
        let session = Session::read(line).unwrap();
        assert_eq!(session.domain.as_str(), "example.com");
        let [sts, none] = &session.policies[..] else {
            panic!("{session:?}")
        };
        let failure = Failure {
            result: "certificate-expired",
            host: Some("mx".into()),
            receiving_ip: Some("2001:db8::1".parse().unwrap()),
            ..Failure::default()
        };
        assert_eq!((sts.failed, &sts.failures[..]), (true, &[failure][..]));
        assert_eq!(
            (sts.policy.kind, &sts.policy.lines[..]),
            ("sts", &["version: STSv1".to_owned()][..])
        );
        assert_eq!((none.failed, none.policy.kind), (false, "no-policy-found"));
        assert_eq!(none.policy.domain, session.domain, "Postfix leaves it out");
        let good = String::from_utf8_lossy(line);
        for (from, to) in [
            ("\"1\"", "\"2\""),
            ("Example.com", "../x"),
            ("Example.com", "192.0.2.1"),
            ("\"example.com\"", "\"a b\""),
            ("204", "999"),
            ("\"policy-type\":2", "\"policy-type\":3"),
            ("\"f\":1", "\"f\":-1"),
            ("\"f\":1", "\"g\":1"),
            ("}]}", "}]"),
            ("{\"dpv\"", "{\"dpv\":\"1\",\"dpv\""),
        ] {
            assert_eq!(
                Session::read(good.replacen(from, to, 1).as_bytes()),
                None,
                "{from} {to}"
            );
        }
        for line in [&b""[..], b"null", b"[]", b"\xff", b"{\"dpv\":\"1\"}"] {
            assert_eq!(Session::read(line), None);
        }
    }
}
