//! `mtasts check`: what a receiver can do better, although senders have no problem with it.

use mtasts_lab::{Certificate, Change};

use crate::check::{check, on_the_internet};

/// The sentence of a finding.
fn sentence(told: &serde_json::Value, code: &str) -> Option<String> {
    let findings = told["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["code"] == code)?;
    Some(finding["sentence"].as_str().expect("a sentence").to_owned())
}

fn policy(mode: &str, mx: &[&str]) -> Change {
    let mx: String = mx.iter().map(|mx| format!("mx: {mx}\n")).collect();
    Change::publish("2", format!("version: STSv1\nmode: {mode}\n{mx}max_age: 604800\n"))
}

#[test]
fn patterns_that_match_no_mx_host() {
    on_the_internet("patterns", |lab, _| {
        let (status, told) = check("good.test");
        assert_eq!((status, told["findings"].to_string()), (0, "[]".to_owned()));
        // mta-sts.good.test exists, old.good.test does not.
        lab.set(
            "good.test",
            policy(
                "enforce",
                &["mx.good.test", "mta-sts.good.test", "*.old.test", "old.good.test"],
            ),
        )
        .expect("a change");
        let (status, told) = check("good.test");
        assert_eq!(status, 0, "{told}");
        let unused = sentence(&told, "pattern-unused").expect("a finding");
        assert!(unused.starts_with("mx mta-sts.good.test: no MX host matches"), "{told}");
        let missing = sentence(&told, "pattern-host-missing").expect("a finding");
        assert!(
            missing.starts_with("mx old.good.test: a host of the policy does not exist in DNS"),
            "{told}"
        );
        assert_eq!(told["findings"].as_array().map(Vec::len), Some(3), "{told}");
    });
}

#[test]
fn testing_without_reports() {
    on_the_internet("tlsrpt", |lab, _| {
        let (_, told) = check("testing.test");
        let none = sentence(&told, "no-tlsrpt").expect("a finding");
        assert!(
            none.starts_with("there is no TXT record at _smtp._tls.testing.test: "),
            "{none}"
        );
        let record = (
            "_smtp._tls".to_owned(),
            "v=TLSRPTv1; rua=mailto:tlsrpt@testing.test".to_owned(),
        );
        let change = Change {
            txt_at: [record].into(),
            ..Change::default()
        };
        lab.set("testing.test", change).expect("a change");
        assert_eq!(sentence(&check("testing.test").1, "no-tlsrpt"), None);
        // Enforced it is less urgent.
        assert_eq!(sentence(&check("good.test").1, "no-tlsrpt"), None);
    });
}

#[test]
fn a_record_with_an_underscore_too_many() {
    on_the_internet("misplaced", |lab, _| {
        let change = Change {
            txt_at: [("_mta_sts".to_owned(), "v=STSv1; id=1;".to_owned())].into(),
            ..Change::default()
        };
        lab.set("nopolicy.test", change).expect("a change");
        let (status, told) = check("nopolicy.test");
        let misplaced = sentence(&told, "record-misplaced").expect("a finding");
        assert!(
            misplaced.starts_with("_mta_sts.nopolicy.test: the record is at _mta_sts"),
            "{told}"
        );
        assert_eq!((status, sentence(&told, "no-record")), (1, None), "{told}");
    });
}

#[test]
fn certificates_that_end_and_dane() {
    on_the_internet("ends", |lab, _| {
        lab.set("good.test", Change::certificate(Certificate::EndsSoon))
            .expect("a change");
        let (status, told) = check("good.test");
        let ends = sentence(&told, "certificate-ends-soon").expect("a finding");
        assert!(
            status == 0 && ends.starts_with("mx.good.test: the certificate expires on 20"),
            "{told}"
        );
        assert_eq!(sentence(&check("twomx.test").1, "certificate-ends-soon"), None);
        let dane = sentence(&check("dane-unusable.test").1, "dane-records").expect("a finding");
        assert!(dane.starts_with("_25._tcp.mx.dane-unusable.test: "), "{dane}");
        assert_eq!(sentence(&check("signed.test").1, "dane-records"), None);
    });
}

/// Exim checks MX hosts with its own trust anchors: a verdict that only `ca_file` gives is pointed out.
#[test]
fn a_ca_file_that_decides_otherwise() {
    on_the_internet("ca-file", |_, _| {
        let (bundle, own, settings) = (
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/mtasts/ca.pem",
            "/etc/mtasts/mtasts.toml",
        );
        std::fs::copy(bundle, own).expect("the private /etc");
        let text = std::fs::read_to_string(settings).expect("the settings");
        std::fs::write(settings, format!("{text}ca_file = '{own}'\n")).expect("the private /etc");
        // The same roots: nothing to say.
        assert_eq!(sentence(&check("good.test").1, "ca-file-differs"), None);
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut other = rcgen::CertificateParams::default();
        other.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let other = other.self_signed(&key).expect("a certificate").pem();
        std::fs::write(bundle, &other).expect("the private /etc");
        let (status, told) = check("good.test");
        let differs = sentence(&told, "ca-file-differs").expect("a finding");
        assert!(
            differs.starts_with("mx.good.test: /etc/mtasts/ca.pem accepts the certificate, and the system's"),
            "{differs}"
        );
        assert!(
            differs.ends_with("set the macro MTASTS_CA_FILE to the same file"),
            "{differs}"
        );
        assert_eq!(status, 0, "a warning: {told}");
        // The other way round.
        std::fs::copy(own, bundle).expect("the private /etc");
        std::fs::write(own, other).expect("the private /etc");
        let (_, told) = check("good.test");
        let differs = sentence(&told, "ca-file-differs").expect("a finding");
        assert!(
            differs.contains("the system's trust anchors accept the certificate, and /etc/mtasts/ca.pem does not"),
            "{differs}"
        );
    });
}
