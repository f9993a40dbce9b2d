//! Settings for C.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::ptr;

use super::error::{Fault, guard, mtasts_error};
use super::{MTASTS_NUL_TERMINATED, OK, free, place, text};
use crate::protocol::words::Status;
use crate::sender::settings::{Settings, SettingsError};

/// The longest key, value or path, in octets.
const MAX_VALUE: usize = 65_536;

/// A function of the program that receives log lines: what the administrator should know now, such as a policy that
/// could not be renewed.
///
/// `line` is one line of UTF-8 without control characters, closed by a NUL. It is valid until the function returns.
/// `user` is the pointer that was given with the function.
///
/// The library calls the function on the thread that calls the library, during that call, and never in a child that the
/// library has forked. Several threads may call it at the same time if they share a context.
///
/// The function has to return. A C++ exception or a `longjmp` out of it is undefined behaviour: the frames above it
/// belong to the library and cannot be unwound. It must not call the library with the context, answer or queue of the
/// call that it is called from, and must not free them.
pub type mtasts_log = Option<unsafe extern "C" fn(line: *const c_char, user: *mut c_void)>;

/// Settings for a context. For one thread at a time.
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
        Self::new(Status::Settings, error.to_string())
    }
}

/// Creates settings from the configuration of this host: the defaults, overridden by the file `/etc/mtasts/mtasts.toml`
/// if it exists.
///
/// The environment may name another file (`MTASTS_CONFIG`) or another cache directory (`MTASTS_CACHE_DIR`). A
/// privileged process (root, or a set-user-ID program) ignores both, because its caller controls them.
///
/// `out` receives the settings. Free them with `mtasts_settings_free`.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_of_host(out: *mut *mut mtasts_settings, error: *mut mtasts_error) -> i32 {
    // SAFETY: both are the caller's.
    unsafe { guard(error, || give(out, Settings::of_process()?)) }
}

/// Creates settings with the defaults and reads no file: cache in `/var/lib/mtasts`, the trust anchors and name servers
/// of the system, one minute for a lookup.
///
/// `out` receives the settings. Free them with `mtasts_settings_free`.
///
/// Returns `MTASTS_OK`, or `MTASTS_E_ARGUMENT` if `out` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_new(out: *mut *mut mtasts_settings) -> i32 {
    // SAFETY: there is no error struct; `out` is the caller's.
    unsafe { guard(ptr::null_mut(), || give(out, Settings::default())) }
}

/// # Safety
/// `out` is NULL or points to a pointer.
unsafe fn give(out: *mut *mut mtasts_settings, settings: Settings) -> Result<i32, Fault> {
    // SAFETY: the caller's promise.
    let out = unsafe { place(out)? };
    *out = Box::into_raw(Box::new(mtasts_settings { settings, log: None }));
    Ok(OK)
}

/// # Safety
/// `settings` is NULL or alive and used by no other thread.
unsafe fn changed<'a>(settings: *mut mtasts_settings) -> Result<&'a mut mtasts_settings, Fault> {
    // SAFETY: the caller's promise.
    unsafe { settings.as_mut() }.ok_or_else(|| Fault::argument("settings is NULL"))
}

/// Reads a settings file over the settings: TOML with the keys of `mtasts_settings_set` at the top level.
///
/// `path` is UTF-8, closed by a NUL.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason. If it fails,
/// nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_read_file(
    settings: *mut mtasts_settings,
    path: *const c_char,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (settings, path) = unsafe { (changed(settings)?, text(path, MTASTS_NUL_TERMINATED, MAX_VALUE)?) };
        settings.settings.read_file(Path::new(path))?;
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Changes one setting. The keys are those of the settings file; mtasts.toml(5) describes each of them:
///
/// `cache_dir`                absolute path; empty: keep the cache in memory only
/// `user`                     whom a process of root becomes to use the cache and the network: a name or number of
///                            /etc/passwd; empty: the owner of `cache_dir`
/// `cache_max`                how many domains the cache may hold
/// `cache_max_per_parent`     how many of them below one registered domain
/// `ca_file`                  absolute path of a PEM file with trust anchors
/// `nameservers`              addresses, with or without a port, separated by spaces
/// `timeout`                  1s to 10m: the longest time for one lookup
/// `allow_addresses`          addresses or networks at which hosts may be although they are not public
/// `nat64_prefixes`           IPv6 prefixes of 32, 40, 48, 56, 64 or 96 bits: an address below one is judged by the
///                            IPv4 address that it contains (RFC 6052)
/// `exceptions`               absolute path of a file of domains for which nothing is enforced, with a line
///                            `DOMAIN 2026-12-31 REASON` for each. It is read at once, and again when it has changed.
///                            Empty: none
/// `dane`                     whether TLSA records decide about MX hosts (RFC 7672): `off`, `auto` or `trust`, the last
///                            two also with `strict-both`
/// `dane_resolver`            the address of the name server whose word on DNSSEC is believed, with or without a port
/// `dane_bogus_name`          a name whose signatures are broken on purpose, by which `auto` tests that name server
/// `tlsrpt_journal`           `on` or `off`: whether results for TLS reports are kept in `cache_dir` (RFC 8460)
/// `tlsrpt_socket`            absolute path of the datagram socket of a collector for TLS reports; empty: none
/// `tlsrpt_sender`            mail address from which TLS reports are sent; empty: none
/// `fleet`                    Valkey or Redis server by which several hosts share what they fetch: `rediss://`,
///                            `redis://` or `unix:`, and a replica to read from, separated by a space; empty: none
/// `fleet_prefix`             how the names of all keys there begin
/// `fleet_key_file`           absolute path of the file of the secrets that these hosts have in common
/// `fleet_insecure`           `on` or `off`: whether that server may be asked without TLS beyond this host
/// `first_contact_defer`, `silence_budget`, `txt_life_min`, `txt_life_max`
///                            times such as `30s`, `5m`, `1h`, `1d`
///
/// `key` and `value` are UTF-8, closed by a NUL.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the key and the reason. If it fails, nothing
/// has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_set(
    settings: *mut mtasts_settings,
    key: *const c_char,
    value: *const c_char,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (settings, key, value) = unsafe {
            (
                changed(settings)?,
                text(key, MTASTS_NUL_TERMINATED, MAX_VALUE)?,
                text(value, MTASTS_NUL_TERMINATED, MAX_VALUE)?,
            )
        };
        settings.settings.set(key, value)?;
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Sets the function that receives log lines; see `mtasts_log`. Without one the lines are dropped: the library never
/// writes to stderr or syslog by itself.
///
/// `user` is passed to the function with each line. A NULL `log` removes the function. Function and `user` have to stay
/// valid as long as a context that was created with these settings, and any thread that uses that context may call it.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_set_log(
    settings: *mut mtasts_settings,
    log: mtasts_log,
    user: *mut c_void,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        unsafe { changed(settings)? }.log = log.map(|function| Log { function, user });
        Ok(OK)
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Frees settings. NULL is allowed. A context keeps its own copy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_settings_free(settings: *mut mtasts_settings) {
    // SAFETY: the caller does not use it again.
    unsafe { free(settings) }
}
