//! Settings for C.

use std::ffi::{c_char, c_void};
use std::path::Path;

use super::{Fault, MTASTS_E_SETTINGS, MTASTS_NUL_TERMINATED, MTASTS_OK, guard, mtasts_error, text};
use crate::sender::settings::{Settings, SettingsError};

/// The longest key, value or path, in octets.
const MAX_VALUE: usize = 65_536;

/// A log line: what the administrator is to be told now, such as the failed refresh of a policy. `line` is UTF-8 on one
/// line without control characters, closed by a NUL, and lives until the function returns.
///
/// The function must return: no C++ exception and no `longjmp` may leave it, for the frames above it are the library's
/// and cannot be unwound. It may not call the library with the context, answer or queue of the call that it is called
/// from, nor free them.
pub type mtasts_log = Option<unsafe extern "C" fn(line: *const c_char, user: *mut c_void)>;

/// The settings of a context to be. For one thread at a time.
pub struct mtasts_settings {
    pub(super) settings: Settings,
    pub(super) log: Option<Log>,
}

/// A log function of C and its argument.
#[derive(Clone, Copy)]
pub(super) struct Log {
    pub(super) function: unsafe extern "C" fn(*const c_char, *mut c_void),
    pub(super) user: *mut c_void,
}

impl From<SettingsError> for Fault {
    fn from(error: SettingsError) -> Self {
        Self::new(MTASTS_E_SETTINGS, error.to_string())
    }
}

/// Gives the defaults, without a look at any file: cache in `/var/lib/mtasts`, the system's roots and name servers, one
/// minute for a lookup.
///
/// `out` receives settings to be freed with `mtasts_settings_free`.
///
/// Returns `MTASTS_OK`, or `MTASTS_E_ARGUMENT` where `out` is NULL.
///
/// # Safety
/// `out` is NULL or points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_new(out: *mut *mut mtasts_settings) -> i32 {
    // SAFETY: there is no error struct; `out` is the caller's.
    unsafe { guard(std::ptr::null_mut(), || give(out, Settings::default())) }
}

/// Gives the settings of this host: the file `/etc/mtasts/mtasts.toml` where there is one, over the defaults. The
/// environment may name another file (`MTASTS_CONFIG`) or cache directory (`MTASTS_CACHE_DIR`), but never in a
/// privileged process (root, or a set-uid program): its environment is its caller's.
///
/// `out` receives settings to be freed with `mtasts_settings_free`.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason.
///
/// # Safety
/// `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_of_host(out: *mut *mut mtasts_settings, error: *mut mtasts_error) -> i32 {
    // SAFETY: both are the caller's.
    unsafe { guard(error, || give(out, Settings::of_process()?)) }
}

/// # Safety
/// `out` is NULL or points to a pointer.
unsafe fn give(out: *mut *mut mtasts_settings, settings: Settings) -> Result<i32, Fault> {
    // SAFETY: the caller's promise.
    let out = unsafe { out.as_mut() }.ok_or_else(|| Fault::argument("out is NULL"))?;
    *out = Box::into_raw(Box::new(mtasts_settings { settings, log: None }));
    Ok(MTASTS_OK)
}

/// Sets one setting. The keys are those of the settings file: `cache_dir` (absolute path; empty: memory alone),
/// `user` (a name or number of /etc/passwd: whom a process of root becomes to use the cache and the network; empty: the
/// owner of `cache_dir`),
/// `cache_max` and `cache_max_per_parent` (how many domains the cache may hold, in all and below one registered domain),
/// `ca_file` (absolute path of a PEM file), `nameservers` (addresses, with or without a port, separated by spaces),
/// `timeout` (1s to 10m), `allow_addresses` (addresses or networks in which a policy host may be although they are not
/// public), `nat64_prefixes` (IPv6 networks of 32, 40, 48, 56, 64 or 96 bits: an address below one is judged by the IPv4
/// address that it carries, RFC 6052), `first_contact_defer`, `silence_budget`, `txt_life_min`, `txt_life_max`
/// (times such as `30s`, `5m`, `1h`, `1d`), `exceptions`
/// (absolute path of a file of domains for which nothing is enforced, a `DOMAIN 2026-12-31 REASON` on each line; it is
/// read at once, and again by a context when it has changed; empty: none).
///
/// `key` and `value` are NUL-terminated UTF-8.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the key and the reason; then nothing has
/// changed.
///
/// # Safety
/// `settings` is NULL or alive and used by no other thread; `key` and `value` are NULL or NUL-terminated; `error` is NULL
/// or points to an `mtasts_error` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_set(
    settings: *mut mtasts_settings,
    key: *const c_char,
    value: *const c_char,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let settings = unsafe { settings.as_mut() }.ok_or_else(|| Fault::argument("settings is NULL"))?;
        // SAFETY: both are NULL or NUL-terminated.
        let (key, value) = unsafe {
            (
                text(key, MTASTS_NUL_TERMINATED, MAX_VALUE)?,
                text(value, MTASTS_NUL_TERMINATED, MAX_VALUE)?,
            )
        };
        settings.settings.set(key, value)?;
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Reads a settings file over the settings: TOML with the keys of `mtasts_settings_set` at the top level.
///
/// `path` is NUL-terminated UTF-8.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason; then nothing
/// has changed.
///
/// # Safety
/// As `mtasts_settings_set`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_read_file(
    settings: *mut mtasts_settings,
    path: *const c_char,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let settings = unsafe { settings.as_mut() }.ok_or_else(|| Fault::argument("settings is NULL"))?;
        // SAFETY: NULL or NUL-terminated.
        let path = unsafe { text(path, MTASTS_NUL_TERMINATED, MAX_VALUE)? };
        settings.settings.read_file(Path::new(path))?;
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Sets who is told what an administrator should know. Without it nobody is: the library never writes to stderr or to
/// syslog by itself. `log` is called on the thread that asks, during the call, and never in a child that the library
/// made; `user` comes back with each line. A NULL `log` takes it back. `log` must return: a C++ exception or a `longjmp`
/// out of it is undefined (see `mtasts_log`).
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
///
/// # Safety
/// `settings` is NULL or alive and used by no other thread. `log` may be called by any thread that asks, and `user` must
/// bear that, as long as a context of these settings lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_set_log(
    settings: *mut mtasts_settings,
    log: mtasts_log,
    user: *mut c_void,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let settings = unsafe { settings.as_mut() }.ok_or_else(|| Fault::argument("settings is NULL"))?;
        settings.log = log.map(|function| Log { function, user });
        Ok(MTASTS_OK)
    };
    // SAFETY: there is no error struct.
    unsafe { guard(std::ptr::null_mut(), body) }
}

/// Frees settings. NULL is fine.
///
/// # Safety
/// `settings` is NULL or alive, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_free(settings: *mut mtasts_settings) {
    if !settings.is_null() {
        // SAFETY: it came from Box::into_raw, and the caller gives it up.
        drop(unsafe { Box::from_raw(settings) });
    }
}
