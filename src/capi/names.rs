//! Versions, and the names of numbers.

use std::ffi::{CStr, c_char};
use std::ptr;

use super::{
    MTASTS_E_ABI, MTASTS_E_ADDRESS, MTASTS_E_ARGUMENT, MTASTS_E_CANCELLED, MTASTS_E_FORKED, MTASTS_E_NAME,
    MTASTS_E_PANIC, MTASTS_E_REFUSED, MTASTS_E_SETTINGS, MTASTS_E_SYSTEM, MTASTS_OK,
};
use crate::protocol::words::ResultType;

/// The version of the interface. It is raised when a program built against an older header would no longer work; the
/// soname is `libmtasts.so.<it>`.
pub const MTASTS_ABI: u32 = 0;
/// The major number of the version that this header belongs to.
pub const MTASTS_VERSION_MAJOR: u32 = 0;
/// The minor number.
pub const MTASTS_VERSION_MINOR: u32 = 1;
/// The patch number.
pub const MTASTS_VERSION_PATCH: u32 = 0;
/// The three in one: major * 65536 + minor * 256 + patch.
pub const MTASTS_VERSION_NUMBER: u32 = 256;

/// The version of the library that runs, as text: `0.1.0`. Static; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the library that runs, comparable with `MTASTS_VERSION_NUMBER`.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_version_number() -> u32 {
    MTASTS_VERSION_NUMBER
}

/// Whether a program built against this header may use the library that runs: pass `MTASTS_ABI`.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ABI`.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_abi_check(abi: u32) -> i32 {
    if abi == MTASTS_ABI { MTASTS_OK } else { MTASTS_E_ABI }
}

/// What a status means, in a few words. Static; never NULL, also for unknown numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_strerror(status: i32) -> *const c_char {
    let text: &'static CStr = match status {
        MTASTS_OK => c"success",
        MTASTS_E_ARGUMENT => c"an argument is NULL or out of range",
        MTASTS_E_NAME => c"not a domain or host name",
        MTASTS_E_ADDRESS => c"an IP address has no MTA-STS policy",
        MTASTS_E_SETTINGS => c"a setting is wrong",
        MTASTS_E_SYSTEM => c"the system refused what the call needs",
        MTASTS_E_PANIC => c"a defect of libmtasts",
        MTASTS_E_ABI => c"header and library are of different versions",
        MTASTS_E_FORKED => c"the queue belongs to a parent of this process",
        MTASTS_E_CANCELLED => c"the lookup was cancelled",
        MTASTS_E_REFUSED => c"the address is not public",
        _ => c"unknown status",
    };
    text.as_ptr()
}

/// The name of a result type as it stands in a TLS report: `certificate-expired` (RFC 8460 4.3). Static; NULL where
/// `result` is none of the eleven.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_result_name(result: i32) -> *const c_char {
    ResultType::from_number(result).map_or(ptr::null(), |result| result.c_name().as_ptr())
}

/// For tests of the boundary alone: a defect on purpose. A release has no such function.
///
/// Returns `MTASTS_E_PANIC`, and prints nothing.
#[cfg(debug_assertions)]
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_test_panic() -> i32 {
    // SAFETY: there is no error struct.
    unsafe { super::guard(ptr::null_mut(), || panic!("asked for by a test")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_package() {
        let text = format!("{MTASTS_VERSION_MAJOR}.{MTASTS_VERSION_MINOR}.{MTASTS_VERSION_PATCH}");
        assert_eq!(text, env!("CARGO_PKG_VERSION"));
        let number = MTASTS_VERSION_MAJOR << 16 | MTASTS_VERSION_MINOR << 8 | MTASTS_VERSION_PATCH;
        assert_eq!(number, MTASTS_VERSION_NUMBER);
    }

    #[test]
    fn names_for_c_are_the_names() {
        for &result in ResultType::ALL {
            // SAFETY: a static NUL-terminated text.
            let name = unsafe { CStr::from_ptr(mtasts_result_name(result as i32)) };
            assert_eq!(name.to_str().unwrap(), result.name());
        }
        assert!(mtasts_result_name(307).is_null());
    }
}
