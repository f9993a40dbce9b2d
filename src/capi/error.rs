//! How a failed call is reported to C; and the guard around each export.

use std::ffi::c_char;

use super::copy_text;
use super::extensible::{Extensible, Place, zeroed};
pub(super) use super::fault::Fault;
use crate::protocol::words::Status;
use crate::sys::quiet::quietly;

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
    /// What is wrong and, if there is a remedy, what to do: one line, closed by a NUL.
    pub message: [c_char; MTASTS_MESSAGE_SIZE],
}

// SAFETY: `repr(C)`, `size` first, no pointer that may not be NULL.
unsafe impl Extensible for mtasts_error {
    const FIRST: usize = size_of::<usize>() + 4 + MTASTS_MESSAGE_SIZE;
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
