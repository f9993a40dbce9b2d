//! Attempts for C: one MX host, what was seen there, and what a report counts of it.

use std::ffi::{CString, c_char};
use std::net::IpAddr;

use super::answer::mtasts_answer;
use super::error::{Fault, guard, mtasts_error};
use super::extensible::{Extensible, Place, read, zeroed};
use super::verdict::{MTASTS_REASON_SIZE, mtasts_decision, write_decision};
use super::{MTASTS_NUL_TERMINATED, OK, any_name, copy_text, free, handle, place, text};
use crate::protocol::certificate::CertificateFailure;
use crate::protocol::mx_name::MxName;
use crate::protocol::report::ReportEvent;
use crate::protocol::words::{Channel, ResultType, SeenKind};
use crate::sender::attempt::{Attempt, Peer};
use crate::sender::verdict::Seen;

/// The size of `host` in `mtasts_event`, in octets. The closing NUL is included.
pub const MTASTS_HOST_SIZE: usize = 256;
/// The size of an address in `mtasts_event`, in octets. The closing NUL is included.
pub const MTASTS_ADDRESS_SIZE: usize = 46;

/// The longest reason that is read, in octets; a report has room for far less.
const MAX_REASON: usize = 65_536;

/// What the MTA saw at an MX host. An extensible struct: set `size`, and set fields that you do not use to zero.
#[repr(C)]
pub struct mtasts_seen {
    /// `sizeof(mtasts_seen)`, set by the caller.
    pub size: usize,
    /// One of `MTASTS_SEEN_*`.
    pub kind: i32,
    /// For `MTASTS_SEEN_CERTIFICATE` the `result` of the `mtasts_check`: 0 for a good certificate, or one of
    /// `MTASTS_RESULT_*`. Otherwise 0.
    pub result: i32,
    /// For `MTASTS_SEEN_CERTIFICATE` and `MTASTS_SEEN_HANDSHAKE_FAILED`, what is wrong in plain words, closed by a NUL.
    /// May be NULL.
    pub reason: *const c_char,
}

// SAFETY: `repr(C)`, `size` first, a pointer that may be NULL.
unsafe impl Extensible for mtasts_seen {
    const FIRST: usize = size_of::<usize>() + 4 + 4 + size_of::<usize>();
}

/// An attempt to deliver to one MX host. It remembers what was seen there. For one thread at a time; different attempts
/// are independent. The answer may be freed before it. It has no descriptor, no thread and no lock: a child that the
/// program forks may continue with its copy and has to free it.
pub struct mtasts_attempt {
    pub(super) attempt: Attempt,
    /// The names of DANE, as C reads them.
    pub(super) names: Vec<CString>,
    /// The usable TLSA records.
    pub(super) records: Vec<Vec<u8>>,
}

/// The other side of a session, for the report. An extensible struct: set `size`, and set fields that you do not use to
/// zero.
#[repr(C)]
pub struct mtasts_peer {
    /// `sizeof(mtasts_peer)`, set by the caller.
    pub size: usize,
    /// How far the session came: one of `MTASTS_CHANNEL_*`.
    pub channel: i32,
    /// The IP address of the host as text, closed by a NUL, without brackets and without a zone. May be NULL.
    pub address: *const c_char,
    /// The IP address that the connection came from, likewise. May be NULL.
    pub local_address: *const c_char,
}

// SAFETY: `repr(C)`, `size` first, pointers that may be NULL.
unsafe impl Extensible for mtasts_peer {
    const FIRST: usize = std::mem::offset_of!(Self, local_address) + size_of::<usize>();
}

