//! The resolver: the settings of a host, its cache, and the way to the network. Every face asks here and nowhere else.
//!
//! Making one does nothing: no file is opened, no thread is started. It may be shared by any number of threads and
//! used in any child of the process, however many forks away: what it shares is only tried and never waited for.

mod fleet;
mod helper;
mod hosts;
mod inventory;
mod lease;
mod memory;
mod network;
pub mod report;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;

use crate::cache::entry::Entry;
use crate::cache::store::Store;
use crate::cache::{Cache, CacheError};
use crate::network::roots::RootsError;
use crate::protocol::certificate::{CertificateFailure, check_chain};
use crate::protocol::names::Domain;
use crate::protocol::text::two_sentences;
use crate::protocol::words::Source;
use crate::sender::answer::{Answer, Decision};
use crate::sender::exceptions::Watched;
use crate::sender::fleet::counts::Counts;
use crate::sender::lookup::{Ask, Lookup, NotAsked};
use crate::sender::notice::{Notice, Token};
use crate::sender::outcome::Outcome;
use crate::sender::settings::Settings;
use crate::sender::silence::{Share, Silence};
use crate::sender::user::NoUser;
use crate::sender::validator::Tests;
use crate::sys::process::{self, HelperError};
use fleet::Fleet;
pub(crate) use fleet::link::keep_connections;
pub use helper::leave_root;
use hosts::HostMemory;
use memory::{Answers, Known, Remembered, good_until};
use network::LazyRoots;
use report::Records;

/// What the administrator is told once of the setting `cache_dir = ""`.
const MEMORY_ALONE: &str = "policies are kept in memory only, because the setting cache_dir is empty: they are lost when this \
    process ends, and each process fetches its own";

/// Who is told what the administrator should know now, a line at a time.
type Log = Box<dyn Fn(&str) + Send + Sync>;

/// The settings of a host, its cache, and the way to the network. Clones share it.
#[derive(Clone)]
pub struct Resolver {
    /// On the heap, wherever the resolver itself is. A helper starts threads after its fork, and glibc then unmaps
    /// the stacks of the parent's other threads: what lay there is gone in the child.
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    exceptions: Watched,
    log: Log,
    cache: Arc<dyn Cache>,
    roots: Arc<LazyRoots>,
    memory: Answers,
    /// Whether the administrator was told that there is memory alone.
    told: AtomicBool,
    silence: Silence,
    hosts: HostMemory,
    records: Records,
    /// Whether the administrator was told that results for TLS reports are lost.
    told_of_loss: AtomicBool,
    /// Of the name server of `dane_resolver`.
    tests: Tests,
    fleet: Fleet,
}

/// How far a question goes.
#[derive(Clone, Copy, Debug)]
enum Question {
    Cache,
    Network(Ask),
}

/// What came of a question.
struct Asked {
    outcome: Outcome,
    entry: Entry,
    saved: Result<(), CacheError>,
}

/// What a lookup has learnt, as it stands before the caller's process decides about it.
struct Learnt {
    outcome: Outcome,
    entry: Entry,
    /// Whether the disk has all of it.
    is_saved: bool,
}

/// Why there is no answer at all. Nothing is known of the domain then, so mail for it must wait.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unavailable {
    /// The process runs as root and there is no other user for the network's part.
    NoHelper(NoUser),
    /// What the cache holds for the domain could not be read, and the network did not say either.
    Unread(CacheError),
    /// The helper process failed.
    Helper(String),
    /// The cache directory, or the file of a domain, cannot be used.
    Store(String),
    /// No thread could be started, or a defect of libmtasts (a panic).
    Thread(String),
    /// Nobody was asked, because of trouble of this host: no thread, no descriptor, no roots, no time.
    NotAsked(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHelper(why) => why.fmt(f),
            Self::Unread(e) => write!(
                f,
                "cannot tell whether the domain has a policy: {e}, and neither DNS nor the policy host answered"
            ),
            Self::Helper(why) | Self::Store(why) | Self::Thread(why) => f.write_str(why),
            Self::NotAsked(why) => write!(f, "this host could not look up the policy: {why}"),
        }
    }
}

impl std::error::Error for Unavailable {}

