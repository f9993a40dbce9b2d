//! Every combination of an answer, a host and a sight, against a table that was written from RFC 8461 4 and 5, RFC 8460
//! 4.3 and section 6 of the same, and not from the code.

use std::sync::Arc;

use super::*;
use crate::cache::entry::CachedPolicy;
use crate::protocol::names::Domain;
use crate::sender::answer::Decision;
use crate::sender::exception::Exception;
use crate::sender::outcome::{Failure, Outcome};
use Action::{Defer, Deliver, DeliverAndReport, SkipHost};
use ResultType::*;

/// What lookups can find, by name.
pub(crate) fn outcomes() -> Vec<(&'static str, Outcome)> {
    let domain = Domain::parse("example.com").unwrap();
    let cached = |mode: &str| {
        let text = format!("version: STSv1\nmode: {mode}\nmx: mx.example.com\nmx: *.example.net\nmax_age: 9\n");
        Arc::new(CachedPolicy::new("20260101".parse().unwrap(), 1, text).unwrap())
    };
    let without = |source, result| {
        let detail = "HTTP status 500".into();
        Outcome::new(&domain, source, None, Some(Failure { result, detail }))
    };
    let first_contact = Outcome {
        defer_until: Some(99),
        ..without(Source::CouldNotLearn, None)
    };
    let mut all = vec![
        ("no-policy", without(Source::NoPolicy, None)),
        ("dns-broken", without(Source::CouldNotLearn, None)),
        ("fetch-error", without(Source::CouldNotLearn, Some(StsPolicyFetchError))),
        ("policy-invalid", without(Source::CouldNotLearn, Some(StsPolicyInvalid))),
        ("webpki-invalid", without(Source::CouldNotLearn, Some(StsWebpkiInvalid))),
        ("first-contact", first_contact),
    ];
    for mode in ["none", "testing", "enforce"] {
        let result = (mode != "none").then_some(StsWebpkiInvalid);
        for (name, source, failure) in [
            ("fresh", Source::Fresh, None),
            ("cached", Source::Cached, None),
            (
                "stale",
                Source::CachedAfterFailure,
                without(Source::NoPolicy, result).failure,
            ),
        ] {
            let outcome = Outcome::new(&domain, source, Some(cached(mode)), failure);
            all.push((format!("{mode}/{name}").leak(), outcome));
        }
    }
    all
}

/// The answers of [`outcomes`].
pub(crate) fn answers() -> Vec<(&'static str, Answer)> {
    let answer = |outcome: Outcome| outcome.into_answer(Decision::default()).unwrap();
    outcomes()
        .into_iter()
        .map(|(name, outcome)| (name, answer(outcome)))
        .collect()
}

/// The answer of an outcome while the operator has made an exception.
pub(crate) fn exempt(outcome: &Outcome) -> Answer {
    let exception = Some(Arc::new(Exception {
        domain: outcome.domain.clone(),
        until: 1_798_761_599,
        reason: "ticket 4711".into(),
    }));
    let decision = Decision {
        exception,
        ..Decision::default()
    };
    outcome.clone().into_answer(decision).unwrap()
}

/// The sights, by name.
pub(crate) fn sights() -> Vec<(&'static str, Seen)> {
    let bad = |result| {
        Seen::Certificate(Err(CertificateFailure::new(
            result,
            "the certificate expired on 2026-01-02",
        )))
    };
    vec![
        ("name", Seen::Name),
        ("no-starttls", Seen::StarttlsNotOffered),
        ("starttls-refused", Seen::StarttlsRefused),
        ("handshake", Seen::HandshakeFailed("alert protocol_version".into())),
        ("good", Seen::Certificate(Ok(()))),
        ("mismatch", bad(CertificateHostMismatch)),
        ("untrusted", bad(CertificateNotTrusted)),
        ("expired", bad(CertificateExpired)),
        ("no-certificate", bad(ValidationFailure)),
    ]
}

pub(crate) const HOSTS: [(&str, &str); 5] = [
    ("listed", "mx.example.com"),
    ("wildcard", "a.example.net"),
    ("other", "mx.example.org"),
    ("no-host-name", "m_x.example.com"),
    ("address", "192.0.2.1"),
];

