//! Whether the names of the domains still lead here: each is looked at once an hour. One that does not gets no new certificate, and
//! its policy is served on, because senders hold it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mtasts::Domain;
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, spawn_local};

use crate::facts::Eyes;
use crate::published::Published;
use crate::service::Service;
use crate::state::State;

/// How often a domain is looked at, in seconds.
const EVERY: u64 = 3600;
/// How many are looked at in the same time.
const TOGETHER: usize = 8;

/// What was found: nothing if all is as it must be.
pub(crate) struct Seen {
    domain: Domain,
    found: Option<String>,
}

/// The domains that are watched.
pub(crate) struct Watch {
    service: Service,
    /// The policy of each, and the name to which its CNAME has to lead, if it has one.
    domains: BTreeMap<Domain, (Arc<Published>, Option<String>)>,
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
            (domain.clone(), (published.clone(), target))
        });
        // Without addresses it is not known where they are to lead.
        self.domains = domains.filter(|_| !self.service.addresses.is_empty()).collect();
        self.due
            .retain(|domain, _| !at_once && self.domains.contains_key(domain));
        self.said.retain(|domain, _| self.domains.contains_key(domain));
    }

    /// Looks at the domains whose time has come.
    pub(crate) fn look(&mut self, now: u64) {
        for (domain, (published, target)) in &self.domains {
            if self.looking.len() >= TOGETHER {
                return;
            }
            if self.due.get(domain).is_some_and(|due| now < *due) || self.looking.contains(domain) {
                continue;
            }
            self.looking.insert(domain.clone());
            self.due.insert(domain.clone(), now + EVERY);
            let (domain, published, target) = (domain.clone(), published.clone(), target.clone());
            let (sender, service) = (self.sender.clone(), self.service.clone());
            spawn_local(async move {
                let name = domain.clone();
                let look = move || {
                    let eyes = Eyes::new(&service)?;
                    eyes.leads_here(&name, &service.addresses, target.as_deref(), &published)
                };
                let found = spawn_blocking(look).await;
                let found = found.unwrap_or_else(|error| Err(format!("the look failed: {error}")));
                let _ = sender.send(Seen {
                    domain,
                    found: found.err(),
                });
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
        let Seen { domain, found } = seen;
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
