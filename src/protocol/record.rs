//! The TXT record at `_mta-sts.<policy domain>` (RFC 8461 3.1): which record is valid, and the id that it announces.

use std::fmt;

/// How an MTA-STS record begins, among other TXT records of the same name (RFC 8461 3.1).
const PREFIX: &[u8] = b"v=STSv1;";
/// The longest id in characters (RFC 8461 3.1, `sts-id`).
pub const MAX_ID: usize = 32;

/// The id of a policy: 1 to 32 ASCII letters and digits (RFC 8461 3.1, `sts-id`). Ids have no order; any difference
/// announces a new policy.
///
/// It goes untainted into expansions of Exim, whether it came from DNS, from a file of the cache or from a helper
/// process: so [`PolicyId::parse`] is the only way to make one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyId {
    octets: [u8; MAX_ID],
    length: u8,
}

/// A text is not the id of a policy: it is empty, too long, or has a character that is not an ASCII letter or digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyIdError;

impl fmt::Display for PolicyIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id must be 1 to 32 letters and digits")
    }
}

impl std::error::Error for PolicyIdError {}

impl PolicyId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`PolicyIdError`].
    pub fn parse(id: &[u8]) -> Result<Self, PolicyIdError> {
        let mut octets = [0; MAX_ID];
        let place = octets.get_mut(..id.len()).ok_or(PolicyIdError)?;
        if id.is_empty() || !id.iter().all(u8::is_ascii_alphanumeric) {
            return Err(PolicyIdError);
        }
        place.copy_from_slice(id);
        let length = u8::try_from(id.len()).map_err(|_| PolicyIdError)?;
        Ok(Self { octets, length })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let octets = &self.octets[..usize::from(self.length)];
        // ASCII alone: `parse` has checked it.
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl std::str::FromStr for PolicyId {
    type Err = PolicyIdError;

    fn from_str(text: &str) -> Result<Self, PolicyIdError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl PartialEq<&str> for PolicyId {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == *text
    }
}

/// A valid record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The id that it announces.
    pub id: PolicyId,
}

/// Why the TXT records of a domain announce no policy. All of these mean the same to a sender: no policy is
/// available now, and nothing is fetched (RFC 8461 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// No TXT record here is an MTA-STS record.
    NoRecord,
    /// More than one record begins `v=STSv1;`.
    Multiple(usize),
    /// The version is not `STSv1`.
    Version,
    /// There is a version field, but not at the front.
    VersionNotFirst,
    /// The record has no `id=` field.
    MissingId,
    /// The record breaks the grammar: at which octet, counted from 1, and what is there.
    Syntax {
        /// The octet of the record, counted from 1.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

impl RecordError {
    /// A short stable name, the same in all our output.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRecord => "no-record",
            Self::Multiple(_) => "multiple",
            Self::Version => "version",
            Self::VersionNotFirst => "version-not-first",
            Self::MissingId => "missing-id",
            Self::Syntax { .. } => "syntax",
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("no TXT record is an MTA-STS record (\"v=STSv1; id=...\")"),
            Self::Multiple(count) => write!(f, "{count} TXT records begin with \"v=STSv1;\"; there must be one"),
            Self::Version => f.write_str("the record's version is not STSv1"),
            Self::VersionNotFirst => f.write_str("the record's version field must come first"),
            Self::MissingId => f.write_str("the record has no id field (names are case-sensitive)"),
            Self::Syntax { at, what } => write!(f, "the record has a syntax error at character {at}: {what}"),
        }
    }
}

impl std::error::Error for RecordError {}

impl Record {
    /// Finds and reads the one MTA-STS record among the TXT records at the name; the character-strings of each are
    /// already joined.
    ///
    /// # Errors
    /// A [`RecordError`] if there is not exactly one valid record. An invalid second record is not ignored: records are
    /// counted before their grammar is checked (RFC 8461 3.1).
    pub fn find<R: AsRef<[u8]>>(records: &[R]) -> Result<Self, RecordError> {
        // The prefix filter is the rule for several records; a single one is judged by the grammar alone, which
        // allows "v=STSv1 ;" (D-01: erratum 6285 is not verified).
        if let [only] = records {
            return Self::parse(only.as_ref());
        }
        let mut candidates = records.iter().map(AsRef::as_ref).filter(|r| r.starts_with(PREFIX));
        match (candidates.next(), candidates.count()) {
            (None, _) => Err(RecordError::NoRecord),
            (Some(one), 0) => Self::parse(one),
            (Some(_), more) => Err(RecordError::Multiple(more + 1)),
        }
    }

    /// Reads one record.
    ///
    /// # Errors
    /// A [`RecordError`] that names the place.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let rest = version(record)?;
        let mut fields = Fields { record, rest };
        let mut id = None;
        while let Some((name, value)) = fields.next()? {
            if name == b"id" && id.is_none() {
                let read = PolicyId::parse(value);
                id = Some(read.map_err(|_| syntax(record, value, "the id must be 1 to 32 letters and digits"))?);
            }
        }
        id.map(|id| Self { id }).ok_or(RecordError::MissingId)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v=STSv1; id={};", self.id)
    }
}

/// Takes `v=STSv1` off the front; what follows must be a delimiter.
fn version(record: &[u8]) -> Result<&[u8], RecordError> {
    let Some(rest) = record.strip_prefix(b"v=STSv1") else {
        if record.starts_with(b"v=STSv") {
            return Err(RecordError::Version);
        }
        if record.windows(7).any(|w| w == b"v=STSv1") {
            return Err(RecordError::VersionNotFirst);
        }
        return Err(RecordError::NoRecord);
    };
    match rest.first() {
        Some(b';' | b' ' | b'\t') => Ok(rest),
        Some(c) if c.is_ascii_graphic() => Err(RecordError::Version),
        _ => Err(syntax(
            record,
            rest,
            "a semicolon and an id field must follow the version",
        )),
    }
}

