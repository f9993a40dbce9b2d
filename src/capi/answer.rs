//! Answers for C.

use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use once_cell::race::OnceBox;

use super::{c_text, guard, handle, name};
use crate::protocol::policy::{Mode, Policy};
use crate::sender::answer::{Answer, Source};

/// The domain asks for nothing: it has no policy that counts, or one of mode none.
pub const MTASTS_MODE_NONE: i32 = 0;
/// A host that fails the policy is used all the same, and reported. Also where the policy says enforce, but the operator
/// has made an exception for the domain (the setting `exceptions`).
pub const MTASTS_MODE_TESTING: i32 = 1;
/// A host that fails the policy is not used.
pub const MTASTS_MODE_ENFORCE: i32 = 2;

/// The policy was fetched for this answer.
pub const MTASTS_SOURCE_FRESH: i32 = 1;
/// The policy was in the cache, and is current as far as it must be known.
pub const MTASTS_SOURCE_CACHED: i32 = 2;
/// The policy was in the cache, and its refresh failed: it counts all the same.
pub const MTASTS_SOURCE_CACHED_AFTER_FAILURE: i32 = 3;
/// The domain has no policy.
pub const MTASTS_SOURCE_NO_POLICY: i32 = 4;
/// It could not be learnt whether the domain has a policy or what it says, and the cache holds none. Mail flows, unless
/// `mtasts_answer_defer_until` says until when it waits.
pub const MTASTS_SOURCE_COULD_NOT_LEARN: i32 = 5;

/// The answer of a lookup. It never changes, and any number of threads may read it at once. All texts that it lends are
/// UTF-8 on one line, closed by a NUL, free of control characters, and live as long as it does.
pub struct mtasts_answer {
    pub(super) answer: Arc<Answer>,
    texts: Texts,
}

/// What an answer lends out as text; each is made when it is first asked for.
#[derive(Default)]
struct Texts {
    domain: OnceBox<CString>,
    id: OnceBox<CString>,
    detail: OnceBox<CString>,
    warning: OnceBox<CString>,
    explanation: OnceBox<CString>,
}

impl mtasts_answer {
    pub(super) fn give(answer: Arc<Answer>) -> *mut Self {
        Box::into_raw(Box::new(Self {
            answer,
            texts: Texts::default(),
        }))
    }
}

/// Reads a number off an answer; `missing` where it is NULL.
///
/// # Safety
/// `answer` is NULL or alive.
unsafe fn number<T>(answer: *const mtasts_answer, missing: T, read: impl FnOnce(&Answer) -> T) -> T {
    // SAFETY: the caller's promise.
    match unsafe { answer.as_ref() } {
        Some(answer) => super::quietly(|| read(&answer.answer)).unwrap_or(missing),
        None => missing,
    }
}

/// Lends a text of an answer; an empty one where it is NULL.
///
/// # Safety
/// `answer` is NULL or alive.
unsafe fn lent(
    answer: *const mtasts_answer,
    place: impl FnOnce(&Texts) -> &OnceBox<CString>,
    read: impl FnOnce(&Answer) -> Cow<'_, str>,
) -> *const c_char {
    let lend = |answer: &mtasts_answer| {
        let make = || Box::new(c_text(&read(&answer.answer)));
        place(&answer.texts).get_or_init(make).as_ptr()
    };
    // SAFETY: the caller's promise.
    let text = unsafe { answer.as_ref() }.and_then(|answer| super::quietly(|| lend(answer)));
    text.unwrap_or(c"".as_ptr())
}

/// What the domain asks for: one of `MTASTS_MODE_*`. `MTASTS_MODE_NONE` also where there is no policy or `answer` is NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_mode(answer: *const mtasts_answer) -> i32 {
    let mode = |answer: &Answer| match answer.mode() {
        Mode::None => MTASTS_MODE_NONE,
        Mode::Testing => MTASTS_MODE_TESTING,
        Mode::Enforce => MTASTS_MODE_ENFORCE,
    };
    // SAFETY: the caller's promise.
    unsafe { number(answer, MTASTS_MODE_NONE, mode) }
}

/// Where the answer came from: one of `MTASTS_SOURCE_*`; 0 where `answer` is NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_source(answer: *const mtasts_answer) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.source() as i32) }
}

/// The policy domain, in A-labels and lower case. Never NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_domain(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { lent(answer, |texts| &texts.domain, |answer| answer.domain().as_str().into()) }
}

/// The id of the policy: 1 to 32 letters and digits, or an empty text where there is no policy. Never NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_id(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        lent(
            answer,
            |texts| &texts.id,
            |answer| answer.held().map_or("", |held| held.id.as_str()).into(),
        )
    }
}

/// When the policy was fetched, in Unix seconds; 0 where there is none.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_fetched(answer: *const mtasts_answer) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.held().map_or(0, |held| held.fetched)) }
}

/// The last second at which the policy counts, in Unix seconds; 0 where there is none.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_expires(answer: *const mtasts_answer) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.held().map_or(0, |held| held.expires())) }
}

/// Until when mail must wait, in Unix seconds, because nothing could be learnt of the domain and the setting
/// `first_contact_defer` asks for patience; 0 where it need not. `mtasts_verdict` minds it.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_defer_until(answer: *const mtasts_answer) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.defer_until().unwrap_or(0)) }
}

/// How many MX patterns the policy has; 0 where there is none.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_mx_count(answer: *const mtasts_answer) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        number(answer, 0, |answer| {
            answer.policy().map_or(0, |policy| policy.mx().len())
        })
    }
}

