//! Sessions by domain, kind of policy and result type.

use std::collections::BTreeMap;

use mtasts::protocol::names::Domain;

use crate::session::Session;

/// The sessions of a domain under one kind of policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The sessions that met the policy (`total-successful-session-count`).
    pub successful: u64,
    /// Those that did not (`total-failure-session-count`).
    pub failed: u64,
    /// What failed how often.
    pub failures: BTreeMap<&'static str, u64>,
}

/// The sessions of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By domain and name of the kind of policy.
    pub domains: BTreeMap<Domain, BTreeMap<&'static str, Counts>>,
}

impl Totals {
    /// Counts one more session.
    pub fn add(&mut self, session: Session) {
        let domain = self.domains.entry(session.domain).or_default();
        for counted in session.policies {
            let counts = domain.entry(counted.policy.kind).or_default();
            if counted.failed {
                counts.failed += 1;
            } else {
                counts.successful += 1;
            }
            for failure in counted.failures {
                *counts.failures.entry(failure.result).or_default() += 1;
            }
        }
    }

    /// How many sessions there are, a session under each policy.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        let counts = self.domains.values().flat_map(BTreeMap::values);
        counts.map(|counts| counts.successful + counts.failed).sum()
    }
}
