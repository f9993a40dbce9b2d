//! The policy text (RFC 8461 3.2): read strictly, with a warning wherever we are lenient and an error that names the
//! line, the field and the reason.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use crate::protocol::mx::{self, Leniency, MxPattern};
use crate::protocol::names::{Domain, NameError};
pub use crate::protocol::words::Mode;

/// The longest policy text in octets (RFC 8461 3.3). A longer one is refused, never cut.
pub const MAX_POLICY: usize = 65_536;
/// The longest lifetime in seconds, about a year (RFC 8461 3.2).
pub const MAX_MAX_AGE: u32 = 31_557_600;

/// A valid policy.
#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    mode: Mode,
    max_age: u32,
    mx: MxList,
}

/// The patterns in the order of the text, each once. One allocation holds them all, each closed by a NUL so that the
/// C boundary can lend them out as they are.
#[derive(Clone, Default, PartialEq, Eq)]
struct MxList {
    names: String,
    starts: Vec<u32>,
}

impl Policy {
    /// Reads the body of a policy file, at most 64 KiB of UTF-8.
    ///
    /// # Errors
    /// A `PolicyError` with the line, the field and the reason. One bad line makes the whole text invalid (D-25).
    pub fn parse(body: &[u8]) -> Result<(Self, Vec<Warning>), PolicyError> {
        if body.len() > MAX_POLICY {
            return Err(PolicyError::whole(Reason::TooLarge));
        }
        let text = match std::str::from_utf8(body) {
            Ok(text) => text,
            Err(e) => {
                let line = body[..e.valid_up_to()].iter().filter(|c| **c == b'\n').count() + 1;
                return Err(PolicyError {
                    line,
                    field: None,
                    reason: Reason::Utf8,
                });
            }
        };
        let mut reader = Reader {
            length: body.len(),
            ..Reader::default()
        };
        // Room for every pattern that can come; the rest is freed below.
        reader.mx.names.reserve(body.len());
        let text = text.strip_suffix('\n').unwrap_or(text);
        for (index, line) in text.split('\n').enumerate() {
            // LF or CRLF, mixed as it comes (erratum 6253). A lone CR ends nothing and is a control character.
            let line = line.strip_suffix('\r').unwrap_or(line);
            reader.line(index + 1, line)?;
        }
        reader.finish()
    }

    /// A policy of these values, for a domain that publishes one. It is checked as [`Policy::parse`] checks a text, but
    /// what a reader would only warn of is refused: a policy that we write follows the grammar.
    ///
    /// # Errors
    /// A `PolicyError` without a line: a pattern is not a host name or `*.` and one, there is no pattern and the mode
    /// is not `none`, `max_age` is over `MAX_MAX_AGE`, or the text would be longer than `MAX_POLICY`.
    pub fn new<'a>(mode: Mode, max_age: u32, mx: impl IntoIterator<Item = &'a str>) -> Result<Self, PolicyError> {
        let fail = |field, reason| PolicyError {
            line: 0,
            field: Some(field),
            reason,
        };
        if max_age > MAX_MAX_AGE {
            return Err(fail(Field::MaxAge, Reason::MaxAge));
        }
        let mut text = format!("version:STSv1\nmode:{mode}\nmax_age:{max_age}");
        for pattern in mx {
            match mx::normalise(pattern).map_err(|e| fail(Field::Mx, Reason::Mx(e)))? {
                (_, Leniency::None) => text += &format!("\nmx:{pattern}"),
                (_, Leniency::TrailingDot) => return Err(fail(Field::Mx, Reason::Mx(NameError::Empty))),
                (_, Leniency::IpLiteral) => return Err(fail(Field::Mx, Reason::Mx(NameError::AddressLiteral))),
            }
        }
        Self::parse(text.as_bytes()).map(|(policy, _)| policy)
    }

    /// What a sender must do when an MX host fails.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The lifetime in seconds from the fetch: 0 to 31557600.
    #[must_use]
    pub const fn max_age(&self) -> u32 {
        self.max_age
    }

    /// The MX patterns, in the order of the text.
    pub fn mx(&self) -> impl ExactSizeIterator<Item = MxPattern<'_>> {
        (0..self.mx.starts.len()).map(|i| MxPattern::trusted(self.mx.get(i).unwrap_or_default()))
    }

    /// Whether a pattern allows this MX host (RFC 8461 4.1).
    #[must_use]
    pub fn allows_mx(&self, host: &Domain) -> bool {
        self.mx().any(|pattern| pattern.matches(host))
    }

    /// The pattern of this index with a NUL behind it, for the C boundary.
    pub(crate) fn mx_with_nul(&self, index: usize) -> Option<&[u8]> {
        let start = *self.mx.starts.get(index)? as usize;
        let end = self
            .mx
            .starts
            .get(index + 1)
            .map_or(self.mx.names.len(), |e| *e as usize);
        Some(&self.mx.names.as_bytes()[start..end])
    }
}

