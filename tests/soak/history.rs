//! What was served and announced when, and so which answers are permissible.
//!
//! * A policy is one that its policy host served, at a time when it can have been fetched, and it has not expired. What
//!   stands behind a broken status or a bad certificate was not served.
//! * An answer is never older than one that was given before it was asked for: that one came from the same cache.
//! * So a domain whose policy was given to anybody never comes back without one, before the policy can have expired.
//! * Without a policy a domain has none (its record was missing), or it could not be learnt (something was broken).
//!
//! * No answer, so that mail waits, is permissible where a lookup had no time.
//!
//! Only a garbled file excuses: nothing is known from before.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{MARGIN, TIMEOUT};

/// For how long a process may repeat what it remembers, in microseconds: 5 s by the clock's whole seconds.
const MEMORY: u64 = 6_000_000;
/// After a failed fetch there is none for as long, in microseconds: five minutes by the clock's whole seconds.
const PAUSE: u64 = 301_000_000;
const SECOND: u64 = 1_000_000;

/// How was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Call {
    /// `Resolver::lookup`, on a thread.
    Lookup,
    /// `Resolver::recheck`.
    Recheck,
    /// `Resolver::lookup_cached`.
    Cached,
    /// A `Queue`.
    Queue,
    /// `Resolver::lookup` in a forked child.
    Child,
    /// When all is well again.
    Calm,
    /// A name of a silent crowd, through a queue.
    Silent,
    /// A good domain that nobody has asked for before, in the midst of such a crowd.
    Cold,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lookup => "lookup",
            Self::Recheck => "recheck",
            Self::Cached => "lookup in the cache alone",
            Self::Queue => "lookup through a queue",
            Self::Child => "lookup in a forked child",
            Self::Calm => "recheck in the end, when all is well again",
            Self::Silent => "silent name of a crowd",
            Self::Cold => "cold domain in such a crowd",
        })
    }
}

/// A lookup and its answer, as the worker tells. Times are Unix microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) call: Call,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) patience: Duration,
    pub(crate) domain: String,
    /// Empty where there was no answer.
    pub(crate) source: String,
    pub(crate) cached: Option<CachedPolicy>,
    /// Of the failure, if there was one.
    pub(crate) why: String,
}

impl Told {
    /// The time was too short, or it was used up.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.patience < TIMEOUT || self.end - self.start + SECOND / 2 >= micros(TIMEOUT)
    }
}

impl Told {
    /// That there was no time to ask.
    fn says_so(&self) -> bool {
        ["in time", "timed out", "the time ran out"]
            .iter()
            .any(|words| self.why.contains(words))
    }
}

/// The policy of an answer; `fetched` is in Unix seconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CachedPolicy {
    pub(crate) id: String,
    pub(crate) mode: String,
    pub(crate) mx: Vec<String>,
    pub(crate) max_age: u64,
    pub(crate) fetched: u64,
}

/// A version of a policy. Its MX host is unique.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) mode: &'static str,
    pub(crate) mx: String,
    pub(crate) max_age: u64,
}

/// A time in which something was so for some lookups at least; its ends may be earlier and later than the truth.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u64,
    until: u64,
}

impl Span {
    fn meets(self, from: u64, until: u64) -> bool {
        self.from <= until && from <= self.until
    }
}

/// What happened to a domain.
#[derive(Default)]
pub(crate) struct Domain {
    /// It never had a record.
    pub(crate) without: bool,
    served: Vec<(Version, Span)>,
    /// Since when each id has been known.
    announced: HashMap<String, u64>,
    /// No record, or none that is valid.
    absent: Vec<Span>,
    /// DNS or HTTPS failed.
    failing: Vec<Span>,
    /// When its file was garbled.
    garbled: Vec<Span>,
    bounds: Vec<Bound>,
}

/// An answer was given: what is given later is not older.
struct Bound {
    /// What was in the cache at this time is not older either.
    since: u64,
    end: u64,
    /// When its policy was fetched, at the earliest.
    oldest: u64,
    /// The second in which it says that it was fetched.
    second: u64,
}

#[derive(Default)]
pub(crate) struct History {
    pub(crate) domains: HashMap<String, Domain>,
}

/// The state of a domain from now on.
pub(crate) struct State {
    pub(crate) served: Option<Version>,
    pub(crate) announced: Option<String>,
    pub(crate) absent: bool,
    pub(crate) failing: bool,
}

impl Domain {
    pub(crate) fn without_a_record() -> Self {
        Self {
            without: true,
            ..Self::default()
        }
    }

    /// The state changes between `before` and `after`: in between both may be met.
    pub(crate) fn changed(&mut self, state: State, before: u64, after: u64) {
        fn close(spans: &mut [Span], after: u64) {
            if let Some(last) = spans.last_mut().filter(|last| last.until == u64::MAX) {
                last.until = after;
            }
        }
        let open = Span {
            from: before,
            until: u64::MAX,
        };
        if let Some((_, last)) = self.served.last_mut().filter(|(_, last)| last.until == u64::MAX) {
            last.until = after;
        }
        close(&mut self.absent, after);
        close(&mut self.failing, after);
        self.served.extend(state.served.map(|version| (version, open)));
        self.absent.extend(state.absent.then_some(open));
        self.failing.extend(state.failing.then_some(open));
        if let Some(id) = state.announced {
            self.announced.entry(id).or_insert(before);
        }
    }

    pub(crate) fn garbled(&mut self, from: u64, until: u64) {
        self.garbled.push(Span { from, until });
    }

