//! `mtasts lint` and `mtasts match`: the vectors, and what people read.

use serde_json::{Value, json};

use crate::{Ran, mtasts, mtasts_with_input, texts, vectors};
use mtasts_kit::pki::Directory;

/// The object on stdout is what the vector expects; a failure also has a sentence, and perhaps a line. One of the findings
/// is an error if and only if it is a failure.
fn assert_told(ran: &Ran, expected: &Value, about: &Value) {
    let mut told = ran.json();
    let good = expected["outcome"] == "valid";
    let object = told.as_object_mut().expect("an object");
    let findings = object.remove("findings").expect("findings");
    object.remove("corrected").expect("what was meant, or null");
    let levels: Vec<&str> = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| f["level"].as_str().expect("a level"))
        .collect();
    assert_eq!(levels.contains(&"error"), !good, "{about}: {findings}");
    let warned = levels.contains(&"warning");
    let unwarned = expected["warnings"].as_array().is_some_and(Vec::is_empty);
    assert!(
        !good || warned != unwarned || expected.get("warnings").is_none(),
        "{about}: {findings}"
    );
    if !good {
        let object = told.as_object_mut().expect("an object");
        let detail = object.remove("detail");
        assert!(
            detail.is_some_and(|detail| detail.as_str().is_some_and(|d| !d.is_empty())),
            "{about}"
        );
        let line = object.remove("line");
        assert!(line.is_none_or(|line| line.as_u64() > Some(0)), "{about}");
    }
    assert_eq!(&told, expected, "{about}");
    assert_eq!((ran.status, ran.err.as_str()), (i32::from(!good), ""), "{about}");
}

#[test]
fn records() {
    let mut run = 0;
    for vector in vectors("txt") {
        if vector.get("rcode").is_some() {
            continue;
        }
        let records = vector["records"].as_array().expect("a list");
        let records: Vec<String> = records.iter().map(|strings| texts(strings).concat()).collect();
        let mut arguments = vec!["lint", "record", "--json"];
        arguments.extend(records.iter().map(String::as_str));
        assert_told(&mtasts(&arguments), &vector["expected"], &vector);
        run += 1;
    }
    assert_eq!(run, 24);
}

fn body(vector: &Value) -> Vec<u8> {
    if let Some(text) = vector["body"].as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(text) = vector["body_b64"].as_str() {
        return pem::parse(format!("-----BEGIN X-----\n{text}\n-----END X-----\n"))
            .expect("base64")
            .into_contents();
    }
    let parts = &vector["body_gen"];
    let text = |key: &str| parts[key].as_str().expect("a text").to_owned();
    let count = usize::try_from(parts["count"].as_u64().expect("a number")).expect("a small one");
    (text("prefix") + &text("repeat").repeat(count) + &text("suffix")).into_bytes()
}

#[test]
fn policies_from_stdin_and_from_a_file() {
    let directory = Directory::new("cli-policies");
    for vector in vectors("policy") {
        let body = body(&vector);
        assert_told(
            &mtasts_with_input(&["lint", "policy", "-", "--json"], &body),
            &vector["expected"],
            &vector,
        );
        let file = directory.write("mta-sts.txt", &body);
        let file = file.to_str().expect("a path");
        assert_told(
            &mtasts(&["lint", "policy", "--json", file]),
            &vector["expected"],
            &vector,
        );
    }
}

#[test]
fn matches() {
    for vector in vectors("mx_match") {
        let mut arguments = vec!["match", "--json", vector["mx"].as_str().expect("a text")];
        arguments.extend(texts(&vector["patterns"]));
        let ran = mtasts(&arguments);
        assert_eq!(ran.json()["match"], vector["expected"], "{vector}");
        assert_eq!(ran.status, i32::from(vector["expected"] == false), "{vector}");
    }
}

