//! The path from a host to a root: times, signatures, issuers in any order.

use mtasts_kit::pki::{self, Authority, host, intermediate, intermediate_with_key, root, roots, self_signed_host};
use rcgen::{
    CertificateParams, CustomExtension, GeneralSubtree, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};

use super::{MX, verdict};

#[test]
fn no_certificate() {
    assert_eq!(
        verdict(&[], &roots(&[&root("Root")])),
        "validation-failure: the host sent no certificate"
    );
}

#[test]
fn a_good_chain() {
    let root = root("Root");
    let ca = intermediate("CA", &root, |_| {});
    let direct = host(&[MX], &root, |_| {});
    let leaf = host(&["mx2.example.com", "MX1.Example.COM"], &ca, |_| {});
    let roots = roots(&[&root]);
    assert_eq!(verdict(&[&direct.der], &roots), "ok");
    assert_eq!(verdict(&[&direct.der, root.der()], &roots), "ok");
    assert_eq!(verdict(&[&leaf.der, ca.der()], &roots), "ok");
    assert_eq!(verdict(&[&leaf.der, root.der(), ca.der()], &roots), "ok");
    assert_eq!(verdict(&[&leaf.der, &leaf.der, ca.der(), ca.der()], &roots), "ok");
    assert_eq!(verdict(&[&leaf.der, b"garbage", b"", ca.der()], &roots), "ok");
}

#[test]
fn times() {
    let root = root("Root");
    let roots = roots(&[&root]);
    let from_to = |from: (i32, u8, u8), to: (i32, u8, u8)| {
        move |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(from.0, from.1, from.2);
            params.not_after = date_time_ymd(to.0, to.1, to.2);
        }
    };
    let of_host = |from, to| verdict(&[&host(&[MX], &root, from_to(from, to)).der], &roots);
    assert_eq!(of_host((2026, 1, 1), (2026, 12, 31)), "ok");
    // The first and the last second belong to it (RFC 5280 4.1.2.5).
    assert_eq!(of_host((2026, 6, 1), (2026, 6, 1)), "ok");
    assert_eq!(
        of_host((2025, 3, 4), (2026, 5, 31)),
        "certificate-expired: the certificate expired on 2026-05-31"
    );
    assert_eq!(
        of_host((2026, 6, 2), (2027, 1, 1)),
        "certificate-not-trusted: the certificate is not valid before 2026-06-02"
    );
    assert_eq!(
        of_host((2027, 1, 1), (2026, 1, 1)),
        "certificate-not-trusted: the certificate ends before it begins"
    );

    let of_ca = |from, to| {
        let ca = intermediate("CA", &root, from_to(from, to));
        verdict(&[&host(&[MX], &ca, |_| {}).der, ca.der()], &roots)
    };
    assert_eq!(
        of_ca((2020, 1, 1), (2026, 1, 2)),
        "certificate-expired: a certificate of an issuer expired on 2026-01-02"
    );
    assert_eq!(
        of_ca((2027, 1, 1), (2030, 1, 1)),
        "certificate-not-trusted: a certificate of an issuer is not valid before 2027-01-01"
    );
}

/// An authority that has moved to a new root is sent with both of its certificates: one expired is no harm.
#[test]
fn cross_signed() {
    let (old, new) = (root("Old"), root("New"));
    let key = pki::key();
    let same = || KeyPair::try_from(key.serialized_der()).expect("the same key");
    let by_old = intermediate_with_key("CA", same(), &old, |params| {
        params.not_after = date_time_ymd(2021, 9, 30)
    });
    let by_new = intermediate_with_key("CA", same(), &new, |_| {});
    let leaf = host(&[MX], &by_new, |_| {});
    let roots = roots(&[&old, &new]);
    assert_eq!(verdict(&[&leaf.der, by_old.der(), by_new.der()], &roots), "ok");
    assert_eq!(verdict(&[&leaf.der, by_new.der(), by_old.der()], &roots), "ok");
    assert_eq!(
        verdict(&[&leaf.der, by_old.der()], &roots),
        "certificate-expired: a certificate of an issuer expired on 2021-09-30"
    );
}

