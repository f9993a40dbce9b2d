//! A run of the refresh: over every entry of the cache, some of them at once.
//!
//! First it reads all of them, and removes what is too much. Then it renews what is due, in the order in which the
//! policies expire; but strangers decide when theirs do and how long their hosts take. So what failed before comes
//! later, the many of one parent domain come after the first of each, and each has a short time. At the end the slow
//! ones have the time that is left.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Idle, Plan, idle, plan};
use crate::cache::contract::{Cache, CacheError, Lease, WRITE_TURN};
use crate::cache::crowd::{Worth, excess, parent};
use crate::cache::entry::Entry;
use crate::cache::store::Store;
use crate::protocol::calendar;
use crate::protocol::names::Domain;
use crate::protocol::policy::Mode;
use crate::protocol::text::two_sentences;
use crate::protocol::words::Source;
use crate::sender::notice::{Notice, Token};
use crate::sender::resolver::{Resolver, unix_now};
use crate::sys::process;

/// How many policies are renewed at once.
const AT_ONCE: usize = 16;
/// The part of the setting `timeout` that a policy host has at first: far longer than a good one takes.
const SHORT: u32 = 4;
/// After so many slow hosts below one parent domain the others below it have to wait until the end.
const SLOW: usize = 32;
/// How long the slow ones may take at the end, all together. A run begins every hour.
const LATE: Duration = Duration::from_secs(20 * 60);
/// How long a run tries to begin: one that has just begun has set its time by then (`Lock::stamp`).
const BEGIN: Duration = Duration::from_millis(500);
/// No run takes longer than this, or than its entries can take, sixteen at once, and the slow ones after them.
const LONGEST: Duration = Duration::from_secs(3600);
/// What an entry may take beyond the setting `timeout`: an overrun, and its write.
const OVERRUN: Duration = Duration::from_secs(5);

/// A run that has begun. While it lives there is no other for this cache.
pub struct Run<'a> {
    resolver: &'a Resolver,
    store: Store,
    domains: Vec<Domain>,
    uses_are_noted: bool,
    /// How many files of dead writers were removed.
    pub swept: usize,
    _turn: Lease,
}

/// Why no run can begin.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// Root touches neither the network nor the cache: the process has to become the owner of the cache directory
    /// first.
    Root,
    /// The settings keep policies in memory alone.
    NoDirectory,
    /// The cache directory cannot be used.
    Store(CacheError),
    /// Another run is active.
    Busy,
    /// Another run began so long ago that it must have been stopped, or hangs: its beginning in Unix seconds, and the
    /// file that it locks.
    Stuck(u64, PathBuf),
    /// The lock cannot be taken: this user may not write to the cache directory.
    Lock(CacheError),
}

/// What helps where the directory is not for this user, or not there.
const WHO_MAY: &str = "Run this command as its owner, or as root mtasts cache setup.";

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("a refresh does not run as root"),
            Self::NoDirectory => f.write_str("the settings name no cache directory"),
            Self::Store(e) => f.write_str(&two_sentences(&e.to_string(), WHO_MAY)),
            Self::Busy => f.write_str("another refresh is running"),
            Self::Stuck(since, locks) => {
                let (since, locks) = (calendar::date_time(*since), locks.display());
                write!(
                    f,
                    "another refresh has been running since {since}, longer than it can take, so no policy is renewed. Find \
                     the process that is stopped or hangs and end it: fuser -v {locks}"
                )
            }
            Self::Lock(e) => f.write_str(&two_sentences(
                &format!("cannot lock the cache directory: {e}"),
                WHO_MAY,
            )),
        }
    }
}

impl std::error::Error for RunError {}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not due, or is the operator's own.
    Waits,
    /// The policy was fetched anew.
    Renewed,
    /// The policy was fetched anew, and a policy of mode enforce has become one that protects less: what happened.
    Weakened(Notice),
    /// The policy could not be renewed, or not be written; the cached one stays in force: what happened.
    Failed(Notice),
    /// The policy asks for nothing, and could not be renewed: no mail is harmed (RFC 8461 10.2).
    FailedForNothing,
    /// The entry was removed.
    Removed(Idle),
    /// The file cannot be used: what is wrong.
    Broken(Notice),
}

