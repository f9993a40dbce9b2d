//! A file of settings as it was written: TOML whose every complaint names the file, the line, the key and the reason.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mtasts::protocol::text::one_line;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The longest file that is read, in octets: a hundred for each of 10,000 domains, and as much again ten times.
const MAX_FILE: u64 = 10 << 20;

/// What is wrong with a file of settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// The key as a path, such as `domain."example.com".mx`; empty if it is about no key.
    pub key: String,
    /// A sentence.
    pub reason: String,
}

/// On one line, whatever the file has in its keys.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", one_line(&self.file.to_string_lossy(), 300))?;
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", one_line(&self.key, 300))?;
        }
        f.write_str(&one_line(&self.reason, 400))
    }
}

impl std::error::Error for Problem {}

/// The text of a file.
pub(crate) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    /// Where each line begins: a file of 10,000 domains is not counted through for each of them.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Reads the text of a file. Only a regular file of limited size is read: a FIFO or a device would hold up the process.
    pub(crate) fn read(file: &Path) -> Result<String, Problem> {
        let whole = |reason: String| Problem {
            file: file.to_owned(),
            line: 0,
            key: String::new(),
            reason,
        };
        let about = std::fs::metadata(file).map_err(|error| whole(error.to_string()))?;
        if !about.is_file() {
            return Err(whole("is not a regular file".into()));
        }
        let mut text = String::new();
        let read = File::open(file).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        match read {
            Err(error) => Err(whole(error.to_string())),
            Ok(length) if length as u64 > MAX_FILE => Err(whole(format!("is longer than {MAX_FILE} octets"))),
            Ok(_) => Ok(text),
        }
    }

    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { file, text, lines }
    }

    /// The whole file as a table.
    pub(crate) fn table(&self) -> Result<DeTable<'a>, Problem> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            self.problem(&at, "", format!("is not TOML: {}", error.message()))
        })?;
        Ok(table.into_inner())
    }

    /// A complaint about what is at this place.
    pub(crate) fn problem(&self, at: &Range<usize>, key: impl Into<String>, reason: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: self.lines.partition_point(|begin| *begin <= at.start),
            key: key.into(),
            reason: reason.into(),
        }
    }
}

/// A value with its place and its key.
pub(crate) struct Value<'s, 'a> {
    source: &'s Source<'a>,
    key: String,
    value: &'s Spanned<DeValue<'a>>,
}

/// A key of a table as it was written, with its place.
pub(crate) type Key<'a> = Spanned<DeString<'a>>;

impl<'s, 'a> Value<'s, 'a> {
    /// The entry of a table whose path is `above`.
    pub(crate) fn new(source: &'s Source<'a>, above: &str, key: &Key<'_>, value: &'s Spanned<DeValue<'a>>) -> Self {
        let key = key.get_ref();
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let key = match !key.is_empty() && key.chars().all(is_bare) {
            true => key.to_string(),
            false => format!("\"{key}\""),
        };
        let key = if above.is_empty() {
            key
        } else {
            format!("{above}.{key}")
        };
        Self { source, key, value }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A complaint about this value.
    pub(crate) fn problem(&self, reason: impl Into<String>) -> Problem {
        self.source.problem(&self.value.span(), self.key.as_str(), reason)
    }

    /// The entries of a table, in the order of the file.
    pub(crate) fn entries(&self) -> Result<Vec<(&'s Key<'a>, Self)>, Problem> {
        let table = self.value.get_ref().as_table();
        let table = table.ok_or_else(|| self.problem("must be a table"))?;
        let entry = |(key, value)| (key, Self::new(self.source, &self.key, key, value));
        let mut entries: Vec<_> = table.iter().map(entry).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        Ok(entries)
    }

    pub(crate) fn text(&self) -> Result<&'s str, Problem> {
        let text = self.value.get_ref().as_str();
        text.ok_or_else(|| self.problem("must be a string"))
    }

    pub(crate) fn truth(&self) -> Result<bool, Problem> {
        let truth = self.value.get_ref().as_bool();
        truth.ok_or_else(|| self.problem("must be true or false"))
    }

    pub(crate) fn path(&self) -> Result<PathBuf, Problem> {
        let text = self.text()?;
        let is_good = text.starts_with('/') && !text.contains('\0');
        is_good
            .then(|| PathBuf::from(text))
            .ok_or_else(|| self.problem("must be an absolute path"))
    }

    pub(crate) fn number(&self) -> Result<u32, Problem> {
        let number = self.value.get_ref().as_integer();
        number
            .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
            .ok_or_else(|| self.problem("must be a whole number, without quotation marks or a unit"))
    }

    /// A list of strings, each made into a value; a complaint names the line of its string.
    pub(crate) fn list<T>(&self, make: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Problem> {
        let list = self.value.get_ref().as_array();
        let list = list.ok_or_else(|| self.problem("must be a list of strings"))?;
        list.iter()
            .map(|value| {
                let item = Value {
                    source: self.source,
                    key: self.key.clone(),
                    value,
                };
                make(item.text()?).map_err(|reason| item.problem(reason))
            })
            .collect()
    }
}