/// What a TLS report counts of one session (RFC 8460 4.4). An extensible struct: set `size` before the call.
///
/// The policy text and the MX patterns for the report are those of the answer, if its mode is not `MTASTS_MODE_NONE`.
#[repr(C)]
pub struct mtasts_event {
    /// `sizeof(mtasts_event)`, set by the caller.
    pub size: usize,
    /// One of `MTASTS_POLICY_*`.
    pub policy_type: i32,
    /// 0 for a success, otherwise one of `MTASTS_RESULT_*`.
    pub result: i32,
    /// The MX host, closed by a NUL: a host name in A-labels and lower case, or one clean line if the MX record names
    /// something else.
    pub host: [c_char; MTASTS_HOST_SIZE],
    /// The address of the host, closed by a NUL; empty if there is none.
    pub address: [c_char; MTASTS_ADDRESS_SIZE],
    /// The address that the connection came from, closed by a NUL; empty if there is none.
    pub local_address: [c_char; MTASTS_ADDRESS_SIZE],
    /// The failure-reason-code, closed by a NUL; empty for a success. It begins with a token, as in `mtasts_decision`.
    pub reason_code: [c_char; MTASTS_REASON_SIZE],
    /// The policy domain, closed by a NUL: the recipient's domain, or under `MTASTS_POLICY_TLSA` the TLSA base domain.
    pub policy_domain: [c_char; MTASTS_HOST_SIZE],
}

// SAFETY: `repr(C)`, `size` first, no pointer.
unsafe impl Extensible for mtasts_event {
    const FIRST: usize = size_of::<usize>() + 4 + 4 + MTASTS_HOST_SIZE + 2 * MTASTS_ADDRESS_SIZE + MTASTS_REASON_SIZE;
}

/// Begins an attempt to deliver to one MX host. Create one for each host, and a new one for each further session with
/// the same host, such as at another of its addresses.
///
/// `host` is the name in the MX record, before any CNAME is followed, with or without a root dot. For a domain without
/// MX records it is the domain. A name that is not a host name (an IP address, an underscore, octets that are not
/// UTF-8) is not an error: the verdicts say what happens with such a host.
///
/// `out` receives the attempt. Free it with `mtasts_attempt_free`.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_new(
    answer: *const mtasts_answer,
    host: *const c_char,
    length: usize,
    out: *mut *mut mtasts_attempt,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, host, out) = unsafe { (handle(answer)?, any_name(host, length)?, place(out)?) };
        let attempt = Attempt::new(&answer.answer, MxName::from_mx(&host));
        *out = Box::into_raw(Box::new(mtasts_attempt::new(attempt)));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Decides what the MTA must do after this sight and all sights before it (RFC 8461 4, 5). Call it with
/// `MTASTS_SEEN_NAME` before you connect, then with what the EHLO reply, the STARTTLS reply or the TLS handshake
/// showed. Obey each verdict.
///
/// After a refusal (skip the host, or defer) every further verdict is that refusal, whatever is seen. If nothing is
/// enforced, mail is delivered, and the verdict keeps naming the first failure.
///
/// Returns `MTASTS_OK` with the verdict in `out`; or `MTASTS_E_ARGUMENT`, and the sight is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_saw(
    attempt: *mut mtasts_attempt,
    seen: *const mtasts_seen,
    out: *mut mtasts_decision,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (attempt, seen, out) = unsafe { (alive(attempt)?, what_was_seen(seen)?, Place::new(out, "out")?) };
        write_decision(out, &attempt.attempt.saw(seen));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Ends an attempt and says what a TLS report counts of it (RFC 8460 4): at most one event for each policy, a failure or
/// a success. Call it when the session is over or the host was skipped. The next call gives the event of another policy
/// that was looked at, which only an attempt of `mtasts_attempt_new_with_hosts` has, and then nothing.
///
/// * Under a policy: a failure if the host failed it, also by its name only; a success if its certificate was good;
///   nothing for a host that did not answer.
/// * If the policy could not be fetched or renewed: a session with a host that did not fail is a failure of the policy.
/// * Without a policy: a success if TLS was negotiated; a failure if STARTTLS was not offered or refused, or if the
///   handshake failed.
/// * Under TLSA records: a failure if they refused the host, or if none of them is usable; a success if the certificate
///   passed. The policy text for the report is then the records of `mtasts_attempt_record`.
///
/// `peer` may be NULL if there was no session.
///
/// Returns 1 with the event in `out`; 0 if there is nothing to count; or `MTASTS_E_ARGUMENT`, and the attempt
/// continues.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_finish(
    attempt: *mut mtasts_attempt,
    peer: *const mtasts_peer,
    out: *mut mtasts_event,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (attempt, peer, out) = unsafe { (alive(attempt)?, other_side(peer)?, Place::new(out, "out")?) };
        let event = attempt.attempt.finish(peer);
        if let Some(event) = &event {
            write_event(out, event);
        }
        Ok(i32::from(event.is_some()))
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Frees an attempt. NULL is allowed. An attempt that was not finished is not counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_free(attempt: *mut mtasts_attempt) {
    // SAFETY: the caller does not use it again.
    unsafe { free(attempt) }
}

