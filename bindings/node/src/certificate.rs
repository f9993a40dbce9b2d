//! Certificate checks, and the names of result types.

use std::ffi::CStr;

use mtasts::{Status, capi};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::error::{Result, call, failure, meaning};
use crate::text;

/// What a certificate check gave.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Check {
    /// The result type, or null for a good certificate.
    pub result: Option<&'static str>,
    /// What is wrong, in plain words.
    pub reason: String,
}

/// Where the library writes the result of a check.
pub(crate) fn place() -> capi::mtasts_check {
    capi::mtasts_check {
        size: size_of::<capi::mtasts_check>(),
        result: 0,
        reason: [0; capi::MTASTS_REASON_SIZE],
    }
}

pub(crate) fn told(place: &capi::mtasts_check) -> Check {
    Check {
        result: result_name(place.result),
        reason: text::in_place(&place.reason),
    }
}

/// What Node's error code of a failed TLS connection is called.
#[napi]
pub fn failure_from_node(code: String) -> Result<Check> {
    let mut place = place();
    // SAFETY: a NUL-terminated text, and a place whose size is set.
    match unsafe { capi::mtasts_from_node(text::to_c(&code).as_ptr(), &raw mut place) } {
        0 => Ok(told(&place)),
        status => Err(meaning(status)),
    }
}

/// Whether a certificate names a host.
#[napi]
pub fn check_name(host: String, leaf: Uint8Array) -> Result<Check> {
    let mut place = place();
    let (name, length) = (host.as_ptr().cast(), host.len());
    let leaf = capi::mtasts_octets {
        data: leaf.as_ptr(),
        length: leaf.len(),
    };
    call(|error| {
        // SAFETY: both have their lengths, and the place has its size set.
        unsafe { capi::mtasts_check_name(name, length, &raw const leaf, &raw mut place, error) }
    })?;
    Ok(told(&place))
}

/// The name of a result type; nothing where the number is none.
pub(crate) fn result_name(result: i32) -> Option<&'static str> {
    let name = capi::mtasts_result_name(result);
    if name.is_null() {
        return None;
    }
    // SAFETY: a static text.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

/// The result types with their names.
pub(crate) fn results() -> impl Iterator<Item = (i32, &'static str)> {
    (1..1000).filter_map(|number| Some((number, result_name(number)?)))
}

/// The number of a result type.
pub(crate) fn result_number(name: &str) -> Result<i32> {
    let found = results().find(|(_, known)| *known == name);
    found
        .map(|(number, _)| number)
        .ok_or_else(|| failure(Status::Argument, format!("{name:?} is no result type")))
}
