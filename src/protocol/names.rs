//! Policy domains and MX host names: one spelling for each name.
//!
//! Everything in the library works on A-labels in lower case without the root dot, made of letters, digits and
//! hyphens alone. A [`Domain`] is therefore safe in a DNS query, a URL, a file name, a regular expression of Exim and
//! a log line.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// The longest name in octets, without the root dot (RFC 1035 2.3.4).
pub const MAX_NAME: usize = 253;
/// The longest label in octets (RFC 1035 2.3.4).
pub const MAX_LABEL: usize = 63;

/// A domain name in its one spelling: A-labels, lower case, no root dot, at most 253 octets, LDH labels. Clones share
/// the text: the memory of a context holds it once, for its key and for its answer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

/// Why a text is not the name of a policy domain or of an MX host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty or the root alone.
    Empty,
    /// An address literal or an IP address: MTA-STS has no policy for those (RFC 8461 3.4).
    AddressLiteral,
    /// A label is empty (`a..b`, or a leading dot as in Postfix's parent-domain lookups).
    EmptyLabel,
    /// A label is longer than 63 octets.
    LabelTooLong,
    /// The name is longer than 253 octets.
    TooLong,
    /// A label has a character other than a letter, a digit or a hyphen.
    BadCharacter(char),
    /// A label begins or ends with a hyphen (RFC 5321 4.1.2).
    Hyphen,
    /// An internationalised label that has no A-label form (IDNA2008, UTS 46).
    Idna,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::AddressLiteral => f.write_str("an IP address has no MTA-STS policy"),
            Self::EmptyLabel => f.write_str("the name has an empty label"),
            Self::LabelTooLong => write!(f, "a label is longer than {MAX_LABEL} octets"),
            Self::TooLong => write!(f, "the name is longer than {MAX_NAME} octets"),
            Self::BadCharacter(c) => write!(f, "the character {c:?} cannot be part of a host name"),
            Self::Hyphen => f.write_str("a label begins or ends with a hyphen"),
            Self::Idna => f.write_str("a label has no valid A-label form"),
        }
    }
}

impl std::error::Error for NameError {}

impl Domain {
    /// Reads a policy domain or an MX host name as an MTA has it: any letter case, U-labels or A-labels, with
    /// or without one root dot. Address literals are refused (RFC 8461 3.4), and so is a leading dot.
    ///
    /// # Errors
    /// A [`NameError`] that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // Bounded before any work: four octets of UTF-8 for each octet of the longest name is generous.
        if text.len() > 4 * MAX_NAME {
            return Err(NameError::TooLong);
        }
        if text.starts_with('[') || text.parse::<Ipv6Addr>().is_ok() {
            return Err(NameError::AddressLiteral);
        }
        let ascii: Cow<'_, str> = if text.is_ascii() {
            Cow::Borrowed(text)
        } else {
            // Non-transitional UTS 46: `ß` stays itself, as IDNA2008 has it.
            Uts46::new()
                .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Ignore)
                .map_err(|_| NameError::Idna)?
        };
        // After the mapping: full-width digits and ideographic dots make an address, too.
        if is_ipv4(&ascii) {
            return Err(NameError::AddressLiteral);
        }
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        check_ldh(name)?;
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The name: A-labels, lower case, no root dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The syntax of RFC 5321 4.1.2 `Domain`: LDH labels that neither begin nor end with a hyphen.
pub(crate) fn check_ldh(name: &str) -> Result<(), NameError> {
    if is_ldh(name.as_bytes()) {
        Ok(())
    } else {
        why_not_ldh(name)
    }
}

/// The answer alone. No loop ends early, so that the compiler looks at many octets at once; nearly all names pass.
fn is_ldh(name: &[u8]) -> bool {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return false;
    };
    let known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    // Next to a dot is neither a dot nor a hyphen.
    let apart = |a: u8, b: u8| !(a == b'.' && (b == b'.' || b == b'-') || a == b'-' && b == b'.');
    name.len() <= MAX_NAME
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && name.iter().fold(true, |all, c| all & known(*c))
        && name
            .iter()
            .zip(&name[1..])
            .fold(true, |all, (a, b)| all & apart(*a, *b))
        && (name.len() <= MAX_LABEL || name.split(|c| *c == b'.').all(|label| label.len() <= MAX_LABEL))
}

/// The same once more, for the first error from the left.
#[cold]
fn why_not_ldh(name: &str) -> Result<(), NameError> {
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::LabelTooLong);
        }
        if let Some(c) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(NameError::BadCharacter(c));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Hyphen);
        }
    }
    Ok(())
}

/// Whether the text is four decimal octets: LDH by its letters, but an address and never a DNS-ID.
pub(crate) fn is_ipv4(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    // Nearly every name ends with a letter, and then is not an address.
    text.ends_with(|c: char| c.is_ascii_digit()) && text.parse::<Ipv4Addr>().is_ok()
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl AsRef<str> for Domain {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Domain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, NameError> {
        Domain::parse(text).map(|d| d.to_string())
    }

    #[test]
    fn one_spelling_for_each_name() {
        for (text, name) in [
            ("example.com", "example.com"),
            ("Example.COM.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example.", "xn--bcher-kva.example"),
            ("ñaca.com", "xn--aca-6ma.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("faß.example", "xn--fa-hia.example"),
            ("r3---sn.example", "r3---sn.example"),
            ("localhost", "localhost"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(name), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_policy_domain() {
        use NameError::*;
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}.example", vec!["a".repeat(60); 5].join("."));
        for (text, error) in [
            ("", Empty),
            (".", Empty),
            (".example.com", EmptyLabel),
            ("a..b", EmptyLabel),
            ("example.com..", EmptyLabel),
            ("192.0.2.1", AddressLiteral),
            ("192.0.2.1.", AddressLiteral),
            ("[192.0.2.1]", AddressLiteral),
            ("[IPv6:2001:db8::1]", AddressLiteral),
            ("2001:db8::1", AddressLiteral),
            ("[a:bb:ccc::dddd]:123", AddressLiteral),
            ("１９２.0.2.1", AddressLiteral),
            ("192。0。2。1。", AddressLiteral),
            ("a b.example", BadCharacter(' ')),
            ("a_b.example", BadCharacter('_')),
            ("../etc/passwd", EmptyLabel),
            ("a/b.example", BadCharacter('/')),
            ("a\0b.example", BadCharacter('\0')),
            ("-a.example", Hyphen),
            ("a-.example", Hyphen),
            ("a\u{200d}b.example", Idna),
            (&long_label, LabelTooLong),
            (&long_name, TooLong),
            (&"ü".repeat(3000), TooLong),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_quick_look_agrees_with_the_thorough_one() {
        let letters = ["a", "-", ".", "_", "é", "Z9"];
        let mut names = vec![String::new()];
        for length in 0..6 {
            let shorter: Vec<String> = names.iter().filter(|n| n.chars().count() >= length).cloned().collect();
            names.extend(
                shorter
                    .iter()
                    .flat_map(|name| letters.map(|letter| format!("{name}{letter}"))),
            );
        }
        for length in [62, 63, 64, 65] {
            names.push("a".repeat(length));
            names.push(format!("b.{}.c", "a".repeat(length)));
            names.push(format!("{}{}", "a.".repeat(95), "a".repeat(length)));
            names.push(format!("{}{}", "a.".repeat(96), "a".repeat(length)));
        }
        assert!(names.iter().any(|n| n.len() == 253) && names.iter().any(|n| n.len() == 254));
        for name in names {
            assert_eq!(is_ldh(name.as_bytes()), why_not_ldh(&name).is_ok(), "{name}");
        }
    }
}
