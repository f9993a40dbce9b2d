//! What is known of a domain, on disk and in memory together, and how what memory alone knows gets to the disk.

use std::time::{Duration, Instant};

use super::{Shared, unix_now};
use crate::cache::crowd::Bounds;
use crate::cache::entry::Entry;
use crate::cache::{Cache, CacheError};
use crate::protocol::names::Domain;
use crate::sys::thread::{ThreadError, on_own_thread};

/// How long a lookup waits for the disk when its own time is over, or when only the cache was asked.
pub(super) const WRITE_TIME: Duration = Duration::from_millis(1500);

/// What was known of a domain before anybody was asked.
pub(super) struct Known {
    /// What the disk and the memory know together.
    pub(super) entry: Entry,
    /// What is on the disk: only what differs from that is written there.
    pub(super) stored: Entry,
    /// Memory has something that could not be written.
    pub(super) in_memory_alone: bool,
    /// Why the disk does not say what it holds.
    pub(super) unread: Option<CacheError>,
}

impl Shared {
    /// Writes what is known now. A disk that hangs is not waited for: the caller's time may be over already.
    pub(super) fn write_down(&self, known: &Known, entry: &Entry) -> Result<(), CacheError> {
        let (cache, stored, entry) = (self.cache.clone(), known.stored.clone(), entry.clone());
        let bounds = self.settings.bounds();
        on_own_thread(Instant::now() + WRITE_TIME, move || {
            write(&*cache, &stored, &entry, bounds)
        })
        .unwrap_or_else(|e| match e {
            ThreadError::Deadline => Err(CacheError::slow(&*self.cache)),
            e => Err(CacheError::Unwritten(format!("{} cannot be used: {e}", self.cache))),
        })
    }

    /// What is known of the domain: on disk, and in memory where it could not be written.
    pub(super) fn load(&self, domain: &Domain, now: u64) -> Known {
        let (stored, unread) = match self.cache.load(domain) {
            Ok(stored) => (stored, None),
            Err(e) => (None, Some(e)),
        };
        if let Some(mut entry) = self.unsaved(domain).map(|entry| *entry) {
            if let Some(stored) = &stored {
                entry.join(stored);
            }
            let stored = stored.unwrap_or_else(|| Entry::new(domain.clone()));
            return Known {
                in_memory_alone: entry != stored,
                entry,
                stored,
                unread,
            };
        }
        let entry = match (stored, &unread) {
            (Some(stored), _) => Some(stored),
            // The entry is as good as it was.
            (None, Some(CacheError::Unread(_))) => self.last_seen(domain, now),
            (None, _) => None,
        };
        let entry = entry.unwrap_or_else(|| Entry::new(domain.clone()));
        Known {
            stored: entry.clone(),
            entry,
            in_memory_alone: false,
            unread,
        }
    }

    /// The policy of the last answer, however long ago that was, where it counts still.
    fn last_seen(&self, domain: &Domain, now: u64) -> Option<Entry> {
        let memory = self.memory.try_read().ok()?;
        let answer = &memory.get(domain.as_str())?.answer;
        let mut entry = Entry::new(domain.clone());
        entry.held = answer.held_shared().cloned();
        entry.pinned_until = answer.pinned_until();
        entry.live(now).is_some().then_some(entry)
    }

    /// What memory alone knows of the domain.
    pub(super) fn unsaved(&self, domain: &Domain) -> Option<Box<Entry>> {
        let memory = self.memory.try_read().ok()?;
        memory.get(domain.as_str())?.unsaved.clone()
    }
}

/// Writes what was learnt beyond what is on the disk. Most domains have no policy: they leave no trace there.
pub(super) fn write(cache: &dyn Cache, stored: &Entry, entry: &Entry, bounds: Bounds) -> Result<(), CacheError> {
    if entry == stored || (entry.is_empty() && stored.is_empty()) {
        return Ok(());
    }
    cache.update(stored, entry)?;
    if stored.is_empty() {
        cache.make_room(&entry.domain, bounds, unix_now());
    }
    Ok(())
}
