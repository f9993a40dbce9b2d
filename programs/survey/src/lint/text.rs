//! A file as people and their editors save it: the text that was meant, and what stood in its way.

use crate::finding::{Code, Finding};

/// The text, line by line as the author sees it.
pub(super) fn read(body: &[u8]) -> (String, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut found = |code| findings.push(Finding::new(code, ""));
    let text = match body {
        [0xff, 0xfe, rest @ ..] => {
            found(Code::Utf16);
            utf16(rest, u16::from_le_bytes)
        }
        [0xfe, 0xff, rest @ ..] => {
            found(Code::Utf16);
            utf16(rest, u16::from_be_bytes)
        }
        // "v", and the upper half of a letter.
        [_, 0, _, 0, ..] => {
            found(Code::Utf16);
            utf16(body, u16::from_le_bytes)
        }
        [0, _, 0, _, ..] => {
            found(Code::Utf16);
            utf16(body, u16::from_be_bytes)
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            found(Code::ByteOrderMark);
            utf8(rest, &mut found)
        }
        _ => utf8(body, &mut found),
    };
    if text.starts_with("{\\rtf") {
        found(Code::RichText);
        return (plain(&text), findings);
    }
    if text.trim_start().starts_with('<') {
        found(Code::WebPage);
    }
    if text.contains("\\n") {
        found(Code::LiteralNewline);
        return (text.replace("\\r\\n", "\n").replace("\\n", "\n"), findings);
    }
    (text, findings)
}

fn utf16(octets: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = octets.as_chunks().0.iter().map(|pair| unit(*pair));
    char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect()
}

/// What is not UTF-8 was most likely written in Latin-1.
fn utf8(octets: &[u8], found: &mut impl FnMut(Code)) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            found(Code::NotUtf8);
            octets.iter().copied().map(char::from).collect()
        }
    }
}

/// The text of a document in Rich Text Format: without groups that hold fonts, colours and the like, and without control
/// words.
fn plain(rtf: &str) -> String {
    let mut text = String::new();
    let mut depth = 0_usize;
    let mut hidden = None;
    let mut rest = rtf.chars().peekable();
    while let Some(c) = rest.next() {
        let mut shown = None;
        match c {
            '{' => depth += 1,
            '}' => {
                if hidden == Some(depth) {
                    hidden = None;
                }
                depth = depth.saturating_sub(1);
            }
            '\\' => match rest.next() {
                Some('\n' | '\r') => shown = Some('\n'),
                Some('*') => hidden = hidden.or(Some(depth)),
                Some('\'') => {
                    let digits: String = rest.by_ref().take(2).collect();
                    shown = u8::from_str_radix(&digits, 16).ok().map(char::from);
                }
                Some(c) if c.is_ascii_alphabetic() => {
                    let mut word = c.to_string();
                    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '-') {
                        word.push(c);
                    }
                    rest.next_if_eq(&' ');
                    match word.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-') {
                        "fonttbl" | "colortbl" | "stylesheet" | "info" => hidden = hidden.or(Some(depth)),
                        "par" | "line" => shown = Some('\n'),
                        "tab" => shown = Some('\t'),
                        _ => {}
                    }
                }
                other => shown = other,
            },
            '\n' | '\r' => {}
            c => shown = Some(c),
        }
        text.extend(shown.filter(|_| hidden.is_none()));
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_its_text() {
        let rtf = "{\\rtf1\\ansi\n{\\fonttbl\\f0\\fswiss Helvetica;}\n{\\colortbl;\\red255\\green255;}\n{\\*\\generator x;}\n\
                   \\pard\\tx720\n\n\\f0\\fs36 \\cf0 version: STSv1\\\nmode: enforce\\par mx: caf\\'e9.example\\\n}";
        assert_eq!(plain(rtf), "version: STSv1\nmode: enforce\nmx: caf\u{e9}.example");
        for broken in ["{\\rtf", "{\\rtf}}}", "{\\rtf1\\'", "{\\rtf1\\*", "\\"] {
            assert_eq!(plain(broken), "", "{broken}");
        }
    }
}
