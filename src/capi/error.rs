//! What goes wrong with a call, told to C; and the guard around each export.

use std::cell::Cell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::copy_text;
use super::extensible::{Extensible, Place, zeroed};
use crate::protocol::words::Status;
use crate::sys::thread;

/// The size of `message` in `mtasts_error` and `mtasts_completion`, in octets. The closing NUL is included.
pub const MTASTS_MESSAGE_SIZE: usize = 508;

/// Why a call failed. An extensible struct: set `size` before the call.
///
/// The library writes it only when the call fails. Wherever a function takes an `mtasts_error`, NULL is allowed. A
/// struct whose `size` is wrong is left alone.
#[repr(C)]
pub struct mtasts_error {
    /// `sizeof(mtasts_error)`, set by the caller.
    pub size: usize,
    /// The status that the call returns: one of `MTASTS_E_*`.
    pub code: i32,
    /// What is wrong and, where there is a remedy, what to do: one line, closed by a NUL.
    pub message: [c_char; MTASTS_MESSAGE_SIZE],
}

// SAFETY: `repr(C)`, `size` first, no pointer that may not be NULL.
unsafe impl Extensible for mtasts_error {
    const FIRST: usize = size_of::<usize>() + 4 + MTASTS_MESSAGE_SIZE;
}

/// A failing call inside the boundary.
pub(super) struct Fault {
    status: Status,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn argument(message: &str) -> Self {
        Self::new(Status::Argument, message)
    }
}

thread_local! {
    /// Whether this thread is inside the library, where a panic is ours to report.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs the body of an export: an error goes to `error` and becomes the status, a panic becomes [`Status::Defect`].
///
/// # Safety
/// `error` is NULL or points to an [`mtasts_error`] whose `size` is set.
pub(super) unsafe fn guard(error: *mut mtasts_error, body: impl FnOnce() -> Result<i32, Fault>) -> i32 {
    let fault = match quietly(body) {
        Some(Ok(status)) => return status,
        Some(Err(fault)) => fault,
        None => Fault::new(Status::Defect, "a defect of libmtasts (a panic): please report it"),
    };
    // SAFETY: the caller's promise.
    if let Ok(place) = unsafe { Place::new(error, "error") } {
        let mut told: mtasts_error = zeroed();
        told.code = fault.status.number();
        copy_text(&mut told.message, &fault.message);
        place.write(&told);
    }
    fault.status.number()
}

/// Runs `body`; nothing where it panicked.
pub(super) fn quietly<T>(body: impl FnOnce() -> T) -> Option<T> {
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
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !INSIDE.get() && !thread::is_own() {
            before(panic);
        }
    }));
}
