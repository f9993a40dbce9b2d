//! A descriptor for an event loop: it becomes readable at once or at a given time.
//!
//! It is a timer, and a timer that has run out can be read from. So one descriptor signals both that something has come
//! and that something is due, and no thread has to watch the clock.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// When the timer runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeUp {
    Never,
    At(Instant),
    Now,
}

/// A descriptor that becomes readable when it is told to. It is never read.
#[derive(Debug)]
pub(crate) struct WakeUpTimer {
    /// -1 once it is closed.
    descriptor: AtomicI32,
}

impl WakeUpTimer {
    /// A timer that does not run.
    ///
    /// # Errors
    /// The system refuses a descriptor.
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

    /// The descriptor; -1 once the timer is closed.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.descriptor.load(Ordering::Relaxed)
    }

    /// Sets when it runs out, in place of what was set before. A descriptor that was readable is so no longer.
    pub(crate) fn set(&self, when: WakeUp) {
        let wait = match when {
            WakeUp::Never => None,
            WakeUp::At(time) => Some(time.saturating_duration_since(Instant::now())),
            WakeUp::Now => Some(Duration::ZERO),
        };
        // Zero would stop the timer.
        let wait = wait.map_or(Duration::ZERO, |wait| wait.max(Duration::from_nanos(1)));
        // SAFETY: an itimerspec is plain memory for which all zeros is a valid value: no repetition, no time.
        let mut time: libc::itimerspec = unsafe { std::mem::zeroed() };
        time.it_value.tv_sec = libc::time_t::try_from(wait.as_secs()).unwrap_or(libc::time_t::MAX);
        // Less than 10^9, which a long of 32 bits holds.
        time.it_value.tv_nsec = wait.subsec_nanos() as libc::c_long;
        // SAFETY: a valid itimerspec, which the kernel only reads. It fails on -1, and on no other value that we pass.
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

impl Drop for WakeUpTimer {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it has run out within so many milliseconds.
    fn is_up(timer: &WakeUpTimer, within: i32) -> bool {
        let mut wait = libc::pollfd {
            fd: timer.descriptor(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut wait, 1, within) == 1 }
    }

    #[test]
    fn it_runs_out_when_it_is_told_to_and_until_it_is_told_otherwise() {
        let timer = WakeUpTimer::new().unwrap();
        assert!(!is_up(&timer, 50), "new");
        for past in [WakeUp::Now, WakeUp::At(Instant::now())] {
            timer.set(past);
            assert!(is_up(&timer, 5000), "{past:?}");
            assert!(is_up(&timer, 0), "still");
            timer.set(WakeUp::Never);
            assert!(!is_up(&timer, 50), "silent again");
        }
        let time = Instant::now() + Duration::from_millis(200);
        timer.set(WakeUp::At(time));
        assert!(!is_up(&timer, 0) || Instant::now() >= time);
        assert!(is_up(&timer, 5000));
        assert!(Instant::now() >= time);
        timer.set(WakeUp::Now);
        timer.set(WakeUp::At(Instant::now() + Duration::from_secs(3600)));
        assert!(!is_up(&timer, 50), "the last word counts");
    }
}
