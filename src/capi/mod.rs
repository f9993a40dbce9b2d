//! The C boundary. Thin: it turns C's arguments into the library's, asks, and turns the answer back.
//!
//! Each export is wrapped by `guard`, so that no panic crosses into C and none prints to the host's stderr. Every
//! pointer that C gives is checked for NULL, every length for its bound, every text for UTF-8 and NUL. Structs of the
//! caller are read and written by `extensible` alone.

#![allow(non_camel_case_types, reason = "the types are named as C names them")]
#![allow(
    clippy::missing_safety_doc,
    reason = "what every caller owes is said once, under Conventions in the header: a pointer is NULL or valid, a handle \
              is NULL or alive, a text has its length"
)]

mod answer;
mod attempt;
mod cache;
mod check;
mod context;
mod error;
mod exim;
mod exim_session;
mod extensible;
mod fault;
mod hosts;
mod queue;
mod settings;
mod tlsrpt;
mod verdict;
mod version;

pub use answer::*;
pub use attempt::*;
pub use cache::*;
pub use check::*;
pub use context::*;
pub use error::*;
pub use exim::*;
pub use hosts::*;
pub use queue::*;
pub use settings::*;
pub use tlsrpt::*;
pub use verdict::*;
pub use version::*;

use std::borrow::Cow;
use std::ffi::{CString, c_char};

use crate::protocol::names::{Domain, NameError};
use crate::protocol::text::one_line;
use crate::protocol::words::Status;
use crate::sys::quiet::quietly;
use error::Fault;

/// What a call returns that has nothing else to say.
const OK: i32 = Status::Ok.number();

/// The length argument for a text that ends with a NUL.
pub const MTASTS_NUL_TERMINATED: usize = usize::MAX;

/// Reads the octets of a text argument; of a text that is longer than `longest`, one more than that.
///
/// # Safety
/// `text` is NULL or points to `length` octets, unchanged during the call, or to a NUL-terminated text if
/// `length` is [`MTASTS_NUL_TERMINATED`].
unsafe fn octets<'a>(text: *const c_char, length: usize, longest: usize) -> Result<&'a [u8], Fault> {
    if text.is_null() {
        return Err(Fault::argument("a text argument is NULL"));
    }
    let length = if length == MTASTS_NUL_TERMINATED {
        // SAFETY: the caller's promise. strnlen stops at the NUL or at the bound.
        unsafe { libc::strnlen(text, longest + 1) }
    } else if isize::try_from(length).is_err() {
        return Err(Fault::argument("a length is larger than memory"));
    } else {
        length.min(longest + 1)
    };
    // SAFETY: `length` octets are there, by the caller's promise or because strnlen has seen them.
    Ok(unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) })
}

/// Reads a text argument.
///
/// # Safety
/// As [`octets`].
unsafe fn text<'a>(text: *const c_char, length: usize, longest: usize) -> Result<&'a str, Fault> {
    // SAFETY: the caller's promise is the same.
    let octets = unsafe { octets(text, length, longest) }?;
    if octets.len() > longest {
        return Err(Fault::argument(&format!(
            "a text argument is longer than {longest} octets"
        )));
    }
    std::str::from_utf8(octets).map_err(|_| Fault::argument("a text argument is not UTF-8"))
}

/// The longest text that is read as a name, in octets; far more than a name may have.
const MAX_NAME_TEXT: usize = 2048;

/// Reads what a stranger wrote in place of a name: a mail domain, or the host of an MX record. It need not be a domain
/// name, and the library says what follows: a text that is too long stays too long, and no name has the character that
/// replaces what is not UTF-8.
///
/// # Safety
/// As [`octets`].
unsafe fn any_name<'a>(name: *const c_char, length: usize) -> Result<Cow<'a, str>, Fault> {
    // SAFETY: the caller's promise is the same.
    Ok(String::from_utf8_lossy(unsafe { octets(name, length, MAX_NAME_TEXT) }?))
}

/// Reads a domain or a host name.
///
/// # Safety
/// As [`text`].
unsafe fn name(name: *const c_char, length: usize) -> Result<Domain, Fault> {
    // SAFETY: the caller's promise is the same.
    let text = unsafe { text(name, length, MAX_NAME_TEXT) };
    let text = text.map_err(|fault| {
        let status = if name.is_null() { Status::Argument } else { Status::Name };
        Fault::new(status, fault.message)
    })?;
    Domain::parse(text).map_err(|e| {
        let status = match e {
            NameError::AddressLiteral => Status::Address,
            _ => Status::Name,
        };
        Fault::new(status, format!("{:?}: {e}", one_line(text, 100)))
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

/// The place for a new handle.
///
/// # Safety
/// `out` is NULL or points to a pointer of the caller.
unsafe fn place<'a, T>(out: *mut *mut T) -> Result<&'a mut *mut T, Fault> {
    // SAFETY: the caller's promise.
    unsafe { out.as_mut() }.ok_or_else(|| Fault::argument("out is NULL"))
}

/// Frees a handle.
///
/// # Safety
/// `handle` is NULL or came from [`Box::into_raw`], and the caller does not use it again.
unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        let handle = unsafe { Box::from_raw(handle) };
        quietly(|| drop(handle));
    }
}

/// Copies a text into a buffer of C, cut at a character's end, always closed by a NUL.
fn copy_text(buffer: &mut [c_char], text: &str) {
    let text = one_line(text, buffer.len() - 1);
    for (place, octet) in buffer.iter_mut().zip(text.bytes().chain([0])) {
        *place = c_char::from_ne_bytes([octet]);
    }
}

/// A text for C. What strangers wrote was cleaned of control characters before; if it has a NUL anyway,
/// the text ends there.
fn c_text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}
