//! One line of the journal, which has the form of a datagram of libtlsrpt. Whoever may write to the cache directory wrote it,
//! and a crash may have cut it: what is not exactly such a line is not a session.

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
    /// The kind of the policy.
    pub kind: PolicyType,
    /// What failed; empty for a success.
    pub failures: Vec<ResultType>,
    /// Whether the session is a failure under this policy.
    pub failed: bool,
}

#[derive(Deserialize)]
struct Datagram {
    dpv: String,
    d: String,
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    #[serde(rename = "policy-type")]
    kind: i32,
    #[serde(rename = "failure-details", default)]
    details: Vec<Detail>,
    f: u8,
}

#[derive(Deserialize)]
struct Detail {
    c: i32,
}

impl Session {
    /// Reads a line; `None` if it is not one of a session.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let datagram: Datagram = serde_json::from_slice(line).ok()?;
        if datagram.dpv != "1" {
            return None;
        }
        let counted = |policy: Policy| {
            let failures = policy.details.iter().map(|detail| ResultType::from_number(detail.c));
            Some(Counted {
                kind: PolicyType::from_number(policy.kind)?,
                failures: failures.collect::<Option<_>>()?,
                failed: policy.f != 0,
            })
        };
        Some(Self {
            domain: Domain::parse(&datagram.d).ok()?,
            policies: datagram.policies.into_iter().map(counted).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_session_or_nothing() {
        let line =
            br#"{"dpv":"1","d":"Example.com","pr":"x","policies":[{"policy-type":2,"policy-domain":"example.com",
            "policy-string":["version: STSv1"],"failure-details":[{"c":204,"n":"mx"}],"t":1,"f":1},
            {"policy-type":1,"t":0,"f":0}]}"#;
        let session = Session::read(line).unwrap();
        assert_eq!(session.domain.as_str(), "example.com");
        assert_eq!(session.policies[0].failures, [ResultType::CertificateExpired]);
        assert!(session.policies[0].failed && !session.policies[1].failed);
        assert_eq!(session.policies[1].kind, PolicyType::Tlsa);
        let good = String::from_utf8_lossy(line);
        for (from, to) in [
            ("\"1\"", "\"2\""),
            ("Example.com", "../x"),
            ("Example.com", "192.0.2.1"),
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
