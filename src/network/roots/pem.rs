//! Certificates in PEM (RFC 7468), read strictly: what looks like one is read or refused with its line, and never
//! passed over. A list of trust anchors from which one is missing looks good until the mail for its hosts waits.
//!
//! Text that OpenSSL silently ignores is refused here, because programs give the same file to OpenSSL too.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::der;
use crate::protocol::text::one_line;

/// What Windows puts before a text in UTF-8, and `cat` then leaves in the middle.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How much of a line is quoted, in octets.
const MAX_QUOTE: usize = 80;

/// A certificate of the text.
#[derive(Debug)]
pub struct Section {
    /// Its first line, counted from 1.
    pub line: usize,
    /// What it holds, not yet looked at.
    pub der: Vec<u8>,
}

/// Why the text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemError {
    pub line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// The certificates of a text, in its order: the sections `CERTIFICATE`, `X509 CERTIFICATE` and, if it is trusted for
/// servers, `TRUSTED CERTIFICATE`. Keys, revocation lists and the like are passed over, and so is text outside.
pub fn certificates(text: &[u8]) -> Result<Vec<Section>, PemError> {
    let mut found = Vec::new();
    let mut open: Option<Open> = None;
    for (index, octets) in text.split(|c| *c == b'\n').enumerate() {
        let line = index + 1;
        if octets.contains(&0) {
            let reason = "is binary or UTF-16; it must be PEM in ASCII or UTF-8";
            return Err(fail(line, reason));
        }
        let octets = octets.strip_prefix(BYTE_ORDER_MARK).unwrap_or(octets).trim_ascii_end();
        let text = String::from_utf8_lossy(octets);
        match &mut open {
            None => open = Open::at(&text, line)?,
            Some(section) if is_boundary("END", &section.label, &text) => found.extend(open.take().map(Open::close)),
            Some(section) if text.contains("--") => {
                let (label, begun) = (one_line(&section.label, MAX_QUOTE), section.line);
                let reason = format!(
                    "{} inside the section {label:?} that begins in line {begun}; each BEGIN and END has its own line",
                    quoted(&text)
                );
                return Err(fail(line, reason));
            }
            Some(section) => section.content.extend(text.split_ascii_whitespace()),
        }
    }
    match open {
        Some(open) => Err(fail(
            open.line,
            format!("-----BEGIN {}----- without its END", one_line(&open.label, MAX_QUOTE)),
        )),
        None => found.into_iter().filter_map(Result::transpose).collect(),
    }
}

/// A section whose end was not seen yet.
struct Open {
    line: usize,
    label: String,
    content: String,
}

impl Open {
    /// The section that begins at a line outside of one; `None` if the line is other text.
    fn at(text: &str, line: usize) -> Result<Option<Self>, PemError> {
        let label = text
            .strip_prefix("-----BEGIN ")
            .and_then(|text| text.strip_suffix("-----"));
        if let Some(label) = label.filter(|label| !label.contains('-')) {
            return Ok(Some(Self {
                line,
                label: label.to_owned(),
                content: String::new(),
            }));
        }
        // A line that was commented out with `#` is a decision.
        if !text.trim_start().starts_with('#') && looks_like_a_boundary(text) {
            let reason = "looks like the edge of a certificate, but is not -----BEGIN CERTIFICATE----- or the like, alone \
                          at the beginning of its line";
            return Err(fail(line, format!("{} {reason}", quoted(text))));
        }
        Ok(None)
    }

