//! Certificates and verdicts for C.

use std::ffi::c_char;
use std::net::IpAddr;
use std::ptr;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use super::answer::mtasts_answer;
use super::context::mtasts_context;
use super::{
    Fault, MTASTS_E_REFUSED, MTASTS_E_SYSTEM, MTASTS_NUL_TERMINATED, MTASTS_OK, copy_text, guard, handle, mtasts_error,
    name, text,
};
use crate::protocol::certificate::{CertificateFailure, check_name};
use crate::protocol::verification_codes;
use crate::protocol::words::ResultType;
use crate::sender::context::unix_now;
use crate::sender::verdict::{Action, NoHost, Seen, Verdict, verdict, verdict_without_host};

/// Deliver to this host, by whatever other rules the MTA has.
pub const MTASTS_ACTION_DELIVER: i32 = 1;
/// Deliver to this host, and report the failure.
pub const MTASTS_ACTION_DELIVER_AND_REPORT: i32 = 2;
/// Send nothing to this host; try the next, and where none is left defer the mail.
pub const MTASTS_ACTION_SKIP_HOST: i32 = 3;
/// Keep the mail in the queue and try again later. Never a bounce.
pub const MTASTS_ACTION_DEFER: i32 = 4;

/// Nothing yet but the name of the host: before connecting.
pub const MTASTS_SEEN_NAME: i32 = 0;
/// STARTTLS stands not in the host's answer to EHLO.
pub const MTASTS_SEEN_NO_STARTTLS: i32 = 1;
/// The host refused the STARTTLS command.
pub const MTASTS_SEEN_STARTTLS_REFUSED: i32 = 2;
/// The handshake failed, but not over the certificate; `reason` says how.
pub const MTASTS_SEEN_HANDSHAKE_FAILED: i32 = 3;
/// The certificate was checked for the name of this host; `result` is 0 for a good one or the result type, `reason` says
/// what is wrong with it.
pub const MTASTS_SEEN_CERTIFICATE: i32 = 4;
/// Every host was tried or skipped, and none is left.
pub const MTASTS_SEEN_NO_HOST_LEFT: i32 = 5;

/// The size of a reason in the structs below, with its NUL.
pub const MTASTS_REASON_SIZE: usize = 512;
/// The size of a sentence, with its NUL.
pub const MTASTS_SENTENCE_SIZE: usize = 1536;

/// Some octets, such as one certificate in DER. The caller's own.
#[repr(C)]
pub struct mtasts_octets {
    /// Where they begin.
    pub data: *const u8,
    /// How many there are.
    pub length: usize,
}

/// The result of a certificate check. The caller's own; set `size` to `sizeof(mtasts_check)` before the call.
#[repr(C)]
pub struct mtasts_check {
    /// `sizeof(mtasts_check)`, set by the caller.
    pub size: usize,
    /// 0 for a good certificate, else the result type (RFC 8460 4.3).
    pub result: i32,
    /// What is wrong in plain words, closed by a NUL; empty for a good one. Fit for a failure-reason-code.
    pub reason: [c_char; MTASTS_REASON_SIZE],
}

/// What the MTA saw at an MX host. The caller's own; set `size` to `sizeof(mtasts_seen)`.
#[repr(C)]
pub struct mtasts_seen {
    /// `sizeof(mtasts_seen)`, set by the caller.
    pub size: usize,
    /// One of `MTASTS_SEEN_*`.
    pub kind: i32,
    /// For `MTASTS_SEEN_CERTIFICATE`: 0 or the result type, as in `mtasts_check`. Else 0.
    pub result: i32,
    /// What is wrong in plain words, NUL-terminated; may be NULL.
    pub reason: *const c_char,
}

/// Whether mail may go to the host: 1 for `MTASTS_ACTION_DELIVER` and `MTASTS_ACTION_DELIVER_AND_REPORT`, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_action_delivers(action: i32) -> i32 {
    i32::from(Action::from_number(action).is_some_and(Action::delivers))
}

