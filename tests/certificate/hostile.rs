//! What is no certificate, and what is made to keep a mail server busy.

use std::time::{Duration, Instant};

use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::check_name;
use mtasts_kit::pki::{self, Authority, host, intermediate, root, roots};
use proptest::prelude::*;
use rcgen::{DnType, GeneralSubtree, NameConstraints};

use super::{MX, domain, told, verdict};

#[test]
fn unreadable() {
    let root = root("Root");
    let roots = roots(&[&root]);
    let good = host(&[MX], &root, |_| {}).der;
    let unreadable = "validation-failure: the certificate cannot be read";
    let with_more = [&good[..], b"\0"].concat();
    for bad in [
        &b""[..],
        b"\x30",
        b"garbage",
        b"\x30\x00",
        &good[..good.len() - 1],
        &with_more,
        b"-----BEGIN",
    ] {
        assert_eq!(verdict(&[bad], &roots), unreadable);
        assert_eq!(told(check_name(&domain(MX), bad)), unreadable);
    }
}

/// A megabyte, or thousands of certificates, must not keep a mail server busy. The limits are generous, for a slow
/// machine and an unoptimised build: each of these takes milliseconds.
#[test]
fn hostile_sizes() {
    const LIMIT: Duration = Duration::from_secs(5);
    let within_limit = |what: &str, work: &mut dyn FnMut() -> String| {
        let start = Instant::now();
        let verdict = work();
        println!("{what}: {:?}, {verdict}", start.elapsed());
        assert!(start.elapsed() < LIMIT, "{what}: {:?}", start.elapsed());
        verdict
    };
    let root = root("Root");
    let roots = roots(&[&root]);
    let ca = intermediate("CA", &root, |_| {});
    let leaf = host(&[MX], &ca, |_| {}).der;
    let unreadable = "validation-failure: the certificate cannot be read";

    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(1 << 20)
    .collect();
    let nested = [0x30, 0x83, 0x0f, 0xff, 0xfc].repeat((1 << 20) / 5);
    for (what, garbage) in [("noise", &noise), ("nested", &nested), ("zeros", &vec![0; 1 << 20])] {
        assert_eq!(within_limit(what, &mut || verdict(&[garbage], &roots)), unreadable);
        assert_eq!(
            within_limit(what, &mut || verdict(&[&leaf, garbage, ca.der()], &roots)),
            "ok"
        );
    }

    // 5000 times the same, and 5000 strangers: looked at are the first hundred.
    let mut chain = vec![&leaf[..]; 5000];
    chain[1] = ca.der();
    assert_eq!(within_limit("5000 leaves", &mut || verdict(&chain, &roots)), "ok");
    chain.swap(1, 4999);
    assert_eq!(
        within_limit("the CA as the 5000th", &mut || verdict(&chain, &roots)),
        "certificate-not-trusted: issued by an unknown CA: CN=CA"
    );

    // The worst for a search: hundreds of authorities of the same name, each of which may have issued each other.
    let ring = Authority::self_signed(pki::authority_params("Ring"), pki::key()).expect("a root");
    let ring: Vec<Authority> = (0..90).map(|_| intermediate("Ring", &ring, |_| {})).collect();
    let leaf = host(&[MX], &ring[0], |_| {}).der;
    let chain: Vec<&[u8]> = std::iter::once(&leaf[..])
        .chain(ring.iter().map(|ca| ca.der().as_ref()))
        .collect();
    let word = within_limit("ring", &mut || verdict(&chain, &roots));
    assert!(word.starts_with("certificate-not-trusted: "), "{word}");
    // A few of them, and strangers that must be passed over at each step.
    let strangers: Vec<Authority> = (0..90)
        .map(|n| intermediate(&format!("Stranger {n}"), &root, |_| {}))
        .collect();
    let ring_and_strangers = ring[..8].iter().chain(&strangers).map(|ca| ca.der().as_ref());
    let chain: Vec<&[u8]> = std::iter::once(&leaf[..]).chain(ring_and_strangers).collect();
    let word = within_limit("ring and strangers", &mut || verdict(&chain, &roots));
    assert!(word.starts_with("certificate-not-trusted: "), "{word}");
    // A ring of the name of a root: signatures have to be checked.
    let false_root = pki::root("Root");
    let ring: Vec<Authority> = (0..90).map(|_| intermediate("Root", &false_root, |_| {})).collect();
    let leaf = host(&[MX], &ring[0], |_| {}).der;
    let chain: Vec<&[u8]> = std::iter::once(&leaf[..])
        .chain(ring.iter().map(|ca| ca.der().as_ref()))
        .collect();
    let word = within_limit("false roots", &mut || verdict(&chain, &roots));
    assert!(word.starts_with("certificate-not-trusted: "), "{word}");

    // As many names as a certificate can have, with and without constraints on as many.
    let names: Vec<String> = (0..2500).map(|n| format!("host-{n:04}.example.net")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let crowded = host(&names, &ca, |_| {}).der;
    let word = within_limit("2500 names", &mut || verdict(&[&crowded, ca.der()], &roots));
    assert!(word.contains(" and 2493 more, not mx1.example.com"), "{word}");
    let narrow = intermediate("Narrow", &root, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: (0..2500)
                .map(|n| GeneralSubtree::DnsName(format!("excluded-{n:04}.example")))
                .collect(),
        });
    });
    let crowded = host(&names, &narrow, |_| {}).der;
    assert_eq!(
        within_limit("2500 names, 2500 constraints", &mut || verdict(
            &[&crowded, narrow.der()],
            &roots
        )),
        "certificate-not-trusted: the path to a root certificate is too long or too complex"
    );
}

