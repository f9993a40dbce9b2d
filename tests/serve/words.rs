//! What it answers, for every domain of the test Internet and for input that is none.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::server::{Server, netstring, tcp};
use mtasts_kit::on_the_internet_with;
use mtasts_lab::{Change, Policy, table};

/// For a domain whose policy is enforced there are words or a delay, and for no other domain.
#[test]
fn every_domain_of_the_lab() {
    on_the_internet_with("serve-table", &[("timeout", "6s")], |internet| {
        let server = Server::start(internet);
        let table = table();
        let mut replies: Vec<(String, String)> = Vec::new();
        // Some at a time: a busy machine has no time for three hundred.
        for entries in table.chunks(24) {
            thread::scope(|scope| {
                let server = &server;
                let asked: Vec<_> = entries
                    .iter()
                    .map(|entry| scope.spawn(move || (server.ask("postfix", &entry.name), entry.name.clone())))
                    .collect();
                replies.extend(asked.into_iter().map(|asked| asked.join().unwrap()));
            });
        }
        for (entry, (reply, name)) in table.iter().zip(&replies) {
            match entry.policy {
                Policy::Enforce => assert!(
                    reply.starts_with("OK secure match=") || reply.starts_with("TEMP "),
                    "{name}: {reply}"
                ),
                _ => assert_eq!(reply, "NOTFOUND ", "{name}"),
            }
        }
        let of = |name: &str| replies.iter().find(|(_, known)| known == name).unwrap().0.as_str();
        for (name, hosts) in [
            ("good.test", "mx.good.test"),
            ("wild.test", "a.wild.test"),
            ("twomx.test", "mx1.twomx.test:mx2.twomx.test"),
            ("mixed.test", "mx2.mixed.test"),
            ("implicit.test", "implicit.test"),
            ("xn--aca-6ma.test", "mx.xn--aca-6ma.test"),
            ("nomatch.test", "no-mx-host-is-in-the-mta-sts-policy.invalid"),
        ] {
            assert_eq!(
                of(name),
                format!("OK secure match={hosts} servername=hostname"),
                "{name}"
            );
        }
        assert!(of("nullmx.test").starts_with("TEMP DNS says"), "{}", of("nullmx.test"));
        let counters = server.get("/metrics");
        assert!(
            counters.contains("mtasts_serve_answers_total{mode=\"testing\"}"),
            "{counters}"
        );
        // What the page and the alerts name.
        for file in ["docs/monitoring.md", "examples/prometheus/alerts.yml"] {
            let text = std::fs::read_to_string(mtasts_kit::repository().join(file)).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let mut names = words.filter(|word| word.starts_with("mtasts_serve_")).peekable();
            assert!(names.peek().is_some(), "{file}");
            for name in names {
                let family = name.trim_end_matches("_total");
                assert!(counters.contains(&format!("# TYPE {family} ")), "{file}: {name}");
            }
        }
        assert!(server.get("/healthz").ends_with("\r\n\r\nok\n"));
        assert!(server.get("/else").starts_with("HTTP/1.1 404"));
    });
}

