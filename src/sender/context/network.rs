//! A question to the network: on a thread of our own, with its turn among all who share the cache, and with what it
//! waits for in sight of its caller.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use super::known::{Known, WRITE_TIME, write};
use super::{Asked, ContextError, Shared};
use crate::cache::entry::Entry;
use crate::cache::store::{Store, StoreError};
use crate::network::dns::{Dns, Resolver};
use crate::network::https::{PolicyHost, RootSource};
use crate::network::roots::{Roots, RootsError};
use crate::protocol::names::Domain;
use crate::protocol::record::PolicyId;
use crate::sender::lookup::{Ask, Flight, Lookup, NotAsked, fair_time};
use crate::sender::notice::{Notice, Token};
use crate::sender::settings::Settings;
use crate::sender::silence::{Hurried, Share};
use crate::sys::lock::Lock;
use crate::sys::thread::{ThreadError, on_own_thread};

/// How long a fetch waits for its turn at most, and no longer than a quarter of the time that there is: whoever holds the
/// lock and does not go on (a process that was stopped, a slow policy host) must not take the domain from the others.
const TURN: Duration = Duration::from_secs(2);

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
            (Some(_), _) => format!("{error}. Repair that file, or change the setting ca_file."),
            (None, RootsError::NoBundle { .. }) => error.to_string(),
            (None, _) => format!("{error}. Repair that file, or reinstall the package ca-certificates."),
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

/// A fetch's turn among all processes and threads that share the cache. It lasts until what was fetched is written.
struct Turn {
    store: Option<Store>,
    lock: RefCell<Option<Lock>>,
    /// Why the lock was not had.
    without: RefCell<Option<Notice>>,
    roots: RootSource,
    /// Whether it is DNS or a policy host for which the lookup waits now, and nothing of this host's own.
    waits_for_others: Arc<AtomicBool>,
    departed: SyncSender<Departed>,
}

/// A fetch that has begun: what was known by then, which id it is for, and when that was.
type Departed = (Entry, PolicyId, Instant);

impl Flight for Turn {
    fn board(&self, domain: &Domain, deadline: Instant) -> Option<Entry> {
        let store = self.store.as_ref()?;
        // Without the lock it is better to fetch twice than not at all.
        let begun = Instant::now();
        let patience = TURN.min(deadline.saturating_duration_since(begun) / 4);
        match store.lock(domain, begun + patience) {
            Ok(lock) => *self.lock.borrow_mut() = Some(lock),
            Err(e) => *self.without.borrow_mut() = without_lock(domain, &store.locks(), patience, &e),
        }
        store.load(domain).ok().flatten()
    }

    fn takes_off(&self, entry: &Entry, id: PolicyId) {
        // A file of roots may be on a disk that hangs. Those that cannot be read are the fetch's to tell.
        self.waits_for_others.store(false, Ordering::Relaxed);
        let _ = (self.roots)();
        self.waits_for_others.store(true, Ordering::Relaxed);
        // The first one is what the caller waits for, and there is no other.
        let _ = self.departed.try_send((entry.clone(), id, Instant::now()));
    }
}

/// What the administrator should know of a lock that was not had. Who may not write to the directory has none, and that is
/// told with what could not be written.
fn without_lock(domain: &Domain, locks: &Path, patience: Duration, error: &io::Error) -> Option<Notice> {
    use io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, TimedOut};
    let locks = locks.display();
    let sentence = match error.kind() {
        PermissionDenied | NotFound | ReadOnlyFilesystem | QuotaExceeded => return None,
        TimedOut => format!(
            "{domain} was looked up without its lock in {locks}: another process has held the lock for {:.1} s. If this \
             line appears again, find the process that is stopped or hangs: fuser -v {locks}",
            patience.as_secs_f64()
        ),
        _ => format!("{domain} was looked up without its lock in {locks}: {error}"),
    };
    Some(Notice::new(Token::LookupNotLocked, sentence))
}

