//! `mtasts check`: what a receiver can do better, although senders have no problem with it.

use std::process::Command;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::rr::{RData, RecordType, rdata::TLSA};
use mtasts_kit::dns_server::{DnsServer, Reply, address, mx, record};
use mtasts_lab::{Certificate, Change};

use serde_json::{Value, json};

use crate::check::{check, on_the_internet};
use crate::mtasts;

/// The sentence of a finding.
fn sentence(told: &Value, code: &str) -> Option<String> {
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

/// With a name server that counts, the TLSA records of each host are shown, and which of its certificates each is of.
#[test]
fn tlsa_records_beside_the_certificates() {
    on_the_internet("tlsa", |_, _| {
        let (settings, resolver) = ("/etc/mtasts/mtasts.toml", "/etc/resolv.conf");
        let text = std::fs::read_to_string(settings).expect("the settings");
        let servers = std::fs::read_to_string(resolver).expect("the private /etc");
        let server = servers
            .lines()
            .find_map(|line| line.strip_prefix("nameserver "))
            .expect("a server");
        let with = |dane: &str| {
            let text = format!("{text}dane = '{dane}'\ndane_resolver = '{server}'\n");
            std::fs::write(settings, text).expect("the private /etc");
        };
        with("trust");
        let dane = |told: &Value| told["hosts"][0]["dane"].clone();
        let codes = |told: &Value| -> Vec<String> {
            let findings = told["findings"].as_array().expect("a list");
            let codes = findings
                .iter()
                .map(|finding| finding["code"].as_str().expect("a code").to_owned());
            codes.filter(|code| code.starts_with("dane")).collect()
        };
        for (domain, status, code, tlsa, good, certificate) in [
            (
                "dane.test",
                0,
                Some("dane-renewal-key"),
                "records",
                json!(true),
                json!(0),
            ),
            ("dane-ta.test", 0, None, "records", json!(true), json!(1)),
            // Only DANE can deliver, and that without a policy.
            (
                "dane-nopolicy.test",
                4,
                Some("dane-renewal-key"),
                "records",
                json!(true),
                json!(0),
            ),
            (
                "dane-mismatch.test",
                1,
                Some("dane-mismatch"),
                "records",
                json!(false),
                json!(null),
            ),
            (
                "dane-mismatch-nopolicy.test",
                1,
                Some("dane-mismatch"),
                "records",
                json!(false),
                json!(null),
            ),
            (
                "dane-ta-wrongname.test",
                1,
                Some("dane-mismatch"),
                "records",
                json!(false),
                json!(1),
            ),
            (
                "dane-bogus.test",
                1,
                Some("dane-unknown"),
                "unknown",
                json!(null),
                json!(null),
            ),
            (
                "dane-unusable.test",
                0,
                Some("dane-unusable"),
                "unusable",
                json!(null),
                json!(null),
            ),
            ("signed.test", 0, None, "none", json!(null), json!(null)),
        ] {
            let (is, told) = check(domain);
            assert_eq!(
                (is, codes(&told)),
                (status, code.map(str::to_owned).into_iter().collect()),
                "{domain}: {told}"
            );
            let dane = dane(&told);
            assert_eq!(
                (&dane["tlsa"], &dane["good"]),
                (&json!(tlsa), &good),
                "{domain}: {told}"
            );
            assert_eq!(dane["records"][0]["certificate"], certificate, "{domain}: {told}");
            assert_eq!(told["dane_resolver"]["worth"], "trusted");
        }
        let told = mtasts(&["check", "dane-ta.test"]).out;
        assert!(
            told.contains("DANE: the TLSA records of mx.dane-ta.test, secure: good"),
            "{told}"
        );
        assert!(
            told.contains("  2 1 1 ") && told.contains("...: of certificate 1 above the host's"),
            "{told}"
        );
        let doctor = |code: &str, says: &str| {
            let told = mtasts(&["doctor", "--json"]).json();
            let said = sentence(&told, code).unwrap_or_default();
            assert!(said.starts_with(says), "{code}: {told}");
        };
        doctor("dane-resolver", "198.18.");
        // It is not on this host.
        with("auto");
        let (_, told) = check("dane.test");
        assert_eq!(
            codes(&told),
            ["dane-resolver", "dane-records"].map(str::to_owned),
            "{told}"
        );
        assert_eq!(
            (dane(&told), &told["dane_resolver"]["worth"]),
            (Value::Null, &json!("unfit"))
        );
        doctor("dane-resolver-unfit", "198.18.");
        with("off");
        assert_eq!(codes(&check("dane.test").1), ["dane-records"]);
        doctor("dane-resolver", "DANE is off");
    });
}

/// What the next renewal breaks, and a name server that says nothing.
#[test]
fn what_a_renewal_breaks() {
    on_the_internet("renewal", |_, _| {
        let (_, told) = check("good.test");
        let ip = told["hosts"][0]["addresses"][0]["address"]
            .as_str()
            .expect("an address")
            .to_owned();
        let digest = |of: &str| {
            let fetch = format!(
                "openssl s_client -starttls smtp -servername mx.good.test -connect {ip}:25 </dev/null 2>/dev/null | {of} | \
                 openssl dgst -sha256 -binary"
            );
            let output = Command::new("sh").args(["-c", &fetch]).output().expect("openssl");
            assert_eq!(output.stdout.len(), 32, "{output:?}");
            output.stdout
        };
        let certificate = digest("openssl x509 -outform der");
        let key = digest("openssl x509 -noout -pubkey | openssl pkey -pubin -outform der");
        let records = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&records);
        let server = DnsServer::start(move |asked| {
            let known = known.lock().expect("no panic");
            let one = |(usage, selector, data): &(u8, u8, Vec<u8>)| {
                let tlsa = TLSA::new((*usage).into(), (*selector).into(), 1.into(), data.clone());
                record(&asked.name, 60, RData::TLSA(tlsa))
            };
            match asked.kind {
                _ if known.is_empty() => Reply::silence(),
                RecordType::MX => Reply::answers(vec![mx(&asked.name, 10, "mx.good.test")]).authentic(),
                RecordType::A => Reply::answers(vec![address(&asked.name, &ip)]).authentic(),
                RecordType::TLSA => Reply::answers(known.iter().map(one).collect()).authentic(),
                _ => Reply::nodata().authentic(),
            }
        });
        let settings = "/etc/mtasts/mtasts.toml";
        let text = std::fs::read_to_string(settings).expect("the settings");
        let with = |dane: &str| {
            let text = format!("{text}dane = '{dane}'\ndane_resolver = '{}'\n", server.address);
            std::fs::write(settings, text).expect("the private /etc");
        };
        with("trust");
        let (own, own_key, other) = ((3, 0, certificate), (3, 1, key), (3, 1, vec![7; 32]));
        for (set, code) in [
            (vec![own.clone()], "dane-renewal"),
            (vec![own_key.clone()], "dane-renewal-key"),
            (vec![own, own_key.clone()], "dane-renewal-key"),
            (vec![own_key, other.clone()], "dane-record-unused"),
            (vec![other], "dane-mismatch"),
        ] {
            *records.lock().expect("no panic") = set;
            let (_, told) = check("good.test");
            let found = [
                "dane-renewal",
                "dane-renewal-key",
                "dane-record-unused",
                "dane-mismatch",
            ]
            .iter()
            .filter(|code| sentence(&told, code).is_some());
            assert_eq!(found.collect::<Vec<_>>(), [&code], "{told}");
        }
        records.lock().expect("no panic").clear();
        with("auto");
        let told = mtasts(&["doctor", "--json"]).json();
        assert!(sentence(&told, "dane-resolver-unknown").is_some(), "{told}");
    });
}
