//! Domains told apart by the text of their policy (RFC 8461 3.2).

use crate::entry::{Entry, policy_text};

/// `MX` in a body stands for the MX host of the domain.
pub(super) fn entries() -> Vec<Entry> {
    let valid: &[(&str, &str, &str)] = &[
        (
            "policy-lf",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\n",
            "lines end with LF",
        ),
        (
            "policy-mixed",
            "version: STSv1\r\nmode: enforce\nmx: MX\r\nmax_age: 86400",
            "LF and CRLF mixed, none at the end",
        ),
        (
            "policy-order",
            "max_age: 86400\nmx: MX\nmode: enforce\nversion: STSv1\n",
            "version last",
        ),
        (
            "policy-tabs",
            "version:\t STSv1 \nmode:\tenforce\t\r\nmx:  MX \t\nmax_age: 86400 \n",
            "tabs and blanks after the colon and at the end",
        ),
        (
            "policy-extension",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\nx-info: https://example.com:8443/a:b\n",
            "an unknown field with colons",
        ),
        (
            "policy-utf8",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\ncontact: J\u{f6}rg \u{c5}s\n",
            "an unknown field with UTF-8",
        ),
        (
            "policy-u2028",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\nx-note: a\u{2028}mode: none\n",
            "U+2028 in a value, which ends no line",
        ),
        (
            "policy-braces",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\nx-note: } policy_type=tlsa {\n",
            "braces in an unknown field",
        ),
        (
            "policy-twice",
            "version: STSv1\nversion: STSv2\nmode: enforce\nmode: none\nmx: MX\nmax_age: 86400\nmax_age: x\n",
            "fields twice, of which the first counts",
        ),
        (
            "policy-blank",
            "version: STSv1\n\nmode: enforce\nmx: MX\nmax_age: 86400\n\r\n\n",
            "blank lines, which we accept",
        ),
        (
            "policy-dot",
            "version: STSv1\nmode: enforce\nmx: MX.\nmax_age: 86400\n",
            "a dot at the end of the mx, which we accept",
        ),
        (
            "policy-ip",
            "version: STSv1\nmode: enforce\nmx: MX\nmx: 212.114.86.56\nmax_age: 86400\n",
            "an IP address as a second mx, which never matches",
        ),
        (
            "policy-upper",
            "version: STSv1\nmode: enforce\nmx: UPPER\nmax_age: 86400\n",
            "the mx in capitals",
        ),
        (
            "policy-age0",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 0\n",
            "max_age 0: it counts for the delivery that fetched it",
        ),
        (
            "policy-age-max",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 31557600\n",
            "the greatest max_age",
        ),
        (
            "policy-age-over",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 9999999999\n",
            "max_age above the limit, which we cut down",
        ),
    ];
    let invalid: &[(&str, &str, &str)] = &[
        ("policy-garbage", "hello\n", "not a policy"),
        ("policy-empty", "", "empty"),
        (
            "policy-nomx",
            "version: STSv1\nmode: enforce\nmax_age: 86400\n",
            "no mx",
        ),
        (
            "policy-noversion",
            "mode: enforce\nmx: MX\nmax_age: 86400\n",
            "no version",
        ),
        (
            "policy-version2",
            "version: STSv2\nmode: enforce\nmx: MX\nmax_age: 86400\n",
            "version STSv2",
        ),
        ("policy-nomode", "version: STSv1\nmx: MX\nmax_age: 86400\n", "no mode"),
        (
            "policy-badmode",
            "version: STSv1\nmode: Enforce\nmx: MX\nmax_age: 86400\n",
            "mode Enforce",
        ),
        (
            "policy-keycase",
            "version: STSv1\nMode: enforce\nmx: MX\nmax_age: 86400\n",
            "the key is written Mode",
        ),
        ("policy-noage", "version: STSv1\nmode: enforce\nmx: MX\n", "no max_age"),
        (
            "policy-badage",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400s\n",
            "max_age 86400s",
        ),
        (
            "policy-age11",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 10000000000\n",
            "max_age of 11 digits",
        ),
        (
            "policy-badmx",
            "version: STSv1\nmode: enforce\nmx: MX\nmx: mail_1.example.com-\nmax_age: 86400\n",
            "one malformed mx of two",
        ),
        (
            "policy-draftmx",
            "version: STSv1\nmode: enforce\nmx: .example.com\nmax_age: 86400\n",
            "an mx as in the drafts, .example.com",
        ),
        (
            "policy-midwild",
            "version: STSv1\nmode: enforce\nmx: mx.*.test\nmax_age: 86400\n",
            "a star in the middle of an mx",
        ),
        (
            "policy-starmx",
            "version: STSv1\nmode: enforce\nmx: *\nmax_age: 86400\n",
            "mx: *",
        ),
        (
            "policy-inject",
            "version: STSv1\nmode: enforce\nmx: MX match=evil\nmax_age: 86400\n",
            "an attribute smuggled into an mx",
        ),
        (
            "policy-ulabel",
            "version: STSv1\nmode: enforce\nmx: b\u{fc}cher.example\nmax_age: 86400\n",
            "an mx that is not an A-label",
        ),
        (
            "policy-commas",
            "version: STSv1\nmode: enforce\nmx: MX, mx2.test\nmax_age: 86400\n",
            "two mx in one line",
        ),
        (
            "policy-cr",
            "version: STSv1\rmode: enforce\rmx: MX\rmax_age: 86400\r",
            "lines end with CR alone",
        ),
        (
            "policy-indent",
            "version: STSv1\n mode: enforce\nmx: MX\nmax_age: 86400\n",
            "a blank before a key",
        ),
        (
            "policy-comment",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\n# comment\n",
            "a comment",
        ),
        (
            "policy-emptyext",
            "version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\nx-empty:\n",
            "an extension without a value",
        ),
        (
            "policy-bom",
            "\u{feff}version: STSv1\nmode: enforce\nmx: MX\nmax_age: 86400\n",
            "a byte order mark",
        ),
        (
            "policy-nul",
            "version: STSv1\nmode: enforce\nmx: MX\0evil\nmax_age: 86400\n",
            "a NUL in an mx",
        ),
    ];
    let fill = |name: &str, body: &str| {
        let mx = format!("mx.{name}");
        body.replace("MX", &mx).replace("UPPER", &mx.to_uppercase())
    };
    let mut entries = Vec::new();
    for (label, body, wrong) in valid {
        let name = format!("{label}.test");
        entries.push(
            Entry::new(&name)
                .body(fill(&name, body))
                .wrong(&format!("nothing; in the policy: {wrong}")),
        );
    }
    for (label, body, wrong) in invalid {
        let name = format!("{label}.test");
        let entry = Entry::new(&name)
            .body(fill(&name, body))
            .unobtainable("sts-policy-invalid");
        entries.push(entry.wrong(&format!("broken policy: {wrong}")));
    }
    let mut not_utf8 = policy_text("enforce", &["mx.policy-notutf8.test"], 86400).into_bytes();
    not_utf8.extend(b"x-note: \xff\xfe\r\n");
    let not_utf8 = Entry::new("policy-notutf8.test")
        .body(not_utf8)
        .unobtainable("sts-policy-invalid");
    entries.push(not_utf8.wrong("broken policy: not UTF-8"));
    entries.push(many_mx());
    entries
}

/// As many mx lines as fit into the limit.
fn many_mx() -> Entry {
    let name = "policy-many.test";
    let mut patterns = vec![format!("mx.{name}")];
    patterns.extend((0..1400).map(|n| format!("mx{n}.a-longer-name.policy-many.test")));
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    Entry::new(name)
        .body(policy_text("enforce", &patterns, 86400))
        .wrong("nothing; the policy lists 1401 hosts")
}
