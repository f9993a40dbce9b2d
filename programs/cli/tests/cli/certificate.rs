//! `mtasts certificate`: the vectors of names on real certificates, and the ways a file can be bad.

use std::net::IpAddr;

use serde_json::json;

use crate::{mtasts, mtasts_with_input, texts, vectors};
use mtasts_kit::pki::{self, Directory, host_with_names};

/// 2026-06-01.
const TODAY: &str = "1780272000";

fn pem_of(ders: &[&[u8]]) -> String {
    ders.iter()
        .map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", *der)))
        .collect()
}

#[test]
fn names() {
    let directory = Directory::new("cli-names");
    let root = pki::root("Root");
    let roots = directory.write("roots.pem", root.pem());
    let vectors = vectors("cert_name");
    assert_eq!(vectors.len(), 16);
    for vector in vectors {
        let names: Vec<&[u8]> = texts(&vector["san_dns"]).into_iter().map(str::as_bytes).collect();
        let addresses: Vec<IpAddr> = texts(&vector["san_ip"])
            .into_iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect();
        let der = host_with_names(&root, &names, &addresses, vector["cn"].as_str());
        let chain = directory.write("chain.pem", pem_of(&[&der]));
        let (chain, roots) = (chain.to_str().expect("a path"), roots.to_str().expect("a path"));
        let reference = vector["reference"].as_str().expect("a name");
        let ran = mtasts(&[
            "certificate",
            reference,
            chain,
            "--roots",
            roots,
            "--at",
            TODAY,
            "--json",
        ]);
        let told = ran.json();
        if vector["expected"] == true {
            assert_eq!((told, ran.status), (json!({ "result": "ok" }), 0), "{vector}");
        } else {
            assert_eq!(told["result"], "certificate-host-mismatch", "{vector}");
            assert!(
                told["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
                "{vector}"
            );
            assert_eq!(
                (told.as_object().expect("an object").len(), ran.status),
                (2, 1),
                "{vector}"
            );
        }
    }
}

/// A name that nearly fits, and names that do not count, are told with the reason.
#[test]
fn near_misses() {
    let directory = Directory::new("cli-near");
    let root = pki::root("Root");
    let roots = directory.write("roots.pem", root.pem());
    let address: IpAddr = "192.0.2.1".parse().expect("an address");
    for (names, addresses, common_name, clause) in [
        (
            &[&b"*.example.com"[..]][..],
            &[][..],
            None,
            "; the star of *.example.com stands for exactly one label",
        ),
        (
            &[b"*.b.example.com"],
            &[],
            None,
            "; the star of *.b.example.com stands for exactly one label",
        ),
        (
            &[b"other.example"],
            &[address],
            None,
            "; the IP address 192.0.2.1 is not a host name",
        ),
        (
            &[b"other.example"],
            &[],
            Some("a.b.example.com"),
            "; the common name a.b.example.com is ignored",
        ),
        (
            &[b"other.example", b"*.com"],
            &[],
            None,
            "; *.com would cover a whole top-level domain",
        ),
        (
            &[b"other.example", b"a*.b.example.com"],
            &[],
            None,
            "; the star of a*.b.example.com is not its whole first label",
        ),
        (&[b"other.example", b"a_b.example"], &[], None, ""),
    ] {
        let der = host_with_names(&root, names, addresses, common_name);
        let chain = directory.write("chain.pem", pem_of(&[&der]));
        let (chain, roots) = (chain.to_str().expect("a path"), roots.to_str().expect("a path"));
        let host = if names[0] == b"*.b.example.com" {
            "b.example.com"
        } else {
            "a.b.example.com"
        };
        let ran = mtasts(&["certificate", host, chain, "--roots", roots, "--at", TODAY]);
        let expected = format!("not {host}{clause}\n");
        assert!(clause.is_empty() || ran.out.ends_with(&expected), "{expected}: {ran:?}");
    }
}

#[test]
fn chains_times_and_roots() {
    let directory = Directory::new("cli-chains");
    let root = pki::root("Root");
    let ca = pki::intermediate("CA", &root, |_| {});
    let leaf = pki::host(&["mx.example.com"], &ca, |params| {
        params.not_after = rcgen::date_time_ymd(2026, 12, 31)
    });
    let roots = directory.write("roots.pem", root.pem());
    let other = directory.write("other.pem", pki::root("Other").pem());
    let chain = directory.write("chain.pem", pem_of(&[&leaf.der, ca.der()]));
    let alone = directory.write("alone.pem", pem_of(&[&leaf.der]));
    let [roots, other, chain, alone] = [&roots, &other, &chain, &alone].map(|path| path.to_str().expect("a path"));
    let ask = |chain: &str, roots: &str, at: &str| {
        let ran = mtasts(&["certificate", "mx.example.com", chain, "--roots", roots, "--at", at]);
        assert_eq!(ran.err, "");
        (ran.status, ran.out)
    };
    assert_eq!(
        ask(chain, roots, TODAY),
        (0, "  ok      the certificate is good for mx.example.com\n".to_owned())
    );
    for (chain, roots, at, words) in [
        (
            chain,
            roots,
            "1800000000",
            "certificate-expired: the certificate expired on 2026-12-31",
        ),
        (
            chain,
            roots,
            "0",
            "certificate-not-trusted: the certificate is not valid before 2000-01-01",
        ),
        (
            alone,
            roots,
            TODAY,
            "certificate-not-trusted: issued by an unknown CA: CN=CA",
        ),
        (
            chain,
            other,
            TODAY,
            "certificate-not-trusted: issued by an unknown CA: CN=Root",
        ),
    ] {
        assert_eq!(ask(chain, roots, at), (1, format!("  bad     {words}\n")));
    }
    let pem = std::fs::read(chain).expect("the chain");
    let ran = mtasts_with_input(
        &["certificate", "mx.example.com", "-", "--roots", roots, "--at", TODAY],
        &pem,
    );
    assert_eq!(ran.status, 0, "{ran:?}");
    // Without --roots the system's count, and nobody there knows this CA.
    let ran = mtasts(&["certificate", "mx.example.com", chain, "--at", TODAY, "--json"]);
    assert_eq!(
        (ran.status, ran.json()["result"].as_str()),
        (1, Some("certificate-not-trusted"))
    );
}

#[test]
fn a_file_that_is_no_chain() {
    let directory = Directory::new("cli-no-chain");
    let roots = directory.write("roots.pem", pki::root("Root").pem());
    let roots = roots.to_str().expect("a path");
    for (name, content) in [
        ("empty.pem", Vec::new()),
        ("garbage.pem", vec![0x5a; 1 << 20]),
        ("key.pem", pki::key().serialize_pem().into_bytes()),
        (
            "broken.pem",
            b"-----BEGIN CERTIFICATE-----\nthis is not base64!\n-----END CERTIFICATE-----\n".to_vec(),
        ),
        ("nonsense.pem", pem_of(&[b"nonsense"]).into_bytes()),
    ] {
        let file = directory.write(name, content);
        let ran = mtasts(&[
            "certificate",
            "mx.example.com",
            file.to_str().expect("a path"),
            "--roots",
            roots,
            "--json",
        ]);
        assert_eq!(
            (ran.status, ran.json()["result"].as_str()),
            (1, Some("validation-failure")),
            "{name}: {ran:?}"
        );
    }
}

/// A certificate in a file is read, or the file is refused with its line: in chains and in roots alike.
#[test]
fn no_certificate_of_a_file_vanishes() {
    let directory = Directory::new("cli-pem");
    let root = pki::root("Root");
    let ca = pki::intermediate("CA", &root, |_| {});
    let leaf = pki::host(&["mx.example.com"], &ca, |_| {});
    let (chain, other) = (
        pem_of(&[&leaf.der, ca.der()]).replace("\r\n", "\n"),
        pki::root("Other").pem(),
    );
    let roots = format!("{other}{}", root.pem()).replace("\r\n", "\n");
    let ask = |chain: &str, roots: &str| {
        let (chain, roots) = (directory.write("chain.pem", chain), directory.write("roots.pem", roots));
        let [chain, roots] = [&chain, &roots].map(|path| path.to_str().expect("a path"));
        mtasts(&["certificate", "mx.example.com", chain, "--roots", roots, "--at", TODAY])
    };
    type Change = fn(&str) -> String;
    let read: [Change; 4] = [
        |pem| format!("\u{feff}{pem}"),
        |pem| pem.replace("-----BEGIN", "\u{feff}-----BEGIN"),
        |pem| pem.replace(" CERTIFICATE", " X509 CERTIFICATE"),
        |pem| pem.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"),
    ];
    for change in read {
        for ran in [ask(&change(&chain), &roots), ask(&chain, &change(&roots))] {
            assert_eq!((ran.status, &*ran.err), (0, ""), "{ran:?}");
        }
    }
    let refused: [Change; 4] = [
        |pem| pem.replace("-----\n-----", "----------"),
        |pem| pem.replace("-----END", " -----END"),
        |pem| pem.trim_end().trim_end_matches('-').to_owned(),
        |pem| pem.replace(" CERTIFICATE", " NEW CERTIFICATE"),
    ];
    for change in refused {
        let ran = ask(&change(&chain), &roots);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(
            ran.out.contains("validation-failure: ") && ran.out.contains(": line "),
            "{ran:?}"
        );
        let ran = ask(&chain, &change(&roots));
        assert_eq!((ran.status, &*ran.out), (2, ""), "{ran:?}");
        assert!(ran.err.contains("roots.pem: line "), "{ran:?}");
    }
}
