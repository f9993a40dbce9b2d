//! One fetch at a time for each domain, among all processes that share the cache: who fetches holds a lock.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::fleet::Session;
use crate::cache::Cache;
use crate::cache::contract::Lease;
use crate::cache::entry::Entry;
use crate::network::https::RootSource;
use crate::protocol::names::Domain;
use crate::protocol::record::PolicyId;
use crate::sender::fleet;
use crate::sender::lookup::SingleFlight;
use crate::sender::notice::{Notice, Token};

/// How long a fetch waits for its lease at most, and no longer than a quarter of the time that there is: whoever holds the
/// lock and does not go on (a process that was stopped, a slow policy host) must not take the domain from the others.
const LEASE_WAIT: Duration = Duration::from_secs(2);

/// A fetch's lease among all processes and threads that share the cache. It lasts until what was fetched is written.
pub(super) struct FetchLease {
    pub(super) cache: Arc<dyn Cache>,
    pub(super) lease: RefCell<Option<Lease>>,
    /// Why the fetch has no lease.
    pub(super) without: RefCell<Option<Notice>>,
    /// The other hosts that fetch, if there are any.
    pub(super) fleet: Option<Session>,
    pub(super) roots: RootSource,
    /// Whether it is DNS or a policy host for which the lookup waits now, and nothing of this host's own.
    pub(super) waits_for_others: Arc<AtomicBool>,
    pub(super) begun: SyncSender<Begun>,
}

/// A fetch that has begun: what was known by then, which id it is for, and when that was.
pub(super) type Begun = (Entry, PolicyId, Instant);

impl FetchLease {
    /// The other hosts. A build without them has none of their code.
    pub(super) fn fleet(&self) -> Option<&Session> {
        self.fleet.as_ref().filter(|_| fleet::BUILT)
    }
}

impl SingleFlight for FetchLease {
    fn lease(&self, domain: &Domain, deadline: Instant) -> Option<Entry> {
        // Without the lease it is better to fetch twice than not at all.
        let now = Instant::now();
        let patience = LEASE_WAIT.min(deadline.saturating_duration_since(now) / 4);
        match self.cache.lease(domain, now + patience) {
            Ok(lease) => *self.lease.borrow_mut() = lease,
            Err(why) => {
                let sentence = format!("{domain} was looked up without its lock: {why}");
                *self.without.borrow_mut() = Some(Notice::new(Token::LookupNotLocked, sentence));
            }
        }
        self.cache.load(domain).ok().flatten()
    }

    fn hint(&self, domain: &Domain, now: u64) -> Option<Entry> {
        self.fleet()?.hint(domain, now)
    }

    fn turn(&self, domain: &Domain, id: PolicyId, deadline: Instant) -> Option<Entry> {
        // One that has waited for a process of this host already goes on.
        let has_waited = self.without.borrow().is_some();
        self.fleet().filter(|_| !has_waited)?.turn(domain, id, deadline)
    }

    fn fetch_begins(&self, entry: &Entry, id: PolicyId) {
        // A file of roots may be on a disk that hangs. Those that cannot be read are the fetch's to tell.
        self.waits_for_others.store(false, Ordering::Relaxed);
        let _ = (self.roots)();
        self.waits_for_others.store(true, Ordering::Relaxed);
        // The first one is what the caller waits for, and there is no other.
        let _ = self.begun.try_send((entry.clone(), id, Instant::now()));
    }
}
