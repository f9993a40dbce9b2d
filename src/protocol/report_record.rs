//! The TXT record at `_smtp._tls.<domain>` (RFC 8460 3): whether a domain wants TLS reports, and where they go.
//!
//! A stranger writes it, and a reporter will mail and connect to what it names. So only a plain mail address and an https
//! URL at a domain name become a [`Destination`]; what else is in the record is left out.

use std::fmt;

use crate::protocol::names::Domain;

/// What comes before the domain in the name of the record.
pub const PREFIX: &str = "_smtp._tls.";
/// How a record begins, among other TXT records of the same name.
const BEGINS: &[u8] = b"v=TLSRPTv1;";
/// How many destinations are kept, the first ones first. Each of them costs a report a day.
const MOST: usize = 5;
/// The longest URI in octets: that of an address of 254 octets (RFC 5321 4.5.3.1) fits.
const LONGEST_URI: usize = 300;
/// The longest text of a record in octets. The destinations that are kept always fit.
pub(crate) const LONGEST: usize = MOST * (LONGEST_URI + 1) + 20;

/// A record that asks for reports, and names at least one place for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRecord {
    text: String,
    destinations: Vec<Destination>,
    left_out: usize,
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// A mail to this address (RFC 8460 5.3).
    Mail {
        /// The URI as the record has it.
        uri: String,
        /// The address: no quotes, no spaces, no second address.
        address: String,
    },
    /// A POST request to this URL (RFC 8460 5.4). Its host is a domain name; where that leads is for a connection to check.
    Https {
        /// The URL as the record has it.
        uri: String,
    },
}

impl Destination {
    /// The URI as the record has it.
    #[must_use]
    pub fn uri(&self) -> &str {
        match self {
            Self::Mail { uri, .. } | Self::Https { uri } => uri,
        }
    }

    /// Reads one URI of `rua`. `None` if no report can go there: another scheme, an IP address, a user in the URL, header
    /// fields or several addresses in a `mailto` (RFC 6068).
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        if uri.len() > LONGEST_URI || !uri.bytes().all(is_uri_octet) {
            return None;
        }
        let (scheme, rest) = uri.split_once(':')?;
        let uri = uri.to_owned();
        // RFC 3986 3.1: the letter case of a scheme does not matter.
        if scheme.eq_ignore_ascii_case("mailto") {
            let address = address_of(rest)?;
            Some(Self::Mail { uri, address })
        } else if scheme.eq_ignore_ascii_case("https") {
            is_url_at_a_domain(rest).then_some(Self::Https { uri })
        } else {
            None
        }
    }
}

/// Why the TXT records of a domain ask for no reports. All of these mean the same to a sender: no report is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportRecordError {
    /// No TXT record here is a TLSRPT record.
    NoRecord,
    /// More than one record begins `v=TLSRPTv1;`.
    Multiple(usize),
    /// The version is not `TLSRPTv1`.
    Version,
    /// The record has no `rua=` field.
    MissingRua,
    /// No URI of `rua=` is one to which a report can go.
    NoDestination,
    /// The record breaks the grammar: what is wrong.
    Syntax(&'static str),
}

impl fmt::Display for ReportRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("no TXT record is a TLSRPT record (\"v=TLSRPTv1; rua=...\")"),
            Self::Multiple(count) => write!(f, "{count} TXT records begin with \"v=TLSRPTv1;\"; there must be one"),
            Self::Version => f.write_str("the record's version is not TLSRPTv1"),
            Self::MissingRua => f.write_str("the record has no rua field (names are case-sensitive)"),
            Self::NoDestination => f.write_str("the record's rua field names no mail address and no https URL"),
            Self::Syntax(what) => write!(f, "the record has a syntax error: {what}"),
        }
    }
}

impl std::error::Error for ReportRecordError {}

