//! The cache for C: its inventory, and the removal of one domain.

use std::ffi::{CString, c_char};
use std::ptr;
use std::vec;

use super::context::mtasts_context;
use super::error::{guard, mtasts_error};
use super::{OK, c_text, free, handle, name, place};

/// The domains that were in the cache when the listing was created. For one thread at a time.
pub struct mtasts_listing {
    domains: vec::IntoIter<CString>,
    /// What the last call has lent.
    lent: Option<CString>,
}

/// Lists the domains of which the cache has an entry, in alphabetical order. Without a cache directory these are the
/// domains whose policy is in memory. A file that is not an entry is not listed. A file that this process may not read
/// can be an entry, and is listed. The policy may have expired: ask `mtasts_lookup_cached`, which is a use of the
/// domain.
///
/// In a process of root a child reads the cache after it has become the owner of the cache directory.
///
/// `out` receives the listing. Free it with `mtasts_listing_free`.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`, or `MTASTS_E_UNAVAILABLE` if the cache directory cannot be used. A cache
/// directory that does not exist yet has no domains; for root it is `MTASTS_E_UNAVAILABLE`, because it has no owner to
/// become.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_listing_new(
    context: *const mtasts_context,
    out: *mut *mut mtasts_listing,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, out) = unsafe { (handle(context)?, place(out)?) };
        let domains = context.context.domains()?;
        let domains: Vec<CString> = domains.iter().map(|domain| c_text(domain.as_str())).collect();
        *out = Box::into_raw(Box::new(mtasts_listing {
            domains: domains.into_iter(),
            lent: None,
        }));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The next domain, in A-labels and lower case; NULL after the last one. The text is valid until the next call with
/// this listing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_listing_next(listing: *mut mtasts_listing) -> *const c_char {
    // SAFETY: the caller's promise.
    let Some(listing) = (unsafe { listing.as_mut() }) else {
        return ptr::null();
    };
    listing.lent = listing.domains.next();
    listing.lent.as_ref().map_or(ptr::null(), |name| name.as_ptr())
}

/// Frees a listing and the text that it lent. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_listing_free(listing: *mut mtasts_listing) {
    // SAFETY: the caller does not use it again.
    unsafe { free(listing) }
}

/// Removes a domain from the cache, on disk and in the memory of this process. Another process may repeat its answer
/// for some seconds.
///
/// Until the domain is looked up again, only a DNS record that an attacker may forge protects its mail. Purge an entry
/// that is wrong, not one that is old.
///
/// In a process of root a child removes the file after it has become the owner of the cache directory.
///
/// Returns 1, or 0 if there was nothing to remove; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
/// `MTASTS_E_UNAVAILABLE` if the file cannot be removed.
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
