//! Asynchronous lookups for event loops: submit, wait for one descriptor, take what is complete.
//!
//! Each lookup that is submitted completes exactly once: answered, cancelled, failed, or at its deadline with what the
//! cache knows. Nothing of the caller's ever runs on a thread of ours; also what the administrator should know is told
//! on the thread that asks for the next completion.
//!
//! Lookups of one domain share a flight, and so do its rechecks. Flights wait for a worker, in order as far as no parent
//! domain takes more than its share (`line.rs`); a worker is a thread that asks the network for one flight after the other
//! and ends when it has been idle for a while. Deadlines need no thread: the descriptor becomes readable when the next one
//! is due, and whoever asks for the next completion then finds it. A lookup that no worker came to by then is not one to
//! which the network did not answer: it fails, unless a policy is in the cache.

mod line;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use std::{fmt, io, mem, process};

use crate::protocol::names::Domain;
use crate::sender::answer::Answer;
use crate::sender::lookup::{Ask, fair_time};
use crate::sender::notice::Notice;
use crate::sender::resolver::{Resolver, Unavailable, keep_connections};
use crate::sys::thread;
use crate::sys::wake_up::{WakeUp, WakeUpTimer};
use line::Line;

/// How many threads a queue has at most.
const MAX_WORKERS: usize = 256;
/// For how long a worker waits for more to do.
const IDLE: Duration = Duration::from_secs(3);
/// What is told of a lookup to which no worker came.
const OVERLOAD: &str = "too many lookups are waiting for hosts that do not answer, so this one did not start in time";
/// How long after its deadline a lookup still gets the answer of its worker, whose deadline is the same: that one says
/// what was wrong.
const LAST_WORD: Duration = thread::GRACE;

/// Lookups under way, and those that are complete. `T` is what the caller wants back with each.
///
/// It belongs to the process that made it. In a forked child it can only be dropped, which changes nothing for the
/// parent. Any number of threads may use it at once.
pub struct Queue<T> {
    shared: Arc<Shared<T>>,
    process: u32,
}

/// A lookup that is complete.
#[derive(Debug)]
pub struct Completion<T> {
    /// The number that [`Queue::submit`] gave.
    pub id: u64,
    /// What the caller gave.
    pub user: T,
    /// What came of it.
    pub result: Completed,
}

/// What came of a lookup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Completed {
    /// The answer. Where the deadline passed first it is what the cache knows: the policy that counts, or that none
    /// could be learnt.
    Answer(Arc<Answer>),
    /// Nothing is known of the domain, so mail for it must wait.
    Failed(Arc<Unavailable>),
    /// [`Queue::cancel`] was called.
    Cancelled,
}

/// Why a queue cannot be made or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// The queue belongs to the process from which this one was forked.
    Forked,
    /// The system gives no descriptor or no thread.
    System(io::Error),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forked => {
                f.write_str("the queue belongs to a parent of this process: create a new one in this process")
            }
            Self::System(error) => write!(f, "cannot create a descriptor or a thread: {error}"),
        }
    }
}

