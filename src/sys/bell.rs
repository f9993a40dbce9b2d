//! A descriptor for an event loop: it becomes readable at once or at a given time.
//!
//! It is a timer, and a timer that has run out can be read from. So one descriptor tells both that something has come
//! and that something is due, and no thread has to watch the clock.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// When the bell rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    Never,
    At(Instant),
    Now,
}

/// A descriptor that becomes readable when it is told to. Nobody reads from it.
#[derive(Debug)]
pub(crate) struct Bell {
    /// -1 once it is closed.
    descriptor: AtomicI32,
}

impl Bell {
    /// A bell that does not ring.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a system call on values.
        let descriptor = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            descriptor: descriptor.into(),
        })
    }

    /// The descriptor; -1 once the bell is closed.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.descriptor.load(Ordering::Relaxed)
    }

    /// Sets when it rings; what was set before counts no more, and a bell that rings falls silent.
    pub(crate) fn set(&self, ring: Ring) {
        let wait = match ring {
            Ring::Never => None,
            Ring::At(time) => Some(time.saturating_duration_since(Instant::now())),
            Ring::Now => Some(Duration::ZERO),
        };
        // Zero would stop the timer.
        let wait = wait.map_or(Duration::ZERO, |wait| wait.max(Duration::from_nanos(1)));
        // SAFETY: an itimerspec is plain memory for which all zeros is a valid value: no repetition, no time.
        let mut time: libc::itimerspec = unsafe { std::mem::zeroed() };
        time.it_value.tv_sec = libc::time_t::try_from(wait.as_secs()).unwrap_or(libc::time_t::MAX);
        // Less than 10^9, which a long of 32 bits holds.
        time.it_value.tv_nsec = wait.subsec_nanos() as libc::c_long;
        // SAFETY: a valid itimerspec, which the kernel only reads. It fails on -1, and on nothing else that we give it.
        unsafe { libc::timerfd_settime(self.descriptor(), 0, &raw const time, std::ptr::null_mut()) };
    }

    /// Closes the descriptor. A forked child has a copy of its own, and closing that changes nothing for the parent.
    pub(crate) fn close(&self) {
        let descriptor = self.descriptor.swap(-1, Ordering::Relaxed);
        if descriptor >= 0 {
            // SAFETY: who takes it out of its place is alone in having it.
            unsafe { libc::close(descriptor) };
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it rings within so many milliseconds.
    fn rings(bell: &Bell, within: i32) -> bool {
        let mut wait = libc::pollfd {
            fd: bell.descriptor(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut wait, 1, within) == 1 }
    }

    #[test]
    fn it_rings_when_it_is_told_to_and_until_it_is_told_otherwise() {
        let bell = Bell::new().unwrap();
        assert!(!rings(&bell, 50), "new");
        for past in [Ring::Now, Ring::At(Instant::now())] {
            bell.set(past);
            assert!(rings(&bell, 5000), "{past:?}");
            assert!(rings(&bell, 0), "still");
            bell.set(Ring::Never);
            assert!(!rings(&bell, 50), "silent again");
        }
        let time = Instant::now() + Duration::from_millis(200);
        bell.set(Ring::At(time));
        assert!(!rings(&bell, 0));
        assert!(rings(&bell, 5000));
        assert!(Instant::now() >= time);
        bell.set(Ring::Now);
        bell.set(Ring::At(Instant::now() + Duration::from_secs(3600)));
        assert!(!rings(&bell, 50), "the last word counts");
    }
}
