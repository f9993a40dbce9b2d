//! What a publisher can do better although nothing is wrong (RFC 8461 3.2, 8, 10).

use std::net::IpAddr;

use mtasts::network::addresses::Rule;
use mtasts::protocol::calendar::span;
use mtasts::protocol::policy::{Mode, Policy};

/// A week: under an enforced policy that lives shorter, an attacker need not keep senders from it for long.
const WEEK: u32 = 7 * 86_400;

/// Advice on a valid policy: whole sentences, most important first. `text` is what the policy was read from.
pub fn on_policy(policy: &Policy, text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    [on_mode(policy), on_lifetime(policy)]
        .into_iter()
        .flatten()
        .chain(on_patterns(policy, &text))
        .chain(on_form(&text))
        .collect()
}

/// Advice on the addresses of an MX host. Inside a company its DNS may name addresses that no sender outside can reach,
/// and all is well from there; with the setting `allow_addresses` the operator says that he knows.
pub fn on_addresses(host: &str, addresses: impl Iterator<Item = IpAddr>, rule: &Rule) -> Vec<String> {
    addresses
        .filter_map(|ip| Some((ip, rule.refusal(ip)?)))
        .map(|(ip, words)| {
            format!(
                "{host} has the address {ip}, {words}: senders outside cannot reach it; give the host a public address in \
                 the public DNS"
            )
        })
        .collect()
}

/// RFC 8461 8.3, 10.2.
fn on_mode(policy: &Policy) -> Option<String> {
    Some(match policy.mode() {
        Mode::Enforce => return None,
        Mode::Testing => "mode testing protects nothing; when the reports (TLSRPT, RFC 8460) are clean, \
                          change to enforce, with a new id in the record"
            .to_owned(),
        Mode::None if policy.max_age() > WEEK => format!(
            "mode none with a max_age of {}: a day is enough to take an old policy back (RFC 8461 8.3)",
            span(policy.max_age().into())
        ),
        Mode::None => return None,
    })
}

/// RFC 8461 3.2, 10.2: weeks or longer.
fn on_lifetime(policy: &Policy) -> Option<String> {
    (policy.mode() == Mode::Enforce && policy.max_age() < WEEK).then(|| match policy.max_age() {
        0 => "max_age 0: the policy protects only the mail for which it was fetched".to_owned(),
        max_age => format!(
            "max_age {max_age} is {}: an attacker who keeps senders from the policy host for that long undoes the policy; \
             some weeks are better (RFC 8461 10.2)",
            span(max_age.into())
        ),
    })
}

/// RFC 8461 10.4: whoever can create a host below the wildcard can receive the mail.
fn on_patterns(policy: &Policy, text: &str) -> Vec<String> {
    let mut advice = Vec::new();
    if policy.mode() == Mode::None {
        if policy.mx().len() > 0 {
            advice.push("mode none ignores the mx lines".to_owned());
        }
        return advice;
    }
    for (pattern, parent) in policy.mx().filter_map(|p| Some((p, p.wildcard()?))) {
        advice.push(if parent.contains('.') {
            format!(
                "mx {pattern} allows every host directly below {parent}: list the hosts by name if others can have \
                 one there (RFC 8461 10.4)"
            )
        } else {
            format!("mx {pattern} allows hosts of everybody below {parent} (RFC 8461 10.4)")
        });
    }
    let lines = fields(text).filter(|name| *name == "mx").count();
    if lines > policy.mx().len() {
        advice.push("an mx is listed more than once".to_owned());
    }
    advice
}

/// RFC 8461 3.2 shows version first; not every sender reads it elsewhere.
fn on_form(text: &str) -> Option<String> {
    (fields(text).next() != Some("version")).then(|| "put \"version: STSv1\" on the first line".to_owned())
}

/// The field names in their order.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').filter_map(|line| Some(line.split_once(':')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(text: &str) -> Vec<String> {
        let (policy, _) = Policy::parse(text.as_bytes()).expect("a valid policy");
        on_policy(&policy, text.as_bytes())
    }

    #[test]
    fn a_good_policy_needs_none() {
        let good = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 604800\r\n";
        assert_eq!(advice(good), Vec::<String>::new());
        assert_eq!(
            advice("version: STSv1\nmode: none\nmax_age: 86400\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_weakness_has_its_advice() {
        for (text, expected) in [
            (
                "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604799\n",
                vec!["max_age 604799 is 6 days"],
            ),
            (
                "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 0\n",
                vec!["max_age 0: "],
            ),
            (
                "version: STSv1\nmode: testing\nmx: mx.example.com\nmax_age: 60\n",
                vec!["mode testing protects nothing; "],
            ),
            (
                "version: STSv1\nmode: none\nmax_age: 31557600\n",
                vec!["mode none with a max_age of 365 days: "],
            ),
            (
                "version: STSv1\nmode: none\nmx: a.example\nmax_age: 1\n",
                vec!["mode none ignores the mx lines"],
            ),
            (
                "version: STSv1\nmode: enforce\nmx: *.example.com\nmx: *.com\nmax_age: 604800\n",
                vec![
                    "mx *.example.com allows every host directly below example.com",
                    "mx *.com allows hosts of everybody",
                ],
            ),
            (
                "mode: enforce\nversion: STSv1\nmx: a.example\nmx: A.example\nmax_age: 604800\n",
                vec![
                    "an mx is listed more than once",
                    "put \"version: STSv1\" on the first line",
                ],
            ),
        ] {
            let advice = advice(text);
            assert_eq!(advice.len(), expected.len(), "{text}: {advice:?}");
            for (sentence, beginning) in advice.iter().zip(expected) {
                assert!(sentence.starts_with(beginning), "{text}: {sentence}");
            }
        }
    }
}