#[test]
fn each_map_has_its_words_on_every_socket() {
    on_the_internet_with("serve-maps", &[], |internet| {
        let server = Server::start(internet);
        let plain = "OK secure match=mx.good.test servername=hostname";
        for map in ["postfix", "sts", "sendmail", "QUERY"] {
            assert_eq!(server.ask(map, "good.test"), plain, "{map}");
            assert_eq!(tcp().ask(map, "good.test"), plain, "{map}");
        }
        for map in ["postfix-3.10", "QUERYwithTLSRPT"] {
            let reply = server.ask(map, "good.test");
            let more = " policy_type=sts policy_domain=good.test mx_host_pattern=mx.good.test { policy_string = version: STSv1 }";
            assert!(reply.starts_with(&format!("{plain}{more}")), "{reply}");
        }
        assert!(server.ask("else", "good.test").starts_with("PERM no map of this name"));
        // A host in brackets is where mail goes, whatever MX records its name has.
        let none = "OK secure match=no-mx-host-is-in-the-mta-sts-policy.invalid servername=hostname";
        assert_eq!(server.ask("postfix", "[good.test]:25"), none);
        assert_eq!(
            server.ask("postfix", "[implicit.test]"),
            "OK secure match=implicit.test servername=hostname"
        );
        for key in [
            ".good.test",
            ".test",
            "[198.18.0.1]",
            "198.18.0.1",
            "",
            "good.test\n",
            "good.test\0",
        ] {
            assert_eq!(server.ask("postfix", key), "NOTFOUND ", "{key:?}");
        }
        let mut client = server.client();
        assert_eq!(
            client.ask("postfix", "\u{f1}aca.test"),
            "OK secure match=mx.xn--aca-6ma.test servername=hostname"
        );
        assert_eq!(client.ask("postfix", b"\xf1aca.test"), "NOTFOUND ");
        for length in [63, 64, 253, 254, 255, 9000] {
            assert_eq!(client.ask("postfix", vec![b'a'; length]), "NOTFOUND ", "{length}");
            let labels = "a.".repeat(length / 2) + "test";
            assert_eq!(client.ask("postfix", labels), "NOTFOUND ", "{length}");
        }
    });
}

/// The lines of an Exim without `dlfunc`: what comes back is what the function of the same name yields, and the end.
#[test]
fn exim_is_told_the_same_as_by_the_library() {
    on_the_internet_with("serve-exim", &[], |internet| {
        let server = Server::start(internet);
        let ask = |line: &str| server.exim(line);
        for domain in [
            "good.test",
            "wild.test",
            "testing-tls11.test",
            "nopolicy.test",
            "[198.18.0.1]",
            "a..b",
        ] {
            let said = [
                &["lookup", domain][..],
                &["lookup", domain, "a.wild.test;evil.test"],
                &["mode", domain],
            ];
            for words in said {
                let line = ask(&format!("exim {}\n", words.join(" ")));
                assert_eq!(line, format!("OK {}\n", by_dlfunc(words)), "{words:?}");
            }
            for host in ["mx.good.test", "evil.test"] {
                let words = ["check_mx", domain, host];
                assert_eq!(
                    ask(&format!("exim {}\n", words.join(" "))),
                    format!("OK {}\n", by_dlfunc(&words))
                );
            }
        }
        assert!(
            ask("exim lookup good.test\n")
                .starts_with("OK mode=enforce enforce=yes id=1 ignore=\"!^mx[.]good[.]test$ ; *\"")
        );
        let refused = ask("exim certificate good.test mx.good.test tlsa=0 transport=a_mtasts cert=AAAA\n");
        assert!(refused.contains("has no DNS name in its subjectAltName"), "{refused}");
        assert_eq!(
            ask("exim certificate good.test mx.good.test tlsa=8 transport=a_mtasts cert=AAAA\n"),
            "OK \n"
        );
        for line in [
            "exim else good.test\n",
            "exim \n",
            "exim lookup\n",
            "exim lookup \u{e9}.test x\r\n",
        ] {
            let said = ask(line);
            assert!(
                said.starts_with("FAIL mtasts[usage]") || said.starts_with("OK mode=none"),
                "{line:?}: {said}"
            );
        }
        // Half a line is no question, and neither is what only begins like one.
        let mut client = server.client();
        client.0.write_all(b"exim lookup good.te").unwrap();
        client.says_no_more();
        assert!(client.rest().unwrap().is_empty());
        for octets in [&b"exit\n"[..], b"e", b"exim lookup good.test"] {
            let mut client = server.client();
            client.0.write_all(octets).unwrap();
            client.says_no_more();
            assert!(client.rest().unwrap().is_empty(), "{octets:?}");
        }
        let mut client = server.client();
        let long = [&b"exim certificate good.test "[..], &vec![b'a'; 80_000]].concat();
        let _ = client.0.write_all(&long);
        assert!(client.rest().is_ok_and(|rest| rest.is_empty()) || long.len() > 65_536);
        assert!(server.ask("postfix", "good.test").starts_with("OK "));
        let counters = server.get("/metrics");
        assert!(
            counters.contains("mtasts_serve_replies_total{map=\"exim\",reply=\"fail\"} 3"),
            "{counters}"
        );
    });
}

