//! Which addresses a policy host may have, and an MX host if it is we who connect.
//!
//! The owner of a domain chooses the addresses of its hosts, and we connect to them: without this check a stranger
//! could make the mail server connect to hosts of its own private network (SSRF). So only addresses of the public
//! Internet are contacted, unless the operator names a network.
#![forbid(unsafe_code)]

mod network;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use network::{Nat64Prefix, Nat64PrefixError, Network, NetworkError};
use network::{same_prefix_v4, same_prefix_v6};

/// IPv4 blocks without public hosts (IANA IPv4 Special-Purpose Address Registry, RFC 6890). Those for AS112 and AMT
/// are called globally reachable there, but any network may have such a service inside, at the same addresses
/// (RFC 7534 3.4, RFC 7535 3.2, RFC 7450 4.1.4): packets for them may end in our network, and no policy host is there.
const REFUSED_V4: [(Ipv4Addr, u8, &str); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an unspecified address"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's shared address (CGNAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "an address of a protocol"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a documentation address"),
    (
        Ipv4Addr::new(192, 31, 196, 0),
        24,
        "an anycast address of a service (AS112)",
    ),
    (
        Ipv4Addr::new(192, 52, 193, 0),
        24,
        "an anycast address of a service (AMT)",
    ),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (
        Ipv4Addr::new(192, 175, 48, 0),
        24,
        "an anycast address of a service (AS112)",
    ),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a benchmark address"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "a documentation address"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a documentation address"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    // Before the block that holds it: the words are better.
    (Ipv4Addr::BROADCAST, 32, "the broadcast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// IPv6 blocks without public hosts (IANA IPv6 Special-Purpose Address Registry). 2001::/23 is for protocols; of what
/// is assigned there only Teredo is looked into further (below), and nothing else is a public host: 2001:1::1 to
/// 2001:1::3 are the nearest router, relay or registrar of this very network (RFC 7723, RFC 8155, RFC 9665), AMT and
/// AS112 as in IPv4, ORCHID and DRIP are not addresses of packets. What is not global unicast today (RFC 4291 2.4, RFC
/// 3587), such as 5f00::/16 (RFC 9602), is refused without a line here: what is assigned later can be allowed later.
const REFUSED_V6: [(Ipv6Addr, u8, &str); 16] = [
    (Ipv6Addr::UNSPECIFIED, 128, "an unspecified address"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (v6(0x64, 0xff9b, 1), 48, "a local translation address (NAT64)"),
    (v6(0x100, 0, 0), 64, "a discard address"),
    (v6(0x2001, 2, 0), 48, "a benchmark address"),
    (v6(0x2001, 0x10, 0), 28, "an identifier, not an address (ORCHID)"),
    (v6(0x2001, 0x20, 0), 28, "an identifier, not an address (ORCHID)"),
    (v6(0x2001, 0x30, 0), 28, "an identifier, not an address (DRIP)"),
    // After the blocks in it: their words are better.
    (v6(0x2001, 0, 0), 23, "an address of a protocol"),
    (v6(0x2001, 0xdb8, 0), 32, "a documentation address"),
    (v6(0x2620, 0x4f, 0x8000), 48, "an anycast address of a service (AS112)"),
    (v6(0x3fff, 0, 0), 20, "a documentation address"),
    (v6(0xfc00, 0, 0), 7, "a private address"),
    (v6(0xfe80, 0, 0), 10, "a link-local address"),
    (v6(0xfec0, 0, 0), 10, "a site-local address"),
    (v6(0xff00, 0, 0), 8, "a multicast address"),
];

const fn v6(a: u16, b: u16, c: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
}

/// Which addresses may be contacted: those of the public Internet, and what the operator allows of the own network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Networks in which a host may be although they are not public.
    pub allowed: Vec<Network>,
    /// The prefixes of the translators (NAT64) of this network, beside the well-known one.
    pub nat64: Vec<Nat64Prefix>,
}

impl Rule {
    /// What is wrong with an address; `None` if a host may have it.
    ///
    /// An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo, ISATAP) is judged by the address that
    /// it carries, because that is where the packets end. NAT64 of a public address must pass: with DNS64 it is the
    /// only way out of a network without IPv4 (RFC 6147). 6to4 of a public address ends at that public address, and so
    /// gives a stranger nothing beyond the address itself.
    #[must_use]
    pub fn refusal(&self, ip: IpAddr) -> Option<&'static str> {
        // The mapped form is the IPv4 address: the kernel sends IPv4 (RFC 4291 2.5.5.2).
        let ip = ip.to_canonical();
        let translator = match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => self.nat64.iter().find(|prefix| prefix.contains(ip)),
        };
        // An allowed network is allowed as it is, but not the addresses behind a translator inside it.
        let means = |network: &&Network| translator.is_none_or(|prefix| prefix.holds(network));
        if self.allowed.iter().filter(means).any(|network| network.contains(ip)) {
            return None;
        }
        match (ip, translator) {
            (IpAddr::V4(ip), _) => refusal_v4(ip),
            (IpAddr::V6(ip), None) => refusal_v6(ip),
            (IpAddr::V6(ip), Some(prefix)) => match prefix.carried(ip) {
                Some(ip) => refusal_v4(ip),
                None => Some("not an address of a translator (NAT64)"),
            },
        }
    }
}

