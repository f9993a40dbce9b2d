//! The cache for C: what is held, and the removal of one domain.

use std::ffi::{CString, c_char};
use std::ptr;
use std::vec;

use super::context::mtasts_context;
use super::{Fault, MTASTS_OK, c_text, guard, handle, mtasts_error, name};

/// The domains that the cache held when the listing was made. For one thread at a time.
pub struct mtasts_listing {
    domains: vec::IntoIter<CString>,
    /// What the last call has lent.
    lent: Option<CString>,
}

/// Lists the domains that the cache holds something of, in alphabetical order; whether that can be read and still counts
/// is another matter: ask `mtasts_lookup_cached`, which counts as use of the domain. Without a cache directory, the
/// domains whose policy is in memory.
///
/// In a process of root a child that has become the owner of the cache directory reads it.
///
/// `out` receives a listing to be freed with `mtasts_listing_free`.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SYSTEM` where the cache directory cannot be used. Where there is
/// none yet, there are no domains; but a process of root has nobody to become then, which is `MTASTS_E_SYSTEM`.
///
/// # Safety
/// `context` is NULL or alive; `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose
/// size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_listing_new(
    context: *const mtasts_context,
    out: *mut *mut mtasts_listing,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, out) = unsafe { (handle(context)?, out.as_mut()) };
        let out = out.ok_or_else(|| Fault::argument("out is NULL"))?;
        let domains = context.context.domains()?;
        let domains: Vec<CString> = domains.iter().map(|domain| c_text(domain.as_str())).collect();
        *out = Box::into_raw(Box::new(mtasts_listing {
            domains: domains.into_iter(),
            lent: None,
        }));
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Gives the next domain, in A-labels and lower case; NULL after the last. The text lives until the next call with this
/// listing.
///
/// # Safety
/// `listing` is NULL or alive and used by no other thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_listing_next(listing: *mut mtasts_listing) -> *const c_char {
    // SAFETY: the caller's promise.
    let Some(listing) = (unsafe { listing.as_mut() }) else {
        return ptr::null();
    };
    listing.lent = listing.domains.next();
    listing.lent.as_ref().map_or(ptr::null(), |name| name.as_ptr())
}

/// Frees a listing and the text that it lent. NULL is fine.
///
/// # Safety
/// `listing` is NULL or alive, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_listing_free(listing: *mut mtasts_listing) {
    if !listing.is_null() {
        // SAFETY: it came from Box::into_raw, and the caller gives it up.
        drop(unsafe { Box::from_raw(listing) });
    }
}

/// Forgets a domain, on disk and in the memory of this process; another process may repeat its answer for some seconds
/// more. Until the domain is looked up again, mail for it has no protection but a record in DNS that an attacker may forge:
/// purge what is wrong, not what is old.
///
/// `domain` and `length` are those of `mtasts_lookup`. In a process of root a child that has become the owner of the cache
/// directory removes the file.
///
/// Returns 1, or 0 where there was nothing; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
/// `MTASTS_E_SYSTEM` where the file cannot be removed.
///
/// # Safety
/// `context` is NULL or alive; `domain` is NULL or has `length` octets; `error` is NULL or points to an `mtasts_error` whose
/// size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_purge(
    context: *const mtasts_context,
    domain: *const c_char,
    length: usize,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, domain) = unsafe { (handle(context)?, name(domain, length)?) };
        Ok(i32::from(context.context.purge(&domain)?))
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}
