//! A run of the refresh: over every entry of the cache, some of them at once.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Idle, Plan, idle, plan};
use crate::answer::Source;
use crate::context::{Context, unix_now};
use crate::entry::{Entry, EntryError};
use crate::names::Domain;
use crate::policy::Mode;
use crate::store::{Store, StoreError};
use crate::sys::lock::Lock;
use crate::sys::process;

/// How many policies are renewed at once.
const AT_ONCE: usize = 16;
/// The lock that a run holds; no domain has a space in its name.
const RUN: &str = "refresh run";
/// How long a mark waits for those who write the same entry.
const WRITE_TURN: Duration = Duration::from_secs(1);

/// A run that has begun. While it lives there is no other for this cache.
pub struct Run<'a> {
    context: &'a Context,
    store: Store,
    domains: Vec<Domain>,
    uses_are_noted: bool,
    /// How many files of dead writers were removed.
    pub swept: usize,
    _turn: Lock,
}

/// Why no run can begin.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// Root touches neither the network nor the cache: the process has to become the owner of the cache directory first.
    Root,
    /// The settings keep policies in memory alone.
    NoDirectory,
    /// The cache directory cannot be used.
    Store(StoreError),
    /// Another run is on.
    Busy,
    /// The lock cannot be taken: this user may not write to the cache directory.
    Lock(std::io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("a refresh does not run as root"),
            Self::NoDirectory => f.write_str("the settings name no cache directory"),
            Self::Store(e) => e.fmt(f),
            Self::Busy => f.write_str("another refresh is running"),
            Self::Lock(e) => write!(f, "cannot lock the cache directory: {e}; run this as its owner"),
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
    Weakened(String),
    /// The policy could not be renewed, or not be written; the one that is held counts on: what happened.
    Failed(String),
    /// The policy asks for nothing, and could not be renewed: nobody is harmed (RFC 8461 10.2).
    FailedForNothing,
    /// The entry was removed.
    Removed(Idle),
    /// The file cannot be used: what is wrong.
    Broken(String),
}

impl<'a> Run<'a> {
    /// Begins a run over the cache of a context.
    ///
    /// # Errors
    /// A [`RunError`].
    pub fn begin(context: &'a Context) -> Result<Self, RunError> {
        if process::is_root() {
            return Err(RunError::Root);
        }
        let dir = context.settings().cache_dir.clone().ok_or(RunError::NoDirectory)?;
        let store = Store::new(dir);
        let uses_are_noted = store.uses_are_noted().map_err(RunError::Store)?;
        let turn = store.lock_name(RUN, Instant::now()).map_err(|e| match e.kind() {
            std::io::ErrorKind::TimedOut => RunError::Busy,
            _ => RunError::Lock(e),
        })?;
        Ok(Self {
            context,
            domains: store.domains().map_err(RunError::Store)?,
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

    /// Goes through all entries and tells what becomes of each. With `all`, every policy that counts is renewed whether
    /// or not it is due. `told` is called on the threads of the run, some at once.
    pub fn run(&self, all: bool, told: impl Fn(&Domain, Outcome) + Sync) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(domain) = self.domains.get(next.fetch_add(1, Ordering::Relaxed)) {
                told(domain, self.tend(domain, all));
            }
        };
        thread::scope(|scope| {
            for _ in 1..AT_ONCE {
                // Where the system gives no more threads, those that there are do the work.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
    }

    fn tend(&self, domain: &Domain, all: bool) -> Outcome {
        let now = unix_now();
        let entry = match self.store.load(domain) {
            Ok(Some(entry)) => entry,
            // Somebody has removed it since we looked.
            Ok(None) => return Outcome::Waits,
            Err(e) => return self.repair(domain, &e),
        };
        let planned = plan(&entry, now, self.uses_are_noted);
        if all && entry.live(now).is_some() && entry.pinned(now).is_none() {
            return self.renew(&entry);
        }
        match planned {
            Plan::Wait => Outcome::Waits,
            Plan::Renew => self.renew(&entry),
            Plan::Mark | Plan::Unmark | Plan::Remove => self.put_away(domain, now),
        }
    }

    fn renew(&self, entry: &Entry) -> Outcome {
        let domain = &entry.domain;
        let answer = match self.context.refresh(domain, Duration::MAX) {
            Ok(answer) => answer,
            Err(e) => return Outcome::Failed(format!("{domain}: {e}")),
        };
        if answer.source() == Source::Fresh {
            let stored = self.store.load(domain).ok().flatten().and_then(|stored| stored.held);
            if stored.is_none_or(|stored| Some(stored.fetched) < answer.held().map(|held| held.fetched)) {
                let why = answer.warning().unwrap_or("it is not in the cache");
                return Outcome::Failed(format!("{domain}: the new policy could not be kept: {why}"));
            }
        }
        match (answer.source(), answer.alert()) {
            (Source::Fresh, None) => Outcome::Renewed,
            (Source::Fresh, Some(alert)) => Outcome::Weakened(alert.to_owned()),
            // Pinned meanwhile.
            (Source::Cached, _) => Outcome::Waits,
            (_, Some(alert)) => Outcome::Failed(alert.to_owned()),
            (_, None) => match &entry.held {
                Some(held) if held.policy.mode() == Mode::None => Outcome::FailedForNothing,
                // It expired in this moment.
                _ => Outcome::Failed(answer.explain()),
            },
        }
    }

    /// A file that cannot be used is replaced if there is a policy; nothing else is known of it.
    fn repair(&self, domain: &Domain, error: &StoreError) -> Outcome {
        // Another version of this library may share the directory: its files are not for us.
        let other_version = matches!(error, StoreError::Entry(_, EntryError::Format));
        if !other_version && matches!(self.renew(&Entry::new(domain.clone())), Outcome::Renewed) {
            return Outcome::Renewed;
        }
        Outcome::Broken(error.to_string())
    }

    /// Marks, unmarks or removes an entry, by what stands there now that nobody else writes it.
    fn put_away(&self, domain: &Domain, now: u64) -> Outcome {
        let mut outcome = Outcome::Waits;
        let changed = self.store.change(domain, Instant::now() + WRITE_TURN, |stored| {
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
            Err(e) => Outcome::Failed(format!("{domain}: {e}")),
        }
    }
}