/// # Safety
/// `attempt` is NULL, or one that was given out, that has not been freed and that no other thread uses.
pub(super) unsafe fn alive<'a>(attempt: *mut mtasts_attempt) -> Result<&'a mut mtasts_attempt, Fault> {
    // SAFETY: the caller's promise.
    unsafe { attempt.as_mut() }.ok_or_else(|| Fault::argument("a handle is NULL"))
}

/// # Safety
/// `seen` is NULL or points to an `mtasts_seen` whose size is set.
unsafe fn what_was_seen(seen: *const mtasts_seen) -> Result<Seen, Fault> {
    // SAFETY: the caller's promise.
    let seen = unsafe { read(seen, "seen")? };
    let reason = if seen.reason.is_null() {
        ""
    } else {
        // SAFETY: NUL-terminated, by the caller's promise.
        unsafe { text(seen.reason, MTASTS_NUL_TERMINATED, MAX_REASON)? }
    };
    let kind = SeenKind::from_number(seen.kind);
    Ok(
        match kind.ok_or_else(|| Fault::argument("seen.kind is none of MTASTS_SEEN_*"))? {
            SeenKind::Name => Seen::Name,
            SeenKind::StarttlsNotOffered => Seen::StarttlsNotOffered,
            SeenKind::StarttlsRefused => Seen::StarttlsRefused,
            SeenKind::HandshakeFailed => Seen::HandshakeFailed(reason.to_owned()),
            SeenKind::Certificate if seen.result == 0 => Seen::Certificate(Ok(())),
            SeenKind::Certificate => {
                let result = ResultType::from_number(seen.result);
                let result = result.ok_or_else(|| Fault::argument("seen.result is none of MTASTS_RESULT_*"))?;
                Seen::Certificate(Err(CertificateFailure::new(result, reason)))
            }
        },
    )
}

/// # Safety
/// `peer` is NULL or points to an `mtasts_peer` whose size is set and whose texts are NULL or NUL-terminated.
unsafe fn other_side(peer: *const mtasts_peer) -> Result<Peer, Fault> {
    if peer.is_null() {
        return Ok(Peer::default());
    }
    // SAFETY: the caller's promise.
    let peer = unsafe { read(peer, "peer")? };
    let channel = Channel::from_number(peer.channel);
    Ok(Peer {
        channel: channel.ok_or_else(|| Fault::argument("peer.channel is none of MTASTS_CHANNEL_*"))?,
        // SAFETY: the caller's promise.
        address: unsafe { address(peer.address)? },
        // SAFETY: the caller's promise.
        local_address: unsafe { address(peer.local_address)? },
    })
}

/// # Safety
/// `address` is NULL or NUL-terminated.
unsafe fn address(address: *const c_char) -> Result<Option<IpAddr>, Fault> {
    if address.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let written = unsafe { text(address, MTASTS_NUL_TERMINATED, MTASTS_ADDRESS_SIZE)? };
    let address = written.parse();
    address
        .map(Some)
        .map_err(|_| Fault::argument("an address of peer is not an IP address"))
}

fn write_event(out: Place<mtasts_event>, event: &ReportEvent) {
    let address = |address: Option<IpAddr>| address.map_or_else(String::new, |address| address.to_string());
    let mut told: mtasts_event = zeroed();
    told.policy_type = event.policy_type.number();
    told.result = event.result.map_or(0, ResultType::number);
    copy_text(&mut told.host, event.host.as_str());
    copy_text(&mut told.address, &address(event.address));
    copy_text(&mut told.local_address, &address(event.local_address));
    copy_text(&mut told.reason_code, &event.reason_code);
    copy_text(&mut told.policy_domain, event.domain.as_str());
    out.write(&told);
}