impl MxList {
    fn get(&self, index: usize) -> Option<&str> {
        let start = *self.starts.get(index)? as usize;
        let end = self.starts.get(index + 1).map_or(self.names.len(), |e| *e as usize);
        Some(&self.names[start..end - 1])
    }

    fn push(&mut self, name: &str) {
        // At most 64 KiB of text goes in, and a NUL for each line end of it.
        self.starts.push(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push_str(name);
        self.names.push('\0');
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("mode", &self.mode)
            .field("max_age", &self.max_age)
            .field("mx", &self.mx().collect::<Vec<_>>())
            .finish()
    }
}

/// The policy in the form that RFC 8461 3.2 shows, with CRLF and without extension fields. If thousands of patterns
/// leave no room for that form under the limit, it is the tightest form, so that the output can always be parsed.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALL_BUT_MX: usize = "version: STSv1\r\nmode: enforce\r\nmax_age: 31557600\r\n".len();
        // Each pattern is stored with a NUL behind it.
        let mx = self.mx.names.len() + self.mx.starts.len() * "mx: \r".len();
        let (colon, end, last) = match ALL_BUT_MX + mx {
            0..=MAX_POLICY => (": ", "\r\n", "\r\n"),
            _ => (":", "\n", ""),
        };
        write!(f, "version{colon}STSv1{end}mode{colon}{}{end}", self.mode)?;
        for pattern in self.mx() {
            write!(f, "mx{colon}{pattern}{end}")?;
        }
        write!(f, "max_age{colon}{}{last}", self.max_age)
    }
}

/// A place where the text breaks the grammar and its meaning is clear anyway. Each kind is reported once, with its
/// first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub kind: WarningKind,
}

/// The kinds of a [`Warning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningKind {
    /// A blank line (D-04).
    BlankLine,
    /// A second `version`, `mode` or `max_age`: the first one is used (RFC 8461 3.2).
    DuplicateField,
    /// A `max_age` over 31557600, taken as 31557600 (D-07).
    MaxAgeClamped,
    /// A root dot behind an `mx` name, dropped (D-08).
    MxTrailingDot,
    /// An `mx` that is an IP address: it matches no host (D-09).
    MxIpLiteral,
}

impl WarningKind {
    /// A short stable name, the same in all our output.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BlankLine => "blank-line",
            Self::DuplicateField => "duplicate-field",
            Self::MaxAgeClamped => "max_age-clamped",
            Self::MxTrailingDot => "mx-trailing-dot",
            Self::MxIpLiteral => "mx-ip-literal",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            WarningKind::BlankLine => "blank line; some senders reject the policy because of it",
            WarningKind::DuplicateField => "the field appears twice; the first one is used",
            WarningKind::MaxAgeClamped => "max_age is over 31557600; senders use 31557600",
            WarningKind::MxTrailingDot => "an mx name ends with a dot, which is ignored",
            WarningKind::MxIpLiteral => "an mx that is an IP address matches no host",
        };
        write!(f, "line {}: {what}", self.line)
    }
}

/// Why a text is not a valid policy (`sts-policy-invalid`, RFC 8460 4.3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The line, counted from 1; 0 if the error is in the text as a whole.
    pub line: usize,
    /// The field, if there is one.
    pub field: Option<Field>,
    /// What is wrong.
    pub reason: Reason,
}

impl PolicyError {
    pub(crate) const fn not_utf8() -> Self {
        Self {
            line: 0,
            field: None,
            reason: Reason::Utf8,
        }
    }
}

/// The fields that the grammar knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `version`
    Version,
    /// `mode`
    Mode,
    /// `max_age`
    MaxAge,
    /// `mx`
    Mx,
    /// Any other name: ignored, but its form is checked.
    Extension,
}

