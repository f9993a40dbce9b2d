//! Who we are, and work that a less privileged child does for us.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::identity::{Identity, become_identity};
use super::inheritance;
use super::thread::BlockedSignals;

/// How long a helper that has given its answer, or was killed, may take to end.
const REAP_TIME: Duration = Duration::from_secs(1);

/// Why a helper returned no answer.
#[derive(Debug)]
pub(crate) enum HelperError {
    /// The system refuses a pipe or a process.
    Start(io::Error),
    /// The deadline passed; the helper was killed.
    Deadline,
    /// The helper ended without an answer: it could not drop its privileges, or it crashed.
    Died,
}

impl fmt::Display for HelperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(e) => write!(f, "cannot start a helper process: {e}"),
            Self::Deadline => f.write_str("the helper process did not answer in time"),
            Self::Died => f.write_str("the helper process ended without an answer"),
        }
    }
}

/// The user with whose rights this process runs.
pub(crate) fn user() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    user() == 0
}

/// Whether the environment may be another user's than the one with whose rights we run: as root, or in a program that
/// the kernel started with rights that its caller does not have.
pub fn is_privileged() -> bool {
    // SAFETY: getauxval has no preconditions; an unknown key gives 0.
    is_root() || unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether this process may make and replace files in a directory, with the rights that it has now.
pub(crate) fn may_write(dir: &Path) -> bool {
    let Ok(dir) = CString::new(dir.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: a NUL-terminated text that lives during the call.
    unsafe { libc::faccessat(libc::AT_FDCWD, dir.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) == 0 }
}

/// Does `work` in a child that has become `identity` for good, and returns what it made, at most `longest` octets.
///
/// # Errors
/// A [`HelperError`]. No child is left behind, unless it is one that the kernel cannot end, because its disk hangs:
/// that is waited for by the helpers that come later.
pub(crate) fn in_helper(
    identity: Identity,
    deadline: Instant,
    longest: usize,
    work: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, HelperError> {
    Left::reap();
    let work = || with_length(&work());
    let (read, write) = pipe().map_err(HelperError::Start)?;
    let parent = std::process::id();
    // Until the child has its own: no handler of the host runs there, and no Ctrl-Z at the host's terminal stops it.
    let blocked = BlockedSignals::new();
    // SAFETY: the child runs our own code alone. It takes no lock that another thread of the parent may hold: glibc
    // makes malloc and thread creation usable in the child of a threaded process, and our own locks are only tried.
    match ending::outside_exit(|| unsafe { libc::fork() }).map_err(HelperError::Start)? {
        -1 => Err(HelperError::Start(io::Error::last_os_error())),
        0 => {
            drop(read);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| -> io::Result<()> {
                let mut pipe = inheritance::let_go(write, blocked)?;
                become_identity(identity)?;
                end_with(parent)?;
                pipe.write_all(&work())
            }));
            // SAFETY: _exit runs neither the host's destructors nor its exit handlers, which belong to the parent.
            unsafe { libc::_exit(i32::from(!matches!(done, Ok(Ok(()))))) }
        }
        child => {
            drop((blocked, write));
            let pidfd = pidfd(child);
            let answer = read_until(read, pidfd.as_ref(), deadline, longest);
            if !matches!(answer, Ok(ref bytes) if !bytes.is_empty()) {
                // SAFETY: `child` is our own child and has not been waited for, so the number is not another's; if
                // the host ignores SIGCHLD it may be gone already, and no new process has its number so soon.
                unsafe { libc::kill(child, libc::SIGKILL) };
            }
            reap(child, pidfd.as_ref());
            answer.and_then(|bytes| {
                if bytes.is_empty() {
                    Err(HelperError::Died)
                } else {
                    Ok(bytes)
                }
            })
        }
    }
}

/// A child without its parent has no use: the kernel ends it. Call this after the change of user, which would undo it.
fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls on values.
    let now = unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::getppid()
    };
    // It may have ended before. One outside of the namespace of this child has no number here.
    match u32::try_from(now) {
        Ok(now) if now == 0 || now == parent => Ok(()),
        _ => Err(io::ErrorKind::NotConnected.into()),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors; on success both are new and ours alone.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// A message behind its length. A helper that another thread forks at the same time has a copy of our pipe for as long
/// as it lives, so that the end of the pipe does not tell the end of the message.
fn with_length(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u64).to_le_bytes(), message].concat()
}

