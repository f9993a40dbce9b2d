//! Whether the names of the domains lead here, to the tokens of their claims: each is looked at once an hour. One that does not any
//! more gets no new certificate, and its policy is served on as long as senders hold it. For one that never did nothing is served.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mtasts::Domain;
use mtasts::sender::resolver::unix_now;
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, spawn_local};

use crate::exchanges::Newcomer;
use crate::facts::Eyes;
use crate::ledger::Claim;
use crate::proof::{Doubt, winner};
use crate::published::Published;
use crate::service::Service;
use crate::settings::Hosted;
use crate::state::State;

/// How often a domain is looked at, in seconds.
const EVERY: u64 = 3600;
/// How often one that waits for DNS, or takes its MX hosts from there.
const OFTEN: u64 = 600;
/// How many are looked at in the same time.
const TOGETHER: usize = 8;

/// The MX hosts in DNS, and those of them that the policy does not list.
pub(crate) type Exchangers = (Vec<Domain>, Vec<Newcomer>);

/// What was found.
pub(crate) struct Seen {
    pub(crate) domain: Domain,
    /// Whether DNS named the token of this claim.
    pub(crate) proof: (Claim, Result<(), Doubt>),
    /// The rival whose token it named in its place.
    pub(crate) winner: Option<Claim>,
    /// What is wrong, if anything is.
    pub(crate) found: Option<String>,
    /// Those of a domain that is on its way to others.
    pub(crate) hosts: Option<Exchangers>,
}

/// What is looked at.
#[derive(Clone)]
struct Watched {
    claim: Claim,
    /// Those of other tenants who wait for the domain.
    rivals: Vec<Claim>,
    /// What is served.
    published: Option<Arc<Published>>,
    /// Whether the domain is on its way to other MX hosts.
    moves: bool,
    /// Whether it takes them from DNS.
    from_dns: bool,
}

/// The domains that are watched.
pub(crate) struct Watch {
    service: Service,
    domains: BTreeMap<Domain, Watched>,
    due: HashMap<Domain, u64>,
    looking: BTreeSet<Domain>,
    /// What was said last of those that do not lead here.
    said: HashMap<Domain, String>,
    sender: mpsc::UnboundedSender<Seen>,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Watch {
    pub(crate) fn new(service: &Service) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        Self {
            service: service.clone(),
            domains: BTreeMap::new(),
            due: HashMap::new(),
            looking: BTreeSet::new(),
            said: HashMap::new(),
            sender,
            seen,
        }
    }

    /// The domains of a state. If the operator has the files read again, they are looked at at once.
    pub(crate) fn take(&mut self, state: &State, at_once: bool) {
        let served = state
            .policies
            .iter()
            .map(|(domain, published)| (domain, Some(published)));
        let is_known =
            |domain: &&Domain| state.policies.contains_key(*domain) || state.settings.domains.contains_key(*domain);
        let strange = state.rivals.keys().filter(|domain| !is_known(domain));
        let all = served.chain(state.pending.iter().chain(strange).map(|domain| (domain, None)));
        let domains = all.filter_map(|(domain, published)| {
            let claim = state.claims.get(domain)?.clone();
            // The MX hosts of a stranger's domain are left alone.
            let hosted = state.settings.domains.get(domain).filter(|_| claim.is_proven());
            let watched = Watched {
                published: published.cloned(),
                moves: hosted.is_some_and(|hosted| hosted.moving.is_some()),
                from_dns: hosted.is_some_and(Hosted::is_from_dns),
                rivals: state.rivals.get(domain).cloned().unwrap_or_default(),
                claim,
            };
            Some((domain.clone(), watched))
        });
        // Without addresses it is not known where they are to lead.
        let has_addresses = !self.service.addresses.is_empty();
        let is_watched = |watched: &Watched| has_addresses || watched.moves || !watched.claim.is_operators();
        self.domains = domains.filter(|(_, watched)| is_watched(watched)).collect();
        self.due
            .retain(|domain, _| !at_once && self.domains.contains_key(domain));
        self.said.retain(|domain, _| self.domains.contains_key(domain));
    }

