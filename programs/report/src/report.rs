//! The report of a day to one domain (RFC 8460 4.4), made of the sessions of the journals.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use mtasts::protocol::names::Domain;
use serde::Serialize;

use crate::session::{Counted, Failure, Policy, Session};

/// How many kinds of failures are told apart under one policy. Strangers make them: a host with many names or addresses has
/// as many kinds.
const MOST: usize = 1000;
/// How many policies of a domain are told apart. Whoever has many MX hosts has as many policies of TLSA records.
const MOST_POLICIES: usize = 100;

/// What is counted under one policy.
#[derive(Debug, Default)]
struct Entry {
    successful: u64,
    failed: u64,
    failures: BTreeMap<Failure, u64>,
}

/// The sessions of a day with the MX hosts of one domain.
#[derive(Debug)]
pub struct Sessions {
    domain: Domain,
    policies: BTreeMap<Policy, Entry>,
}

/// Who sends the report.
#[derive(Clone, Debug)]
pub struct Sender {
    /// `organization-name`.
    pub organization: String,
    /// `contact-info`: a mail address.
    pub contact: String,
    /// The address from which reports are sent.
    pub address: String,
    /// The domain of that address, the submitter.
    pub domain: Domain,
    /// What is different on each host of the submitter, so that no two reports have one id.
    pub host: String,
}

impl Sessions {
    /// Of this domain, none yet.
    #[must_use]
    pub const fn of(domain: Domain) -> Self {
        Self {
            domain,
            policies: BTreeMap::new(),
        }
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Counts a session, if it is one of this domain.
    pub fn add(&mut self, session: Session) {
        if session.domain != self.domain {
            return;
        }
        for Counted {
            policy,
            failures,
            failed,
        } in session.policies
        {
            let entry = self.policies.entry(self.told_apart(policy)).or_default();
            if failed {
                entry.failed += 1;
            } else {
                entry.successful += 1;
            }
            for failure in failures {
                entry.count(failure);
            }
        }
    }

    /// Beyond the most policies only the kind is told.
    fn told_apart(&self, policy: Policy) -> Policy {
        if self.policies.len() < MOST_POLICIES || self.policies.contains_key(&policy) {
            return policy;
        }
        Policy {
            kind: policy.kind,
            domain: self.domain.clone(),
            lines: Vec::new(),
            patterns: Vec::new(),
        }
    }

    /// The report of this day, as `2026-12-31`.
    #[must_use]
    pub fn report(&self, day: &str, sender: &Sender) -> Report<'_> {
        Report {
            organization_name: sender.organization.clone(),
            date_range: DateRange {
                start_datetime: format!("{day}T00:00:00Z"),
                end_datetime: format!("{day}T23:59:59Z"),
            },
            contact_info: sender.contact.clone(),
            report_id: format!("{day}_{}_{}@{}", self.domain, sender.host, sender.domain),
            policies: self.policies.iter().map(entry).collect(),
        }
    }
}

/// The sessions of a day with the MX hosts of some domains.
#[derive(Debug, Default)]
pub struct Day(BTreeMap<Domain, Sessions>);

impl Day {
    /// Counts a session.
    pub fn add(&mut self, session: Session) {
        match self.0.get_mut(&session.domain) {
            Some(sessions) => sessions.add(session),
            None => {
                let mut sessions = Sessions::of(session.domain.clone());
                let domain = session.domain.clone();
                sessions.add(session);
                self.0.insert(domain, sessions);
            }
        }
    }

    /// The sessions of each domain.
    pub fn into_domains(self) -> impl Iterator<Item = (Domain, Sessions)> {
        self.0.into_iter()
    }
}

impl Report<'_> {
    /// The `report-id`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.report_id
    }

    /// The report as it is sent: JSON, compressed by gzip (RFC 8460 5.2).
    #[must_use]
    pub fn compressed(&self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        // Neither can fail: the strings are JSON's, and the place is memory.
        let _ = serde_json::to_writer(&mut gzip, self);
        gzip.finish().unwrap_or_default()
    }
}

impl Entry {
    /// Beyond the most kinds only the result type is told.
    fn count(&mut self, failure: Failure) {
        let failure = if self.failures.len() < MOST || self.failures.contains_key(&failure) {
            failure
        } else {
            Failure {
                result: failure.result,
                ..Failure::default()
            }
        };
        *self.failures.entry(failure).or_default() += 1;
    }
}

fn entry<'a>((policy, entry): (&'a Policy, &'a Entry)) -> Policies<'a> {
    let details = entry.failures.iter().map(|(failure, count)| FailureDetails {
        result_type: failure.result,
        sending_mta_ip: failure.sending_ip,
        receiving_mx_hostname: failure.host.as_deref(),
        receiving_mx_helo: failure.helo.as_deref(),
        receiving_ip: failure.receiving_ip,
        failed_session_count: *count,
        additional_information: failure.additional.as_deref(),
        failure_reason_code: failure.reason.as_deref(),
    });
    Policies {
        policy: PolicyObject {
            policy_type: policy.kind,
            policy_string: &policy.lines,
            policy_domain: policy.domain.as_str(),
            mx_host: &policy.patterns,
        },
        summary: Summary {
            total_successful_session_count: entry.successful,
            total_failure_session_count: entry.failed,
        },
        failure_details: details.collect(),
    }
}