impl ReportRecord {
    /// Finds and reads the one TLSRPT record among the TXT records at the name; the character-strings of each are already
    /// joined.
    ///
    /// # Errors
    /// A [`ReportRecordError`] if there is not exactly one valid record. Records are counted before their grammar is
    /// checked (RFC 8460 3).
    pub fn find<R: AsRef<[u8]>>(records: &[R]) -> Result<Self, ReportRecordError> {
        // As with MTA-STS (D-01): the prefix is the rule for several records, and the grammar allows "v=TLSRPTv1 ;".
        if let [only] = records {
            return Self::parse(only.as_ref());
        }
        let mut candidates = records.iter().map(AsRef::as_ref).filter(|r| r.starts_with(BEGINS));
        match (candidates.next(), candidates.count()) {
            (None, _) => Err(ReportRecordError::NoRecord),
            (Some(one), 0) => Self::parse(one),
            (Some(_), more) => Err(ReportRecordError::Multiple(more + 1)),
        }
    }

    /// Reads one record.
    ///
    /// # Errors
    /// A [`ReportRecordError`].
    pub fn parse(record: &[u8]) -> Result<Self, ReportRecordError> {
        use ReportRecordError::{MissingRua, NoDestination, NoRecord, Syntax, Version};

        let is_text = |c: &u8| matches!(c, b' ' | b'\t' | 0x21..=0x7e);
        let Some(rest) = record.strip_prefix(b"v=TLSRPTv1") else {
            return Err(if record.starts_with(b"v=TLSRPTv") {
                Version
            } else {
                NoRecord
            });
        };
        let rest = std::str::from_utf8(rest)
            .ok()
            .filter(|r| r.as_bytes().iter().all(is_text));
        let rest = rest.ok_or(Syntax("a character that is not printable ASCII"))?;
        if rest.starts_with(|c: char| c.is_ascii_graphic() && c != ';') {
            return Err(Version);
        }
        let (before, fields) = rest
            .split_once(';')
            .ok_or(Syntax("a semicolon must follow the version"))?;
        if !trimmed(before).is_empty() {
            return Err(Syntax("a semicolon must follow the version"));
        }
        // One delimiter may end the record.
        let fields = trimmed(fields);
        let fields = fields.strip_suffix(';').map_or(fields, trimmed);
        let mut rua = None;
        for field in fields.split(';').map(trimmed).filter(|_| !fields.is_empty()) {
            let (name, value) = field.split_once('=').ok_or(Syntax("a field has no equals sign"))?;
            if !is_field_name(name) {
                return Err(Syntax("the name of a field must be 1 to 32 letters, digits, or _ - ."));
            }
            if name == "rua" {
                rua = rua.or(Some(value));
            } else if value.is_empty() || value.contains([' ', '\t', '=']) {
                return Err(Syntax(
                    "the value of a field is empty, or has a space or an equals sign",
                ));
            }
        }
        let uris: Vec<&str> = rua.ok_or(MissingRua)?.split(',').map(trimmed).collect();
        let destinations: Vec<Destination> = uris
            .iter()
            .filter_map(|uri| Destination::parse(uri))
            .take(MOST)
            .collect();
        if destinations.is_empty() {
            return Err(NoDestination);
        }
        let left_out = uris.len() - destinations.len();
        let kept = || {
            let kept: Vec<&str> = destinations.iter().map(Destination::uri).collect();
            format!("v=TLSRPTv1;rua={}", kept.join(","))
        };
        let text = match std::str::from_utf8(record) {
            Ok(text) if left_out == 0 && text.len() <= LONGEST => text.to_owned(),
            _ => kept(),
        };
        Ok(Self {
            text,
            destinations,
            left_out,
        })
    }

    /// The record for a program that reads it again: as the domain wrote it, if all that it names can be used and it is not
    /// too long; else a record of the destinations alone.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where reports go, at least one place and at most five.
    #[must_use]
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// How many URIs of the record are not among the destinations.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn is_field_name(name: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
    (1..=32).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(known)
}

/// What a URI may have (RFC 3986 2), without `!`, `,` and `;`, which this record has percent-encoded, and without `#`.
fn is_uri_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~:/?[]@$&'()*+=%".contains(&octet)
}

/// The octets that `%` and two digits stand for; `None` if something else follows a `%`.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut octets = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(octet) = octets.next() {
        plain.push(if octet == b'%' {
            let mut digit = || char::from(octets.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            octet
        });
    }
    Some(plain)
}

