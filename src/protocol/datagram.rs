//! What a report counts of one session as the datagram of libtlsrpt, protocol version 1: the JSON that Postfix 3.10 sends and
//! that sys4's tlsrpt-collectd reads. A line of the journal is the same text.
//!
//! Its keys are in libtlsrpt's order: the collector tells policies and failures apart by their text, and would count one
//! policy twice if a mail server beside this one writes it in another order. The collector ends if a datagram is not valid
//! UTF-8 or not valid JSON, so whatever strangers have written is a string of Rust, escaped and bounded.

use std::fmt::Write as _;

use crate::protocol::names::Domain;
use crate::protocol::report::ReportEvent;

/// The longest datagram, in octets. A collector reads at least so much.
pub const LONGEST_DATAGRAM: usize = 8191;
/// The longest line of the journal, in octets: with a line feed at each end it is one write of 4 KiB.
pub const LONGEST_LINE: usize = 4094;

/// The version of the protocol (`dpv`).
const VERSION: &str = "1";
/// The longest reason as it is written, in octets.
const LONGEST_REASON: usize = 300;
/// The most that an event can take as it is written, in octets, without the lines and the patterns of its policy.
const FRAME: usize = 1100;

/// The events of one session with an MX host, for the reports to `domain`, in at most `longest` octets. `record` is the text of
/// the domain's TLSRPT record; a journal has none, because the reporter asks for it.
///
/// The lines and the patterns of a policy that is too long are left out from the first one on that does not fit. That depends
/// on the policy and not on the session, so that the policy stays one policy in the report.
///
/// `None` if there is no event, or if there are so many that even then they do not fit.
#[must_use]
pub fn datagram(domain: &Domain, record: Option<&str>, events: &[ReportEvent], longest: usize) -> Option<String> {
    let mut text = format!("{{\"dpv\":\"{VERSION}\",\"d\":");
    string(&mut text, domain.as_str(), usize::MAX);
    if let Some(record) = record {
        text.push_str(",\"pr\":");
        string(&mut text, record, usize::MAX);
    }
    text.push_str(",\"policies\":[");
    let frames = text.len() + 2 + events.len() * FRAME;
    let room = longest.checked_sub(frames)?.checked_div(events.len())?;
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_policy(&mut text, event, room);
    }
    text.push_str("]}");
    debug_assert!(text.len() <= longest, "{} octets", text.len());
    (text.len() <= longest).then_some(text)
}

fn write_policy(text: &mut String, event: &ReportEvent, room: usize) {
    let _ = write!(
        text,
        "{{\"policy-type\":{},\"policy-domain\":",
        event.policy_type.number()
    );
    string(text, event.domain.as_str(), usize::MAX);
    // Patterns repeat what the lines say, so they have half of the room at most.
    let mut patterns = String::new();
    list(&mut patterns, "mx-host", &event.patterns, room / 2);
    list(text, "policy-string", &event.policy_lines, room - patterns.len());
    text.push_str(&patterns);
    if let Some(result) = event.result {
        let _ = write!(text, ",\"failure-details\":[{{\"c\":{}", result.number());
        // What is not known has no key: an empty text is not an address (RFC 8460 4.4).
        let told = |address: Option<std::net::IpAddr>| address.map_or_else(String::new, |address| address.to_string());
        for (key, value, longest) in [
            ("s", &*told(event.local_address), usize::MAX),
            ("n", event.host.as_str(), usize::MAX),
            ("r", &*told(event.address), usize::MAX),
            ("f", &event.reason_code, LONGEST_REASON),
        ] {
            if !value.is_empty() {
                let _ = write!(text, ",\"{key}\":");
                string(text, value, longest);
            }
        }
        text.push_str("}]");
    }
    let failed = u8::from(event.result.is_some());
    let _ = write!(text, ",\"t\":{failed},\"f\":{failed}}}");
}