/// What the first look at an entry says.
struct Seen<'a> {
    domain: &'a Domain,
    /// `None` if it cannot be read.
    worth: Option<Worth>,
    /// `None` if it waits; else whether it failed before, and when it expires.
    due: Option<(bool, u64)>,
}

impl<'a> Run<'a> {
    /// Begins a run over the cache of a resolver.
    ///
    /// # Errors
    /// A [`RunError`].
    pub fn begin(resolver: &'a Resolver) -> Result<Self, RunError> {
        if process::is_root() {
            return Err(RunError::Root);
        }
        let dir = resolver.settings().cache_dir.clone().ok_or(RunError::NoDirectory)?;
        let store = Store::new(dir);
        let uses_are_noted = store.uses_are_noted().map_err(RunError::Store)?;
        let domains = store.domains().map_err(RunError::Store)?;
        let turn = store.run_turn(Instant::now() + BEGIN).map_err(|e| match e {
            CacheError::Busy(_) => busy(&store, longest(domains.len(), resolver.settings().timeout)),
            e => RunError::Lock(e),
        })?;
        Ok(Self {
            resolver,
            domains,
            swept: store.sweep().map_err(RunError::Store)?,
            uses_are_noted,
            store,
            _turn: turn,
        })
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.domains.len()
    }

    /// Goes through all entries and reports what becomes of each. With `all`, every policy in force is renewed, due or
    /// not. `told` is called on the threads of the run, some at once.
    pub fn run(&self, all: bool, told: impl Fn(&Domain, Outcome) + Sync) {
        let seen = Mutex::new(Vec::with_capacity(self.domains.len()));
        at_once(&self.domains, |domain| {
            let look = self.look(domain, all);
            seen.lock().unwrap_or_else(|e| e.into_inner()).push(look);
        });
        let seen = self.let_go(seen.into_inner().unwrap_or_else(|e| e.into_inner()), &told);
        let waits = seen.iter().filter(|seen| seen.due.is_none());
        waits.for_each(|seen| told(seen.domain, Outcome::Waits));

        let short = self.resolver.settings().timeout / SHORT;
        let (slow, late) = (Mutex::new(HashMap::new()), Mutex::new(Vec::new()));
        let later = |domain| late.lock().unwrap_or_else(|e| e.into_inner()).push(domain);
        let slow_below = |domain, more: usize| {
            let mut slow = slow.lock().unwrap_or_else(|e| e.into_inner());
            let count: &mut usize = slow.entry(parent(domain)).or_default();
            *count += more;
            *count
        };
        at_once(&in_order(&seen), |domain| {
            if slow_below(domain, 0) >= SLOW {
                return later(*domain);
            }
            let begun = Instant::now();
            let outcome = self.tend(domain, all, short);
            let failed = matches!(
                outcome,
                Outcome::Failed(_) | Outcome::FailedForNothing | Outcome::Broken(_)
            );
            if failed && begun.elapsed() >= short {
                slow_below(domain, 1);
                return later(*domain);
            }
            told(domain, outcome);
        });
        let end = Instant::now() + LATE;
        at_once(&late.into_inner().unwrap_or_else(|e| e.into_inner()), |domain| {
            let left = end.saturating_duration_since(Instant::now());
            told(
                domain,
                if left < short {
                    Outcome::Failed(Notice::new(
                        Token::PolicyNotRenewed,
                        format!(
                            "{domain}: not renewed: too many policy hosts below {} did not answer, and this run has no time \
                             left",
                            parent(domain)
                        ),
                    ))
                } else {
                    self.tend(domain, all, left)
                },
            );
        });
    }

