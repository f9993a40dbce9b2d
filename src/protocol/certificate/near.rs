//! What in a certificate nearly names a host, and why it does not (RFC 8461 4.2, RFC 9525 6.3).

use std::net::IpAddr;

use webpki::EndEntityCert;

use crate::protocol::der;
use crate::protocol::mx::{self, MxPattern};
use crate::protocol::names::Domain;
use crate::protocol::text::ascii_line;

/// How many names are looked at. A certificate has a handful.
const MAX_NAMES: usize = 100;
/// How many names that do not count are told.
const TOLD: usize = 2;
/// Of GeneralName (RFC 5280 4.2.1.6).
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Clauses for the reason of a mismatch, the most useful first: a star in the wrong place, the common name, names that are
/// no DNS names.
pub(super) fn clauses(leaf: &EndEntityCert<'_>, host: &Domain) -> Vec<String> {
    let names: Vec<&str> = leaf.valid_dns_names().take(MAX_NAMES).collect();
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let patterns = lower.iter().filter_map(|name| MxPattern::parse(name).ok());
    let star = patterns
        .into_iter()
        .find(|pattern| mx::near_miss(*pattern, host).is_some());
    let star = star.map(|pattern| format!("the star of {pattern} stands for exactly one label"));
    let common =
        der::common_name(leaf.subject()).filter(|name| name.eq_ignore_ascii_case(host.as_str()) && !names.is_empty());
    let common = common.map(|name| format!("the common name {name} is ignored"));
    let der = leaf.der();
    let others = der::alt_names(&der, MAX_NAMES)
        .into_iter()
        .filter_map(|(tag, octets)| uncounted(tag, octets, &names));
    star.into_iter().chain(common).chain(others.take(TOLD)).collect()
}

/// A name that does not count, and why.
fn uncounted(tag: u8, octets: &[u8], counted: &[&str]) -> Option<String> {
    match tag {
        IP_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()?;
            Some(format!("the IP address {ip} is not a host name"))
        }
        DNS_NAME => {
            let text = String::from_utf8_lossy(octets);
            if counted.contains(&&*text) {
                return None;
            }
            let name = ascii_line(&text, 64);
            Some(match text.split_once('*') {
                Some(("", rest)) if rest.matches('.').count() == 1 => {
                    format!("{name} would cover a whole top-level domain")
                }
                Some(_) => format!("the star of {name} is not its whole first label"),
                None => format!("{name} is not a host name"),
            })
        }
        _ => None,
    }
}
