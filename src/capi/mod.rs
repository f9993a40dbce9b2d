//! The C boundary. Thin: it turns C's arguments into the library's, asks, and turns the answer back.
//!
//! Each export is wrapped by `guard`, so that no panic crosses into C and none prints to the host's stderr. Every
//! pointer that C gives is looked at for NULL, every length for its bound, every text for UTF-8 and NUL.

#![allow(non_camel_case_types, reason = "the types are named as C names them")]

mod answer;
mod attempt;
mod cache;
mod check;
mod context;
mod exim;
mod names;
mod queue;
mod settings;

pub use answer::*;
pub use attempt::*;
pub use cache::*;
pub use check::*;
pub use context::*;
pub use exim::*;
pub use names::*;
pub use queue::*;
pub use settings::*;

use std::ffi::{CString, c_char};

use crate::protocol::names::{Domain, NameError};
use crate::protocol::text::one_line;
use crate::sys::quiet::quietly;

/// The call succeeded.
pub const MTASTS_OK: i32 = 0;
/// An argument is NULL that may not be, or a number is out of its range.
pub const MTASTS_E_ARGUMENT: i32 = -1;
/// A domain or a host name is no such name: too long, not UTF-8, a NUL or another bad character inside, an empty label.
/// A mail domain that is refused so can have no policy; mail to it is not MTA-STS's business.
pub const MTASTS_E_NAME: i32 = -2;
/// The name is an IP address or an address literal, for which there is no policy (RFC 8461 3.4).
pub const MTASTS_E_ADDRESS: i32 = -3;
/// A setting or a settings file is wrong; the message names the key and the reason.
pub const MTASTS_E_SETTINGS: i32 = -4;
/// The system refused what the call needs: no process, no thread, no roots, no usable cache directory for root. Nothing
/// is known of the domain: let its mail wait.
pub const MTASTS_E_SYSTEM: i32 = -5;
/// A defect of this library (a panic). Nothing is known of the domain: let its mail wait, and report it.
pub const MTASTS_E_PANIC: i32 = -6;
/// The header and the library do not fit each other.
pub const MTASTS_E_ABI: i32 = -7;
/// The queue belongs to the process from which this one was forked. Make another one here.
pub const MTASTS_E_FORKED: i32 = -8;
/// The lookup was cancelled.
pub const MTASTS_E_CANCELLED: i32 = -9;
/// The address is not of the public Internet, and no setting allows it: do not connect there.
pub const MTASTS_E_REFUSED: i32 = -10;

/// The length argument for a text that ends with a NUL.
pub const MTASTS_NUL_TERMINATED: usize = usize::MAX;

/// The size of the message in an `mtasts_error`, with its NUL.
pub const MTASTS_MESSAGE_SIZE: usize = 512;

/// What went wrong with a call. The caller's own; set `size` to `sizeof(mtasts_error)` before the call. It is written
/// only when the call fails. Wherever a function takes one, NULL is fine.
#[repr(C)]
pub struct mtasts_error {
    /// `sizeof(mtasts_error)`, set by the caller.
    pub size: usize,
    /// One of the `MTASTS_E_*`, the same that the call returns.
    pub code: i32,
    /// What is wrong, in plain words on one line, closed by a NUL.
    pub message: [c_char; MTASTS_MESSAGE_SIZE],
}

/// A failing call inside the boundary.
struct Fault {
    code: i32,
    message: String,
}

impl Fault {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn argument(message: &str) -> Self {
        Self::new(MTASTS_E_ARGUMENT, message)
    }
}

/// Runs the body of an export: an error goes to `error` and becomes the status, a panic becomes [`MTASTS_E_PANIC`].
///
/// # Safety
/// `error` is NULL or points to an [`mtasts_error`] whose `size` is set.
unsafe fn guard(error: *mut mtasts_error, body: impl FnOnce() -> Result<i32, Fault>) -> i32 {
    let fault = match quietly(body) {
        Some(Ok(status)) => return status,
        Some(Err(fault)) => fault,
        None => Fault::new(MTASTS_E_PANIC, "libmtasts has a defect (a panic). Please report it."),
    };
    // SAFETY: the caller's promise; a struct of another size is left alone.
    if let Some(error) = unsafe { error.as_mut() }.filter(|e| e.size == size_of::<mtasts_error>()) {
        error.code = fault.code;
        copy_text(&mut error.message, &fault.message);
    }
    fault.code
}

/// Reads a text argument.
///
/// # Safety
/// `text` is NULL or points to `length` octets that nobody changes during the call, or to a NUL-terminated text where
/// `length` is [`MTASTS_NUL_TERMINATED`].
unsafe fn text<'a>(text: *const c_char, length: usize, longest: usize) -> Result<&'a str, Fault> {
    if text.is_null() {
        return Err(Fault::argument("a text argument is NULL"));
    }
    let length = if length == MTASTS_NUL_TERMINATED {
        // SAFETY: the caller's promise. strnlen stops at the NUL or at the bound, whatever stands there.
        unsafe { libc::strnlen(text, longest + 1) }
    } else {
        length
    };
    if length > longest {
        return Err(Fault::argument(&format!(
            "a text argument is longer than {longest} octets"
        )));
    }
    // SAFETY: `length` octets are there, by the caller's promise or because strnlen has seen them.
    let octets = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    std::str::from_utf8(octets).map_err(|_| Fault::argument("a text argument is not UTF-8"))
}

/// The longest text that is looked at as a name, in octets; far more than a name may have.
const MAX_NAME_TEXT: usize = 2048;

/// Reads a domain or a host name.
///
/// # Safety
/// As [`text`].
unsafe fn name(name: *const c_char, length: usize) -> Result<Domain, Fault> {
    // SAFETY: the caller's promise is the same.
    let text = unsafe { text(name, length, MAX_NAME_TEXT) };
    let text = text.map_err(|f| {
        Fault::new(
            if name.is_null() {
                MTASTS_E_ARGUMENT
            } else {
                MTASTS_E_NAME
            },
            f.message,
        )
    })?;
    Domain::parse(text).map_err(|e| {
        let code = if e == NameError::AddressLiteral {
            MTASTS_E_ADDRESS
        } else {
            MTASTS_E_NAME
        };
        Fault::new(code, format!("{:?}: {e}", one_line(text, 100)))
    })
}

/// Reads a handle.
///
/// # Safety
/// `handle` is NULL or one that this library gave out and that has not been freed.
unsafe fn handle<'a, T>(handle: *const T) -> Result<&'a T, Fault> {
    // SAFETY: the caller's promise.
    unsafe { handle.as_ref() }.ok_or_else(|| Fault::argument("a handle is NULL"))
}

/// Copies a text into a buffer of C, cut at a character's end, always closed by a NUL.
fn copy_text(buffer: &mut [c_char], text: &str) {
    let text = one_line(text, buffer.len() - 1);
    for (place, octet) in buffer.iter_mut().zip(text.bytes().chain([0])) {
        *place = c_char::from_ne_bytes([octet]);
    }
}

/// A text for C. What strangers wrote was cleaned of control characters before; should a NUL stand in it all the same,
/// the text ends there.
fn c_text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}