/// What Exim gets of the library by `dlfunc`.
fn by_dlfunc(words: &[&str]) -> String {
    use std::ffi::{CStr, CString, c_int, c_uchar};
    unsafe extern "C" {
        fn mtasts_exim_lookup(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int;
        fn mtasts_exim_mode(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int;
        fn mtasts_exim_check_mx(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int;
    }
    let function = match words[0] {
        "lookup" => mtasts_exim_lookup,
        "mode" => mtasts_exim_mode,
        _ => mtasts_exim_check_mx,
    };
    let texts: Vec<CString> = words[1..].iter().map(|word| CString::new(*word).unwrap()).collect();
    let mut arguments: Vec<*mut c_uchar> = texts.iter().map(|text| text.as_ptr().cast_mut().cast()).collect();
    let mut result = std::ptr::null_mut();
    let count = c_int::try_from(arguments.len()).unwrap();
    // SAFETY: as many texts as the count says, which live during the call; the result is a text of the library's.
    let (status, text) = unsafe {
        let status = function(&raw mut result, count, arguments.as_mut_ptr());
        (
            status,
            CStr::from_ptr(result.cast_const().cast()).to_str().unwrap().to_owned(),
        )
    };
    assert_eq!(status, 0, "{words:?}: {text}");
    text
}

/// Queries in pieces, and many in one piece.
#[test]
fn however_the_octets_come() {
    on_the_internet_with("serve-octets", &[], |internet| {
        let server = Server::start(internet);
        let queries = [
            netstring("postfix good.test"),
            netstring("sts nopolicy.test"),
            netstring("none a"),
        ]
        .concat();
        for size in [1, 3, 16, 1000] {
            let mut client = server.client();
            for piece in queries.chunks(size) {
                client.0.write_all(piece).unwrap();
                if size < 16 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            assert!(client.reply().starts_with("OK "));
            assert_eq!(client.reply(), "NOTFOUND ");
            assert!(client.reply().starts_with("PERM "));
        }
        let mut client = server.client();
        let many = queries.repeat(2000);
        let mut writer = client.0.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&many).unwrap());
            for _ in 0..2000 {
                assert!(client.reply().starts_with("OK "));
                assert_eq!(client.reply(), "NOTFOUND ");
                assert!(client.reply().starts_with("PERM "));
            }
        });
        // Who says no more gets the replies to what was said.
        let mut client = server.client();
        client.0.write_all(&queries).unwrap();
        client.says_no_more();
        assert_eq!(client.rest().unwrap().iter().filter(|octet| **octet == b',').count(), 8);
    });
}

/// What is not a netstring ends the connection, with nothing said and nothing lost of what came before.
#[test]
fn what_is_not_a_query() {
    on_the_internet_with("serve-malformed", &[], |internet| {
        let server = Server::start(internet);
        for octets in [
            &b"017:postfix good.test,"[..],
            b"17:postfix good.test;",
            b"17:postfix good.tests,",
            b"10001:",
            b"1000000000:",
            b"99999999999999999999999999999999",
            b":",
            b"-1:,",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\n",
            b"\0",
        ] {
            let mut client = server.client();
            assert_eq!(client.ask("postfix", "nopolicy.test"), "NOTFOUND ");
            client.0.write_all(octets).unwrap();
            // The rest that was not read makes it a reset.
            assert!(
                client.rest().is_ok_and(|rest| rest.is_empty()) || octets.len() > 10,
                "{octets:?}"
            );
        }
        assert!(server.ask("postfix", "good.test").starts_with("OK "));
        let told = server.log().matches("neither a socketmap query").count();
        assert_eq!(told, 1, "{}", server.log());
        assert!(
            server
                .get("/metrics")
                .contains("mtasts_serve_closed_total{reason=\"malformed\"} 12")
        );
    });
}

