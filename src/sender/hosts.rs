//! The MX hosts of a domain as DANE sees them: what DNS says of them, what the name server that said so is worth, and hence
//! which of DANE and MTA-STS decides about each host.
#![forbid(unsafe_code)]

mod text;

use std::time::Duration;

use crate::protocol::mx_name::MxName;
use crate::sender::answer::Answer;
use crate::sender::dane::{Facts, HostRecords};
use crate::sender::precedence::{Enforced, Way, way};
use crate::sender::validator::Worth;

/// The MX hosts of a domain, looked up by [`Resolver::hosts`](crate::Resolver::hosts).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    worth: Worth,
    /// Nothing if the name server's word is worth nothing.
    facts: Option<Facts>,
    /// Whether a host with usable TLSA records must meet a policy in force, too.
    strict_both: bool,
}

impl Hosts {
    /// No DANE, because of what the name server is worth.
    pub(crate) const fn without(worth: Worth) -> Self {
        Self {
            worth,
            facts: None,
            strict_both: false,
        }
    }

    pub(crate) const fn new(worth: Worth, facts: Facts, strict_both: bool) -> Self {
        Self {
            worth,
            facts: Some(facts),
            strict_both,
        }
    }

    /// What the word of the setting `dane_resolver` on DNSSEC is worth.
    #[must_use]
    pub const fn worth(&self) -> &Worth {
        &self.worth
    }

    /// What DNS says, if the name server counts.
    #[must_use]
    pub const fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// The same facts, if the verdict on the name server is another one.
    pub(crate) fn under(self, worth: Worth) -> Self {
        Self { worth, ..self }
    }

    /// How long the TLSA records are, in all.
    pub(crate) fn octets(&self) -> usize {
        let of_host = |records: &HostRecords| match records {
            HostRecords::Records { records, .. } => records.used().iter().map(|record| record.data.len() + 3).sum(),
            _ => 0,
        };
        let hosts = self.facts.iter().flat_map(|facts| &facts.hosts);
        hosts.map(|(_, records)| of_host(records)).sum()
    }

    pub(crate) fn life(&self) -> Duration {
        self.facts.as_ref().map_or(Duration::ZERO, |facts| facts.life)
    }

    /// Which of DANE and MTA-STS decides about a host of the answer's domain.
    #[must_use]
    pub fn way(&self, answer: &Answer, host: &MxName) -> Way {
        // A name that is not a host's has no certificate: a policy cannot list it, and DANE cannot name it.
        let Ok(host) = host.host() else { return Way::Sts };
        match (&self.worth, &self.facts) {
            (Worth::Off | Worth::Absent(_) | Worth::Unfit(_), _) => Way::Sts,
            (Worth::Unknown(why), _) => {
                Way::SkipHost(format!("the name server of dane_resolver is not known to work: {why}"))
            }
            (_, None) => Way::SkipHost("its TLSA records were not looked up".into()),
            (Worth::Trusted | Worth::Validates, Some(facts)) => {
                let policy = match answer.policy().filter(|_| answer.enforces()) {
                    None => Enforced::No,
                    Some(policy) if policy.allows_mx(host) => Enforced::Listed,
                    Some(_) => Enforced::NotListed,
                };
                way(facts, host, policy, self.strict_both)
            }
        }
    }
}
