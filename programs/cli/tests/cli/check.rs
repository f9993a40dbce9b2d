//! `mtasts check` on the test Internet. Needs root, as the test Internet does.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mtasts_lab::{self as lab, Certificate, Change, Expect, Lab, Mx, Policy};
use serde_json::{Value, json};

use crate::mtasts;

/// Runs a test on a test Internet of its own. What does not answer there is given up after five seconds.
pub(crate) fn on_the_internet(name: &str, test: impl FnOnce(&Lab, &Path) + Send + 'static) {
    mtasts_kit::on_the_internet_with(name, &[("timeout", "5s")], |internet| {
        test(&internet.lab, &internet.cache);
        // Whatever was checked: no mail was sent, and nothing was put into the cache.
        let mail_commands = internet.lab.sessions().into_iter().flat_map(|session| session.commands);
        let sent: Vec<_> = mail_commands
            .filter(|line| line.contains("MAIL") || line.contains("RCPT"))
            .collect();
        assert_eq!(sent, Vec::<String>::new());
        assert_eq!(std::fs::read_dir(&internet.cache).expect("the cache").count(), 0);
    });
}

pub(crate) fn check(domain: &str) -> (i32, Value) {
    let ran = mtasts(&["check", domain, "--json"]);
    assert_eq!(ran.err, "", "{domain}");
    (ran.status, ran.json())
}

fn problems(told: &Value) -> Vec<&str> {
    crate::texts(&told["problems"])
}

/// Where the command does not follow the table, and the action that it names instead. One that is gone fails the test.
const DIFFERS: &[(&str, Option<&str>)] = &[("testing-mxdenied-nodata.test", Some("defer"))];

#[test]
fn every_domain_of_the_test_internet() {
    on_the_internet("all", |_, _| {
        let table = lab::table();
        let next = AtomicUsize::new(0);
        let wrong = Mutex::new(Vec::new());
        let work = || {
            while let Some(entry) = table.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Sixteen at a time, each of which starts anew, on a busy machine.
                let ran = mtasts(&["check", &entry.name, "--json", "--timeout", "10s"]);
                assert_eq!(ran.err, "", "{}", entry.name);
                let (status, told) = (ran.status, ran.json());
                let action = told["action"].as_str();
                let right = match &entry.expect {
                    Expect::DeliverVerified { .. } => action == Some("deliver"),
                    Expect::Deliver => matches!(action, Some("deliver" | "deliver-and-report")),
                    Expect::Defer { .. } => action == Some("defer"),
                    Expect::DeliverVerifiedOrDefer { .. } => matches!(action, Some("deliver" | "defer")),
                    Expect::Bounce => action.is_none(),
                };
                let differs = DIFFERS.iter().find(|(name, _)| *name == entry.name);
                let right = differs.map_or(right, |(_, gives)| !right && action == *gives);
                let verified: Vec<&str> = match &entry.expect {
                    Expect::DeliverVerified { hosts } => hosts.iter().map(String::as_str).collect(),
                    _ => Vec::new(),
                };
                let hosts = told["hosts"].as_array().expect("a list");
                let delivers = |host: &&str| hosts.iter().any(|h| h["host"] == **host && h["action"] == "deliver");
                let policy = &told["policy"];
                let learnt = match entry.policy {
                    Policy::Enforce => policy["mode"] == "enforce",
                    Policy::Testing => policy["mode"] == "testing",
                    Policy::None => policy["mode"] == "none",
                    Policy::Absent => policy.is_null() && told["record"]["outcome"] == "none",
                    Policy::Unobtainable("sts-policy-invalid") => policy["outcome"] == "invalid",
                    Policy::Unobtainable(result) => policy["reason"] == result,
                    Policy::Unknown => policy.is_null() && told["record"]["outcome"] == "unknown",
                };
                let consistent = (status == 0) == problems(&told).is_empty() && told["good"] == (status == 0);
                if !(right && learnt && consistent && verified.iter().any(delivers) != verified.is_empty()) {
                    wrong
                        .lock()
                        .expect("no panic")
                        .push(format!("{}: {}\n  {told}", entry.name, entry.expect));
                }
            }
        };
        thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(work))));
        let wrong = wrong.into_inner().expect("no panic");
        assert!(
            wrong.is_empty(),
            "{} of {}:\n{}",
            wrong.len(),
            table.len(),
            wrong.join("\n")
        );
    });
}