#[test]
fn no_path_to_a_root() {
    let (known, unknown) = (root("Known"), root("Somebody's Root"));
    let ca = intermediate("CA \"1\"", &unknown, |_| {});
    let leaf = host(&[MX], &ca, |_| {});
    let roots = roots(&[&known]);
    for (chain, reason) in [
        (&[&self_signed_host(&[MX]).der[..]][..], "self-signed certificate"),
        (&[&leaf.der], "issued by an unknown CA: CN=CA \"1\""),
        (&[&leaf.der, ca.der()], "issued by an unknown CA: CN=Somebody's Root"),
        (
            &[&leaf.der, ca.der(), unknown.der()],
            "the chain ends in an unknown root certificate: CN=Somebody's Root",
        ),
        (
            &[&leaf.der, unknown.der(), ca.der()],
            "the chain ends in an unknown root certificate: CN=Somebody's Root",
        ),
        (
            &[unknown.der()],
            "the certificate is a CA certificate, not a host certificate",
        ),
    ] {
        assert_eq!(verdict(chain, &roots), format!("certificate-not-trusted: {reason}"));
    }
}

/// The same names as a chain that is trusted, but other keys.
#[test]
fn forged_signatures() {
    let real = root("Root");
    let forged = root("Root");
    let roots = roots(&[&real]);
    let reason = "certificate-not-trusted: a signature does not verify with the key of its issuer, or that key is weak";
    assert_eq!(verdict(&[&host(&[MX], &forged, |_| {}).der], &roots), reason);
    let ca = intermediate("CA", &real, |_| {});
    let forged = intermediate("CA", &forged, |_| {});
    assert_eq!(verdict(&[&host(&[MX], &forged, |_| {}).der, ca.der()], &roots), reason);
    let mut bent = host(&[MX], &ca, |_| {}).der;
    *bent.last_mut().expect("not empty") ^= 1;
    assert_eq!(verdict(&[&bent, ca.der()], &roots), reason);
}

#[test]
fn missing_intermediate() {
    let root = root("Root");
    let first = intermediate("First", &root, |_| {});
    let second = intermediate("Second", &first, |_| {});
    let leaf = host(&[MX], &second, |_| {});
    let roots = roots(&[&root]);
    let reason = |ca| format!("certificate-not-trusted: issued by an unknown CA: CN={ca}");
    assert_eq!(verdict(&[&leaf.der], &roots), reason("Second"));
    assert_eq!(verdict(&[&leaf.der, first.der()], &roots), reason("Second"));
    assert_eq!(verdict(&[&leaf.der, second.der()], &roots), reason("First"));
}

#[test]
fn name_constraints() {
    let root = root("Root");
    let roots = roots(&[&root]);
    let within = |permitted: &[&str], excluded: &[&str], names: &[&str]| {
        let subtrees = |names: &[&str]| {
            names
                .iter()
                .map(|name| GeneralSubtree::DnsName((*name).to_owned()))
                .collect()
        };
        let ca = intermediate("CA", &root, |params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtrees(permitted),
                excluded_subtrees: subtrees(excluded),
            });
        });
        verdict(&[&host(names, &ca, |_| {}).der, ca.der()], &roots)
    };
    let violated = "certificate-not-trusted: the certificate names hosts that its CA must not issue for";
    assert_eq!(within(&["example.com"], &[], &[MX]), "ok");
    assert_eq!(within(&["example.net", "example.com"], &[], &[MX]), "ok");
    assert_eq!(within(&[], &["example.net"], &[MX]), "ok");
    assert_eq!(within(&["example.net"], &[], &[MX]), violated);
    assert_eq!(within(&["example.com"], &[], &[MX, "mx.example.net"]), violated);
    assert_eq!(within(&[], &["example.com"], &[MX]), violated);
    assert_eq!(within(&["example.com"], &["mx1.example.com"], &[MX]), violated);
}

#[test]
fn intermediates_in_any_order() {
    let root = root("Root");
    let one = intermediate("One", &root, |_| {});
    let two = intermediate("Two", &one, |_| {});
    let three = intermediate("Three", &two, |_| {});
    let leaf = host(&[MX], &three, |_| {});
    let roots = roots(&[&root]);
    let others = [one.der(), two.der(), three.der(), root.der()];
    for a in 0..4 {
        for b in (0..4).filter(|b| *b != a) {
            for c in (0..4).filter(|c| ![a, b].contains(c)) {
                let d = 6 - a - b - c;
                let chain: [&[u8]; 5] = [&leaf.der, others[a], others[b], others[c], others[d]];
                assert_eq!(verdict(&chain, &roots), "ok", "{a}{b}{c}{d}");
            }
        }
    }
}

