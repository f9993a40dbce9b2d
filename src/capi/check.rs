//! Certificates and addresses of MX hosts, checked for C.

use std::ffi::c_char;
use std::net::IpAddr;
use std::ptr;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use super::context::mtasts_context;
use super::error::{Fault, guard, mtasts_error};
use super::extensible::{Extensible, Place, zeroed};
use super::verdict::MTASTS_REASON_SIZE;
use super::{MTASTS_NUL_TERMINATED, OK, copy_text, handle, name, text};
use crate::protocol::certificate::{CertificateFailure, check_name};
use crate::protocol::verification_codes;
use crate::protocol::words::Status;
use crate::sender::resolver::unix_now;

/// The most certificates of a chain that are read.
const MAX_CHAIN: usize = 10_000;
/// The longest text that is read as an address, in octets; far more than an address has.
const MAX_ADDRESS_TEXT: usize = 256;
/// The longest code of Node that is read, in octets.
const MAX_CODE_TEXT: usize = 512;

/// Octets, such as one certificate in DER. This struct never grows.
#[repr(C)]
pub struct mtasts_octets {
    /// The first octet.
    pub data: *const u8,
    /// The number of octets.
    pub length: usize,
}

/// The result of a certificate check. An extensible struct: set `size` before the call.
#[repr(C)]
pub struct mtasts_check {
    /// `sizeof(mtasts_check)`, set by the caller.
    pub size: usize,
    /// 0 for a good certificate, otherwise one of `MTASTS_RESULT_*`.
    pub result: i32,
    /// What is wrong in plain words, closed by a NUL; empty for a good certificate. It may be used as
    /// failure-reason-code of a report.
    pub reason: [c_char; MTASTS_REASON_SIZE],
}

// SAFETY: `repr(C)`, `size` first, no pointer.
unsafe impl Extensible for mtasts_check {
    const FIRST: usize = size_of::<usize>() + 4 + MTASTS_REASON_SIZE;
}

/// Verifies the certificate chain of an MX host (RFC 8461 4.2): a path leads to a trust anchor at the time `at`, and
/// the DNS names of the subjectAltName include the host's name. A `*` matches the whole left-most label and nothing
/// else. The common name and IP addresses do not count.
///
/// `host` is the name in the MX record, before any CNAME is followed. `chain` has `count` certificates in DER: the
/// host's own first, the others in any order. `at` is in Unix seconds; 0 means now. The first call with a context reads
/// the trust anchors.
///
/// Returns `MTASTS_OK` with the result in `out`; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
/// `MTASTS_E_UNAVAILABLE` if the trust anchors cannot be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_verify_certificate(
    context: *const mtasts_context,
    host: *const c_char,
    length: usize,
    chain: *const mtasts_octets,
    count: usize,
    at: u64,
    out: *mut mtasts_check,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, host, out) = unsafe { (handle(context)?, name(host, length)?, Place::new(out, "out")?) };
        // SAFETY: the caller's promise.
        let chain = unsafe { certificates(chain, count)? };
        let at = time(at);
        let checked = context.context.verify_certificate(&host, &chain, at);
        tell(
            out,
            checked.map_err(|e| Fault::new(Status::Unavailable, e.to_string()))?,
        )
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Checks only the name: whether the DNS names of the subjectAltName include the host's name, by the rule of
/// `mtasts_verify_certificate`. It is for a program whose TLS library has verified the path but has a looser rule for
/// the name. Many accept the common name if there is no subjectAltName, which RFC 8461 4.2 does not allow.
///
/// `host` is the name in the MX record, before any CNAME is followed. `leaf` is the host's own certificate in DER.
///
/// Returns `MTASTS_OK` with the result in `out`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_check_name(
    host: *const c_char,
    length: usize,
    leaf: *const mtasts_octets,
    out: *mut mtasts_check,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (host, out) = unsafe { (name(host, length)?, Place::new(out, "out")?) };
        // SAFETY: the caller's promise.
        let leaf = unsafe { certificates(leaf, 1)? };
        tell(out, check_name(&host, leaf[0]))
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Unix seconds; 0 means now.
pub(super) fn time(at: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(if at == 0 { unix_now() } else { at }))
}