/// A spoofed MX host is no name of the list; mail waits if DNS does not say where it goes.
#[test]
fn mx_hosts_of_an_attacker_and_none() {
    on_the_internet_with("serve-mx", &[("timeout", "3s")], |internet| {
        let change = |domain: &str, hosts: &[&str]| {
            let hosts = Some(hosts.iter().map(|host| (*host).to_owned()).collect());
            let change = Change {
                hosts,
                ..Change::default()
            };
            internet.lab.set(domain, change).unwrap();
        };
        change("good.test", &["mx.hub.test", "mx.good.test"]);
        change("wild.test", &["mx.hub.test"]);
        for (domain, fault) in [
            ("twomx.test", "SERVFAIL"),
            ("mixed.test", "NXDOMAIN"),
            ("hub.test", "SILENT"),
        ] {
            change(domain, &[fault]);
        }
        let server = Server::start(internet);
        let words = |hosts: &str| format!("OK secure match={hosts} servername=hostname");
        let begun = Instant::now();
        for (domain, reply) in [
            ("good.test", words("mx.good.test")),
            ("wild.test", words("no-mx-host-is-in-the-mta-sts-policy.invalid")),
            (
                "twomx.test",
                "TEMP the MX hosts of twomx.test, which has an MTA-STS policy, cannot be looked up now".into(),
            ),
            (
                "mixed.test",
                "TEMP DNS says that mixed.test does not exist or takes no mail, which its MTA-STS policy contradicts"
                    .into(),
            ),
            (
                "hub.test",
                "TEMP the MX hosts of hub.test, which has an MTA-STS policy, cannot be looked up now".into(),
            ),
        ] {
            assert_eq!(server.ask("postfix", domain), reply);
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    });
}

/// A domain whose MX hosts are others at each question: a reply names those of its own moment, and only what the policy lists.
#[test]
fn mx_hosts_that_change_at_each_question() {
    on_the_internet_with("serve-flux", &[("timeout", "20s")], |internet| {
        let server = Server::start(internet);
        let turns: [(&[&str], &str); 5] = [
            (
                &["mx1.twomx.test"],
                "OK secure match=mx1.twomx.test servername=hostname",
            ),
            (
                &["mx.hub.test", "mx2.twomx.test"],
                "OK secure match=mx2.twomx.test servername=hostname",
            ),
            (
                &["mx.hub.test"],
                "OK secure match=no-mx-host-is-in-the-mta-sts-policy.invalid servername=hostname",
            ),
            (
                &["mx2.twomx.test", "mx1.twomx.test"],
                "OK secure match=mx1.twomx.test:mx2.twomx.test servername=hostname",
            ),
            (
                &["SERVFAIL"],
                "TEMP the MX hosts of twomx.test, which has an MTA-STS policy, cannot be looked up now",
            ),
        ];
        for (hosts, reply) in turns {
            let change = Change {
                hosts: Some(hosts.iter().map(|host| (*host).to_owned()).collect()),
                ..Change::default()
            };
            internet.lab.set("twomx.test", change).unwrap();
            // The shortest time for which an answer is kept.
            thread::sleep(Duration::from_millis(1100));
            assert_eq!(server.ask("postfix", "twomx.test"), reply);
        }
    });
}

/// A hundred questions for one cold domain cost one fetch and one question for its MX hosts.
#[test]
fn a_crowd_asks_once() {
    on_the_internet_with("serve-crowd", &[], |internet| {
        let server = Server::start(internet);
        thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| assert!(server.ask("postfix", "good.test").starts_with("OK ")));
            }
        });
        assert_eq!(internet.fetches("good.test"), 1);
        let counters = internet.lab.counters().dns;
        // It is sent again if the machine is busy.
        assert!(matches!(counters.get("good.test MX"), Some(1..=3)), "{counters:?}");
    });
}
