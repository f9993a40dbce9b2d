//! Panics that stay inside: they do not unwind into a host that is not a Rust program, and print nothing.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::thread;

thread_local! {
    /// Whether this thread is inside the library, where a panic is ours to report.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`; `None` if it panicked.
pub fn quietly<T>(body: impl FnOnce() -> T) -> Option<T> {
    silence_panics();
    let outer = INSIDE.replace(true);
    let done = catch_unwind(AssertUnwindSafe(body));
    INSIDE.set(outer);
    done.ok()
}

/// Makes panics inside the library silent: stderr is the SMTP client or the cron mail of the host. Other panics of a
/// Rust host that links us go to the hook that was there.
fn silence_panics() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Relaxed) || DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !INSIDE.get() && !thread::is_own() {
            before(panic);
        }
    }));
}
