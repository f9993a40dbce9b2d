//! What becomes of the events of attempts, for C: the journal and the collector for TLS reports.

use std::ffi::c_char;

use super::attempt::{alive, mtasts_attempt};
use super::context::{mtasts_context, patience};
use super::error::{Fault, guard, mtasts_error};
use super::{OK, any_name, copy_text, handle, name};
use crate::protocol::words::Status;

/// A buffer of this size has room for every record that `mtasts_tlsrpt_record` gives, in octets. The closing NUL is
/// included.
pub const MTASTS_TLSRPT_RECORD_SIZE: usize = 1536;

/// What `mtasts_tlsrpt_report` returns if the events are lost.
const LOST: i32 = 1;

/// Looks up the record by which a domain asks for TLS reports: the TXT record at `_smtp._tls.DOMAIN` (RFC 8460 3). It
/// waits for DNS up to `timeout_ms`, and five seconds at most; 0 means those. What DNS said is remembered for the
/// TTL.
///
/// `domain` is the mail domain. `buffer` receives the record, closed by a NUL: as the domain wrote it, or only what a
/// report can be sent to, if the record names anything else. `size` is the size of `buffer`, at least
/// `MTASTS_TLSRPT_RECORD_SIZE`.
///
/// Returns 1 with the record; 0 if the domain asks for no reports; `MTASTS_E_UNAVAILABLE` if DNS did not say, which
/// means nothing for the mail; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_tlsrpt_record(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    timeout_ms: u32,
    buffer: *mut c_char,
    size: usize,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, domain) = unsafe { (handle(context)?, name(domain, length)?) };
        if buffer.is_null() || size < MTASTS_TLSRPT_RECORD_SIZE {
            return Err(Fault::argument(
                "buffer is NULL or smaller than MTASTS_TLSRPT_RECORD_SIZE",
            ));
        }
        let asked = context.context.report_record(&domain, patience(timeout_ms));
        let record = asked.map_err(|e| Fault::new(Status::Unavailable, e.to_string()))?;
        // SAFETY: `size` octets that are the caller's, of which these are enough.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, MTASTS_TLSRPT_RECORD_SIZE) };
        copy_text(buffer, record.as_ref().map_or("", |record| record.text()));
        Ok(i32::from(record.is_some()))
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Says which mail a session carries, before `mtasts_attempt_finish`. A session in which a TLS report is sent (from the
/// setting `tlsrpt_sender`), or a mail with `TLS-Required: No` (RFC 8689), then has no events: a report about a
/// report would cause the next one. Call it once for each mail of the session.
///
/// `sender` is the envelope sender, `tls_required` the value of the header field `TLS-Required`. Either may be empty,
/// and neither has to be UTF-8. Nothing of them is kept.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_tlsrpt_mail(
    context: *const mtasts_context,
    attempt: *mut mtasts_attempt,
    sender: *const c_char,
    sender_length: usize,
    tls_required: *const c_char,
    tls_required_length: usize,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, attempt) = unsafe { (handle(context)?, alive(attempt)?) };
        // SAFETY: the caller's promises.
        let (sender, tls_required) = unsafe {
            (
                any_name(sender, sender_length)?,
                any_name(tls_required, tls_required_length)?,
            )
        };
        attempt.attempt.carries(&context.context, &sender, &tls_required);
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Hands the events that `mtasts_attempt_finish` has given of this attempt over to what makes TLS reports, as the
/// settings `tlsrpt_journal` and `tlsrpt_socket` say. By default neither is set, and the call does nothing. The
/// events of one session are handed over in one piece: call this once, after `mtasts_attempt_finish` has returned 0.
/// What was handed over, or lost, is not handed over again.
///
/// With `tlsrpt_socket` DNS is asked for the record of the mail domain, up to `timeout_ms` and five seconds at most.
/// Otherwise the call waits for nothing. It leaves no thread, no descriptor and no memory behind, and may be made in
/// a child that the program has forked. In a process of root a child that has become another user does the work.
///
/// A session in which a TLS report was sent, or a mail with `TLS-Required: No`, is not for it: `mtasts_tlsrpt_mail`.
///
/// Returns `MTASTS_OK`; 1 if events were lost, which was counted in `cache_dir` and means nothing for the mail; or
/// `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_tlsrpt_report(
    context: *const mtasts_context,
    attempt: *mut mtasts_attempt,
    timeout_ms: u32,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, attempt) = unsafe { (handle(context)?, alive(attempt)?) };
        let handed = attempt.attempt.report(&context.context, patience(timeout_ms));
        Ok(if handed.is_ok() { OK } else { LOST })
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}