impl Field {
    /// The name as it is in the text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Mode => "mode",
            Self::MaxAge => "max_age",
            Self::Mx => "mx",
            Self::Extension => "extension",
        }
    }
}

/// What is wrong with a policy text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Longer than 64 KiB.
    TooLarge,
    /// Not UTF-8.
    Utf8,
    /// A line without a colon.
    NoColon,
    /// A field name that the grammar does not allow; names begin at the start of the line.
    FieldName,
    /// A value that is empty or holds a control character.
    FieldValue,
    /// The field is required and absent.
    Missing,
    /// The version is not `STSv1`.
    Version,
    /// The mode is none of `enforce`, `testing` and `none`.
    Mode,
    /// The max_age is not 1 to 10 digits.
    MaxAge,
    /// The mx is neither a host name nor `*.` and one.
    Mx(NameError),
}

impl PolicyError {
    const fn whole(reason: Reason) -> Self {
        Self {
            line: 0,
            field: None,
            reason,
        }
    }

    /// A short stable name, the same in all our output.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.reason {
            Reason::TooLarge => "too-large",
            Reason::Utf8 => "utf8",
            Reason::NoColon => "no-colon",
            Reason::FieldName => "field-name",
            Reason::FieldValue => "field-value",
            Reason::Missing => match self.field {
                Some(Field::Mode) => "missing-mode",
                Some(Field::MaxAge) => "missing-max_age",
                Some(Field::Mx) => "missing-mx",
                _ => "missing-version",
            },
            Reason::Version => "version",
            Reason::Mode => "mode",
            Reason::MaxAge => "max_age",
            Reason::Mx(_) => "mx",
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if let (Some(field), false) = (self.field, self.reason == Reason::Missing) {
            write!(f, "{}: ", field.name())?;
        }
        match &self.reason {
            Reason::TooLarge => write!(f, "the policy is longer than {MAX_POLICY} octets"),
            Reason::Utf8 => f.write_str("the text is not UTF-8"),
            Reason::NoColon => f.write_str("the line has no colon; a field is \"name: value\""),
            Reason::FieldName => {
                f.write_str("not a field name (1 to 32 of letters, digits, \"_-.\", at the line's start)")
            }
            Reason::FieldValue => f.write_str("the value is empty or has a control character"),
            Reason::Missing if self.field == Some(Field::Mx) => {
                f.write_str("the policy has no mx field, and its mode is not none")
            }
            Reason::Missing => write!(f, "the policy has no {} field", self.field.map_or("", Field::name)),
            Reason::Version => f.write_str("must be STSv1"),
            Reason::Mode => f.write_str("must be enforce, testing or none"),
            Reason::MaxAge => f.write_str("must be 1 to 10 digits, in seconds"),
            Reason::Mx(e) => write!(f, "must be a host name, or \"*.\" and a host name: {e}"),
        }
    }
}

impl std::error::Error for PolicyError {}

/// What was read so far.
#[derive(Default)]
struct Reader {
    version: bool,
    mode: Option<Mode>,
    max_age: Option<u32>,
    mx: MxList,
    /// Once the patterns are too many to look through one by one: 64 KiB hold thousands.
    seen: Option<Seen>,
    /// How long the text is.
    length: usize,
    warnings: Vec<Warning>,
}