impl Shared {
    /// Asks on a thread of our own, and writes down what was learnt while the lookup has its turn.
    pub(super) fn ask_network(
        &self,
        known: &Known,
        ask: Ask,
        now: u64,
        deadline: Instant,
        share: Share,
    ) -> Result<Asked, ContextError> {
        let (settings, roots) = (self.settings.clone(), self.roots.clone());
        let (before, stored) = (known.entry.clone(), known.stored.clone());
        let (learnt, heard) = sync_channel(1);
        let (wrote, written) = sync_channel(1);
        let (departed, departure) = sync_channel(1);
        let waits_for_others = Arc::new(AtomicBool::new(false));
        let waits = waits_for_others.clone();
        let asked = on_own_thread(deadline, move || {
            let resolver = match &*settings.nameservers {
                [] => Resolver::system(),
                servers => Resolver::with_servers(servers),
            };
            let dns: Arc<dyn Dns> = Arc::new(Hurried::new(resolver, &share, waits.clone()));
            let roots: RootSource = Arc::new(move || roots.get().map_err(|e| roots.missing(&e)));
            let https = PolicyHost::new(dns.clone(), roots.clone(), settings.addresses()).within(&share);
            let turn = Turn {
                store: settings.cache_dir.clone().map(Store::new),
                lock: RefCell::default(),
                without: RefCell::default(),
                roots,
                waits_for_others: waits,
                departed,
            };
            let lookup = Lookup {
                dns: &*dns,
                https: &https,
                flight: &turn,
                settings: &settings,
            };
            let mut entry = before;
            if ask == Ask::Refresh {
                // Of an entry from before uses were noted, the time without any is counted from here.
                entry.used.get_or_insert(now);
            } else {
                entry.note_use(now);
            }
            let answer = lookup.run(&mut entry, ask, now, deadline);
            let answer = answer.map(|answer| answer.with_warning(turn.without.take()));
            // Before it is written, for a disk may take longer than the caller has time. Nobody may listen any more.
            let _ = learnt.send((answer, entry.clone()));
            let store = turn.store.as_ref();
            let _ = wrote.send(store.map_or(Ok(()), |store| write(store, &stored, &entry, settings.bounds())));
        });
        match asked {
            // The deadline is the caller's, and what is known is known: that is an answer and no failure of the host.
            Ok(()) | Err(ThreadError::Deadline) => {}
            Err(e) => {
                let entry = known.entry.clone();
                let answer =
                    Lookup::not_asked(&entry, e.to_string(), now).map_err(|NotAsked(why)| ContextError::Thread(why))?;
                return Ok(Asked {
                    answer,
                    entry,
                    saved: Ok(()),
                });
            }
        }
        let Ok((answer, entry)) = heard.try_recv() else {
            let fair = |departed: &Departed| departed.2 + fair_time(&self.settings) <= deadline;
            let (entry, answer) = match departure.try_recv().ok().filter(fair) {
                // The thread is late, so it is for us to note that the host was silent.
                Some((mut entry, id, _)) => {
                    let answer = Lookup::unfetched(&mut entry, id, &self.settings, now);
                    (entry, answer)
                }
                None if waits_for_others.load(Ordering::Relaxed) => {
                    let mut entry = known.entry.clone();
                    let answer = Lookup::unanswered(&mut entry, &self.settings, now);
                    (entry, answer)
                }
                // The thread hangs where it has to do with this host alone.
                None => {
                    let why = "the time ran out while this host was reading its own files".to_owned();
                    let answer = Lookup::not_asked(&known.entry, why, now)?;
                    (known.entry.clone(), answer)
                }
            };
            let saved = self.write_down(known, &entry);
            return Ok(Asked { answer, entry, saved });
        };
        let slow = || StoreError::Slow(self.settings.cache_dir.clone().unwrap_or_default());
        let saved = written.recv_timeout(WRITE_TIME).unwrap_or_else(|_| Err(slow()));
        Ok(Asked {
            answer: answer?,
            entry,
            saved,
        })
    }
}
