//! Which addresses a policy host may have.
//!
//! Whoever owns a domain chooses the address of its policy host, and our fetch goes there: without this check a
//! stranger could make the mail server knock at the doors of its own private network (SSRF). So only addresses of the
//! public Internet are asked, unless the operator names a network.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 blocks that are no public hosts (IANA IPv4 Special-Purpose Address Registry, RFC 6890).
const REFUSED_V4: [(Ipv4Addr, u8, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an unspecified address"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's shared address (CGNAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "an address of a protocol"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a documentation address"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a benchmark address"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "a documentation address"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a documentation address"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    // Before the block that holds it: the words are better.
    (Ipv4Addr::BROADCAST, 32, "the broadcast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// IPv6 blocks that are no public hosts (IANA IPv6 Special-Purpose Address Registry). The last line holds all that is
/// not global unicast today (RFC 4291 2.4, RFC 3587): what is assigned later can be allowed later.
const REFUSED_V6: [(Ipv6Addr, u8, &str); 13] = [
    (Ipv6Addr::UNSPECIFIED, 128, "an unspecified address"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (v6(0x64, 0xff9b, 1), 48, "a local translation address (NAT64)"),
    (v6(0x100, 0, 0), 64, "a discard address"),
    (v6(0x2001, 2, 0), 48, "a benchmark address"),
    (v6(0x2001, 0x10, 0), 28, "an identifier, no address (ORCHID)"),
    (v6(0x2001, 0x20, 0), 28, "an identifier, no address (ORCHID)"),
    (v6(0x2001, 0xdb8, 0), 32, "a documentation address"),
    (v6(0x3fff, 0, 0), 20, "a documentation address"),
    (v6(0xfc00, 0, 0), 7, "a private address"),
    (v6(0xfe80, 0, 0), 10, "a link-local address"),
    (v6(0xfec0, 0, 0), 10, "a site-local address"),
    (v6(0xff00, 0, 0), 8, "a multicast address"),
];

const fn v6(a: u16, b: u16, c: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
}

/// Says what is wrong with an address, or nothing if a policy host may have it.
///
/// An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo, ISATAP) is judged by the address that it
/// carries, because that is where the packets end. NAT64 of a public address must pass: with DNS64 it is the only way
/// out of a network without IPv4 (RFC 6147). 6to4 of a public address ends at that public address, and so gives a
/// stranger nothing that he does not have with the address itself.
#[must_use]
pub fn refusal(ip: IpAddr, allowed: &[Network]) -> Option<&'static str> {
    if allowed.iter().any(|network| network.contains(ip)) {
        return None;
    }
    // The mapped form is the IPv4 address: the kernel sends IPv4 (RFC 4291 2.5.5.2).
    match ip.to_canonical() {
        IpAddr::V4(ip) => refusal_v4(ip),
        IpAddr::V6(ip) => refusal_v6(ip),
    }
}

fn refusal_v4(ip: Ipv4Addr) -> Option<&'static str> {
    REFUSED_V4
        .iter()
        .find(|(first, prefix, _)| same_prefix_v4(ip, *first, *prefix))
        .map(|(.., words)| *words)
}

fn refusal_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if let Some((.., words)) = REFUSED_V6
        .iter()
        .find(|(first, prefix, _)| same_prefix_v6(ip, *first, *prefix))
    {
        return Some(words);
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let carried = |high: u16, low: u16| refusal_v4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        // RFC 6052 2.1: the well-known prefix of NAT64, the address in the last 32 bits.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => carried(g, h),
        // RFC 3056 2: 6to4.
        (0x2002, _) => carried(b, c),
        // RFC 4380 4: Teredo, the server in the clear and the client inverted.
        (0x2001, 0) => carried(c, d).or_else(|| carried(!g, !h)),
        _ if a >> 13 != 0b001 => Some("no global unicast address"),
        // RFC 5214 6.1: ISATAP, an interface identifier in any network; the one bit is universal/local.
        _ if (e & !0x0200, f) == (0, 0x5efe) => carried(g, h),
        _ => None,
    }
}

fn same_prefix_v4(a: Ipv4Addr, b: Ipv4Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits())
        .checked_shr(32 - u32::from(prefix))
        .unwrap_or(0)
        == 0
}

