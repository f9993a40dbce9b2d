//! Attempts for C: one MX host, what was seen there, and what a report counts of it.

use std::borrow::Cow;
use std::ffi::c_char;
use std::net::IpAddr;

use super::answer::mtasts_answer;
use super::check::{decision, mtasts_decision, mtasts_seen, what_was_seen, write_decision};
use super::{
    Fault, MAX_NAME_TEXT, MTASTS_NUL_TERMINATED, MTASTS_OK, MTASTS_REASON_SIZE, copy_text, guard, handle, mtasts_error,
    text,
};
use crate::protocol::mx_name::MxName;
use crate::protocol::report::{PolicyType, ReportEvent};
use crate::sender::attempt::{Attempt, Channel, Peer};
use crate::sender::verdict::{NoHost, verdict_without_host};

/// There was no session: the host was passed over by its name, or did not answer.
pub const MTASTS_CHANNEL_NONE: i32 = 0;
/// The session went on in clear.
pub const MTASTS_CHANNEL_CLEAR: i32 = 1;
/// The session went on under TLS, whether or not the certificate is good.
pub const MTASTS_CHANNEL_TLS: i32 = 2;

/// An event under an MTA-STS policy: `sts` in a report.
pub const MTASTS_POLICY_STS: i32 = 2;
/// An event of a domain without a policy, or with one of mode none: `no-policy-found` in a report.
pub const MTASTS_POLICY_NONE: i32 = 9;

/// There are MX hosts, and each was tried or passed over.
pub const MTASTS_NO_HOST_LEFT: i32 = 0;
/// The MX lookup says that the domain does not exist (NXDOMAIN).
pub const MTASTS_NO_HOST_NXDOMAIN: i32 = 1;
/// The MX lookup says that the domain has no MX record (NODATA).
pub const MTASTS_NO_HOST_NODATA: i32 = 2;
/// The one MX record is `.`: the domain takes no mail (RFC 7505).
pub const MTASTS_NO_HOST_NULL_MX: i32 = 3;

/// The size of the name of an MX host in an `mtasts_event`, with its NUL.
pub const MTASTS_HOST_SIZE: usize = 256;
/// The size of an IP address in an `mtasts_event`, with its NUL.
pub const MTASTS_ADDRESS_SIZE: usize = 46;

/// One attempt to deliver to one MX host. It remembers what was seen there. It keeps its answer alive, so the answer may be
/// freed before it. One thread at a time may use an attempt; different attempts are independent. It has no descriptor, no
/// thread and no lock: a child of `fork` may go on with its copy and must free it, which changes nothing for the parent.
pub struct mtasts_attempt {
    attempt: Attempt,
}

/// The other side of a session, for the report. The caller's own; set `size` to `sizeof(mtasts_peer)`.
#[repr(C)]
pub struct mtasts_peer {
    /// `sizeof(mtasts_peer)`, set by the caller.
    pub size: usize,
    /// One of `MTASTS_CHANNEL_*`: how far the session came.
    pub channel: i32,
    /// The IP address of the host as text, NUL-terminated, without brackets and zone; may be NULL.
    pub address: *const c_char,
    /// The IP address that the connection came from, likewise; may be NULL.
    pub local_address: *const c_char,
}

/// What a report counts of one session (RFC 8460 4.4). The caller's own; set `size` to `sizeof(mtasts_event)` before the
/// call. The policy's text and its patterns are those of the answer, if its mode is not `MTASTS_MODE_NONE`; else none.
#[repr(C)]
pub struct mtasts_event {
    /// `sizeof(mtasts_event)`, set by the caller.
    pub size: usize,
    /// `MTASTS_POLICY_STS` or `MTASTS_POLICY_NONE`.
    pub policy_type: i32,
    /// 0 for a success, else the result type of the failure (RFC 8460 4.3).
    pub result: i32,
    /// The MX host, closed by a NUL: a host name in A-labels and lower case, or one clean line if the MX record names
    /// something else.
    pub host: [c_char; MTASTS_HOST_SIZE],
    /// The address of the host, closed by a NUL; empty if there is none.
    pub address: [c_char; MTASTS_ADDRESS_SIZE],
    /// The address that the connection came from, closed by a NUL; empty if there is none.
    pub local_address: [c_char; MTASTS_ADDRESS_SIZE],
    /// The failure-reason-code, closed by a NUL; empty for a success.
    pub reason_code: [c_char; MTASTS_REASON_SIZE],
}

