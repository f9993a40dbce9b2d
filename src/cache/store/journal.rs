//! The journal of the results for TLS reports, and how many were lost: two files for each day (UTC) and host in the
//! directory, to which any process of the host appends.
//!
//! A result is one write of at most 4 KiB at the end of the file (`O_APPEND`), which Linux does not mix with another one on a
//! disk of its own; that is why each host has its own files. A line has a line feed at both ends, so that one that was cut
//! (a full disk, a crash) takes no other with it.
//!
//! The file of losses has a letter for each of them ([`Loss::letter`]): its length is their number.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Store, file_mode};
use crate::cache::contract::CacheError;
use crate::protocol::calendar;
use crate::protocol::report::Loss;
use crate::sys::host;

/// How the names of these files begin; no domain begins with a dot.
const BEGINS: &str = ".report-";
/// What the name of a file of losses ends with.
const LOST: &str = ".lost";
/// What the name of the file of a day ends with in which the reporter notes what it has sent.
const SENT: &str = ".sent";
/// What follows the day in the name of the file of a mail.
const MAIL: &str = ".mail-";
/// The most that a file may have, in octets.
const MOST_A_DAY: u64 = 64 << 20;
/// How many days of a host are kept. A report is made of yesterday, and tried for a day.
const DAYS: usize = 4;

/// The journal of one day and host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Journal {
    /// The day, such as `2026-12-31`.
    pub day: String,
    /// The host, as its name is in the names of the files.
    pub host: String,
}

impl Journal {
    fn now(now: u64) -> Self {
        Self {
            day: calendar::date(now),
            host: host_label(&host::name()),
        }
    }

    fn results(&self) -> String {
        format!("{BEGINS}{}-{}", self.day, self.host)
    }

    fn losses(&self) -> String {
        self.results() + LOST
    }

    /// The journal to which a file of this name belongs.
    fn of(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(BEGINS)?;
        let (day, rest) = rest.split_at_checked(10)?;
        let host = rest.strip_prefix('-')?;
        let host = host.strip_suffix(LOST).unwrap_or(host);
        calendar::day(day)?;
        Some(Self {
            day: day.to_owned(),
            host: host.to_owned(),
        })
    }
}

/// A host's name as it can be part of a file name, and not the end of one of the other kind.
fn host_label(name: &str) -> String {
    let known = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let label: String = name.chars().take(64).map(known).collect();
    if label.is_empty() { "host".to_owned() } else { label }
}

impl Store {
    /// Appends one result, a text without line feeds, to the journal of the day of `now`.
    ///
    /// # Errors
    /// [`Loss::JournalFull`], or [`Loss::NotWritten`] with the reason. The loss is for the caller to count.
    pub fn append(&self, result: &str, now: u64) -> Result<(), Loss> {
        let line = format!("\n{result}\n");
        self.append_to(&Journal::now(now).results(), line.as_bytes())
    }

    /// Counts a loss on the day of `now`. If that cannot be written either, nothing can be done.
    pub fn count_loss(&self, loss: &Loss, now: u64) {
        let mut letter = [0; 4];
        let letter = loss.letter().encode_utf8(&mut letter);
        let _ = self.append_to(&Journal::now(now).losses(), letter.as_bytes());
    }

