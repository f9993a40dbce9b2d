//! Versions, and the words for numbers.

use std::ffi::{CStr, c_char};
use std::ptr;

use crate::protocol::words::{ResultType, Status};

/// The version of the interface, which is also that of the soname: `libmtasts.so.1`. It is raised only when a program
/// that was compiled with an older header would no longer work.
pub const MTASTS_ABI: u32 = 1;
/// The version that this header belongs to: its major number.
pub const MTASTS_VERSION_MAJOR: u32 = 0;
/// Its minor number.
pub const MTASTS_VERSION_MINOR: u32 = 1;
/// Its patch number.
pub const MTASTS_VERSION_PATCH: u32 = 0;
/// The version as one number: major * 65536 + minor * 256 + patch.
pub const MTASTS_VERSION_NUMBER: u32 = 256;

/// The version of the library that runs, as text: `0.1.0`. A static text, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the library that runs, to be compared with `MTASTS_VERSION_NUMBER`.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_version_number() -> u32 {
    MTASTS_VERSION_NUMBER
}

/// Checks that this program may use the library that runs. Pass `MTASTS_ABI`.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ABI`.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_abi_check(abi: u32) -> i32 {
    let status = if abi == MTASTS_ABI { Status::Ok } else { Status::Abi };
    status.number()
}

/// The meaning of a status in a few words. A static text, never NULL, also for an unknown number.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_strerror(status: i32) -> *const c_char {
    let text: &'static CStr = match Status::from_number(status) {
        Some(Status::Ok) => c"success",
        Some(Status::Argument) => c"an argument is NULL or out of range",
        Some(Status::Name) => c"not a domain or host name",
        Some(Status::Address) => c"an IP address has no MTA-STS policy",
        Some(Status::Settings) => c"a setting is wrong",
        Some(Status::Unavailable) => c"this host refused what the call needs",
        Some(Status::Defect) => c"a defect of libmtasts",
        Some(Status::Abi) => c"the program was compiled for another version of libmtasts",
        Some(Status::Forked) => c"the queue belongs to a parent of this process",
        Some(Status::Cancelled) => c"the lookup was cancelled",
        Some(Status::Refused) => c"the address is not public",
        None => c"unknown status",
    };
    text.as_ptr()
}

/// The name of a result type as a TLS report has it: `certificate-expired` (RFC 8460 4.3). A static text. NULL if
/// `result` is not one of `MTASTS_RESULT_*`.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_result_name(result: i32) -> *const c_char {
    ResultType::from_number(result).map_or(ptr::null(), |result| result.c_name().as_ptr())
}

/// A defect on purpose, for the tests of the boundary. Only the library that they build has it.
#[cfg(mtasts_test)]
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_test_panic() -> i32 {
    // SAFETY: there is no error struct.
    unsafe { super::error::guard(ptr::null_mut(), || panic!("asked for by a test")) }
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
        for result in ResultType::ALL.iter().copied() {
            // SAFETY: a static NUL-terminated text.
            let name = unsafe { CStr::from_ptr(mtasts_result_name(result as i32)) };
            assert_eq!(name.to_str().unwrap(), result.name());
        }
        assert!(mtasts_result_name(307).is_null());
    }
}
