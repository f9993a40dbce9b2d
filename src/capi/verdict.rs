//! The verdict on an MX host for C.

use std::ffi::c_char;

use super::answer::mtasts_answer;
use super::error::{Fault, guard, mtasts_error};
use super::extensible::{Extensible, Place, read, zeroed};
use super::{MTASTS_NUL_TERMINATED, OK, copy_text, handle, name, text};
use crate::protocol::certificate::CertificateFailure;
use crate::protocol::words::{Action, ResultType, SeenKind};
use crate::sender::verdict::{NoHost, Seen, Verdict, verdict, verdict_without_host};

/// The size of a reason in `mtasts_decision` and `mtasts_check`, in octets. The closing NUL is included.
pub const MTASTS_REASON_SIZE: usize = 508;
/// The size of the sentence in `mtasts_decision`, in octets. The closing NUL is included.
pub const MTASTS_SENTENCE_SIZE: usize = 1540;
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

/// A verdict: what to do with an MX host. An extensible struct: set `size` before the call.
#[repr(C)]
pub struct mtasts_decision {
    /// `sizeof(mtasts_decision)`, set by the caller.
    pub size: usize,
    /// One of `MTASTS_ACTION_*`.
    pub action: i32,
    /// The result type for a TLS report, one of `MTASTS_RESULT_*`, or 0 if there is nothing to report.
    pub result: i32,
    /// The failure-reason-code for the report, closed by a NUL. Empty if there is nothing to report. Up to its first
    /// colon it is a token for log watchers, listed in docs/log.md (installed in PREFIX/share/doc/libmtasts).
    pub reason_code: [c_char; MTASTS_REASON_SIZE],
    /// One line for the log: what is wrong and what to do about it. Closed by a NUL.
    pub sentence: [c_char; MTASTS_SENTENCE_SIZE],
}

// SAFETY: `repr(C)`, `size` first, no pointer.
unsafe impl Extensible for mtasts_decision {
    const FIRST: usize = size_of::<usize>() + 4 + 4 + MTASTS_REASON_SIZE + MTASTS_SENTENCE_SIZE;
}

/// 1 if mail may go to the host (`MTASTS_ACTION_DELIVER`, `MTASTS_ACTION_DELIVER_AND_REPORT`), otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_action_delivers(action: i32) -> i32 {
    i32::from(Action::from_number(action).is_some_and(Action::delivers))
}

/// 1 if the mail has to wait and no other host of the domain may be tried now (`MTASTS_ACTION_DEFER`), otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn mtasts_action_defers(action: i32) -> i32 {
    i32::from(Action::from_number(action).is_some_and(Action::defers))
}

/// Decides what the MTA must do with an MX host, by the policy and by one sight only (RFC 8461 4, 5). An
/// `mtasts_attempt` decides by all that was seen of a host.
///
/// Call it before you connect (`MTASTS_SEEN_NAME`), and again after EHLO or the TLS handshake. If no host is left, call
/// it once more for the sentence (`MTASTS_SEEN_NO_HOST_LEFT`).
///
/// `host` is the name in the MX record, before any CNAME is followed. For a domain without MX records it is the domain.
///
/// Returns `MTASTS_OK` with the verdict in `out`; `MTASTS_E_ARGUMENT`; or `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` if
/// `host` is not a host name: under a policy in mode enforce, send nothing to it.
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
        let (answer, host, sight) = unsafe { (handle(answer)?, name(host, length)?, read(seen, "seen")?) };
        // SAFETY: the caller's promise.
        let place = unsafe { Place::new(out, "out")? };
        let decided = match SeenKind::from_number(sight.kind) {
            Some(SeenKind::NoHostLeft) => verdict_without_host(&answer.answer, NoHost::Left, &[]),
            // SAFETY: the caller's promise.
            _ => verdict(&answer.answer, &host.into(), &unsafe { what_was_seen(seen)? }),
        };
        write_decision(place, &decided);
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

pub(super) fn write_decision(place: Place<mtasts_decision>, decided: &Verdict) {
    let mut told: mtasts_decision = zeroed();
    told.action = decided.action.number();
    told.result = decided.result.map_or(0, ResultType::number);
    copy_text(&mut told.reason_code, &decided.reason_code);
    copy_text(&mut told.sentence, &decided.sentence);
    place.write(&told);
}

/// # Safety
/// `seen` is NULL or points to an `mtasts_seen` whose size is set.
pub(super) unsafe fn what_was_seen(seen: *const mtasts_seen) -> Result<Seen, Fault> {
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
            SeenKind::NoHostLeft => return Err(Fault::argument("seen.kind is not about a host")),
        },
    )
}