#[test]
fn a_domain_in_order() {
    on_the_internet("good", |lab, _| {
        let ran = mtasts(&["check", "Good.Test."]);
        let address = &lab.sessions()[0].address;
        assert_eq!(
            ran.out,
            format!(
                "Record at _mta-sts.good.test\n\
                 \x20 ok      id 1\n\
                 \x20           v=STSv1; id=1;\n\
                 \n\
                 Policy at https://mta-sts.good.test/.well-known/mta-sts.txt\n\
                 \x20 ok      mode enforce, max_age 86400 (1 day)\n\
                 \x20           mx mx.good.test\n\
                 \x20 advice  max_age 86400 is 1 day: max_age is short; raise it in steps: a day, a week, some weeks \
                 (RFC 8461 10.2)\n\
                 \n\
                 MX hosts\n\
                 \x20 ok      mx.good.test (preference 10), listed: mail is delivered here, over verified TLS\n\
                 \x20           {address}: STARTTLS, TLSv1.3, good certificate\n\
                 \n\
                 Result\n\
                 \x20 ok      a sender that enforces MTA-STS delivers mail to good.test at mx.good.test, over verified TLS\n"
            )
        );
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        // RFC 3207 4.2: EHLO once more; RFC 8461 7.1: SNI.
        let session = &lab.sessions()[0];
        let tls = session.tls.as_ref().expect("TLS");
        assert_eq!(tls.sni.as_deref(), Some("mx.good.test"));
        let ehlo = format!("EHLO [{address}]");
        assert_eq!(
            session.commands,
            [
                ehlo.clone(),
                "STARTTLS".into(),
                format!("tls: {ehlo}"),
                "tls: QUIT".into()
            ]
        );

        let (status, told) = check("tls12.test");
        assert_eq!(
            (status, &told["hosts"][0]["addresses"][0]["tls"]),
            (0, &json!("TLSv1.2"))
        );
        let (status, told) = check("\u{f1}aca.test");
        assert_eq!((status, &told["domain"]), (0, &json!("xn--aca-6ma.test")));
    });
}

/// The exit status for the domains below.
fn status(domain: &str) -> i32 {
    match domain {
        "implicit.test" => 0,
        "mx-servfail.test" => 3,
        "nopolicy.test" => 4,
        _ => 1,
    }
}

