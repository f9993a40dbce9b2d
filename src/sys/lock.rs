//! Locks between processes: one octet of a file for each name, so that no name waits for another.
//!
//! They are locks of an open file (`F_OFD_SETLK`): each holder opens the file for itself, so that threads exclude each
//! other as processes do, and the kernel frees what a killed holder held. A child that is forked meanwhile inherits the
//! open file and would hold the lock as long as it lives; so it closes its copy right after the fork.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::process;
use super::unshared::Unshared;

/// How long a waiter sleeps between two attempts, at first and at most.
const NAP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// The mode of a file that its owner alone may lock.
pub(crate) const OWNER_ALONE: u32 = 0o600;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    descriptor: Unshared,
}

impl Lock {
    /// Waits for the lock of a name in a file, which is created if it is missing. A process that can open the file can
    /// lock, so the mode says who may; with [`OWNER_ALONE`] that is the caller.
    ///
    /// # Errors
    /// The file cannot be opened or locked, the deadline passed (`TimedOut`), or this process holds too many locks.
    pub(crate) fn take(file: &Path, mode: u32, name: &str, deadline: Instant) -> io::Result<Self> {
        let file = open(file, mode)?;
        let range = range(name);
        let mut nap = NAP.0;
        loop {
            match kernel::lock(&file, &range) {
                Ok(()) => break,
                Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) => {}
                Err(e) => return Err(e),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(nap.min(left));
            nap = (nap * 2).min(NAP.1);
        }
        let descriptor = file.into_raw_fd();
        match Unshared::enter(descriptor) {
            Some(descriptor) => Ok(Self { descriptor }),
            None => {
                // SAFETY: the descriptor is ours alone.
                unsafe { libc::close(descriptor) };
                Err(io::ErrorKind::QuotaExceeded.into())
            }
        }
    }

    /// Sets the time of the file to now: others can see since when it is locked.
    pub(crate) fn stamp(&self) -> io::Result<()> {
        // SAFETY: a system call on a descriptor, which is ours or -1. Without a time it is now, for which the right to
        // write is enough.
        match unsafe { libc::futimens(self.descriptor.number(), std::ptr::null()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// With the descriptor the lock is free.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.leave() {
            // SAFETY: who takes it out of the table is alone in having it.
            unsafe { libc::close(descriptor) };
        }
    }
}

fn open(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return make(path, mode),
        other => other?,
    };
    let about = file.metadata()?;
    let is_ours = about.uid() == process::user();
    if mode == OWNER_ALONE && !is_ours {
        // A member of the group made it when all of them wrote, and could lock it for ever.
        fs::remove_file(path)?;
        return make(path, mode);
    }
    if is_ours && about.is_file() && about.mode() & 0o777 != mode {
        // The directory had another mode when it was made.
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

fn make(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.clone().create_new(true).open(path) {
        // The mode is set and not left to the umask.
        Ok(file) => file.set_permissions(Permissions::from_mode(mode)).map(|()| file),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(e) => Err(e),
    }
}

/// The octet of a name: 62 bits of its SHA-256. Two names on one octet only wait for each other, but an attacker
/// who could compute a name on the octet of another one could keep that one waiting.
fn range(name: &str) -> kernel::Range {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let begin = digest
        .as_ref()
        .first_chunk()
        .map_or(0, |octets| u64::from_be_bytes(*octets));
    // SAFETY: it is plain memory for which all zeros is a valid value.
    let mut range: kernel::Range = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = (begin >> 2) as i64;
    range.l_len = 1;
    range
}

/// For a C library with file offsets of 64 bits: every musl, and every machine of 64 bits.
#[cfg(not(all(
    target_env = "gnu",
    any(
        target_arch = "x86",
        target_arch = "arm",
        target_arch = "mips",
        target_arch = "powerpc",
        target_arch = "sparc",
        target_arch = "m68k"
    )
)))]
mod kernel {
    use super::*;

    pub(super) use libc::flock as Range;

    pub(super) fn lock(file: &File, range: &Range) -> io::Result<()> {
        // SAFETY: an open descriptor of ours and a valid structure; the kernel reads it only.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const *range) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// For one with 32 bits, the kernel is called directly: programs of 32 and of 64 bits lock the same octet.
#[cfg(all(
    target_env = "gnu",
    any(
        target_arch = "x86",
        target_arch = "arm",
        target_arch = "mips",
        target_arch = "powerpc",
        target_arch = "sparc",
        target_arch = "m68k"
    )
))]
mod kernel {
    use super::*;

