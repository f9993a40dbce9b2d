//! Certificates in PEM (RFC 7468), read strictly: what looks like one is read or refused with its line, and never passed
//! over. A list of trust anchors from which one is missing looks good until mail for its hosts waits.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::der;
use crate::entry::one_line;

const DASHES: &str = "-----";
/// What Windows puts before a text in UTF-8, and `cat` then leaves in the middle.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A certificate of the text.
#[derive(Debug)]
pub(crate) struct Section {
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    /// What it holds, not yet looked at.
    pub(crate) der: Vec<u8>,
}

/// Why the text cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PemError {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// The certificates of a text, in its order: the sections `CERTIFICATE`, `X509 CERTIFICATE` and, if it is trusted for
/// servers, `TRUSTED CERTIFICATE`. Keys, revocation lists and the like are passed over, and so is text outside.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<Section>, PemError> {
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err(fail(1, "the text is in UTF-16; save it as ASCII or UTF-8"));
    }
    let mut found = Vec::new();
    let mut open: Option<Open> = None;
    for (index, line) in text.split(|c| *c == b'\n').enumerate() {
        let (number, line) = (index + 1, String::from_utf8_lossy(line));
        let mut rest = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == BYTE_ORDER_MARK);
        // More than one turn where a file without a line end at its end had another one put behind it.
        loop {
            rest = match open.take() {
                None => match begin(rest, number)? {
                    Some((begun, rest)) => {
                        open = Some(begun);
                        rest
                    }
                    None => break,
                },
                Some(section) => match rest.find(DASHES) {
                    None => {
                        open = Some(section.with(rest));
                        break;
                    }
                    Some(at) => {
                        let (last, boundary) = rest.split_at(at);
                        let (section, rest) = section.with(last).end(boundary, number)?;
                        found.extend(section);
                        rest
                    }
                },
            };
            if rest.is_empty() {
                break;
            }
        }
    }
    match open {
        Some(open) => Err(fail(open.line, format!("-----BEGIN {}----- without its END", open.label))),
        None => Ok(found),
    }
}

/// A section whose end was not seen yet.
struct Open {
    line: usize,
    label: String,
    content: String,
}

/// Outside of a section: the one that begins here and what follows on its line, or nothing on a line of other text.
fn begin(text: &str, line: usize) -> Result<Option<(Open, &str)>, PemError> {
    let label = text
        .strip_prefix("-----BEGIN ")
        .and_then(|text| text.split_once(DASHES));
    if let Some((label, rest)) = label {
        let open = Open {
            line,
            label: label.to_owned(),
            content: String::new(),
        };
        return Ok(Some((open, rest)));
    }
    if !text.starts_with('#') && looks_like_a_boundary(text) {
        let text = one_line(text, 80);
        return Err(fail(
            line,
            format!("{text:?} looks like the edge of a certificate, which is -----BEGIN CERTIFICATE----- by itself"),
        ));
    }
    Ok(None)
}

/// What a person would take for the first or the last line of a certificate.
fn looks_like_a_boundary(text: &str) -> bool {
    let text: Cow<'_, str> = text.to_ascii_uppercase().into();
    let dashes = ["--", "\u{2010}", "\u{2013}", "\u{2014}", "\u{2212}"];
    let edge = text.find("BEGIN").or_else(|| text.find("END"));
    edge.is_some_and(|at| text[at..].contains("CERTIFICATE")) && dashes.iter().any(|dash| text.contains(dash))
}

impl Open {
    fn with(mut self, content: &str) -> Self {
        self.content.extend(content.split_ascii_whitespace());
        self
    }

    /// The section that ends at this boundary, if it is a certificate, and what follows on the line.
    fn end(self, boundary: &str, line: usize) -> Result<(Option<Section>, &str), PemError> {
        let end = boundary.strip_prefix("-----END ").and_then(|text| text.split_once(DASHES));
        let Some((_, rest)) = end.filter(|(label, _)| *label == self.label) else {
            let (boundary, label, begun) = (one_line(boundary, 80), one_line(&self.label, 80), self.line);
            let reason = format!("{boundary:?} before the end of the section {label:?}, which begins in line {begun}");
            return Err(fail(line, reason));
        };
        Ok((self.certificate()?, rest))
    }