impl std::error::Error for QueueError {}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Queue<T> {
    /// A queue of this resolver. It has one descriptor, and no thread before the first lookup that needs one.
    ///
    /// # Errors
    /// [`QueueError::System`]: no descriptor.
    pub fn new(resolver: &Resolver) -> Result<Self, QueueError> {
        let shared = Shared {
            resolver: resolver.clone(),
            timer: WakeUpTimer::new().map_err(QueueError::System)?,
            state: Mutex::new(State::new()),
            work: Condvar::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            process: process::id(),
        })
    }

    /// The descriptor to wait for, with poll(2), epoll(7) or whatever waits for readable descriptors. It is readable
    /// as long as [`Queue::next`] has something to do. It is not for reading, and is the queue's to close.
    ///
    /// # Errors
    /// [`QueueError::Forked`].
    pub fn descriptor(&self) -> Result<RawFd, QueueError> {
        self.must_be_ours()?;
        let mut state = self.shared.state();
        state.is_watched = true;
        state.wake(&self.shared.timer);
        Ok(self.shared.timer.descriptor())
    }

    /// The answer of a lookup that need not wait: a hit in memory or on disk. Nothing if one has to be submitted. For
    /// programs of this workspace that answer a hit without the way through the queue.
    #[must_use]
    pub fn hit(&self, domain: &Domain) -> Option<Arc<Answer>> {
        self.watch();
        let answer = self.shared.resolver.at_hand(domain)?;
        self.shared.resolver.tell_exception(&answer);
        Some(answer)
    }

    /// Submits a lookup, as [`Resolver::lookup`] does it, that completes within `patience` or the setting `timeout`,
    /// whichever is shorter. The call does not wait for anything: a hit in the cache is complete when it returns, and so is
    /// the answer for a mail domain that cannot have a policy.
    ///
    /// It returns the lookup's number, which this queue never gives again.
    ///
    /// # Errors
    /// A [`QueueError`]: no thread at all, or the queue is a parent's. Then there is no completion, and `user` is gone.
    pub fn submit(&self, domain: &(impl AsRef<str> + ?Sized), patience: Duration, user: T) -> Result<u64, QueueError> {
        self.add(domain.as_ref(), Ask::Delivery, patience, user)
    }

    /// Submits a recheck, as [`Resolver::recheck`] does it: DNS is asked whatever is remembered. All else is as with
    /// [`Queue::submit`].
    ///
    /// # Errors
    /// As [`Queue::submit`].
    pub fn recheck(&self, domain: &(impl AsRef<str> + ?Sized), patience: Duration, user: T) -> Result<u64, QueueError> {
        self.add(domain.as_ref(), Ask::Recheck, patience, user)
    }

    /// Adds a lookup. It is complete if its answer is at hand, or if the mail domain cannot have a policy.
    fn add(&self, mail_domain: &str, ask: Ask, patience: Duration, user: T) -> Result<u64, QueueError> {
        self.must_be_ours()?;
        let begun = Instant::now();
        self.watch();
        let at_hand = self.at_hand(mail_domain, ask);
        let patience = patience.min(self.shared.resolver.settings().timeout);
        let mut state = self.shared.state();
        state.last_id += 1;
        let id = state.last_id;
        match at_hand {
            Ok(answer) => {
                let end = End::Learnt(Completed::Answer(answer));
                state.done.push_back(Done { id, user, end });
            }
            Err(errand) => {
                let is_new = state.board(errand, id, begun + patience + LAST_WORD, patience, user);
                if is_new && let Err(error) = self.shared.send_workers(&mut state) {
                    state.leave(id);
                    return Err(QueueError::System(error));
                }
            }
        }
        state.wake(&self.shared.timer);
        Ok(id)
    }

    /// The answer that needs no worker, or else what a worker has to do.
    fn at_hand(&self, mail_domain: &str, ask: Ask) -> Result<Arc<Answer>, Errand> {
        let domain = match Domain::parse(mail_domain) {
            Ok(domain) => domain,
            Err(why) => return Ok(Arc::new(Answer::impossible(mail_domain, why))),
        };
        let at_hand = match ask {
            Ask::Delivery => self.shared.resolver.at_hand(&domain),
            Ask::Recheck | Ask::Refresh => None,
        };
        at_hand.ok_or(Errand { domain, ask })
    }

    /// The next completion, or nothing when there is none now. Whoever waits for the descriptor calls this until it
    /// gives nothing.
    ///
    /// # Errors
    /// [`QueueError::Forked`].
    pub fn next(&self) -> Result<Option<Completion<T>>, QueueError> {
        self.must_be_ours()?;
        let resolver = &self.shared.resolver;
        let (done, untold) = {
            let mut state = self.shared.state();
            state.expire(Instant::now(), fair_time(resolver.settings()));
            let next = (state.done.pop_front(), mem::take(&mut state.untold));
            state.wake(&self.shared.timer);
            next
        };
        // Without the lock: the administrator's line and the disk may take their time.
        untold.iter().for_each(|notice| resolver.tell(notice));
        Ok(done.map(|Done { id, user, end }| {
            let result = match end {
                End::Learnt(result) => result,
                End::OutOfTime(errand) => resolver.out_of_time(&errand.domain).into(),
                End::NotAsked(errand) => resolver.not_asked(&errand.domain, OVERLOAD).into(),
            };
            if let Completed::Answer(answer) = &result {
                resolver.tell_exception(answer);
            }
            Completion { id, user, result }
        }))
    }

    /// Cancels a lookup: it completes at once. A worker that is at it already goes on for the sake of the cache.
    ///
    /// Returns whether the lookup was under way. Otherwise it is complete, and its completion waits or was taken.
    ///
    /// # Errors
    /// [`QueueError::Forked`].
    pub fn cancel(&self, id: u64) -> Result<bool, QueueError> {
        self.must_be_ours()?;
        let mut state = self.shared.state();
        let Some(Waiting { user, .. }) = state.leave(id) else {
            return Ok(false);
        };
        let end = End::Learnt(Completed::Cancelled);
        state.done.push_back(Done { id, user, end });
        state.wake(&self.shared.timer);
        Ok(true)
    }

    /// Looks whether the exceptions have changed; what there is to tell of that is told with the next completion.
    fn watch(&self) {
        if let Some(notice) = self.shared.resolver.watch() {
            let mut state = self.shared.state();
            state.untold.push(notice);
            state.wake(&self.shared.timer);
        }
    }

    fn must_be_ours(&self) -> Result<(), QueueError> {
        if self.process == process::id() {
            Ok(())
        } else {
            Err(QueueError::Forked)
        }
    }
}