    pub(super) use libc::flock64 as Range;

    pub(super) fn lock(file: &File, range: &Range) -> io::Result<()> {
        // SAFETY: an open descriptor of ours and a valid structure; the kernel reads it only.
        let locked = unsafe {
            libc::syscall(
                libc::SYS_fcntl64,
                file.as_raw_fd(),
                libc::F_OFD_SETLK,
                &raw const *range,
            )
        };
        match locked {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
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

    /// What another test has just forked holds a lock that was given back, for a moment.
    fn in_time(file: &Path, mode: u32) -> io::Result<Lock> {
        Lock::take(file, mode, "a.example", Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn one_holder_for_a_name_and_none_waits_for_another_name() {
        let file = file("names");
        let held = at_once(&file, "a.example").unwrap();
        assert_eq!(at_once(&file, "a.example").unwrap_err().kind(), io::ErrorKind::TimedOut);
        at_once(&file, "b.example").unwrap();
        drop(held);
        in_time(&file, 0o660).unwrap();
        fs::remove_file(&file).unwrap();
    }

    /// The octets are a promise between processes, of 32 and of 64 bits alike: those of `printf NAME | sha256sum`.
    #[test]
    fn the_octet_of_a_name() {
        for (name, digest) in [
            ("a.example", 0xb8e7_4533_71a0_24da_u64),
            ("a.example write", 0xb6a2_ee17_11e0_f847_u64),
            ("refresh run", 0x8901_e16e_d5c4_d8bc_u64),
        ] {
            assert_eq!(range(name).l_start as u64, digest >> 2, "{name}");
            assert_eq!(range(name).l_len, 1);
        }
        let file = file("octet");
        let held = at_once(&file, "a.example").unwrap();
        let mut other = range("a.example");
        other.l_start ^= 1;
        // The neighbouring octet, and one that differs above 32 bits alone, are others.
        kernel::lock(&open(&file, 0o660).unwrap(), &other).unwrap();
        other.l_start ^= 1 | 1 << 40;
        kernel::lock(&open(&file, 0o660).unwrap(), &other).unwrap();
        other.l_start ^= 1 << 40;
        assert!(kernel::lock(&open(&file, 0o660).unwrap(), &other).is_err());
        drop(held);
        let end = Instant::now() + Duration::from_secs(60);
        while kernel::lock(&open(&file, 0o660).unwrap(), &other).is_err() {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(1));
        }
        fs::remove_file(&file).unwrap();
    }

    /// A name that was computed to be locked with another one, when the octet was one of FNV-1a: its registrant could
    /// have kept the other one's lock.
    #[test]
    fn nobody_can_compute_a_name_on_the_octet_of_another_one() {
        let (name, victim) = ("blygokboeqrilfkjzjmuihlzaz.example", "a.example");
        let fnv_1a = |name: &str| {
            name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
                (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        assert_eq!(fnv_1a(name), fnv_1a(victim));
        assert_ne!(range(name).l_start, range(victim).l_start);
        let file = file("computed");
        let _held = at_once(&file, name).unwrap();
        at_once(&file, victim).unwrap();
        fs::remove_file(&file).unwrap();
    }

    /// Who may lock is who may write, whatever was the case before.
    #[test]
    fn the_mode_is_as_it_is_asked_for() {
        let file = file("mode");
        for mode in [OWNER_ALONE, 0o660, OWNER_ALONE] {
            drop(in_time(&file, mode).unwrap());
            assert_eq!(file.metadata().unwrap().mode() & 0o777, mode);
        }
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        drop(in_time(&file, OWNER_ALONE).unwrap());
        assert_eq!(file.metadata().unwrap().mode() & 0o777, OWNER_ALONE);
        fs::remove_file(&file).unwrap();
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
        let again = Lock::take(&file, 0o660, "a.example", Instant::now() + Duration::from_secs(15));
        // SAFETY: our own child.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        again.unwrap();
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_killed_holder_frees_the_others_at_once() {
        let file = file("killed");
        at_once(&file, "other").unwrap();
        // SAFETY: the child locks, sleeps and is killed.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let _held = in_time(&file, 0o660);
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
        while at_once(&file, "a.example").is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: our own child, which would hold it for ever.
        unsafe { libc::kill(child, libc::SIGKILL) };
        in_time(&file, 0o660).unwrap();
        // SAFETY: our own child.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        fs::remove_file(&file).unwrap();
    }
}