fn refusal_v4(ip: Ipv4Addr) -> Option<&'static str> {
    REFUSED_V4
        .iter()
        .find(|(first, prefix, _)| same_prefix_v4(ip, *first, *prefix))
        .map(|(.., words)| *words)
}

fn refusal_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let carried = |high: u16, low: u16| refusal_v4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        // RFC 6052 2.1: the well-known prefix of NAT64, the address in the last 32 bits.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => return carried(g, h),
        // RFC 3056 2: 6to4.
        (0x2002, _) => return carried(b, c),
        // RFC 4380 4: Teredo, the server in the clear and the client inverted.
        (0x2001, 0) => return carried(c, d).or_else(|| carried(!g, !h)),
        _ => {}
    }
    let block = REFUSED_V6
        .iter()
        .find(|(first, prefix, _)| same_prefix_v6(ip, *first, *prefix));
    match block {
        Some((.., words)) => Some(words),
        None if a >> 13 != 0b001 => Some("not a global unicast address"),
        // RFC 5214 6.1: ISATAP, an interface identifier in any network; the one bit is universal/local.
        None if (e & !0x0200, f) == (0, 0x5efe) => carried(g, h),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn refused(text: &str) -> bool {
        Rule::default().refusal(ip(text)).is_some()
    }

    /// Each block: its first and last address, and the neighbours outside (`-` where the neighbour is refused too,
    /// being of another block).
    const BLOCKS: [[&str; 4]; 34] = [
        ["-", "0.0.0.0", "0.255.255.255", "1.0.0.0"],
        ["9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"],
        ["100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"],
        ["126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"],
        ["169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"],
        ["172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"],
        ["191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"],
        ["192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"],
        ["192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0"],
        ["192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0"],
        ["192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"],
        ["192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"],
        ["192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0"],
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
        // Before it is Teredo.
        ["-", "2001:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"],
        [
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
        ],
        [
            "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
            "2620:4f:8000::",
            "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
            "2620:4f:8001::",
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
        // One bit beside the /96: not a global unicast address.
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
            assert_eq!(Rule::default().refusal(ip(text)), None, "{text}");
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
            ("2001:1::1", "an address of a protocol"),
            ("2001:1::3", "an address of a protocol"),
            ("2001:2::1", "a benchmark address"),
            ("2001:3::1", "an address of a protocol"),
            ("2001:4:112::1", "an address of a protocol"),
            ("2001:2f::1", "an identifier, not an address (ORCHID)"),
            ("2001:30::1", "an identifier, not an address (DRIP)"),
            ("2620:4f:8000::1", "an anycast address of a service (AS112)"),
            ("192.52.193.1", "an anycast address of a service (AMT)"),
            ("5f00::1", "not a global unicast address"),
            ("::7f00:1", "not a global unicast address"),
        ] {
            assert_eq!(Rule::default().refusal(ip(text)), Some(words), "{text}");
        }
    }

    #[test]
    fn what_is_allowed_passes_in_each_spelling_of_itself_alone() {
        let rule = Rule {
            allowed: ["127.0.0.0/8", "fd00::/8"]
                .map(|text| text.parse().expect(text))
                .to_vec(),
            ..Rule::default()
        };
        let refused = |text: &str| rule.refusal(ip(text)).is_some();
        assert!(!refused("127.1.2.3"));
        assert!(!refused("::ffff:127.0.0.1"));
        assert!(!refused("fd12::1"));
        assert!(refused("10.0.0.1"));
        // Another way to another place: the far end of a tunnel or translator has its own 127/8.
        assert!(refused("64:ff9b::127.0.0.1"));
    }

    #[test]
    fn behind_the_operators_own_translator_the_ipv4_address_decides() {
        let rule = |nat64: &str, allowed: &[&str]| Rule {
            allowed: allowed.iter().map(|text| text.parse().expect(text)).collect(),
            nat64: vec![nat64.parse().expect(nat64)],
        };
        let public = rule("2a00:64::/96", &[]);
        assert_eq!(public.refusal(ip("2a00:64::10.0.0.1")), Some("a private address"));
        assert_eq!(
            public.refusal(ip("2a00:64::169.254.169.254")),
            Some("a link-local address")
        );
        assert_eq!(public.refusal(ip("2a00:64::8.8.8.8")), None);
        // Beside the prefix nothing has changed.
        assert_eq!(public.refusal(ip("2a00:64::1:10.0.0.1")), None);
        assert_eq!(Rule::default().refusal(ip("2a00:64::10.0.0.1")), None);
        // The prefix may be of the private network (RFC 8215): what is behind it is not.
        for private in ["fd64::/96", "64:ff9b:1::/48", "2001:db8:64::/64"] {
            let (rule, prefix) = (rule(private, &[]), private.split('/').next().expect("a prefix"));
            let below = |v4: [u8; 4]| {
                let bits = u128::from(u32::from_be_bytes(v4));
                let bits = match private.rsplit('/').next() {
                    Some("48") => (bits >> 16) << 64 | (bits & 0xffff) << 40,
                    Some("64") => bits << 24,
                    _ => bits,
                };
                IpAddr::V6(Ipv6Addr::from_bits(
                    prefix.parse::<Ipv6Addr>().expect(prefix).to_bits() | bits,
                ))
            };
            assert_eq!(rule.refusal(below([8, 8, 8, 8])), None, "{private}");
            assert_eq!(
                rule.refusal(below([10, 0, 0, 1])),
                Some("a private address"),
                "{private}"
            );
        }
        // RFC 6052 2.2: what has other than zeros in the reserved octet is translated by none.
        assert!(rule("2a00:64::/32", &[]).refusal(ip("2a00:64:808:808:100::")).is_some());
        // A network around the translator does not open what is behind it; one that is behind it does.
        let around = rule("fd64::/96", &["fd00::/8", "10.0.0.0/8"]);
        assert!(around.refusal(ip("fd64::10.0.0.1")).is_some());
        assert_eq!(around.refusal(ip("fd65::1")), None);
        let behind = rule("fd64::/96", &["fd64::10.1.0.0/112"]);
        assert_eq!(behind.refusal(ip("fd64::10.1.2.3")), None);
        assert!(behind.refusal(ip("fd64::10.2.0.1")).is_some());
    }
}
