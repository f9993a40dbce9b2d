//! The name of an MX host as DNS gives it, which need not be a host name.
//!
//! An MX record can name anything: `a_b.example`, an address, a label with a space. The sender must still say what
//! happens with such a host. So the name is a value and not an error; the verdict on it is the library's.

use std::fmt;

use crate::protocol::names::{Domain, NameError};
use crate::protocol::text::Line;

/// How much of a name that is not a host name is kept, in octets.
const KEPT: usize = 100;

/// The name of an MX host: a host name, or what the MX record has in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxName(Result<Domain, (Line, NameError)>);

impl MxName {
    /// Takes the name in the MX record, before any CNAME, with or without a root dot. If the domain has no MX record,
    /// its MX host is the domain itself (RFC 5321 5.1).
    #[must_use]
    pub fn from_mx(raw: &str) -> Self {
        Self(Domain::parse(raw).map_err(|error| (Line::cut(raw, KEPT), error)))
    }

    /// The host name.
    ///
    /// # Errors
    /// A [`NameError`] that says why the name is not a host name.
    pub fn host(&self) -> Result<&Domain, NameError> {
        self.0.as_ref().map_err(|(_, error)| *error)
    }

    /// The host name in its one spelling (lower case, A-labels), or the start of the other text as one clean line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Ok(host) => host.as_str(),
            Err((line, _)) => line,
        }
    }
}

impl From<Domain> for MxName {
    fn from(host: Domain) -> Self {
        Self(Ok(host))
    }
}

impl fmt::Display for MxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_has_one_spelling_and_all_else_is_a_clean_line() {
        let host = MxName::from_mx("MX.Example.COM.");
        assert_eq!((host.as_str(), host.host().is_ok()), ("mx.example.com", true));
        assert_eq!(host, MxName::from(Domain::parse("mx.example.com").unwrap()));
        for (raw, shown, error) in [
            ("", "", NameError::Empty),
            (".", ".", NameError::Empty),
            ("192.0.2.1", "192.0.2.1", NameError::AddressLiteral),
            ("a_b.example", "a_b.example", NameError::BadCharacter('_')),
            ("a\r\nb.example", "a  b.example", NameError::BadCharacter('\r')),
        ] {
            let name = MxName::from_mx(raw);
            assert_eq!((name.as_str(), name.host()), (shown, Err(error)), "{raw:?}");
        }
        assert_eq!(MxName::from_mx(&"a_".repeat(5000)).as_str().len(), KEPT);
    }
}