    /// Reads an entry, and corrects the mode of its file.
    fn look<'d>(&self, domain: &'d Domain, all: bool) -> Seen<'d> {
        let now = unix_now();
        // If its mode cannot be changed, it cannot be renewed either, and that is reported.
        let _ = self.store.mend(domain, Instant::now() + WRITE_TURN);
        let (worth, due) = match self.store.load(domain) {
            Ok(Some(entry)) => {
                let renewed = all && entry.live(now).is_some() && entry.pinned(now).is_none();
                let due = renewed || plan(&entry, now, self.uses_are_noted) != Plan::Wait;
                let expires = entry.cached.as_ref().map_or(0, |cached| cached.expires());
                (
                    Some(Worth::of(&entry, now)),
                    due.then_some((entry.failed.is_some(), expires)),
                )
            }
            // Another process has removed it since the run began.
            Ok(None) => (None, None),
            Err(_) => (None, Some((true, 0))),
        };
        Seen { domain, worth, due }
    }

    /// Removes what is too much, and returns what stays.
    fn let_go<'d>(&self, mut seen: Vec<Seen<'d>>, told: &impl Fn(&Domain, Outcome)) -> Vec<Seen<'d>> {
        let bounds = self.resolver.settings().bounds();
        // What cannot be read comes last.
        seen.sort_unstable_by_key(|seen| (seen.worth.is_none(), seen.domain));
        let known: Vec<(&str, Worth)> = seen
            .iter()
            .map_while(|seen| Some((parent(seen.domain), seen.worth?)))
            .collect();
        let mut gone = excess(&known, bounds.per_parent, bounds.in_all);
        gone.sort_unstable();
        for place in gone.into_iter().rev() {
            let (domain, Some(worth)) = (seen[place].domain, seen[place].worth) else {
                continue;
            };
            match self.store.evict(domain, worth, Instant::now() + WRITE_TURN, unix_now()) {
                Ok(true) => told(domain, Outcome::Removed(Idle::Crowded)),
                Ok(false) => continue,
                Err(e) => told(domain, not_written(domain, &e)),
            }
            seen.swap_remove(place);
        }
        seen
    }

    fn tend(&self, domain: &Domain, all: bool, patience: Duration) -> Outcome {
        let now = unix_now();
        let entry = match self.store.load(domain) {
            Ok(Some(entry)) => entry,
            // Another process has removed it since we looked.
            Ok(None) => return Outcome::Waits,
            Err(e) => return self.repair(domain, &e, patience),
        };
        let planned = plan(&entry, now, self.uses_are_noted);
        if all && entry.live(now).is_some() && entry.pinned(now).is_none() {
            return self.renew(&entry, patience);
        }
        match planned {
            Plan::Wait => Outcome::Waits,
            Plan::Renew => self.renew(&entry, patience),
            Plan::Mark | Plan::Unmark | Plan::Remove => self.put_away(domain, now),
        }
    }

    fn renew(&self, entry: &Entry, patience: Duration) -> Outcome {
        let domain = &entry.domain;
        let answer = match self.resolver.refresh(domain, patience) {
            Ok(answer) => answer,
            Err(e) => return Outcome::Failed(Notice::new(e.notice().token, format!("{domain}: {e}"))),
        };
        if answer.source() == Source::Fresh {
            let stored = self.store.load(domain).ok().flatten().and_then(|stored| stored.cached);
            if stored.is_none_or(|stored| Some(stored.fetched) < answer.cached().map(|cached| cached.fetched)) {
                let why = answer.warning().unwrap_or("it is not in the cache");
                let sentence = format!("{domain}: the new policy could not be written: {why}");
                return Outcome::Failed(Notice::new(Token::CacheNotWritten, sentence));
            }
        }
        match (answer.source(), answer.alert_notice()) {
            (Source::Fresh, None) => Outcome::Renewed,
            (Source::Fresh, Some(alert)) => Outcome::Weakened(alert.clone()),
            // Pinned meanwhile, or another host of the fleet has renewed it.
            (Source::Cached, _) => Outcome::Waits,
            (_, Some(alert)) => Outcome::Failed(alert.clone()),
            (_, None) => match &entry.cached {
                Some(cached) if cached.policy.mode() == Mode::None => Outcome::FailedForNothing,
                // It expired in this moment.
                _ => Outcome::Failed(Notice::new(Token::PolicyNotRenewed, answer.explain())),
            },
        }
    }

    /// A file that cannot be used is replaced if there is a policy; nothing else is known of it.
    fn repair(&self, domain: &Domain, error: &CacheError, patience: Duration) -> Outcome {
        // Another version of this library may share the directory: its files are not for us.
        let is_foreign = matches!(error, CacheError::Foreign(_));
        if !is_foreign && matches!(self.renew(&Entry::new(domain.clone()), patience), Outcome::Renewed) {
            return Outcome::Renewed;
        }
        Outcome::Broken(Notice::new(Token::CacheNotRead, error.to_string()))
    }

    /// Marks, unmarks or removes an entry, by its state now that no other process writes it.
    fn put_away(&self, domain: &Domain, now: u64) -> Outcome {
        let mut outcome = Outcome::Waits;
        let changed = self.store.change(domain, Instant::now() + WRITE_TURN, &mut |stored| {
            let mut entry = stored.ok()??;
            match plan(&entry, now, self.uses_are_noted) {
                Plan::Mark => entry.idle_since = Some(now),
                Plan::Unmark => entry.idle_since = None,
                Plan::Remove => {
                    outcome = Outcome::Removed(idle(&entry, now, self.uses_are_noted)?);
                    return Some(Entry::new(domain.clone()));
                }
                Plan::Renew | Plan::Wait => return None,
            }
            Some(entry)
        });
        match changed {
            Ok(()) => outcome,
            Err(e) => not_written(domain, &e),
        }
    }
}

