//! The moves of a running host to other MX hosts: what comes of a look at DNS.

use std::collections::BTreeMap;

use mtasts::Domain;

use crate::exchanges::{after, patterns};
use crate::ledger::{Ledger, LedgerError};
use crate::settings::Moving;
use crate::state::State;

/// The domains that are on their way.
#[derive(Default)]
pub(crate) struct Mover(BTreeMap<Domain, Moving>);

impl Mover {
    /// The domains of a state.
    pub(crate) fn take(&mut self, state: &State) {
        let domains = state.settings.domains.iter();
        let moving = domains.filter_map(|(domain, hosted)| Some((domain.clone(), hosted.moving.clone()?)));
        self.0 = moving.collect();
    }

    /// Goes on with a domain that has these MX hosts in DNS. If the ledger has changed, it says what is dropped, in sentences.
    ///
    /// # Errors
    /// If the ledger fails; all stays as it was then.
    pub(crate) fn go_on(
        &self,
        domain: &Domain,
        hosts: &[Domain],
        ledger: &mut dyn Ledger,
        now: u64,
    ) -> Result<Option<Vec<String>>, LedgerError> {
        let Some(Moving { file, moves }) = self.0.get(domain) else {
            return Ok(None);
        };
        let moved = after(file, moves, hosts, &ledger.history(domain)?, now);
        if moved == *moves {
            return Ok(None);
        }
        ledger.exchange(domain, &moved)?;
        let (before, now) = (patterns(file, moves), patterns(file, &moved));
        let dropped = before.iter().filter(|pattern| !now.contains(pattern));
        let say = |pattern| format!("{domain}: {pattern} is not in the policy any more: no MX record has it.");
        Ok(Some(dropped.map(say).collect()))
    }
}
