//! The contract: what a lookup and a refresh ask of a cache, and what an answer means, whatever the cache is kept in.
//!
//! The engines are [`store`](super::store), a directory, and [`memory`](super::memory). `cache/conformance.rs` tests
//! that both keep this contract. What only a directory has (modes, files of dead writers, the lock of a run) is not
//! part of it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::cache::crowd::Bounds;
use crate::cache::entry::Entry;
use crate::protocol::names::Domain;

/// How long a write waits for its lock; each write takes less than a millisecond.
pub const WRITE_TURN: Duration = Duration::from_secs(1);

/// A place for entries. Any number of threads may use it at once. Its `Display` names it in a sentence: `the cache
/// directory /var/lib/mtasts`.
pub trait Cache: fmt::Display + Send + Sync {
    /// Reads the entry of a domain; `None` if there is none.
    ///
    /// # Errors
    /// [`CacheError::Unread`], [`CacheError::Broken`], [`CacheError::Foreign`] or [`CacheError::Elsewhere`].
    fn load(&self, domain: &Domain) -> Result<Option<Entry>, CacheError>;

    /// Stores what a lookup has changed, as [`Entry::merge`] says: a field that is the same `before` and `after` stays
    /// as it is stored, because another process may have changed it meanwhile. An empty result removes the entry. What
    /// cannot be read is replaced.
    ///
    /// # Errors
    /// A [`CacheError`]; nothing was changed.
    fn update(&self, before: &Entry, after: &Entry) -> Result<(), CacheError>;

    /// Changes the entry of a domain while no other process changes it. `change` gets what is stored and returns what
    /// is to be stored, or `None` to leave it. An empty entry removes what is stored. `change` is called again if
    /// another process has changed the entry meanwhile.
    ///
    /// # Errors
    /// [`CacheError::Busy`] if others change it until the deadline. After any error nothing was changed.
    fn change(&self, domain: &Domain, deadline: Instant, change: &mut Change<'_>) -> Result<(), CacheError>;

    /// Notes that a lookup asks for the domain, to a day. It waits for no lock; if it cannot be noted now, it is not
    /// noted.
    fn touch(&self, domain: &Domain, now: u64);

    /// The domains of which something is stored, in alphabetical order, whether or not it can be read.
    ///
    /// # Errors
    /// A [`CacheError`].
    fn domains(&self) -> Result<Vec<Domain>, CacheError>;

    /// Whether entries can be stored now: one is begun and given up.
    ///
    /// # Errors
    /// A [`CacheError`]: what stands in the way.
    fn check(&self) -> Result<Condition, CacheError>;

    /// Removes the entry of a domain, whatever it is. Returns whether there was one.
    ///
    /// # Errors
    /// A [`CacheError`].
    fn remove(&self, domain: &Domain) -> Result<bool, CacheError>;

    /// Waits until no other process that shares the cache fetches the policy of this domain (single flight). `None`:
    /// this process cannot have leases, and fetches without one.
    ///
    /// # Errors
    /// A [`CacheError`] that says why the domain is fetched without its lease: [`CacheError::Busy`] at the deadline.
    fn lease(&self, domain: &Domain, deadline: Instant) -> Result<Option<Lease>, CacheError>;

    /// Removes what is too much now that a new entry of this domain was stored. An engine may check only now and then.
    fn make_room(&self, domain: &Domain, bounds: Bounds, now: u64);
}

/// See [`Cache::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The number of the user who owns the directory, and its mode; `None` if there is no directory.
    pub directory: Option<(u32, u32)>,
    /// Of how many domains something is stored.
    pub domains: usize,
}

/// See [`Cache::change`].
pub type Change<'a> = dyn FnMut(Result<Option<Entry>, CacheError>) -> Option<Entry> + 'a;

/// The right to fetch the policy of a domain. It ends when it is dropped, and with its process.
#[must_use]
pub struct Lease {
    _held: Box<dyn Send + Sync>,
}

impl Lease {
    /// A lease that lasts as long as this value of the engine.
    pub(crate) fn new(cached: impl Send + Sync + 'static) -> Self {
        Self {
            _held: Box::new(cached),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// What is wrong with a cache. A lookup answers anyway and reports this as its warning. Each has the engine's sentence:
/// what happened, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheError {
    /// There may be an entry, and this process cannot read it now (no right, no descriptor). Whether there is a policy
    /// is unknown, so mail waits unless memory or the network knows.
    Unread(String),
    /// What is stored is not what we wrote. It is ignored, and the next fetch replaces it.
    Broken(String),
    /// As [`CacheError::Broken`], and another version of this library may have written it: the refresh leaves it alone.
    Foreign(String),
    /// The cache as a whole is missing or cannot be used. It holds nothing.
    Elsewhere(String),
    /// The entry cannot be written.
    Unwritten(String),
    /// Other processes have held the lock for longer than there was time.
    Busy(String),
}

impl CacheError {
    /// A write that takes longer than its caller can wait.
    pub(crate) fn slow(cache: &(impl fmt::Display + ?Sized)) -> Self {
        Self::Busy(format!(
            "writing to {cache} takes too long. Check whether its disk is slow or overloaded."
        ))
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why)
            | Self::Broken(why)
            | Self::Foreign(why)
            | Self::Elsewhere(why)
            | Self::Unwritten(why)
            | Self::Busy(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CacheError {}
