//! A question to the network: on a thread of our own, with its lease among all who share the cache, and with what it
//! waits for in sight of its caller. A guest in another program starts threads here and nowhere else, but for the workers
//! of a queue.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use super::lease::{Begun, FetchLease};
use super::memory::Known;
use super::{Asked, Shared, Unavailable, unix_now};
use crate::cache::crowd::Bounds;
use crate::cache::entry::Entry;
use crate::cache::{Cache, CacheError};
use crate::network::dns::{Dns, StubResolver};
use crate::network::https::{PolicyHost, RootSource};
use crate::network::roots::{Roots, RootsError};
use crate::protocol::text::{Line, two_sentences};
use crate::sender::lookup::{Ask, Lookup, NotAsked, fair_time};
use crate::sender::notice::{Notice, Token};
use crate::sender::outcome::Outcome;
use crate::sender::settings::Settings;
use crate::sender::silence::{Hurried, Share};
use crate::sys::thread::{ThreadError, on_own_thread};

/// How long a lookup waits for the disk when its own time is over, or when only the cache was asked.
const WRITE_TIME: Duration = Duration::from_millis(1500);

/// The roots, read when the first certificate is to be checked. Two threads may both read them; none waits.
pub(super) struct LazyRoots {
    ca_file: Option<PathBuf>,
    read: OnceBox<Arc<Roots>>,
    /// Whether the administrator was told what is wrong with them.
    told: AtomicBool,
}

impl LazyRoots {
    /// Those of these settings. Nothing is read yet.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            ca_file: settings.ca_file.clone(),
            read: OnceBox::new(),
            told: AtomicBool::new(false),
        }
    }

    /// What is to be told of the roots that were read, once.
    pub(super) fn warning(&self) -> Option<Notice> {
        let warning = self.read.get()?.warning()?;
        let first = !self.told.swap(true, Ordering::Relaxed);
        first.then(|| Notice::new(Token::CaCertificateSkipped, warning))
    }

    /// Why no policy can be fetched, and what the administrator is to do.
    fn missing(&self, error: &RootsError) -> String {
        match (&self.ca_file, error) {
            (Some(_), _) => two_sentences(&error.to_string(), "Repair that file, or change the setting ca_file."),
            (None, RootsError::NoBundle { .. }) => error.to_string(),
            (None, _) => two_sentences(
                &error.to_string(),
                "Repair that file, or reinstall the package ca-certificates.",
            ),
        }
    }

    pub(super) fn get(&self) -> Result<Arc<Roots>, RootsError> {
        let read = || {
            let roots = match &self.ca_file {
                Some(file) => Roots::from_file(file),
                None => Roots::system(),
            };
            roots.map(|roots| Box::new(Arc::new(roots)))
        };
        self.read.get_or_try_init(read).cloned()
    }
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

    /// Asks on a thread of our own, and writes down what was learnt while the lookup has its lease.
    pub(super) fn ask_network(
        &self,
        known: &Known,
        ask: Ask,
        now: u64,
        deadline: Instant,
        share: Share,
    ) -> Result<Asked, Unavailable> {
        let (settings, roots, cache) = (self.settings.clone(), self.roots.clone(), self.cache.clone());
        let (before, stored) = (known.entry.clone(), known.stored.clone());
        let (learnt, heard) = sync_channel(1);
        let (wrote, written) = sync_channel(1);
        let (begins, begun) = sync_channel(1);
        let fleet = self.fleet.clone();
        let waits_for_others = Arc::new(AtomicBool::new(false));
        let waits = waits_for_others.clone();
        let asked = on_own_thread(deadline, move || {
            let resolver = match &*settings.nameservers {
                [] => StubResolver::system(),
                servers => StubResolver::with_servers(servers),
            };
            let roots: RootSource = Arc::new(move || roots.get().map_err(|e| roots.missing(&e)));
            let (fleet, no_fleet) = match fleet.session(&resolver, &roots) {
                Ok(fleet) => (fleet, None),
                Err(why) => (None, Some(why)),
            };
            let dns: Arc<dyn Dns> = Arc::new(Hurried::new(resolver, &share, waits.clone()));
            let https = PolicyHost::new(dns.clone(), roots.clone(), settings.addresses()).within(share.limits());
            let lease = FetchLease {
                cache,
                lease: RefCell::default(),
                without: RefCell::default(),
                fleet,
                roots,
                waits_for_others: waits,
                begun: begins,
            };
            let lookup = Lookup {
                dns: &*dns,
                https: &https,
                flight: &lease,
                settings: &settings,
            };
            let mut entry = before;
            if ask == Ask::Refresh {
                // Of an entry from before uses were noted, the time without any is counted from here.
                entry.used.get_or_insert(now);
            } else {
                entry.note_use(now);
            }
            let outcome = lookup.run(&mut entry, ask, now, deadline).map(|outcome| Outcome {
                warning: lease.without.take(),
                ..outcome
            });
            // Before it is written, for a disk may take longer than the caller has time. Nobody may listen any more.
            let _ = learnt.send((outcome, entry.clone()));
            let saved = write(&*lease.cache, &stored, &entry, settings.bounds());
            // The disk comes first: what the fleet has is a copy.
            let trouble = lease.fleet().and_then(|fleet| {
                fleet.publish(&entry, unix_now());
                fleet.trouble()
            });
            let _ = wrote.send((saved, trouble.or(no_fleet)));
        });
        match asked {
            // The deadline is the caller's, and what is known is known: that is an answer and no failure of the host.
            Ok(()) | Err(ThreadError::Deadline) => {}
            Err(e) => {
                let entry = known.entry.clone();
                let outcome = Lookup::not_asked(&entry, e.to_string(), now)
                    .map_err(|NotAsked { why, .. }| Unavailable::Thread(why))?;
                return Ok(Asked {
                    outcome,
                    entry,
                    saved: Ok(()),
                });
            }
        }
        let Ok((outcome, entry)) = heard.try_recv() else {
            let fair = |begun: &Begun| begun.2 + fair_time(&self.settings) <= deadline;
            let (entry, outcome) = match begun.try_recv().ok().filter(fair) {
                // The thread is late, so it is for us to note that the host was silent.
                Some((mut entry, id, _)) => {
                    let outcome = Lookup::unfetched(&mut entry, id, &self.settings, now);
                    (entry, outcome)
                }
                None if waits_for_others.load(Ordering::Relaxed) => {
                    let mut entry = known.entry.clone();
                    let outcome = Lookup::unanswered(&mut entry, &self.settings, now);
                    (entry, outcome)
                }
                // The thread hangs where it has to do with this host alone.
                None => {
                    let why = "the time ran out while this host was reading its own files".to_owned();
                    let outcome = Lookup::not_asked(&known.entry, why, now)?;
                    (known.entry.clone(), outcome)
                }
            };
            let saved = self.write_down(known, &entry);
            return Ok(Asked { outcome, entry, saved });
        };
        let slow = |_| (Err(CacheError::slow(&*self.cache)), None);
        let (saved, trouble) = written.recv_timeout(WRITE_TIME).unwrap_or_else(slow);
        Ok(Asked {
            outcome: Outcome {
                fleet: trouble.map(Line::from),
                ..outcome?
            },
            entry,
            saved,
        })
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