#[test]
fn what_is_wrong_is_said() {
    on_the_internet("broken", |_, _| {
        for (domain, result, lines) in [
            (
                "expired.test",
                "no mail can be delivered now",
                &[
                    "  bad     mx.expired.test (preference 10), listed: no mail is sent here\n",
                    "STARTTLS, TLSv1.3, certificate-expired: the certificate expired on ",
                    "administrator must renew the certificate.\n",
                ][..],
            ),
            (
                "mixed.test",
                "passes over mx1.mixed.test and delivers mail to mixed.test at mx2.mixed.test, over verified",
                &[
                    "  bad     mx1.mixed.test (preference 10), not listed in the policy: no mail is sent here\n",
                    "  ok      mx2.mixed.test (preference 20), listed: mail is delivered here, over verified TLS\n",
                    "its administrator must update the policy.\n",
                ],
            ),
            (
                "testing-expired.test",
                "is delivered even if a host fails; in mode enforce it would be deferred\n",
                &[
                    "  advice  mode testing protects nothing; ",
                    "  bad     mx.testing-expired.test (preference 10), listed: mail is delivered here anyway, and the failure is reported\n",
                ],
            ),
            (
                "nostarttls.test",
                "no mail can be delivered now",
                &[": STARTTLS is not offered\n"],
            ),
            (
                "starttls454.test",
                "no mail can be delivered now",
                &[": STARTTLS is refused: 454 4.7.0 TLS not available\n"],
            ),
            (
                "tls11.test",
                "no mail can be delivered now",
                &["the TLS handshake fails: the server ended the handshake with the TLS alert protocol_version (70)\n"],
            ),
            (
                "injected.test",
                "delivers mail to injected.test at mx.injected.test",
                &[
                    "; 32 octets in cleartext after its reply to STARTTLS, ignored\n",
                    "sent 32 octets in cleartext after its reply to STARTTLS: an attacker on the path may have put them there",
                ],
            ),
            (
                "closed-after-tls.test",
                "is deferred: no MX host can take it\n",
                &[
                    "(preference 10), listed: no mail can be sent here\n",
                    "good certificate; then the host closed the connection\n",
                ],
            ),
            (
                "alldown.test",
                "is deferred: no MX host can take it\n",
                &[": not reached: connection refused\n"],
            ),
            (
                "busy.test",
                "is deferred: no MX host",
                &["not reached: the host replied 421 mx.busy.test too busy\n"],
            ),
            (
                "implicit.test",
                "at implicit.test, over verified TLS\n",
                &[
                    "          there is no MX record: the domain is its own MX host\n",
                    "  ok      implicit.test, listed: ",
                ],
            ),
            (
                "nullmx.test",
                "DNS contradicts the MTA-STS policy of nullmx.test: DNS says that the domain takes no mail (null MX, RFC 7505)",
                &["          null MX: the domain takes no mail (RFC 7505)\n"],
            ),
            (
                "nopolicy.test",
                "nopolicy.test has no policy: ",
                &[
                    "  bad     no TXT record: the name does not exist (NXDOMAIN)\n",
                    "          not fetched: no record announces it\n",
                    "          mx.nopolicy.test (preference 10): mail is delivered here: no policy asks for more\n",
                    "publish a policy, then a TXT record \"v=STSv1; id=...;\" at _mta-sts.nopolicy.test\n",
                ],
            ),
            (
                "mx-servfail.test",
                "its MX hosts cannot be looked up",
                &["the name servers failed to answer (SERVFAIL)\n"],
            ),
            (
                "policy-badmode.test",
                "line 2: mode: must be enforce, testing or none",
                &[
                    "  bad     line 2: the mode must be enforce, testing or none\n            mode: Enforce\n            probably meant: mode: enforce\n",
                ],
            ),
            (
                "https-404.test",
                "the HTTP status is 404, not 200",
                &["  bad     sts-policy-fetch-error: mta-sts.https-404.test ["],
            ),
            (
                "no-such-domain.test",
                "the domain no-such-domain.test does not exist\n",
                &[],
            ),
        ] {
            let ran = mtasts(&["check", domain]);
            assert_eq!((ran.status, ran.err.as_str()), (status(domain), ""), "{domain}");
            let (_, conclusion) = ran.out.split_once("\nResult\n").unwrap_or_else(|| panic!("{ran:?}"));
            let conclusion = conclusion.split_inclusive('\n').next().unwrap_or_default();
            assert!(conclusion.contains(result), "{domain}: {conclusion}");
            for line in lines {
                assert!(ran.out.contains(line), "{domain}: {line:?} is not in\n{}", ran.out);
            }
        }
    });
}

/// The most common wrong policy of those whose hoster has names of two labels.
#[test]
fn a_star_that_is_one_label_short() {
    on_the_internet("star", |lab, _| {
        let change = Change {
            hosts: Some(vec!["a.h1.good.test".into()]),
            ..Change::publish("2", "version: STSv1\nmode: enforce\nmx: *.good.test\nmax_age: 604800\n")
        };
        lab.set("good.test", change).expect("a change");
        let (status, told) = check("good.test");
        assert_eq!(
            (status, told["findings"][0]["code"].as_str()),
            (1, Some("mx-not-listed")),
            "{told}"
        );
        let near = "The star of *.good.test stands for exactly one label; *.h1.good.test would match.";
        assert!(problems(&told)[0].contains(near), "{told}");
        // The name of a certificate, the same.
        for (certificate, clause) in [
            (
                Certificate::WildcardTwoLabels,
                "*.test would cover a whole top-level domain",
            ),
            (
                Certificate::PartialWildcard,
                "the star of m*.twomx.test is not its whole first label",
            ),
        ] {
            lab.set("twomx.test", Change::certificate(certificate))
                .expect("a change");
            let (_, told) = check("twomx.test");
            assert_eq!(told["findings"][0]["code"], "mx-certificate");
            assert!(problems(&told)[0].contains(clause), "{told}");
        }
    });
}

