//! One line of the journal, which has the form of a datagram of libtlsrpt. Whoever may write to the cache directory wrote it,
//! and a crash may have cut it: what is not exactly such a line is not a session.

use std::net::IpAddr;

use mtasts::protocol::names::Domain;
use mtasts::protocol::text::one_line;
use mtasts::protocol::words::{PolicyType, ResultType};
use serde::{Deserialize, Serialize};

/// How many octets of a policy are kept of a datagram: of its lines, and of its patterns. That depends on the policy alone, so that
/// it stays one policy.
const LONGEST_LINES: usize = 1500;
const LONGEST_PATTERNS: usize = 700;
/// The version of the protocol.
const VERSION: &str = "1";
/// How many octets of each text about a failure are kept.
const LONGEST_TEXT: usize = 300;

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

#[derive(Deserialize, Serialize)]
struct Datagram {
    /// The version of the protocol. libtlsrpt 0.5.0rc1, which is Debian 13's, has none.
    #[serde(default = "version")]
    dpv: String,
    d: String,
    policies: Vec<PolicyLine>,
}

fn version() -> String {
    VERSION.to_owned()
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyLine {
    policy_type: i32,
    policy_domain: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policy_string: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mx_host: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail>,
    #[serde(default)]
    t: usize,
    f: u8,
}

#[derive(Deserialize, Serialize)]
struct Detail {
    c: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    h: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<String>,
}

impl Session {
    /// Reads a line; `None` if it is not one of a session.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let datagram: Datagram = serde_json::from_slice(line).ok()?;
        if datagram.dpv != VERSION {
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

impl Session {
    /// The lines of the journal for it: one for each policy, with the keys in the order of libtlsrpt. What is long is cut.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |counted| {
            let datagram = Datagram {
                dpv: version(),
                d: self.domain.to_string(),
                policies: vec![PolicyLine::of(counted)],
            };
            // No text of JSON but the strings, which are escaped.
            let text = serde_json::to_string(&datagram).unwrap_or_default();
            text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
        };
        self.policies.iter().map(line).collect()
    }
}

/// The texts from the first on that take so many octets as JSON.
fn within(texts: &[String], longest: usize) -> Vec<String> {
    let mut room = longest;
    let fits = |text: &&String| {
        let octets = serde_json::to_string(text).map_or(usize::MAX, |json| json.len() + 1);
        room = room.saturating_sub(octets);
        room > 0
    };
    texts.iter().take_while(fits).cloned().collect()
}

impl PolicyLine {
    fn of(counted: &Counted) -> Self {
        let Counted {
            policy,
            failures,
            failed,
        } = counted;
        let kinds = [PolicyType::Tlsa, PolicyType::Sts, PolicyType::NoPolicyFound];
        let kind = kinds.into_iter().find(|kind| kind.name() == policy.kind);
        Self {
            policy_type: kind.map_or(0, PolicyType::number),
            policy_domain: Some(policy.domain.to_string()),
            policy_string: within(&policy.lines, LONGEST_LINES),
            mx_host: within(&policy.patterns, LONGEST_PATTERNS),
            failure_details: failures.iter().map(Detail::of).collect(),
            t: failures.len(),
            f: u8::from(*failed),
        }
    }

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
    fn of(failure: &Failure) -> Self {
        let cut = |text: &Option<String>| text.as_deref().map(|text| one_line(text, LONGEST_TEXT));
        Self {
            c: ResultType::from_name(failure.result).map_or(0, ResultType::number),
            s: failure.sending_ip.map(|ip| ip.to_string()),
            n: cut(&failure.host),
            h: cut(&failure.helo),
            r: failure.receiving_ip.map(|ip| ip.to_string()),
            a: cut(&failure.additional),
            f: cut(&failure.reason),
        }
    }

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

    /// What a collector writes is what it has read, and what a mail server beside it would have written.
    #[test]
    fn a_datagram_becomes_lines_of_the_journal() {
        let good = "{\"dpv\":\"1\",\"d\":\"example.com\",\"policies\":[{\"policy-type\":2,\"policy-domain\":\"example.com\",\
                    \"policy-string\":[\"version: STSv1\"],\"mx-host\":[\"*.example.com\"],\"failure-details\":[{\"c\":204,\
                    \"s\":\"2001:db8::1\",\"n\":\"mx\",\"r\":\"192.0.2.1\",\"f\":\"x\"}],\"t\":1,\"f\":1}]}";
        let session = Session::read(good.as_bytes()).unwrap();
        assert_eq!(session.lines(), [good]);
        // Postfix leaves the domain out where there is no policy, and has a record.
        let none = br#"{"dpv": "1", "d": "A.example", "pr": "x", "policies": [{"policy-type": 9, "t": 0, "f": 0}, {"policy-type": 1, "f": 0}]}"#;
        let lines = Session::read(none).unwrap().lines();
        assert_eq!(
            lines[0],
            "{\"dpv\":\"1\",\"d\":\"a.example\",\"policies\":[{\"policy-type\":9,\"policy-domain\":\"a.example\",\"t\":0,\"f\":0}]}"
        );
        assert_eq!(lines.len(), 2);
        // The oldest version of its library does not say its version.
        let old = Session::read(String::from_utf8_lossy(none).replace("\"dpv\": \"1\", ", "").as_bytes());
        assert_eq!(old.unwrap().lines(), lines);
        // Whatever is in it: one line, never too long for what the journal takes.
        let text = serde_json::to_string(&"\u{2028}\"\n\u{1}\u{1f4a9}".repeat(2000)).unwrap();
        let hostile = format!(
            "{{\"dpv\":\"1\",\"d\":\"{}a\",\"policies\":[{{\"policy-type\":2,\"policy-string\":[\"v\",{text}],\"mx-host\":[{text}],\
             \"failure-details\":[{{\"c\":205,\"n\":{text},\"h\":{text},\"a\":{text},\"f\":{text}}}],\"f\":1}}]}}",
            "a.".repeat(120)
        );
        let lines = Session::read(hostile.as_bytes()).unwrap().lines();
        assert!(
            lines[0].len() <= mtasts::protocol::datagram::LONGEST_LINE,
            "{}",
            lines[0].len()
        );
        assert!(!lines[0].contains(['\n', '\u{2028}']), "{}", lines[0]);
        assert_eq!(
            Session::read(lines[0].as_bytes()).unwrap().policies[0].policy.lines,
            ["v"]
        );
    }
}