impl Unavailable {
    /// The error as a line of the log.
    #[doc(hidden)]
    #[must_use]
    pub fn notice(&self) -> Notice {
        let token = match self {
            Self::NoHelper(..) => Token::NoCacheOwner,
            Self::Unread(_) => Token::CacheNotRead,
            Self::NotAsked(_) => Token::LookupNotStarted,
            Self::Helper(_) | Self::Store(_) | Self::Thread(_) => Token::LookupFailed,
        };
        Notice::new(token, self.to_string())
    }
}

impl From<NotAsked> for Unavailable {
    fn from(NotAsked { why, .. }: NotAsked) -> Self {
        Self::NotAsked(why)
    }
}

impl From<NoUser> for Unavailable {
    fn from(why: NoUser) -> Self {
        Self::NoHelper(why)
    }
}

impl From<HelperError> for Unavailable {
    fn from(error: HelperError) -> Self {
        Self::Helper(error.to_string())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver with these settings. Nothing is opened, read or started before the first question. What the
    /// administrator should know becomes a warning of the `log` facade.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_log(settings, |line| log::warn!("{line}"))
    }

    /// The same with another receiver for what the administrator should know: a line at a time, on the thread that
    /// asks.
    #[must_use]
    pub fn with_log(settings: Settings, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let roots = Arc::new(LazyRoots::of(&settings));
        let fleet = Fleet::of(&settings);
        let shared = Shared {
            exceptions: Watched::new(settings.exceptions.clone()),
            cache: match &settings.cache_dir {
                Some(dir) => Arc::new(Store::new(dir.clone())),
                None => Arc::new(crate::cache::memory::Memory::default()),
            },
            settings,
            log: Box::new(log),
            roots,
            memory: Answers::default(),
            told: AtomicBool::new(false),
            silence: Silence::new(),
            hosts: HostMemory::default(),
            records: Records::default(),
            told_of_loss: AtomicBool::new(false),
            tests: Tests::default(),
            fleet,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What came of asking the server of a fleet, in this process.
    #[doc(hidden)]
    #[must_use]
    pub fn fleet_counts(&self) -> &Counts {
        self.shared.fleet.counts()
    }

    /// The policy of a mail domain, as a delivery needs it: from the cache, or from DNS and HTTPS within `patience` or the
    /// setting `timeout`, whichever is shorter (RFC 8461 5.1).
    ///
    /// `domain` is what the recipient's address has behind its `@`, in any spelling. If it is not a domain name
    /// ([`Domain::parse`]), such as an address literal, it cannot have a policy: the answer says so, and mail is delivered
    /// as usual.
    ///
    /// In a process of root the work is done by a child that has become another user: the setting `user`, or the owner of
    /// the cache directory.
    ///
    /// # Errors
    /// A [`Unavailable`] where not even a failure could be learnt.
    pub fn lookup(&self, domain: &(impl AsRef<str> + ?Sized), patience: Duration) -> Result<Arc<Answer>, Unavailable> {
        match self.remembered(domain.as_ref(), unix_now()) {
            Some(answer) => Ok(answer),
            None => self.ask(domain.as_ref(), Question::Network(Ask::Delivery), patience),
        }
    }

    /// Whether there is a newer policy now: DNS is asked whatever is remembered. For an MTA that is about to bounce a
    /// mail because of a policy (RFC 8461 5).
    ///
    /// # Errors
    /// As [`Resolver::lookup`].
    pub fn recheck(&self, domain: &(impl AsRef<str> + ?Sized), patience: Duration) -> Result<Arc<Answer>, Unavailable> {
        self.ask(domain.as_ref(), Question::Network(Ask::Recheck), patience)
    }

    /// Renews a policy before it expires (RFC 8461 10.2): the policy host is asked whatever DNS says, unless the policy is
    /// the operator's own, and unless there is neither a policy nor a record. It does not count as use of the domain.
    ///
    /// # Errors
    /// As [`Resolver::lookup`].
    pub fn refresh(&self, domain: &Domain, patience: Duration) -> Result<Arc<Answer>, Unavailable> {
        self.ask(domain.as_str(), Question::Network(Ask::Refresh), patience)
    }

    /// What the cache says. The network is not touched, whatever is missing.
    ///
    /// # Errors
    /// As [`Resolver::lookup`].
    pub fn lookup_cached(&self, domain: &(impl AsRef<str> + ?Sized)) -> Result<Arc<Answer>, Unavailable> {
        match self.remembered(domain.as_ref(), unix_now()) {
            Some(answer) => Ok(answer),
            None => self.ask(domain.as_ref(), Question::Cache, Duration::MAX),
        }
    }

    /// The answer that memory holds and that may be repeated now. `name` is a domain in its one spelling.
    #[must_use]
    pub(crate) fn remembered(&self, name: &str, now: u64) -> Option<Arc<Answer>> {
        let answer = self.shared.memory.get(name, now)?;
        self.shared.tell_exception(&answer);
        Some(answer)
    }

    /// Checks the certificate chain of an MX host (RFC 8461 4.2): DER, the host's own first, against the setting
    /// `ca_file` or the system's roots.
    ///
    /// # Errors
    /// A [`RootsError`] where the roots cannot be read: no verdict is possible. Otherwise the inner result.
    pub fn verify_certificate(
        &self,
        host: &Domain,
        chain: &[&[u8]],
        at: UnixTime,
    ) -> Result<Result<(), CertificateFailure>, RootsError> {
        let roots = self.shared.roots.get()?;
        if let Some(warning) = self.shared.roots.warning() {
            self.tell(&warning);
        }
        Ok(check_chain(host, chain, roots.anchors(), at))
    }

    fn ask(&self, mail_domain: &str, question: Question, patience: Duration) -> Result<Arc<Answer>, Unavailable> {
        let domain = match Domain::parse(mail_domain) {
            Ok(domain) => domain,
            Err(why) => return Ok(Arc::new(Answer::impossible(mail_domain, why))),
        };
        if let Some(notice) = self.watch() {
            self.tell(&notice);
        }
        // Our own, on this thread's stack and on the heap: see `Resolver::shared`.
        let (shared, begun) = (self.shared.clone(), Instant::now());
        let (settings, silence) = (&shared.settings, &shared.silence);
        // A refresh asks many at once and is nobody's delivery.
        let is_bounded = matches!(question, Question::Network(Ask::Delivery | Ask::Recheck));
        let share = if is_bounded {
            silence.share(&domain, patience.min(settings.timeout), settings)
        } else {
            Share::default()
        };
        let result = shared.ask(&domain, question, patience, share);
        if is_bounded && !learnt(&result) {
            silence.charge(begun, settings);
            silence.remember(&domain, begun, settings);
        }
        let answer = result?;
        answer.to_tell().for_each(|notice| self.tell(notice));
        shared.tell_exception(&answer);
        Ok(answer)
    }

    /// Looks whether the operator has changed the exceptions, where it is time to, and gives what he should know of
    /// that. This is for the process that asks: a helper of root inherits what was found, for it may not read what root
    /// can.
    pub(crate) fn watch(&self) -> Option<Notice> {
        let memory_alone = || {
            let is_new = self.shared.is_memory_alone() && !self.shared.told.swap(true, Ordering::Relaxed);
            is_new.then(|| Notice::new(Token::CacheInMemory, MEMORY_ALONE.to_owned()))
        };
        self.shared.exceptions.look().or_else(memory_alone)
    }

    /// As [`Resolver::lookup`] or [`Resolver::recheck`] on a thread of ours, where nobody is told anything: that is for
    /// [`Resolver::tell`] and [`Resolver::tell_exception`].
    pub(crate) fn learn(&self, domain: &Domain, ask: Ask, patience: Duration) -> Result<Arc<Answer>, Unavailable> {
        let (shared, domain, begun) = (self.shared.clone(), domain.clone(), Instant::now());
        // The queue has bounds of its own, so that a silent name holds up no other.
        let share = shared.silence.share_by_name(&domain);
        let result = shared.ask(&domain, Question::Network(ask), patience, share);
        if !learnt(&result) {
            shared.silence.remember(&domain, begun, &shared.settings);
        }
        result
    }

    /// Tells the administrator, on a thread of the host. This is where a log line gets its token.
    pub(crate) fn tell(&self, notice: &Notice) {
        (self.shared.log)(&notice.to_string());
    }

    /// Tells of the exception to which a caller owes this answer, if there is one.
    pub(crate) fn tell_exception(&self, answer: &Answer) {
        self.shared.tell_exception(answer);
    }

    /// The answer where the caller need not wait: a hit in memory or on disk. A process of root does not read the disk,
    /// and the first use of a day, which is written down, is none.
    pub(crate) fn at_hand(&self, domain: &Domain) -> Option<Arc<Answer>> {
        let (shared, now) = (&self.shared, unix_now());
        let remembered = shared.memory.get(domain.as_str(), now);
        if remembered.is_some() || shared.leaves_the_cache() {
            return remembered;
        }
        let known = shared.load(domain, now);
        let entry = known.entry;
        let outcome = Lookup::hit(&entry, &shared.settings, now)?;
        // What memory alone knows is to be written by somebody who may wait.
        if known.unread.is_some() || known.in_memory_alone || entry.clone().note_use(now) {
            return None;
        }
        let answer = shared.decide(outcome, &entry, now)?;
        let known = Remembered {
            answer: answer.clone(),
            unsaved: shared.memory.unsaved(domain),
        };
        shared.memory.put(known, shared.settings.cache_max_per_parent);
        Some(answer)
    }

    /// The answer where the caller's time is over and nobody was asked, for this reason: the policy that counts.
    ///
    /// # Errors
    /// [`Unavailable::NotAsked`]: there is none, or it is not for this process to see (root does not read the disk).
    pub(crate) fn not_asked(&self, domain: &Domain, why: &str) -> Result<Arc<Answer>, Unavailable> {
        let (shared, now) = (&self.shared, unix_now());
        if shared.leaves_the_cache() {
            return Err(Unavailable::NotAsked(why.to_owned()));
        }
        let entry = shared.load(domain, now).entry;
        let outcome = Lookup::not_asked(&entry, why.to_owned(), now)?;
        shared.decide(outcome, &entry, now).ok_or_else(defect)
    }

    /// The answer where the caller's time is over: see [`Lookup::out_of_time`].
    ///
    /// # Errors
    /// A process of root does not read the disk, so that it does not know whether a policy counts.
    pub(crate) fn out_of_time(&self, domain: &Domain) -> Result<Arc<Answer>, Unavailable> {
        if self.shared.leaves_the_cache() {
            return Err(HelperError::Deadline.into());
        }
        let (shared, now) = (&self.shared, unix_now());
        let known = shared.load(domain, now);
        let mut entry = known.entry.clone();
        let outcome = Lookup::out_of_time(&mut entry, &shared.settings, now);
        let asked = Asked {
            saved: shared.write_down(&known, &entry),
            outcome,
            entry,
        };
        let known = shared.remembered_as(shared.conclude(known, asked, now)?, now)?;
        let answer = known.answer.clone();
        if known.unsaved.is_some() {
            shared.memory.put(known, shared.settings.cache_max_per_parent);
        }
        Ok(answer)
    }
}

impl Shared {
    fn ask(
        &self,
        domain: &Domain,
        question: Question,
        patience: Duration,
        share: Share,
    ) -> Result<Arc<Answer>, Unavailable> {
        let deadline = Instant::now() + patience.min(self.settings.timeout);
        let known = if process::is_root() {
            self.ask_helper(domain, question, deadline, share)?
        } else {
            self.remembered_as(self.answer(domain, question, deadline, share)?, unix_now())?
        };
        let answer = known.answer.clone();
        self.memory.put(known, self.settings.cache_max_per_parent);
        Ok(answer)
    }

    /// Whether each process keeps policies for itself, until it ends.
    fn is_memory_alone(&self) -> bool {
        self.settings.cache_dir.is_none()
    }

    /// Whether this process leaves the cache to a helper: root does not read the disk.
    fn leaves_the_cache(&self) -> bool {
        process::is_root() && !self.is_memory_alone()
    }

    /// Each use of an exception is told: whoever made it should not forget it.
    fn tell_exception(&self, answer: &Answer) {
        if let Some(exception) = answer.exception() {
            let sentence = format!("{}: {exception}", answer.domain_name());
            (self.log)(&Notice::new(Token::Exception, sentence).to_string());
        }
    }

    /// Reads the cache, asks the network as far as the question goes, and writes the cache.
    fn answer(
        &self,
        domain: &Domain,
        question: Question,
        deadline: Instant,
        share: Share,
    ) -> Result<Learnt, Unavailable> {
        let now = unix_now();
        let known = self.load(domain, now);
        let unasked = |outcome| Asked {
            outcome,
            entry: known.entry.clone(),
            // There may be room again, or the directory may be writable now.
            saved: if known.in_memory_alone {
                self.write_down(&known, &known.entry)
            } else {
                Ok(())
            },
        };
        let asked = match question {
            Question::Cache => unasked(Lookup::from_cache(&known.entry, now)),
            Question::Network(ask) => {
                match Lookup::hit(&known.entry, &self.settings, now).filter(|_| ask == Ask::Delivery) {
                    // A hit needs neither a thread nor the roots.
                    Some(outcome) => unasked(outcome),
                    None => self.ask_network(&known, ask, now, deadline, share)?,
                }
            }
        };
        if !matches!(question, Question::Network(Ask::Refresh)) {
            self.note_use(asked.entry.clone(), now);
        }
        self.conclude(known, asked, now)
    }

    /// Says with an outcome what is wrong with the cache, or refuses it where the cache may know better.
    fn conclude(&self, known: Known, asked: Asked, now: u64) -> Result<Learnt, Unavailable> {
        let Asked { outcome, entry, saved } = asked;
        let warning = match (&saved, &known.unread) {
            // An attempt to write what was told before, when it was learnt, is not told each time.
            (Err(e), _) if entry != known.entry => {
                let sentence = if known.stored.cached == entry.cached {
                    e.to_string()
                } else {
                    two_sentences(&e.to_string(), "The new policy is kept in memory only.")
                };
                Some(Notice::new(Token::CacheNotWritten, sentence))
            }
            (_, unread) => unread.as_ref().map(|e| Notice::new(Token::CacheNotRead, e.to_string())),
        };
        // What the lookup has to say itself is told with it.
        let warning = match (warning, outcome.warning) {
            (Some(here), Some(there)) => Some(Notice::new(here.token, two_sentences(&here.sentence, &there.sentence))),
            (here, there) => here.or(there),
        };
        let warning = warning.or_else(|| self.roots.warning());
        if let Some(unread @ CacheError::Unread(_)) = known.unread
            && outcome.source == Source::CouldNotLearn
            && self.exceptions.now().find(&entry.domain, now).is_none()
        {
            return Err(Unavailable::Unread(unread));
        }
        Ok(Learnt {
            outcome: Outcome { warning, ..outcome },
            entry,
            is_saved: saved.is_ok(),
        })
    }

    /// Makes the answer, in the process of the caller: a pin and an exception, which are the operator's, and how long the
    /// answer is repeated are not for a helper to decide. Nothing if the outcome contradicts itself.
    fn decide(&self, mut outcome: Outcome, entry: &Entry, now: u64) -> Option<Arc<Answer>> {
        let exception = self.exceptions.now().find(&entry.domain, now).cloned();
        let beside = outcome.fleet.take().and_then(|why| self.fleet.failed(&why));
        let decision = Decision {
            pinned_until: entry.pinned(now),
            good_until: good_until(entry, &outcome, exception.as_deref(), &self.settings, now),
            exception,
            beside,
        };
        outcome.into_answer(decision).map(Arc::new)
    }

    fn remembered_as(&self, learnt: Learnt, now: u64) -> Result<Remembered, Unavailable> {
        let Learnt {
            outcome,
            entry,
            is_saved,
        } = learnt;
        Ok(Remembered {
            answer: self.decide(outcome, &entry, now).ok_or_else(defect)?,
            unsaved: (!is_saved).then(|| Box::new(entry)),
        })
    }

    /// Notes on disk that a policy was used, at most once a day: the refresh lets go of those that nobody uses.
    fn note_use(&self, mut entry: Entry, now: u64) {
        if entry.cached.is_some() && entry.note_use(now) {
            self.cache.touch(&entry.domain, now);
        }
    }
}

/// Why a lookup of our own has no answer although it has an outcome.
fn defect() -> Unavailable {
    Unavailable::Thread("a defect of libmtasts (the outcome of a lookup contradicts itself)".to_owned())
}

/// Whether the network told what there is. Where it did not, and took long for it, it was silent.
fn learnt(result: &Result<Arc<Answer>, Unavailable>) -> bool {
    let source = result.as_ref().map(|answer| answer.source());
    source.is_ok_and(|source| !matches!(source, Source::CachedAfterFailure | Source::CouldNotLearn))
}

/// The time, in Unix seconds.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs())
}

#[cfg(test)]
mod tests;
