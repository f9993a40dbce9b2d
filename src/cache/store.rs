//! The disk is the cache: one readable file per policy domain, replaced whole or not at all, shared by every process
//! and MTA of the host through the owner and the group of its directory.

mod bounds;
mod journal;
mod listing;
mod locks;
mod modes;

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::contract::{Cache, CacheError, Change, Condition, Lease, WRITE_TURN};
use super::crowd::Bounds;
use super::entry::{Entry, EntryError, MAX_FILE};
use crate::protocol::names::Domain;

/// How the name of an unfinished file begins; no domain begins with a dot.
const UNFINISHED: &str = ".tmp-";
/// How often a write that finds the file changed begins again before it writes anyway.
const MOST_REWRITES: usize = 3;

/// A directory of entries. Making one touches nothing.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cache directory {}", self.dir.display())
    }
}

impl Store {
    /// A store in this directory.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads, changes and writes. A writer that was stopped in between (SIGSTOP, a frozen cgroup) had its lock taken
    /// from it, and what it read is old by the time that it goes on: it begins again with what is there now.
    fn rewrite(&self, domain: &Domain, change: &mut Change<'_>) -> Result<(), CacheError> {
        for _ in 0..MOST_REWRITES {
            let seen = self.version(domain);
            let Some(entry) = change(self.load(domain)) else {
                return Ok(());
            };
            if self.replace(&entry, || self.version(domain) == seen)? {
                return Ok(());
            }
        }
        change(self.load(domain)).map_or(Ok(()), |entry| self.save(&entry))
    }

    /// What distinguishes one file of the domain from the next.
    fn version(&self, domain: &Domain) -> Option<(u64, i64, i64)> {
        let about = self.path(domain).symlink_metadata().ok()?;
        Some((about.ino(), about.ctime(), about.ctime_nsec()))
    }

    /// Writes the entry of a domain, or removes its file if nothing is known any more.
    ///
    /// # Errors
    /// A [`CacheError`]; then the old file is still there.
    pub fn save(&self, entry: &Entry) -> Result<(), CacheError> {
        self.replace(entry, || true).map(drop)
    }

    /// Writes the entry if it still may at the last moment; returns whether it did.
    fn replace(&self, entry: &Entry, may: impl FnOnce() -> bool) -> Result<bool, CacheError> {
        let directory = match self.directory()? {
            None => self.make_directory()?,
            Some(directory) => directory,
        };
        let path = self.path(&entry.domain);
        let unwritten = |e| CacheError::Unwritten(on_file(&path, &e));
        if entry.is_empty() {
            if !may() {
                return Ok(false);
            }
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unwritten(e)),
                _ => Ok(true),
            };
        }
        let (unfinished, mut file) = self.unfinished().map_err(unwritten)?;
        let whole = || -> Result<bool, CacheError> {
            // The mode is set and not asked for, because the umask is the host's: 0 in Exim, 077 elsewhere.
            let mode = Permissions::from_mode(file_mode(&directory));
            file.set_permissions(mode).map_err(unwritten)?;
            file.write_all(entry.to_file().as_bytes()).map_err(unwritten)?;
            file.sync_all().map_err(unwritten)?;
            // A directory in the file's place would refuse the rename; an empty one can be removed.
            if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                fs::remove_dir(&path).map_err(|e| match e.kind() {
                    io::ErrorKind::DirectoryNotEmpty => CacheError::Unwritten(format!(
                        "{} is a directory that is not empty; the cache needs a file of that name. Remove the directory.",
                        path.display()
                    )),
                    _ => unwritten(e),
                })?;
            }
            let may = may();
            if may {
                fs::rename(&unfinished, &path).map_err(unwritten)?;
            }
            Ok(may)
        }();
        if !matches!(whole, Ok(true)) {
            let _ = fs::remove_file(&unfinished);
        }
        whole
    }

    fn path(&self, domain: &Domain) -> PathBuf {
        // A domain has at most 253 octets of LDH labels: it fits a file name and cannot leave the directory.
        self.dir.join(domain.as_str())
    }

    /// The directory as it is now; `None` if it is missing.
    fn directory(&self) -> Result<Option<Metadata>, CacheError> {
        let about = match fs::metadata(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| self.unusable(&e))?,
        };
        if !about.is_dir() {
            return Err(self.unusable(&io::ErrorKind::NotADirectory.into()));
        }
        if about.mode() & 0o002 != 0 {
            return Err(CacheError::Elsewhere(format!(
                "{self} is writable by everyone and is not used. Run chmod o-w on it."
            )));
        }
        Ok(Some(about))
    }

    /// The directory as it is now; an error if it is missing.
    fn existing(&self) -> Result<Metadata, CacheError> {
        let missing = || self.unusable(&io::Error::from_raw_os_error(libc::ENOENT));
        self.directory()?.ok_or_else(missing)
    }

    fn unusable(&self, error: &io::Error) -> CacheError {
        CacheError::Elsewhere(format!("cannot use {self}: {error}"))
    }

    fn make_directory(&self) -> Result<Metadata, CacheError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|e| self.unusable(&e))?;
        self.existing()
    }

    /// A new file of a name that no other process and no other thread has.
    fn unfinished(&self) -> io::Result<(PathBuf, File)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |t| t.subsec_nanos());
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = self
                .dir
                .join(format!("{UNFINISHED}{}-{nanos}-{count}", std::process::id()));
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
            {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|file| (path, file)),
            }
        }
    }
}

