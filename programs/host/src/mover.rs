//! The moves of a running host to other MX hosts: what comes of a look at DNS.

use std::collections::BTreeMap;

use mtasts::Domain;

use crate::exchanges::{Newcomer, Stage, after, find, follow, patterns};
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

    /// Goes on with a domain that has these MX hosts in DNS, of which its policy does not list these. If the ledger has changed, it says
    /// what is in the policy from now on, or is not, in sentences.
    ///
    /// # Errors
    /// If the ledger fails; all stays as it was then.
    pub(crate) fn go_on(
        &self,
        domain: &Domain,
        (hosts, newcomers): &(Vec<Domain>, Vec<Newcomer>),
        ledger: &mut dyn Ledger,
        now: u64,
    ) -> Result<Option<Vec<String>>, LedgerError> {
        let Some(Moving { file, moves, from_dns }) = self.0.get(domain) else {
            return Ok(None);
        };
        let history = ledger.history(domain)?;
        let moved = match from_dns {
            true => follow(file, moves, hosts, newcomers, &history, now),
            false => after(file, moves, hosts, &history, now),
        };
        if moved == *moves {
            return Ok(None);
        }
        ledger.exchange(domain, &moved)?;
        let (before, now) = (patterns(file, moves), patterns(file, &moved));
        let dropped = before.iter().filter(|pattern| !now.contains(pattern));
        let dropped =
            dropped.map(|pattern| format!("{domain}: {pattern} is not in the policy any more: no MX record has it."));
        let come = now.iter().filter(|pattern| !before.contains(pattern));
        let come = come.map(|pattern| format!("{domain}: {pattern} is in the policy from now on: DNS has it."));
        let proposed = moved
            .iter()
            .filter(|known| known.stage == Stage::Proposed && find(moves, &known.pattern).is_none());
        let proposed =
            proposed.map(|known| format!("{domain}: DNS has a new MX host, {}; it is proposed.", known.pattern));
        Ok(Some(dropped.chain(come).chain(proposed).collect()))
    }
}