/// Up to here a scan of the list is faster than a hash.
const SCAN: usize = 8;

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), PolicyError> {
        if line.bytes().all(|c| matches!(c, b' ' | b'\t')) {
            self.warn(number, WarningKind::BlankLine);
            return Ok(());
        }
        let fail = |field, reason| PolicyError {
            line: number,
            field,
            reason,
        };
        // The name is short, if it is one: a plain loop finds its end before a cleverer search has begun.
        let colon = line.bytes().position(|c| c == b':');
        let (name, value) = line.split_at(colon.ok_or_else(|| fail(None, Reason::NoColon))?);
        let field = field(name).ok_or_else(|| fail(None, Reason::FieldName))?;
        let value = value[1..].trim_matches([' ', '\t']);
        // RFC 8461 3.2: no CTL in a value. Also of a duplicate: its value is ignored, but its form is checked.
        // Without an early end: that lets the compiler look at many octets at once.
        if value.bytes().fold(false, |found, c| found | c.is_ascii_control()) {
            return Err(fail(Some(field), Reason::FieldValue));
        }
        let first = match field {
            Field::Version => !self.version,
            Field::Mode => self.mode.is_none(),
            Field::MaxAge => self.max_age.is_none(),
            Field::Mx => true,
            Field::Extension => false,
        };
        if !first {
            if value.is_empty() {
                return Err(fail(Some(field), Reason::FieldValue));
            }
            if field != Field::Extension {
                self.warn(number, WarningKind::DuplicateField);
            }
            return Ok(());
        }
        match field {
            Field::Version if value == "STSv1" => self.version = true,
            Field::Version => return Err(fail(Some(field), Reason::Version)),
            Field::Mode => {
                self.mode = Some(Mode::from_name(value).ok_or_else(|| fail(Some(field), Reason::Mode))?);
            }
            Field::MaxAge => self
                .max_age(number, value)
                .ok_or_else(|| fail(Some(field), Reason::MaxAge))?,
            Field::Mx => self.mx(number, value).map_err(|e| fail(Some(field), Reason::Mx(e)))?,
            Field::Extension => {}
        }
        Ok(())
    }

    fn max_age(&mut self, line: usize, value: &str) -> Option<()> {
        if !(1..=10).contains(&value.len()) || !value.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let seconds: u64 = value.parse().ok()?;
        if seconds > u64::from(MAX_MAX_AGE) {
            self.warn(line, WarningKind::MaxAgeClamped);
        }
        self.max_age = Some(u32::try_from(seconds).unwrap_or(MAX_MAX_AGE).min(MAX_MAX_AGE));
        Some(())
    }

    fn mx(&mut self, line: usize, value: &str) -> Result<(), NameError> {
        let (name, leniency) = mx::normalise(value)?;
        match leniency {
            Leniency::None => {}
            Leniency::TrailingDot => self.warn(line, WarningKind::MxTrailingDot),
            Leniency::IpLiteral => self.warn(line, WarningKind::MxIpLiteral),
        }
        let count = self.mx.starts.len();
        if count < SCAN {
            if (0..count).all(|i| self.mx.get(i) != Some(&name)) {
                self.mx.push(&name);
            }
            return Ok(());
        }
        let length = self.length;
        if self
            .seen
            .get_or_insert_with(|| Seen::of(&self.mx, length))
            .insert(&self.mx, &name)
        {
            self.mx.push(&name);
        }
        Ok(())
    }

    fn warn(&mut self, line: usize, kind: WarningKind) {
        if self.warnings.iter().all(|w| w.kind != kind) {
            self.warnings.push(Warning { line, kind });
        }
    }

    fn finish(mut self) -> Result<(Policy, Vec<Warning>), PolicyError> {
        let missing = |field| PolicyError {
            line: 0,
            field: Some(field),
            reason: Reason::Missing,
        };
        if !self.version {
            return Err(missing(Field::Version));
        }
        let mode = self.mode.ok_or_else(|| missing(Field::Mode))?;
        let max_age = self.max_age.ok_or_else(|| missing(Field::MaxAge))?;
        if mode != Mode::None && self.mx.starts.is_empty() {
            return Err(missing(Field::Mx));
        }
        self.mx.names.shrink_to_fit();
        self.mx.starts.shrink_to_fit();
        Ok((
            Policy {
                mode,
                max_age,
                mx: self.mx,
            },
            self.warnings,
        ))
    }
}

/// A hash table over the list of patterns: it holds their numbers, so that no pattern is kept twice.
struct Seen {
    /// Random, so that an attacker cannot choose names that fall into one slot.
    hash: RandomState,
    /// 0, or the number of a pattern counted from 1. A power of two of them.
    slots: Box<[u32]>,
}

impl Seen {
    /// The table of these patterns, with room for all that a text of this length can hold.
    fn of(mx: &MxList, length: usize) -> Self {
        const SHORTEST: usize = "mx:a\n".len();
        let mut seen = Self {
            hash: RandomState::new(),
            slots: vec![0; (length / SHORTEST + 2).next_power_of_two()].into(),
        };
        for (index, name) in (0..).map_while(|i| mx.get(i)).enumerate() {
            seen.take(mx, name, index);
        }
        seen
    }

    /// Adds the next pattern of the list; false if it is there already.
    fn insert(&mut self, mx: &MxList, name: &str) -> bool {
        self.take(mx, name, mx.starts.len())
    }

