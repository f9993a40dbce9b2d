//! What a fork inherits of its host and is not to keep: its descriptors, its signals, its session, its directory.

use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::thread::BlockedSignals;

/// The descriptor of the pipe to the parent: after the standard descriptors, the only other ones.
const PIPE: RawFd = 3;
/// How many descriptors are tried if the kernel neither lists them nor closes them all.
const MOST: RawFd = 1 << 20;
/// A write that fails is an error here, and no signal.
const ERRORS: [libc::c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// In a child just after the fork: nothing of the host is left but its memory. The signals, which must be blocked until
/// then, have the actions of a new process; the terminal from which the host was started stops and interrupts the host
/// alone; and of the descriptors only the pipe leads anywhere.
///
/// # Errors
/// What the system says.
pub(super) fn let_go(pipe: OwnedFd, blocked: BlockedSignals) -> io::Result<File> {
    let pipe = pipe.into_raw_fd();
    // SAFETY: a plain system call. And nothing else uses descriptors here: there is one thread, and it is in this
    // function.
    let pipe = unsafe {
        if libc::setsid() < 0 {
            return Err(io::Error::last_os_error());
        }
        put(pipe, PIPE)?;
        File::from_raw_fd(PIPE)
    };
    give_up_from(PIPE + 1)?;
    no_standard_descriptors()?;
    std::env::set_current_dir("/")?;
    default_signals(blocked);
    Ok(pipe)
}

/// Detaches every descriptor from this one on from its file. The number is not free afterwards: code in this memory may
/// still use it (tokio, in a Rust program, uses those of its signals), and would find one of our sockets there.
fn give_up_from(first: RawFd) -> io::Result<()> {
    // SAFETY: a system call on values.
    let nothing = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if nothing < 0 {
        return Err(io::Error::last_os_error());
    }
    // All are listed before one is replaced: the list has a descriptor too.
    let listed = fs::read_dir("/proc/self/fd").map(|list| {
        let names = list.flatten().map(|entry| entry.file_name());
        names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect::<Vec<RawFd>>()
    });
    let Ok(numbers) = listed else {
        return close_from(first);
    };
    for number in numbers.into_iter().filter(|number| *number >= first) {
        // There can be some beyond the current limit, at which none can be put (and at which Valgrind has its own).
        if put(nothing, number).is_err() {
            // SAFETY: a system call on a value; there is one thread, and it does not use it.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Makes one descriptor the same as another one, whatever it was.
fn put(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: a system call on values; the caller knows what `to` was.
    if from == to || unsafe { libc::dup3(from, to, libc::O_CLOEXEC) } == to {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// If they cannot be listed.
fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: as above.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    // Linux has it since 5.9, and sandboxes that do not know it say EPERM.
    // SAFETY: a rlimit is plain memory for which all zeros is a valid value, and the call gets a valid pointer.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur
    };
    for number in first..RawFd::try_from(limit).unwrap_or(MOST).min(MOST) {
        // SAFETY: as above. One that is not open is no harm.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Reading from a standard descriptor finds nothing, and what is written there is discarded. They cannot stay closed:
/// the next socket would get their numbers, and what a library prints on stderr would go to a policy host.
fn no_standard_descriptors() -> io::Result<()> {
    // A host in a directory of its own (chroot) may have no /dev: a memory without a name ends with this process.
    // SAFETY: system calls on values and on constant texts.
    let nothing = unsafe {
        match libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) {
            -1 => libc::syscall(libc::SYS_memfd_create, c"null".as_ptr(), libc::MFD_CLOEXEC) as RawFd,
            opened => opened,
        }
    };
    if nothing < 0 {
        return Err(io::Error::last_os_error());
    }
    (0..PIPE).try_for_each(|standard| put(nothing, standard))?;
    if nothing > PIPE {
        // SAFETY: it is ours, and has done its work.
        unsafe { libc::close(nothing) };
    }
    Ok(())
}

/// No handler of the host runs here, and no signal is ignored because the host ignores it.
fn default_signals(blocked: BlockedSignals) {
    for signal in 1..=libc::SIGRTMAX() {
        let does = if ERRORS.contains(&signal) {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        };
        // SAFETY: a system call on values. It fails for SIGKILL and SIGSTOP, and for those that the C library has
        // taken.
        unsafe { libc::signal(signal, does) };
    }
    blocked.unblock_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child sees after it has done something, as text.
    fn child(work: impl FnOnce() -> String) -> String {
        let (mut read, write) = io::pipe().unwrap();
        // SAFETY: the child does little, writes and leaves.
        match unsafe { libc::fork() } {
            0 => {
                let pipe = write.into_raw_fd();
                put(pipe, PIPE).unwrap();
                // SAFETY: as in `let_go`; the pipe is not among those that are given up.
                let mut pipe = unsafe { File::from_raw_fd(PIPE) };
                let done = io::Write::write_all(&mut pipe, work().as_bytes());
                // SAFETY: leaves without the destructors of the test harness.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            child => {
                drop(write);
                let mut text = String::new();
                io::Read::read_to_string(&mut read, &mut text).unwrap();
                let mut status = 0;
                // SAFETY: our own child and a valid place for its status.
                unsafe { libc::waitpid(child, &raw mut status, 0) };
                assert_eq!(status, 0);
                text
            }
        }
    }

    /// The targets of the descriptors from 4 on, without the one that lists them.
    fn targets() -> String {
        let list = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = list.filter_map(|entry| {
            let number: RawFd = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?.to_str()?.to_owned();
            (number > PIPE && !target.starts_with("/proc/")).then(|| format!("{number} {target}\n"))
        });
        targets.collect()
    }

    #[test]
    fn nothing_of_the_host_can_be_reached_whatever_the_kernel_offers() {
        let open = || {
            let file = File::open("/etc/hosts").unwrap().into_raw_fd();
            put(file, 700).unwrap();
        };
        let replaced = child(|| {
            open();
            give_up_from(PIPE + 1).unwrap();
            targets()
        });
        assert!(replaced.contains("700 anon_inode:[eventfd]\n"), "{replaced}");
        assert!(
            replaced.lines().all(|line| line.ends_with(" anon_inode:[eventfd]")),
            "{replaced}"
        );
        let beyond_the_limit = child(|| {
            open();
            let limit = libc::rlimit {
                rlim_cur: 600,
                rlim_max: 600,
            };
            // SAFETY: a valid limit, for this child alone.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
            give_up_from(PIPE + 1).unwrap();
            targets()
        });
        assert!(!beyond_the_limit.contains("700 "), "{beyond_the_limit}");
        let closed = child(|| {
            open();
            close_from(PIPE + 1).unwrap();
            targets()
        });
        assert_eq!(closed, "");
    }
}
