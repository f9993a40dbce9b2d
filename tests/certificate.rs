//! The certificate check on real certificates (RFC 8461 4.2, RFC 9525 6, RFC 5280).

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use mtasts::Domain;
use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::check_chain;
use mtasts::protocol::certificate::check_name;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};
use rustls_pki_types::UnixTime;

use mtasts_kit::pki::{
    self, Authority, Directory, host, host_with_names, intermediate, intermediate_with_key, root, roots,
    self_signed_host,
};

const MX: &str = "mx1.example.com";

/// 2026-06-01: the day of all tests.
fn today() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_780_272_000))
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("a host name")
}

fn told(result: Result<(), mtasts::CertificateFailure>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(failure) => {
            assert!(failure.reason.len() <= 512, "{failure}");
            assert!(
                failure.reason.chars().all(|c| c == ' ' || c.is_ascii_graphic()),
                "{failure}"
            );
            failure.to_string()
        }
    }
}

fn verdict(chain: &[&[u8]], roots: &Roots) -> String {
    told(check_chain(&domain(MX), chain, roots.anchors(), today()))
}

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
fn wrong_kind_of_certificate() {
    let root = root("Root");
    let roots = roots(&[&root]);
    let of = |change: fn(&mut CertificateParams)| verdict(&[&host(&[MX], &root, change).der], &roots);
    assert_eq!(of(|params| params.extended_key_usages = Vec::new()), "ok");
    assert_eq!(
        of(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        "certificate-not-trusted: the certificate is not for servers"
    );
    assert_eq!(
        of(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        "certificate-not-trusted: the certificate is a CA certificate, not a host certificate"
    );
    assert_eq!(
        of(|params| {
            let mut unheard_of = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            unheard_of.set_criticality(true);
            params.custom_extensions.push(unheard_of);
        }),
        "certificate-not-trusted: the certificate has an unknown critical extension"
    );

    let through = |change: fn(&mut CertificateParams)| {
        let ca = intermediate("CA", &root, change);
        verdict(&[&host(&[MX], &ca, |_| {}).der, ca.der()], &roots)
    };
    assert_eq!(
        through(|params| params.is_ca = IsCa::NoCa),
        "certificate-not-trusted: a certificate of an issuer is a host certificate, not a CA certificate"
    );
    assert_eq!(
        through(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        "certificate-not-trusted: a certificate of an issuer is not for servers"
    );
    assert_eq!(
        through(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        "ok"
    );
    let narrow = intermediate("Narrow", &root, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
    });
    let below = intermediate("Below", &narrow, |_| {});
    assert_eq!(
        verdict(&[&host(&[MX], &below, |_| {}).der, below.der(), narrow.der()], &roots),
        "certificate-not-trusted: a certificate of an issuer must not have so many CAs below it"
    );
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
fn kinds_of_keys() {
    let here = Directory::new("keys");
    let root = root("Root");
    for key in [
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key"),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key"),
        KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key"),
        here.rsa_key(2048),
        here.rsa_key(4096),
    ] {
        let kind = format!("{:?}", key.algorithm());
        let other = KeyPair::try_from(key.serialized_der()).expect("the same key");
        let ca = intermediate_with_key("CA", key, &root, |_| {});
        let leaf = host(&[MX], &ca, |_| {});
        assert_eq!(verdict(&[&leaf.der, ca.der()], &roots(&[&root])), "ok", "{kind}");
        let anchor = Authority::self_signed(pki::authority_params("Anchor"), other).expect("a root");
        assert_eq!(
            verdict(&[&host(&[MX], &anchor, |_| {}).der], &roots(&[&anchor])),
            "ok",
            "{kind}"
        );
    }
}

/// What only an old tool makes: SHA-1, a CA with a weak key, X.509 version 1.
#[test]
fn obsolete_certificates() {
    let here = Directory::new("obsolete");
    let request = [
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=mx1.example.com",
        "-keyout",
        "mx.key",
    ];
    here.openssl(&[&request[..], &["-out", "mx.csr"]].concat());
    here.write("san", "subjectAltName=DNS:mx1.example.com\n");
    for (root, bits) in [("strong", "2048"), ("weak", "1024")] {
        let files = [&format!("{root}.key"), &format!("{root}.pem")];
        here.openssl(&[
            "req",
            "-x509",
            "-newkey",
            &format!("rsa:{bits}"),
            "-nodes",
            "-subj",
            "/CN=Root",
            "-days",
            "30000",
            "-keyout",
            files[0],
            "-out",
            files[1],
        ]);
    }
    let signed = |root: &str, how: &str| {
        let (certificate, key) = (format!("{root}.pem"), format!("{root}.key"));
        let files = format!("-in mx.csr -CA {certificate} -CAkey {key} -days 30000 -out mx.pem");
        here.openssl(&how.split(' ').chain(files.split(' ')).collect::<Vec<_>>());
        let roots = Roots::from_file(&here.path(&certificate)).expect("a root");
        // Not `today()`: openssl's certificates begin now.
        told(check_chain(
            &domain(MX),
            &[&here.read_der("mx.pem")],
            roots.anchors(),
            UnixTime::now(),
        ))
    };
    assert_eq!(signed("strong", "x509 -req -CAcreateserial -extfile san -sha256"), "ok");
    assert_eq!(
        signed("strong", "x509 -req -CAcreateserial -extfile san -sha1"),
        "certificate-not-trusted: a signature uses an obsolete or unknown algorithm"
    );
    assert_eq!(
        signed("weak", "x509 -req -CAcreateserial -extfile san -sha256"),
        "certificate-not-trusted: a signature does not verify with the key of its issuer, or that key is weak"
    );
    // OpenSSL 3.5 makes version 3 of everything unless it is told otherwise, by a word that 3.0 does not know.
    here.write("bare", "[req]\ndistinguished_name=name\n[name]\n");
    let help = Command::new("openssl")
        .args(["req", "-help"])
        .output()
        .expect("openssl");
    let is_known = String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).contains(" -x509v1");
    let first = if is_known { "-x509v1" } else { "-x509" };
    assert_eq!(
        signed("strong", &format!("req -config bare -sha256 {first}")),
        "certificate-not-trusted: the certificate is not an X.509 version 3 certificate"
    );
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

#[test]
fn vectors_of_names() {
    let root = root("Root");
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("vectors/rfc8461.json")).expect("the vectors are JSON");
    let vectors = vectors["cert_name"].as_array().expect("a list");
    assert_eq!(vectors.len(), 16);
    for vector in vectors {
        let texts = |key: &str| -> Vec<&str> {
            vector[key]
                .as_array()
                .expect("a list")
                .iter()
                .map(|text| text.as_str().expect("a text"))
                .collect()
        };
        let names: Vec<&[u8]> = texts("san_dns").into_iter().map(str::as_bytes).collect();
        let addresses: Vec<IpAddr> = texts("san_ip")
            .into_iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect();
        let certificate = host_with_names(&root, &names, &addresses, vector["cn"].as_str());
        let reference = vector["reference"].as_str().expect("a name");
        let result = match Domain::parse(reference) {
            Ok(host) => {
                let result = check_name(&host, &certificate);
                assert_eq!(
                    check_chain(&host, &[&certificate], roots(&[&root]).anchors(), today()),
                    result
                );
                if let Err(failure) = &result {
                    assert_eq!(failure.result.name(), "certificate-host-mismatch", "{vector}");
                }
                result.is_ok()
            }
            // An address is no name of a host, whatever a certificate says (RFC 8461 3.4).
            Err(_) => false,
        };
        assert_eq!(result, vector["expected"].as_bool().expect("a truth"), "{vector}");
    }
}

#[test]
fn names_and_what_is_said_of_them() {
    let root = root("Root");
    let of = |host: &str, names: &[&str]| {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        told(check_name(
            &domain(host),
            &host_with_names(&root, &names, &[], Some(host)),
        ))
    };
    assert_eq!(of(MX, &["mx1.example.com"]), "ok");
    assert_eq!(of(MX, &["MX1.example.COM"]), "ok");
    assert_eq!(of(MX, &["*.example.com"]), "ok");
    assert_eq!(of("mx.xn--bcher-kva.example", &["*.xn--bcher-kva.example"]), "ok");
    assert_eq!(
        of(MX, &["mx.example.net", "*.example.org"]),
        "certificate-host-mismatch: the certificate names mx.example.net, *.example.org, not mx1.example.com; the common name mx1.example.com is ignored"
    );
    assert_eq!(
        of(MX, &[]),
        "certificate-host-mismatch: the certificate names no host in its subjectAltName (the common name is ignored); \
         expected mx1.example.com"
    );
    assert_eq!(
        of("a.mx1.example.com", &["*.example.com"]),
        "certificate-host-mismatch: the certificate names *.example.com, not a.mx1.example.com; the star of *.example.com stands for exactly one \
         label; the common name a.mx1.example.com is ignored"
    );
    assert_eq!(
        of("a.mx1.example.com", &["*.*.example.com"]).split(':').next(),
        Some("certificate-host-mismatch")
    );
    assert_eq!(
        of("mx.25", &["mx.25"]),
        "certificate-host-mismatch: mx.25 is not a name that a certificate can have"
    );
    // One name that is none is passed over; it does not spoil the others (RFC 9525 6.3).
    for bad in [
        "mx*.example.com",
        "*",
        "*.",
        ".",
        "",
        "mx1.example.com.",
        "a b",
        "\u{fc}",
        "\0",
        "m*1.example.com",
    ] {
        assert_eq!(
            of(MX, &[bad]).split(':').next(),
            Some("certificate-host-mismatch"),
            "{bad:?}"
        );
        assert_eq!(of(MX, &[bad, MX]), "ok", "{bad:?}");
    }
    let long = [["x".repeat(60), "y".repeat(60), "z".repeat(60), "example".to_owned()].join(".")];
    assert_eq!(
        of(MX, &[&long[0]]),
        "certificate-host-mismatch: the certificate names other hosts, not mx1.example.com; the common name mx1.example.com is ignored"
    );
    let many: Vec<String> = (0..100).map(|n| format!("host-{n:03}.example.net")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        of(MX, &many),
        "certificate-host-mismatch: the certificate names host-000.example.net, host-001.example.net, host-002.example.net, \
         host-003.example.net, host-004.example.net, host-005.example.net, host-006.example.net \
         and 93 more, not mx1.example.com; the common name mx1.example.com is ignored"
    );
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    assert!(of(&longest, &many).ends_with(&format!(", not {longest}")));
}

/// Names that are not DNS names, among the alternative names and outside.
#[test]
fn other_names_do_not_count() {
    let root = root("Root");
    let certificate = host(&[], &root, |params| {
        params.distinguished_name.push(DnType::CommonName, MX);
        let text = || MX.try_into().expect("ASCII");
        params.subject_alt_names = vec![
            SanType::URI(format!("smtp://{MX}").try_into().expect("ASCII")),
            SanType::Rfc822Name(text()),
            SanType::IpAddress("192.0.2.1".parse().expect("an address")),
            // SRVName (RFC 4985)
            SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 7], format!("_smtp.{MX}").into())),
        ];
    });
    assert_eq!(
        verdict(&[&certificate.der], &roots(&[&root])),
        "certificate-host-mismatch: the certificate names no host in its subjectAltName (the common name is ignored); \
         expected mx1.example.com; the IP address 192.0.2.1 is not a host name"
    );
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

