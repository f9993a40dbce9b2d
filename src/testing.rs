//! Ways for the fuzz targets to rooms that no other program sees (the feature `testing`).
#![forbid(unsafe_code)]

use crate::cache::entry::Entry;
use crate::network::dns;
use crate::network::https;
use crate::protocol::names::Domain;
use crate::sender::answer::{Answer, Decision};
use crate::sender::wire;

/// What root makes of the message of a helper about a domain, at the time `now`.
#[must_use]
pub fn helper_message(domain: &Domain, message: &[u8], now: u64) -> Option<Result<(Answer, Entry), String>> {
    match wire::read(domain, message, (now, now), 3600)? {
        Ok(told) => Some(Ok((told.outcome.into_answer(Decision::default())?, told.entry))),
        Err(why) => Some(Err(why.to_string())),
    }
}

/// What is made of the octets of an answer to a question for the TXT, and for the MX records of a name.
#[must_use]
pub fn dns_answer(message: &[u8], name: &str) -> Option<dns::OfMessage> {
    dns::of_message(message, name)
}

/// What is made of the octets that a policy host sends inside TLS: the octets of a policy file, or why there are none.
///
/// # Errors
/// What is wrong, in plain words.
pub fn http_answer(octets: &[u8]) -> Result<Vec<u8>, String> {
    https::of_octets(octets)
}