fn same_prefix_v6(a: Ipv6Addr, b: Ipv6Addr, prefix: u8) -> bool {
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
    /// What stands before the `/` is not an IP address.
    Address,
    /// What stands after the `/` is not a number of bits that such an address has.
    Prefix,
    /// The address has bits beyond the prefix: somebody meant another network.
    HostBits,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "a network begins with an IP address, as in 192.0.2.0/24 or 2001:db8::/32",
            Self::Prefix => "the prefix of a network is a number from 0 to 32 (IPv4) or 128 (IPv6)",
            Self::HostBits => "the address of the network has bits after its prefix",
        })
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// Whether the address belongs to this network. An IPv4-mapped address counts as the IPv4 address that it is.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn refused(text: &str) -> bool {
        refusal(ip(text), &[]).is_some()
    }

    /// Each block: its first and last address, and the neighbours outside (`-` where the neighbour is refused too,
    /// being of another block).
    const BLOCKS: [[&str; 4]; 31] = [
        ["-", "0.0.0.0", "0.255.255.255", "1.0.0.0"],
        ["9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"],
        ["100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"],
        ["126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"],
        ["169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"],
        ["172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"],
        ["191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"],
        ["192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"],
        ["192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"],
        ["192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"],
        ["198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"],
        ["198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"],
        ["203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"],
        ["223.255.255.255", "224.0.0.0", "239.255.255.255", "-"],
        ["-", "240.0.0.0", "255.255.255.254", "-"],
        ["-", "255.255.255.255", "255.255.255.255", "-"],
        ["-", "::", "::", "-"],
        ["-", "::1", "::1", "-"],
        // IPv4-compatible addresses, public ones too: nothing routes them (RFC 4291 2.5.5.1).
        ["-", "::2", "::fffe:ffff:ffff", "-"],
        ["-", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "-"],
        ["-", "100::", "100::ffff:ffff:ffff:ffff", "-"],
        [
            "-",
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2000::",
        ],
        [
            "2001:1:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:2::",
            "2001:2:0:ffff:ffff:ffff:ffff:ffff",
            "2001:2:1::",
        ],
        [
            "2001:f:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:10::",
            "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:30::",
        ],
        [
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
        ],
        [
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff:1000::",
        ],
        [
            "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "4000::",
            "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "-",
        ],
        ["-", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"],
        ["-", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"],
        ["-", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"],
        ["-", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"],
    ];

    #[test]
    fn each_block_begins_and_ends_where_the_registry_says() {
        for [before, first, last, after] in BLOCKS {
            assert!(refused(first), "{first}");
            assert!(refused(last), "{last}");
            for neighbour in [before, after] {
                assert!(neighbour == "-" || !refused(neighbour), "{neighbour}");
            }
        }
    }

    #[test]
    fn a_carried_ipv4_address_decides() {
        for [before, first, last, after] in BLOCKS.into_iter().take_while(|[_, first, ..]| !first.contains(':')) {
            for (text, expected) in [(before, false), (first, true), (last, true), (after, false)] {
                let Ok(v4) = text.parse::<Ipv4Addr>() else {
                    continue;
                };
                let [a, b, c, d] = v4.octets();
                let hex = format!("{a:02x}{b:02x}:{c:02x}{d:02x}");
                let inverted = format!("{:02x}{:02x}:{:02x}{:02x}", !a, !b, !c, !d);
                for form in [
                    format!("::ffff:{v4}"),
                    format!("64:ff9b::{v4}"),
                    format!("2002:{hex}::1"),
                    format!("2002:{hex}:1:2:3:4:5"),
                    // Teredo: a server and a client; 8.8.8.8 inverted is f7f7:f7f7.
                    format!("2001:0:{hex}:8000:1234:f7f7:f7f7"),
                    format!("2001:0:808:808:8000:1234:{inverted}"),
                    format!("2600:1:2:3:0:5efe:{v4}"),
                    format!("2600:1:2:3:200:5efe:{v4}"),
                ] {
                    assert_eq!(refused(&form), expected, "{form}");
                }
            }
        }
    }

    #[test]
    fn the_whole_translation_prefix_is_not_its_neighbour() {
        assert!(!refused("64:ff9b::8.8.8.8"));
        assert!(refused("64:ff9b::10.0.0.1"));
        // One bit beside the /96: no global unicast address.
        assert!(refused("64:ff9b::1:808:808"));
        assert!(refused("64:ff9a:ffff::808:808"));
    }

    #[test]
    fn public_hosts_pass() {
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "217.160.0.1",
            "2600::",
            "2a00:1450:4001:81b::200e",
            "2620:fe::fe",
        ] {
            assert_eq!(refusal(ip(text), &[]), None, "{text}");
        }
    }

    #[test]
    fn words_name_the_kind() {
        for (text, words) in [
            ("127.0.0.1", "a loopback address"),
            ("169.254.169.254", "a link-local address"),
            ("255.255.255.255", "the broadcast address"),
            ("::1", "a loopback address"),
            ("::ffff:10.0.0.1", "a private address"),
            ("fe80::1", "a link-local address"),
            ("2001:db8::1", "a documentation address"),
            ("::7f00:1", "no global unicast address"),
        ] {
            assert_eq!(refusal(ip(text), &[]), Some(words), "{text}");
        }
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
    fn what_is_allowed_passes_in_each_spelling_of_itself_alone() {
        let allowed = [
            "127.0.0.0/8".parse().expect("a network"),
            "fd00::/8".parse().expect("a network"),
        ];
        assert_eq!(refusal(ip("127.1.2.3"), &allowed), None);
        assert_eq!(refusal(ip("::ffff:127.0.0.1"), &allowed), None);
        assert_eq!(refusal(ip("fd12::1"), &allowed), None);
        assert!(refusal(ip("10.0.0.1"), &allowed).is_some());
        // Another way to another place: the far end of a tunnel or translator has its own 127/8.
        assert!(refusal(ip("64:ff9b::127.0.0.1"), &allowed).is_some());
    }

    #[test]
    fn a_network_prints_as_it_reads() {
        for text in ["198.18.0.0/15", "::1/128", "fd00:1::/32"] {
            assert_eq!(text.parse::<Network>().expect(text).to_string(), text);
        }
    }
}