/// A root (`ca.pem`) and a host below it (`mx.pem`), both made by OpenSSL, with keys of this curve.
fn made_by_openssl(here: &Directory, curve: &str, digest: &str) {
    here.write("san", "subjectAltName=DNS:mx1.example.com\n");
    let of_curve = format!("ec_paramgen_curve:{curve}");
    let request = ["req", "-newkey", "ec", "-pkeyopt", &of_curve, "-nodes"];
    let root = "-x509 -subj /CN=Root -days 30000 -keyout ca.key -out ca.pem";
    let host = "-subj /CN=mx1.example.com -keyout mx.key -out mx.csr";
    for more in [root, host] {
        here.openssl(&request.into_iter().chain(more.split(' ')).collect::<Vec<_>>());
    }
    let sign = "x509 -req -in mx.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30000 -extfile san -out mx.pem";
    here.openssl(&sign.split(' ').chain([digest]).collect::<Vec<_>>());
}

/// Good kinds of signatures that ring cannot check: that is no fault of the host's, and the reason says so.
#[test]
fn what_our_library_does_not_support() {
    let here = Directory::new("unsupported");
    let said = |curve: &str, digest: &str| {
        made_by_openssl(&here, curve, digest);
        let roots = Roots::from_file(&here.path("ca.pem")).expect("a root");
        told(check_chain(
            &domain(MX),
            &[&here.read_der("mx.pem")],
            roots.anchors(),
            UnixTime::now(),
        ))
    };
    assert_eq!(said("P-256", "-sha256"), "ok");
    assert_eq!(said("P-256", "-sha384"), "ok");
    for (curve, digest, what) in [
        ("P-256", "-sha512", "ECDSA with SHA-512"),
        ("P-384", "-sha512", "ECDSA with SHA-512"),
        ("P-521", "-sha512", "ECDSA with SHA-512"),
        ("P-521", "-sha256", "keys on the curve P-521"),
        ("brainpoolP256r1", "-sha256", "keys on a Brainpool curve"),
        ("P-256", "-sha224", "this kind of ECDSA"),
    ] {
        assert_eq!(
            said(curve, digest),
            format!("certificate-not-trusted: a signature cannot be checked: our TLS library does not support {what}"),
            "{curve} {digest}"
        );
    }
    assert_eq!(
        said("P-256", "-sha1"),
        "certificate-not-trusted: a signature uses an obsolete or unknown algorithm"
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
        let start = Instant::now();
        let said = verdict(&chain, &worst.roots);
        let took = start.elapsed();
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

/// OpenSSL's own trust data, made by OpenSSL and judged by it too: what it does not take for a root of servers is none for
/// us, and does not vanish without a word.
#[test]
fn trust_data_of_openssl() {
    let here = Directory::new("trust-data");
    made_by_openssl(&here, "P-256", "-sha256");
    for (trust, is_root) in [
        ("-setalias Root", true),
        ("-addtrust serverAuth", true),
        ("-addtrust anyExtendedKeyUsage", true),
        ("-addtrust serverAuth -addreject clientAuth", true),
        ("-addreject serverAuth", false),
        ("-addreject anyExtendedKeyUsage", false),
        ("-addtrust serverAuth -addreject serverAuth", false),
        ("-addtrust clientAuth", false),
    ] {
        let make = "x509 -in ca.pem -trustout -out trusted.pem";
        here.openssl(&make.split(' ').chain(trust.split(' ')).collect::<Vec<_>>());
        assert!(
            here.read("trusted.pem").contains("BEGIN TRUSTED CERTIFICATE"),
            "{trust}"
        );
        let verify = "verify -no-CApath -no-CAstore -purpose sslserver -CAfile trusted.pem mx.pem";
        let openssl = pki::command("openssl", "openssl", &here.path(""))
            .args(verify.split(' '))
            .output()
            .expect("openssl");
        assert_eq!(openssl.status.success(), is_root, "{trust}: {openssl:?}");
        match Roots::from_file(&here.path("trusted.pem")) {
            Ok(roots) => {
                let checked = check_chain(
                    &domain(MX),
                    &[&here.read_der("mx.pem")],
                    roots.anchors(),
                    UnixTime::now(),
                );
                assert_eq!((told(checked).as_str(), is_root), ("ok", true), "{trust}");
            }
            Err(refused) => {
                let why = "line 1: OpenSSL's trust settings do not trust this certificate for servers; remove it";
                assert!(!is_root && refused.to_string().contains(why), "{trust}: {refused}");
            }
        }
    }
}
