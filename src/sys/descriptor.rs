//! Descriptors that were only numbers: of the service manager, and of a queue for an event loop.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Takes a descriptor that the service manager has opened for this process. It is not inherited further.
///
/// # Errors
/// There is no such descriptor.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call on a number; one that is not open is an error.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by sd_listen_fds(3) it is ours: nothing else in this process knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Another descriptor for what this one is, for an event loop that wants to own what it waits for.
///
/// # Errors
/// There is no such descriptor, or no room for one more.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call on a number; one that is not open is an error.
    match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the system has made it for us a moment ago.
        copy => Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
    }
}
