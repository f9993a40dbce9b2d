//! What a publisher can do better although nothing is wrong (RFC 8461 3.2, 8, 10).

use std::net::IpAddr;

use crate::finding::{Code, Finding};
use crate::survey::Survey;
use mtasts::network::addresses::Rule;
use mtasts::protocol::calendar::span;
use mtasts::protocol::names::Domain;
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
pub fn on_addresses(host: &str, addresses: impl Iterator<Item = IpAddr>, rule: &Rule) -> Vec<Finding> {
    addresses
        .filter_map(|ip| Some((ip, rule.refusal(ip)?)))
        .map(|(ip, words)| {
            let about = format!("{host} has the address {ip}, {words}");
            Finding::told(
                Code::MxPrivate,
                format!("{about}: senders outside cannot reach it; give the host a public address in the public DNS"),
            )
        })
        .collect()
}

/// Advice on a domain as a receiver of mail: its policy beside its MX hosts, and what else DNS says.
pub fn on_surroundings(survey: &Survey) -> Vec<Finding> {
    let around = &survey.surroundings;
    let mut advice = Vec::new();
    let policy = survey.answer.policy().filter(|policy| policy.mode() != Mode::None);
    let mx: Vec<&Domain> = survey.hosts.iter().filter_map(|host| host.name.host().ok()).collect();
    // Of MX hosts that were not looked at nothing is known.
    if let Some(policy) = policy.filter(|_| survey.unasked == 0 && !mx.is_empty()) {
        for pattern in policy.mx() {
            if around.missing.iter().any(|host| host == pattern.as_str()) {
                advice.push(Finding::new(Code::PatternHostMissing, format!("mx {pattern}")));
            } else if !mx.iter().any(|host| pattern.matches(host)) {
                advice.push(Finding::new(Code::PatternUnused, format!("mx {pattern}")));
            }
        }
    }
    if around.tlsrpt == Some(false) && policy.is_some_and(|policy| policy.mode() == Mode::Testing) {
        advice.push(Finding::new(
            Code::NoTlsrpt,
            format!("there is no TXT record at _smtp._tls.{}", survey.domain),
        ));
    }
    if survey.dane.facts.is_none() && survey.dane.is_on {
        advice.push(Finding::new(Code::DaneResolver, survey.dane.worth.to_string()));
    }
    // Where a name server that validates was asked, each host has its own.
    if !around.dane.is_empty() && survey.dane.facts.is_none() {
        let names: Vec<String> = around.dane.iter().map(|host| format!("_25._tcp.{host}")).collect();
        advice.push(Finding::new(Code::DaneRecords, names.join(", ")));
    }
    advice
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
