//! Which of DANE and MTA-STS decides about an MX host (RFC 8461 2, RFC 7672 2.2): one table, and nothing else decides it.
//!
//! An MTA-STS success never overrides a DANE failure, and what cannot be looked up is never taken for an absence: the host
//! is skipped, whatever the policy says. What the RFCs leave open is D-15.
#![forbid(unsafe_code)]

use crate::protocol::names::Domain;
use crate::protocol::tlsa::TlsaSet;
use crate::sender::dane::{Facts, HostRecords, Routing};

/// How an MX host proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As the policy says. Without one TLS is opportunistic.
    Sts,
    /// By its TLSA records alone. A policy that does not list the host is reported, not enforced.
    Dane(Asserted),
    /// By its TLSA records, and as the policy says: `strict-both`.
    Both(Asserted),
    /// It has TLSA records and none is usable: TLS is required, and its certificate counts only for a policy (RFC 7672 2.2).
    TlsWithoutName(Domain),
    /// It gets no mail now, for this reason.
    SkipHost(String),
}

/// What usable TLSA records assert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// The TLSA base domain: the name for SNI (RFC 7672 8.1).
    pub base: Domain,
    /// The names that a certificate under DANE-TA may have, the base domain first (RFC 7672 3.2.2).
    pub names: Vec<Domain>,
    /// The records.
    pub records: TlsaSet,
}

/// What an enforced policy says of the name of a host. A policy in testing, or under an exception, is not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// There is none.
    No,
    /// It lists the host.
    Listed,
    /// It does not.
    NotListed,
}

/// The table. `strict_both` asks a policy also where TLSA records decide.
#[must_use]
pub fn way(facts: &Facts, host: &Domain, policy: Enforced, strict_both: bool) -> Way {
    let domain = &facts.domain;
    let is_secure = match &facts.routing {
        Routing::Unknown(why) => {
            return Way::SkipHost(format!("the MX records of {domain} cannot be looked up: {why}"));
        }
        // The name of the host came from elsewhere, and was forged or is old.
        Routing::Secure(listed) if !listed.contains(host) => {
            return Way::SkipHost(format!(
                "{host} is not in the MX records of {domain}, for which DNSSEC vouches"
            ));
        }
        Routing::Absent if host != domain => {
            return Way::SkipHost(format!("{domain} has no MX records, so that {host} is not its MX host"));
        }
        Routing::Secure(_) | Routing::Absent => true,
        Routing::Insecure(_) => false,
    };
    match facts.host(host) {
        None => Way::SkipHost(format!("the TLSA records of {host} were not looked up")),
        Some(HostRecords::NoAddress) => Way::SkipHost(format!("{host} has no address")),
        Some(HostRecords::Unknown(why)) => Way::SkipHost(format!(
            "the addresses or the TLSA records of {host} cannot be looked up: {why}"
        )),
        Some(HostRecords::Insecure | HostRecords::Absent) => Way::Sts,
        Some(HostRecords::Records { base, records }) if records.used().is_empty() => Way::TlsWithoutName(base.clone()),
        // The name may be forged: the policy says which are not, and refuses this one.
        Some(HostRecords::Records { .. }) if !is_secure && policy == Enforced::NotListed => Way::Sts,
        Some(HostRecords::Records { base, records }) => {
            let mut names = vec![base.clone()];
            // The next-hop domain only if nobody can have forged the way from it to the host.
            for name in [Some(host), is_secure.then_some(domain)].into_iter().flatten() {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            let asserted = Asserted {
                base: base.clone(),
                names,
                records: records.clone(),
            };
            if strict_both {
                Way::Both(asserted)
            } else {
                Way::Dane(asserted)
            }
        }
    }
}

#[cfg(test)]
mod tests;