/// The expected verdicts: the first row that fits is used. `*` fits all, and `enforce/` all that begin so.
const TABLE: &[(&str, &str, &str, Action, Option<ResultType>)] = &[
    // Nothing is known, and the operator asked to wait (D-02).
    ("first-contact", "*", "*", Defer, None),
    // Nothing is asked for: no host is refused, whatever is wrong with it (RFC 8461 3.3, 5).
    ("no-policy", "*", "*", Deliver, None),
    ("dns-broken", "*", "*", Deliver, None),
    ("none/", "*", "*", Deliver, None),
    // The policy could not be had: mail flows, and that is reported (RFC 8461 6).
    ("fetch-error", "*", "*", DeliverAndReport, Some(StsPolicyFetchError)),
    ("policy-invalid", "*", "*", DeliverAndReport, Some(StsPolicyInvalid)),
    ("webpki-invalid", "*", "*", DeliverAndReport, Some(StsWebpkiInvalid)),
    // The host is not listed, however good its certificate is (RFC 8461 4.1, D-16).
    ("enforce/", "other", "*", SkipHost, Some(ValidationFailure)),
    ("testing/", "other", "*", DeliverAndReport, Some(ValidationFailure)),
    // The MX record names no host, so no pattern can list it (RFC 8461 3.2, 4.1).
    ("enforce/", "no-host-name", "*", SkipHost, Some(ValidationFailure)),
    (
        "testing/",
        "no-host-name",
        "*",
        DeliverAndReport,
        Some(ValidationFailure),
    ),
    ("enforce/", "address", "*", SkipHost, Some(ValidationFailure)),
    ("testing/", "address", "*", DeliverAndReport, Some(ValidationFailure)),
    // The host is listed, and it fails (RFC 8461 4.2, RFC 8460 4.3.1).
    ("enforce/", "*", "no-starttls", SkipHost, Some(StarttlsNotSupported)),
    (
        "enforce/",
        "*",
        "starttls-refused",
        SkipHost,
        Some(StarttlsNotSupported),
    ),
    ("enforce/", "*", "handshake", SkipHost, Some(ValidationFailure)),
    ("enforce/", "*", "mismatch", SkipHost, Some(CertificateHostMismatch)),
    ("enforce/", "*", "untrusted", SkipHost, Some(CertificateNotTrusted)),
    ("enforce/", "*", "expired", SkipHost, Some(CertificateExpired)),
    ("enforce/", "*", "no-certificate", SkipHost, Some(ValidationFailure)),
    (
        "testing/",
        "*",
        "no-starttls",
        DeliverAndReport,
        Some(StarttlsNotSupported),
    ),
    (
        "testing/",
        "*",
        "starttls-refused",
        DeliverAndReport,
        Some(StarttlsNotSupported),
    ),
    ("testing/", "*", "handshake", DeliverAndReport, Some(ValidationFailure)),
    (
        "testing/",
        "*",
        "mismatch",
        DeliverAndReport,
        Some(CertificateHostMismatch),
    ),
    (
        "testing/",
        "*",
        "untrusted",
        DeliverAndReport,
        Some(CertificateNotTrusted),
    ),
    ("testing/", "*", "expired", DeliverAndReport, Some(CertificateExpired)),
    (
        "testing/",
        "*",
        "no-certificate",
        DeliverAndReport,
        Some(ValidationFailure),
    ),
    // The host passes; that the policy could not be refreshed is reported while mail flows (RFC 8461 6).
    ("enforce/stale", "*", "*", DeliverAndReport, Some(StsWebpkiInvalid)),
    ("testing/stale", "*", "*", DeliverAndReport, Some(StsWebpkiInvalid)),
    ("enforce/", "*", "*", Deliver, None),
    ("testing/", "*", "*", Deliver, None),
];

pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    pattern == "*" || pattern == name || (pattern.ends_with('/') && name.starts_with(pattern))
}