    /// Whether the file was garbled after the bound was known to hold, up to a time.
    fn is_void(&self, bound: &Bound, until: u64) -> bool {
        let times = self.garbled.iter().rev();
        times
            .skip_while(|at| at.from > until)
            .take(1)
            .any(|at| at.until >= bound.since)
    }

    /// The youngest policy that was surely in the cache when a lookup began, and until it ended.
    fn bound(&self, began: u64, end: u64) -> Option<&Bound> {
        let known = self.bounds.iter().rev().find(|bound| bound.end <= began);
        known.filter(|bound| !self.is_void(bound, end))
    }

    /// Whether at some time before `end` a policy may have expired that followed the one of a bound.
    fn may_have_expired(&self, bound: &Bound, end: u64) -> bool {
        let followed = self.served.iter().filter(|(_, span)| span.meets(bound.oldest, end));
        // What was fetched at the end of a lookup lives from its beginning.
        let lookup = micros(TIMEOUT + MARGIN);
        followed
            .map(|(version, span)| bound.oldest.max(span.from) + version.max_age * SECOND)
            .any(|expired| expired.saturating_sub(lookup) <= end + SECOND)
    }

    fn judge(&mut self, told: &Told) -> Result<(), String> {
        let lookup = micros(TIMEOUT + MARGIN);
        // From when on a lookup may know the state of things.
        let began = told.start
            - match told.call {
                Call::Recheck | Call::Calm | Call::Silent | Call::Cold => 0,
                Call::Lookup | Call::Child | Call::Cached => MEMORY,
                // It joins one that is under way.
                Call::Queue => MEMORY + lookup,
            };
        match (&told.cached, told.source.as_str()) {
            // The process or its helper was stopped, and the time was over before it could ask: the mail waits. Root does
            // not read the disk, so without its helper it cannot say what is known.
            (_, "") if told.is_out_of_time() && told.says_so() => Ok(()),
            (_, "") => Err("no answer".to_owned()),
            (Some(cached), source) => {
                let bound = self.policy(told, cached, source, began)?;
                let is_news = self
                    .bounds
                    .last()
                    .is_none_or(|last| last.oldest < bound.oldest || self.is_void(last, told.end));
                if is_news && !self.is_void(&bound, told.end) {
                    self.bounds.push(bound);
                }
                Ok(())
            }
            (None, _) if told.call == Call::Calm && !self.without => Err("no policy although all is well".to_owned()),
            (None, source) => self.no_policy(told, source, began),
        }
    }

    fn policy(&self, told: &Told, cached: &CachedPolicy, source: &str, began: u64) -> Result<Bound, String> {
        let lookup = micros(TIMEOUT + MARGIN);
        if self.without {
            return Err("a policy for a domain without a record".to_owned());
        }
        let fetched = cached.fetched * SECOND;
        let fetched = (fetched, (fetched + SECOND + lookup).min(told.end));
        let is_it = |version: &Version| {
            cached.mode == version.mode && cached.mx == [version.mx.clone()] && cached.max_age == version.max_age
        };
        let spans = self.served.iter().filter(|(version, _)| is_it(version));
        let spans: Vec<Span> = spans
            .map(|(_, span)| *span)
            .filter(|span| span.meets(fetched.0, fetched.1))
            .collect();
        let Some(oldest) = spans.iter().map(|span| span.from.max(fetched.0)).min() else {
            return Err("such a policy was not served then".to_owned());
        };
        let youngest = spans.iter().map(|span| span.until.min(fetched.1)).max().unwrap_or(0);
        if self.announced.get(&cached.id).is_none_or(|since| *since > told.end) {
            return Err("such an id was not announced yet".to_owned());
        }
        if began > (cached.fetched + cached.max_age + 1) * SECOND {
            return Err("an expired policy".to_owned());
        }
        if source == "fresh" && fetched.1 + MEMORY < began {
            return Err("a policy from before that is said to be fresh".to_owned());
        }
        let is_older = |bound: &&Bound| youngest < bound.oldest;
        if let Some(bound) = self.bound(began, told.end).filter(is_older) {
            let (ago, second) = ((began - bound.end) / SECOND, bound.second);
            return Err(format!(
                "a younger policy, fetched in {second}, was in the cache already, {ago} s before"
            ));
        }
        if told.call == Call::Calm && self.served.last().is_none_or(|(version, _)| !is_it(version)) {
            return Err("an old policy although all is well".to_owned());
        }
        Ok(Bound {
            since: began,
            end: told.end,
            oldest,
            second: cached.fetched,
        })
    }

    fn no_policy(&self, told: &Told, source: &str, began: u64) -> Result<(), String> {
        if let Some(bound) = self.bound(began, told.end)
            && !self.may_have_expired(bound, told.end)
        {
            return Err("a policy that counts was lost".to_owned());
        }
        let some = |spans: &[Span], from| spans.iter().any(|span| span.meets(from, told.end));
        let may = match source {
            "no-policy" => self.without || some(&self.absent, began),
            "could-not-learn" => {
                told.call == Call::Cached || some(&self.failing, began.saturating_sub(PAUSE)) || told.is_out_of_time()
            }
            _ => false,
        };
        if may {
            Ok(())
        } else {
            Err("no policy, and nothing was broken or missing".to_owned())
        }
    }
}

impl History {
    /// Whether an answer was permissible, or why not. Answers come in the order of their ends.
    pub(crate) fn judge(&mut self, told: &Told) -> Result<(), String> {
        let domain = self.domains.get_mut(&told.domain);
        domain.ok_or("not one of our domains")?.judge(told)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}
