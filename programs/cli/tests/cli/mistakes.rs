//! `mtasts lint`: every mistake at once, what was probably meant, and the corrected text.

use std::collections::BTreeSet;

use mtasts_survey::finding::Code;
use serde_json::Value;

use crate::{mtasts, mtasts_with_input};

/// A policy with this in the place of its lines.
fn policy(mode: &str, mx: &str, max_age: &str) -> String {
    format!("version: STSv1\n{mode}\n{mx}\n{max_age}\n")
}

const MODE: &str = "mode: enforce";
const MX: &str = "mx: mx.example.com";
const AGE: &str = "max_age: 604800";
const GOOD: &str = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604800\n";

/// A text, the codes of what is found in it, and the corrected text.
type Case = (Vec<u8>, &'static [&'static str], Option<String>);

fn cases() -> Vec<Case> {
    let text = |text: String, codes: &'static [&'static str], meant: Option<&str>| {
        (text.into_bytes(), codes, meant.map(str::to_owned))
    };
    let mx = |mx: &str, codes: &'static [&'static str], meant: &str| {
        let meant: String = meant.split(' ').map(|host| format!("mx: {host}\n")).collect();
        let good = GOOD.replace("mx: mx.example.com\n", &meant);
        (policy(MODE, &format!("mx: {mx}"), AGE).into_bytes(), codes, Some(good))
    };
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let rtf = "{\\rtf1\\ansi\n{\\fonttbl\\f0\\fswiss Helvetica;}\n\\pard \\cf0 version: STSv1\\\nmode: enforce\\\n\
               mx: mx.example.com\\\nmax_age: 604800}";
    vec![
        text(GOOD.into(), &[], Some(GOOD)),
        // The file.
        ("x".repeat(65_537).into_bytes(), &["policy-too-large"], None),
        (
            policy(MODE, MX, "max_age: 604800\next: caf\u{e9}")
                .chars()
                .map(|c| c as u8)
                .collect(),
            &["not-utf8"],
            Some(GOOD.into()),
        ),
        ([vec![0xff, 0xfe], utf16(GOOD)].concat(), &["utf-16"], Some(GOOD.into())),
        (utf16(GOOD), &["utf-16"], Some(GOOD.into())),
        text(format!("\u{feff}{GOOD}"), &["byte-order-mark"], Some(GOOD)),
        text(rtf.into(), &["rich-text"], Some(GOOD)),
        text(format!("<html>\n{GOOD}"), &["web-page"], None),
        text(GOOD.replace('\n', "\\n"), &["literal-newline"], Some(GOOD)),
        text(GOOD.replace('\n', "\\r\\n"), &["literal-newline"], Some(GOOD)),
        text(format!("---\nlayout: none\n---\n{GOOD}"), &["front-matter"], Some(GOOD)),
        text("Nothing here\n".into(), &["stray-line", "not-a-policy"], None),
        text("\n".into(), &["empty-file"], None),
        text(String::new(), &["empty-file"], None),
        text("\r\n \r\n".into(), &["empty-file"], None),
        // Its lines.
        text(policy("mode: enforce # later", MX, AGE), &["comment"], Some(GOOD)),
        text(format!("# ours\n{GOOD}// end\n"), &["comment", "comment"], Some(GOOD)),
        text(
            GOOD.replace("\nm", "\n  m"),
            &["indented", "indented", "indented"],
            Some(GOOD),
        ),
        text(policy("mode:\u{a0}enforce", MX, AGE), &["odd-space"], Some(GOOD)),
        text(
            policy(MODE, "mx: mx.example.com\u{200b}", AGE),
            &["odd-space"],
            Some(GOOD),
        ),
        text(policy("mode: [enforce]", MX, AGE), &["quotation-marks"], Some(GOOD)),
        text(
            policy("mode: \u{201c}enforce\u{201d}", MX, AGE),
            &["quotation-marks"],
            Some(GOOD),
        ),
        text(policy("\"mode: enforce\"", MX, AGE), &["quotation-marks"], Some(GOOD)),
        text(policy("mode: enforce;", MX, AGE), &["separator"], Some(GOOD)),
        text(policy("mode = enforce", MX, AGE), &["separator"], Some(GOOD)),
        text(GOOD.replace('\n', " "), &["separator"], Some(GOOD)),
        text(
            policy(MODE, MX, "max_age: 604800version: STSv1"),
            &["separator"],
            Some(GOOD),
        ),
        text(format!("{GOOD}npm\n"), &["stray-line"], Some(GOOD)),
        text(policy("mode: [enforce|testing|none]", MX, AGE), &["placeholder"], None),
        text(policy(MODE, "mx: mx1.your_domain.tld", AGE), &["placeholder"], None),
        text(policy(MODE, "mx: [mx]", AGE), &["placeholder"], None),
        text(policy("mode: [mode:testing]", MX, AGE), &["placeholder"], None),
        text(policy(MODE, MX, "max_age: [max_age:604800]"), &["placeholder"], None),
        text(policy("mode : enforce", MX, AGE), &["field-name"], Some(GOOD)),
        text(policy("- mode: enforce", MX, AGE), &["field-name"], Some(GOOD)),
        text(format!("{GOOD}bad name: x\n"), &["field-name"], Some(GOOD)),
        text(format!("{GOOD}ext:\n"), &["field-value"], Some(GOOD)),
        // Its values.
        text(GOOD.replace("STSv1", "STSv2"), &["version"], Some(GOOD)),
        text(policy("mode: enforced", MX, AGE), &["mode"], Some(GOOD)),
        text(policy("mode: Enforce", MX, AGE), &["mode"], Some(GOOD)),
        text(policy("mode: enforcing", MX, AGE), &["mode"], Some(GOOD)),
        text(policy("mode: on", MX, AGE), &["mode"], None),
        text(policy(MODE, MX, "max_age: 604,800"), &["max_age"], Some(GOOD)),
        text(policy(MODE, MX, "max_age: 1 week"), &["max_age"], Some(GOOD)),
        text(policy(MODE, MX, "max_age: enforce"), &["max_age"], Some(GOOD)),
        text(policy(MODE, MX, "max_age: 01234567890"), &["max_age"], Some(GOOD)),
        mx("10 mx.example.com", &["mx-preference"], "mx.example.com"),
        mx("Priority 5: mx.example.com", &["mx-preference"], "mx.example.com"),
        mx("https://mx.example.com/", &["mx-url"], "mx.example.com"),
        mx("mx.example.com:25", &["mx-url"], "mx.example.com"),
        mx(
            "a.example.com, b.example.com",
            &["mx-list"],
            "a.example.com b.example.com",
        ),
        mx("alt*.example.com", &["mx-star"], "*.example.com"),
        mx(".example.com", &["mx-star"], "*.example.com"),
        mx(
            "post.b\u{fc}cher.example",
            &["mx-unicode"],
            "post.xn--bcher-kva.example",
        ),
        mx("*.b\u{fc}cher.example", &["mx-unicode"], "*.xn--bcher-kva.example"),
        mx("mx\u{2013}a.example", &["mx-unicode"], "mx-a.example"),
        text(policy(MODE, "mx: a_b.example", AGE), &["mx"], None),
        text(policy(MODE, "mx: .", AGE), &["mx-null", "missing-mx"], None),
        // What is not there.
        text(GOOD.replace("version: STSv1\n", ""), &["missing-version"], Some(GOOD)),
        text(GOOD.replace("mode: enforce\n", ""), &["missing-mode"], None),
        text(GOOD.replace("max_age: 604800\n", ""), &["missing-max_age"], Some(GOOD)),
        text(policy(MODE, MX, "max-age: 604800"), &["missing-max_age"], Some(GOOD)),
        text(
            policy(MODE, "nmx: mx.example.com", AGE),
            &["missing-mx"],
            Some("version: STSv1\nmode: enforce\nmax_age: 604800\nmx: mx.example.com\n"),
        ),
        text(GOOD.replace("mx: mx.example.com\n", ""), &["missing-mx"], None),
        // What is valid and probably not meant.
        text(
            format!("{GOOD}nmx: b.example.com\n"),
            &["lost-pattern"],
            Some("version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604800\nmx: b.example.com\n"),
        ),
        text(format!("{GOOD}Mode: testing\n"), &["near-field"], Some(GOOD)),
        text(format!("{GOOD}\n\n"), &["blank-line"], Some(GOOD)),
        text(format!("{GOOD}mode: testing\n"), &["duplicate-field"], Some(GOOD)),
        text(
            policy(MODE, MX, "max_age: 99999999"),
            &["max_age-clamped"],
            Some(&GOOD.replace("604800", "31557600")),
        ),
        text(
            policy(MODE, "mx: mx.example.com.", AGE),
            &["mx-trailing-dot"],
            Some(GOOD),
        ),
        text(format!("{GOOD}mx: 192.0.2.1\n"), &["mx-ip-literal"], Some(GOOD)),
        // What could be better.
        text(
            policy("mode: testing", MX, AGE),
            &["mode-testing"],
            Some(&GOOD.replace("enforce", "testing")),
        ),
        text(
            "version: STSv1\nmode: none\nmax_age: 31557600\n".into(),
            &["mode-none-long"],
            Some("version: STSv1\nmode: none\nmax_age: 31557600\n"),
        ),
        text(
            policy(MODE, MX, "max_age: 0"),
            &["max_age-zero"],
            Some(&GOOD.replace("604800", "0")),
        ),
        text(
            policy(MODE, MX, "max_age: 604799"),
            &["max_age-short"],
            Some(&GOOD.replace("604800", "604799")),
        ),
        text(
            policy("mode: none", MX, "max_age: 1"),
            &["mx-ignored"],
            Some("version: STSv1\nmode: none\nmx: mx.example.com\nmax_age: 1\n"),
        ),
        text(
            policy(MODE, "mx: *.example.com", AGE),
            &["mx-wildcard"],
            Some(&GOOD.replace("mx.ex", "*.ex")),
        ),
        text(
            policy(MODE, "mx: *.com", AGE),
            &["mx-top-wildcard"],
            Some(&GOOD.replace("mx.example.com", "*.com")),
        ),
        text(format!("{GOOD}mx: MX.example.com\n"), &["mx-repeated"], Some(GOOD)),
        text(
            format!("mode: enforce\nversion: STSv1\n{MX}\n{AGE}\n"),
            &["version-not-first"],
            Some(GOOD),
        ),
        // Several at once: each is found.
        text(
            policy(
                "mode: testing # while we try",
                "mx: *.backup.example.com # others\nnmx: b.example.com",
                "max_age: a week",
            ),
            &["comment", "comment", "lost-pattern", "max_age"],
            Some("version: STSv1\nmode: testing\nmx: *.backup.example.com\nmax_age: 604800\nmx: b.example.com\n"),
        ),
    ]
}