/// Whether the mail waits, and no other host of the domain is to be tried now: 1 for `MTASTS_ACTION_DEFER`, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_action_defers(action: i32) -> i32 {
    i32::from(Action::from_number(action).is_some_and(Action::defers))
}

/// A verdict. The caller's own; set `size` to `sizeof(mtasts_decision)` before the call.
#[repr(C)]
pub struct mtasts_decision {
    /// `sizeof(mtasts_decision)`, set by the caller.
    pub size: usize,
    /// One of `MTASTS_ACTION_*`.
    pub action: i32,
    /// What a report calls the failure (RFC 8460 4.3), or 0 where there is none to report.
    pub result: i32,
    /// The failure-reason-code for the report, closed by a NUL; empty where there is none.
    pub reason_code: [c_char; MTASTS_REASON_SIZE],
    /// One line for the log: what is wrong and what to do about it. Closed by a NUL.
    pub sentence: [c_char; MTASTS_SENTENCE_SIZE],
}

const _: () = assert!(MTASTS_ACTION_DELIVER == Action::Deliver as i32);
const _: () = assert!(MTASTS_ACTION_DELIVER_AND_REPORT == Action::DeliverAndReport as i32);
const _: () = assert!(MTASTS_ACTION_SKIP_HOST == Action::SkipHost as i32);
const _: () = assert!(MTASTS_ACTION_DEFER == Action::Defer as i32);

/// The most certificates of a chain that are looked at.
const MAX_CHAIN: usize = 10_000;
/// The longest text of an address that is looked at, in octets; far more than an address has.
const MAX_ADDRESS_TEXT: usize = 256;

/// Checks the certificate chain of an MX host (RFC 8461 4.2): a path to a trusted root at the time, and the host's name
/// among the DNS names of the subjectAltName (never the common name, never an IP address; `*` for the whole left-most
/// label alone).
///
/// `host` is the name in the MX record, before any CNAME. `chain` has `count` certificates in DER, the host's own first,
/// the others in any order. `at` is in Unix seconds; 0 stands for now. The first call of a context reads the roots.
///
/// Returns `MTASTS_OK` with the result in `out`; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
/// `MTASTS_E_SYSTEM` where the roots cannot be read.
///
/// # Safety
/// `context` is NULL or alive; `host` is NULL or has `length` octets; `chain` is NULL or has `count` elements, each of
/// which has its octets; `out` is NULL or points to an `mtasts_check` whose size is set; `error` is NULL or points to an
/// `mtasts_error` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_check_certificate(
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
        let (context, host, out) = unsafe { (handle(context)?, name(host, length)?, check(out)?) };
        // SAFETY: the caller's promise.
        let chain = unsafe { certificates(chain, count)? };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(if at == 0 { unix_now() } else { at }));
        let checked = context.context.check_certificate(&chain, &host, at);
        tell(out, checked.map_err(|e| Fault::new(MTASTS_E_SYSTEM, e.to_string()))?)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Checks the name alone: whether the host's certificate has the name among the DNS names of its subjectAltName, as
