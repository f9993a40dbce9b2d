//! `mtasts check`: what is wrong with a policy host, and what to do, each from a real server.

use mtasts_lab::{Change, Https};

use crate::check::{check, on_the_internet};

/// A domain, what its policy host is made to do, the code, a part of the sentence, and the exit status.
const CASES: &[(&str, Option<Https>, &str, &str, i32)] = &[
    (
        "https-301.test",
        None,
        "policy-redirect",
        "(Location: /moved/mta-sts.txt): the policy host redirects, and senders must not follow",
        1,
    ),
    (
        "https-elsewhere.test",
        None,
        "policy-redirect",
        "(Location: https://mta-sts.good.test/.well-known/mta-sts.txt)",
        1,
    ),
    (
        "good.test",
        Some(Https::Status403),
        "policy-forbidden",
        "allow clients that are not browsers",
        1,
    ),
    (
        "https-404.test",
        None,
        "policy-not-found",
        "https://mta-sts.https-404.test/.well-known/mta-sts.txt: ",
        1,
    ),
    ("https-500.test", None, "policy-status", "the HTTP status is 500", 1),
    (
        "https-html.test",
        None,
        "policy-content-type",
        "the Content-Type is text/html; charset=utf-8",
        1,
    ),
    ("https-notype.test", None, "policy-content-type", "set the type", 1),
    ("https-gzip.test", None, "policy-encoding", "switch that off", 1),
    ("https-65k.test", None, "policy-too-long", "", 1),
    ("https-garbage.test", None, "policy-not-http", "", 1),
    ("https-short.test", None, "policy-incomplete", "", 1),
    (
        "https-nxdomain.test",
        None,
        "policy-host-missing",
        "add A and AAAA records",
        1,
    ),
    ("https-nodata.test", None, "policy-host-missing", "", 1),
    ("https-servfail.test", None, "policy-host-dns", "", 3),
    ("ssrf-private.test", None, "policy-host-private", "10.0.0.1", 1),
    ("https-refused.test", None, "policy-host-down", "", 1),
    ("https-silent.test", None, "policy-host-silent", "", 1),
    ("https-plain.test", None, "policy-host-not-tls", "enable HTTPS", 1),
    (
        "https-tls11.test",
        None,
        "policy-host-tls-version",
        "protocol_version (70)",
        1,
    ),
    (
        "good.test",
        Some(Https::Alert112),
        "policy-host-tls-name",
        "unrecognized_name (112): the server seems to have no certificate",
        1,
    ),
    (
        "good.test",
        Some(Https::Alert80),
        "policy-host-tls-name",
        "internal_error (80)",
        1,
    ),
    (
        "good.test",
        Some(Https::Alert40),
        "policy-host-tls-unsupported",
        "libmtasts does not support",
        3,
    ),
    ("https-expired.test", None, "policy-certificate-expired", "renew it", 1),
    (
        "https-wrongname.test",
        None,
        "policy-certificate-name",
        "mx.elsewhere.test",
        1,
    ),
    (
        "https-nointermediate.test",
        None,
        "policy-certificate-issuer",
        "CN=mtasts lab intermediate",
        1,
    ),
    ("https-selfsigned.test", None, "policy-certificate-issuer", "", 1),
    (
        "https-clientonly.test",
        None,
        "policy-certificate",
        "is not for servers",
        1,
    ),
];

#[test]
fn each_error_has_a_code_and_a_next_step() {
    on_the_internet("policy-host", |lab, _| {
        for (domain, behaviour, code, part, status) in CASES {
            if let Some(https) = behaviour {
                lab.set(domain, Change::https(*https)).expect("a change");
            }
            let (ended, told) = check(domain);
            let findings = told["findings"].as_array().expect("a list");
            let found: Vec<&str> = findings
                .iter()
                .map(|finding| finding["code"].as_str().expect("a code"))
                .collect();
            assert_eq!(found, [*code], "{domain}: {told}");
            let sentence = findings[0]["sentence"].as_str().expect("a sentence");
            assert!(sentence.contains(part), "{domain}: {sentence}");
            assert_eq!(ended, *status, "{domain}: {told}");
        }
    });
}