/// Lookups under way are dropped. Their workers end by themselves: at once where they are idle, else when the network
/// has answered or at its deadline.
impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        let shared = &self.shared;
        let dropped = if self.process == process::id() {
            let mut state = shared.state();
            state.closed = true;
            // A child that was forked meanwhile has the descriptor too, and an epoll of ours would go on to see it.
            shared.timer.set(WakeUp::Never);
            shared.timer.close();
            shared.work.notify_all();
            state.empty()
        } else {
            shared.timer.close();
            match shared.state.try_lock() {
                Ok(mut state) => state.empty(),
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().empty(),
                Err(TryLockError::WouldBlock) => {
                    // The thread that holds it is the parent's and was in the middle of something: this copy stays.
                    mem::forget(shared.clone());
                    return;
                }
            }
        };
        drop(dropped);
    }
}

/// What the queue shares with its workers. They may outlive it.
struct Shared<T> {
    resolver: Resolver,
    /// Touched with the lock alone (but for its number), and closed with the queue.
    timer: WakeUpTimer,
    state: Mutex<State<T>>,
    /// There is something to do for a worker.
    work: Condvar,
}

struct State<T> {
    closed: bool,
    last_id: u64,
    /// The lookups under way.
    lookups: HashMap<u64, Waiting<T>>,
    /// Their deadlines.
    deadlines: BTreeSet<(Instant, u64)>,
    /// What they wait for: one flight for each errand.
    flights: HashMap<Arc<Errand>, Flight>,
    /// The flights that no worker has taken yet.
    line: Line,
    /// What idle workers are to take; there are as many of them.
    handed: VecDeque<Taken>,
    /// What [`Queue::next`] gives.
    done: VecDeque<Done<T>>,
    /// What the administrator should know.
    untold: Vec<Notice>,
    workers: usize,
    /// How many of the workers wait for something to do.
    idle: usize,
    /// Whether somebody has the descriptor: to set the timer takes longer than a lookup in memory.
    is_watched: bool,
    wakes: WakeUp,
}

/// What a flight is for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Errand {
    domain: Domain,
    ask: Ask,
}

/// A lookup under way.
struct Waiting<T> {
    errand: Arc<Errand>,
    deadline: Instant,
    patience: Duration,
    user: T,
}

/// A question to the network, and the lookups that wait for its answer.
struct Flight {
    first: u64,
    /// Who waits, and also who did.
    lookups: Vec<u64>,
    waiting: usize,
    /// How much time the worker gets, counted from when it begins. Time that passed in the queue is not the domain's
    /// fault: a fetch that was cut short for that would count as failed, and be reported.
    patience: Duration,
    /// When a worker took it.
    taken: Option<Instant>,
}