    fn append_to(&self, name: &str, octets: &[u8]) -> Result<(), Loss> {
        let unusable = |e: CacheError| Loss::NotWritten(e.to_string());
        let directory = match self.directory().map_err(unusable)? {
            None => self.make_directory().map_err(unusable)?,
            Some(directory) => directory,
        };
        let path = self.dir.join(name);
        let failed = |e: io::Error| Loss::NotWritten(super::on_file(&path, &e));
        let mut file = self.end_of(&path, &directory).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        // A second name of the file may be anything that this process may write.
        if !about.is_file() || about.nlink() != 1 {
            let path = path.display();
            let why = format!("{path} is not a regular file with one name. Remove it.");
            return Err(Loss::NotWritten(why));
        }
        // A write beyond what this process may write would end it.
        if about.len() + octets.len() as u64 > MOST_A_DAY.min(host::longest_file()) {
            return Err(Loss::JournalFull);
        }
        loop {
            match file.write(octets) {
                Ok(written) if written == octets.len() => return Ok(()),
                // The next line begins with a line feed, and the reader skips what was cut.
                Ok(_) => return Err(failed(ErrorKind::StorageFull.into())),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// The file, to append to it. If it is new its mode is set and not asked for, because the umask is the host's.
    fn end_of(&self, path: &Path, directory: &Metadata) -> io::Result<File> {
        let mut options = OpenOptions::new();
        // No link is followed and no FIFO is waited for, as when an entry is read.
        options.append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        match options.open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        match options.clone().create_new(true).mode(0o600).open(path) {
            Ok(file) => {
                file.set_permissions(Permissions::from_mode(file_mode(directory)))?;
                self.forget_days(path);
                Ok(file)
            }
            // Another process was first.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => options.open(path),
            Err(e) => Err(e),
        }
    }

    /// Removes the files of this host but those of its last days, and but the one that was just begun. The last days that
    /// have a file, and not the last by the clock: a clock that leaps ahead for a moment must not cost what is not reported
    /// yet.
    fn forget_days(&self, begun: &Path) {
        let Ok(journals) = self.journals() else { return };
        let host = host_label(&host::name());
        let own: Vec<Journal> = journals.into_iter().filter(|journal| journal.host == host).collect();
        for old in own.iter().take(own.len().saturating_sub(DAYS)) {
            for path in [self.dir.join(old.results()), self.dir.join(old.losses())] {
                if path != begun {
                    let _ = fs::remove_file(path);
                }
            }
        }
    }

    /// The journals in the directory, by day and host.
    ///
    /// # Errors
    /// A [`CacheError`] if the directory cannot be used.
    pub fn journals(&self) -> Result<Vec<Journal>, CacheError> {
        if self.directory()?.is_none() {
            return Ok(Vec::new());
        }
        let files = fs::read_dir(&self.dir).map_err(|e| self.unusable(&e))?;
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let mut journals: Vec<Journal> = names.filter_map(|name| Journal::of(&name)).collect();
        journals.sort();
        journals.dedup();
        Ok(journals)
    }

    /// The results of a journal, to be read; its lines can be anything, for a crash may have cut one. `None` if there is no
    /// file.
    ///
    /// # Errors
    /// A [`CacheError`] if the file cannot be read, or if another user than those of the directory may have written it.
    pub fn results(&self, journal: &Journal) -> Result<Option<impl Read + use<>>, CacheError> {
        self.trusted(&self.dir.join(journal.results()))
    }

    /// The letters of the losses that a journal has counted ([`Loss::letter`]).
    ///
    /// # Errors
    /// As [`Store::results`].
    pub fn losses(&self, journal: &Journal) -> Result<Option<impl Read + use<>>, CacheError> {
        self.trusted(&self.dir.join(journal.losses()))
    }

    /// A file that only the users of the directory can have written. Its end is that of the day's bound.
    fn trusted(&self, path: &PathBuf) -> Result<Option<io::Take<File>>, CacheError> {
        let directory = self.existing()?;
        let unread = |e| CacheError::Unread(super::on_file(path, &e));
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
        {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(unread)?,
        };
        let about = file.metadata().map_err(unread)?;
        match distrust(&about, &directory) {
            Some(why) => Err(ignored(path, why)),
            None => Ok(Some(file.take(MOST_A_DAY))),
        }
    }

    /// The file in which the reporter notes what it has sent of a day, to be read from its beginning and appended to. Those of
    /// other days are removed but for the last ones.
    ///
    /// # Errors
    /// A [`CacheError`] if the file cannot be used, or if another user than those of the directory may have written it.
    pub fn sent(&self, day: &str) -> Result<File, CacheError> {
        let directory = self.existing()?;
        let path = self.dir.join(format!("{BEGINS}{day}{SENT}"));
        let unusable = |e| CacheError::Unwritten(super::on_file(&path, &e));
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = match options.open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let file = options.create(true).open(&path).map_err(unusable)?;
                file.set_permissions(Permissions::from_mode(file_mode(&directory)))
                    .map_err(unusable)?;
                self.forget_sent(&path);
                file
            }
            other => other.map_err(unusable)?,
        };
        match distrust(&file.metadata().map_err(unusable)?, &directory) {
            Some(why) => Err(ignored(&path, why)),
            None => Ok(file),
        }
    }

    /// Removes the ledgers of all days but the last ones, with what is left of mails that a program for mails was sending.
    fn forget_sent(&self, begun: &Path) {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
        let a_day = |day: &str| calendar::day(day).map(|_| day.to_owned());
        let day_of = |name: &str| a_day(name.strip_prefix(BEGINS)?.strip_suffix(SENT)?);
        let day_of_mail = |name: &str| a_day(name.strip_prefix(BEGINS)?.split_once(MAIL)?.0);
        let mut days: Vec<String> = names.iter().filter_map(|name| day_of(name)).collect();
        days.sort();
        let old = &days[..days.len().saturating_sub(DAYS)];
        for name in &names {
            let day = day_of(name).or_else(|| day_of_mail(name));
            let path = self.dir.join(name);
            if day.is_some_and(|day| old.contains(&day)) && path != begun {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Why a file is not one that only the users of the directory can have written.
fn distrust(about: &Metadata, directory: &Metadata) -> Option<&'static str> {
    if !about.is_file() || about.nlink() != 1 {
        Some("it is not a regular file with one name")
    } else if about.mode() & 0o777 & !file_mode(directory) != 0 {
        Some("more users may use it than the mode of the directory allows")
    } else if directory.mode() & 0o020 == 0 && about.uid() != directory.uid() {
        Some("its owner is not that of the directory")
    } else {
        None
    }
}

fn ignored(path: &Path, why: &str) -> CacheError {
    CacheError::Broken(format!("{} is ignored: {why}", path.display()))
}

#[cfg(test)]
mod tests;