    fn take(&mut self, mx: &MxList, name: &str, index: usize) -> bool {
        let last = self.slots.len() - 1;
        let mut at = self.hash.hash_one(name) as usize & last;
        // There are more slots than patterns: the loop ends.
        while self.slots[at] != 0 {
            if mx.get(self.slots[at] as usize - 1) == Some(name) {
                return false;
            }
            at = (at + 1) & last;
        }
        self.slots[at] = index as u32 + 1;
        true
    }
}

/// The field of a name; `None` if the name is not valid. Names are case-sensitive: `Mode` is an extension.
fn field(name: &str) -> Option<Field> {
    match name {
        "version" => Some(Field::Version),
        "mode" => Some(Field::Mode),
        "max_age" => Some(Field::MaxAge),
        "mx" => Some(Field::Mx),
        _ => {
            let first = name.bytes().next()?;
            let fits = name.len() <= 32
                && first.is_ascii_alphanumeric()
                && name
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'));
            fits.then_some(Field::Extension)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Policy, PolicyError> {
        Policy::parse(body.as_bytes()).map(|(policy, _)| policy)
    }

    #[test]
    fn an_error_names_line_field_and_reason() {
        let error = parse("version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n").unwrap_err();
        assert_eq!(error.line, 3);
        assert_eq!(
            error.to_string(),
            "line 3: mx: must be a host name, or \"*.\" and a host name: the character ' ' cannot be part of a host name"
        );
    }

    #[test]
    fn printed_and_read_again_it_is_the_same() {
        let policy =
            parse("mx: *.EXAMPLE.net.\nmode: testing\nmax_age: 9999999999\nversion: STSv1\nx: y\nmx: a.example")
                .unwrap();
        assert_eq!(parse(&policy.to_string()).unwrap(), policy);
    }

    #[test]
    fn each_pattern_once_whatever_their_number() {
        let mut body = String::from("version: STSv1\nmode: enforce\nmax_age: 1\n");
        for i in 0..40 {
            body.push_str(&format!("mx: m{}.example\n", i % 20));
        }
        let policy = parse(&body).unwrap();
        assert_eq!(policy.mx().len(), 20);
        assert_eq!(policy.mx().nth(19).unwrap().as_str(), "m19.example");
        assert_eq!(policy.mx_with_nul(19).unwrap(), b"m19.example\0");
        assert_eq!(policy.mx_with_nul(20), None);
    }

    #[test]
    fn what_breaks_the_form() {
        let with = |line: &str| {
            parse(&format!("version: STSv1\nmode: none\nmax_age: 1\n{line}\n"))
                .map(|_| ())
                .map_err(|e| e.code())
        };
        assert_eq!(with("ext: a:b é {x}"), Ok(()));
        for line in [
            "_bad:test",
            "bad name: ok",
            "a23456789012345678901234567890123:x",
            "é: x",
            "\u{feff}x: y",
            ": x",
        ] {
            assert_eq!(with(line), Err("field-name"), "{line}");
        }
        for line in [
            "ext:",
            "ext: \t",
            "ext: a\u{b}b",
            "ext: a\tb",
            "ext: a\u{7f}",
            "mode:",
            "mode: \r x",
        ] {
            assert_eq!(with(line), Err("field-value"), "{line:?}");
        }
    }

    #[test]
    fn a_policy_of_ours_passes_the_same_checks_as_a_text() {
        let policy = Policy::new(Mode::Enforce, 86_400, ["mx.example.com", "*.example.net"]).unwrap();
        assert_eq!(
            Policy::parse(policy.to_string().as_bytes()).unwrap(),
            (policy, Vec::new())
        );
        assert!(Policy::new(Mode::None, 0, []).is_ok());
        let code = |mode, max_age, mx: &[&str]| Policy::new(mode, max_age, mx.iter().copied()).unwrap_err().code();
        assert_eq!(code(Mode::Enforce, 86_400, &[]), "missing-mx");
        assert_eq!(code(Mode::Testing, MAX_MAX_AGE + 1, &["mx.example.com"]), "max_age");
        for bad in [
            "",
            "a b",
            "mx.example.com\nmode:none",
            "mx.example.com.",
            "192.0.2.1",
            "*.*.example.com",
        ] {
            assert_eq!(code(Mode::Enforce, 1, &["mx.example.com", bad]), "mx", "{bad:?}");
        }
        let many: Vec<String> = (0..5000).map(|n| format!("mx{n}.example.com")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(code(Mode::Enforce, 1, &many), "too-large");
    }
}