#[test]
fn every_combination() {
    let mut used = vec![0; TABLE.len()];
    for (answer_name, answer) in answers() {
        for (host_name, host) in HOSTS {
            for (seen_name, seen) in sights() {
                let at = format!("{answer_name}, {host_name}, {seen_name}");
                let row = TABLE
                    .iter()
                    .position(|(a, h, s, ..)| fits(a, answer_name) && fits(h, host_name) && fits(s, seen_name));
                let row = row.unwrap_or_else(|| panic!("no row for {at}"));
                used[row] += 1;
                let got = verdict(&answer, &MxName::from_mx(host), &seen);
                assert_eq!(
                    (got.action, got.result),
                    (TABLE[row].3, TABLE[row].4),
                    "{at}: {}",
                    got.sentence
                );
                // What is reported has a reason, and what is not has none; the log always has a sentence.
                assert_eq!(got.result.is_some(), !got.reason_code.is_empty(), "{at}");
                assert!(Token::from_name(got.token()).is_some(), "{at}: {}", got.reason_code);
                assert!(makes_sense_to_a_sender(&got.sentence), "{at}: {}", got.sentence);
                assert!(
                    got.sentence.contains("example.com") && !got.sentence.contains('\n'),
                    "{at}: {}",
                    got.sentence
                );
            }
        }
    }
    assert!(!used.contains(&0), "rows that nothing fits: {used:?}");
}

/// A sentence may be in a bounce, whose reader has neither our log nor our queue.
fn makes_sense_to_a_sender(sentence: &str) -> bool {
    ["queue", "waits", "see the line", "Unix time"]
        .iter()
        .all(|words| !sentence.contains(words))
}

/// An exception turns enforce into testing, and ends a wait for DNS; nothing else changes.
#[test]
fn an_exception_refuses_nothing_and_is_named() {
    let answers = answers();
    for ((name, outcome), (_, answer)) in outcomes().iter().zip(&answers) {
        let exempt = exempt(outcome);
        let like = match *name {
            "first-contact" => "dns-broken".to_owned(),
            name => name.replace("enforce/", "testing/"),
        };
        assert_eq!(exempt.exception().is_some(), like != *name, "{name}");
        assert_eq!(exempt.defer_until(), None);
        let (_, like) = answers.iter().find(|(name, _)| *name == like).unwrap();
        assert_eq!(exempt.mode(), like.mode(), "{name}");
        for (_, host) in HOSTS {
            let host = MxName::from_mx(host);
            for (seen_name, seen) in sights() {
                let (got, want) = (verdict(&exempt, &host, &seen), verdict(like, &host, &seen));
                assert_eq!(
                    (got.action, got.result),
                    (want.action, want.result),
                    "{name}, {host}, {seen_name}"
                );
                let refused = matches!(verdict(answer, &host, &seen).action, SkipHost | Defer);
                let named = "enforcement is off until 2026-12-31 (operator exception: ticket 4711)";
                assert!(!refused || got.sentence.contains(named), "{}", got.sentence);
            }
        }
    }
}

#[test]
fn the_sentence_says_what_is_wrong_and_what_to_do() {
    let (_, answer) = answers()
        .into_iter()
        .find(|(name, _)| *name == "enforce/stale")
        .unwrap();
    let sentence = |host: &str, seen: Seen| verdict(&answer, &MxName::from_mx(host), &seen).sentence;
    assert_eq!(
        sentence("mx1.example.com", Seen::Name),
        "mx1.example.com is not in the MTA-STS policy of example.com (mode enforce, id 20260101, cached; listed: \
         mx.example.com, *.example.net); no mail is sent to this host. If the domain's mail has moved, its administrator \
         must update the policy."
    );
    assert_eq!(
        sentence("mx.example.com", sights()[7].1.clone()),
        "mx.example.com sent a certificate that the MTA-STS policy of example.com does not accept: the certificate expired \
         on 2026-01-02 (mode enforce, id 20260101, cached; listed: mx.example.com, *.example.net); no mail is sent to this \
         host. The host's administrator must renew the certificate."
    );
}

#[test]
fn a_name_that_is_not_a_host_name_has_a_reason_code_and_a_sentence() {
    let answers = answers();
    let (_, answer) = answers.iter().find(|(name, _)| *name == "enforce/fresh").unwrap();
    let got = verdict(answer, &MxName::from_mx("m_x.example.com"), &Seen::Name);
    assert_eq!(got.reason_code, MX_NOT_A_HOST_NAME);
    assert_eq!(
        got.sentence,
        "an MX record of example.com has \"m_x.example.com\", which is not a host name and so not in its MTA-STS policy: \
         the character '_' cannot be part of a host name (mode enforce, id 20260101; listed: mx.example.com, \
         *.example.net); no mail is sent to this host. The domain's administrator must correct the MX record."
    );
}

