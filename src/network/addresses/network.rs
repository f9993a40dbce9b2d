//! Blocks of addresses as an operator writes them: allowed networks, and the prefixes of NAT64.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

pub(super) fn same_prefix_v4(a: Ipv4Addr, b: Ipv4Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits())
        .checked_shr(32 - u32::from(prefix))
        .unwrap_or(0)
        == 0
}

pub(super) fn same_prefix_v6(a: Ipv6Addr, b: Ipv6Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits())
        .checked_shr(128 - u32::from(prefix))
        .unwrap_or(0)
        == 0
}

/// A network that the operator allows: `198.18.0.0/15`, `fd00:1::/32`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// The text before the `/` is not an IP address.
    Address,
    /// The text after the `/` is not a number of bits that such an address has.
    Prefix,
    /// The address has bits beyond the prefix: another network was meant.
    HostBits,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "a network begins with an IP address, such as 192.0.2.0/24 or 2001:db8::/32",
            Self::Prefix => "the prefix of a network is a number from 0 to 32 (IPv4) or 128 (IPv6)",
            Self::HostBits => "the address of the network has bits after its prefix",
        })
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// Whether the address belongs to this network. An IPv4-mapped address is treated as the IPv4 address that it is.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => same_prefix_v4(ip, first, self.prefix),
            (IpAddr::V6(first), IpAddr::V6(ip)) => same_prefix_v6(ip, first, self.prefix),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            // `u8::from_str` takes a sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|bits| *bits <= longest)
                .ok_or(NetworkError::Prefix)?,
            Some(_) => return Err(NetworkError::Prefix),
        };
        let host_bits = match first {
            IpAddr::V4(ip) => ip.to_bits().checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
            IpAddr::V6(ip) => ip.to_bits().checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
        };
        if host_bits {
            return Err(NetworkError::HostBits);
        }
        Ok(match first.to_canonical() {
            // A mapped network is the IPv4 network: `contains` never sees the mapped form.
            canonical @ IpAddr::V4(_) if first.is_ipv6() && prefix >= 96 => Self {
                first: canonical,
                prefix: prefix - 96,
            },
            _ => Self { first, prefix },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// A prefix below which IPv6 addresses carry IPv4 addresses (RFC 6052 2.2): a translator (NAT64) of this network turns
/// them into those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64Prefix(Network);

/// Why a text is not a prefix of NAT64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nat64PrefixError {
    /// It is not an IPv6 network at all.
    Network,
    /// RFC 6052 2.2 knows six lengths.
    Length,
    /// RFC 6052 2.2: the bits 64 to 71 of each such address are zero, those of a prefix of 96 bits too.
    ReservedBits,
}

impl fmt::Display for Nat64PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "a NAT64 prefix is an IPv6 network, such as 2001:db8:64::/96",
            Self::Length => "a NAT64 prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052 2.2)",
            Self::ReservedBits => "bits 64 to 71 of a NAT64 prefix must be zero (RFC 6052 2.2)",
        })
    }
}

impl std::error::Error for Nat64PrefixError {}

impl Nat64Prefix {
    /// The octet whose bits are zero in each address that carries another (RFC 6052 2.2).
    const RESERVED: usize = 8;

    /// Whether the address is below the prefix.
    #[must_use]
    pub fn contains(&self, ip: Ipv6Addr) -> bool {
        self.0.contains(IpAddr::V6(ip))
    }

    /// Whether the network is a part of what is below the prefix: naming it means the addresses behind the translator.
    #[must_use]
    pub fn holds(&self, network: &Network) -> bool {
        network.prefix >= self.0.prefix && self.0.contains(network.first)
    }

    /// The IPv4 address that an address below the prefix carries, or `None` if the reserved bits are not zero: such
    /// an address is not a translator's.
    #[must_use]
    pub fn carried(&self, ip: Ipv6Addr) -> Option<Ipv4Addr> {
        let octets = ip.octets();
        let mut behind = octets
            .into_iter()
            .enumerate()
            .skip(usize::from(self.0.prefix) / 8)
            .filter(|(place, _)| *place != Self::RESERVED)
            .map(|(_, octet)| octet);
        let ip = [behind.next()?, behind.next()?, behind.next()?, behind.next()?];
        (octets[Self::RESERVED] == 0).then(|| ip.into())
    }
}

