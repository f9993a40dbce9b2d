//! Answers and verdicts.

use std::ffi::c_char;
use std::ptr;

use mtasts::{Action, Mode, SeenKind, Source, Status, capi};
use napi_derive::napi;

use crate::certificate::{result_name, result_number};
use crate::error::{Result, call, failure};
use crate::text;

/// The answer of a lookup.
#[napi]
pub struct Answer {
    answer: *mut capi::mtasts_answer,
}

/// What the MTA must do with a host.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Verdict {
    /// What to do.
    pub action: &'static str,
    /// What a report calls the failure.
    pub result: Option<&'static str>,
    /// The failure-reason-code of a report.
    pub reason_code: String,
    /// One line for the log.
    pub sentence: String,
}

impl Answer {
    /// Takes an answer over.
    ///
    /// # Safety
    /// `answer` is alive, and nobody else frees it.
    pub(crate) unsafe fn take(answer: *mut capi::mtasts_answer) -> Self {
        Self { answer }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: it was ours alone.
        unsafe { capi::mtasts_answer_free(self.answer) }
    }
}

/// A time in seconds as JavaScript has it; 0 stands for none.
fn time(seconds: u64) -> Option<f64> {
    (seconds != 0).then_some(seconds as f64 * 1000.0)
}

// SAFETY in all of these: the answer is alive as long as `self`, and what it lends is copied.
#[napi]
impl Answer {
    /// The policy domain.
    #[napi(getter)]
    pub fn domain(&self) -> String {
        // SAFETY: as above.
        unsafe { text::of(capi::mtasts_answer_domain(self.answer)) }
    }

    /// What the domain asks for.
    #[napi(getter)]
    pub fn mode(&self) -> &'static str {
        // SAFETY: as above.
        let mode = unsafe { capi::mtasts_answer_mode(self.answer) };
        Mode::from_number(mode).map_or("none", Mode::name)
    }

    /// Where the answer came from.
    #[napi(getter)]
    pub fn source(&self) -> &'static str {
        // SAFETY: as above.
        let source = unsafe { capi::mtasts_answer_source(self.answer) };
        Source::from_number(source).map_or("could-not-learn", Source::name)
    }

    /// The id of the policy.
    #[napi(getter)]
    pub fn id(&self) -> Option<String> {
        // SAFETY: as above.
        let id = unsafe { text::of(capi::mtasts_answer_id(self.answer)) };
        (!id.is_empty()).then_some(id)
    }

    /// When the policy was fetched, in milliseconds.
    #[napi(getter)]
    pub fn fetched(&self) -> Option<f64> {
        // SAFETY: as above.
        time(unsafe { capi::mtasts_answer_fetched(self.answer) })
    }

    /// Until when the policy counts, in milliseconds.
    #[napi(getter)]
    pub fn expires(&self) -> Option<f64> {
        // SAFETY: as above.
        time(unsafe { capi::mtasts_answer_expires(self.answer) })
    }

    /// Until when mail must wait, in milliseconds.
    #[napi(getter)]
    pub fn defer_until(&self) -> Option<f64> {
        // SAFETY: as above.
        time(unsafe { capi::mtasts_answer_defer_until(self.answer) })
    }

    /// The MX patterns of the policy.
    #[napi(getter)]
    pub fn mx(&self) -> Vec<String> {
        // SAFETY: as above.
        let count = unsafe { capi::mtasts_answer_mx_count(self.answer) };
        let pattern = |index| {
            // SAFETY: as above; there is a text for each index below the count.
            unsafe { text::of(capi::mtasts_answer_mx(self.answer, index)) }
        };
        (0..count).map(pattern).collect()
    }

    /// The policy as the policy host sent it.
    #[napi(getter)]
    pub fn policy_text(&self) -> Option<String> {
        let mut length = 0;
        // SAFETY: as above; a place for the length.
        let octets = unsafe { capi::mtasts_answer_policy_text(self.answer, &raw mut length) };
        if octets.is_null() {
            return None;
        }
        // SAFETY: the answer lends so many octets.
        let octets = unsafe { std::slice::from_raw_parts(octets.cast::<u8>(), length) };
        Some(String::from_utf8_lossy(octets).into_owned())
    }

    /// The result type of what stood in the way of a current policy.
    #[napi(getter)]
    pub fn result(&self) -> Option<&'static str> {
        // SAFETY: as above.
        result_name(unsafe { capi::mtasts_answer_result(self.answer) })
    }

    /// What stood in the way of a current policy.
    #[napi(getter)]
    pub fn detail(&self) -> String {
        // SAFETY: as above.
        unsafe { text::of(capi::mtasts_answer_detail(self.answer)) }
    }

    /// What is wrong with the cache on this host.
    #[napi(getter)]
    pub fn warning(&self) -> String {
        // SAFETY: as above.
        unsafe { text::of(capi::mtasts_answer_warning(self.answer)) }
    }

    /// The whole answer in one sentence.
    #[napi(getter)]
    pub fn explanation(&self) -> String {
        // SAFETY: as above.
        unsafe { text::of(capi::mtasts_answer_explanation(self.answer)) }
    }

    /// Whether the policy lists a host.
    #[napi]
    pub fn match_mx(&self, host: String) -> bool {
        // SAFETY: as above; the text has its length. What is no host name is allowed by no pattern.
        let allows = unsafe { capi::mtasts_answer_allows_mx(self.answer, host.as_ptr().cast::<c_char>(), host.len()) };
        allows == 1
    }

    /// What to do with a host.
    #[napi]
    pub fn verdict(&self, host: String, kind: String, result: Option<String>, reason: String) -> Result<Verdict> {
        let reason = text::to_c(&reason);
        let seen = capi::mtasts_seen {
            size: size_of::<capi::mtasts_seen>(),
            kind: SeenKind::from_name(&kind).map_or_else(
                || {
                    Err(failure(
                        Status::Argument,
                        format!("{kind:?} is no kind of what was seen"),
                    ))
                },
                |kind| Ok(kind.number()),
            )?,
            result: result.map_or(Ok(0), |name| result_number(&name))?,
            reason: reason.as_ptr(),
        };
        let mut decision = capi::mtasts_decision {
            size: size_of::<capi::mtasts_decision>(),
            action: 0,
            result: 0,
            reason_code: [0; capi::MTASTS_REASON_SIZE],
            sentence: [0; capi::MTASTS_SENTENCE_SIZE],
        };
        let (name, length) = (host.as_ptr().cast::<c_char>(), host.len());
        call(|error| {
            // SAFETY: as above; the text has its length, and the structs have their sizes set.
            unsafe { capi::mtasts_verdict(self.answer, name, length, &raw const seen, &raw mut decision, error) }
        })?;
        Ok(Verdict {
            action: Action::from_number(decision.action).unwrap_or(Action::Defer).name(),
            result: result_name(decision.result),
            reason_code: text::in_place(&decision.reason_code),
            sentence: text::in_place(&decision.sentence),
        })
    }
}

/// Where the library puts an answer.
pub(crate) fn asked(
    question: impl FnOnce(*mut *mut capi::mtasts_answer, *mut capi::mtasts_error) -> i32,
) -> Result<Answer> {
    let mut answer = ptr::null_mut();
    call(|error| question(&raw mut answer, error))?;
    // SAFETY: the library has given it to us.
    Ok(unsafe { Answer::take(answer) })
}