/// The worst chains that there are, in the time that a mail server has. An unoptimised build is some ten times slower
/// than what is measured in benches/core.rs.
#[test]
fn the_worst_chains() {
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
    let mut slow = Vec::new();
    for worst in pki::worst::chains() {
        let chain: Vec<&[u8]> = worst.chain.iter().map(Vec::as_slice).collect();
        let timed = || {
            let start = Instant::now();
            let said = verdict(&chain, &worst.roots);
            (start.elapsed(), said)
        };
        let (mut took, said) = timed();
        // The machine may be busy: the best of some rounds counts.
        for _ in 0..5 {
            if took > limit {
                took = took.min(timed().0);
            }
        }
        println!("{}, {} octets: {took:?}, {said}", worst.what, worst.octets());
        assert_ne!(said, "ok");
        if took > limit {
            slow.push((worst.what, took));
        }
    }
    assert_eq!(slow, []);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes come, there is a verdict, and it is not "ok".
    #[test]
    fn arbitrary_bytes(chain in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5)) {
        let root = root("Root");
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        prop_assert_ne!(verdict(&chain, &roots(&[&root])), "ok");
    }

    /// A real chain of which some bytes are changed: never a panic, and never good, as every byte is signed.
    #[test]
    fn bent_chains(changes in prop::collection::vec((0_usize..2, any::<prop::sample::Index>(), 1_u8..), 1..4)) {
        static CHAIN: std::sync::LazyLock<(Roots, [Vec<u8>; 2])> = std::sync::LazyLock::new(|| {
            let root = root("Root");
            let ca = intermediate("CA", &root, |params| {
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
                    excluded_subtrees: vec![GeneralSubtree::DnsName("example.net".to_owned())],
                });
            });
            let leaf = host(&[MX, "*.mx.example.com"], &ca, |params| {
                params.distinguished_name.push(DnType::CommonName, MX);
            });
            (roots(&[&root]), [leaf.der, ca.der().to_vec()])
        });
        let (roots, mut chain) = (&CHAIN.0, CHAIN.1.clone());
        prop_assert_eq!(verdict(&[&chain[0], &chain[1]], roots), "ok");
        for (which, index, change) in changes {
            let at = index.index(chain[which].len());
            chain[which][at] ^= change;
        }
        if chain != CHAIN.1 {
            prop_assert_ne!(verdict(&[&chain[0], &chain[1]], roots), "ok");
        }
        let _ = check_name(&domain(MX), &chain[0]);
    }
}