impl FromStr for Nat64Prefix {
    type Err = Nat64PrefixError;

    fn from_str(text: &str) -> Result<Self, Nat64PrefixError> {
        let network: Network = text.parse().map_err(|_| Nat64PrefixError::Network)?;
        let IpAddr::V6(first) = network.first else {
            return Err(Nat64PrefixError::Network);
        };
        if !matches!(network.prefix, 32 | 40 | 48 | 56 | 64 | 96) {
            return Err(Nat64PrefixError::Length);
        }
        if first.octets()[Self::RESERVED] != 0 {
            return Err(Nat64PrefixError::ReservedBits);
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, inside, outside) in [
            (
                "198.18.0.0/15",
                &["198.18.0.0", "198.19.255.255", "::ffff:198.18.0.1"][..],
                &["198.20.0.0", "::1"][..],
            ),
            ("127.0.0.1", &["127.0.0.1"], &["127.0.0.0", "127.0.0.2"]),
            ("::1", &["::1"], &["::", "::2", "127.0.0.1"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::"]),
            ("::/0", &["::", "ffff::"], &["10.0.0.1", "::ffff:10.0.0.1"]),
            ("fd00:1::/32", &["fd00:1:ffff::"], &["fd00:2::"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
        ] {
            let parsed: Network = network.parse().expect(network);
            for text in inside {
                assert!(parsed.contains(ip(text)), "{text} in {network}");
            }
            for text in outside {
                assert!(!parsed.contains(ip(text)), "{text} not in {network}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        use NetworkError::*;
        for (text, error) in [
            ("", Address),
            ("/8", Address),
            ("10", Address),
            ("example.com", Address),
            ("10.0.0.0 ", Address),
            ("010.0.0.0/8", Address),
            ("fe80::1%eth0", Address),
            ("10.0.0.0/", Prefix),
            ("10.0.0.0/33", Prefix),
            ("10.0.0.0/+8", Prefix),
            ("10.0.0.0/-1", Prefix),
            ("10.0.0.0/8/8", Prefix),
            ("::/129", Prefix),
            ("::/256", Prefix),
            ("10.0.0.1/8", HostBits),
            ("::1/0", HostBits),
            ("2001:db8::1/64", HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_network_prints_as_it_reads() {
        for text in ["198.18.0.0/15", "::1/128", "fd00:1::/32"] {
            assert_eq!(text.parse::<Network>().expect(text).to_string(), text);
        }
    }

    /// RFC 6052 2.4, table 1: 192.0.2.33 below each length of prefix.
    #[test]
    fn an_address_is_carried_as_the_rfc_shows() {
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            let parsed: Nat64Prefix = prefix.parse().expect(prefix);
            let address: Ipv6Addr = address.parse().expect(address);
            assert!(parsed.contains(address));
            assert_eq!(parsed.carried(address), Some(Ipv4Addr::new(192, 0, 2, 33)), "{prefix}");
            assert_eq!(parsed.to_string(), prefix);
            // The bits that are to be zero, and the bits after the address, which are ignored.
            let reserved = Ipv6Addr::from_bits(address.to_bits() | 1 << 56);
            assert_eq!(parsed.carried(reserved), None, "{prefix}");
            let suffix = Ipv6Addr::from_bits(address.to_bits() | 1);
            assert!(parsed.carried(suffix).is_some(), "{prefix}");
        }
    }

    #[test]
    fn refuses_what_is_no_prefix_of_nat64() {
        use Nat64PrefixError::*;
        for (text, error) in [
            ("", Network),
            ("10.0.0.0/8", Network),
            ("::ffff:10.0.0.0/104", Network),
            ("2001:db8::1/96", Network),
            ("2001:db8::", Length),
            ("2001:db8::/33", Length),
            ("2001:db8::/128", Length),
            ("::/0", Length),
            ("2001:db8:1:2:100::/96", ReservedBits),
        ] {
            assert_eq!(text.parse::<Nat64Prefix>(), Err(error), "{text}");
        }
    }
}
