//! Contexts and lookups for C.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use super::answer::mtasts_answer;
use super::settings::mtasts_settings;
use super::{Fault, MTASTS_E_SYSTEM, MTASTS_OK, c_text, guard, handle, mtasts_error, name, text};
use crate::protocol::names::Domain;
use crate::sender::answer::Answer;
use crate::sender::context::{Context, ContextError, unix_now};
use crate::sender::settings::Settings;

/// A context: settings, the cache, and the way to the network. For any number of threads at once, and for any child of
/// the process that made it.
pub struct mtasts_context {
    pub(super) context: Context,
    /// The setting `ca_file`, as C reads it.
    ca_file: Option<CString>,
}

impl From<ContextError> for Fault {
    fn from(error: ContextError) -> Self {
        Self::new(MTASTS_E_SYSTEM, error.to_string())
    }
}

/// Makes a context of these settings, which it copies; NULL stands for the defaults of `mtasts_settings_new`. Nothing is
/// opened, read or started: that happens at the first lookup. A program needs one, made at its start.
///
/// `out` receives a context to be freed with `mtasts_context_free`.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
///
/// # Safety
/// `settings` is NULL or alive; `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose
/// size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_new(
    settings: *const mtasts_settings,
    out: *mut *mut mtasts_context,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let out = unsafe { out.as_mut() }.ok_or_else(|| Fault::argument("out is NULL"))?;
        // SAFETY: the caller's promise.
        let settings = unsafe { settings.as_ref() };
        let values = settings.map_or_else(Settings::default, |s| s.settings.clone());
        let ca_file = values.ca_file.as_ref();
        let ca_file = ca_file.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
        let context = match settings.and_then(|s| s.log) {
            Some(log) => {
                let log = SharedLog(log);
                Context::with_log(values, move |line| log.tell(line))
            }
            // The `log` facade has no listener in a program of C.
            None => Context::new(values),
        };
        *out = Box::into_raw(Box::new(mtasts_context { context, ca_file }));
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The roots that count in this context: the setting `ca_file`, an absolute path, or NULL for those of the system. It is
/// for programs whose own TLS library verifies the chain of an MX host and is to judge as `mtasts_check_certificate` does.
///
/// The text lives as long as the context. NULL where `context` is NULL.
///
/// # Safety
/// `context` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_ca_file(context: *const mtasts_context) -> *const c_char {
    // SAFETY: the caller's promise.
    let context = unsafe { context.as_ref() };
    let path = context.and_then(|context| context.ca_file.as_deref());
    path.map_or(std::ptr::null(), CStr::as_ptr)
}

/// C's log function in the hands of several threads.
struct SharedLog(super::settings::Log);

// SAFETY: mtasts_settings_set_log makes the caller promise that any thread may call the function with its argument.
unsafe impl Send for SharedLog {}
// SAFETY: as above.
unsafe impl Sync for SharedLog {}

impl SharedLog {
    fn tell(&self, line: &str) {
        let line = c_text(line);
        // SAFETY: a live NUL-terminated text, and the argument that came with the function.
        unsafe { (self.0.function)(line.as_ptr(), self.0.user) }
    }
}

