//! A policy in the words of Sendmail 8.17 and newer: what the map of `FEATURE(sts)` may return.
//!
//! Its rule set cuts `servername=hostname` off the end and takes all that is behind `match=` as names with colons between
//! them. It ignores what is behind the 255th character of the list, and with about a thousand octets it breaks and
//! delivers without any check. So a list that is longer is not given.

use super::hosts::listed;
use super::postfix::names;
use crate::protocol::names::Domain;
use crate::protocol::policy::Policy;

/// The longest list in characters.
const LONGEST: usize = 255;

/// `secure match=A:B servername=hostname` in exactly this order with nothing behind; nothing if the list is too long.
pub(super) fn secure(policy: &Policy, hosts: &[Domain]) -> Option<String> {
    let (listed, _) = listed(policy, hosts);
    let names = names(&listed);
    (names.len() <= LONGEST).then(|| format!("secure match={names} servername=hostname"))
}
