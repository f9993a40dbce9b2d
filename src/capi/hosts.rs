//! DANE for C: the MX hosts of a domain, attempts that know of them, and the check of a chain.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::answer::mtasts_answer;
use super::attempt::{alive, mtasts_attempt};
use super::check::{certificates, mtasts_octets, time};
use super::context::{mtasts_context, patience};
use super::error::{Fault, guard, mtasts_error};
use super::extensible::Place;
use super::verdict::{MAX_HOSTS, mtasts_decision, write_decision};
use super::{MTASTS_NUL_TERMINATED, OK, any_name, c_text, free, handle, name, place};
use crate::protocol::mx_name::MxName;
use crate::protocol::words::{Judge, Status};
use crate::sender::attempt::Attempt;
use crate::sender::hosts::Hosts;

/// What DANE says of the MX hosts of a domain. It never changes; for any number of threads at the same time.
pub struct mtasts_hosts {
    hosts: Arc<Hosts>,
}

/// Looks up what DANE says of the MX hosts of a domain (RFC 7672), if the setting `dane` is on: their addresses, their
/// TLSA records, and whether DNSSEC vouches for those and for the MX records. With `dane = off` nothing is asked.
///
/// `domain` is the domain of the recipient. `hosts` has `count` names as in the MX records, closed by a NUL, the first
/// to be tried first; without MX records it is the domain itself. With a count of 0 the library uses the MX records.
///
/// The call blocks for at most `timeout_ms` or the setting `timeout`, whichever is shorter. 0 means the setting. A host
/// that cannot be looked up is not an error: `mtasts_attempt_saw` skips it.
///
/// `out` receives the hosts. Free them with `mtasts_hosts_free`. They are good for one delivery: a TTL may be short, and
/// the context remembers what may be repeated.
///
/// In a process of root a child does the work after it has become another user, as for `mtasts_lookup`.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or `MTASTS_E_UNAVAILABLE` or
/// `MTASTS_E_DEFECT`: then defer the mail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_hosts_lookup(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    hosts: *const *const c_char,
    count: usize,
    timeout_ms: u32,
    out: *mut *mut mtasts_hosts,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, domain, out) = unsafe { (handle(context)?, name(domain, length)?, place(out)?) };
        // SAFETY: the caller's promise.
        let names = unsafe { mx_names(hosts, count)? };
        let hosts = context.context.hosts(&domain, &names, patience(timeout_ms))?;
        *out = Box::into_raw(Box::new(mtasts_hosts { hosts }));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The hosts of `mtasts_hosts_lookup` if no question is needed: DANE is not used, or they are remembered. It touches no
/// network and never blocks, so that an event loop need not leave a thread to it.
///
/// Arguments and ownership are those of `mtasts_hosts_lookup`.
///
/// Returns 1 with the hosts in `out`; 0 if DNS has to be asked; or `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or
/// `MTASTS_E_ADDRESS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_hosts_lookup_cached(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    hosts: *const *const c_char,
    count: usize,
    out: *mut *mut mtasts_hosts,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, domain, out) = unsafe { (handle(context)?, name(domain, length)?, place(out)?) };
        // SAFETY: the caller's promise.
        let names = unsafe { mx_names(hosts, count)? };
        let hosts = context.context.hosts_at_hand(&domain, &names);
        let at_hand = i32::from(hosts.is_some());
        if let Some(hosts) = hosts {
            *out = Box::into_raw(Box::new(mtasts_hosts { hosts }));
        }
        Ok(at_hand)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// # Safety
/// `hosts` is NULL or has `count` pointers, each NULL or to a text closed by a NUL.
unsafe fn mx_names(hosts: *const *const c_char, count: usize) -> Result<Vec<MxName>, Fault> {
    if count > MAX_HOSTS || (hosts.is_null() && count > 0) {
        return Err(Fault::argument("hosts is NULL, or count is too large"));
    }
    let names = (0..count).map(|index| {
        // SAFETY: the caller's promise.
        let host = unsafe { any_name(*hosts.add(index), MTASTS_NUL_TERMINATED)? };
        Ok(MxName::from_mx(&host))
    });
    names.collect()
}

/// Frees hosts. NULL is allowed. Attempts that were begun with them stay valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_hosts_free(hosts: *mut mtasts_hosts) {
    // SAFETY: the caller does not use it again.
    unsafe { free(hosts) }
}