    /// The certificate of the section; `None` if the section is something else.
    fn close(self) -> Result<Option<Section>, PemError> {
        let Self { line, label, content } = self;
        let trusted = match &*label {
            "CERTIFICATE" | "X509 CERTIFICATE" => false,
            "TRUSTED CERTIFICATE" => true,
            other if other.contains("CERTIFICATE") || ["PKCS7", "CMS"].contains(&other) => {
                let other = one_line(other, MAX_QUOTE);
                return Err(fail(
                    line,
                    format!("a section {other:?} is not a certificate; convert or remove it"),
                ));
            }
            _ => return Ok(None),
        };
        let der = STANDARD
            .decode(content)
            .map_err(|error| fail(line, format!("the certificate is not base64: {error}")))?;
        if !trusted {
            return Ok(Some(Section { line, der }));
        }
        match der::trusted_for_servers(&der) {
            Some(der) => Ok(Some(Section {
                line,
                der: der.to_vec(),
            })),
            None => Err(fail(
                line,
                "OpenSSL's trust settings do not trust this certificate for servers; remove it",
            )),
        }
    }
}

fn is_boundary(edge: &str, label: &str, text: &str) -> bool {
    text.strip_prefix("-----")
        .and_then(|text| text.strip_prefix(edge)?.strip_prefix(' ')?.strip_prefix(label))
        == Some("-----")
}

/// What a person would take for the first or the last line of a certificate.
fn looks_like_a_boundary(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let dashes = ["--", "\u{2010}", "\u{2013}", "\u{2014}", "\u{2212}"];
    let follows = |edge| {
        let mut edges = text.match_indices(edge);
        edges.any(|(at, _)| !text[..at].ends_with(char::is_alphanumeric) && text[at..].contains("CERTIFICATE"))
    };
    dashes.iter().any(|dash| text.contains(dash)) && (follows("BEGIN") || follows("END"))
}

fn quoted(text: &str) -> String {
    format!("{:?}", one_line(text, MAX_QUOTE))
}

