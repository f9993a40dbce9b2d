//! Kinds of certificates, of keys and of signatures.

use std::process::Command;

use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::check_chain;
use mtasts_kit::pki::{self, Authority, Directory, host, intermediate, intermediate_with_key, root, roots};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls_pki_types::UnixTime;

use super::{MX, domain, told, verdict};

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