/// The MX pattern of this index, counted from 0: a host name, or `*.` and one, in lower case. NULL past the last.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_mx(answer: *const mtasts_answer, index: usize) -> *const c_char {
    let pattern = |policy: &Policy| {
        policy
            .mx_with_nul(index)
            .map_or(ptr::null(), |text| text.as_ptr().cast())
    };
    // SAFETY: the caller's promise; the text is part of the policy, which the answer keeps.
    unsafe {
        number(answer, ptr::null(), |answer| {
            answer.policy().map_or(ptr::null(), pattern)
        })
    }
}

/// The policy text as the policy host sent it, for the policy-string of a report (RFC 8460 4.5). Not closed by a NUL: its
/// octets are counted in `length`. Attacker's text: escape it before it goes anywhere. NULL where there is no policy.
///
/// # Safety
/// `answer` is NULL or alive; `length` is NULL or points to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_policy_text(answer: *const mtasts_answer, length: *mut usize) -> *const c_char {
    let text = |answer: &Answer| answer.held().map(|held| (held.text.as_ptr().cast(), held.text.len()));
    // SAFETY: the caller's promise; the text is part of the answer.
    let (text, octets) = unsafe { number(answer, None, text) }.unwrap_or((ptr::null(), 0));
    // SAFETY: the caller's promise.
    if let Some(length) = unsafe { length.as_mut() } {
        *length = octets;
    }
    text
}

/// The result type of what stood in the way of a current policy (`sts-policy-fetch-error` 301, `sts-policy-invalid` 302,
/// `sts-webpki-invalid` 303), or 0 where nothing did or it is not to be reported.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_result(answer: *const mtasts_answer) -> i32 {
    let result = |answer: &Answer| answer.failure().and_then(|f| f.result).map_or(0, |r| r as i32);
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, result) }
}

/// What stood in the way of a current policy, or why there is none, in plain words; empty where nothing did. Never NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_detail(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        lent(
            answer,
            |texts| &texts.detail,
            |answer| answer.failure().map_or("", |failure| &failure.detail).into(),
        )
    }
}

/// What is wrong with the cache on this host, in plain words; empty where nothing is. Never NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_warning(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        lent(
            answer,
            |texts| &texts.warning,
            |answer| answer.warning().unwrap_or_default().into(),
        )
    }
}

/// The whole answer in one sentence for a log. Never NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_explanation(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { lent(answer, |texts| &texts.explanation, |answer| answer.explain().into()) }
}

/// Whether a pattern of the policy allows this MX host (RFC 8461 4.1): the name in the MX record, before any CNAME; the
/// domain itself where it has no MX record. `length` counts the octets of `host`, or is `MTASTS_NUL_TERMINATED`.
///
/// Returns 1 or 0 (0 also where there is no policy), `MTASTS_E_ARGUMENT`, or `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` for
/// what is no host name: no pattern allows that.
///
/// # Safety
/// `answer` is NULL or alive; `host` is NULL or has `length` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_allows(answer: *const mtasts_answer, host: *const c_char, length: usize) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, host) = unsafe { (handle(answer)?, name(host, length)?) };
        Ok(i32::from(
            answer.answer.policy().is_some_and(|policy| policy.allows(&host)),
        ))
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Whether a host that fails the policy gets no mail: 1 if the mode is `MTASTS_MODE_ENFORCE`, else 0. A session with an MX
/// host then needs TLS with a certificate that passes. 0 also if `answer` is NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_enforces(answer: *const mtasts_answer) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| i32::from(answer.enforces())) }
}

/// Whether a policy asks anything of the MX hosts: 1 if the mode is `MTASTS_MODE_ENFORCE` or `MTASTS_MODE_TESTING`, else 0.
/// If not, no host is judged. 0 also if `answer` is NULL.
///
/// # Safety
/// `answer` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_applies(answer: *const mtasts_answer) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| i32::from(answer.applies())) }
}

/// Whether two answers for a domain, such as one before and one of `mtasts_recheck`, say the same: the mode, the id and the
/// MX patterns. When the policy was fetched does not count, because a refresh changes that each day. If they differ, mail
/// that was refused under one of them deserves another attempt before it is bounced (RFC 8461 5).
///
/// Returns 1 or 0, or `MTASTS_E_ARGUMENT` if one of them is NULL.
///
/// # Safety
/// `answer` and `other` are NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_is_same_policy(
    answer: *const mtasts_answer,
    other: *const mtasts_answer,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, other) = unsafe { (handle(answer)?, handle(other)?) };
        Ok(i32::from(answer.answer.is_same_policy(&other.answer)))
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Frees an answer and all that it lent. NULL is fine.
///
/// # Safety
/// `answer` is NULL or alive, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_free(answer: *mut mtasts_answer) {
    if !answer.is_null() {
        // SAFETY: it came from Box::into_raw, and the caller gives it up.
        drop(unsafe { Box::from_raw(answer) });
    }
}

const _: () = assert!(MTASTS_SOURCE_FRESH == Source::Fresh as i32);
const _: () = assert!(MTASTS_SOURCE_CACHED == Source::Cached as i32);
const _: () = assert!(MTASTS_SOURCE_CACHED_AFTER_FAILURE == Source::CachedAfterFailure as i32);
const _: () = assert!(MTASTS_SOURCE_NO_POLICY == Source::NoPolicy as i32);
const _: () = assert!(MTASTS_SOURCE_COULD_NOT_LEARN == Source::CouldNotLearn as i32);