/// # Safety
/// As the chain of `mtasts_verify_certificate`.
pub(super) unsafe fn certificates<'a>(chain: *const mtasts_octets, count: usize) -> Result<Vec<&'a [u8]>, Fault> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if chain.is_null() {
        return Err(Fault::argument("chain is NULL"));
    }
    if count > MAX_CHAIN {
        return Err(Fault::argument("the chain has more than 10000 certificates"));
    }
    // SAFETY: the caller's promise.
    let chain = unsafe { std::slice::from_raw_parts(chain, count) };
    let one = |octets: &mtasts_octets| {
        if octets.data.is_null() || octets.length > isize::MAX as usize {
            return Err(Fault::argument("a certificate of the chain is NULL or has no length"));
        }
        // SAFETY: the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts(octets.data, octets.length) })
    };
    chain.iter().map(one).collect()
}

/// Translates OpenSSL's verdict on a certificate. Pass the result of `SSL_get_verify_result` (`X509_V_OK` is 0), with
/// host name checking enabled.
///
/// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_from_openssl(code: i64, out: *mut mtasts_check) -> i32 {
    // SAFETY: `out` is the caller's; there is no error struct.
    unsafe {
        guard(ptr::null_mut(), || {
            tell(Place::new(out, "out")?, verification_codes::from_openssl(code))
        })
    }
}

/// Translates GnuTLS's verdict on a certificate. Pass the status of `gnutls_certificate_verify_peers3` (0 is good),
/// with the host name given.
///
/// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_from_gnutls(status: u32, out: *mut mtasts_check) -> i32 {
    // SAFETY: `out` is the caller's; there is no error struct.
    unsafe {
        guard(ptr::null_mut(), || {
            tell(Place::new(out, "out")?, verification_codes::from_gnutls(status))
        })
    }
}

/// Translates the error code of a TLS connection that failed in Node.js: `CERT_HAS_EXPIRED`,
/// `ERR_TLS_CERT_ALTNAME_INVALID` and the like.
///
/// `code` is UTF-8, closed by a NUL.
///
/// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_from_node(code: *const c_char, out: *mut mtasts_check) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (code, out) = unsafe {
            (
                text(code, MTASTS_NUL_TERMINATED, MAX_CODE_TEXT)?,
                Place::new(out, "out")?,
            )
        };
        tell(out, Err(verification_codes::from_node(code)))
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

fn tell(out: Place<mtasts_check>, checked: Result<(), CertificateFailure>) -> Result<i32, Fault> {
    let mut told: mtasts_check = zeroed();
    if let Err(failure) = checked {
        told.result = failure.result.number();
        copy_text(&mut told.reason, &failure.reason);
    }
    out.write(&told);
    Ok(OK)
}

/// Checks whether a host may be contacted at an address: at a public address, or at one that the settings allow
/// (`allow_addresses`, `nat64_prefixes`).
///
/// A domain's owner chooses the addresses of its MX hosts and could otherwise point this program at its own machine or
/// network. If your program has no such rule of its own: look up the addresses of the MX host, check each of them, and
/// connect to the address that passed, not to the name again. If no address is left, defer the mail. A relay that the
/// operator has configured needs no check.
///
/// `address` is an IPv4 or IPv6 address as text, without brackets and without a zone.
///
/// Returns `MTASTS_OK`; `MTASTS_E_REFUSED` with the reason; or `MTASTS_E_ARGUMENT` if `address` is not an address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_check_address(
    context: *const mtasts_context,
    address: *const c_char,
    length: usize,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, address) = unsafe { (handle(context)?, text(address, length, MAX_ADDRESS_TEXT)?) };
        let ip: IpAddr = address
            .parse()
            .map_err(|_| Fault::argument("address is not an IP address"))?;
        match context.context.settings().addresses().refusal(ip) {
            None => Ok(OK),
            Some(words) => Err(Fault::new(
                Status::Refused,
                format!(
                    "{ip} is {words}, and hosts at such addresses are not contacted; if this is your own host, allow its \
                     network in the settings (allow_addresses)"
                ),
            )),
        }
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}
