//! Contexts and lookups for C.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::answer::mtasts_answer;
use super::error::{Fault, guard, mtasts_error};
use super::settings::mtasts_settings;
use super::{OK, any_name, c_text, free, handle, place, text};
use crate::protocol::names::MAX_NAME;
use crate::protocol::words::Status;
use crate::sender::answer::Answer;
use crate::sender::resolver::{Resolver, Unavailable, unix_now};
use crate::sender::settings::Settings;

/// A context: the settings, the cache, and the access to the network. For any number of threads at the same time, and
/// for every child of the process that created it.
pub struct mtasts_context {
    pub(super) context: Resolver,
    /// The setting `ca_file`, as C reads it.
    ca_file: Option<CString>,
    /// The setting `nameservers`, as C reads it.
    nameservers: Option<CString>,
}

impl From<Unavailable> for Fault {
    fn from(error: Unavailable) -> Self {
        Self::new(Status::Unavailable, error.to_string())
    }
}

/// Creates a context with a copy of these settings. NULL means the defaults of `mtasts_settings_new`. Nothing is
/// opened, read or started before the first lookup. A program needs one context, created at its start.
///
/// `out` receives the context. Free it with `mtasts_context_free`.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_new(
    settings: *const mtasts_settings,
    out: *mut *mut mtasts_context,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (settings, out) = unsafe { (settings.as_ref(), place(out)?) };
        let values = settings.map_or_else(Settings::default, |s| s.settings.clone());
        let ca_file = values.ca_file.as_ref();
        let ca_file = ca_file.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
        let nameservers: Vec<String> = values.nameservers.iter().map(ToString::to_string).collect();
        let nameservers = CString::new(nameservers.join(" ")).ok().filter(|list| !list.is_empty());
        let context = match settings.and_then(|s| s.log) {
            Some(log) => {
                let log = SharedLog(log);
                Resolver::with_log(values, move |line| log.tell(line))
            }
            // The `log` facade has no listener in a program of C.
            None => Resolver::new(values),
        };
        *out = Box::into_raw(Box::new(mtasts_context {
            context,
            ca_file,
            nameservers,
        }));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The trust anchors of this context: the setting `ca_file`, an absolute path, or NULL for those of the system. It is
/// for a program whose own TLS library verifies the chain of an MX host and should judge as `mtasts_verify_certificate`
/// does.
///
/// The text is valid as long as the context. NULL if `context` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_ca_file(context: *const mtasts_context) -> *const c_char {
    // SAFETY: the caller's promise.
    let context = unsafe { context.as_ref() };
    let path = context.and_then(|context| context.ca_file.as_deref());
    path.map_or(ptr::null(), CStr::as_ptr)
}

/// The name servers of this context: the setting `nameservers`, such as `192.0.2.1:53 [2001:db8::1]:53`, or NULL for
/// those of `/etc/resolv.conf`. It is for a program that looks up MX hosts and their addresses by itself and should ask
/// the same name servers as a policy lookup does.
///
/// The text is valid as long as the context. NULL if `context` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_nameservers(context: *const mtasts_context) -> *const c_char {
    // SAFETY: the caller's promise.
    let context = unsafe { context.as_ref() };
    let list = context.and_then(|context| context.nameservers.as_deref());
    list.map_or(ptr::null(), CStr::as_ptr)
}

/// Frees a context. NULL is allowed. Answers and queues that were made with it stay valid. No thread may be inside a
/// call with the context. In a child process it frees the child's copy only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_free(context: *mut mtasts_context) {
    // SAFETY: the caller does not use it again.
    unsafe { free(context) }
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

/// Looks up the policy of a domain for a delivery: in the cache, and if that is not enough in DNS and at the policy
/// host (RFC 8461 3, 5.1). A hit in the cache does not touch the network.
///
/// The call blocks for at most `timeout_ms` or the setting `timeout`, whichever is shorter. 0 means the setting.
///
/// `domain` is the domain of the recipient, or of the smart host if all mail goes there (RFC 8461 3.4), as the address
/// has it: in any letter case, U-labels or A-labels, or an address literal.
///
/// `out` receives the answer. Free it with `mtasts_answer_free`. "The domain has no policy" and "the policy could not
/// be determined" are answers, not errors. "The domain cannot have a policy" is one too: for an address, a text that is
/// too long for a name or not UTF-8, an empty label or a bad character, the source is `MTASTS_SOURCE_NO_POLICY` and
/// mail is delivered as usual.
///
/// In a process of root a child does the work after it has become the owner of the cache directory. Root itself does
/// not touch the network.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`; `MTASTS_E_UNAVAILABLE` or `MTASTS_E_DEFECT` if no answer is possible:
/// then defer the mail.
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
        // A name in its one spelling is found in memory without a copy.
        // SAFETY: the caller's promise about `domain`.
        if let Ok(name) = unsafe { text(domain, length, MAX_NAME) }
            && let Some(answer) = context.context.remembered(name, coarse_now())
        {
            *place = mtasts_answer::give(answer);
            return Ok(OK);
        }
        // SAFETY: the caller's promise about `domain`.
        let domain = unsafe { any_name(domain, length)? };
        *place = mtasts_answer::give(context.context.lookup(&domain, patience(timeout_ms))?);
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Answers from the cache only and does not touch the network. If the cache has no policy in force, the source of the
/// answer is `MTASTS_SOURCE_COULD_NOT_LEARN`.
///
/// Arguments, ownership and return values are those of `mtasts_lookup`.
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

/// Checks now whether the domain has a newer policy, whatever the cache says. It is for an MTA that is about to bounce
/// a mail because of a policy (RFC 8461 5). If `mtasts_answer_is_same_policy` says that the answer differs from the one
/// at hand, try to deliver the mail again.
///
/// Arguments, ownership and return values are those of `mtasts_lookup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_recheck(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    timeout_ms: u32,
    out: *mut *mut mtasts_answer,
    error: *mut mtasts_error,
) -> i32 {
    let recheck = |context: &Resolver, domain: &str| context.recheck(domain, patience(timeout_ms));
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
    question: impl FnOnce(&Resolver, &str) -> Result<Arc<Answer>, Unavailable>,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, place, domain) = unsafe { (handle(context)?, place(out)?, any_name(domain, length)?) };
        *place = mtasts_answer::give(question(&context.context, &domain)?);
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The time in Unix seconds as of the kernel's last tick: a few milliseconds late, and three times as cheap as the
/// exact one, which would be a third of a lookup in memory.
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