#[test]
fn patterns_are_read_as_in_a_policy() {
    for (host, pattern, matches, err) in [
        ("mx.example.com", "MX.Example.COM.", true, ""),
        ("mx.example.com.", "*.Example.com.", true, ""),
        (
            "mx.example.com",
            "mx.example.com..",
            false,
            "\"mx.example.com..\" is not a pattern: the name has an empty label",
        ),
        (
            "mx.example.com",
            ".example.com",
            false,
            "\".example.com\" is not a pattern: the name has an empty label",
        ),
        (
            "192.0.2.1",
            "192.0.2.1",
            false,
            "\"192.0.2.1\" is not an MX host name: an IP address has no MTA-STS policy",
        ),
        (
            "mx.example.com",
            "x\u{1b}[2J",
            false,
            "\"x\\u{1b}[2J\" is not a pattern: the character '\\u{1b}' cannot be part of",
        ),
    ] {
        let ran = mtasts(&["match", host, pattern, "--json"]);
        assert_eq!(
            ran.json(),
            json!({ "match": matches, "findings": [] }),
            "{host} {pattern}"
        );
        assert_eq!(ran.status, i32::from(!matches));
        assert!(ran.err.contains(err) && ran.err.is_empty() == err.is_empty(), "{ran:?}");
        assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
    }
    let ran = mtasts(&["match", "b.example.com", "a.example.com", "*.example.com"]);
    assert_eq!(ran.out, "  ok      b.example.com matches *.example.com\n");
    let ran = mtasts(&["match", "example.com", "a.example.com", "*.example.com"]);
    assert_eq!(
        ran.out,
        "  bad     example.com does not match a.example.com, *.example.com\n\
         \x20 advice  *.example.com: a star stands for exactly one label (RFC 8461 4.1)\n\
         \x20           probably meant: example.com\n"
    );
    let ran = mtasts(&["match", "a.h1.mx.example", "*.mx.example", "--json"]);
    assert_eq!(ran.json()["findings"][0]["code"], "star-one-label");
    assert_eq!(ran.json()["findings"][0]["meant"], json!(["*.h1.mx.example"]));
}

#[test]
fn a_record_for_people() {
    let ran = mtasts(&["lint", "record", "v=STSv1; id=20260801;", "x=\u{e9}\u{202e}"]);
    assert_eq!(
        ran.out,
        "  ok      id 20260801\n            v=STSv1; id=20260801;\n            x=\u{e9}\\u{202e}\n"
    );
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    // The mark stands below the place, also behind what is escaped.
    let ran = mtasts(&["lint", "record", "v=STSv1;\t x=\u{7}; id=a"]);
    assert_eq!(
        ran.out,
        "  bad     the record has a syntax error at character 13: the field has no value\n\
         \x20           v=STSv1;\\t x=\\u{7}; id=a\n\
         \x20                        ^\n\
         \x20 bad     the record has a field that is not \"name=value\"\n\
         \x20           probably meant: v=STSv1; id=a;\n"
    );
    assert_eq!(ran.status, 1);
    let ran = mtasts(&["lint", "record", "\"v=STSv1; id=a\""]);
    assert_eq!((ran.status, ran.err.as_str()), (1, ""));
    assert!(ran.out.contains("the record has quotation marks"), "{ran:?}");
    let ran = mtasts(&["lint", "record", "v=STSv1; id=a", "v=STSv1; id=b-c"]);
    assert!(
        ran.out.contains("  bad     record 2: the id must be 1 to 32 letters"),
        "{ran:?}"
    );
}

/// An argument need not be UTF-8; DNS does not ask for it either.
#[test]
fn a_record_of_any_octets() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = crate::command(&["lint", "record", "--json"]);
    command.arg(std::ffi::OsStr::from_bytes(b"v=STSv1; id=a; x=\xff"));
    let ran = Ran::from(command.output().expect("the command"));
    assert_eq!((ran.status, ran.json()["reason"].as_str()), (1, Some("syntax")));
}

#[test]
fn a_policy_for_people() {
    let policy =
        b"version: STSv1\r\nmode: enforce\r\nmx: *.example.com\r\n\r\nmx: MX.example.net.\r\nmax_age: 3600\r\n";
    let ran = mtasts_with_input(&["lint", "policy", "-"], policy);
    assert_eq!(
        ran.out,
        "  ok      mode enforce, max_age 3600 (1 hour)\n\
         \x20           mx *.example.com\n\
         \x20           mx mx.example.net\n\
         \x20 warning line 4: a line is blank; some senders reject the policy because of it\n\
         \x20 warning line 5: an mx ends with a dot; some senders reject it\n\
         \x20           mx: MX.example.net.\n\
         \x20           probably meant: mx: MX.example.net\n\
         \x20 advice  max_age 3600 is 1 hour: max_age is short; raise it in steps: a day, a week, some weeks \
         (RFC 8461 10.2)\n\
         \x20 advice  mx *.example.com: a wildcard allows every host directly below a name (RFC 8461 10.4); list the \
         hosts by name\n"
    );
    assert_eq!(ran.status, 0);
    let ran = mtasts_with_input(&["lint", "policy", "-"], b"version: STSv1\nmode: \x1b[31menforce\xff\n");
    assert_eq!(ran.status, 1);
    assert!(
        ran.out
            .starts_with("  bad     the text is not UTF-8; save the file as plain text\n"),
        "{ran:?}"
    );
    assert!(
        ran.out.contains("            mode: \\u{1b}[31menforce\u{ff}\n"),
        "{ran:?}"
    );
}