/// Begins an attempt as `mtasts_attempt_new`, at a host of which DNS was asked for DANE. If the host has TLSA records
/// for which DNSSEC vouches, they decide before the policy does, and `mtasts_attempt_judge` says so. A host that could
/// not be looked up is skipped, whatever the policy says (RFC 8461 2).
///
/// Arguments, ownership and return values are those of `mtasts_attempt_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_new_with_hosts(
    answer: *const mtasts_answer,
    hosts: *const mtasts_hosts,
    host: *const c_char,
    length: usize,
    out: *mut *mut mtasts_attempt,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, hosts, host, out) =
            unsafe { (handle(answer)?, handle(hosts)?, any_name(host, length)?, place(out)?) };
        let attempt = Attempt::with_hosts(&answer.answer, MxName::from_mx(&host), &hosts.hosts);
        *out = Box::into_raw(Box::new(mtasts_attempt::new(attempt)));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// What decides about the certificate of the host: one of `MTASTS_JUDGE_*`. `MTASTS_JUDGE_STS` if `attempt` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_judge(attempt: *const mtasts_attempt) -> i32 {
    // SAFETY: the caller's promise.
    let attempt = unsafe { attempt.as_ref() };
    attempt.map_or(Judge::Sts, |attempt| attempt.attempt.judge()).number()
}

/// A name that the certificate of the host may have under DANE-TA (RFC 7672 3.2.2). The first is the TLSA base domain:
/// send it in SNI (RFC 7672 8.1). For a TLS library that checks DANE by itself; `mtasts_attempt_saw_chain` knows them.
///
/// The text is valid as long as the attempt. NULL behind the last one, and if TLSA records do not decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_name(attempt: *const mtasts_attempt, index: usize) -> *const c_char {
    // SAFETY: the caller's promise.
    let attempt = unsafe { attempt.as_ref() };
    attempt
        .and_then(|attempt| attempt.names.get(index))
        .map_or(ptr::null(), |name| name.as_ptr())
}

/// A usable TLSA record of the host, as the octets of its RDATA: usage, selector, matching type and data (RFC 6698 2.1).
///
/// The octets are valid as long as the attempt.
///
/// Returns 1 with the record in `out`; 0 behind the last one, and if TLSA records do not decide; or `MTASTS_E_ARGUMENT`
/// if `out` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_record(
    attempt: *const mtasts_attempt,
    index: usize,
    out: *mut mtasts_octets,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (attempt, out) = unsafe { (attempt.as_ref(), out.as_mut()) };
        let out = out.ok_or_else(|| Fault::argument("out is NULL"))?;
        let record = attempt.and_then(|attempt| attempt.records.get(index));
        if let Some(record) = record {
            *out = mtasts_octets {
                data: record.as_ptr(),
                length: record.len(),
            };
        }
        Ok(i32::from(record.is_some()))
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Checks the certificate chain of the host as DANE or the policy asks for, and decides what the MTA must do after this
/// and all sights before it. It takes the place of `mtasts_verify_certificate` and of `mtasts_attempt_saw` with
/// `MTASTS_SEEN_CERTIFICATE`. Where TLSA records decide, what a TLS library says of the chain without them means
/// nothing: a self-signed certificate may pass, and one of a public CA may be refused.
///
/// `chain` and `at` are those of `mtasts_verify_certificate`.
///
/// Returns `MTASTS_OK` with the verdict in `out`; `MTASTS_E_ARGUMENT`, and the sight is ignored; or
/// `MTASTS_E_UNAVAILABLE` if the policy decides and the trust anchors cannot be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_saw_chain(
    attempt: *mut mtasts_attempt,
    context: *const mtasts_context,
    chain: *const mtasts_octets,
    count: usize,
    at: u64,
    out: *mut mtasts_decision,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (attempt, context, out) = unsafe { (alive(attempt)?, handle(context)?, Place::new(out, "out")?) };
        // SAFETY: the caller's promise.
        let chain = unsafe { certificates(chain, count)? };
        let at: UnixTime = time(at);
        let verdict = attempt.attempt.saw_chain(&context.context, &chain, at);
        write_decision(
            out,
            &verdict.map_err(|e| Fault::new(Status::Unavailable, e.to_string()))?,
        );
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

impl mtasts_attempt {
    pub(super) fn new(attempt: Attempt) -> Self {
        let names: Vec<CString> = attempt.names().iter().map(|name| c_text(name.as_str())).collect();
        Self {
            names,
            records: attempt.records(),
            attempt,
        }
    }
}