/// What becomes of a mail without an MX host (D-31). The last answer lists the domain itself.
#[test]
fn every_reason_for_no_host() {
    let domain = Domain::parse("example.com").unwrap();
    let text = "version: STSv1\nmode: enforce\nmx: example.com\nmax_age: 9\n";
    let cached = Arc::new(CachedPolicy::new("20260101".parse().unwrap(), 1, text).unwrap());
    let mut all = outcomes();
    all.push(("itself", Outcome::new(&domain, Source::Fresh, Some(cached), None)));
    // The first row that fits is used.
    let table: &[(&str, &[NoHost], Action)] = &[
        ("first-contact", NoHost::ALL, Defer),
        ("itself", &[NoHost::NoData], Deliver),
        ("itself", NoHost::ALL, Defer),
        ("enforce/", NoHost::ALL, Defer),
        ("testing/", &[NoHost::Left], DeliverAndReport),
        // A bounce as without MTA-STS. A policy that could not be had is reported with a session, and there is none.
        ("testing/", NoHost::ALL, Deliver),
        ("fetch-error", NoHost::ALL, DeliverAndReport),
        ("policy-invalid", NoHost::ALL, DeliverAndReport),
        ("webpki-invalid", NoHost::ALL, DeliverAndReport),
        ("*", NoHost::ALL, Deliver),
    ];
    let mut used = vec![0; table.len()];
    for (name, outcome) in &all {
        let answer = outcome.clone().into_answer(Decision::default()).unwrap();
        for why in NoHost::ALL.iter().copied() {
            let row = table
                .iter()
                .position(|(a, whys, _)| fits(a, name) && whys.contains(&why))
                .unwrap();
            used[row] += 1;
            let got = verdict_without_host(&answer, why, &[]);
            assert_eq!(got.action, table[row].2, "{name}, {why:?}: {}", got.sentence);
            assert_eq!(got.result.is_some(), !got.reason_code.is_empty(), "{name}, {why:?}");
            let exempt = exempt(outcome);
            assert!(
                verdict_without_host(&exempt, why, &[]).action.delivers(),
                "{name}, {why:?}"
            );
        }
    }
    assert!(!used.contains(&0), "rows that nothing fits: {used:?}");
}

#[test]
fn the_sentence_says_which_contradicts_which() {
    let answers = answers();
    let (_, answer) = answers.iter().find(|(name, _)| *name == "enforce/fresh").unwrap();
    assert_eq!(
        verdict_without_host(answer, NoHost::NxDomain, &[]).sentence,
        "DNS contradicts the MTA-STS policy of example.com: DNS says that the domain does not exist (NXDOMAIN), and the \
         policy lists its MX hosts (mode enforce, id 20260101; listed: mx.example.com, *.example.net); no mail can be \
         delivered now. Compare with another resolver; if the domain has given up mail, its administrator must withdraw the \
         policy."
    );
    for (why, says) in [
        (
            NoHost::NoData,
            "DNS says that the domain has no MX record (NODATA), and the policy lists other",
        ),
        (
            NoHost::NullMx,
            "DNS says that the domain takes no mail (null MX, RFC 7505), and the policy lists",
        ),
        (
            NoHost::NotListed,
            "DNS gives no MX host that the policy lists (mode enforce, id 20260101; listed: mx.example.com",
        ),
    ] {
        let sentence = verdict_without_host(answer, why, &[]).sentence;
        assert!(sentence.contains(says), "{sentence}");
    }
}