/// Inside a network with a DNS of its own all is well, and no sender outside can deliver.
#[test]
fn an_mx_host_that_nobody_outside_can_reach() {
    on_the_internet("inside", |lab, cache| {
        for (address, kind) in [
            ("127.0.0.1", "a loopback address"),
            ("10.0.0.1", "a private address"),
            ("64:ff9b::10.0.0.1", "a private address"),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            let change = Change {
                addresses: Some(vec![address]),
                ..Change::default()
            };
            lab.set("good.test", change).expect("a change");
            let advice = format!(
                "mx.good.test has the address {address}, {kind}: senders outside cannot reach it; give the host a public \
                 address in the public DNS"
            );
            let (status, told) = check("good.test");
            // It is no problem of this machine, which does reach the host.
            assert_eq!((status, problems(&told)), (0, vec![]), "{told}");
            assert_eq!(told["hosts"][0]["advice"], json!([advice]));
            assert_eq!(told["findings"][0]["code"], "mx-private");
            let ran = mtasts(&["check", "good.test"]);
            assert!(ran.out.contains(&format!("  advice  {advice}\n")), "{}", ran.out);
        }
        // The operator says that he knows.
        let settings = format!(
            "cache_dir = {cache:?}\ntimeout = '2s'\nallow_addresses = ['198.18.0.0/15', '2001:2::/48', '64:ff9b::/96']\n"
        );
        std::fs::write("/etc/mtasts/mtasts.toml", settings).expect("the private /etc");
        let (status, told) = check("good.test");
        assert_eq!((status, &told["hosts"][0]["advice"]), (0, &json!([])), "{told}");
    });
}

#[test]
fn as_one_object() {
    on_the_internet("json", |lab, _| {
        lab.set(
            "twomx.test",
            Change {
                mx: Some(Mx::NoStarttls),
                host: Some("mx1.twomx.test".into()),
                ..Change::default()
            },
        )
        .expect("a change");
        let (status, told) = check("twomx.test");
        assert_eq!(status, 1);
        assert_eq!(
            told["record"],
            json!({ "outcome": "valid", "id": "1", "txt": ["v=STSv1; id=1;"], "findings": [] })
        );
        let mut policy = told["policy"].clone();
        let object = policy.as_object_mut().expect("an object");
        let findings = object.remove("findings").expect("findings");
        assert_eq!(findings[0]["code"], "max_age-short");
        object.remove("corrected").expect("what was meant");
        let mx = ["mx1.twomx.test", "mx2.twomx.test"];
        assert_eq!(
            policy,
            json!({ "outcome": "valid", "mode": "enforce", "max_age": 86400, "mx": mx, "warnings": [] })
        );
        let sentence = told["hosts"][0]["addresses"][0]["sentence"].clone();
        let address = |host: usize| told["hosts"][host]["addresses"][0]["address"].clone();
        assert_eq!(
            told["hosts"],
            json!([
                {
                    "host": mx[0], "preference": 10, "listed": true, "action": "skip-host", "error": null, "advice": [],
                    "dane": null,
                    "addresses": [{
                        "address": address(0), "starttls": false, "tls": null, "certificate": null, "error": null,
                        "injected": 0, "action": "skip-host", "result": "starttls-not-supported", "sentence": sentence,
                    }],
                },
                {
                    "host": mx[1], "preference": 20, "listed": true, "action": "deliver", "error": null, "advice": [],
                    "dane": null,
                    "addresses": [{
                        "address": address(1), "starttls": true, "tls": "TLSv1.3", "certificate": { "result": "ok" },
                        "error": null, "injected": 0, "action": "deliver", "result": null,
                        "sentence": told["hosts"][1]["addresses"][0]["sentence"],
                    }],
                },
            ])
        );
        assert_eq!(problems(&told), [sentence.as_str().expect("a sentence")]);
        assert_eq!(
            (&told["action"], &told["good"], &told["route"]),
            (&json!("deliver"), &json!(false), &json!("mx"))
        );
    });
}
