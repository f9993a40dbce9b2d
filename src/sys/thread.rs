//! Threads of our own, for the time of one question to the network or for the workers of a queue.
//!
//! The host process is not ours: it may have forked a moment ago, it may fork at any time, and its signal handlers
//! were written for its own threads. A short-lived thread gives what a lookup needs. Its random numbers are freshly
//! seeded, so that siblings after a fork never share DNS ids; its runtime, sockets and buffers end with it; and no
//! signal handler of the host ever runs on it.
//!
//! It is made by `pthread_create`. In a program of Rust, each start and end of a thread of the standard library takes a
//! lock of the whole process (that of its stack overflow handler), and in a child that was forked just then the lock
//! stays taken for ever.

use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use std::{fmt, io, mem, ptr};

/// The stack of the thread. A question and a fetch need less than 128 KiB, even unoptimised (measured); glibc also puts
/// the thread-local variables of every library of the host there. Pages that are never touched cost nothing.
const STACK: usize = 512 * 1024;

/// How long after its deadline the thread may take to return its result before it is abandoned. If the network is
/// silent to the end, the result comes at the deadline, and on a busy machine somewhat later.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

thread_local! {
    /// The process in which this thread was started as one of ours; 0 on a thread of the host. In a child that is
    /// forked from such a thread it is the parent's number: the child has the parent's random numbers, and so needs a
    /// thread of its own.
    static OWN_THREAD_OF: Cell<u32> = const { Cell::new(0) };
}

/// Why there is no result from the thread.
#[derive(Debug)]
pub(crate) enum ThreadError {
    /// The system refused a thread (EAGAIN: a limit on processes or memory).
    Spawn(io::Error),
    /// The deadline passed and the thread had not come back; it ends by itself.
    Deadline,
    /// The work panicked.
    Panic,
}

impl fmt::Display for ThreadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(error) => write!(f, "cannot start a thread: {error}"),
            Self::Deadline => f.write_str("no answer in time"),
            Self::Panic => f.write_str("a defect of libmtasts (a panic)"),
        }
    }
}

/// Runs `work` on a thread of its own and waits for it, no longer than the deadline and a short grace. On such a
/// thread already, it simply runs: one lookup asks several questions on one thread.
///
/// `work` has to watch the deadline itself. If it fails to, the caller gets [`ThreadError::Deadline`] anyway.
///
/// # Errors
/// A [`ThreadError`]: no thread, no answer in time, or a panic in `work`.
pub(crate) fn on_own_thread<T, F>(deadline: Instant, work: F) -> Result<T, ThreadError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if OWN_THREAD_OF.get() == process::id() {
        return Ok(work());
    }
    let (answer, wait) = sync_channel(1);
    let work = move || {
        // There is no receiver any more if the deadline has passed.
        let _ = answer.send(work());
    };
    let thread = Thread::start(Box::new(work)).map_err(ThreadError::Spawn)?;
    let patience = deadline.saturating_duration_since(Instant::now()) + GRACE;
    match wait.recv_timeout(patience) {
        Ok(result) => {
            // The work is done and dropped; joining leaves no thread behind for the caller's next fork.
            thread.join();
            Ok(result)
        }
        Err(RecvTimeoutError::Disconnected) => {
            thread.join();
            Err(ThreadError::Panic)
        }
        Err(RecvTimeoutError::Timeout) => {
            thread.leave();
            Err(ThreadError::Deadline)
        }
    }
}

/// Whether the calling thread is one of ours: a panic on it is reported by the call that waits for it.
pub(crate) fn is_own() -> bool {
    OWN_THREAD_OF.get() != 0
}

/// Starts a thread that is never joined. It ends by itself.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Thread::start(Box::new(work)).map(Thread::leave)
}

/// What a thread does.
type Work = Box<dyn FnOnce() + Send>;

/// A thread that was started, and that is to be joined or left.
struct Thread(libc::pthread_t);

