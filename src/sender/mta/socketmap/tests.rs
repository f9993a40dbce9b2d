//! Tables of replies: every dialect, every answer, and values that hostile domains choose.

use std::sync::Arc;

use super::*;
use crate::cache::entry::CachedPolicy;
use crate::protocol::policy::MAX_POLICY;
use crate::protocol::words::Source;
use crate::sender::answer::Decision;
use crate::sender::outcome::Outcome;
use crate::sender::verdict;

const ALL: [Dialect; 3] = [Dialect::Postfix, Dialect::PostfixWithAttributes, Dialect::Sendmail];

/// An answer with this policy in enforce.
fn enforced(more: &str) -> Answer {
    let text = format!("version: STSv1\nmode: enforce\nmax_age: 86400\n{more}");
    let cached = CachedPolicy::new("1".parse().unwrap(), 1, text).unwrap();
    let domain = Domain::parse("ok.test").unwrap();
    Outcome::new(&domain, Source::Cached, Some(Arc::new(cached)), None)
        .into_answer(Decision::default())
        .unwrap()
}

fn known(hosts: &[&str]) -> Hosts {
    Hosts::Known(hosts.iter().map(|host| Domain::parse(host).unwrap()).collect())
}

fn said(dialect: Dialect, more: &str, hosts: &Hosts) -> String {
    dialect.reply(&enforced(more), hosts).to_string()
}

