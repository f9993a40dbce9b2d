//! Answers for C.

use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use once_cell::race::OnceBox;

use super::error::guard;
use super::{c_text, free, handle, name};
use crate::protocol::policy::{Mode, Policy};
use crate::protocol::words::ResultType;
use crate::sender::answer::Answer;
use crate::sys::quiet::quietly;

/// The answer of a lookup. It never changes, any number of threads may read it at the same time, and it may outlive its
/// context. All texts that it lends are valid as long as the answer.
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
    policy_key: OnceBox<CString>,
}

impl mtasts_answer {
    pub(super) fn give(answer: Arc<Answer>) -> *mut Self {
        Box::into_raw(Box::new(Self {
            answer,
            texts: Texts::default(),
        }))
    }
}

/// Reads a number of an answer; `missing` if the answer is NULL.
///
/// # Safety
/// `answer` is NULL or alive.
unsafe fn number<T>(answer: *const mtasts_answer, missing: T, read: impl FnOnce(&Answer) -> T) -> T {
    // SAFETY: the caller's promise.
    match unsafe { answer.as_ref() } {
        Some(answer) => quietly(|| read(&answer.answer)).unwrap_or(missing),
        None => missing,
    }
}

/// Lends a text of an answer; an empty one if the answer is NULL.
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
    let text = unsafe { answer.as_ref() }.and_then(|answer| quietly(|| lend(answer)));
    text.unwrap_or(c"".as_ptr())
}

/// What the domain asks for: one of `MTASTS_MODE_*`. `MTASTS_MODE_NONE` also if there is no policy or if `answer` is
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_mode(answer: *const mtasts_answer) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, Mode::None, Answer::mode) }.number()
}

/// Where the answer came from: one of `MTASTS_SOURCE_*`, or 0 if `answer` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_source(answer: *const mtasts_answer) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.source().number()) }
}

/// The policy domain, in A-labels and lower case. Empty if the mail domain is not a domain name: then it cannot have a
/// policy. Never NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_domain(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { lent(answer, |texts| &texts.domain, |answer| answer.domain_name().into()) }
}

/// The id of the policy: 1 to 32 letters and digits, or an empty text if there is no policy. Never NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_id(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        lent(
            answer,
            |texts| &texts.id,
            |answer| answer.cached().map_or("", |cached| cached.id.as_str()).into(),
        )
    }
}

/// When the policy was fetched, in Unix seconds; 0 if there is no policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_fetched(answer: *const mtasts_answer) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.cached().map_or(0, |cached| cached.fetched)) }
}

/// The last second at which the policy is in force, in Unix seconds; 0 if there is no policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_expires(answer: *const mtasts_answer) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.cached().map_or(0, |cached| cached.expires())) }
}

/// Until when mail has to wait, in Unix seconds, or 0 if it need not wait. It has to wait if the policy could not be
/// determined and the setting `first_contact_defer` says so. Every verdict takes this into account.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_defer_until(answer: *const mtasts_answer) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| answer.defer_until().unwrap_or(0)) }
}

/// The number of MX patterns in the policy; 0 if there is no policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_mx_count(answer: *const mtasts_answer) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        number(answer, 0, |answer| {
            answer.policy().map_or(0, |policy| policy.mx().len())
        })
    }
}

/// The MX pattern with this index, counted from 0: a host name, or `*.` and a host name, in lower case. NULL past the
/// last.
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

/// The policy text as the policy host sent it, for the policy-string of a report (RFC 8460 4.5). NULL if there is no
/// policy.
///
/// It is not closed by a NUL: `length` receives the number of octets. It is unchecked text of a stranger. Escape it
/// before you print it or pass it on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_policy_text(answer: *const mtasts_answer, length: *mut usize) -> *const c_char {
    let text = |answer: &Answer| {
        answer
            .cached()
            .map(|cached| (cached.text.as_ptr().cast(), cached.text.len()))
    };
    // SAFETY: the caller's promise; the text is part of the answer.
    let (text, octets) = unsafe { number(answer, None, text) }.unwrap_or((ptr::null(), 0));
    // SAFETY: the caller's promise.
    if let Some(length) = unsafe { length.as_mut() } {
        *length = octets;
    }
    text
}

/// The result type of what prevented a current policy (`MTASTS_RESULT_STS_POLICY_FETCH_ERROR`,
/// `MTASTS_RESULT_STS_POLICY_INVALID` or `MTASTS_RESULT_STS_WEBPKI_INVALID`), or 0 if nothing did or it is not
/// reported.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_result(answer: *const mtasts_answer) -> i32 {
    let result = |answer: &Answer| answer.failure().and_then(|f| f.result).map_or(0, ResultType::number);
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, result) }
}

/// What prevented a current policy, or why there is no policy, in plain words. Empty if there is nothing to say. Never
/// NULL.
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

/// What is wrong with the cache on this host, in plain words. Empty if nothing is wrong. Never NULL.
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

/// The whole answer in one sentence for the log. Never NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_explanation(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { lent(answer, |texts| &texts.explanation, |answer| answer.explain().into()) }
}

/// Checks whether a pattern of the policy matches an MX host (RFC 8461 4.1).
///
/// `host` is the name in the MX record, before any CNAME is followed. For a domain without MX records it is the domain.
///
/// Returns 1 or 0 (0 also if there is no policy), `MTASTS_E_ARGUMENT`, or `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` if
/// `host` is not a host name: no pattern matches it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_allows_mx(
    answer: *const mtasts_answer,
    host: *const c_char,
    length: usize,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (answer, host) = unsafe { (handle(answer)?, name(host, length)?) };
        Ok(i32::from(
            answer.answer.policy().is_some_and(|policy| policy.allows_mx(&host)),
        ))
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// 1 if a host that fails the policy gets no mail (the mode is `MTASTS_MODE_ENFORCE`), otherwise 0. If it is 1, a
/// session with an MX host needs TLS with a certificate that passes. 0 also if `answer` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_enforces(answer: *const mtasts_answer) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| i32::from(answer.enforces())) }
}

/// 1 if a policy asks anything of the MX hosts (the mode is `MTASTS_MODE_ENFORCE` or `MTASTS_MODE_TESTING`), otherwise
/// 0. If it is 0, no host is judged. 0 also if `answer` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_applies(answer: *const mtasts_answer) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { number(answer, 0, |answer| i32::from(answer.applies())) }
}

/// Compares two answers for a domain, such as one from before and that of `mtasts_recheck`, by mode, id and MX
/// patterns. The fetch time does not count: each refresh changes it. If the policies differ, try to deliver mail that
/// was refused under one of them again before you bounce it (RFC 8461 5).
///
/// Returns 1 if they are the same, otherwise 0; or `MTASTS_E_ARGUMENT` if one of them is NULL.
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

/// What `mtasts_answer_is_same_policy` compares, as one line of text of at most 64 KiB. It is for a program that keeps
/// refused mail on disk: two answers, also of different processes, have the same policy if and only if these texts are
/// equal. Never NULL; empty if `answer` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_policy_key(answer: *const mtasts_answer) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { lent(answer, |texts| &texts.policy_key, |answer| answer.policy_key().into()) }
}

/// Frees an answer and the texts that it lent. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_answer_free(answer: *mut mtasts_answer) {
    // SAFETY: the caller does not use it again.
    unsafe { free(answer) }
}