/// The one address of a `mailto`.
fn address_of(rest: &str) -> Option<String> {
    if rest.contains('?') {
        return None;
    }
    mail_address(&String::from_utf8(unescaped(rest)?).ok()?)
}

/// A mail address, its domain in our one spelling. Its local part is a dot-atom (RFC 5322 3.2.3) without what some mail servers
/// take for a file or a command: nothing but one plain address.
#[must_use]
pub fn mail_address(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let is_atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-=?^_{}~".contains(&c);
    let atoms = local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom));
    // RFC 5321 4.5.3.1: 64 octets, and 254 in all.
    if !atoms || local.len() > 64 || address.len() > 254 || !domain.is_ascii() {
        return None;
    }
    let domain = Domain::parse(domain).ok()?;
    Some(format!("{local}@{domain}"))
}

/// Whether this follows the scheme of a URL whose host is a domain name, without a user and with a port or none.
fn is_url_at_a_domain(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("//") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = authority
        .split_once(':')
        .map_or((authority, None), |(h, p)| (h, Some(p)));
    let is_port = |port: &str| port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    // No top-level domain is a number (RFC 3696 2): some programs take such a name for an address.
    let is_name = |host: &str| {
        let top = host.rsplit('.').next().unwrap_or_default();
        Domain::parse(host).is_ok() && !top.starts_with(|c: char| c.is_ascii_digit())
    };
    is_name(host) && !host.ends_with('.') && port.is_none_or(is_port) && unescaped(rest).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(record: &str) -> Result<Vec<String>, ReportRecordError> {
        let record = ReportRecord::parse(record.as_bytes())?;
        Ok(record.destinations().iter().map(|d| d.uri().to_owned()).collect())
    }

    #[test]
    fn the_grammar() {
        use ReportRecordError::{MissingRua, NoDestination, NoRecord, Syntax, Version};
        let one = || Ok(vec!["mailto:a@b.example".to_owned()]);
        for good in [
            "v=TLSRPTv1;rua=mailto:a@b.example",
            "v=TLSRPTv1 \t; \trua=mailto:a@b.example ; ",
            "v=TLSRPTv1; x=1; rua=mailto:a@b.example; y.z-1_=%21",
            "v=TLSRPTv1; rua=mailto:a@b.example; rua=mailto:second@b.example",
        ] {
            assert_eq!(uris(good), one(), "{good}");
        }
        for (bad, error) in [
            ("", NoRecord),
            ("v=spf1 -all", NoRecord),
            (" v=TLSRPTv1;rua=mailto:a@b.example", NoRecord),
            ("v=TLSRPTv2;rua=mailto:a@b.example", Version),
            ("v=TLSRPTv11;rua=mailto:a@b.example", Version),
            ("v=TLSRPTv1", Syntax("a semicolon must follow the version")),
            (
                "v=TLSRPTv1 rua=mailto:a@b.example",
                Syntax("a semicolon must follow the version"),
            ),
            (
                "v=TLSRPTv1 x;rua=mailto:a@b.example",
                Syntax("a semicolon must follow the version"),
            ),
            ("v=TLSRPTv1;", MissingRua),
            ("v=TLSRPTv1; RUA=mailto:a@b.example", MissingRua),
            ("v=TLSRPTv1;rua", Syntax("a field has no equals sign")),
            (
                "v=TLSRPTv1;;rua=mailto:a@b.example",
                Syntax("a field has no equals sign"),
            ),
            (
                "v=TLSRPTv1;rua=mailto:a@b.example;;",
                Syntax("a field has no equals sign"),
            ),
            (
                "v=TLSRPTv1;rua =mailto:a@b.example",
                Syntax("the name of a field must be 1 to 32 letters, digits, or _ - ."),
            ),
            (
                "v=TLSRPTv1;rua=mailto:a@b.example;x=",
                Syntax("the value of a field is empty, or has a space or an equals sign"),
            ),
            (
                "v=TLSRPTv1;rua=mailto:\u{e4}@b.example",
                Syntax("a character that is not printable ASCII"),
            ),
            (
                "v=TLSRPTv1;rua=mailto:a@b.example\r\n",
                Syntax("a character that is not printable ASCII"),
            ),
            ("v=TLSRPTv1;rua=", NoDestination),
            ("v=TLSRPTv1;rua=ftp://x.example/", NoDestination),
        ] {
            assert_eq!(uris(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn only_a_plain_address_and_a_url_at_a_domain_are_destinations() {
        for good in [
            "mailto:tls+x@B.Example",
            "MAILTO:a%21b@example.com",
            "HTTPS://r.example.com",
            "https://r.example:8443/v1/%7Eme?x=1&y=(2)",
        ] {
            assert_eq!(Destination::parse(good).as_ref().map(Destination::uri), Some(good));
        }
        let long = format!("mailto:{}@b.example", "a".repeat(10_000));
        let longer_than_a_local_part = format!("mailto:{}@b.example", "a".repeat(65));
        for bad in [
            "",
            "a@b.example",
            "mailto:",
            "mailto:a",
            "mailto:@b.example",
            "mailto:a@",
            "mailto:a@@b.example",
            "mailto:a@b.example?cc=c@d.example",
            "mailto:a%0d%0aBcc:c@d.example",
            "mailto:a%2cc@d.example",
            "mailto:%22a%20b%22@d.example",
            "mailto:a%20b@d.example",
            "mailto:a%40c@d.example",
            "mailto:a%00@b.example",
            "mailto:a%ff@b.example",
            "mailto:a%4@b.example",
            "mailto:a@b.example%2c",
            "mailto:.a@b.example",
            "mailto:/var/x@b.example",
            "mailto:%7Cid@b.example",
            "mailto:%60id%60@b.example",
            "mailto:a@[192.0.2.1]",
            "mailto:a@192.0.2.1",
            "mailto://a@b.example",
            "mailto:a!10m@b.example",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "http://r.example/",
            "https:r.example",
            "https:///x",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001.0x1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://user@r.example/",
            "https://r.example:0/",
            "https://r.example:65536/",
            "https://r.example:+25/",
            "https://r.example:/",
            "https://r.example./",
            "https://r.example/#x",
            "https://r.example/%zz",
            "https://r.example/ x",
            "https://r.example/\"",
            long.as_str(),
            longer_than_a_local_part.as_str(),
        ] {
            assert_eq!(Destination::parse(bad), None, "{bad}");
        }
        let told = Destination::parse("mailto:a%21b@B.Example").unwrap();
        assert!(matches!(told, Destination::Mail { address, .. } if address == "a!b@b.example"));
    }

    #[test]
    fn a_record_is_bounded_and_reads_back_as_the_same() {
        let many: Vec<String> = (0..200).map(|n| format!("mailto:a{n}@b.example")).collect();
        let record = ReportRecord::parse(format!("v=TLSRPTv1; rua={}", many.join(" , ")).as_bytes()).unwrap();
        assert_eq!((record.destinations().len(), record.left_out()), (5, 195));
        assert_eq!(record.destinations()[4].uri(), "mailto:a4@b.example");
        assert!(record.text().len() <= LONGEST);
        let mixed = "v=TLSRPTv1; rua=javascript:alert(1), mailto:a@b.example,https://127.0.0.1/,https://r.example/;";
        let record = ReportRecord::parse(mixed.as_bytes()).unwrap();
        assert_eq!(record.text(), "v=TLSRPTv1;rua=mailto:a@b.example,https://r.example/");
        let again = ReportRecord::parse(record.text().as_bytes()).unwrap();
        assert_eq!(again.destinations(), record.destinations());
        let plain = "v=TLSRPTv1; rua=mailto:a@b.example ; x=1";
        assert_eq!(ReportRecord::parse(plain.as_bytes()).unwrap().text(), plain);
        let padded = format!("v=TLSRPTv1; rua=mailto:a@b.example; x={}", "y".repeat(10_000));
        assert_eq!(
            ReportRecord::parse(padded.as_bytes()).unwrap().text(),
            "v=TLSRPTv1;rua=mailto:a@b.example"
        );
        let longest = format!("https://r.example/{}", "x".repeat(LONGEST_URI - 18));
        let full = format!("v=TLSRPTv1;rua={}", vec![longest; MOST].join(","));
        assert!(ReportRecord::parse(format!("{full};").as_bytes()).unwrap().text().len() <= LONGEST);
    }
}