/// Looks the policy of a domain up, as a delivery needs it: in the cache, and where that does not do in DNS and over
/// HTTPS (RFC 8461 5.1). Blocks up to `timeout_ms` or the setting `timeout`, whichever is shorter; 0 stands for the
/// setting. A hit in the cache touches no network.
///
/// `domain` is the recipient's domain, or the smart host's where there is one (RFC 8461 3.4): UTF-8, any letter case,
/// U-labels or A-labels; `length` counts its octets, or is `MTASTS_NUL_TERMINATED`. `out` receives an answer to be freed
/// with `mtasts_answer_free`. That there is no policy, or that none could be learnt, is an answer and not an error.
///
/// In a process of root the work is done by a child that has become the owner of the cache directory; root itself never
/// touches the network.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` (no such name can have a policy),
/// `MTASTS_E_SYSTEM` or `MTASTS_E_PANIC` (nothing is known: let the mail wait).
///
/// # Safety
/// `context` is NULL or alive; `domain` is NULL or has `length` octets; `out` is NULL or points to a pointer; `error` is
/// NULL or points to an `mtasts_error` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_lookup(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    timeout_ms: u32,
    out: *mut *mut mtasts_answer,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, place) = unsafe { (handle(context)?, place(out)?) };
        // A name in its one spelling is found in memory as it stands, without a copy.
        // SAFETY: the caller's promise about `domain`.
        if let Ok(name) = unsafe { text(domain, length, crate::protocol::names::MAX_NAME) }
            && let Some(answer) = context.context.remembered(name, coarse_now())
        {
            *place = mtasts_answer::give(answer);
            return Ok(MTASTS_OK);
        }
        // SAFETY: the caller's promise about `domain`.
        let domain = unsafe { name(domain, length)? };
        *place = mtasts_answer::give(context.context.lookup(&domain, patience(timeout_ms))?);
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Answers from the cache alone; the network is not touched, whatever is missing. Where no policy that counts is there,
/// the answer is `MTASTS_SOURCE_COULD_NOT_LEARN`.
///
/// Arguments, ownership and return values are those of `mtasts_lookup`.
///
/// # Safety
/// As `mtasts_lookup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_lookup_cached(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    out: *mut *mut mtasts_answer,
    error: *mut mtasts_error,
) -> i32 {
    // SAFETY: the caller's promises.
    unsafe {
        ask(context, domain, length, out, error, |context, domain| {
            context.lookup_cached(domain)
        })
    }
}

/// Asks whether there is a newer policy now, whatever the cache says: for an MTA that is about to bounce a mail because
/// of a policy (RFC 8461 5). Compare id and fetch time of the answer with those of the answer at hand; where they
/// differ, the mail deserves another attempt.
///
/// Arguments, ownership and return values are those of `mtasts_lookup`.
///
/// # Safety
/// As `mtasts_lookup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_recheck(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    timeout_ms: u32,
    out: *mut *mut mtasts_answer,
    error: *mut mtasts_error,
) -> i32 {
    let recheck = |context: &Context, domain: &Domain| context.recheck(domain, patience(timeout_ms));
    // SAFETY: the caller's promises.
    unsafe { ask(context, domain, length, out, error, recheck) }
}

/// # Safety
/// As `mtasts_lookup`.
unsafe fn ask(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    out: *mut *mut mtasts_answer,
    error: *mut mtasts_error,
    question: impl FnOnce(&Context, &Domain) -> Result<Arc<Answer>, ContextError>,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, place, domain) = unsafe { (handle(context)?, place(out)?, name(domain, length)?) };
        *place = mtasts_answer::give(question(&context.context, &domain)?);
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// # Safety
/// `out` is NULL or points to a pointer.
unsafe fn place<'a>(out: *mut *mut mtasts_answer) -> Result<&'a mut *mut mtasts_answer, Fault> {
    // SAFETY: the caller's promise.
    unsafe { out.as_mut() }.ok_or_else(|| Fault::argument("out is NULL"))
}

/// The time in Unix seconds as of the kernel's last tick: a few milliseconds late, and three times as cheap as the exact
/// one, which would be a third of a lookup in memory.
fn coarse_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place of our own.
    match unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) } {
        0 => u64::try_from(now.tv_sec).unwrap_or(0),
        _ => unix_now(),
    }
}

pub(super) const fn patience(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => Duration::MAX,
        ms => Duration::from_millis(ms as u64),
    }
}

/// Frees a context. Answers that it gave stay valid. No thread may be inside a call with it. NULL is fine. In a child
/// process it frees the child's copy alone.
///
/// # Safety
/// `context` is NULL or alive, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_free(context: *mut mtasts_context) {
    if !context.is_null() {
        // SAFETY: it came from Box::into_raw, and the caller gives it up.
        drop(unsafe { Box::from_raw(context) });
    }
}
