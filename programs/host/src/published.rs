//! A policy as it is published: its text, made of values and read back, and the id that belongs to the text.
//!
//! [`Policy`] decides what a policy is, for this host as for senders. Here are the few bounds that a reader does not have and a
//! host does.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use mtasts::protocol::policy::MAX_MAX_AGE;
use mtasts::protocol::record::PolicyId;
use mtasts::{Mode, Policy};
use ring::digest::{SHA256, digest};

/// The longest text in octets: it goes out in one piece, and some senders read no more.
pub const MAX_TEXT: usize = 4096;
/// The shortest `max_age`. A policy that senders forget within a day protects nothing, and Gmail ignores it.
pub const MIN_MAX_AGE: u32 = 86_400;
/// The length of an id: 100 bits in base32.
const ID: usize = 20;

/// A policy with its text and its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    policy: Policy,
    text: String,
    id: String,
}

/// Which value of a policy is wrong, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The field: `mode`, `mx` or `max_age`; `text` or `id` of another host's policy.
    pub field: &'static str,
    /// A sentence.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for Refused {}

impl Published {
    /// A policy of these values.
    ///
    /// # Errors
    /// [`Refused`], if [`Policy::new`] refuses the values, or one of the bounds of this module does.
    pub fn new(mode: Mode, max_age: u32, mx: &[String]) -> Result<Self, Refused> {
        check_max_age(max_age)?;
        mx.iter().try_for_each(|pattern| check_pattern(pattern))?;
        let patterns = mx.iter().map(String::as_str);
        let policy = Policy::new(mode, max_age, patterns).map_err(|error| refused("mx", plain(&error.to_string())))?;
        let text = policy.to_string();
        if text.len() > MAX_TEXT {
            let reason = format!("the text of the policy has {} octets, more than {MAX_TEXT}", text.len());
            return Err(refused("mx", reason));
        }
        // What senders will read is what was meant, to the last pattern and without a warning.
        match Policy::parse(text.as_bytes()) {
            Ok((read, warnings)) if read == policy && warnings.is_empty() => {
                let id = id_of(&text);
                Ok(Self { policy, text, id })
            }
            _ => Err(refused("mx", "the text of the policy does not read back as the policy")),
        }
    }

    /// The policy of a text that this host made.
    ///
    /// # Errors
    /// [`Refused`], if the text is not exactly what this host would make of its policy.
    pub fn of_text(text: &str) -> Result<Self, Refused> {
        let other = || refused("mode", "the text is not one that this host makes");
        let (policy, _) = Policy::parse(text.as_bytes()).map_err(|_| other())?;
        let mx: Vec<String> = policy.mx().map(|pattern| pattern.as_str().to_owned()).collect();
        let made = Self::new(policy.mode(), policy.max_age(), &mx)?;
        if made.text == text { Ok(made) } else { Err(other()) }
    }

    /// A policy that another host has published, with the id that its record announces. Nothing of it is changed, so that no sender
    /// notices when it is served from here.
    ///
    /// # Errors
    /// [`Refused`], if senders do not read it: the text is not a policy, or the id is not one.
    pub fn taken_over(text: &[u8], id: &str) -> Result<Self, Refused> {
        PolicyId::parse(id.as_bytes()).map_err(|error| refused("id", error.to_string()))?;
        let (policy, _) = Policy::parse(text).map_err(|error| refused("text", error.to_string()))?;
        let text = String::from_utf8(text.to_vec()).map_err(|error| refused("text", error.to_string()))?;
        let id = id.to_owned();
        Ok(Self { policy, text, id })
    }

