//! The verdict on an MX host, and on a mail without one, for C.

use std::ffi::c_char;
use std::ptr;

use super::answer::mtasts_answer;
use super::error::{Fault, guard, mtasts_error};
use super::extensible::{Extensible, Place, zeroed};
use super::{MTASTS_NUL_TERMINATED, OK, any_name, copy_text, handle};
use crate::protocol::mx_name::MxName;
use crate::protocol::words::{Action, NoHost, ResultType};
use crate::sender::verdict::{Verdict, verdict_without_host};

/// The size of a reason in `mtasts_decision` and `mtasts_check`, in octets. The closing NUL is included.
pub const MTASTS_REASON_SIZE: usize = 508;
/// The size of the sentence in `mtasts_decision`, in octets. The closing NUL is included.
pub const MTASTS_SENTENCE_SIZE: usize = 1540;

/// The most MX hosts that are read; no domain has so many.
pub(super) const MAX_HOSTS: usize = 10_000;

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

/// Decides about a mail for which there is no MX host. `why` is one of `MTASTS_NO_HOST_*`.
///
/// If every host was skipped (`MTASTS_NO_HOST_LEFT`) and the policy is enforced, the mail waits. If DNS denies the MX
/// hosts that an enforced policy lists (NXDOMAIN, NODATA, null MX), one of the two is wrong, and the DNS answer is the
/// one that can be forged: the mail waits, and the sentence says what contradicts what. NODATA is no contradiction if
/// the policy lists the domain itself. If DANE refused a host (`mtasts_verdict_without_host_of`), the mail waits also
/// without a policy. In all other cases the action is one that delivers: do what you do without
/// MTA-STS, for example bounce mail to a domain that does not exist. None of this is an event for a report.
///
/// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_verdict_without_host(
    answer: *const mtasts_answer,
    why: i32,
    out: *mut mtasts_decision,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, out) = unsafe { (handle(answer)?, Place::new(out, "out")?) };
        let why = NoHost::from_number(why);
        let why = why.ok_or_else(|| Fault::argument("why is none of MTASTS_NO_HOST_*"))?;
        write_decision(out, &verdict_without_host(&answer.answer, why, &[]));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The same as `mtasts_verdict_without_host`, and the sentence names the MX hosts that DNS gave, since a bounce may be
/// all that its reader sees.
///
/// `hosts` has `count` names as in the MX records, closed by a NUL. Each of `reason_codes` is the `reason_code` of the
/// decision that refused the host of the same place, or NULL; `reason_codes` itself may be NULL. Nothing of them is
/// kept.
/// With `MTASTS_NO_HOST_NOT_LISTED`, if the policy lists one of the hosts, the verdict is that of `MTASTS_NO_HOST_LEFT`.
///
/// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_verdict_without_host_of(
    answer: *const mtasts_answer,
    why: i32,
    hosts: *const *const c_char,
    reason_codes: *const *const c_char,
    count: usize,
    out: *mut mtasts_decision,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, out) = unsafe { (handle(answer)?, Place::new(out, "out")?) };
        let why = NoHost::from_number(why);
        let why = why.ok_or_else(|| Fault::argument("why is none of MTASTS_NO_HOST_*"))?;
        if count > MAX_HOSTS || (hosts.is_null() && count > 0) {
            return Err(Fault::argument("hosts is NULL, or count is too large"));
        }
        let given = (0..count).map(|index| {
            // SAFETY: the caller's promise: `count` pointers, each to a text.
            let host = unsafe { any_name(*hosts.add(index), MTASTS_NUL_TERMINATED)? };
            let reason = if reason_codes.is_null() {
                ptr::null()
            } else {
                // SAFETY: as above.
                unsafe { *reason_codes.add(index) }
            };
            let reason = if reason.is_null() {
                String::new()
            } else {
                // SAFETY: as above.
                unsafe { any_name(reason, MTASTS_NUL_TERMINATED)? }.into_owned()
            };
            Ok((MxName::from_mx(&host), reason))
        });
        let given: Vec<_> = given.collect::<Result<_, Fault>>()?;
        write_decision(out, &verdict_without_host(&answer.answer, why, &given));
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
