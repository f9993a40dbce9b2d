//! Chains that cost as much as a stranger can make them cost. Most of what he sends need not be signed by anybody: it
//! is made octet by octet.

use mtasts::network::roots::Roots;
use rcgen::{GeneralSubtree, IsCa, NameConstraints, SigningKey};

use super::{Authority, der_length, host, intermediate, roots};

/// ecdsa-with-SHA256, as an algorithm identifier.
const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// sha256WithRSAEncryption, likewise.
const RSA_SHA256: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";

/// A chain and the roots to check it with.
pub struct Worst {
    pub what: String,
    pub chain: Vec<Vec<u8>>,
    pub roots: Roots,
}

impl Worst {
    pub fn octets(&self) -> usize {
        self.chain.iter().map(Vec::len).sum()
    }
}

/// All of them, for the host `mx1.example.com`.
pub fn chains() -> Vec<Worst> {
    let made = |what: &str, chain: Vec<Vec<u8>>, known: &Authority| Worst {
        what: what.to_owned(),
        chain,
        roots: roots(&[known]),
    };
    let root = super::root("Root");
    let slow = Authority::self_signed(
        super::authority_params("Root"),
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key"),
    )
    .expect("a root");
    let ec = |n: usize| ec_key(&[n as u8 + 1; 64]);
    let mut all = Vec::new();
    // Authorities of one name that may all have issued each other: what is tried is every order of them.
    for (count, size) in [(8, 1_000), (8, 6_600), (8, 10_200), (60, 1_000), (100, 600)] {
        let mut chain = vec![Made::new("A", "host", ec(0)).der()];
        chain.extend((1..=count).map(|n| Made::new("A", "A", ec(n)).authority().crowded(size).der()));
        all.push(made(
            &format!("{count} CAs of one name, {size} octets each"),
            chain,
            &root,
        ));
    }
    // The same under the name of a root, whose key is then to be tried for each order.
    for (kind, known) in [("P-256", &root), ("P-384", &slow)] {
        for size in [300, 6_600] {
            let mut chain = vec![Made::new("Root", "host", ec(0)).der()];
            chain.extend((1..=8).map(|n| Made::new("Root", "Root", ec(n)).authority().crowded(size).der()));
            all.push(made(
                &format!("8 CAs of a root's name ({kind}), {size} octets each"),
                chain,
                known,
            ));
        }
    }
    // A CA that is trusted and has issued them, each with the slowest key that there is: 8192 bits, 33 of its exponent.
    for (bits, exponent) in [
        (4096, &b"\x01\x00\x01"[..]),
        (8192, b"\x01\xff\xff\xff\xff"),
        (16_384, b"\x01\xff\xff\xff\xff"),
    ] {
        for ends in ["A", "Root"] {
            let rsa = |n: usize| rsa_key(bits, exponent, n as u8);
            let mut leaf = Made::new(ends, "host", rsa(0));
            leaf.signature = (RSA_SHA256, vec![0x55; bits / 8]);
            let mut chain = vec![leaf.der()];
            chain.extend((1..=8).map(|n| Made::new("Root", ends, rsa(n)).authority().signed_by(&root)));
            all.push(made(
                &format!("8 CAs named {ends} with RSA-{bits}, signed by the root"),
                chain,
                &root,
            ));
        }
    }
    // A root itself that has issued as many names and constraints as fit.
    for (names, constraints, length) in [
        (2_500, 2_500, 20),
        (490, 490, 120),
        (300, 300, 20),
        (120, 120, 60),
        (60, 60, 120),
        (20_000, 0, 1),
    ] {
        // Of one length, and equal up to the last letters: a comparison has to look at all of it.
        let long = |n: usize, end: &str| match length {
            1 => "a".to_owned(),
            60.. => format!(
                "{}.{}{end}",
                "x".repeat(50),
                "y".repeat((length - 51 - end.len()).min(60))
            ),
            _ => format!("host{n:04}.example.{end}"),
        };
        let narrow = intermediate("Narrow", &root, |params| {
            let excluded = |n| GeneralSubtree::DnsName(long(n, "com"));
            params.name_constraints = (constraints > 0).then(|| NameConstraints {
                permitted_subtrees: Vec::new(),
                excluded_subtrees: (0..constraints).map(excluded).collect(),
            });
        });
        let names: Vec<String> = (0..names).map(|n| long(n, "net")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let leaf = host(&names, &narrow, |params| params.is_ca = IsCa::NoCa).der;
        let what = format!("{} names of {length} octets, {constraints} constraints", names.len());
        all.push(made(&what, vec![leaf, narrow.der().to_vec()], &root));
    }
    all
}

/// A certificate to be.
struct Made {
    issuer: Vec<u8>,
    subject: Vec<u8>,
    key: Vec<u8>,
    extensions: Vec<Vec<u8>>,
    signature: (&'static [u8], Vec<u8>),
}

impl Made {
    fn new(issuer: &str, subject: &str, key: Vec<u8>) -> Self {
        // An ECDSA signature that reads well and is none: two small numbers.
        let signature = b"\x30\x06\x02\x01\x01\x02\x01\x01".to_vec();
        Self {
            issuer: name(issuer),
            subject: name(subject),
            key,
            extensions: Vec::new(),
            signature: (ECDSA_SHA256, signature),
        }
    }

    /// basicConstraints with cA.
    fn authority(mut self) -> Self {
        self.extensions
            .push(extension(b"\x55\x1d\x13", b"\x30\x03\x01\x01\xff"));
        self
    }

    /// Up to this size by extensions that nobody knows, as small as there are.
    fn crowded(mut self, size: usize) -> Self {
        let small = extension(b"\x2a", b"");
        let room = size.saturating_sub(self.to_sign().len() + 32);
        self.extensions
            .extend(std::iter::repeat_n(small.clone(), room / small.len()));
        self
    }

    fn to_sign(&self) -> Vec<u8> {
        let extensions = wrap(0xa3, &wrap(0x30, &self.extensions.concat()));
        let validity = wrap(
            0x30,
            &[wrap(0x17, b"000101000000Z"), wrap(0x17, b"491231235959Z")].concat(),
        );
        let version_and_serial = b"\xa0\x03\x02\x01\x02\x02\x01\x01";
        let parts = [
            version_and_serial,
            self.signature.0,
            &self.issuer,
            &validity,
            &self.subject,
            &self.key,
            &extensions,
        ];
        wrap(0x30, &parts.concat())
    }

    fn der(&self) -> Vec<u8> {
        self.closed(&self.signature.1)
    }

    fn signed_by(&self, issuer: &Authority) -> Vec<u8> {
        self.closed(&issuer.key().sign(&self.to_sign()).expect("a signature"))
    }

    fn closed(&self, signature: &[u8]) -> Vec<u8> {
        let signature = wrap(0x03, &[&[0], signature].concat());
        wrap(0x30, &[&self.to_sign()[..], self.signature.0, &signature].concat())
    }
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag], &der_length(content.len())[..], content].concat()
}

fn name(common_name: &str) -> Vec<u8> {
    let pair = [b"\x06\x03\x55\x04\x03", &wrap(0x0c, common_name.as_bytes())[..]].concat();
    wrap(0x30, &wrap(0x31, &wrap(0x30, &pair)))
}

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    wrap(0x30, &[wrap(0x06, oid), wrap(0x04, value)].concat())
}

/// A key on P-256 that need not be on it.
fn ec_key(point: &[u8; 64]) -> Vec<u8> {
    let algorithm = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let point = wrap(0x03, &[&[0, 4], &point[..]].concat());
    wrap(0x30, &[&algorithm[..], &point].concat())
}

fn rsa_key(bits: usize, exponent: &[u8], n: u8) -> Vec<u8> {
    let mut modulus = vec![0; 1];
    modulus.extend(vec![0xc5 ^ n; bits / 8]);
    *modulus.last_mut().expect("not empty") |= 1;
    let numbers = wrap(0x30, &[wrap(0x02, &modulus), wrap(0x02, exponent)].concat());
    let bits = wrap(0x03, &[&[0], &numbers[..]].concat());
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    wrap(0x30, &[&algorithm[..], &bits].concat())
}