impl Cache for Store {
    fn load(&self, domain: &Domain) -> Result<Option<Entry>, CacheError> {
        if self.directory()?.is_none() {
            return Ok(None);
        }
        let path = self.path(domain);
        let unread = |e| CacheError::Unread(on_file(&path, &e));
        let not_a_file = || {
            let path = path.display();
            CacheError::Broken(format!("{path} is ignored: it is not a regular file, or is too large"))
        };
        // No link is followed and no FIFO is waited for: another user of the directory may have put one here.
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
        {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A link, or a socket.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => return Err(not_a_file()),
            Err(e) => return Err(unread(e)),
        };
        let about = file.metadata().map_err(unread)?;
        if !about.is_file() || about.len() > MAX_FILE as u64 {
            return Err(not_a_file());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1);
        // Bounded although the length was checked: the file may grow meanwhile.
        file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
        // The file system's clock goes by ticks, and may be one behind ours.
        let written = u64::try_from(about.ctime()).unwrap_or(0) + 1;
        Entry::from_file(domain, &bytes, written).map(Some).map_err(|e| {
            let why = format!("the cache file {} is ignored: {e}", path.display());
            match e {
                EntryError::Format => CacheError::Foreign(why),
                _ => CacheError::Broken(why),
            }
        })
    }

    fn update(&self, before: &Entry, after: &Entry) -> Result<(), CacheError> {
        let turn = self.write_turn(&before.domain, Instant::now() + WRITE_TURN);
        // The process that has the lock for so long (a slow disk) may be writing a new policy. Without a new one of our
        // own we would put the old one back.
        let is_slow = turn.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
        if is_slow && after.cached == before.cached {
            return Ok(());
        }
        self.rewrite(&before.domain, &mut |stored| {
            let stored = match stored {
                Ok(stored) => stored.unwrap_or_else(|| Entry::new(before.domain.clone())),
                // What cannot be read is replaced.
                Err(_) => before.clone(),
            };
            Some(Entry::merge(before, after, &stored))
        })
    }

    fn change(&self, domain: &Domain, deadline: Instant, change: &mut Change<'_>) -> Result<(), CacheError> {
        let turn = self.write_turn(domain, deadline);
        // Without the lock it could replace the new policy that is being written by an old one. But if no lock can be
        // had at all, an atomic write is better than none.
        if turn.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut) {
            return Err(CacheError::slow(self));
        }
        self.rewrite(domain, change)
    }

    fn touch(&self, domain: &Domain, now: u64) {
        if let Ok(_turn) = self.write_turn(domain, Instant::now()) {
            let _ = self.rewrite(domain, &mut |stored| {
                let mut entry = stored.ok()??;
                entry.note_use(now).then_some(entry)
            });
        }
    }

    fn domains(&self) -> Result<Vec<Domain>, CacheError> {
        self.list()
    }

    fn check(&self) -> Result<Condition, CacheError> {
        let directory = match self.directory()? {
            None => self.make_directory()?,
            Some(directory) => directory,
        };
        let (unfinished, _) = self.unfinished().map_err(|e| self.unusable(&e))?;
        fs::remove_file(&unfinished).map_err(|e| self.unusable(&e))?;
        Ok(Condition {
            directory: Some((directory.uid(), directory.mode() & 0o7777)),
            domains: self.list()?.len(),
        })
    }

    fn remove(&self, domain: &Domain) -> Result<bool, CacheError> {
        let path = self.path(domain);
        let removed = match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(&path),
            other => other,
        };
        match removed {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(CacheError::Unwritten(on_file(&path, &e))),
        }
    }

    fn lease(&self, domain: &Domain, deadline: Instant) -> Result<Option<Lease>, CacheError> {
        self.fetch_turn(domain, deadline)
    }

    fn make_room(&self, domain: &Domain, bounds: Bounds, now: u64) {
        self.keep_bounds(domain, bounds, now);
    }
}