/// The report, to be written as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report<'a> {
    organization_name: String,
    date_range: DateRange,
    contact_info: String,
    report_id: String,
    policies: Vec<Policies<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Policies<'a> {
    policy: PolicyObject<'a>,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<FailureDetails<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyObject<'a> {
    policy_type: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    policy_string: &'a [String],
    policy_domain: &'a str,
    // An array (erratum 6241, D-23).
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    mx_host: &'a [String],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct FailureDetails<'a> {
    result_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_mx_hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_mx_helo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<IpAddr>,
    failed_session_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_information: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sender() -> Sender {
        Sender {
            organization: "Sender".into(),
            contact: "tlsrpt@sender.test".into(),
            address: "tlsrpt@sender.test".into(),
            domain: Domain::parse("sender.test").unwrap(),
            host: "0a".into(),
        }
    }

    fn session(domain: &str, text: &str) -> Session {
        let line = format!("{{\"dpv\":\"1\",\"d\":\"{domain}\",\"policies\":[{text}]}}");
        Session::read(line.as_bytes()).unwrap_or_else(|| panic!("{line}"))
    }

    #[test]
    fn sessions_become_the_report_of_rfc_8460() {
        let mut sessions = Sessions::of(Domain::parse("example.test").unwrap());
        let sts = "\"policy-type\":2,\"policy-domain\":\"example.test\",\"policy-string\":[\"version: STSv1\"],\
                   \"mx-host\":[\"*.example.test\"]";
        let good = format!("{{{sts},\"t\":0,\"f\":0}}");
        let failed = |host: &str| {
            format!(
                "{{{sts},\"failure-details\":[{{\"c\":204,\"s\":\"192.0.2.9\",\"n\":\"{host}\",\"r\":\"2001:db8::1\",\
                 \"f\":\"certificate-expired: x\"}}],\"t\":1,\"f\":1}}"
            )
        };
        let tlsa =
            "{\"policy-type\":1,\"policy-domain\":\"a.example.test\",\"policy-string\":[\"3 1 1 00\"],\"t\":0,\"f\":0}";
        for text in [
            good.clone(),
            failed("b"),
            failed("a"),
            failed("b"),
            format!("{tlsa},{good}"),
        ] {
            sessions.add(session("example.test", &text));
        }
        sessions.add(session("other.test", &good));
        let detail = |host: &str, count: u64| {
            json!({"result-type": "certificate-expired", "sending-mta-ip": "192.0.2.9", "receiving-mx-hostname": host,
                   "receiving-ip": "2001:db8::1", "failed-session-count": count,
                   "failure-reason-code": "certificate-expired: x"})
        };
        let report = serde_json::to_value(sessions.report("2026-11-27", &sender())).unwrap();
        assert_eq!(
            report,
            json!({
                "organization-name": "Sender",
                "date-range": {"start-datetime": "2026-11-27T00:00:00Z", "end-datetime": "2026-11-27T23:59:59Z"},
                "contact-info": "tlsrpt@sender.test",
                "report-id": "2026-11-27_example.test_0a@sender.test",
                "policies": [
                    {
                        "policy": {"policy-type": "sts", "policy-string": ["version: STSv1"],
                                   "policy-domain": "example.test", "mx-host": ["*.example.test"]},
                        "summary": {"total-successful-session-count": 2, "total-failure-session-count": 3},
                        "failure-details": [detail("a", 1), detail("b", 2)],
                    },
                    {
                        "policy": {"policy-type": "tlsa", "policy-string": ["3 1 1 00"],
                                   "policy-domain": "a.example.test"},
                        "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
                    },
                ],
            })
        );
    }

    /// Strangers decide how many names a host has.
    #[test]
    fn kinds_of_failures_are_bounded_and_none_is_lost() {
        let mut sessions = Sessions::of(Domain::parse("example.test").unwrap());
        for n in 0..5000 {
            let text =
                format!("{{\"policy-type\":2,\"failure-details\":[{{\"c\":205,\"n\":\"h{n}\"}}],\"t\":1,\"f\":1}}");
            sessions.add(session("example.test", &text));
        }
        let report = serde_json::to_value(sessions.report("2026-11-27", &sender())).unwrap();
        let details = report["policies"][0]["failure-details"].as_array().unwrap();
        assert_eq!(details.len(), MOST + 1);
        let counts = details
            .iter()
            .map(|detail| detail["failed-session-count"].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), 5000);
        assert_eq!(details[0]["failed-session-count"], 5000 - MOST);
        assert_eq!(report["policies"][0]["summary"]["total-failure-session-count"], 5000);
    }
    #[test]
    fn policies_are_bounded_and_no_session_is_lost() {
        let mut sessions = Sessions::of(Domain::parse("example.test").unwrap());
        for n in 0..500 {
            let text = format!("{{\"policy-type\":1,\"policy-domain\":\"mx{n}.test\",\"t\":0,\"f\":0}}");
            sessions.add(session("example.test", &text));
        }
        let sender = sender();
        let report = sessions.report("2026-11-27", &sender);
        let mut text = String::new();
        let compressed = report.compressed();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&compressed[..]), &mut text).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let policies = report["policies"].as_array().unwrap();
        assert_eq!(policies.len(), MOST_POLICIES + 1);
        let count = |policy: &serde_json::Value| policy["summary"]["total-successful-session-count"].as_u64().unwrap();
        assert_eq!(policies.iter().map(count).sum::<u64>(), 500);
    }
}
