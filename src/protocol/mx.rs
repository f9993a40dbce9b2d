//! MX patterns of a policy, and which MX hosts they allow (RFC 8461 3.2, 4.1).

use std::borrow::Cow;
use std::fmt;

use crate::protocol::names::{Domain, NameError, check_ldh, is_ipv4};

/// One `mx` value of a policy: a host name, or `*.` and a name, which matches exactly one more label.
///
/// The text is lower case, without a root dot, and made of LDH labels behind the optional `*.`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MxPattern<'a>(&'a str);

/// How leniently a pattern was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leniency {
    /// It follows the grammar.
    None,
    /// One root dot was dropped (D-08).
    TrailingDot,
    /// It is an IPv4 address: kept, and matches nothing (D-09).
    IpLiteral,
}

impl<'a> MxPattern<'a> {
    /// Reads a pattern in lower case without a root dot.
    ///
    /// # Errors
    /// A [`NameError`] if it is neither a host name nor `*.` and one (RFC 8461 3.2, `sts-policy-mx`).
    pub fn parse(text: &'a str) -> Result<Self, NameError> {
        let lower = |c: u8| c.is_ascii() & !c.is_ascii_uppercase();
        if !text.bytes().fold(true, |all, c| all & lower(c))
            && let Some(c) = text.chars().find(|c| c.is_ascii_uppercase() || !c.is_ascii())
        {
            return Err(NameError::BadCharacter(c));
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        check_ldh(name)?;
        Ok(Self(text))
    }

    /// A pattern that was read before.
    pub(crate) const fn trusted(text: &'a str) -> Self {
        Self(text)
    }

    /// The pattern as text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The name after the `*.`; `None` if the pattern is a host name.
    #[must_use]
    pub fn wildcard(self) -> Option<&'a str> {
        self.0.strip_prefix("*.")
    }

    /// Whether the pattern allows this MX host, named as in the MX record and before any CNAME (RFC 8461 4.1).
    #[must_use]
    pub fn matches(self, host: &Domain) -> bool {
        match self.wildcard() {
            // The wildcard matches one label, no more and no less (RFC 9525 6.3).
            Some(parent) => host.as_str().split_once('.').is_some_and(|(_, rest)| rest == parent),
            // A `Domain` is never an address, so an IPv4 pattern matches nothing.
            None => host.as_str() == self.0,
        }
    }
}

/// The pattern that would allow a host which this one allows nearly: if the star stood for one label more or less.
#[must_use]
pub fn near_miss(pattern: MxPattern<'_>, host: &Domain) -> Option<String> {
    let parent = pattern.wildcard()?;
    let host = host.as_str();
    if host == parent {
        return Some(host.to_owned());
    }
    let below = host.strip_suffix(parent)?.strip_suffix('.')?;
    let (_, rest) = host.split_once('.')?;
    below.contains('.').then(|| format!("*.{rest}"))
}

/// The same as a sentence.
#[must_use]
pub fn near_miss_sentence<'a>(mut patterns: impl Iterator<Item = MxPattern<'a>>, host: &Domain) -> Option<String> {
    patterns.find_map(|pattern| {
        let better = near_miss(pattern, host)?;
        Some(format!(
            "The star of {pattern} stands for exactly one label; {better} would match."
        ))
    })
}

/// Brings the value of an `mx` field into its one spelling.
pub fn normalise(value: &str) -> Result<(Cow<'_, str>, Leniency), NameError> {
    let (name, dotted) = match value.strip_suffix('.') {
        Some(name) if name != "*" => (name, true),
        _ => (value, false),
    };
    let text = if name.bytes().fold(false, |any, c| any | c.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    MxPattern::parse(&text)?;
    let leniency = match (is_ipv4(text.strip_prefix("*.").unwrap_or(&text)), dotted) {
        (true, _) => Leniency::IpLiteral,
        (false, true) => Leniency::TrailingDot,
        (false, false) => Leniency::None,
    };
    Ok((text, leniency))
}

impl fmt::Display for MxPattern<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for MxPattern<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern() {
        for text in [
            "",
            "*",
            "*.",
            ".example.com",
            "*.*.example",
            "**.example",
            "a.*.com",
            "m*.example",
            "test.example-",
            "møx.example",
        ] {
            assert!(normalise(text).is_err(), "{text}");
        }
        for text in [
            "a match=evil",
            "a } policy_type=tlsa {",
            "a,b",
            "a:b",
            "a\0",
            "a\tb",
            "a\r",
            "a\x7f",
            "a_b.example",
        ] {
            assert!(normalise(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn one_label_and_no_other() {
        let allows = |pattern: &str, host: &str| {
            MxPattern::parse(pattern)
                .unwrap()
                .matches(&Domain::parse(host).unwrap())
        };
        assert!(allows("*.example.com", "MAIL.example.com."));
        assert!(!allows("*.example.com", "example.com"));
        assert!(!allows("*.example.com", "foo.bar.example.com"));
        assert!(!allows("*.mx.microsoft", "icewolf-li.h-v1.mx.microsoft"));
        assert!(!allows("*.example.org", "without-dots"));
        assert!(!allows("mail.example.com", "evil-mail.example.com"));
        assert!(allows("xn--aca-6ma.com", "Ñaca.com"));
    }

    #[test]
    fn near_misses() {
        for (pattern, host, better) in [
            ("*.mx.example", "a.h1.mx.example", Some("*.h1.mx.example")),
            ("*.mx.example", "b.a.h1.mx.example", Some("*.a.h1.mx.example")),
            ("*.mx.example", "mx.example", Some("mx.example")),
            ("*.mx.example", "a.mx.example", None),
            ("*.mx.example", "a.b-mx.example", None),
            ("mx.example", "a.mx.example", None),
        ] {
            let host = Domain::parse(host).unwrap();
            let found = near_miss(MxPattern::parse(pattern).unwrap(), &host);
            assert_eq!(found.as_deref(), better, "{pattern} {host}");
            if let Some(better) = better {
                assert!(MxPattern::parse(better).unwrap().matches(&host), "{better}");
            }
        }
    }

    #[test]
    fn an_address_matches_nothing() {
        assert_eq!(
            normalise("212.114.86.56"),
            Ok(("212.114.86.56".into(), Leniency::IpLiteral))
        );
        assert_eq!(normalise("*.1.2.3.4"), Ok(("*.1.2.3.4".into(), Leniency::IpLiteral)));
        assert!(Domain::parse("212.114.86.56").is_err());
    }
}