fn not_written(domain: &Domain, error: &CacheError) -> Outcome {
    Outcome::Failed(Notice::new(Token::CacheNotWritten, format!("{domain}: {error}")))
}

/// What is due, in the order in which it is renewed.
fn in_order<'d>(seen: &[Seen<'d>]) -> Vec<&'d Domain> {
    let due = seen
        .iter()
        .filter_map(|seen| Some((parent(seen.domain), seen.due?, seen.domain)));
    let mut due: Vec<_> = due.collect();
    due.sort_unstable();
    let (mut before, mut rank) = ("", 0);
    let mut order: Vec<(bool, usize, u64, &Domain)> = Vec::with_capacity(due.len());
    for (parent, (failed, expires), domain) in due {
        rank = if parent == before { rank + 1 } else { 0 };
        before = parent;
        order.push((failed, rank, expires, domain));
    }
    order.sort_unstable();
    order.into_iter().map(|(.., domain)| domain).collect()
}

/// Does the work for each of these, some at once.
fn at_once<'i, T: Sync>(items: &'i [T], work: impl Fn(&'i T) + Sync) {
    let next = AtomicUsize::new(0);
    let all = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item);
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_ONCE {
            // If the system refuses more threads, the others do the work.
            if thread::Builder::new().spawn_scoped(scope, all).is_err() {
                break;
            }
        }
        all();
    });
}

/// How long a run over so many entries can take.
fn longest(entries: usize, timeout: Duration) -> Duration {
    let rounds = u32::try_from(entries.div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    let first = (timeout / SHORT).saturating_add(OVERRUN).saturating_mul(rounds);
    // The last of the slow ones begins when the time of them all is nearly over.
    first.saturating_add(LATE).saturating_add(timeout).max(LONGEST)
}

/// What it means that another run is active. A beginning in the future is not a valid time of a run.
fn busy(store: &Store, longest: Duration) -> RunError {
    let begun = store.run_begun();
    if begun.abs_diff(unix_now()) > longest.as_secs() {
        RunError::Stuck(begun, store.locks())
    } else {
        RunError::Busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_take_as_long_as_its_entries_do() {
        let minute = Duration::from_secs(60);
        assert_eq!(longest(0, minute), LONGEST);
        // 117 times 20 seconds, and 21 minutes: an hour.
        assert_eq!(longest(117 * AT_ONCE, minute), LONGEST);
        assert_eq!(longest(117 * AT_ONCE + 1, minute), LONGEST + Duration::from_secs(20));
        assert_eq!(longest(usize::MAX, Duration::MAX), Duration::MAX);
    }
}