/// A bounce may be all that its reader sees: which hosts DNS gives, what each failed, and which the policy lists.
#[test]
fn the_sentence_about_a_mail_names_the_hosts_of_dns() {
    let answers = answers();
    let (_, answer) = answers.iter().find(|(name, _)| *name == "enforce/fresh").unwrap();
    let host = |name: &str, reason: &str| (MxName::from_mx(name), reason.to_owned());
    let (good, evil) = ("mx.example.com", "mx.example.org");
    let expired = "certificate-expired: the certificate expired on 2026-01-02";
    let says = |why, hosts: &[_]| verdict_without_host(answer, why, hosts);
    assert_eq!(
        says(
            NoHost::Left,
            &[
                host(evil, MX_NOT_IN_POLICY),
                host(good, expired),
                host("a.example.net", "")
            ]
        )
        .sentence,
        "no MX host of example.com meets its MTA-STS policy (mode enforce, id 20260101; listed: mx.example.com, \
         *.example.net; DNS gives: mx.example.org [mx-host-not-in-policy], mx.example.com [certificate-expired: the \
         certificate expired on 2026-01-02], a.example.net); no mail can be delivered now. If the domain's mail has moved, \
         its administrator must update the policy."
    );
    let listed = says(NoHost::NotListed, &[host(evil, ""), host(good, "")]);
    assert_eq!(
        listed.token(),
        "no-mx-host-left",
        "DNS gives a host that the policy lists"
    );
    let other = says(NoHost::NotListed, &[host(evil, ""), host("a\"\u{e9}\r\nb", "")]);
    assert_eq!(other.token(), "no-mx-host-in-policy");
    assert!(
        other.sentence.contains(r#"; DNS gives: mx.example.org, "a\"?  b")"#),
        "{}",
        other.sentence
    );

    let evil: Vec<_> = (0..2000)
        .map(|n| {
            host(
                &format!("h{n}.{}.example", "y".repeat(60)),
                &"\u{e9}\r\n250 ok\0\x1b[31m".repeat(99),
            )
        })
        .collect();
    for hosts in [&evil[..], &evil[..6]] {
        let sentence = says(NoHost::Left, hosts).sentence;
        assert!(
            sentence.len() < 1200 && sentence.bytes().all(|c| matches!(c, b' '..=b'~')),
            "{sentence:?}"
        );
        assert!(
            sentence.contains(&format!("] and {} more); no mail", hosts.len() - 2)),
            "{sentence}"
        );
    }
}

#[test]
fn strangers_text_stays_on_one_bounded_line() {
    let (_, answer) = answers()
        .into_iter()
        .find(|(name, _)| *name == "enforce/fresh")
        .unwrap();
    let evil = format!("x\r\n250 ok\0\x1b[31m{}", "y".repeat(10_000));
    let host = MxName::from_mx("mx.example.com");
    let certificate = CertificateFailure::new(CertificateNotTrusted, evil.clone());
    for seen in [Seen::HandshakeFailed(evil), Seen::Certificate(Err(certificate))] {
        let got = verdict(&answer, &host, &seen);
        for text in [got.sentence, got.reason_code] {
            assert!(text.len() < 800 && !text.chars().any(char::is_control), "{text:?}");
        }
    }
}

/// The words of RFC 8460 for events, as `tests/vectors/rfc8461.json` has them.
#[test]
fn result_map() {
    let all: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/rfc8461.json")).unwrap();
    let answers = answers();
    let answer = |name: &str| &answers.iter().find(|(n, _)| *n == name).unwrap().1;
    let seen = |name: &str| sights().into_iter().find(|(n, _)| *n == name).unwrap().1;
    let word = |a: &str, host: &str, s: &str| {
        verdict(answer(a), &MxName::from_mx(host), &seen(s))
            .result
            .map(ResultType::name)
    };
    let mx = "mx.example.com";
    for vector in all["result_map"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let got = match name {
            "txt-valid-https-unreachable" | "policy-http-status-not-200" => word("fetch-error", mx, "name"),
            "policy-host-certificate-invalid" => word("webpki-invalid", mx, "name"),
            "policy-body-invalid" => word("policy-invalid", mx, "name"),
            "mx-not-in-policy" => word("enforce/fresh", "mx.example.org", "good"),
            "starttls-not-advertised" => word("enforce/fresh", mx, "no-starttls"),
            "starttls-command-refused-454-or-5xx" => word("enforce/fresh", mx, "starttls-refused"),
            "mx-cert-expired" => word("enforce/fresh", mx, "expired"),
            "mx-cert-not-yet-valid" | "mx-cert-unknown-ca-or-self-signed" => word("enforce/fresh", mx, "untrusted"),
            "mx-cert-name-mismatch" | "mx-cert-without-san" => word("enforce/fresh", mx, "mismatch"),
            "tls-handshake-alert-or-version" => word("enforce/fresh", mx, "handshake"),
            // A host that cannot be reached at all is not asked about (RFC 8460 4.3.4), and DANE is not ours.
            "tcp-timeout-or-421" => None,
            other => {
                assert!(other.starts_with("dane-") || other.starts_with("tlsa-"), "{other}");
                assert!(ResultType::from_name(vector["expected"].as_str().unwrap()).is_some());
                continue;
            }
        };
        assert_eq!(got, vector["expected"].as_str(), "{name}");
    }
}