/// `mtasts_check_certificate` wants it. For a program whose TLS library has verified the path, but by a looser rule for
/// the name: many take the common name where there is no subjectAltName, which RFC 8461 4.2 does not know.
///
/// `host` is the name in the MX record, before any CNAME; `leaf` is the host's own certificate in DER.
///
/// Returns `MTASTS_OK` with the result in `out`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`.
///
/// # Safety
/// `host` is NULL or has `length` octets; `leaf` is NULL or points to octets that are there; `out` is NULL or points to
/// an `mtasts_check` whose size is set; `error` is NULL or points to an `mtasts_error` whose size is set.
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
        let (host, out) = unsafe { (name(host, length)?, check(out)?) };
        // SAFETY: the caller's promise.
        let leaf = unsafe { certificates(leaf, 1)? };
        tell(out, check_name(leaf[0], &host))
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Says whether a host may be contacted at an address: at those of the public Internet, and at those that the settings
/// allow (`allow_addresses`, `nat64_prefixes`). A domain's owner chooses the addresses of its MX hosts, and could
/// otherwise point a program that connects to them at its own machine and network. For a program without such a rule of
/// its own: look the addresses of the MX host up, ask about each, and connect to the address, not to the name again. If
/// none is left, let the mail wait. A relay that the operator has named needs no such question.
///
/// `address` is an IPv4 or IPv6 address as text, without brackets and zone; `length` counts its octets, or is
/// `MTASTS_NUL_TERMINATED`.
///
/// Returns `MTASTS_OK`; `MTASTS_E_REFUSED` with the reason; or `MTASTS_E_ARGUMENT` for what is no address.
///
/// # Safety
/// `context` is NULL or alive; `address` is NULL or has `length` octets; `error` is NULL or points to an `mtasts_error`
/// whose size is set.
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
            None => Ok(MTASTS_OK),
            Some(words) => Err(Fault::new(
                MTASTS_E_REFUSED,
                format!(
                    "{ip} is {words}, and hosts at such addresses are not contacted; if this is your own host, add its \
                     network to allow_addresses"
                ),
            )),
        }
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// # Safety
/// As the chain of `mtasts_check_certificate`.
unsafe fn certificates<'a>(chain: *const mtasts_octets, count: usize) -> Result<Vec<&'a [u8]>, Fault> {
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

/// What OpenSSL's verdict on a certificate is called: pass what `SSL_get_verify_result` gives (`X509_V_OK` is 0), with
/// host name checking on.
///
/// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
///
/// # Safety
/// `out` is NULL or points to an `mtasts_check` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_check_openssl(code: i64, out: *mut mtasts_check) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        guard(ptr::null_mut(), || {
            tell(check(out)?, verification_codes::from_openssl(code))
        })
    }
}

/// What GnuTLS's verdict on a certificate is called: pass the status of `gnutls_certificate_verify_peers3` (0 is good),
/// with the host name given.
///
/// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
///
/// # Safety
/// `out` is NULL or points to an `mtasts_check` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_check_gnutls(status: u32, out: *mut mtasts_check) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        guard(ptr::null_mut(), || {
            tell(check(out)?, verification_codes::from_gnutls(status))
        })
    }
}

/// What Node's error code of a failed TLS connection is called: `CERT_HAS_EXPIRED`, `ERR_TLS_CERT_ALTNAME_INVALID` and
/// the like, NUL-terminated.
///
/// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
///
/// # Safety
/// `code` is NULL or NUL-terminated; `out` is NULL or points to an `mtasts_check` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_check_node(code: *const c_char, out: *mut mtasts_check) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let code = unsafe { text(code, MTASTS_NUL_TERMINATED, MTASTS_REASON_SIZE)? };
        // SAFETY: the caller's promise.
        tell(unsafe { check(out)? }, Err(verification_codes::from_node(code)))
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// # Safety
/// `out` is NULL or points to an `mtasts_check` whose size is set.
unsafe fn check<'a>(out: *mut mtasts_check) -> Result<&'a mut mtasts_check, Fault> {
    // SAFETY: the caller's promise.
    let out = unsafe { out.as_mut() }.filter(|out| out.size == size_of::<mtasts_check>());
    out.ok_or_else(|| Fault::argument("out is NULL or of another size"))
}

fn tell(out: &mut mtasts_check, checked: Result<(), CertificateFailure>) -> Result<i32, Fault> {
    match checked {
        Ok(()) => {
            out.result = 0;
            copy_text(&mut out.reason, "");
        }
        Err(failure) => {
            out.result = failure.result as i32;
            copy_text(&mut out.reason, &failure.reason);
        }
    }
    Ok(MTASTS_OK)
}

