//! The token of a claim. A domain's CNAMEs lead to a name that begins with it, so they prove that the owner of the DNS
//! meant this tenant of this host: a target that could be guessed would let another tenant claim the domain.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use ring::rand::{SecureRandom as _, SystemRandom};

/// 80 random bits.
const OCTETS: usize = 10;
/// They are 16 characters in base32.
const LENGTH: usize = 16;

/// 16 letters and digits, in lower case: a label of a host name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(String);

impl Token {
    /// A new one. `None` if the system gives no random octets.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut octets = [0; OCTETS];
        SystemRandom::new().fill(&mut octets).ok()?;
        Some(Self(BASE32_NOPAD.encode(&octets).to_ascii_lowercase()))
    }

    /// One that was written before.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = |c: u8| matches!(c, b'a'..=b'z' | b'2'..=b'7');
        (text.len() == LENGTH && text.bytes().all(known)).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_is_a_label_and_no_two_are_the_same() {
        let tokens: BTreeSet<Token> = (0..1000).map(|_| Token::random().unwrap()).collect();
        assert_eq!(tokens.len(), 1000);
        for token in &tokens {
            assert_eq!(Token::parse(token.as_str()).as_ref(), Some(token));
        }
        // All 80 bits vary, and with them each character.
        for at in 0..LENGTH {
            let letters: BTreeSet<u8> = tokens.iter().map(|token| token.as_str().as_bytes()[at]).collect();
            assert_eq!(letters.len(), 32, "character {at}");
        }
        for text in [
            "",
            "a",
            "aaaaaaaaaaaaaaa1",
            "Aaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaa",
            "aaaaaaa.aaaaaaaa",
        ] {
            assert_eq!(Token::parse(text), None, "{text:?}");
        }
    }
}