    /// Looks at the domains whose time has come.
    pub(crate) fn look(&mut self, now: u64) {
        for (domain, watched) in &self.domains {
            if self.looking.len() >= TOGETHER {
                return;
            }
            if self.due.get(domain).is_some_and(|due| now < *due) || self.looking.contains(domain) {
                continue;
            }
            self.looking.insert(domain.clone());
            let often = watched.from_dns || watched.published.is_none() || !watched.rivals.is_empty();
            let every = if often { OFTEN } else { EVERY };
            self.due.insert(domain.clone(), now + every);
            let (domain, watched) = (domain.clone(), watched.clone());
            let (sender, service) = (self.sender.clone(), self.service.clone());
            spawn_local(async move {
                let (name, claim) = (domain.clone(), watched.claim.clone());
                let seen = spawn_blocking(move || seen(&name, &watched, &service)).await;
                let seen =
                    seen.unwrap_or_else(|error| nothing_seen(&domain, claim, format!("the look failed: {error}")));
                let _ = sender.send(seen);
            });
        }
    }

    /// The next look that is over.
    pub(crate) async fn seen(&mut self) -> Seen {
        match self.seen.recv().await {
            Some(seen) => seen,
            None => std::future::pending().await,
        }
    }

    /// How many do not lead here.
    pub(crate) fn elsewhere(&self) -> usize {
        self.said.len()
    }

    /// What there is to say that was not said before: whether it is bad, and a sentence.
    pub(crate) fn news(&mut self, seen: Seen) -> Option<(bool, String)> {
        let Seen { domain, found, .. } = seen;
        self.looking.remove(&domain);
        let before = match &found {
            Some(why) => self.said.insert(domain.clone(), why.clone()),
            None => self.said.remove(&domain),
        };
        match found {
            Some(why) if before.as_ref() != Some(&why) => {
                let served = self
                    .domains
                    .get(&domain)
                    .is_some_and(|watched| watched.published.is_some());
                let served = if served { "is served on" } else { "is not served" };
                Some((true, format!("{why}. The policy of {domain} {served}")))
            }
            None if before.is_some() => Some((false, format!("{domain} leads here again."))),
            _ => None,
        }
    }
}

fn nothing_seen(domain: &Domain, claim: Claim, why: String) -> Seen {
    Seen {
        domain: domain.clone(),
        proof: (claim, Err(Doubt::Unknown(why.clone()))),
        winner: None,
        found: Some(why),
        hosts: None,
    }
}

/// Whether a domain leads here and is whose it is said to be, and its MX hosts if it is on its way to others.
fn seen(domain: &Domain, watched: &Watched, service: &Service) -> Seen {
    let (claim, zone) = (watched.claim.clone(), service.zone.as_ref());
    let eyes = match Eyes::new(service) {
        Ok(eyes) => eyes,
        Err(why) => return nothing_seen(domain, claim, why),
    };
    let has_addresses = !service.addresses.is_empty();
    let leads = match has_addresses {
        true => eyes.leads_to(domain, &service.addresses),
        false => Ok(()),
    };
    let (proof, winner) = match watched.rivals.is_empty() {
        true => (eyes.proof(domain, &claim, zone), None),
        false => {
            let said = eyes.named(domain, zone);
            let winner = winner(&claim, &watched.rivals, &said, zone, unix_now()).cloned();
            let first = said.into_iter().next();
            let first = first.unwrap_or_else(|| Err(Doubt::Unknown("there is no resolver".into())));
            (first.and_then(|named| named.is_of(&claim, zone)), winner)
        }
    };
    let mut found = leads.and_then(|()| proof.clone().map_err(Doubt::why));
    let mut hosts = None;
    if let Some(published) = &watched.published {
        if has_addresses {
            found = found.and_then(|()| eyes.announces(domain, published));
        }
        let known = if watched.moves { eyes.mx(domain) } else { None };
        hosts = known.map(|hosts| {
            let newcomers = match watched.from_dns {
                true => eyes.newcomers(domain, published, &hosts),
                false => Vec::new(),
            };
            (hosts.into_iter().flatten().collect(), newcomers)
        });
    }
    Seen {
        domain: domain.clone(),
        proof: (claim, proof),
        winner,
        found: found.err(),
        hosts,
    }
}