/// What a system call on a file of the cache says.
fn on_file(path: &Path, error: &io::Error) -> String {
    format!("cannot use the cache file {}: {error}", path.display())
}

/// A user who may write in the directory may write its files, and one who may read it may read them.
fn file_mode(directory: &Metadata) -> u32 {
    directory.mode() & 0o660 | 0o600
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::entry::{CachedPolicy, TxtSeen};

    /// Two lookups that fetch at once, because the lock was not had: the later fetch wins, whichever is written last.
    /// And what was there from the beginning is replaced although its time, by a clock that was wrong then, is later.
    #[test]
    fn of_two_that_fetched_at_once_the_later_stands() {
        let dir = std::env::temp_dir().join(format!("mtasts-store-later-{}", std::process::id()));
        let (store, domain) = (Store::new(dir.clone()), Domain::parse("example.com").unwrap());
        let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
        let fetched = |id: &str, at: u64| {
            let mut entry = Entry::new(domain.clone());
            entry.cached = Some(Arc::new(CachedPolicy::new(id.parse().unwrap(), at, text).unwrap()));
            entry
        };
        let ahead = fetched("ahead", 900);
        for before in [Entry::new(domain.clone()), ahead] {
            store.save(&before).unwrap();
            store.update(&before, &fetched("later", 102)).unwrap();
            store.update(&before, &fetched("earlier", 101)).unwrap();
            let cached = store.load(&domain).unwrap().unwrap().cached.unwrap();
            assert_eq!(cached.id, "later");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A writer that was stopped between its reading and its writing has lost its lock: meanwhile another one wrote a
    /// new policy, which must not be taken back.
    #[test]
    fn a_writer_that_was_stopped_does_not_bring_back_what_it_read() {
        let dir = std::env::temp_dir().join(format!("mtasts-store-stopped-{}", std::process::id()));
        let (store, domain) = (Store::new(dir.clone()), Domain::parse("example.com").unwrap());
        let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
        let fetched = |id: &str, at: u64| {
            let mut entry = Entry::new(domain.clone());
            entry.cached = Some(Arc::new(CachedPolicy::new(id.parse().unwrap(), at, text).unwrap()));
            entry
        };
        let id = || {
            store
                .load(&domain)
                .unwrap()
                .and_then(|e| e.cached.clone())
                .map(|h| h.id.to_string())
        };
        for remove in [false, true] {
            store.save(&fetched("old", 100)).unwrap();
            let mut other = Some(fetched("new", 101));
            store
                .change(&domain, Instant::now() + WRITE_TURN, &mut |stored| {
                    let mut entry = stored.unwrap().unwrap();
                    if let Some(other) = other.take() {
                        store.save(&other).unwrap();
                    }
                    if remove {
                        // As one that has expired.
                        return (entry.cached.as_ref().unwrap().fetched == 100).then(|| Entry::new(domain.clone()));
                    }
                    entry.note_use(200);
                    Some(entry)
                })
                .unwrap();
            assert_eq!(id().as_deref(), Some("new"));
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A disk on which a write takes longer than others wait for the lock.
    #[test]
    fn a_policy_that_is_being_written_is_not_taken_back() {
        let dir = std::env::temp_dir().join(format!("mtasts-store-{}", std::process::id()));
        let (store, domain) = (Store::new(dir.clone()), Domain::parse("example.com").unwrap());
        let cached = |id: &str| {
            let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
            Some(Arc::new(CachedPolicy::new(id.parse().unwrap(), 100, text).unwrap()))
        };
        let mut before = Entry::new(domain.clone());
        before.cached = cached("old");
        store.save(&before).unwrap();
        let _slow = store.write_turn(&domain, Instant::now()).unwrap();
        let mut asked = before.clone();
        asked.txt = Some(TxtSeen { at: 100, next: 200 });
        store.update(&before, &asked).unwrap();
        assert_eq!(
            store.load(&domain).unwrap(),
            Some(before.clone()),
            "the writer's file may come any moment"
        );
        let pinned = store.change(&domain, Instant::now(), &mut |_| panic!("out of turn"));
        assert!(matches!(pinned, Err(CacheError::Busy(_))), "{pinned:?}");
        let mut fetched = before.clone();
        fetched.cached = cached("new");
        store.update(&before, &fetched).unwrap();
        assert_eq!(
            store.load(&domain).unwrap(),
            Some(fetched),
            "a new policy is kept in any case"
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}