/// The attributes of a reply as Postfix reads them (`smtp_tls_policy.c`, mystrtokq): split at blanks and commas, except
/// in braces; in braces one `name = value`.
fn attributes(reply: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    let (mut word, mut depth) = (String::new(), 0);
    for c in reply.strip_prefix("OK ").expect("OK").chars() {
        match c {
            ' ' | ',' | '\t' | '\r' | '\n' if depth == 0 => words.push(std::mem::take(&mut word)),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                word.push(c);
            }
        }
    }
    assert_eq!(depth, 0, "{reply}");
    words.push(word);
    let pair = |word: &String| {
        let inner = word
            .strip_prefix('{')
            .map_or(&**word, |word| word.strip_suffix('}').unwrap());
        let (name, value) = inner.split_once('=').unwrap_or((inner, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    words.iter().map(pair).collect()
}

#[test]
fn the_words_of_each_dialect() {
    let more = "mx: B.ok.test.\r\nmx: *.w.test\r\nmx: a.ok.test\r\n";
    let hosts = known(&["a.ok.test", "x.w.test", "evil.test", "b.ok.test"]);
    let plain = "OK secure match=b.ok.test:x.w.test:a.ok.test servername=hostname";
    assert_eq!(said(Dialect::Postfix, more, &hosts), plain);
    assert_eq!(said(Dialect::Sendmail, more, &hosts), plain);
    assert_eq!(
        said(Dialect::PostfixWithAttributes, more, &hosts),
        format!(
            "{plain} policy_type=sts policy_domain=ok.test mx_host_pattern=b.ok.test mx_host_pattern=*.w.test \
             mx_host_pattern=a.ok.test {{ policy_string = version: STSv1 }} {{ policy_string = mode: enforce }} \
             {{ policy_string = max_age: 86400 }} {{ policy_string = mx: B.ok.test. }} {{ policy_string = mx: *.w.test }} \
             {{ policy_string = mx: a.ok.test }}"
        )
    );
}

/// A spoofed MX is never among the names, and a pattern is none.
#[test]
fn where_no_host_is_listed_no_certificate_passes() {
    for hosts in [known(&["evil.test"]), known(&["w.test", "a.b.w.test"]), known(&[])] {
        for dialect in ALL {
            let reply = said(dialect, "mx: *.w.test\nmx: a.ok.test\n", &hosts);
            let begin = "OK secure match=no-mx-host-is-in-the-mta-sts-policy.invalid servername=hostname";
            assert!(reply.starts_with(begin), "{reply}");
        }
    }
}

#[test]
fn what_waits_and_what_is_not_enforced() {
    let (some, none) = (known(&["mx.example.com"]), Hosts::Unknown);
    for (name, answer) in verdict::tests::answers() {
        let wants = match name {
            "first-contact" => "TEMP the MTA-STS policy of example.com cannot be looked up now",
            "enforce/fresh" | "enforce/cached" | "enforce/stale" => {
                "OK secure match=mx.example.com servername=hostname"
            }
            _ => "NOTFOUND ",
        };
        for dialect in ALL {
            let reply = dialect.reply(&answer, &some).to_string();
            assert!(reply.starts_with(wants), "{name}: {reply}");
            // Hosts that cannot be learnt only matter if the policy is enforced.
            let reply = dialect.reply(&answer, &none).to_string();
            let wants = match wants.strip_prefix("OK") {
                Some(_) => "TEMP the MX hosts of example.com, which has an MTA-STS policy, cannot be looked up now",
                None => wants,
            };
            assert_eq!(reply, wants, "{name}");
        }
    }
    for (name, outcome) in verdict::tests::outcomes() {
        assert_eq!(
            Dialect::Postfix.reply(&verdict::tests::exempt(&outcome), &some),
            Reply::NotFound,
            "{name}: the operator's exception"
        );
    }
    let reply = said(Dialect::Postfix, "mx: a.ok.test\n", &Hosts::Denied);
    assert!(
        reply.starts_with("TEMP DNS says that ok.test does not exist or takes no mail"),
        "{reply}"
    );
}

/// Where TLSA records decide, no word of the policy is said, and only an MTA that has words for it is asked to do so.
#[test]
fn words_for_dane() {
    let text = |level: &Level, answer: &Answer| Reply::without_hosts(answer, level).map(|reply| reply.to_string());
    let wait = Level::Wait("no answer".into());
    for (name, answer) in verdict::tests::answers() {
        let unknown = "TEMP the MTA-STS policy of example.com cannot be looked up now";
        for (level, words) in [
            (&Level::Dane, "OK dane"),
            (&Level::DaneOnly, "OK dane-only"),
            (
                &wait,
                "TEMP the MX hosts of example.com cannot be looked up for DANE now: no answer",
            ),
        ] {
            let words = if name == "first-contact" { unknown } else { words };
            assert_eq!(text(level, &answer).as_deref(), Some(words), "{name}");
        }
        let words = match name {
            "first-contact" => Some(unknown),
            "enforce/fresh" | "enforce/cached" | "enforce/stale" => None,
            _ => Some("NOTFOUND "),
        };
        assert_eq!(text(&Level::Policy, &answer).as_deref(), words, "{name}");
    }
    assert_eq!(ALL.map(Dialect::knows_dane), [true, true, false]);
    let long = Reply::without_hosts(&enforced("mx: a.ok.test\n"), &Level::Wait("a".repeat(900))).unwrap();
    assert!(long.to_string().len() <= "TEMP ".len() + SENTENCE, "{long}");
}

#[test]
fn names_of_maps() {
    for (name, dialect) in [
        ("postfix", Some(Dialect::Postfix)),
        ("QUERY", Some(Dialect::Postfix)),
        ("postfix-3.10", Some(Dialect::PostfixWithAttributes)),
        ("QUERYwithTLSRPT", Some(Dialect::PostfixWithAttributes)),
        ("sts", Some(Dialect::Sendmail)),
        ("sendmail", Some(Dialect::Sendmail)),
        ("Postfix", None),
        ("postfix-3.7", None),
        ("", None),
        ("postfix\0", None),
    ] {
        assert_eq!(Dialect::of_map(name.as_bytes()), dialect, "{name}");
    }
    assert_eq!(
        Reply::no_such_map().to_string(),
        "PERM no map of this name; there are postfix, postfix-3.10, sts, sendmail, QUERY, QUERYwithTLSRPT"
    );
}

#[test]
fn whose_policy_a_key_means() {
    let long = format!("{}a.test", "a.".repeat(123));
    for (key, domain, is_host) in [
        ("Example.COM.", "example.com", false),
        ("example.com:587", "example.com", false),
        ("[relay.example.com]", "relay.example.com", true),
        ("[relay.example.com]:587", "relay.example.com", true),
        ("[relay.example.com]:submission", "relay.example.com", true),
        ("bücher.example", "xn--bcher-kva.example", false),
        ("a.b.c.d.example.com", "a.b.c.d.example.com", false),
        (&long, &long, false),
    ] {
        let found = NextHop::parse(key.as_bytes()).unwrap_or_else(|| panic!("{key}"));
        assert_eq!((found.domain.as_str(), found.is_host), (domain, is_host), "{key}");
    }
    let too_long = format!("{}a.test", "a.".repeat(124));
    for key in [
        &b""[..],
        b".",
        b".example.com",
        b".com",
        b"[192.0.2.1]",
        b"192.0.2.1",
        b"192.0.2.1:25",
        b"[2001:db8::1]:25",
        b"[IPv6:2001:db8::1]",
        b"2001:db8::1",
        b"[example.com",
        b"[example.com]x",
        b"example.com]",
        b"exa mple.com",
        b"example.com\n",
        b"example.com\0",
        b"a_b.example.com",
        b"example.com match=evil.test",
        b"b\xfccher.example",
        too_long.as_bytes(),
    ] {
        assert_eq!(NextHop::parse(key), None, "{:?}", String::from_utf8_lossy(key));
    }
}

/// What a domain may write in a policy stays the value of an attribute, and is no attribute.
#[test]
fn values_that_hostile_domains_choose() {
    let hosts = known(&["a.ok.test"]);
    for extension in [
        "x: match=evil.test",
        "x: a match=evil.test tafile=/etc/passwd",
        "x: policy_failure=validation-failure",
        "match: evil.test",
        "x: a, b = c",
        "x: \\ \" ' ` $",
    ] {
        let reply = said(
            Dialect::PostfixWithAttributes,
            &format!("mx: a.ok.test\n{extension}\n"),
            &hosts,
        );
        let found = attributes(&reply);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let expected = "secure match servername policy_type policy_domain mx_host_pattern";
        let mut expected: Vec<&str> = expected.split(' ').collect();
        expected.extend(["policy_string"; 5]);
        assert_eq!(names, expected, "{reply}");
        assert_eq!(found.last().unwrap().1, extension);
    }
    for extension in [
        "x: {",
        "x: }",
        "x: a } match=evil.test { b",
        "x: \u{fc}",
        "x: \u{202e}a",
        "x: {{}}",
    ] {
        let reply = said(
            Dialect::PostfixWithAttributes,
            &format!("mx: a.ok.test\n{extension}\n"),
            &hosts,
        );
        assert!(
            reply.is_ascii() && reply.matches('{').count() == 4 && !reply.contains("evil"),
            "{reply}"
        );
        assert_eq!(attributes(&reply).len(), 6 + 4, "{reply}");
    }
    // Control bytes and such in a pattern make the whole policy invalid: there is none to be answered.
    for mx in ["a match=evil.test", "a}", "a{", "a,b", "a:b", "a\tb", "a\0", "a=b"] {
        let text = format!("version: STSv1\nmode: enforce\nmax_age: 1\nmx: {mx}\n");
        assert!(CachedPolicy::new("1".parse().unwrap(), 1, text).is_err(), "{mx:?}");
    }
    // An address among the patterns is not a pattern for Postfix, and never the only one.
    let reply = said(Dialect::PostfixWithAttributes, "mx: 192.0.2.1\n", &hosts);
    assert!(
        reply.contains("mx_host_pattern=no-mx-host-is-in-the-mta-sts-policy.invalid "),
        "{reply}"
    );
    assert!(!reply.contains("mx_host_pattern=192"), "{reply}");
}

/// The largest policies and the largest RRsets: no reply is longer than Postfix takes, and no list longer than Sendmail
/// reads.
#[test]
fn the_largest_policies() {
    let label = "a".repeat(60);
    let long: Vec<String> = (0..230)
        .map(|n| format!("h{n:03}.{label}.{label}.{label}.{label}.test"))
        .collect();
    let short: Vec<String> = (0..3600).map(|n| format!("h{n:04}.ok.test")).collect();
    let one: Vec<String> = (0..3600).map(|n| format!("h{n:04}.t")).collect();
    for names in [long, short, one] {
        let more: String = names.iter().map(|name| format!("mx:{name}\n")).collect();
        assert!(
            more.len() < MAX_POLICY - 100 && more.len() > MAX_POLICY / 2,
            "{}",
            more.len()
        );
        let (last, all): (Vec<&str>, Vec<&str>) =
            (vec![names.last().unwrap()], names.iter().map(String::as_str).collect());
        for hosts in [last, all, vec!["evil.test"]] {
            let listed = hosts.len().min(100);
            let hosts = known(&hosts);
            for dialect in [Dialect::Postfix, Dialect::PostfixWithAttributes] {
                let reply = said(dialect, &more, &hosts);
                assert!(reply.len() < 100_000, "{}", reply.len());
                let found = attributes(&reply);
                assert_eq!(found[1].0, "match");
                let matched: Vec<&str> = found[1].1.split(':').collect();
                assert_eq!(matched.len(), listed);
                if dialect == Dialect::PostfixWithAttributes {
                    let of = |name: &str| -> Vec<&str> {
                        let named = found.iter().filter(|(known, _)| known == name);
                        named.map(|(_, value)| value.as_str()).collect()
                    };
                    let patterns = of("mx_host_pattern");
                    assert!(!patterns.is_empty() && of("policy_string").len() > 3);
                    // Each host that may get mail passes Postfix's own check of the hosts.
                    let passes = |host: &&str| patterns.contains(host) || host.ends_with(".invalid");
                    assert!(matched.iter().all(passes), "{patterns:?}");
                }
            }
        }
    }
}

/// Sendmail ignores what is behind the 255th character of the list.
#[test]
fn sendmail_gets_no_list_that_it_would_cut() {
    let mail = |n: usize, length: usize| {
        let names: Vec<String> = (0..n).map(|n| format!("{n:a<length$}.test")).collect();
        let more: String = names.iter().map(|name| format!("mx: {name}\n")).collect();
        let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
        said(Dialect::Sendmail, &more, &known(&hosts))
    };
    // 16 names of 15 characters and 15 colons: 255.
    assert!(
        mail(16, 10).starts_with("OK secure match=0aaaaaaaaa.test:"),
        "{}",
        mail(16, 10)
    );
    for (n, length) in [(17, 10), (15, 12), (100, 10), (3, 60 + 20)] {
        let reply = mail(n, length.min(60));
        assert!(
            reply.starts_with("OK") == (n * (length.min(60) + 5) + n - 1 <= 255),
            "{n} {length}: {reply}"
        );
    }
    assert_eq!(
        mail(100, 10),
        "TEMP the MTA-STS policy of ok.test lists more MX hosts than Sendmail can check"
    );
}

#[test]
fn a_word_is_always_followed_by_its_space() {
    let domain = "a".repeat(63);
    let domain = [&*domain; 3].join(".");
    for reply in [
        Reply::NotFound,
        Reply::unavailable(&domain),
        Reply::no_such_map(),
        Reply::Ok("secure".into()),
    ] {
        let text = reply.to_string();
        let (word, rest) = text.split_once(' ').unwrap();
        assert!(["OK", "NOTFOUND", "TEMP", "PERM"].contains(&word), "{text}");
        assert!(
            rest.len() <= SENTENCE && rest.bytes().all(|octet| matches!(octet, b' '..=b'~')),
            "{text}"
        );
    }
}
