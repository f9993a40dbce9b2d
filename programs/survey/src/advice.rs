//! What a publisher can do better although nothing is wrong (RFC 8461 3.2, 8, 10).

use std::net::IpAddr;

use crate::finding::{Code, Finding};
use mtasts::network::addresses::Rule;
use mtasts::protocol::calendar::span;
use mtasts::protocol::policy::{Mode, Policy};

/// A week: under an enforced policy that lives shorter, an attacker need not keep senders from it for long.
const WEEK: u32 = 7 * 86_400;

/// Advice on a valid policy, most important first. `text` is what the policy was read from.
pub fn on_policy(policy: &Policy, text: &[u8]) -> Vec<Finding> {
    let text = String::from_utf8_lossy(text);
    let of_values = [on_mode(policy), on_lifetime(policy)].into_iter().flatten();
    of_values
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
fn on_mode(policy: &Policy) -> Option<Finding> {
    let max_age = || format!("max_age {} is {}", policy.max_age(), span(policy.max_age().into()));
    match policy.mode() {
        Mode::Enforce => None,
        Mode::Testing => Some(Finding::new(Code::ModeTesting, "")),
        Mode::None => (policy.max_age() > WEEK).then(|| Finding::new(Code::ModeNoneLong, max_age())),
    }
}

/// RFC 8461 3.2, 10.2: weeks or longer.
fn on_lifetime(policy: &Policy) -> Option<Finding> {
    (policy.mode() == Mode::Enforce && policy.max_age() < WEEK).then(|| match policy.max_age() {
        0 => Finding::new(Code::MaxAgeZero, ""),
        max_age => Finding::new(
            Code::MaxAgeShort,
            format!("max_age {max_age} is {}", span(max_age.into())),
        ),
    })
}

/// RFC 8461 10.4: whoever can create a host below the wildcard can receive the mail.
fn on_patterns(policy: &Policy, text: &str) -> Vec<Finding> {
    let mut advice = Vec::new();
    if policy.mode() == Mode::None {
        if policy.mx().len() > 0 {
            advice.push(Finding::new(Code::MxIgnored, ""));
        }
        return advice;
    }
    for (pattern, parent) in policy.mx().filter_map(|p| Some((p, p.wildcard()?))) {
        let code = match parent.contains('.') {
            true => Code::MxWildcard,
            false => Code::MxTopWildcard,
        };
        advice.push(Finding::new(code, format!("mx {pattern}")));
    }
    let lines = fields(text).filter(|name| *name == "mx").count();
    if lines > policy.mx().len() {
        advice.push(Finding::new(Code::MxRepeated, ""));
    }
    advice
}

/// RFC 8461 3.2 shows version first; not every sender reads it elsewhere.
fn on_form(text: &str) -> Option<Finding> {
    (fields(text).next() != Some("version")).then(|| Finding::new(Code::VersionNotFirst, ""))
}

/// The field names in their order.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').filter_map(|line| Some(line.split_once(':')?.0))
}
