//! What goes out: a page for people, one JSON object for programs, single lines on stderr.
//!
//! Most of the text comes from strangers: records, policies, replies of mail servers. None of it may steer a
//! terminal, so everything is escaped here, at the only door out.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write as _};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::Trouble;
use mtasts::protocol::text::for_terminal;
use mtasts::sender::notice::{Token, line};
use mtasts_survey::finding::Level;

/// How far the text of a page is indented: behind the mark.
const INDENT: usize = 10;

/// What a line of a page says about the thing it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Good,
    /// Neither good nor bad.
    Plain,
    /// Good enough, but to be thought about.
    Advice,
    /// Probably not what was meant.
    Warning,
    /// It could not be determined.
    Unknown,
    Bad,
}

impl From<Level> for Mark {
    fn from(level: Level) -> Self {
        match level {
            Level::Advice => Self::Advice,
            Level::Warning => Self::Warning,
            Level::Unknown => Self::Unknown,
            Level::Error => Self::Bad,
        }
    }
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Plain => "",
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Bad => "bad",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default().bold(),
            Self::Plain => Style::new(),
            Self::Advice | Self::Warning | Self::Unknown => AnsiColor::Yellow.on_default().bold(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// When the output has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Colours {
    /// On a terminal that wants them.
    #[default]
    Auto,
    Always,
    Never,
}

static COLOURS: OnceLock<Colours> = OnceLock::new();

/// Decides for the whole process, once.
pub(super) fn use_colours(when: Colours) {
    let _ = COLOURS.set(when);
}

/// A page for people, with colours if stdout is a terminal that wants them.
pub(super) struct Page {
    text: String,
    colours: bool,
}

impl Page {
    pub(super) fn new() -> Self {
        Self {
            text: String::new(),
            colours: match COLOURS.get() {
                Some(Colours::Always) => true,
                Some(Colours::Never) => false,
                Some(Colours::Auto) | None => io::stdout().is_terminal() && colours_wanted(),
            },
        }
    }

    /// A heading, with an empty line before it unless it is the first.
    pub(super) fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.styled(Style::new().bold(), &for_terminal(text));
        self.text.push('\n');
    }

    /// A line with its mark.
    pub(super) fn line(&mut self, mark: Mark, text: &str) {
        self.text.push_str("  ");
        self.styled(mark.style(), mark.word());
        let gap = INDENT - 2 - mark.word().len();
        let _ = writeln!(self.text, "{:gap$}{}", "", for_terminal(text));
    }

    /// A line by itself: a word in the colour of its mark, and a sentence.
    pub(super) fn row(&mut self, mark: Mark, word: &str, text: &str) {
        self.styled(mark.style(), word);
        let gap = INDENT - word.len();
        let _ = writeln!(self.text, "{:gap$}{}", "", for_terminal(text));
    }

    /// A line that belongs to the one before.
    pub(super) fn more(&mut self, text: &str) {
        let _ = writeln!(self.text, "{:INDENT$}  {}", "", for_terminal(text));
    }

    fn styled(&mut self, style: Style, text: &str) {
        let _ = if self.colours && !text.is_empty() {
            write!(self.text, "{style}{text}{style:#}")
        } else {
            write!(self.text, "{text}")
        };
    }

    pub(super) fn print(&self) -> Result<(), Trouble> {
        print(&self.text)
    }
}

/// <https://no-color.org>, and terminals that know no colours.
fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// One object on one line.
pub(super) fn print_json(object: &Value) -> Result<(), Trouble> {
    print(&json_line(object))
}

/// One object and the end of its line. All of it is ASCII: in JSON, too, a stranger's text must not steer a terminal.
pub(super) fn json_line(object: &Value) -> String {
    json_text(&object.to_string()) + "\n"
}

/// JSON with all characters of its strings escaped that are not printable ASCII.
pub(super) fn json_text(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        if matches!(c, ' ' | '\n') || c.is_ascii_graphic() {
            text.push(c);
        } else {
            // Outside of a string there is nothing but ASCII.
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// One line, of which no text of a stranger makes two.
pub(super) fn print_line(line: &str) -> Result<(), Trouble> {
    print(&format!("{}\n", for_terminal(line)))
}

/// A reader that has seen enough is no failure.
pub(super) fn print(text: &str) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Trouble(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// A line of the log (docs/log.md) on stderr.
pub(super) fn log(token: Token, sentence: &str) {
    let _ = writeln!(io::stderr(), "{}", for_terminal(&line(token.name(), sentence)));
}

/// One line on stderr.
pub(super) fn tell(sentence: &str) {
    let _ = writeln!(io::stderr(), "mtasts: {}", for_terminal(sentence));
}

/// Bytes as text: what is not UTF-8 becomes `\xNN`.
pub(super) fn bytes_as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        assert_eq!(bytes_as_text(b"caf\xc3\xa9 \xff\xfe."), "caf\u{e9} \\xff\\xfe.");
    }

    #[test]
    fn a_page_without_a_terminal_has_no_colours() {
        let mut page = Page::new();
        page.colours = false;
        page.heading("Record");
        page.line(Mark::Good, "id a");
        page.more("x\x1by");
        page.heading("Policy");
        page.line(Mark::Bad, "none");
        assert_eq!(
            page.text,
            "Record\n  ok      id a\n            x\\u{1b}y\n\nPolicy\n  bad     none\n"
        );
        page.colours = true;
        page.line(Mark::Bad, "x");
        assert!(
            page.text.ends_with("  \x1b[1m\x1b[31mbad\x1b[0m     x\n"),
            "{:?}",
            page.text
        );
    }
}
