//! Texts to C and from C.

use std::ffi::{CStr, CString, c_char};

/// A text that the library lends.
///
/// # Safety
/// `text` is closed by a NUL.
pub(crate) unsafe fn of(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// A text that the library wrote into a place of ours.
pub(crate) fn in_place(place: &[c_char]) -> String {
    let octets: Vec<u8> = place
        .iter()
        .map(|c| c.to_ne_bytes()[0])
        .take_while(|octet| *octet != 0)
        .collect();
    String::from_utf8_lossy(&octets).into_owned()
}

/// A text for the library. JavaScript's may have a NUL, where C's would end unnoticed: it becomes a `?`, which no name,
/// setting or path of ours may have.
pub(crate) fn to_c(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}
