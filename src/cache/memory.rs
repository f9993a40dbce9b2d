//! A cache in the memory of this process alone: for the setting `cache_dir = ""`.
//!
//! A child of a fork has a copy. A thread of the parent that is not copied may have held a lock at that moment, and
//! never releases it in the child. So no lock is held for longer than a look at a map takes, and each is only tried for
//! a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::contract::{Cache, CacheError, Change, Condition, Lease, WRITE_TURN};
use super::crowd::{Bounds, Worth, excess, looks, parent};
use super::entry::Entry;
use crate::protocol::names::Domain;

/// How many entries there may be, whatever the settings allow: a policy may have 64 KiB.
const MOST: usize = 10_000;
/// How long a lock is tried. If it is held for longer, its holder is a thread that the fork has not copied.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it is left alone between two attempts.
const RETRY: Duration = Duration::from_micros(50);
/// How long a lease is waited for between two attempts, at first and at most.
const NAP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

type Entries = HashMap<Domain, Arc<Entry>>;

/// Entries in memory.
#[derive(Default)]
pub struct Memory {
    entries: Mutex<Entries>,
    /// The process that gave a lease, and whether it still lasts. A lease of the parent says nothing in a child.
    leases: Mutex<HashMap<Domain, (u32, Weak<()>)>>,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory of this process")
    }
}

impl Memory {
    fn read(&self) -> Result<MutexGuard<'_, Entries>, CacheError> {
        patiently(&self.entries).ok_or_else(|| CacheError::Unread(self.locked()))
    }

    fn write(&self) -> Result<MutexGuard<'_, Entries>, CacheError> {
        patiently(&self.entries).ok_or_else(|| CacheError::Busy(self.locked()))
    }

    fn locked(&self) -> String {
        format!("{self} was locked by another thread when this process was forked")
    }

    /// Reads, changes and writes, with no lock held while `change` runs: as often as another thread comes in between.
    fn rewrite(&self, domain: &Domain, deadline: Instant, change: &mut Change<'_>) -> Result<(), CacheError> {
        loop {
            let seen = self.read()?.get(domain).cloned();
            let Some(entry) = change(Ok(seen.as_deref().cloned())) else {
                return Ok(());
            };
            let mut entries = self.write()?;
            if entries.get(domain).map(Arc::as_ptr) == seen.as_ref().map(Arc::as_ptr) {
                if entry.is_empty() {
                    entries.remove(domain);
                } else {
                    entries.insert(domain.clone(), Arc::new(entry));
                }
                return Ok(());
            }
            drop(entries);
            if Instant::now() >= deadline {
                return Err(CacheError::slow(self));
            }
        }
    }
}

impl Cache for Memory {
    fn load(&self, domain: &Domain) -> Result<Option<Entry>, CacheError> {
        Ok(self.read()?.get(domain).map(|entry| (**entry).clone()))
    }

    fn update(&self, before: &Entry, after: &Entry) -> Result<(), CacheError> {
        self.rewrite(&before.domain, Instant::now() + WRITE_TURN, &mut |stored| {
            let stored = stored.ok()?.unwrap_or_else(|| Entry::new(before.domain.clone()));
            Some(Entry::merge(before, after, &stored))
        })
    }

    fn change(&self, domain: &Domain, deadline: Instant, change: &mut Change<'_>) -> Result<(), CacheError> {
        self.rewrite(domain, deadline, change)
    }

    fn touch(&self, domain: &Domain, now: u64) {
        let _ = self.rewrite(domain, Instant::now(), &mut |stored| {
            let mut entry = stored.ok()??;
            entry.note_use(now).then_some(entry)
        });
    }

    fn domains(&self) -> Result<Vec<Domain>, CacheError> {
        let mut domains: Vec<Domain> = self.read()?.keys().cloned().collect();
        domains.sort_unstable();
        Ok(domains)
    }

    fn check(&self) -> Result<Condition, CacheError> {
        Ok(Condition {
            directory: None,
            domains: self.domains()?.len(),
        })
    }

    fn remove(&self, domain: &Domain) -> Result<bool, CacheError> {
        Ok(self.write()?.remove(domain).is_some())
    }

    fn lease(&self, domain: &Domain, deadline: Instant) -> Result<Option<Lease>, CacheError> {
        let (begun, process) = (Instant::now(), std::process::id());
        let mut nap = NAP.0;
        loop {
            let Some(mut leases) = patiently(&self.leases) else {
                return Ok(None);
            };
            leases.retain(|_, (owner, lasts)| *owner == process && lasts.strong_count() > 0);
            if !leases.contains_key(domain) {
                let owned = Arc::new(());
                leases.insert(domain.clone(), (process, Arc::downgrade(&owned)));
                return Ok(Some(Lease::new(owned)));
            }
            drop(leases);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CacheError::Busy(format!(
                    "another lookup of this process has held it for {:.1} s",
                    begun.elapsed().as_secs_f64()
                )));
            }
            thread::sleep(nap.min(left));
            nap = (nap * 2).min(NAP.1);
        }
    }

    fn make_room(&self, domain: &Domain, bounds: Bounds, now: u64) {
        let most = bounds.in_all.min(MOST);
        let Ok(entries) = self.read() else { return };
        let family = parent(domain);
        let is_crowded = || entries.keys().filter(|domain| parent(domain) == family).count() > bounds.per_parent;
        let goal = if entries.len() > most {
            // Some more than must go, so that the next one need not look again.
            most - most / 8
        } else if looks(domain) && is_crowded() {
            most
        } else {
            return;
        };
        let all: Vec<Arc<Entry>> = entries.values().cloned().collect();
        drop(entries);
        let worth: Vec<_> = all
            .iter()
            .map(|entry| (parent(&entry.domain), Worth::of(entry, now)))
            .collect();
        let gone = excess(&worth, bounds.per_parent, goal);
        let Ok(mut entries) = self.write() else { return };
        for place in gone {
            let seen = &all[place];
            // What was changed meanwhile may be worth more by now.
            if entries.get(&seen.domain).is_some_and(|entry| Arc::ptr_eq(entry, seen)) {
                entries.remove(&seen.domain);
            }
        }
    }
}

/// Tries a lock for a while. The data of a thread that panicked is consistent: each change is a single step.
fn patiently<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}