fn codes(told: &Value) -> Vec<&str> {
    let findings = told["findings"].as_array().expect("a list");
    findings
        .iter()
        .map(|finding| finding["code"].as_str().expect("a code"))
        .collect()
}

/// The codes that the table above and the one below have to have, each.
fn covered<'a>(found: impl Iterator<Item = &'a &'a str>, is_record: bool) {
    let found: BTreeSet<&str> = found.copied().collect();
    let lint = Code::ALL
        .iter()
        .map(|code| code.name())
        .filter(|name| name.starts_with("record-") == is_record);
    let of_lint = |name: &&str| {
        Code::ALL.iter().position(|code| code.name() == *name)
            <= Code::ALL.iter().position(|code| *code == Code::RecordPolicyField)
    };
    for code in lint.filter(of_lint) {
        assert!(found.contains(code), "no case has {code}");
    }
}

#[test]
fn every_mistake_in_a_policy_is_found_and_corrected() {
    let cases = cases();
    let mut wrong = String::new();
    for (text, expected, meant) in &cases {
        let about = String::from_utf8_lossy(text);
        let about: String = about.chars().take(200).collect();
        let told = mtasts_with_input(&["lint", "policy", "-", "--json"], text).json();
        let fixed = mtasts_with_input(&["lint", "policy", "--fix", "-"], text);
        let told_lines = expected.len() + usize::from(meant.is_none());
        let right = codes(&told) == *expected
            && told["corrected"].as_str() == meant.as_deref()
            && (fixed.out.as_str(), fixed.status) == (meant.as_deref().unwrap_or(""), i32::from(meant.is_none()))
            && fixed.err.lines().count() == told_lines;
        if !right {
            wrong += &format!("{about}\n  {told}\n  {fixed:?}\n");
        }
        // What was corrected once needs no correction more.
        if let Some(meant) = meant {
            let again = mtasts_with_input(&["lint", "policy", "-", "--json"], meant.as_bytes()).json();
            let corrected = again["corrected"].as_str();
            assert_eq!(
                (&again["outcome"], corrected),
                (&"valid".into(), Some(meant.as_str())),
                "{about}"
            );
            assert_eq!(again["warnings"], serde_json::json!([]), "{about}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    covered(cases.iter().flat_map(|(_, codes, _)| codes.iter()), false);
}

/// A record, its codes, and what was meant.
const RECORDS: &[(&str, &[&str], Option<&str>)] = &[
    ("v=STSv1; id=1;", &[], Some("v=STSv1; id=1;")),
    ("v=spf1 -all", &["record-none"], None),
    ("\"v=STSv1; id=1\"", &["record-quotation-marks"], Some("v=STSv1; id=1;")),
    (
        "\u{201c}v=STSv1; id=1;\u{201d}",
        &["record-quotation-marks"],
        Some("v=STSv1; id=1;"),
    ),
    ("v=STSv1\\; id=1", &["record-backslash"], Some("v=STSv1; id=1;")),
    (" v=STSv1; id = 1", &["record-space"], Some("v=STSv1; id=1;")),
    ("v=STSv1;\u{a0}id=1", &["record-space"], Some("v=STSv1; id=1;")),
    ("v=STSv1, id=1", &["record-separator"], Some("v=STSv1; id=1;")),
    ("v=STSv1 id=1", &["record-separator"], Some("v=STSv1; id=1;")),
    (
        "v=STSv1; id: 1",
        &["record-separator", "record-space"],
        Some("v=STSv1; id=1;"),
    ),
    ("v=STSv1; id=1;;", &["record-empty-field"], Some("v=STSv1; id=1;")),
    ("v=stsv1; id=1", &["record-version"], Some("v=STSv1; id=1;")),
    ("v=STS1; id=1", &["record-version"], Some("v=STSv1; id=1;")),
    ("id=1; v=STSv1", &["record-version"], Some("v=STSv1; id=1;")),
    ("v=STSv1; id=2025-11-09", &["record-id"], Some("v=STSv1; id=20251109;")),
    ("v=STSv1; id=policy_1.2", &["record-id"], Some("v=STSv1; id=policy12;")),
    ("v=STSv1; ID=1", &["record-field"], Some("v=STSv1; id=1;")),
    (
        "v=STSv1; id=1; note=has space",
        &["record-field"],
        Some("v=STSv1; id=1;"),
    ),
    (
        "v=STSv1; id=1; mode=enforce",
        &["record-policy-field"],
        Some("v=STSv1; id=1;"),
    ),
    (
        "v=STSv1; id=1; mode=enforce; mx=mx1.example.com; max_age=604800",
        &["record-policy-field"],
        Some("v=STSv1; id=1;"),
    ),
    (
        "v=STSv1; id=1; ext=2; more=b",
        &[],
        Some("v=STSv1; id=1; ext=2; more=b;"),
    ),
];

#[test]
fn every_mistake_in_a_record_is_found_and_corrected() {
    for (record, expected, meant) in RECORDS {
        let told = mtasts(&["lint", "record", "--json", record]).json();
        assert_eq!(codes(&told), *expected, "{record}");
        assert_eq!(told["corrected"].as_str(), *meant, "{record}");
        let ran = mtasts(&["lint", "record", "--fix", record]);
        let out = meant.map(|meant| format!("{meant}\n")).unwrap_or_default();
        assert_eq!((ran.out, ran.status), (out, i32::from(meant.is_none())), "{record}");
    }
    // A new id is made of the time.
    let ran = mtasts(&["lint", "record", "--fix", "v=STSv1"]);
    let id = ran
        .out
        .strip_prefix("v=STSv1; id=20")
        .and_then(|rest| rest.strip_suffix(";\n"))
        .expect("an id");
    assert!(id.len() == 12 && id.bytes().all(|c| c.is_ascii_digit()), "{ran:?}");
    assert_eq!(
        codes(&mtasts(&["lint", "record", "--json", "v=STSv1"]).json()),
        ["record-missing-id"]
    );
    // Which of two is meant only the operator knows.
    let two = mtasts(&["lint", "record", "--json", "v=STSv1; id=1", "v=STSv1; id=2"]).json();
    assert_eq!((codes(&two), &two["corrected"]), (vec!["record-several"], &Value::Null));
    // Another TXT record does no harm beside a good one.
    assert_eq!(
        codes(&mtasts(&["lint", "record", "--json", "v=STSv1; id=1", "v=spf1 -all"]).json()),
        Vec::<&str>::new()
    );
    let also = ["record-missing-id", "record-several"];
    covered(RECORDS.iter().flat_map(|(_, codes, _)| codes.iter()).chain(&also), true);
}

#[test]
fn mistakes_for_people() {
    let text = "version: STSv1\nmode: testing # while we try\nmx: 10 mx1.example.com\nmax_age: 604800\n";
    let ran = mtasts_with_input(&["lint", "policy", "-"], text.as_bytes());
    assert_eq!(
        (ran.out.as_str(), ran.status),
        (
            "  bad     line 2: a policy has no comments; remove it\n\
             \x20           mode: testing # while we try\n\
             \x20           probably meant: mode: testing\n\
             \x20 bad     line 3: an mx has the preference of the MX record; a policy has the host name alone\n\
             \x20           mx: 10 mx1.example.com\n\
             \x20           probably meant: mx: mx1.example.com\n",
            1
        )
    );
    let ran = mtasts_with_input(&["lint", "policy", "--fix", "-"], text.as_bytes());
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str(), ran.status),
        (
            "version: STSv1\nmode: testing\nmx: mx1.example.com\nmax_age: 604800\n",
            "mtasts: line 2: a policy has no comments; remove it\n\
             mtasts: line 3: an mx has the preference of the MX record; a policy has the host name alone\n",
            0
        )
    );
    // A stranger's line is not taken apart without end.
    let line = format!("version: STSv1\n{}\n", "mx:a ".repeat(13_000));
    let ran = mtasts_with_input(&["lint", "policy", "-", "--json"], line.as_bytes());
    assert_eq!((ran.status, codes(&ran.json())[0]), (1, "mx"), "{ran:?}");
    // A text without end of mistakes.
    let ran = mtasts_with_input(&["lint", "policy", "-"], "x\n".repeat(30_000).as_bytes());
    assert!(
        ran.out.lines().count() < 50 && ran.out.contains("and 29981 more\n"),
        "{}",
        ran.out
    );
}

/// Where no text is printed, the last line says why.
#[test]
fn why_nothing_can_be_made_of_it() {
    let twice = policy(
        "mode: [enforce|testing|none] # choose",
        "mx: mx.your_domain.tld # yours",
        AGE,
    );
    for (text, why) in [
        (
            String::new(),
            "there is no text; publish a policy, or remove the file together with the record at _mta-sts",
        ),
        (
            "Nothing here\n".into(),
            "the text has none of the fields of a policy: version, mode, mx and max_age",
        ),
        (
            format!("<html>\n{GOOD}"),
            "the file is a web page; serve the text of the policy itself",
        ),
        ("x".repeat(65_537), "the policy is longer than 65536 octets; shorten it"),
        (
            policy("mode: on", MX, AGE),
            "what was meant by line 2 cannot be guessed",
        ),
        (twice, "what was meant by line 2, 3 cannot be guessed"),
        (
            format!("version: STSv1\n{MODE}\n{AGE}\n"),
            "the policy has no mx field, and its mode is not none",
        ),
        (
            policy("mode: testing", "mx: .", AGE),
            "an mx is the root; a policy cannot say that a domain takes no mail; a domain without mail needs none",
        ),
        (
            format!("version: STSv1\nmode: on\n{AGE}\n"),
            "the policy has no mx field, and its mode is not none; what was meant by line 2 cannot be guessed",
        ),
    ] {
        let ran = mtasts_with_input(&["lint", "policy", "-", "--fix"], text.as_bytes());
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{text:.99}: {ran:?}");
        let last = ran.err.lines().last().expect("a line");
        assert_eq!(
            last,
            format!("mtasts: nothing can be made of this: {why}. Correct it by hand."),
            "{text:.99}"
        );
    }
    let ran = mtasts(&["lint", "record", "--fix", "hello"]);
    let last = ran.err.lines().last().expect("a line");
    assert_eq!(
        last,
        "mtasts: nothing can be made of this: no TXT record is an MTA-STS record. Correct it by hand."
    );
}
