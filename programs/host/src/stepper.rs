//! The rollouts of a running host: when the gates of a domain are looked at, and what comes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mtasts::Domain;
use mtasts::protocol::calendar::span;
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, spawn_local};

use crate::exchanges::Exchange;
use crate::facts::{Eyes, Facts};
use crate::ledger::{Ledger, Stepped};
use crate::published::Published;
use crate::rollout::Verdict;
use crate::service::Service;
use crate::settings::Rollout;
use crate::state::State;

/// How long a refusal stands before the gates are looked at again, in seconds.
const AGAIN: u64 = 3600;
/// How many domains are looked at in the same time. Each is a connection to every MX host.
const TOGETHER: usize = 4;

/// What came of a look at a domain while this policy was served.
pub(crate) struct Looked {
    domain: Domain,
    served: Arc<Published>,
    facts: Result<Facts, String>,
}

/// What is to be done then.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Nothing.
    Stays,
    /// The next step is in the ledger.
    Stepped(String),
    /// It is refused, and for other reasons than before.
    Refused(Vec<String>),
    /// The ledger or this host failed.
    Failed(String),
}

struct Waiting {
    rollout: Arc<Rollout>,
    stepped: Stepped,
    served: Arc<Published>,
    moves: Vec<Exchange>,
}

/// The domains that wait for a step.
pub(crate) struct Stepper {
    service: Service,
    waiting: BTreeMap<Domain, Waiting>,
    /// When a domain is looked at again that was refused, in Unix seconds.
    later: HashMap<Domain, u64>,
    looking: BTreeSet<Domain>,
    sender: mpsc::UnboundedSender<Looked>,
    looked: mpsc::UnboundedReceiver<Looked>,
}

impl Stepper {
    pub(crate) fn new(service: &Service) -> Self {
        let (sender, looked) = mpsc::unbounded_channel();
        Self {
            service: service.clone(),
            waiting: BTreeMap::new(),
            later: HashMap::new(),
            looking: BTreeSet::new(),
            sender,
            looked,
        }
    }

    /// The domains of a state that have a next step. If the operator has the files read again, nobody waits for the hour.
    pub(crate) fn take(&mut self, state: &State, at_once: bool) {
        let rollouts = state.settings.domains.iter().filter_map(|(domain, hosted)| {
            let (rollout, stepped) = (hosted.rollout.clone()?, state.steps.get(domain)?);
            if !state.is_proven(domain) {
                return None;
            }
            rollout.plan.next(stepped.step)?;
            let waiting = Waiting {
                rollout,
                stepped: stepped.clone(),
                served: hosted.published.clone(),
                moves: hosted.moves().to_vec(),
            };
            Some((domain.clone(), waiting))
        });
        self.waiting = rollouts.collect();
        self.later
            .retain(|domain, _| !at_once && self.waiting.contains_key(domain));
    }

    /// Looks at the domains whose time has come.
    pub(crate) fn look(&mut self, now: u64) {
        for (domain, waiting) in &self.waiting {
            let free = self.looking.len() < TOGETHER;
            let lasts = waiting.rollout.plan.next(waiting.stepped.step).map(|(_, lasts)| lasts);
            let due = waiting.stepped.at.saturating_add(lasts.unwrap_or(u64::MAX));
            let later = self.later.get(domain).copied().unwrap_or_default();
            if !free || now < due.max(later) || self.looking.contains(domain) {
                continue;
            }
            self.looking.insert(domain.clone());
            let (domain, served, reserve) = (domain.clone(), waiting.served.clone(), waiting.rollout.reserve.clone());
            let moves = waiting.moves.clone();
            let (sender, service) = (self.sender.clone(), self.service.clone());
            spawn_local(async move {
                let (name, text) = (domain.clone(), served.clone());
                let look = move || Eyes::new(&service).map(|eyes| eyes.look(&name, &text, &reserve, &moves));
                let facts = spawn_blocking(look).await;
                let facts = facts.unwrap_or_else(|error| Err(format!("the look failed: {error}")));
                // If nobody wants it, the server has stopped.
                let _ = sender.send(Looked { domain, served, facts });
            });
        }
    }

    /// The next look that is over.
    pub(crate) async fn looked(&mut self) -> Looked {
        // There is always a sender: ours.
        match self.looked.recv().await {
            Some(looked) => looked,
            None => std::future::pending().await,
        }
    }

    /// Does the next step, or notes why not.
    pub(crate) fn decide(&mut self, looked: Looked, ledger: &mut dyn Ledger, now: u64) -> (Domain, Outcome) {
        let Looked { domain, served, facts } = looked;
        self.looking.remove(&domain);
        let Some(waiting) = self.waiting.get(&domain).filter(|waiting| waiting.served == served) else {
            return (domain, Outcome::Stays);
        };
        self.later.insert(domain.clone(), now + AGAIN);
        let facts = match facts {
            Ok(facts) => facts,
            Err(why) => return (domain, Outcome::Failed(why)),
        };
        let Stepped { step, at, .. } = waiting.stepped;
        let done = match waiting.rollout.plan.judge(step, Some(now.saturating_sub(at)), &facts) {
            Verdict::Last | Verdict::Wait(_) => Ok(Outcome::Stays),
            Verdict::Allowed(next) => {
                self.later.remove(&domain);
                let age = span(now.saturating_sub(at));
                ledger
                    .step(&[(&domain, next)], None, now)
                    .map(|()| Outcome::Stepped(format!("{domain}: {next}, after {age} of {step}")))
            }
            Verdict::Refused(refusals) => {
                let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                let before = ledger.judged().map(|mut judged| judged.remove(&domain));
                let is_new = !matches!(before, Ok(Some(before)) if before.refusals == refusals);
                ledger.judge(&domain, &refusals, now).map(|()| match is_new {
                    true => Outcome::Refused(refusals),
                    false => Outcome::Stays,
                })
            }
        };
        let outcome = done.unwrap_or_else(|error| Outcome::Failed(error.to_string()));
        (domain, outcome)
    }
}