impl Thread {
    fn start(work: Work) -> io::Result<Self> {
        let work = Box::into_raw(Box::new(work));
        // A new thread inherits the mask of its parent: so there is no moment at which a handler could run on it.
        let _blocked = BlockedSignals::new();
        // SAFETY: the attributes are initialised before their use and destroyed after it. The thread takes `work` over;
        // if no thread starts, it is still ours.
        unsafe {
            let mut attributes: libc::pthread_attr_t = mem::zeroed();
            let mut thread: libc::pthread_t = mem::zeroed();
            let mut failed = libc::pthread_attr_init(&raw mut attributes);
            if failed == 0 {
                libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
                failed = libc::pthread_create(&raw mut thread, &raw const attributes, run, work.cast());
                libc::pthread_attr_destroy(&raw mut attributes);
            }
            if failed != 0 {
                drop(Box::from_raw(work));
                return Err(io::Error::from_raw_os_error(failed));
            }
            Ok(Self(thread))
        }
    }

    fn join(self) {
        // SAFETY: a joinable thread of ours, joined once.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }

    fn leave(self) {
        // SAFETY: our joinable thread; it is not joined any more.
        unsafe { libc::pthread_detach(self.0) };
    }
}

extern "C" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: `Thread::start` made it of such a box and gave it up.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    OWN_THREAD_OF.set(process::id());
    // SAFETY: a short name for this very thread, for those who look at the process.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), c"mtasts".as_ptr()) };
    // Nothing unwinds into C. The waiting thread sees that no answer comes.
    let _ = catch_unwind(AssertUnwindSafe(work));
    ptr::null_mut()
}

/// While it lives, this thread takes no signal. Those that arrive wait, or go to another thread of the process.
///
/// For the thread that inherits the mask this also covers SIGPIPE: a peer that closes early cannot end the host.
pub(super) struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    pub(super) fn new() -> Self {
        // SAFETY: a sigset_t is plain memory for which all zeros is a valid value; both calls get valid pointers to
        // such sets of our own. They cannot fail with these arguments.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            let mut before: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }

    /// Lets every signal in, also those that were blocked before.
    pub(super) fn unblock_all(mut self) {
        // SAFETY: a valid set of our own, which becomes the mask when `self` is dropped.
        unsafe { libc::sigemptyset(&raw mut self.before) };
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that `new` was given on this same thread (the guard never leaves its block).
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// The signals that the calling thread blocks, as the kernel lists them.
    fn blocked() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("procfs");
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .expect("SigBlk");
        u64::from_str_radix(mask.trim(), 16).expect("a hexadecimal mask")
    }

    #[test]
    fn work_runs_elsewhere_and_only_once_removed() {
        let here = thread::current().id();
        let (outer, inner) = on_own_thread(soon(), || {
            let outer = thread::current().id();
            (
                outer,
                on_own_thread(soon(), || thread::current().id()).expect("no second thread is needed"),
            )
        })
        .expect("a thread");
        assert_ne!(outer, here);
        assert_eq!(outer, inner);
    }

    #[test]
    fn no_signal_reaches_the_thread_and_the_mask_of_the_caller_is_as_before() {
        let before = blocked();
        let inside = on_own_thread(soon(), blocked).expect("a thread");
        assert_eq!(blocked(), before);
        for signal in 1..=31 {
            let taken = inside & (1 << (signal - 1)) == 0;
            assert_eq!(
                taken,
                signal == libc::SIGKILL || signal == libc::SIGSTOP,
                "signal {signal}"
            );
        }
    }

    #[test]
    fn the_deadline_holds_against_work_that_hangs() {
        let start = Instant::now();
        let result = on_own_thread(start + Duration::from_millis(50), || {
            thread::sleep(Duration::from_secs(60))
        });
        assert!(matches!(result, Err(ThreadError::Deadline)), "{result:?}");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }

    #[test]
    fn a_panic_is_an_error() {
        let result: Result<(), _> = on_own_thread(soon(), || panic!("expected by the test"));
        assert!(matches!(result, Err(ThreadError::Panic)), "{result:?}");
    }
}
