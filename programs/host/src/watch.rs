//! Whether the names of the domains still lead here: each is looked at once an hour. One that does not gets no new certificate, and
//! its policy is served on, because senders hold it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mtasts::Domain;
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, spawn_local};

use crate::exchanges::Newcomer;
use crate::facts::Eyes;
use crate::published::Published;
use crate::service::Service;
use crate::settings::Hosted;
use crate::state::State;

/// How often a domain is looked at, in seconds.
const EVERY: u64 = 3600;
/// How often one is that takes its MX hosts from DNS.
const OFTEN: u64 = 600;
/// How many are looked at in the same time.
const TOGETHER: usize = 8;

/// The MX hosts in DNS, and those of them that the policy does not list.
pub(crate) type Exchangers = (Vec<Domain>, Vec<Newcomer>);

/// What was found: nothing if all is as it must be.
pub(crate) struct Seen {
    pub(crate) domain: Domain,
    found: Option<String>,
    /// Those of a domain that is on its way to others.
    pub(crate) hosts: Option<Exchangers>,
}

/// What is looked at.
#[derive(Clone)]
struct Watched {
    published: Arc<Published>,
    /// The name to which the CNAME of the policy host has to lead, if it is one.
    target: Option<String>,
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
        let zone = self.service.zone.as_ref();
        let domains = state.policies.iter().map(|(domain, published)| {
            let target = state.claims.get(domain).zip(zone);
            let target = target.map(|(claim, zone)| format!("{}.{zone}", claim.token));
            let hosted = state.settings.domains.get(domain);
            let watched = Watched {
                published: published.clone(),
                target,
                moves: hosted.is_some_and(|hosted| hosted.moving.is_some()),
                from_dns: hosted.is_some_and(Hosted::is_from_dns),
            };
            (domain.clone(), watched)
        });
        // Without addresses it is not known where they are to lead.
        let has_addresses = !self.service.addresses.is_empty();
        self.domains = domains.filter(|(_, watched)| has_addresses || watched.moves).collect();
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
            let every = if watched.from_dns { OFTEN } else { EVERY };
            self.due.insert(domain.clone(), now + every);
            let (domain, watched) = (domain.clone(), watched.clone());
            let (sender, service) = (self.sender.clone(), self.service.clone());
            spawn_local(async move {
                let name = domain.clone();
                let seen = spawn_blocking(move || seen(&name, &watched, &service)).await;
                let (found, hosts) = seen.unwrap_or_else(|error| (Err(format!("the look failed: {error}")), None));
                let found = found.err();
                let _ = sender.send(Seen { domain, found, hosts });
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
                Some((true, format!("{why}. The policy of {domain} is served on")))
            }
            None if before.is_some() => Some((false, format!("{domain} leads here again."))),
            _ => None,
        }
    }
}

/// Whether a domain leads here, and its MX hosts if it is on its way to others.
fn seen(domain: &Domain, watched: &Watched, service: &Service) -> (Result<(), String>, Option<Exchangers>) {
    let eyes = match Eyes::new(service) {
        Ok(eyes) => eyes,
        Err(why) => return (Err(why), None),
    };
    let (published, target) = (&watched.published, watched.target.as_deref());
    let found = match service.addresses.is_empty() {
        true => Ok(()),
        false => eyes.leads_here(domain, &service.addresses, target, published),
    };
    let hosts = if watched.moves { eyes.mx(domain) } else { None };
    let hosts = hosts.map(|hosts| {
        let newcomers = match watched.from_dns {
            true => eyes.newcomers(domain, published, &hosts),
            false => Vec::new(),
        };
        (hosts.into_iter().flatten().collect(), newcomers)
    });
    (found, hosts)
}
