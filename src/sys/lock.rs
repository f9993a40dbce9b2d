//! Locks between processes: one octet of a file for each name, so that no name waits for another.
//!
//! They are locks of an open file (`F_OFD_SETLK`): each holder opens the file for itself, so that threads exclude each
//! other as processes do, and the kernel frees what a killed holder held. A child that is forked meanwhile inherits the
//! open file and would hold the lock as long as it lives; so it closes its copy right after the fork.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a waiter sleeps between two attempts, at first and at most.
const NAP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// How many locks a process holds at once. More lookups than that go without.
const MOST: usize = 256;

/// The descriptors of the locks that this process holds; -1 where a place is free.
static HELD: [AtomicI32; MOST] = [const { AtomicI32::new(-1) }; MOST];

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    place: &'static AtomicI32,
}

impl Lock {
    /// Waits for the lock of a name in a file, which is made where it is missing, with the given mode.
    ///
    /// # Errors
    /// The file cannot be opened or locked, the deadline passed (`TimedOut`), or this process holds too many locks.
    pub(crate) fn take(file: &Path, mode: u32, name: &str, deadline: Instant) -> io::Result<Self> {
        close_in_children();
        let file = open(file, mode)?;
        let range = range(name);
        let mut nap = NAP.0;
        loop {
            // SAFETY: an open descriptor of ours and a valid flock structure; the kernel reads it only.
            if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } == 0 {
                break;
            }
            match io::Error::last_os_error() {
                e if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) => {}
                e => return Err(e),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(nap.min(left));
            nap = (nap * 2).min(NAP.1);
        }
        let descriptor = file.into_raw_fd();
        let free = |place: &&AtomicI32| {
            place
                .compare_exchange(-1, descriptor, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        match HELD.iter().find(free) {
            Some(place) => Ok(Self { place }),
            None => {
                // SAFETY: the descriptor is ours and nobody else has it.
                unsafe { libc::close(descriptor) };
                Err(io::ErrorKind::QuotaExceeded.into())
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        close(self.place);
    }
}

/// Frees a place, and with its descriptor the lock. In a child that was forked meanwhile it is free already.
fn close(place: &AtomicI32) {
    let descriptor = place.swap(-1, Ordering::AcqRel);
    if descriptor >= 0 {
        // SAFETY: who takes it out of its place is alone in having it.
        unsafe { libc::close(descriptor) };
    }
}

fn close_in_children() {
    extern "C" fn in_child() {
        // Nothing but atomics and close(2): all that is allowed in the child of a threaded process.
        HELD.iter().for_each(close);
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: the handler is safe at any time, and the library is never unloaded (-z nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}

fn open(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match options.create_new(true).mode(mode).open(path) {
        // The mode is set and not left to the umask.
        Ok(file) => file.set_permissions(PermissionsExt::from_mode(mode)).map(|()| file),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => options.create_new(false).open(path),
        Err(e) => Err(e),
    }
}

/// The octet of a name: a hash with 62 bits, FNV-1a. Two names on one octet only wait for each other.
fn range(name: &str) -> libc::flock {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    // SAFETY: a flock is plain memory for which all zeros is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = libc::off_t::try_from(hash >> 2).unwrap_or(0);
    range.l_len = 1;
    range
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mtasts-lock-{}-{name}", std::process::id()))
    }

    fn at_once(file: &Path, name: &str) -> io::Result<Lock> {
        Lock::take(file, 0o660, name, Instant::now())
    }

    #[test]
    fn one_holder_for_a_name_and_none_waits_for_another_name() {
        let file = file("names");
        let held = at_once(&file, "a.example").unwrap();
        assert_eq!(at_once(&file, "a.example").unwrap_err().kind(), io::ErrorKind::TimedOut);
        at_once(&file, "b.example").unwrap();
        drop(held);
        at_once(&file, "a.example").unwrap();
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_child_that_lives_on_does_not_hold_the_lock() {
        let file = file("child");
        let held = at_once(&file, "a.example").unwrap();
        // SAFETY: the child only sleeps and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            thread::sleep(Duration::from_secs(20));
            // SAFETY: leaves without the destructors of the test harness.
            unsafe { libc::_exit(0) };
        }
        assert!(at_once(&file, "a.example").is_err(), "the parent holds it still");
        drop(held);
        let again = Lock::take(&file, 0o660, "a.example", Instant::now() + Duration::from_secs(5));
        // SAFETY: our own child.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        again.unwrap();
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_killed_holder_frees_the_others_at_once() {
        let file = file("killed");
        at_once(&file, "other").unwrap();
        // SAFETY: the child locks, sleeps and is killed.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let _held = at_once(&file, "a.example");
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
        while at_once(&file, "a.example").is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        let start = Instant::now();
        // SAFETY: our own child.
        unsafe { libc::kill(child, libc::SIGKILL) };
        Lock::take(&file, 0o660, "a.example", start + Duration::from_secs(5)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        // SAFETY: our own child.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        std::fs::remove_file(&file).unwrap();
    }
}