/// A key and a list of strings in at most `room` octets, from the first string on; nothing for no string.
fn list(text: &mut String, key: &str, items: &[String], room: usize) {
    let mut written = String::new();
    for item in items {
        let before = written.len();
        written.push_str(if before == 0 { "" } else { "," });
        string(&mut written, item, usize::MAX);
        if written.len() > room.saturating_sub(key.len() + 6) {
            written.truncate(before);
            break;
        }
    }
    if !written.is_empty() {
        let _ = write!(text, ",\"{key}\":[{written}]");
    }
}

/// A string of JSON, its text cut at a character so that it takes at most `longest` octets.
fn string(text: &mut String, value: &str, longest: usize) {
    let longest = longest.saturating_add(text.len());
    text.push('"');
    for c in value.chars() {
        let before = text.len();
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            // Some readers of lines take these two for the end of one.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
        if text.len() >= longest {
            text.truncate(before);
            break;
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::mx_name::MxName;
    use crate::protocol::report::PolicyType;
    use crate::protocol::words::ResultType;

    fn domain() -> Domain {
        Domain::parse("example.com").unwrap()
    }

    fn event() -> ReportEvent {
        ReportEvent {
            policy_type: PolicyType::Sts,
            domain: domain(),
            policy_lines: ["version: STSv1", "mode: enforce", "mx: *.example.com", "max_age: 86400"]
                .map(str::to_owned)
                .to_vec(),
            patterns: vec!["*.example.com".into()],
            host: MxName::from_mx("mx.example.com"),
            address: Some("192.0.2.1".parse().unwrap()),
            local_address: Some("2001:db8::0:1".parse().unwrap()),
            result: Some(ResultType::CertificateExpired),
            reason_code: "certificate-expired: since \"May\"".into(),
        }
    }

    /// Letter for letter what libtlsrpt writes, but for the blanks behind its colons.
    #[test]
    fn the_keys_have_the_order_of_libtlsrpt() {
        let failed = datagram(
            &domain(),
            Some("v=TLSRPTv1;rua=mailto:a@b.example"),
            &[event()],
            LONGEST_DATAGRAM,
        );
        assert_eq!(
            failed.unwrap(),
            "{\"dpv\":\"1\",\"d\":\"example.com\",\"pr\":\"v=TLSRPTv1;rua=mailto:a@b.example\",\"policies\":[\
             {\"policy-type\":2,\"policy-domain\":\"example.com\",\
             \"policy-string\":[\"version: STSv1\",\"mode: enforce\",\"mx: *.example.com\",\"max_age: 86400\"],\
             \"mx-host\":[\"*.example.com\"],\"failure-details\":[{\"c\":204,\"s\":\"2001:db8::1\",\
             \"n\":\"mx.example.com\",\"r\":\"192.0.2.1\",\"f\":\"certificate-expired: since \\\"May\\\"\"}],\
             \"t\":1,\"f\":1}]}"
        );
        let passed = ReportEvent {
            policy_type: PolicyType::NoPolicyFound,
            policy_lines: Vec::new(),
            patterns: Vec::new(),
            result: None,
            reason_code: "".into(),
            ..event()
        };
        assert_eq!(
            datagram(&domain(), None, &[passed], LONGEST_LINE).unwrap(),
            "{\"dpv\":\"1\",\"d\":\"example.com\",\"policies\":[{\"policy-type\":9,\"policy-domain\":\"example.com\",\
             \"t\":0,\"f\":0}]}"
        );
        let by_name = ReportEvent {
            address: None,
            local_address: None,
            ..event()
        };
        let text = datagram(&domain(), None, &[by_name], LONGEST_LINE).unwrap();
        assert!(text.contains("[{\"c\":204,\"n\":\"mx.example.com\",\"f\":"), "{text}");
    }

    #[test]
    fn two_policies_of_a_session_are_one_datagram() {
        let dane = ReportEvent {
            policy_type: PolicyType::Tlsa,
            domain: Domain::parse("mx.example.com").unwrap(),
            result: None,
            ..event()
        };
        let text = datagram(&domain(), Some("x"), &[dane, event()], LONGEST_DATAGRAM).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["policies"].as_array().unwrap().len(), 2);
        assert_eq!(read["policies"][0]["policy-domain"], "mx.example.com");
        assert_eq!(datagram(&domain(), None, &[], LONGEST_LINE), None);
        assert_eq!(datagram(&domain(), None, &vec![event(); 100], LONGEST_DATAGRAM), None);
    }

    /// Whatever strangers write: valid JSON, on one line, never too long, and what was written reads back.
    #[test]
    fn hostile_text_is_escaped_and_bounded() {
        let texts = [
            "\"}]}{[\\\"\\",
            "\u{0}\u{1}\u{7f}\u{9b}\n\r\t",
            "\u{2028}\u{2029}\u{202e}",
            "\u{1f4a9}\u{e9}",
            "\u{fffd}",
            "plain",
        ];
        let long = |text: &str| text.repeat(65_536 / text.len());
        let name = format!("{}.example", ["a"; 120].join("."));
        for text in texts.into_iter().map(str::to_owned).chain(texts.map(long)) {
            let hostile = ReportEvent {
                policy_lines: vec!["version: STSv1".into(), text.clone(), "mx: a".into()],
                patterns: vec!["a.example".into(), text.clone()],
                domain: Domain::parse(&name).unwrap(),
                host: MxName::from_mx(&text),
                reason_code: text.as_str().into(),
                ..event()
            };
            let record = "r".repeat(crate::protocol::report_record::LONGEST);
            for (record, events, longest) in [
                (None, vec![hostile.clone()], LONGEST_LINE),
                (Some(&*record), vec![hostile.clone(); 2], LONGEST_DATAGRAM),
            ] {
                let written = datagram(&Domain::parse(&name).unwrap(), record, &events, longest).unwrap();
                assert!(written.len() <= longest, "{} octets", written.len());
                assert!(!written.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')));
                let read: Value = serde_json::from_str(&written).unwrap();
                let policy = &read["policies"][0];
                assert_eq!(policy["policy-string"][0], "version: STSv1");
                if text.len() < 100 {
                    assert_eq!(policy["policy-string"][1], Value::String(text.clone()));
                    assert_eq!(policy["mx-host"][1], Value::String(text.clone()));
                }
                assert_eq!(policy["failure-details"].as_array().unwrap().len(), 1);
            }
        }
    }

    /// What is cut of a policy does not depend on the session.
    #[test]
    fn a_long_policy_stays_one_policy() {
        let patterns: Vec<String> = (0..500).map(|n| format!("mx{n}.example.com")).collect();
        let long = ReportEvent {
            policy_lines: patterns.iter().map(|p| format!("mx: {p}")).collect(),
            patterns,
            ..event()
        };
        let other = ReportEvent {
            host: MxName::from_mx("b.example"),
            address: None,
            reason_code: "x".into(),
            ..long.clone()
        };
        let policy = |event: &ReportEvent| {
            let text = datagram(&domain(), None, std::slice::from_ref(event), LONGEST_LINE).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            let policy = &read["policies"][0];
            json!([policy["policy-string"], policy["mx-host"]])
        };
        assert_eq!(policy(&long), policy(&other));
        let (lines, hosts) = (
            policy(&long)[0].as_array().unwrap().len(),
            policy(&long)[1].as_array().unwrap().len(),
        );
        assert!(lines > 50 && hosts > 50, "{lines} {hosts}");
    }

    #[test]
    fn a_frame_has_room_for_the_longest_event() {
        let name = Domain::parse(&format!("{}a", "a.".repeat(126))).unwrap();
        let longest = ReportEvent {
            policy_type: PolicyType::Tlsa,
            domain: name.clone(),
            policy_lines: vec![String::new()],
            patterns: vec![String::new()],
            host: MxName::from(name),
            address: Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()),
            local_address: Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()),
            reason_code: "x".repeat(900).into(),
            ..event()
        };
        let mut text = String::new();
        write_policy(&mut text, &longest, 200);
        assert!(text.len() < FRAME, "{}", text.len());
    }
}