/// The message, once all of it is there.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (length, message) = bytes.split_first_chunk()?;
    (message.len() as u64 == u64::from_le_bytes(*length)).then_some(message)
}

/// A descriptor that becomes readable when the child ends; `None` before Linux 5.3: then the deadline has to do.
fn pidfd(child: i32) -> Option<OwnedFd> {
    // SAFETY: a system call on values, and on success the descriptor is new and ours alone. It is closed at exec.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_open, child, 0);
        let descriptor = RawFd::try_from(descriptor).ok().filter(|fd| *fd >= 0)?;
        Some(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Reads a message with its length from the pipe; an empty one if the child ends before.
fn read_until(
    pipe: OwnedFd,
    child: Option<&OwnedFd>,
    deadline: Instant,
    longest: usize,
) -> Result<Vec<u8>, HelperError> {
    let mut pipe = File::from(pipe);
    let (mut bytes, mut chunk, mut ended) = (Vec::new(), [0; 4096], false);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        // poll(2) overlooks a descriptor of -1.
        let descriptors = [pipe.as_raw_fd(), child.map_or(-1, AsRawFd::as_raw_fd)];
        let mut wait = descriptors.map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: two valid pollfds. The host's alarms may interrupt it: then it is asked again for the time left.
        let ready = unsafe { libc::poll(wait.as_mut_ptr(), 2, i32::try_from(left).unwrap_or(i32::MAX)) };
        if ready == 0 {
            return Err(HelperError::Deadline);
        }
        if ready < 0 {
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted && left > 0 => continue,
                e => return Err(HelperError::Start(e)),
            }
        }
        if wait[0].revents == 0 {
            // The child has ended. What it wrote before is there, but poll(2) may have looked at the pipe a moment
            // earlier.
            if ended {
                return Ok(Vec::new());
            }
            ended = true;
            continue;
        }
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(Vec::new()),
            Ok(n) if bytes.len() + n <= longest + size_of::<u64>() => {
                bytes.extend_from_slice(&chunk[..n]);
                if let Some(message) = whole(&bytes) {
                    return Ok(message.to_vec());
                }
            }
            Ok(_) => return Err(HelperError::Died),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(HelperError::Start(e)),
        }
    }
}

/// Waits for the child, which has given its answer or was killed. If the host ignores SIGCHLD the kernel has reaped it:
/// the pipe has said all that matters.
fn reap(child: i32, pidfd: Option<&OwnedFd>) {
    let until = Instant::now() + REAP_TIME;
    while is_there(child) {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        if left == 0 {
            Left::keep(child);
            return;
        }
        let mut wait = libc::pollfd {
            fd: pidfd.map_or(-1, AsRawFd::as_raw_fd),
            events: libc::POLLIN,
            revents: 0,
        };
        let time = if pidfd.is_some() { left } else { left.min(2) };
        // SAFETY: a valid pollfd.
        unsafe { libc::poll(&raw mut wait, 1, i32::try_from(time).unwrap_or(i32::MAX)) };
    }
}

/// Whether our child has not ended. One that has ended is reaped.
fn is_there(child: i32) -> bool {
    // SAFETY: a plain system call; no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) == 0 }
}

/// Children that have not ended in time, each with the number of the process whose child it is.
struct Left;

static LEFT: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

