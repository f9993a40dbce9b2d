//! Descriptors that a forked child does not keep: it closes its copies right after the fork.
//!
//! Their numbers are in a table of atomics, because the handler that closes them may do little more than close(2).

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// How many such descriptors a process has at once: a lock and two connections for each worker of a queue, and some more.
const MOST: usize = 1024;

/// The numbers of the descriptors; -1 if a place is free.
static TABLE: [AtomicI32; MOST] = [const { AtomicI32::new(-1) }; MOST];

/// The place of a descriptor in the table. It does not own the descriptor.
#[derive(Debug)]
pub(crate) struct Unshared {
    place: &'static AtomicI32,
}

impl Unshared {
    /// Enters an open descriptor. `None` if the table is full.
    pub(crate) fn enter(descriptor: RawFd) -> Option<Self> {
        close_in_children();
        let free = |place: &&AtomicI32| {
            place
                .compare_exchange(-1, descriptor, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        TABLE.iter().find(free).map(|place| Self { place })
    }

    /// The number, or -1 in a child that was forked meanwhile.
    pub(crate) fn number(&self) -> RawFd {
        self.place.load(Ordering::Acquire)
    }

    /// Takes the descriptor out of the table, before its owner closes it. `None` in a child that was forked meanwhile: there
    /// it is closed already, and its number may be that of another file.
    pub(crate) fn leave(&self) -> Option<RawFd> {
        Some(self.place.swap(-1, Ordering::AcqRel)).filter(|descriptor| *descriptor >= 0)
    }
}

fn close_in_children() {
    extern "C" fn in_child() {
        // Most places are free. Not to write to them leaves the page to the parent.
        for place in TABLE.iter().filter(|place| place.load(Ordering::Acquire) >= 0) {
            let descriptor = place.swap(-1, Ordering::AcqRel);
            // SAFETY: the child's own copy. What owned the descriptor in the parent finds that it has left the table.
            unsafe { libc::close(descriptor) };
        }
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: the handler is safe at any time, and the library is never unloaded (-z nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}