fn fail(line: usize, reason: impl Into<String>) -> PemError {
    PemError {
        line,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";

    fn read(text: &str) -> Result<Vec<(usize, Vec<u8>)>, String> {
        match certificates(text.as_bytes()) {
            Ok(sections) => Ok(sections.into_iter().map(|s| (s.line, s.der)).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_is_read() {
        let one = |line| Ok(vec![(line, b"abc".to_vec())]);
        let two = |first, second| Ok(vec![(first, b"abc".to_vec()), (second, b"def".to_vec())]);
        for (text, expected) in [
            (String::new(), Ok(vec![])),
            ("# no certificate\n".into(), Ok(vec![])),
            (format!("{BEGIN}\nYWJj\n{END}\n"), one(1)),
            (format!("{BEGIN}\nYWJj\n{END}"), one(1)),
            (format!("{BEGIN}\r\nYW\r\nJj\r\n{END}\r\n"), one(1)),
            (format!("{BEGIN}  \n  YW Jj\t\n{END} "), one(1)),
            (
                format!("subject=CN = Legend -- Certificates\n---\n{BEGIN}\n\nYWJj\n{END}\n"),
                one(3),
            ),
            (format!("\u{feff}{BEGIN}\nYWJj\n{END}\n"), one(1)),
            (
                format!("{BEGIN}\nYWJj\n{END}\n\u{feff}{BEGIN}\nZGVm\n{END}\n"),
                two(1, 4),
            ),
            (format!("#{BEGIN}\n#YWJj\n#{END}\n{BEGIN}\nYWJj\n{END}\n"), one(4)),
            (
                "-----BEGIN X509 CERTIFICATE-----\nYWJj\n-----END X509 CERTIFICATE-----\n".into(),
                one(1),
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nProc-Type: 4\n!\n-----END PRIVATE KEY-----\n".into(),
                Ok(vec![]),
            ),
            ("The certificates begin here, and end there.\n--\n".into(), Ok(vec![])),
        ] {
            assert_eq!(read(&text), expected, "{text:?}");
        }
        let trusted = "-----BEGIN TRUSTED CERTIFICATE-----\nMAMCAQcwAA==\n-----END TRUSTED CERTIFICATE-----\n";
        assert_eq!(read(trusted), Ok(vec![(1, b"\x30\x03\x02\x01\x07".to_vec())]));
    }

    #[test]
    fn what_is_not_read_is_refused_with_its_line() {
        let inside = "inside the section \"CERTIFICATE\" that begins in line";
        for (text, error) in [
            (
                format!("{BEGIN}\nYWJj\n"),
                "line 1: -----BEGIN CERTIFICATE----- without its END".to_owned(),
            ),
            (
                format!("\n{BEGIN}\nYWJj\n{BEGIN}\nYWJj\n{END}\n"),
                format!("line 4: \"{BEGIN}\" {inside} 2"),
            ),
            (
                format!("{BEGIN}\nYWJj\n-----END X509 CERTIFICATE-----\n"),
                format!("line 3: \"-----END X509 CERTIFICATE-----\" {inside} 1"),
            ),
            (
                format!("{BEGIN}\nYWJj\n{END}{BEGIN}\nZGVm\n{END}\n"),
                format!("line 3: \"{END}{BEGIN}\" {inside} 1"),
            ),
            (
                format!("{BEGIN}\nYWJj{END}\n"),
                format!("line 2: \"YWJj{END}\" {inside} 1"),
            ),
            (format!("{BEGIN}\nYWJj\n -----END CERTIFICATE----\n"), "line 3: ".into()),
            (
                format!("YWJj\n{END}\n"),
                "line 2: \"-----END CERTIFICATE-----\" looks like".into(),
            ),
            (
                format!("{BEGIN}\nYWJj\n{END}\n  {BEGIN}\nZGVm\n{END}\n"),
                format!("line 4: \"{BEGIN}\" looks like"),
            ),
            (format!("{BEGIN}\rYWJj\r{END}\r"), "line 1: ".into()),
            (
                "----BEGIN CERTIFICATE----\nYWJj\n".into(),
                "line 1: \"----BEGIN CERTIFICATE----\" looks like".into(),
            ),
            (
                "-----begin certificate-----\n".into(),
                "line 1: \"-----begin certificate-----\" looks like".into(),
            ),
            ("\u{2013}BEGIN CERTIFICATE\u{2013}\n".into(), "line 1: ".into()),
            (format!("ca: {BEGIN}\n"), format!("line 1: \"ca: {BEGIN}\" looks like")),
            (
                "-----BEGIN  CERTIFICATE-----\n-----END  CERTIFICATE-----\n".into(),
                "line 1: a section \"CERTIFICATE\" is not a certificate; convert or remove it".into(),
            ),
            (
                format!("{BEGIN}\nYW!j\n{END}\n"),
                "line 1: the certificate is not base64: ".into(),
            ),
            (
                format!("{BEGIN}\nYWJ\n{END}\n"),
                "line 1: the certificate is not base64: ".into(),
            ),
            (
                "-----BEGIN CERTIFICATE REQUEST-----\nYWJj\n-----END CERTIFICATE REQUEST-----\n".into(),
                "line 1: a section \"CERTIFICATE REQUEST\" is not a certificate; convert or remove it".into(),
            ),
            (
                "-----BEGIN PKCS7-----\nYWJj\n-----END PKCS7-----\n".into(),
                "line 1: a section \"PKCS7\" is not a certificate; convert or remove it".into(),
            ),
            (
                "-----BEGIN TRUSTED CERTIFICATE-----\nYWJj\n-----END TRUSTED CERTIFICATE-----\n".into(),
                "line 1: OpenSSL's trust settings do not trust this certificate for servers; remove it".into(),
            ),
        ] {
            let refused = read(&text).expect_err(&text);
            assert!(refused.starts_with(&error), "{text:?}: {refused}");
        }
        for mark in [&[0xfeff][..], &[]] {
            let utf16 = mark.iter().copied().chain(BEGIN.encode_utf16());
            for text in [
                utf16.clone().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
                utf16.flat_map(u16::to_be_bytes).collect(),
            ] {
                let refused = certificates(&text).expect_err("UTF-16").to_string();
                assert!(refused.starts_with("line 1: is binary or UTF-16"), "{refused}");
            }
        }
    }
}