impl Left {
    fn keep(child: i32) {
        let us = u64::from(std::process::id()) << 32 | u64::from(child.unsigned_abs());
        let takes = |place: &AtomicU64| {
            place
                .compare_exchange(0, us, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        // With so many the machine has a bigger problem: one more stays a zombie.
        let _ = LEFT.iter().any(takes);
    }

    /// Waits for none of them.
    fn reap() {
        for place in &LEFT {
            if place.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Out of its place it is ours alone: once it is reaped, its number may be another child's.
            let left = place.swap(0, Ordering::AcqRel);
            let child = i32::try_from(left & 0xffff_ffff).unwrap_or_default();
            if left >> 32 == u64::from(std::process::id()) && child > 0 && is_there(child) {
                Self::keep(child);
            }
        }
    }
}

/// A process that forks in one thread while another one ends it. With glibc that is safe.
#[cfg(not(target_env = "musl"))]
mod ending {
    pub(super) fn outside_exit(fork: impl FnOnce() -> i32) -> std::io::Result<i32> {
        Ok(fork())
    }
}

/// With musl (1.2.5) both take the locks of atexit(3) and of the dynamic linker, in opposite order: a process that
/// exits while another thread forks may wait for ever. So exit(3) waits for the forks under way, and lets none begin.
#[cfg(target_env = "musl")]
mod ending {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;
    use std::{io, thread};

    static ENDS: AtomicBool = AtomicBool::new(false);
    static FORKS: AtomicU32 = AtomicU32::new(0);

    pub(super) fn outside_exit(fork: impl FnOnce() -> i32) -> io::Result<i32> {
        static REGISTERED: AtomicBool = AtomicBool::new(false);
        if !REGISTERED.swap(true, Ordering::SeqCst) {
            // SAFETY: the handler touches atomics alone, and the library is never unloaded (-z nodelete).
            unsafe { libc::atexit(wait_for_forks) };
        }
        FORKS.fetch_add(1, Ordering::SeqCst);
        let forked = if ENDS.load(Ordering::SeqCst) {
            Err(io::Error::other("the process is ending"))
        } else {
            Ok(fork())
        };
        FORKS.fetch_sub(1, Ordering::SeqCst);
        forked
    }

    extern "C" fn wait_for_forks() {
        ENDS.store(true, Ordering::SeqCst);
        // Not for ever: a child that was born while other threads forked has their count and not the threads.
        for _ in 0..2000 {
            if FORKS.load(Ordering::SeqCst) == 0 {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Identity = Identity { uid: 65534, gid: 65534 };

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn the_helper_is_another_user_for_good() {
        assert!(is_root(), "this test needs root: make test");
        let who = in_helper(NOBODY, soon(), 100, || {
            // SAFETY: plain system calls without preconditions.
            unsafe {
                let groups = libc::getgroups(0, std::ptr::null_mut());
                let back = libc::setuid(0);
                let mut signal = 0;
                libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal);
                format!(
                    "{} {} {} {groups} {back} {signal}",
                    libc::getuid(),
                    libc::geteuid(),
                    libc::getegid()
                )
                .into_bytes()
            }
        });
        assert_eq!(String::from_utf8(who.unwrap()).unwrap(), "65534 65534 65534 1 -1 9");
        assert!(is_root());
        let root = Identity { uid: 0, gid: 0 };
        assert!(matches!(
            in_helper(root, soon(), 100, || b"x".to_vec()),
            Err(HelperError::Died)
        ));
    }

    #[test]
    fn a_slow_helper_that_is_born_meanwhile_delays_no_other() {
        // As long as it is there the slow ones wait: a fast one that waited for a slow one would wait until the deadline.
        let wait = std::env::temp_dir().join(format!("mtasts-slow-{}", std::process::id()));
        std::fs::write(&wait, "").unwrap();
        let until = Instant::now() + Duration::from_secs(120);
        let slow = || {
            while wait.try_exists().unwrap_or(true) {
                std::thread::sleep(Duration::from_millis(100));
            }
            b"slow".to_vec()
        };
        let fast = || {
            for _ in 0..50 {
                assert_eq!(in_helper(NOBODY, until, 100, || b"fast".to_vec()).unwrap(), b"fast");
            }
        };
        std::thread::scope(|scope| {
            let fast = [(); 8].map(|()| scope.spawn(fast));
            let slow = [(); 100].map(|()| scope.spawn(|| in_helper(NOBODY, until, 100, slow)));
            let fast = fast.map(|fast| fast.join());
            std::fs::remove_file(&wait).unwrap();
            for fast in fast {
                fast.unwrap();
            }
            for slow in slow {
                assert_eq!(slow.join().unwrap().unwrap(), b"slow");
            }
        });
    }

    #[test]
    fn a_helper_that_hangs_dies_or_talks_too_much_is_an_error() {
        let short = Instant::now() + Duration::from_millis(200);
        let hang = in_helper(NOBODY, short, 100, || {
            std::thread::sleep(Duration::from_secs(60));
            b"late".to_vec()
        });
        assert!(matches!(hang, Err(HelperError::Deadline)), "{hang:?}");
        assert!(matches!(
            in_helper(NOBODY, soon(), 100, || std::process::abort()),
            Err(HelperError::Died)
        ));
        assert!(matches!(
            in_helper(NOBODY, soon(), 100, || vec![0; 101]),
            Err(HelperError::Died)
        ));
        let large = in_helper(NOBODY, soon(), 300_000, || vec![7; 300_000]).unwrap();
        assert_eq!(large.len(), 300_000, "more than a pipe holds");
    }
}