/// Decides what the MTA must do with this MX host (RFC 8461 4, 5): the policy and what the MTA saw in, the action, the
/// name of the failure and a sentence for the log out. Ask before connecting (`MTASTS_SEEN_NAME`) and again after the
/// TLS handshake; where no host is left, once more for the sentence (`MTASTS_SEEN_NO_HOST_LEFT`).
///
/// `host` is the name in the MX record, before any CNAME; `length` counts its octets, or is `MTASTS_NUL_TERMINATED`.
///
/// Returns `MTASTS_OK` with the verdict in `out`; `MTASTS_E_ARGUMENT`; or `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` for what
/// is no host name: under a policy in mode enforce, nothing may be sent to it.
///
/// # Safety
/// `answer` is NULL or alive; `host` is NULL or has `length` octets; `seen` is NULL or points to an `mtasts_seen` whose
/// size is set; `out` is NULL or points to an `mtasts_decision` whose size is set; `error` is NULL or points to an
/// `mtasts_error` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_verdict(
    answer: *const mtasts_answer,
    host: *const c_char,
    length: usize,
    seen: *const mtasts_seen,
    out: *mut mtasts_decision,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, host, out) = unsafe { (handle(answer)?, name(host, length)?, decision(out)?) };
        // SAFETY: the caller's promise.
        let none_left = unsafe { seen.as_ref() }
            .is_some_and(|seen| seen.size == size_of::<mtasts_seen>() && seen.kind == MTASTS_SEEN_NO_HOST_LEFT);
        let decided = match none_left {
            true => verdict_without_host(&answer.answer, NoHost::Left),
            false => {
                // SAFETY: the caller's promise.
                let seen = unsafe { what_was_seen(seen)? };
                verdict(&answer.answer, &host.into(), &seen)
            }
        };
        write_decision(out, &decided);
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// # Safety
/// `out` is NULL or points to an `mtasts_decision` whose size is set.
pub(super) unsafe fn decision<'a>(out: *mut mtasts_decision) -> Result<&'a mut mtasts_decision, Fault> {
    // SAFETY: the caller's promise.
    let out = unsafe { out.as_mut() }.filter(|out| out.size == size_of::<mtasts_decision>());
    out.ok_or_else(|| Fault::argument("out is NULL or of another size"))
}

pub(super) fn write_decision(out: &mut mtasts_decision, decided: &Verdict) {
    out.action = decided.action as i32;
    out.result = decided.result.map_or(0, |result| result as i32);
    copy_text(&mut out.reason_code, &decided.reason_code);
    copy_text(&mut out.sentence, &decided.sentence);
}

/// # Safety
/// `seen` is NULL or points to an `mtasts_seen` whose size is set.
pub(super) unsafe fn what_was_seen(seen: *const mtasts_seen) -> Result<Seen, Fault> {
    // SAFETY: the caller's promise.
    let seen = unsafe { seen.as_ref() }.filter(|seen| seen.size == size_of::<mtasts_seen>());
    let seen = seen.ok_or_else(|| Fault::argument("seen is NULL or of another size"))?;
    let reason = if seen.reason.is_null() {
        ""
    } else {
        // SAFETY: NUL-terminated, by the caller's promise.
        unsafe { text(seen.reason, MTASTS_NUL_TERMINATED, 65_536)? }
    };
    Ok(match seen.kind {
        MTASTS_SEEN_NAME => Seen::Name,
        MTASTS_SEEN_NO_STARTTLS => Seen::StarttlsNotOffered,
        MTASTS_SEEN_STARTTLS_REFUSED => Seen::StarttlsRefused,
        MTASTS_SEEN_HANDSHAKE_FAILED => Seen::HandshakeFailed(reason.to_owned()),
        MTASTS_SEEN_CERTIFICATE if seen.result == 0 => Seen::Certificate(Ok(())),
        MTASTS_SEEN_CERTIFICATE => {
            let result = ResultType::from_number(seen.result);
            let result = result.ok_or_else(|| Fault::argument("seen.result is not a result type"))?;
            Seen::Certificate(Err(CertificateFailure::new(result, reason)))
        }
        MTASTS_SEEN_NO_HOST_LEFT => return Err(Fault::argument("seen.kind is not about a host")),
        _ => return Err(Fault::argument("seen.kind is none of MTASTS_SEEN_*")),
    })
}