    /// Whether the id is the hash of the text, as it is of all that this host makes.
    #[must_use]
    pub fn has_own_id(&self) -> bool {
        self.id == id_of(&self.text)
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The text: ASCII, with CRLF at the end of each line, unless another host has made it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The id: the first 20 characters of the SHA-256 of the text, in base32 (RFC 4648) of lower case. The same policy has
    /// the same id on every host, and whoever has the text can compute it. Of a text that was taken over it is the id that came with it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn id_of(text: &str) -> String {
    let mut id = BASE32_NOPAD
        .encode(digest(&SHA256, text.as_bytes()).as_ref())
        .to_ascii_lowercase();
    id.truncate(ID);
    id
}

/// Whether this can be the `max_age` of a policy.
///
/// # Errors
/// [`Refused`], if it is shorter than a day or longer than about a year.
pub fn check_max_age(max_age: u32) -> Result<(), Refused> {
    match max_age {
        MIN_MAX_AGE..=MAX_MAX_AGE => Ok(()),
        _ => Err(refused(
            "max_age",
            format!("must be {MIN_MAX_AGE} (a day) to {MAX_MAX_AGE} (about a year), in seconds"),
        )),
    }
}

/// Whether this can be an MX pattern of a policy.
///
/// # Errors
/// [`Refused`], if [`Policy::new`] refuses it, or if it names no host that others can reach: a name of one label (`*.com` would
/// allow every host below), or one that ends with a number.
pub fn check_pattern(pattern: &str) -> Result<(), Refused> {
    Policy::new(Mode::Enforce, MIN_MAX_AGE, [pattern])
        .map_err(|error| refused("mx", format!("{pattern:?}: {}", plain(&error.to_string()))))?;
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let top = name.rsplit_once('.').map(|(_, top)| top);
    match top.is_some_and(|top| !top.bytes().all(|c| c.is_ascii_digit())) {
        true => Ok(()),
        false => Err(refused(
            "mx",
            format!("{pattern:?} is a top-level domain, or a name that no MX host outside has"),
        )),
    }
}

/// The sentence of a policy's error without the name of the field, which is said before it.
fn plain(sentence: &str) -> &str {
    sentence.strip_prefix("mx: ").unwrap_or(sentence)
}

fn refused(field: &'static str, reason: impl Into<String>) -> Refused {
    Refused {
        field,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mode: Mode, max_age: u32, mx: &[&str]) -> Result<Published, Refused> {
        let mx: Vec<String> = mx.iter().map(|pattern| (*pattern).to_owned()).collect();
        Published::new(mode, max_age, &mx)
    }

    #[test]
    fn the_text_and_its_id() {
        let made = of(Mode::Enforce, 604_800, &["MX1.example.com", "*.example.net"]).unwrap();
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";
        assert_eq!(made.text(), text);
        // printf 'version: ...' | sha256sum | xxd -r -p | base32 | cut -c 1-20 | tr A-Z a-z
        assert_eq!(made.id(), "2bmu5qykhdvjdxwh2g6d");
        assert_eq!(Published::of_text(text).unwrap(), made);
        assert_eq!(
            of(Mode::None, 86_400, &[]).unwrap().text(),
            "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n"
        );
        // A-B-A: the same text has the same id again, and another one has another.
        let again = of(Mode::Enforce, 604_800, &["mx1.example.com", "*.example.net"]).unwrap();
        assert_eq!(again.id(), made.id());
        assert_ne!(
            of(Mode::Testing, 604_800, &["mx1.example.com"]).unwrap().id(),
            made.id()
        );
    }

    #[test]
    fn what_a_host_must_not_publish() {
        let field = |mode, max_age, mx: &[&str]| of(mode, max_age, mx).unwrap_err().field;
        for max_age in [0, 1, 86_399, MAX_MAX_AGE + 1, u32::MAX] {
            assert_eq!(
                field(Mode::Enforce, max_age, &["mx.example.com"]),
                "max_age",
                "{max_age}"
            );
        }
        assert_eq!(field(Mode::Enforce, 86_400, &[]), "mx");
        for bad in [
            "com",
            "*.com",
            "localhost",
            "mx.example.com.",
            "*.",
            "*",
            "a\r\nmode: none",
            "*.0.2.1.192.in.x\0",
        ] {
            assert_eq!(field(Mode::Testing, 86_400, &["mx.example.com", bad]), "mx", "{bad:?}");
        }
        let many: Vec<String> = (0..200).map(|n| format!("mx{n}.mail.example.com")).collect();
        let error = Published::new(Mode::Enforce, 86_400, &many).unwrap_err();
        assert!(error.reason.contains("more than 4096"), "{error}");
    }

    #[test]
    fn a_policy_is_taken_over_as_it_is() {
        let text = "version: STSv1\nmode: enforce\nmx: MX.example.com\nx: y\nmax_age: 60\n";
        let other = Published::taken_over(text.as_bytes(), "20200101T000000").unwrap();
        assert_eq!(
            (other.text(), other.id(), other.has_own_id()),
            (text, "20200101T000000", false)
        );
        assert_eq!((other.policy().mode(), other.policy().max_age()), (Mode::Enforce, 60));
        let ours = of(Mode::Testing, 86_400, &["mx.example.com"]).unwrap();
        assert_eq!(Published::taken_over(ours.text().as_bytes(), ours.id()).unwrap(), ours);
        assert!(ours.has_own_id());
        let field = |text: &[u8], id: &str| Published::taken_over(text, id).unwrap_err().field;
        for id in ["", "a b", "a;b", &"a".repeat(33), "a\"\nx"] {
            assert_eq!(field(text.as_bytes(), id), "id", "{id:?}");
        }
        let long = format!("{text}{}", "x: y\n".repeat(20_000));
        for text in [&b""[..], b"<html>", b"version: STSv1\nmode: \xff\n", long.as_bytes()] {
            assert_eq!(
                field(text, "1"),
                "text",
                "{}",
                String::from_utf8_lossy(&text[..text.len().min(40)])
            );
        }
    }

    #[test]
    fn a_text_of_another_host_is_not_taken_for_ours() {
        let text = of(Mode::Testing, 86_400, &["mx.example.com"]).unwrap().text;
        assert!(Published::of_text(&text).is_ok());
        for other in [
            text.replace("\r\n", "\n"),
            text.clone() + "\r\n",
            text.clone() + "x: y\r\n",
            text.replace("86400", "86399"),
            text.replace("mx.", "MX."),
            text.replace("testing", "Testing"),
            String::new(),
        ] {
            assert!(Published::of_text(&other).is_err(), "{other:?}");
        }
    }
}