const _: () = assert!(MTASTS_CHANNEL_NONE == Channel::None as i32);
const _: () = assert!(MTASTS_CHANNEL_CLEAR == Channel::Clear as i32);
const _: () = assert!(MTASTS_CHANNEL_TLS == Channel::Tls as i32);
const _: () = assert!(MTASTS_POLICY_STS == PolicyType::Sts as i32);
const _: () = assert!(MTASTS_POLICY_NONE == PolicyType::NoPolicyFound as i32);
const _: () = assert!(MTASTS_NO_HOST_LEFT == NoHost::Left as i32);
const _: () = assert!(MTASTS_NO_HOST_NXDOMAIN == NoHost::NxDomain as i32);
const _: () = assert!(MTASTS_NO_HOST_NODATA == NoHost::NoData as i32);
const _: () = assert!(MTASTS_NO_HOST_NULL_MX == NoHost::NullMx as i32);

/// Begins an attempt to deliver to one MX host. Make one for each host, and a new one for each further session with the
/// same host, such as at another of its addresses.
///
/// `host` is the name in the MX record, before any CNAME, with or without a root dot; if the domain has no MX record it is
/// the domain itself. `length` counts its octets, or is `MTASTS_NUL_TERMINATED`. A name that is not a host name (an IP
/// address, an underscore, octets that are not UTF-8) is no error: the verdicts say what happens with such a host.
///
/// Returns `MTASTS_OK` with the attempt in `out`, to be freed with `mtasts_attempt_free`; or `MTASTS_E_ARGUMENT`.
///
/// # Safety
/// `answer` is NULL or alive; `host` is NULL or has `length` octets; `out` is NULL or points to a pointer; `error` is NULL
/// or points to an `mtasts_error` whose size is set.
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
        let (answer, host, out) = unsafe { (handle(answer)?, mx_name(host, length)?, out.as_mut()) };
        let out = out.ok_or_else(|| Fault::argument("out is NULL"))?;
        let attempt = Attempt::new(&answer.answer, host);
        *out = Box::into_raw(Box::new(mtasts_attempt { attempt }));
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Says what the MTA must do after this sight and all before it. Show it `MTASTS_SEEN_NAME` before you connect, then what
/// the EHLO reply, the STARTTLS reply or the TLS handshake showed; obey each verdict.
///
/// After a refusal (skip the host, or defer) every further verdict is that refusal, whatever is seen. If nothing is
/// enforced, mail is delivered, and the verdict keeps naming the first failure.
///
/// `seen.kind` is one of `MTASTS_SEEN_*` but `MTASTS_SEEN_NO_HOST_LEFT`, for which there is
/// `mtasts_verdict_without_host`.
///
/// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`; then the sight does not count.
///
/// # Safety
/// `attempt` is NULL or alive and not in use by another thread; `seen` is NULL or points to an `mtasts_seen` whose size is
/// set; `out` is NULL or points to an `mtasts_decision` whose size is set; `error` is NULL or points to an `mtasts_error`
/// whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_saw(
    attempt: *mut mtasts_attempt,
    seen: *const mtasts_seen,
    out: *mut mtasts_decision,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (attempt, seen, out) = unsafe { (alive(attempt)?, what_was_seen(seen)?, decision(out)?) };
        write_decision(out, &attempt.attempt.saw(seen));
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Ends an attempt: what a TLS report counts of it (RFC 8460 4), at most one event for each attempt, a failure or a
/// success. Call it when the session is over, or when the host was passed over; never twice, since the second call gives
/// nothing.
///
/// * Under a policy: a failure if the host failed it, also by its name alone; a success if its certificate was good;
///   nothing for a host that did not answer.
/// * If the policy could not be fetched or renewed, a session with a host that did not fail is a failure of the policy.
/// * Without a policy: a success if TLS came about; a failure if STARTTLS was not offered or refused, or the handshake
///   failed.
///
/// `peer` may be NULL if there was no session.
///
/// Returns 1 with the event in `out`; 0 if there is nothing to count; or `MTASTS_E_ARGUMENT`, and the attempt goes on.
///
/// # Safety
/// `attempt` is NULL or alive and not in use by another thread; `peer` is NULL or points to an `mtasts_peer` whose size is
/// set and whose texts are NULL or NUL-terminated; `out` is NULL or points to an `mtasts_event` whose size is set; `error`
/// is NULL or points to an `mtasts_error` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_finish(
    attempt: *mut mtasts_attempt,
    peer: *const mtasts_peer,
    out: *mut mtasts_event,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (attempt, peer, out) = unsafe { (alive(attempt)?, other_side(peer)?, out.as_mut()) };
        let out = out.filter(|out| out.size == size_of::<mtasts_event>());
        let out = out.ok_or_else(|| Fault::argument("out is NULL or of another size"))?;
        let event = attempt.attempt.finish(peer);
        if let Some(event) = &event {
            write_event(out, event);
        }
        Ok(i32::from(event.is_some()))
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Frees an attempt. NULL is fine. An attempt that was not finished counts nowhere.
///
/// # Safety
/// `attempt` is NULL or alive, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_attempt_free(attempt: *mut mtasts_attempt) {
    if !attempt.is_null() {
        // SAFETY: it came from Box::into_raw, and the caller gives it up.
        drop(unsafe { Box::from_raw(attempt) });
    }
}