    fn certificate(self) -> Result<Option<Section>, PemError> {
        let Self { line, label, content } = self;
        let trusted = match &*label {
            "CERTIFICATE" | "X509 CERTIFICATE" => false,
            "TRUSTED CERTIFICATE" => true,
            other if other.contains("CERTIFICATE") || ["PKCS7", "CMS"].contains(&other) => {
                let other = one_line(other, 80);
                return Err(fail(line, format!("a section {other:?} is not a certificate; convert or remove it")));
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
            Some(der) => Ok(Some(Section { line, der: der.to_vec() })),
            None => Err(fail(line, "OpenSSL's trust data do not trust this certificate for servers; remove it")),
        }
    }
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
    fn what_openssl_reads_is_read_and_more() {
        let one = |line| Ok(vec![(line, b"abc".to_vec())]);
        let two = |first, second| Ok(vec![(first, b"abc".to_vec()), (second, b"def".to_vec())]);
        for (text, expected) in [
            (String::new(), Ok(vec![])),
            ("# no certificate\n".into(), Ok(vec![])),
            (format!("{BEGIN}\nYWJj\n{END}\n"), one(1)),
            (format!("{BEGIN}\r\nYW\r\nJj\r\n{END}\r\n"), one(1)),
            (format!("  {BEGIN}  \n  YW Jj\t\n {END}"), one(1)),
            (format!("subject=CN = Root\n---\n{BEGIN}\n\nYWJj\n{END}\n"), one(3)),
            (format!("\u{feff}{BEGIN}\nYWJj\n{END}\n"), one(1)),
            (format!("{BEGIN}\nYWJj\n{END}\n\u{feff}{BEGIN}\nZGVm\n{END}\n"), two(1, 4)),
            (format!("{BEGIN}\nYWJj\n{END}{BEGIN}\nZGVm\n{END}\n"), two(1, 3)),
            (format!("{BEGIN}\nYWJj\n{END}\u{feff}{BEGIN}\nZGVm\n{END}\n"), two(1, 3)),
            (format!("{BEGIN}YWJj{END}{BEGIN}ZGVm{END}"), two(1, 1)),
            (format!("{BEGIN}\nYWJj{END}\n"), one(1)),
            (format!("{BEGIN}\nYWJj\n{END} # mine\n"), one(1)),
            (format!("#{BEGIN}\n#YWJj\n#{END}\n{BEGIN}\nYWJj\n{END}\n"), one(4)),
            ("-----BEGIN X509 CERTIFICATE-----\nYWJj\n-----END X509 CERTIFICATE-----\n".into(), one(1)),
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
        for (text, error) in [
            (format!("{BEGIN}\nYWJj\n"), "line 1: -----BEGIN CERTIFICATE----- without its END"),
            (
                format!("\n{BEGIN}\nYWJj\n{BEGIN}\nYWJj\n{END}\n"),
                "line 4: \"-----BEGIN CERTIFICATE-----\" before the end of the section \"CERTIFICATE\", which begins in line 2",
            ),
            (
                format!("{BEGIN}\nYWJj\n-----END X509 CERTIFICATE-----\n"),
                "line 3: \"-----END X509 CERTIFICATE-----\" before the end of the section \"CERTIFICATE\", which begins in line 1",
            ),
            (format!("{BEGIN}\nYWJj\n-----END CERTIFICATE----\n"), "line 3: \"-----END CERTIFICATE----\" before"),
            (format!("YWJj\n{END}\n"), "line 2: \"-----END CERTIFICATE-----\" looks like the edge"),
            ("----BEGIN CERTIFICATE----\nYWJj\n".into(), "line 1: \"----BEGIN CERTIFICATE----\" looks like the edge"),
            ("-----begin certificate-----\n".into(), "line 1: \"-----begin certificate-----\" looks like the edge"),
            ("-----BEGIN  CERTIFICATE-----\n-----END  CERTIFICATE-----\n".into(), "line 1: a section \" CERTIFICATE\""),
            ("\u{2013}BEGIN CERTIFICATE\u{2013}\n".into(), "line 1: "),
            (format!("ca: {BEGIN}\n"), "line 1: \"ca: -----BEGIN CERTIFICATE-----\" looks like the edge"),
            (format!("{BEGIN}\nYW!j\n{END}\n"), "line 1: the certificate is not base64: "),
            (format!("{BEGIN}\nYWJ\n{END}\n"), "line 1: the certificate is not base64: "),
            (
                "-----BEGIN CERTIFICATE REQUEST-----\nYWJj\n-----END CERTIFICATE REQUEST-----\n".into(),
                "line 1: a section \"CERTIFICATE REQUEST\" is not a certificate; convert or remove it",
            ),
            (
                "-----BEGIN PKCS7-----\nYWJj\n-----END PKCS7-----\n".into(),
                "line 1: a section \"PKCS7\" is not a certificate; convert or remove it",
            ),
            (
                "-----BEGIN TRUSTED CERTIFICATE-----\nYWJj\n-----END TRUSTED CERTIFICATE-----\n".into(),
                "line 1: OpenSSL's trust data do not trust this certificate for servers; remove it",
            ),
        ] {
            let refused = read(&text).expect_err(&text);
            assert!(refused.starts_with(error), "{text:?}: {refused}");
        }
        let utf16: Vec<u8> = std::iter::once(0xfeff).chain(BEGIN.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let refused = certificates(&utf16).expect_err("UTF-16").to_string();
        assert_eq!(refused, "line 1: the text is in UTF-16; save it as ASCII or UTF-8");
        let unmarked = certificates(&utf16[2..]).expect_err("UTF-16 without its mark").to_string();
        assert!(unmarked.starts_with("line 1: "), "{unmarked}");
    }
}