#[test]
fn ten_certificates() {
    let root = root("Root");
    let roots = roots(&[&root]);
    let mut line = vec![intermediate("CA 1", &root, |_| {})];
    for n in 2..=8 {
        line.push(intermediate(&format!("CA {n}"), &line[n - 2], |_| {}));
    }
    let chain = |depth: usize| {
        let mut chain = vec![host(&[MX], &line[depth - 1], |_| {}).der];
        chain.extend(line[..depth].iter().rev().map(|ca| ca.der().to_vec()));
        chain.push(root.der().to_vec());
        chain
    };
    let verdict_of = |chain: &[Vec<u8>]| verdict(&chain.iter().map(Vec::as_slice).collect::<Vec<_>>(), &roots);
    // The public web has one to three intermediates; webpki's limit is six.
    assert_eq!(verdict_of(&chain(6)), "ok");
    let ten = chain(8);
    assert_eq!(ten.len(), 10);
    assert_eq!(
        verdict_of(&ten),
        "certificate-not-trusted: the path to a root certificate is too long or too complex"
    );

    // Ten were sent, three make the path: the others are strangers, or belong to another one.
    let leaf = host(&[MX], &line[1], |_| {}).der;
    let stranger = intermediate("Stranger", &root, |_| {});
    let host_of_stranger = host(&[MX], &stranger, |_| {}).der;
    let mut ten = vec![leaf, stranger.der().to_vec(), host_of_stranger];
    ten.extend(line[2..7].iter().map(|ca| ca.der().to_vec()));
    ten.extend([line[0].der().to_vec(), line[1].der().to_vec()]);
    assert_eq!(ten.len(), 10);
    assert_eq!(verdict_of(&ten), "ok");
}

/// The order in which faults are told: the host's own certificate, its issuers, its names.
#[test]
fn which_fault_is_told() {
    let (known, unknown) = (root("Known"), root("Unknown"));
    let roots = roots(&[&known]);
    let expire = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let word = |der: &[u8]| {
        verdict(&[der], &roots)
            .split(':')
            .next()
            .map(str::to_owned)
            .expect("a word")
    };
    assert_eq!(
        word(&host(&["mx.example.net"], &unknown, expire).der),
        "certificate-expired"
    );
    assert_eq!(
        word(&host(&["mx.example.net"], &known, expire).der),
        "certificate-expired"
    );
    assert_eq!(
        word(&host(&["mx.example.net"], &unknown, |_| {}).der),
        "certificate-not-trusted"
    );
    assert_eq!(
        word(&host(&["mx.example.net"], &known, |_| {}).der),
        "certificate-host-mismatch"
    );
}

/// RFC 5280 4.2.1.3: an issuer whose key usage lacks keyCertSign issues nothing. One without the extension may.
#[test]
fn key_usage_of_issuers() {
    let root = root("Root");
    let roots = roots(&[&root]);
    let through = |usages: &[KeyUsagePurpose]| {
        let ca = intermediate("CA", &root, |params| params.key_usages = usages.to_vec());
        (host(&[MX], &ca, |_| {}).der, ca.der().to_vec())
    };
    let of = |usages: &[KeyUsagePurpose]| {
        let (leaf, ca) = through(usages);
        verdict(&[&leaf, &ca], &roots)
    };
    assert_eq!(of(&[KeyUsagePurpose::KeyCertSign]), "ok");
    assert_eq!(of(&[]), "ok");
    let barred =
        "certificate-not-trusted: the key usage of a CA certificate does not allow it to issue certificates: CN=CA";
    assert_eq!(
        of(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign]),
        barred
    );
    // Another certificate of the same CA may do better.
    let key = pki::key();
    let same = || KeyPair::try_from(key.serialized_der()).expect("the same key");
    let bad = intermediate_with_key("CA", same(), &root, |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign]
    });
    let good = intermediate_with_key("CA", same(), &root, |_| {});
    let leaf = host(&[MX], &bad, |_| {}).der;
    assert_eq!(verdict(&[&leaf, bad.der()], &roots), barred);
    assert_eq!(verdict(&[&leaf, bad.der(), good.der()], &roots), "ok");
    // In the middle of a path too, and critical or not.
    let first = intermediate("First", &root, |params| {
        let bits = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 1, 2]);
        params.key_usages = Vec::new();
        params.custom_extensions.push(bits);
    });
    let second = intermediate("Second", &first, |_| {});
    let leaf = host(&[MX], &second, |_| {}).der;
    assert_eq!(
        verdict(&[&leaf, second.der(), first.der()], &roots),
        "certificate-not-trusted: the key usage of a CA certificate does not allow it to issue certificates: CN=First"
    );
    // The root is the operator's word, whatever its own certificate says.
    let mut params = pki::authority_params("Anchor");
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let anchor = Authority::self_signed(params, pki::key()).expect("a root");
    assert_eq!(
        verdict(&[&host(&[MX], &anchor, |_| {}).der], &pki::roots(&[&anchor])),
        "ok"
    );
}
