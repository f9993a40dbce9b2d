//! The names of a certificate.

use std::net::IpAddr;

use mtasts::Domain;
use mtasts::protocol::certificate::{check_chain, check_name};
use mtasts_kit::pki::{host, host_with_names, root, roots};
use rcgen::{DnType, SanType};

use super::{MX, domain, today, told, verdict};

#[test]
fn vectors_of_names() {
    let root = root("Root");
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/rfc8461.json")).expect("the vectors are JSON");
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
