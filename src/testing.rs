//! Ways for the fuzz targets to rooms that no other program sees (the feature `testing`).
#![forbid(unsafe_code)]

use crate::answer::Answer;
use crate::entry::Entry;
use crate::names::Domain;
use crate::wire;

/// What root makes of the message of a helper about a domain, at the time `now`.
#[must_use]
pub fn helper_message(domain: &Domain, message: &[u8], now: u64) -> Option<Result<(Answer, Entry), String>> {
    let told = wire::read(domain, message, now, 3600)?;
    Some(
        told.map(|told| (told.answer, told.entry))
            .map_err(|why| why.to_string()),
    )
}