/// What a worker takes: an errand, and how much time there is for it.
type Taken = (Arc<Errand>, Duration);

struct Done<T> {
    id: u64,
    user: T,
    end: End,
}

enum End {
    Learnt(Completed),
    /// The cache is looked at when the completion is taken: by then another one may have learnt more.
    OutOfTime(Arc<Errand>),
    /// The same, but no worker has come to it, or one so late that the network had no fair time.
    NotAsked(Arc<Errand>),
}

impl From<Result<Arc<Answer>, Unavailable>> for Completed {
    fn from(result: Result<Arc<Answer>, Unavailable>) -> Self {
        match result {
            Ok(answer) => Self::Answer(answer),
            Err(error) => Self::Failed(Arc::new(error)),
        }
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Shared<T> {
    /// Sends a worker to each flight that may have one, or fails if none will ever come.
    fn send_workers(self: &Arc<Self>, state: &mut State<T>) -> io::Result<()> {
        while let Some(flight) = state.take_flight() {
            if state.handed.len() < state.idle {
                state.handed.push_back(flight);
                self.work.notify_one();
                continue;
            }
            // It has its flight from the start: hundreds of new threads would queue for the lock, and the caller's
            // thread behind them.
            let (shared, errand) = (self.clone(), flight.0.clone());
            match thread::start(move || shared.work(flight)) {
                Ok(()) => state.workers += 1,
                Err(error) => {
                    state.give_back(errand);
                    // The others will come to it.
                    return if state.workers > 0 { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    /// What a worker does.
    fn work(self: &Arc<Self>, first: Taken) {
        keep_connections();
        let mut taken = Some(first);
        while let Some((errand, patience)) = taken {
            let learn = || self.resolver.learn(&errand.domain, errand.ask, patience);
            let learnt = catch_unwind(AssertUnwindSafe(learn));
            let learnt = learnt.unwrap_or_else(|_| Err(Unavailable::Thread(thread::ThreadError::Panic.to_string())));
            let mut state = self.state();
            if !state.closed {
                state.land(&errand, learnt.into());
                state.wake(&self.timer);
            }
            taken = self.take_flight(state);
        }
    }

    /// Waits for a flight. Nothing when it is time for the worker to end.
    fn take_flight(self: &Arc<Self>, mut state: MutexGuard<'_, State<T>>) -> Option<Taken> {
        let mut waited = false;
        loop {
            if let Some(flight) = state.handed.pop_front().or_else(|| state.take_flight()) {
                // The end of one flight can let more than one begin.
                let _ = self.send_workers(&mut state);
                return Some(flight);
            }
            if state.closed || waited {
                state.workers -= 1;
                return None;
            }
            state.idle += 1;
            let (after, result) = self
                .work
                .wait_timeout_while(state, IDLE, |state| !state.closed && state.handed.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            waited = result.timed_out();
        }
    }
}

impl<T> State<T> {
    fn new() -> Self {
        Self {
            closed: false,
            last_id: 0,
            lookups: HashMap::new(),
            deadlines: BTreeSet::new(),
            flights: HashMap::new(),
            line: Line::default(),
            handed: VecDeque::new(),
            done: VecDeque::new(),
            untold: Vec::new(),
            workers: 0,
            idle: 0,
            is_watched: false,
            wakes: WakeUp::Never,
        }
    }

    /// A lookup joins the flight for its errand. Returns whether that is a new one, which needs a worker.
    fn board(&mut self, errand: Errand, id: u64, deadline: Instant, patience: Duration, user: T) -> bool {
        let known = self.flights.get_key_value(&errand).map(|(errand, _)| errand.clone());
        let is_new = known.is_none();
        let errand = known.unwrap_or_else(|| Arc::new(errand));
        let flight = self.flights.entry(errand.clone()).or_insert_with(|| Flight {
            first: id,
            lookups: Vec::new(),
            waiting: 0,
            patience,
            taken: None,
        });
        flight.lookups.push(id);
        flight.waiting += 1;
        if flight.taken.is_none() {
            flight.patience = flight.patience.max(patience);
        }
        if is_new {
            self.line.add(id, errand.clone());
        }
        self.deadlines.insert((deadline, id));
        let waiting = Waiting {
            errand,
            deadline,
            patience,
            user,
        };
        self.lookups.insert(id, waiting);
        is_new
    }

    /// A lookup leaves its flight. One that nobody waits for and no worker has taken is off.
    fn leave(&mut self, id: u64) -> Option<Waiting<T>> {
        let lookup = self.lookups.remove(&id)?;
        self.deadlines.remove(&(lookup.deadline, id));
        if let Some(flight) = self.flights.get_mut(&lookup.errand) {
            flight.waiting -= 1;
            if flight.waiting == 0 && flight.taken.is_none() {
                self.line.remove(flight.first, &lookup.errand);
                self.flights.remove(&lookup.errand);
            }
        }
        Some(lookup)
    }

    /// The first flight in the line that may have a worker, for a worker.
    fn take_flight(&mut self) -> Option<Taken> {
        let (number, errand) = self.line.first()?;
        self.line.remove(number, &errand);
        let flight = self.flights.get_mut(&errand)?;
        flight.taken = Some(Instant::now());
        self.line.begin(&errand);
        Some((errand, flight.patience))
    }

    /// There is no worker for the flight after all: it is in the line again, in its old place.
    fn give_back(&mut self, errand: Arc<Errand>) {
        self.line.end(&errand);
        if let Some(flight) = self.flights.get_mut(&errand) {
            flight.taken = None;
            self.line.add(flight.first, errand);
        }
    }

    /// A flight has its answer, and so have all who wait for it. But if its time was over, those who have more time than
    /// whoever it was begun for wait for another one.
    fn land(&mut self, errand: &Errand, result: Completed) {
        self.line.end(errand);
        let Some(flight) = self.flights.remove(errand) else {
            return;
        };
        let now = Instant::now();
        let is_late = flight.taken.is_some_and(|taken| taken + flight.patience <= now);
        for id in flight.lookups {
            let Some(waiting) = self.lookups.remove(&id) else {
                continue;
            };
            let Waiting { deadline, user, .. } = waiting;
            self.deadlines.remove(&(deadline, id));
            let left = deadline.saturating_duration_since(now + LAST_WORD);
            if is_late && waiting.patience > flight.patience && !left.is_zero() {
                self.board(errand.clone(), id, deadline, left, user);
                continue;
            }
            let end = End::Learnt(result.clone());
            self.done.push_back(Done { id, user, end });
        }
        if let Completed::Answer(answer) = result {
            self.untold.extend(answer.to_tell().cloned());
        }
    }

    /// Completes what is past its deadline. The network had a fair time, or all the time that the caller gave it.
    fn expire(&mut self, now: Instant, fair: Duration) {
        while let Some((deadline, id)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now).copied() {
            let lookup = self.lookups.get(&id);
            let taken = lookup.and_then(|lookup| self.flights.get(&lookup.errand)?.taken);
            let enough = lookup.map_or(fair, |lookup| lookup.patience.min(fair));
            let was_asked = taken.is_some_and(|taken| taken + enough <= deadline);
            if let Some(Waiting { errand, user, .. }) = self.leave(id) {
                let end = if was_asked {
                    End::OutOfTime(errand)
                } else {
                    End::NotAsked(errand)
                };
                self.done.push_back(Done { id, user, end });
            }
        }
    }

    /// Lets the descriptor say what there is to do.
    fn wake(&mut self, timer: &WakeUpTimer) {
        let wakes = if !self.done.is_empty() || !self.untold.is_empty() {
            WakeUp::Now
        } else {
            self.deadlines
                .first()
                .map_or(WakeUp::Never, |(time, _)| WakeUp::At(*time))
        };
        if self.is_watched && wakes != self.wakes {
            self.wakes = wakes;
            timer.set(wakes);
        }
    }

    /// All that the queue holds, to be dropped without the lock.
    fn empty(&mut self) -> Self {
        let (closed, workers, idle) = (self.closed, self.workers, self.idle);
        mem::replace(
            self,
            Self {
                closed,
                workers,
                idle,
                ..Self::new()
            },
        )
    }
}
