//! The TLSA records of an MX host, asked for in the order of RFC 7672 2.1-2.2.
//!
//! What cannot be learnt is an error, and the host waits: an attacker who could turn a failure into "no records" would
//! have switched DANE off (RFC 7672 2.1.2).
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::network::dns::{Answered, Dns, DnsError, StubResolver};
use crate::protocol::names::Domain;
use crate::protocol::tlsa::TlsaSet;

/// How many aliases of a host are followed. Resolvers follow as many.
const MAX_ALIASES: usize = 16;

/// What DNS has for DANE at one MX host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRecords {
    /// The host has no DANE: its addresses are insecure, or there are no TLSA records that DNSSEC vouches for.
    None,
    /// Authentic records.
    Records {
        /// The TLSA base domain: the name for SNI, and the first name of a certificate (RFC 7672 2.2.3).
        base: Domain,
        /// Usable or not.
        records: TlsaSet,
        /// How long they may be kept.
        ttl: Duration,
    },
}

/// Asks for the records of an MX host and of port 25. `dns` is the one resolver whose word on DNSSEC is believed. The
/// addresses come first, and nothing more is asked where they are insecure: name servers of unsigned zones that fail at
/// TLSA would hold mail up for nothing (RFC 7672 2.1.1).
///
/// # Errors
/// Any [`DnsError`] but the absence of TLSA records; the absence of addresses is one, too.
pub fn records_of(dns: &StubResolver, host: &Domain, deadline: Instant) -> Result<HostRecords, DnsError> {
    let addresses = dns.addresses(host.as_str(), deadline)?;
    for base in base_domains(dns, host, &addresses, deadline)? {
        match dns.tlsa(&format!("_25._tcp.{base}"), deadline) {
            Ok(found) if found.authenticated => {
                return Ok(HostRecords::Records {
                    base,
                    records: TlsaSet::read(found.data.iter().map(Vec::as_slice)),
                    ttl: found.ttl.min(addresses.ttl),
                });
            }
            Ok(_) => {}
            Err(error) if error.is_absence() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(HostRecords::None)
}

/// The names that can be the TLSA base domain, the first one first: where all aliases lead, if all of it is secure, then
/// the host's own name. If only the first alias is secure, the host's own name alone (RFC 7672 2.1.3, 2.2.2).
fn base_domains<T>(
    dns: &StubResolver,
    host: &Domain,
    addresses: &Answered<T>,
    deadline: Instant,
) -> Result<Vec<Domain>, DnsError> {
    let mut end = host.clone();
    for _ in 0..MAX_ALIASES {
        match dns.alias(end.as_str(), deadline) {
            Ok(alias) if !addresses.authenticated => {
                return Ok(if alias.authenticated {
                    vec![host.clone()]
                } else {
                    Vec::new()
                });
            }
            // A name that no certificate can have is no base domain.
            Ok(alias) => match Domain::parse(&alias.data) {
                Ok(target) => end = target,
                Err(_) => return Ok(vec![host.clone()]),
            },
            Err(error) if error.is_absence() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(match addresses.authenticated {
        false => Vec::new(),
        true if end == *host => vec![end],
        true => vec![end, host.clone()],
    })
}
