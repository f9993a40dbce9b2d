//! What the value of a field of a policy was probably meant to be.

use std::borrow::Cow;

use super::{MAX_AGE, QUOTES, near};
use crate::finding::Code;
use mtasts::protocol::mx;
use mtasts::protocol::names::Domain;

/// What was found in a value, and the values that were probably meant in its place; nothing if that cannot be guessed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) codes: Vec<Code>,
    pub(super) values: Option<Vec<String>>,
}

/// What the value of this field was meant to be, if the parser does not take it as it is.
pub(super) fn of_field(field: &str, value: &str) -> Guess {
    let mut codes = Vec::new();
    let bare = without_quotes(value);
    if bare != value && !is_placeholder(bare) {
        codes.push(Code::Quotes);
    }
    let one = |code, meant: Option<String>| (vec![code], meant.map(|value| vec![value]));
    let (more, values) = match field {
        _ if is_placeholder(bare) => (vec![Code::Placeholder], None),
        // A value is meant by itself where the quotation marks were all that was wrong with it.
        "version" if bare == "STSv1" => (vec![], Some(vec![bare.to_owned()])),
        "version" => one(Code::Version, Some("STSv1".to_owned())),
        "mode" if mode(bare).as_deref() == Some(bare) => (vec![], Some(vec![bare.to_owned()])),
        "mode" => one(Code::Mode, mode(bare)),
        "max_age" if seconds(bare).as_deref() == Some(bare) => (vec![], Some(vec![bare.to_owned()])),
        // What no number can be made of is as good as missing.
        "max_age" => one(Code::MaxAge, seconds(bare).or_else(|| Some(MAX_AGE.to_owned()))),
        _ => hosts(bare),
    };
    codes.extend(more);
    if codes.is_empty() {
        codes.push(Code::FieldValue);
    }
    Guess { codes, values }
}

/// Without what stands around the whole value.
fn without_quotes(value: &str) -> &str {
    let around = |c: char| QUOTES.contains(&c) || matches!(c, '[' | ']');
    value.trim_matches(|c| around(c) || c == ' ')
}

/// What templates have in the place of a value: `your_domain`, `<domain>`, `enforce|testing|none`, `[mx]`.
fn is_placeholder(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.contains(['<', '>', '{', '}', '$', '|', '%'])
        || ["your_", "your-domain", "yourdomain", "example_"]
            .iter()
            .any(|word| value.contains(word))
        || value == "mx"
        // A tool of templates: the name of a variable, and what it is if it is not set.
        || ["mode:", "mx:", "max_age:"].iter().any(|name| value.starts_with(name))
}

fn mode(value: &str) -> Option<String> {
    let value = value.rsplit([':', '=']).next().unwrap_or(value).trim().to_lowercase();
    let meant = match &*value {
        "test" => "testing",
        "enforcing" | "enforcement" => "enforce",
        "off" | "disabled" | "disable" => "none",
        value => ["enforce", "testing", "none"]
            .into_iter()
            .find(|mode| super::distance(value, mode) <= 1)?,
    };
    Some(meant.to_owned())
}

/// A number of seconds: with separators, with a unit, or behind a name.
fn seconds(value: &str) -> Option<String> {
    let value = value.rsplit([':', '=']).next().unwrap_or(value).trim().to_lowercase();
    let end = value
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, ',' | '.' | '\'' | '_' | ' ')))
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let number: String = number.chars().filter(char::is_ascii_digit).collect();
    let unit = match unit.trim() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => return (1..=10).contains(&number.len()).then_some(number),
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        "y" | "year" | "years" => 365 * 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (seconds < 10_000_000_000).then(|| seconds.to_string())
}

/// The hosts that a value names, each with what was around it taken off.
fn hosts(value: &str) -> (Vec<Code>, Option<Vec<String>>) {
    let mut codes = Vec::new();
    let mut add = |code| {
        if !codes.contains(&code) {
            codes.push(code);
        }
    };
    if value == "." {
        return (vec![Code::MxNull], Some(Vec::new()));
    }
    let mut values = Some(Vec::new());
    for word in value.split([' ', '\t', ',', ';']).filter(|word| !word.is_empty()) {
        if is_preference(word) {
            add(Code::MxPreference);
            continue;
        }
        match host(word, &mut add) {
            Some(host) => values.iter_mut().for_each(|values| values.push(host.clone())),
            None => values = None,
        }
    }
    if values.as_ref().is_some_and(|values| values.len() > 1) {
        add(Code::MxList);
    }
    if values.as_ref().is_none_or(Vec::is_empty) {
        add(Code::Mx);
    }
    (codes, values.filter(|values| !values.is_empty()))
}

/// The parts of an MX record that are not the host.
fn is_preference(word: &str) -> bool {
    let word = word.trim_end_matches([':', '=']);
    let number = !word.is_empty() && word.len() <= 5 && word.bytes().all(|c| c.is_ascii_digit());
    number
        || ["priority", "prio", "preference", "pref", "in"]
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known))
        || near(word) == Some("mx")
}

fn host(word: &str, add: &mut impl FnMut(Code)) -> Option<String> {
    let mut host = word.trim_matches(|c| QUOTES.contains(&c));
    if let Some((_, rest)) = host.split_once("://") {
        add(Code::MxUrl);
        host = rest;
    }
    let end = host.find(['/', ':']).unwrap_or(host.len());
    if end < host.len() {
        add(Code::MxUrl);
        host = &host[..end];
    }
    let host = host.trim_end_matches('.');
    let (star, name) = match (host.strip_prefix("*."), host.split_once('.')) {
        (Some(name), _) => ("*.", name),
        // `alt*.example.com`, `**.example.com`, `.example.com`.
        (None, Some((first, name))) if first.contains('*') || first.is_empty() => {
            add(Code::MxStar);
            ("*.", name)
        }
        _ => ("", host),
    };
    let name: Cow<'_, str> = if name.is_ascii() {
        name.into()
    } else {
        add(Code::MxUnicode);
        // A word processor makes a dash of two hyphens, and another one of a single hyphen.
        let name = name
            .replace(['\u{2010}', '\u{2011}', '\u{2013}', '\u{2212}'], "-")
            .replace('\u{2014}', "--");
        Domain::parse(&name).ok()?.as_str().to_owned().into()
    };
    let name = format!("{star}{name}");
    mx::normalise(&name)
        .ok()
        .map(|(name, _)| name.into_owned())
        .filter(|name| name.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (value, meant) in [
            ("604,800", Some("604800")),
            ("604 800", Some("604800")),
            ("604800s", Some("604800")),
            ("1 week", Some("604800")),
            ("7d", Some("604800")),
            ("max_age:1209601", Some("1209601")),
            ("enforce", None),
            ("", None),
            ("01234567890", None),
            ("9999999 weeks", None),
            ("-1", None),
        ] {
            assert_eq!(seconds(value).as_deref(), meant, "{value}");
        }
    }
}