/// The fields after the version: each follows a delimiter, and one delimiter may end the record.
struct Fields<'a> {
    record: &'a [u8],
    rest: &'a [u8],
}

/// A field's name and value.
type Field<'a> = (&'a [u8], &'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<Field<'a>>, RecordError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at_delimiter = self.rest;
        let rest = skip_wsp(at_delimiter);
        let Some(rest) = rest.strip_prefix(b";") else {
            return Err(syntax(self.record, at_delimiter, "expected a semicolon"));
        };
        let rest = skip_wsp(rest);
        if rest.is_empty() && self.rest.len() < self.record.len() - b"v=STSv1".len() {
            self.rest = rest;
            return Ok(None);
        }
        let name_end = rest.iter().position(|c| !is_name_octet(*c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_end);
        if !(1..=32).contains(&name.len()) || !name[0].is_ascii_alphanumeric() {
            return Err(syntax(self.record, rest, "expected a field name of 1 to 32 characters"));
        }
        let Some(after) = after.strip_prefix(b"=") else {
            return Err(syntax(self.record, after, "expected \"=\" after the field name"));
        };
        let value_end = after.iter().position(|c| !is_value_octet(*c)).unwrap_or(after.len());
        if value_end == 0 {
            return Err(syntax(self.record, after, "the field has no value"));
        }
        let (value, rest) = after.split_at(value_end);
        self.rest = rest;
        Ok(Some((name, value)))
    }
}

fn skip_wsp(text: &[u8]) -> &[u8] {
    let wsp = text
        .iter()
        .position(|c| !matches!(c, b' ' | b'\t'))
        .unwrap_or(text.len());
    &text[wsp..]
}

/// `sts-ext-name` (RFC 8461 3.1).
const fn is_name_octet(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.')
}

/// `sts-ext-value` (RFC 8461 3.1): printable ASCII but for the space, `=` and `;`.
const fn is_value_octet(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'=' | b';')
}

/// The error at the octet at which `rest`, a tail or a slice of the record, begins.
fn syntax(record: &[u8], rest: &[u8], what: &'static str) -> RecordError {
    let at = (rest.as_ptr() as usize).saturating_sub(record.as_ptr() as usize) + 1;
    RecordError::Syntax { at, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(record: &str) -> Result<String, &'static str> {
        Record::parse(record.as_bytes())
            .map(|r| r.id.to_string())
            .map_err(|e| e.code())
    }

    #[test]
    fn the_grammar_to_the_letter() {
        for (record, id) in [
            ("v=STSv1; id=20160831085700Z;", "20160831085700Z"),
            ("v=STSv1;id=xyz", "xyz"),
            ("v=STSv1 \t; \tid=policy1 \t;", "policy1"),
            ("v=STSv1; id=a; more=a; ext=2", "a"),
            ("v=STSv1; ext=2; id=a", "a"),
            ("v=STSv1; id=a; id=b", "a"),
            ("v=STSv1; v=STSv1; id=a", "a"),
        ] {
            assert_eq!(code(record).as_deref(), Ok(id), "{record}");
        }
        for (record, reason) in [
            ("v=STSv1", "syntax"),
            ("v=STSv1;", "syntax"),
            ("v=STSv1; id=", "syntax"),
            ("v=STSv1; ext=1", "missing-id"),
            ("v=STSv1; id=test-123", "syntax"),
            ("v=STSv1; id=abc_def", "syntax"),
            ("v=STSv0; id=x", "version"),
            ("v=STSv12; id=x", "version"),
            ("id=abc; v=STSv1", "version-not-first"),
            ("v = STSv1; id=x", "no-record"),
            ("v=STSv1; id = x", "syntax"),
            ("v=STSv1; id=a; more=", "syntax"),
            ("v=STSv1; id=a; test==", "syntax"),
            ("v=STSv1; id=a; 1%=a", "syntax"),
            ("v=STSv1; id=a; _x=a", "syntax"),
            ("v=STSv1; id=a; abcdefghijklmnopqrstuvwxyz0123456=a", "syntax"),
            ("v=STSv1; id=a;;", "syntax"),
            ("v=STSv1; id=policy1 ", "syntax"),
            ("v=STSv1; id=a; x=é", "syntax"),
            ("v=spf1 -all", "no-record"),
            ("", "no-record"),
        ] {
            assert_eq!(code(record), Err(reason), "{record}");
        }
    }

    #[test]
    fn an_error_names_the_place() {
        let error = Record::parse(b"v=STSv1; id=a b;").unwrap_err();
        assert_eq!(
            error,
            RecordError::Syntax {
                at: 14,
                what: "expected a semicolon"
            }
        );
    }

    #[test]
    fn the_count_comes_before_the_grammar() {
        let find = |records: &[&str]| Record::find(records).map(|r| r.id.to_string()).map_err(|e| e.code());
        assert_eq!(find(&["v=STSv1; id=1", "bogus"]).as_deref(), Ok("1"));
        assert_eq!(find(&["v=STSv1; id=1", "v=STSv1;"]), Err("multiple"));
        assert_eq!(find(&["x", "y"]), Err("no-record"));
        assert_eq!(find(&[]), Err("no-record"));
    }
}
