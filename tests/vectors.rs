//! The vectors of `tests/vectors/rfc8461.json`: one table of what RFC 8461 asks, shared by every face.

use mtasts::protocol::mx::MxPattern;
use mtasts::protocol::record::Record;
use mtasts::protocol::report_record::{Destination, ReportRecord};
use mtasts::{Domain, Policy};
use serde_json::Value;

fn vectors(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors/rfc8461.json")).unwrap();
    let list = all[kind].as_array().unwrap().clone();
    assert!(!list.is_empty());
    list
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn txt() {
    for v in vectors("txt") {
        // What DNS itself answered is the lookup's matter, see tests/timeline.rs.
        if v.get("rcode").is_some() {
            continue;
        }
        let records: Vec<String> = v["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|strings| texts(strings).concat())
            .collect();
        let found = Record::find(&records);
        match v["expected"]["outcome"].as_str().unwrap() {
            "valid" => assert_eq!(found.unwrap().id.as_str(), v["expected"]["id"], "{}", v["name"]),
            "none" => assert_eq!(found.unwrap_err().code(), v["expected"]["reason"], "{}", v["name"]),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn tlsrpt_txt() {
    for v in vectors("tlsrpt_txt") {
        let records: Vec<String> = v["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|strings| texts(strings).concat())
            .collect();
        let found = ReportRecord::find(&records);
        match v["expected"]["outcome"].as_str().unwrap() {
            "valid" => {
                let found = found.unwrap_or_else(|e| panic!("{}: {e}", v["name"]));
                let uris: Vec<&str> = found.destinations().iter().map(Destination::uri).collect();
                assert_eq!(uris, texts(&v["expected"]["rua"]), "{}", v["name"]);
            }
            "none" => assert!(found.is_err(), "{}: {found:?}", v["name"]),
            other => panic!("{other}"),
        }
    }
}

fn body(v: &Value) -> Vec<u8> {
    if let Some(text) = v["body"].as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(text) = v["body_b64"].as_str() {
        return base64(text);
    }
    let g = &v["body_gen"];
    let text = |key: &str| g[key].as_str().unwrap().to_owned();
    let count = usize::try_from(g["count"].as_u64().unwrap()).unwrap();
    (text("prefix") + &text("repeat").repeat(count) + &text("suffix")).into_bytes()
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = Vec::new();
    for c in text.bytes().filter(|c| *c != b'=') {
        let value = ALPHABET.iter().position(|a| *a == c).unwrap();
        bits.extend((0..6).rev().map(|i| (value >> i) & 1));
    }
    bits.chunks_exact(8)
        .map(|b| b.iter().fold(0, |n, bit| n << 1 | u8::try_from(*bit).unwrap()))
        .collect()
}

#[test]
fn policy() {
    for v in vectors("policy") {
        let (name, expected) = (&v["name"], &v["expected"]);
        match (Policy::parse(&body(&v)), expected["outcome"].as_str().unwrap()) {
            (Ok((policy, warnings)), "valid") => {
                assert_eq!(policy.mode().name(), expected["mode"], "{name}");
                assert_eq!(u64::from(policy.max_age()), expected["max_age"], "{name}");
                let mx: Vec<&str> = policy.mx().map(MxPattern::as_str).collect();
                assert_eq!(mx, texts(&expected["mx"]), "{name}");
                let warnings: Vec<&str> = warnings.iter().map(|w| w.kind.code()).collect();
                assert_eq!(warnings, texts(&expected["warnings"]), "{name}");
                let (again, _) = Policy::parse(policy.to_string().as_bytes()).unwrap();
                assert_eq!(again, policy, "{name}");
            }
            (Err(error), "invalid") => assert_eq!(error.code(), expected["reason"], "{name}"),
            (got, want) => panic!("{name}: {got:?}, expected {want}"),
        }
    }
}

#[test]
fn mx_match() {
    for v in vectors("mx_match") {
        let patterns = texts(&v["patterns"]);
        let host = Domain::parse(v["mx"].as_str().unwrap());
        let matches = host.is_ok_and(|host| {
            patterns
                .iter()
                .any(|p| MxPattern::parse(p).is_ok_and(|pattern| pattern.matches(&host)))
        });
        assert_eq!(matches, v["expected"], "{}", v["name"]);
    }
}
