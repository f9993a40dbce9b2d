//! What an SPF record says of an address (RFC 7208), as far as it says it without macros.

use std::net::IpAddr;
use std::time::Instant;

use mtasts::network::dns::{Dns, DnsError, StubResolver};
use mtasts::protocol::names::Domain;

/// How many terms may ask DNS (RFC 7208 4.6.4).
const MOST: u32 = 10;

/// The record of a domain among its TXT records, if there is one, and only one (RFC 7208 4.5).
#[must_use]
pub fn records(texts: &[String]) -> Vec<&String> {
    let is_spf = |text: &&String| {
        let first = text.split(' ').next();
        first.is_some_and(|word| word.eq_ignore_ascii_case("v=spf1"))
    };
    texts.iter().filter(is_spf).collect()
}

/// An evaluation for one address.
pub struct Evaluation<'a> {
    dns: &'a StubResolver,
    address: IpAddr,
    deadline: Instant,
    asked: u32,
}

impl<'a> Evaluation<'a> {
    /// One that may take until the deadline.
    #[must_use]
    pub const fn new(dns: &'a StubResolver, address: IpAddr, deadline: Instant) -> Self {
        Self {
            dns,
            address,
            deadline,
            asked: 0,
        }
    }

    /// Whether mail of the domain may come from the address: the record lists it with no qualifier, or with `+`.
    ///
    /// # Errors
    /// In words: it is not known, such as with a macro.
    pub fn allows(&mut self, record: &str, domain: &str) -> Result<bool, String> {
        let mut redirect = None;
        for term in record.split(' ').skip(1).filter(|term| !term.is_empty()) {
            let term = term.to_ascii_lowercase();
            if term.contains('%') {
                return Err(format!("it has a macro: {term}"));
            }
            if let Some(to) = term.strip_prefix("redirect=") {
                redirect = Some(to.to_owned());
            } else if !term.contains('=') {
                let (allows, mechanism) = match term.strip_prefix(['-', '~', '?']) {
                    Some(mechanism) => (false, mechanism),
                    None => (true, term.strip_prefix('+').unwrap_or(&term)),
                };
                if self.matches(mechanism, domain)? {
                    return Ok(allows);
                }
            }
        }
        match redirect {
            Some(to) => self.of(&to),
            None => Ok(false),
        }
    }

    /// What the record of another domain says.
    fn of(&mut self, domain: &str) -> Result<bool, String> {
        self.count()?;
        let found = self.dns.txt(domain, self.deadline);
        let texts = found.map_err(|error| format!("{domain}: {error}"))?.data;
        let texts: Vec<String> = texts
            .iter()
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        match records(&texts)[..] {
            [one] => self.allows(one, domain),
            _ => Err(format!("{domain} has no SPF record, or several")),
        }
    }

    fn matches(&mut self, mechanism: &str, domain: &str) -> Result<bool, String> {
        let (mechanism, lengths) = mechanism.split_once('/').unwrap_or((mechanism, ""));
        let (word, value) = mechanism.split_once(':').unwrap_or((mechanism, ""));
        let host = if value.is_empty() { domain } else { value };
        match word {
            "all" => Ok(true),
            "ip4" | "ip6" => {
                let network = value.parse().map_err(|_| format!("{value} is not an address"))?;
                is_within(self.address, network, lengths)
            }
            "a" => {
                self.count()?;
                self.has(host, lengths)
            }
            "mx" => {
                let domain = Domain::parse(host).map_err(|error| format!("{host}: {error}"))?;
                self.count()?;
                let hosts = absent(self.dns.mx(&domain, self.deadline).map(|found| found.data))?;
                let mut hosts = hosts
                    .iter()
                    .take(MOST as usize)
                    .map(|host| self.has(&host.exchange, lengths));
                hosts.try_fold(false, |found, host| Ok(found || host?))
            }
            "include" => self.of(value),
            other => Err(format!("it has the mechanism {other}")),
        }
    }

    fn has(&self, host: &str, lengths: &str) -> Result<bool, String> {
        // `/24`, `//64` or `/24//64`.
        let (four, six) = match lengths.strip_prefix('/') {
            Some(six) => ("", six),
            None => lengths.split_once("//").unwrap_or((lengths, "")),
        };
        let length = if self.address.is_ipv4() { four } else { six };
        let addresses = absent(self.dns.addresses(host, self.deadline).map(|found| found.data))?;
        let mut within = addresses
            .iter()
            .map(|network| is_within(self.address, *network, length));
        within.try_fold(false, |found, within| Ok(found || within?))
    }

    fn count(&mut self) -> Result<(), String> {
        self.asked += 1;
        if self.asked > MOST {
            return Err(format!("it asks DNS more than {MOST} times (RFC 7208 4.6.4)"));
        }
        Ok(())
    }
}

/// A name that does not exist matches nothing.
fn absent<T>(found: Result<Vec<T>, DnsError>) -> Result<Vec<T>, String> {
    match found {
        Err(error) if error.is_absence() => Ok(Vec::new()),
        other => other.map_err(|error| error.to_string()),
    }
}

/// Whether an address is in a network of this length; all of the address if the length is empty.
fn is_within(address: IpAddr, network: IpAddr, length: &str) -> Result<bool, String> {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return Ok(false),
    };
    let length = if length.is_empty() { Ok(width) } else { length.parse() };
    let length: u32 = length
        .ok()
        .filter(|length| *length <= width)
        .ok_or("a length is not one of a network")?;
    let differ = address ^ network;
    Ok(differ.checked_shr(width - length).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_alone() {
        let within = |address: &str, network: &str, length| {
            is_within(address.parse().unwrap(), network.parse().unwrap(), length)
        };
        assert_eq!(within("192.0.2.7", "192.0.2.0", "24"), Ok(true));
        assert_eq!(within("192.0.3.7", "192.0.2.0", "24"), Ok(false));
        assert_eq!(within("192.0.2.7", "192.0.2.7", ""), Ok(true));
        assert_eq!(within("192.0.2.7", "192.0.2.6", "32"), Ok(false));
        assert_eq!(within("192.0.2.7", "10.0.0.0", "0"), Ok(true));
        assert_eq!(within("2001:db8::1", "2001:db8::", "32"), Ok(true));
        assert_eq!(within("2001:db8::1", "2001:db9::", "32"), Ok(false));
        assert_eq!(within("2001:db8::1", "::", "0"), Ok(true));
        assert_eq!(within("2001:db8::1", "192.0.2.0", "0"), Ok(false));
        assert!(within("192.0.2.7", "192.0.2.0", "33").is_err() && within("192.0.2.7", "192.0.2.0", "x").is_err());
    }
}
