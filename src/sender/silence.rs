//! How long the silence of strangers may hold up this process.
//!
//! A name server or a policy host that says nothing costs a lookup all its time, and some MTAs look up the recipients
//! of a message one after the other, in one process: thirty silent domains would hold up all the others for half an
//! hour. So a resolver has a budget for silence (the setting `silence_budget`), which comes back slowly. While there is
//! some, every lookup has its whole time. After that a domain must answer soon, which those that work do. One that does
//! not had less time than it is due, which is this host's own error: its mail waits
//! ([`crate::sender::lookup::NotAsked`]), and in another process, or a while later, it has its whole time.
//!
//! All is shared like the rest of a resolver: by atomics, and by a lock that is only tried.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crate::network::dns::{Answered, Dns, DnsError, Mx};
use crate::network::https::Limits;
use crate::protocol::names::Domain;
use crate::sender::lookup::fair_time;
use crate::sender::settings::Settings;

/// How soon a domain must answer when the budget is used up. Thirty of them take less than a minute.
const SHORT: Duration = Duration::from_millis(1250);
/// How long a policy host may then take to answer, if it has proved by its certificate that it is there. One that
/// does not answer in this time uses it up for the next ones, too.
const ANSWER: Duration = Duration::from_secs(15);
/// How many seconds it takes until a second of the budget is back.
const REFILL: u64 = 10;
/// For how long a name that was silent is remembered.
const MEMORY: Duration = Duration::from_secs(60);
/// How long DNS may take for such a name.
const AGAIN: Duration = Duration::from_secs(2);
/// How many names are remembered.
const NAMES: usize = 10_000;

/// What a resolver remembers of the silence of others.
pub(crate) struct Silence {
    /// The times below are counted from here, in milliseconds.
    epoch: Instant,
    /// When the whole budget will be there again.
    whole_at: AtomicU64,
    /// Up to when silence was charged: time in which several lookups waited is charged once.
    charged_to: AtomicU64,
    /// The names that were silent, and when.
    names: RwLock<HashMap<Domain, Instant>>,
}

/// By when strangers must answer in one lookup, if that is before the lookup's deadline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Share {
    dns: Option<Until>,
    https: Option<Until>,
}

impl Share {
    /// The limits of a fetch.
    pub(crate) fn limits(&self) -> Option<Limits> {
        self.https.map(|until| Limits {
            heard: until.heard,
            answered: until.answered,
            own: until.is_ours.then(Until::used_up),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Until {
    /// By when there must be an answer of DNS, and a policy host must have proved its name.
    heard: Instant,
    /// By when a policy host that has proved it must have answered.
    answered: Instant,
    /// Whether it is so little time that silence is not the domain's failure.
    is_ours: bool,
}

impl Until {
    /// What is wrong with a domain that was silent that long.
    fn used_up() -> String {
        "this process has spent its silence_budget waiting for hosts that did not answer, and this domain did not answer in \
         the short time that was left"
            .to_owned()
    }
}

impl Silence {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            whole_at: AtomicU64::new(0),
            charged_to: AtomicU64::new(0),
            names: RwLock::default(),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.epoch))
    }

    /// What a lookup of a domain that begins now and may take `patience` has for silence, by the budget.
    pub(crate) fn share(&self, domain: &Domain, patience: Duration, settings: &Settings) -> Share {
        let now = Instant::now();
        let missing = self.whole_at.load(Ordering::Relaxed).saturating_sub(self.millis(now)) / REFILL;
        let missing = Duration::from_millis(missing);
        let left = settings.silence_budget.saturating_sub(missing);
        if left >= patience {
            return self.share_by_name(domain);
        }
        let time = left.max(SHORT).min(patience);
        let answer = if missing > settings.silence_budget {
            time
        } else {
            time.max(ANSWER)
        };
        let until = Until {
            heard: now + time,
            answered: now + answer,
            is_ours: time < fair_time(settings),
        };
        Share {
            dns: self
                .share_by_name(domain)
                .dns
                .filter(|name| name.heard < until.heard)
                .or(Some(until)),
            https: Some(until),
        }
    }

    /// The time that a lookup has for silence, if only the silence of this very name is charged.
    pub(crate) fn share_by_name(&self, domain: &Domain) -> Share {
        let now = Instant::now();
        let silent = self.names.try_read().ok().and_then(|names| names.get(domain).copied());
        let dns = silent
            .filter(|at| now.saturating_duration_since(*at) < MEMORY)
            .map(|_| Until {
                heard: now + AGAIN,
                answered: now + AGAIN,
                // It has just had its time.
                is_ours: false,
            });
        Share { dns, https: None }
    }

    /// Charges a lookup that began then and got no answer.
    pub(crate) fn charge(&self, begun: Instant, settings: &Settings) {
        let now = Instant::now();
        // A short time is free: every lookup has it.
        let from = self.millis(begun + SHORT);
        let to = self.millis(now);
        let charged_to = self.charged_to.fetch_max(to, Ordering::Relaxed);
        let cost = to.saturating_sub(from.max(charged_to)).saturating_mul(REFILL);
        let most = millis(settings.silence_budget + ANSWER).saturating_mul(REFILL);
        let add = |whole_at: u64| Some((whole_at.max(to).saturating_add(cost)).min(to.saturating_add(most)));
        if cost > 0 {
            let _ = self.whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Remembers a name whose lookup began then and got no answer, if that was silence and not a quick failure.
    pub(crate) fn remember(&self, domain: &Domain, begun: Instant, settings: &Settings) {
        let now = Instant::now();
        if now.saturating_duration_since(begun) < fair_time(settings) {
            return;
        }
        let Ok(mut names) = self.names.try_write() else { return };
        if names.len() >= NAMES {
            names.retain(|_, at| now.saturating_duration_since(*at) < MEMORY);
            if names.len() >= NAMES {
                names.clear();
            }
        }
        names.insert(domain.clone(), now);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// DNS for one lookup, with that lookup's share of silence.
pub(crate) struct Hurried<D> {
    dns: D,
    until: Option<Until>,
    /// Set with the first question: since then the lookup waits for others.
    asked: Arc<AtomicBool>,
}

impl<D: Dns> Hurried<D> {
    pub(crate) fn new(dns: D, share: &Share, asked: Arc<AtomicBool>) -> Self {
        let until = share.dns;
        Self { dns, until, asked }
    }

    fn ask<T>(&self, deadline: Instant, question: impl FnOnce(Instant) -> Result<T, DnsError>) -> Result<T, DnsError> {
        self.asked.store(true, Ordering::Relaxed);
        match self.until.filter(|until| until.heard < deadline) {
            None => question(deadline),
            Some(until) => question(until.heard).map_err(|error| match error {
                DnsError::Timeout if until.is_ours => DnsError::Own(Until::used_up()),
                error => error,
            }),
        }
    }
}

impl<D: Dns> Dns for Hurried<D> {
    fn txt(&self, name: &str, deadline: Instant) -> Result<Answered<Vec<Vec<u8>>>, DnsError> {
        self.ask(deadline, |deadline| self.dns.txt(name, deadline))
    }

    fn addresses(&self, host: &str, deadline: Instant) -> Result<Answered<Vec<IpAddr>>, DnsError> {
        self.ask(deadline, |deadline| self.dns.addresses(host, deadline))
    }

    fn mx(&self, domain: &Domain, deadline: Instant) -> Result<Answered<Vec<Mx>>, DnsError> {
        self.ask(deadline, |deadline| self.dns.mx(domain, deadline))
    }
}
