//! Text of strangers, and our text made from it: as one line for a log, a file or a message ([`one_line`], [`Line`],
//! [`ascii_line`]), and escaped for a terminal ([`for_terminal`]).
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;

/// One line of text: no control characters, nothing that hides or turns other text, at most [`Line::LONGEST`] octets,
/// and no white space at its ends. Every way to make one cleans the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Box<str>);

impl Line {
    /// The longest line, in octets.
    pub const LONGEST: usize = 1000;

    /// Cleans a text: what may not be in a line becomes a space, and what is too long is cut at a character's end.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::cut(text, Self::LONGEST)
    }

    /// The same, cut at `longest` octets or earlier.
    pub(crate) fn cut(text: &str, longest: usize) -> Self {
        Self(one_line(text, longest.min(Self::LONGEST)).into())
    }
}

impl Deref for Line {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl PartialEq<str> for Line {
    fn eq(&self, text: &str) -> bool {
        &*self.0 == text
    }
}

impl PartialEq<&str> for Line {
    fn eq(&self, text: &&str) -> bool {
        &*self.0 == *text
    }
}

/// Two sentences, with one full stop between them: the first may have one already.
#[must_use]
pub fn two_sentences(first: &str, second: &str) -> String {
    format!("{}. {second}", first.trim_end_matches('.'))
}

/// The text on one line, without characters that act or hide, and cut at a character's end.
#[must_use]
pub fn one_line(text: &str, longest: usize) -> String {
    // Besides control characters: joiners, line separators, and what turns the direction of writing.
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let clean: String = text.chars().map(|c| if acts(c) { ' ' } else { c }).collect();
    let clean = clean.trim();
    let end = (0..=longest.min(clean.len()))
        .rev()
        .find(|i| clean.is_char_boundary(*i))
        .unwrap_or(0);
    clean[..end].trim_end().to_owned()
}

/// The same of printable ASCII alone, for what may go into a reply of SMTP or into a report: any other character
/// becomes `?`.
#[must_use]
pub fn ascii_line(text: &str, longest: usize) -> String {
    one_line(&text.replace(|c: char| !c.is_ascii(), "?"), longest)
}

/// The text with everything escaped that a terminal does not show as itself: control characters, the beginnings of
/// escape sequences, marks that turn the direction of writing, characters without a width.
#[must_use]
pub fn for_terminal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_shows_all_there_is() {
        assert_eq!(one_line(" a\r\nb\0c\x1b[31m ", 99), "a  b c [31m");
        assert_eq!(one_line("a\u{202e}b\u{2028}c\u{feff}", 99), "a b c");
        assert_eq!(one_line("a\u{e9}", 2), "a");
        assert_eq!(one_line("ab cd", 3), "ab");
        assert_eq!(one_line("", 0), "");
        assert_eq!(two_sentences("It is full.", "Empty it."), "It is full. Empty it.");
        assert_eq!(two_sentences("It is full", "Empty it."), "It is full. Empty it.");
        assert_eq!(ascii_line("J\u{f6}rg\u{202e}\n\x1b[31m x", 10), "J?rg?  [31");
    }

    #[test]
    fn nothing_steers_a_terminal() {
        for (text, safe) in [
            ("mx.example.com: \"ok\" \\ 'so'", "mx.example.com: \"ok\" \\ 'so'"),
            ("J\u{f6}rg \u{4f8b}", "J\u{f6}rg \u{4f8b}"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\r\nb\tc\0\x7f\u{9b}", "a\\r\\nb\\tc\\0\\u{7f}\\u{9b}"),
            ("moc\u{202e}elgoog\u{2066}", "moc\\u{202e}elgoog\\u{2066}"),
            ("a\u{200b}\u{feff}\u{2028}\u{ad}", "a\\u{200b}\\u{feff}\\u{2028}\\u{ad}"),
        ] {
            assert_eq!(for_terminal(text), safe);
        }
    }

    #[test]
    fn a_line_is_bounded_and_stays_as_it_is() {
        let line = Line::new(&"\u{e9} ".repeat(5000));
        assert!(line.len() <= Line::LONGEST && line.len() > Line::LONGEST - 3);
        assert_eq!(Line::new(&line), line);
        assert_eq!(Line::cut("abc", 2), "ab");
    }
}
