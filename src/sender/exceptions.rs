//! Exceptions: domains for which the operator has switched enforcement off, each with a last day and a reason.
//!
//! ```text
//! # DOMAIN     LAST DAY (UTC)  REASON
//! example.com  2026-12-31      ticket 4711: their new MX hosts are not in the policy yet
//! ```
//!
//! A line that cannot be read is an error of the settings, and mail waits: the operator relies on each
//! exception, and an error in one must not lose the others. In a running process the previous exceptions stay in force.

mod watched;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::protocol::calendar;
use crate::protocol::names::Domain;
use crate::protocol::text::one_line;
use crate::sender::exception::Exception;
use crate::sender::settings_file;
pub(crate) use watched::Watched;

/// The file that is read if no setting names another one.
pub const FILE: &str = "/etc/mtasts/exceptions";
/// The longest reason that is kept, in octets.
const MAX_REASON: usize = 300;

/// All exceptions, in the order of their file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    file: Option<PathBuf>,
    /// No setting names the file: if it is missing, there are no exceptions.
    optional: bool,
    /// What the file looked like before it was read.
    look: Look,
    list: Arc<[Arc<Exception>]>,
}

/// What a file looks like from outside: if that changes, the text has changed, as a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    /// Its directory exists, and the file does not.
    #[default]
    Absent,
    /// It cannot be seen: this process has other rights than at its start, or another root directory.
    Hidden,
    There(u64),
}

impl Look {
    fn at(file: &Path) -> Self {
        match std::fs::metadata(file) {
            Ok(about) => {
                let mut hash = DefaultHasher::new();
                (
                    about.dev(),
                    about.ino(),
                    about.size(),
                    about.mtime(),
                    about.mtime_nsec(),
                )
                    .hash(&mut hash);
                (about.ctime(), about.ctime_nsec()).hash(&mut hash);
                Self::There(hash.finish())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && file.parent().is_some_and(Path::is_dir) => Self::Absent,
            Err(_) => Self::Hidden,
        }
    }

    /// As a number for an atomic; a hash that is one of the first two is as good as the next.
    fn number(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Hidden => 1,
            Self::There(hash) => hash.max(2),
        }
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, in plain words.
    pub reason: String,
}

impl fmt::Display for ExceptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ExceptionError {}

impl Exceptions {
    /// Reads the text of a file of exceptions: on each line a domain, the last day as `2026-12-31`, and a reason. Empty
    /// lines and those that begin with `#` are ignored.
    ///
    /// # Errors
    /// An [`ExceptionError`] for the first line that cannot be read, or that is about a domain of a line before.
    pub fn parse(text: &str) -> Result<Self, ExceptionError> {
        let mut list: Vec<Arc<Exception>> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let fail = |reason| ExceptionError { line: number, reason };
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let exception = exception(line).map_err(fail)?;
            if let Some(before) = seen.insert(exception.domain.clone(), number) {
                let again = format!("{} is already in line {before}", exception.domain);
                return Err(fail(again));
            }
            list.push(Arc::new(exception));
        }
        Ok(Self {
            list: list.into(),
            ..Self::default()
        })
    }

    /// Reads a file of exceptions.
    ///
    /// # Errors
    /// What is wrong, in plain words, with the line if there is one.
    pub(crate) fn read_file(file: &Path) -> Result<Self, String> {
        // Before it is read: a change meanwhile is seen afterwards.
        let look = Look::at(file);
        let text = settings_file::read(file)?;
        let read = Self::parse(&text).map_err(|e| e.to_string())?;
        Ok(Self {
            look,
            list: read.list,
            ..Self::unread(file)
        })
    }

    /// Reads the file of the host, [`FILE`], if there is one.
    ///
    /// # Errors
    /// As [`Exceptions::read_file`].
    pub(crate) fn of_host() -> Result<Self, String> {
        let file = Path::new(FILE);
        let read = if file.symlink_metadata().is_ok() {
            Self::read_file(file)?
        } else {
            Self::unread(file)
        };
        Ok(Self { optional: true, ..read })
    }

    /// Those of a file that has not been read yet.
    pub(crate) fn unread(file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::default()
        }
    }

    /// The file from which they were read.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref().filter(|_| self.look != Look::Absent)
    }

    /// The exception for a domain that is in force at this time.
    #[must_use]
    pub fn find(&self, domain: &Domain, now: u64) -> Option<&Arc<Exception>> {
        let exception = self.list.iter().find(|exception| exception.domain == *domain)?;
        exception.is_live(now).then_some(exception)
    }

    /// All of them, those that are over as well.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Exception> {
        self.list.iter().map(|exception| &**exception)
    }
}

fn exception(line: &str) -> Result<Exception, String> {
    let line = line.trim();
    let (domain, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    let (day, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let domain = Domain::parse(domain).map_err(|e| format!("{:?} is not a domain: {e}", one_line(domain, 80)))?;
    let begins = calendar::day(day).ok_or_else(|| {
        let last = "the last day without enforcement, such as 2026-12-31";
        format!(
            "{:?} is not a date; the field after the domain must be {last}",
            one_line(day, 40)
        )
    })?;
    let reason = one_line(reason, MAX_REASON);
    if reason.is_empty() {
        return Err("the reason is missing; write it after the date".into());
    }
    Ok(Exception {
        domain,
        until: begins + 86_399,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn counts_to_the_end_of_its_last_day_for_its_domain_alone() {
        let text = "# why\n\nExample.COM 2026-12-31 ticket 4711: they move\r\n\t b\u{fc}cher.test\t2020-01-01  old \n";
        let exceptions = Exceptions::parse(text).unwrap();
        assert_eq!(exceptions.iter().len(), 2);
        let found = exceptions.find(&domain("example.com"), 1_798_761_599).unwrap();
        assert_eq!(
            found.to_string(),
            "enforcement is off until 2026-12-31 (operator exception: ticket 4711: they move)"
        );
        assert_eq!(exceptions.find(&domain("example.com"), 1_798_761_600), None);
        assert_eq!(exceptions.find(&domain("mail.example.com"), 0), None);
        assert_eq!(
            exceptions
                .find(&domain("xn--bcher-kva.test"), 1_000_000_000)
                .unwrap()
                .reason,
            "old"
        );
        assert_eq!(Exceptions::parse("").unwrap(), Exceptions::default());
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, error) in [
            (
                "example.com",
                "\"\" is not a date; the field after the domain must be the last day",
            ),
            ("example.com 31.12.2026 moves", "\"31.12.2026\" is not a date"),
            ("example.com 2026-02-30 moves", "\"2026-02-30\" is not a date"),
            ("example.com 2026-12-31", "the reason is missing"),
            ("exa_mple.com 2026-12-31 moves", "\"exa_mple.com\" is not a domain: "),
            ("192.0.2.1 2026-12-31 moves", "\"192.0.2.1\" is not a domain: "),
            ("A.example 2026-12-31 again", "a.example is already in line 2"),
        ] {
            let text = format!("# first\na.example 2026-12-31 moves\n{line}\n");
            let found = Exceptions::parse(&text).unwrap_err().to_string();
            assert!(found.starts_with(&format!("line 3: {error}")), "{found}");
        }
    }
}