/// Decides about a mail for which there is no MX host. `why` is one of `MTASTS_NO_HOST_*`.
///
/// If every host was passed over (`MTASTS_NO_HOST_LEFT`) and the policy is enforced, the mail waits. If DNS denies the MX
/// hosts that an enforced policy lists (NXDOMAIN, NODATA, null MX), one of the two is wrong, and the answer of DNS is the
/// one that can be forged: the mail waits, and the sentence says which contradicts which. NODATA is no contradiction if
/// the policy lists the domain itself. In all other cases the action is one of the two that deliver: do what you do
/// without MTA-STS, such as to bounce mail to a domain that does not exist. None of this is an event for a report.
///
/// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`.
///
/// # Safety
/// `answer` is NULL or alive; `out` is NULL or points to an `mtasts_decision` whose size is set; `error` is NULL or points
/// to an `mtasts_error` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_verdict_without_host(
    answer: *const mtasts_answer,
    why: i32,
    out: *mut mtasts_decision,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, out) = unsafe { (handle(answer)?, decision(out)?) };
        let all = [NoHost::Left, NoHost::NxDomain, NoHost::NoData, NoHost::NullMx];
        let why = all.into_iter().find(|known| *known as i32 == why);
        let why = why.ok_or_else(|| Fault::argument("why is none of MTASTS_NO_HOST_*"))?;
        write_decision(out, &verdict_without_host(&answer.answer, why));
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Reads the name of an MX host, whatever it is.
///
/// # Safety
/// As `text`.
unsafe fn mx_name(host: *const c_char, length: usize) -> Result<MxName, Fault> {
    if host.is_null() {
        return Err(Fault::argument("host is NULL"));
    }
    let length = match length {
        // SAFETY: the caller's promise. strnlen stops at the NUL or at the bound, whatever stands there.
        MTASTS_NUL_TERMINATED => unsafe { libc::strnlen(host, MAX_NAME_TEXT) },
        length => length.min(MAX_NAME_TEXT),
    };
    // SAFETY: `length` octets are there, by the caller's promise or because strnlen has seen them.
    let octets = unsafe { std::slice::from_raw_parts(host.cast::<u8>(), length) };
    let name: Cow<'_, str> = String::from_utf8_lossy(octets);
    Ok(MxName::from_mx(&name))
}

/// # Safety
/// `attempt` is NULL, or one that was given out, that has not been freed and that no other thread uses.
unsafe fn alive<'a>(attempt: *mut mtasts_attempt) -> Result<&'a mut mtasts_attempt, Fault> {
    // SAFETY: the caller's promise.
    unsafe { attempt.as_mut() }.ok_or_else(|| Fault::argument("a handle is NULL"))
}

/// # Safety
/// `peer` is NULL or points to an `mtasts_peer` whose size is set and whose texts are NULL or NUL-terminated.
unsafe fn other_side(peer: *const mtasts_peer) -> Result<Peer, Fault> {
    if peer.is_null() {
        return Ok(Peer::default());
    }
    // SAFETY: the caller's promise.
    let peer = unsafe { peer.as_ref() }.filter(|peer| peer.size == size_of::<mtasts_peer>());
    let peer = peer.ok_or_else(|| Fault::argument("peer is of another size"))?;
    let all = [Channel::None, Channel::Clear, Channel::Tls];
    let channel = all.into_iter().find(|known| *known as i32 == peer.channel);
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

fn write_event(out: &mut mtasts_event, event: &ReportEvent) {
    let address = |address: Option<IpAddr>| address.map_or_else(String::new, |address| address.to_string());
    out.policy_type = event.policy_type as i32;
    out.result = event.result.map_or(0, |result| result as i32);
    copy_text(&mut out.host, event.host.as_str());
    copy_text(&mut out.address, &address(event.address));
    copy_text(&mut out.local_address, &address(event.local_address));
    copy_text(&mut out.reason_code, &event.reason_code);
}
