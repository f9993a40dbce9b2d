//! The disk is the cache: one readable file per policy domain, replaced whole or not at all, shared by every process
//! and MTA of the host through the owner and the group of its directory.

pub(crate) mod bounds;
mod listing;
mod modes;

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cache::entry::{Entry, EntryError, Held, MAX_FILE};
use crate::protocol::names::Domain;
use crate::sys::lock::{Lock, OWNER_ALONE};
use crate::sys::process;

/// What the name of a file in the making begins with; no domain begins with a dot.
const UNFINISHED: &str = ".tmp-";
/// The file in which fetches and writes are locked.
const LOCKS: &str = ".lock";
/// How long a write waits for its turn; each takes less than a millisecond.
const WRITE_TURN: Duration = Duration::from_secs(1);
/// How often a write that finds the file changed begins again before it writes anyway.
const MOST_REWRITES: usize = 3;

/// A directory of entries. Making one touches nothing.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Why the cache could not be read or written. A lookup answers all the same and tells this as its warning.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory is missing, or it is no directory.
    Directory(PathBuf, io::Error),
    /// Anyone may write to the directory, so nothing in it can be trusted.
    WorldWritable(PathBuf),
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// What stands in the place of the file is ignored: it is not a regular file, or is too large.
    NotAFile(PathBuf),
    /// A directory with something in it stands in the place of the file.
    Occupied(PathBuf),
    /// The file does not hold an entry; the next fetch replaces it.
    Entry(PathBuf, EntryError),
    /// A file of the directory is still being written after more time than a lookup has for that.
    Slow(PathBuf),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, e) => write!(f, "cannot use the cache directory {}: {e}", path.display()),
            Self::WorldWritable(path) => {
                write!(
                    f,
                    "the cache directory {} is writable by everyone and is not used. Run: chmod o-w {}",
                    path.display(),
                    path.display()
                )
            }
            Self::File(path, e) => write!(f, "cannot use the cache file {}: {e}", path.display()),
            Self::NotAFile(path) => write!(
                f,
                "{} is ignored: it is not a regular file, or is too large",
                path.display()
            ),
            Self::Occupied(path) => write!(
                f,
                "{} is a directory that is not empty; the cache needs a file of that name. Remove the directory.",
                path.display()
            ),
            Self::Entry(path, e) => write!(f, "the cache file {} is ignored: {e}", path.display()),
            Self::Slow(path) => write!(
                f,
                "writing to the cache directory {} takes too long. Check whether its disk is slow or overloaded.",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StoreError {}

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

    /// Reads the entry of a domain; `None` where there is none.
    ///
    /// # Errors
    /// A [`StoreError`] where there is something that cannot be used. It stays as it is until a fetch replaces it.
    pub fn load(&self, domain: &Domain) -> Result<Option<Entry>, StoreError> {
        match self.directory() {
            Ok(_) => {}
            Err(StoreError::Directory(_, e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        }
        let path = self.path(domain);
        let on_file = |e| StoreError::File(path.clone(), e);
        // Neither a link is followed nor a FIFO waited for: who may write here may have put one.
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
        {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A link, or a socket.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
                return Err(StoreError::NotAFile(path));
            }
            Err(e) => return Err(on_file(e)),
        };
        let about = file.metadata().map_err(on_file)?;
        if !about.is_file() || about.len() > MAX_FILE as u64 {
            return Err(StoreError::NotAFile(path));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1);
        // Bounded although the length was looked at: the file may grow meanwhile.
        file.take(MAX_FILE as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(on_file)?;
        // The file system's clock goes by ticks, and may be one behind ours.
        let written = u64::try_from(about.ctime()).unwrap_or(0) + 1;
        Entry::from_file(domain, &bytes, written)
            .map(Some)
            .map_err(|e| StoreError::Entry(path, e))
    }

    /// Writes what a lookup has changed: what it left as it was before stays as it is on disk, where another one may have
    /// written since, or an operator may have removed the file.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub fn update(&self, before: &Entry, after: &Entry) -> Result<(), StoreError> {
        fn merge<T: Clone + PartialEq>(before: &T, after: &T, stored: T) -> T {
            if after == before { stored } else { after.clone() }
        }
        let merged = |stored: Result<Option<Entry>, StoreError>| -> Entry {
            let stored = match stored {
                Ok(stored) => stored.unwrap_or_else(|| Entry::new(before.domain.clone())),
                // What cannot be read is replaced.
                Err(_) => before.clone(),
            };
            let mut entry = Entry {
                domain: before.domain.clone(),
                held: merge(&before.held, &after.held, stored.held.clone()),
                txt: merge(&before.txt, &after.txt, stored.txt.clone()),
                failed: merge(&before.failed, &after.failed, stored.failed.clone()),
                unlearned_since: merge(&before.unlearned_since, &after.unlearned_since, stored.unlearned_since),
                mode_since: merge(&before.mode_since, &after.mode_since, stored.mode_since),
                imported: merge(&before.imported, &after.imported, stored.imported),
                pinned_until: merge(&before.pinned_until, &after.pinned_until, stored.pinned_until),
                used: merge(&before.used, &after.used, stored.used),
                idle_since: merge(&before.idle_since, &after.idle_since, stored.idle_since),
            };
            // The operator has pinned a policy of his own meanwhile, or another lookup, which had its turn where we had
            // none, has fetched later than we did.
            let pinned = stored.pinned_until.is_some() && stored.pinned_until != before.pinned_until;
            let fetched = |held: &Option<Arc<Held>>| held.as_ref().map(|held| held.fetched);
            let later = stored.held != before.held && fetched(&stored.held) > fetched(&after.held);
            if pinned || later {
                entry.take_policy_of(&stored);
            }
            entry
        };
        let turn = self.write_turn(&before.domain, Instant::now() + WRITE_TURN);
        // Whoever has the turn and takes so long (a slow disk) may be writing a new policy. Without one of our own we would
        // put back the one that stands there still.
        let is_slow = turn.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
        if is_slow && after.held == before.held {
            return Ok(());
        }
        self.rewrite(&before.domain, |stored| Some(merged(stored)))
    }

    /// Notes that a lookup asks for the domain. It waits for nobody, and where the file cannot be written it does without:
    /// that is told when there is something to lose.
    pub(crate) fn touch(&self, domain: &Domain, now: u64) {
        if let Ok(_turn) = self.write_turn(domain, Instant::now()) {
            let _ = self.rewrite(domain, |stored| {
                let mut entry = stored.ok()??;
                entry.note_use(now).then_some(entry)
            });
        }
    }

    /// Changes the entry of a domain while nobody else writes it: `change` gets what stands there and gives what shall
    /// stand there, or nothing to leave it as it is. An empty entry removes the file. It is called again if the file was
    /// changed meanwhile by a writer without a turn.
    ///
    /// # Errors
    /// [`StoreError::Slow`] where another one writes it until the deadline; then nothing was changed. Else as
    /// [`Store::save`].
    pub fn change(
        &self,
        domain: &Domain,
        deadline: Instant,
        change: impl FnMut(Result<Option<Entry>, StoreError>) -> Option<Entry>,
    ) -> Result<(), StoreError> {
        let turn = self.write_turn(domain, deadline);
        // Out of turn it could put an old policy in the place of the new one that is being written. But where there is no
        // lock to be had at all, a write that is whole is better than none.
        if turn.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut) {
            return Err(StoreError::Slow(self.dir.clone()));
        }
        self.rewrite(domain, change)
    }

    /// Reads, changes and writes. A writer that was stopped in between (SIGSTOP, a frozen cgroup) had its turn taken from
    /// it, and what it read is old by the time that it goes on: it begins again with what stands there now.
    fn rewrite(
        &self,
        domain: &Domain,
        mut change: impl FnMut(Result<Option<Entry>, StoreError>) -> Option<Entry>,
    ) -> Result<(), StoreError> {
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

    /// What tells one file of the domain from the next.
    fn version(&self, domain: &Domain) -> Option<(u64, i64, i64)> {
        let about = self.path(domain).symlink_metadata().ok()?;
        Some((about.ino(), about.ctime(), about.ctime_nsec()))
    }

    fn write_turn(&self, domain: &Domain, deadline: Instant) -> io::Result<Lock> {
        self.lock_name(&format!("{domain} write"), deadline)
    }

    /// Writes the entry of a domain, or removes its file where nothing is known any more.
    ///
    /// # Errors
    /// A [`StoreError`]; what stood there stands there still.
    pub fn save(&self, entry: &Entry) -> Result<(), StoreError> {
        self.replace(entry, || true).map(drop)
    }

    /// Writes the entry if at the last moment it still may; says whether it did.
    fn replace(&self, entry: &Entry, may: impl FnOnce() -> bool) -> Result<bool, StoreError> {
        let directory = match self.directory() {
            Err(StoreError::Directory(_, e)) if e.kind() == io::ErrorKind::NotFound => self.make_directory()?,
            other => other?,
        };
        let path = self.path(&entry.domain);
        let on_file = |e| StoreError::File(path.clone(), e);
        if entry.is_empty() {
            if !may() {
                return Ok(false);
            }
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(on_file(e)),
                _ => Ok(true),
            };
        }
        let (unfinished, mut file) = self.unfinished().map_err(on_file)?;
        let whole = || -> Result<bool, StoreError> {
            // The mode is set and not asked for, because the umask is the host's: 0 in Exim, 077 elsewhere.
            let mode = Permissions::from_mode(file_mode(&directory));
            file.set_permissions(mode).map_err(on_file)?;
            file.write_all(entry.to_file().as_bytes()).map_err(on_file)?;
            file.sync_all().map_err(on_file)?;
            // A directory in the file's place would refuse the rename; an empty one is rubbish that nobody wants.
            if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                fs::remove_dir(&path).map_err(|e| match e.kind() {
                    io::ErrorKind::DirectoryNotEmpty => StoreError::Occupied(path.clone()),
                    _ => on_file(e),
                })?;
            }
            let may = may();
            if may {
                fs::rename(&unfinished, &path).map_err(on_file)?;
            }
            Ok(may)
        }();
        if !matches!(whole, Ok(true)) {
            let _ = fs::remove_file(&unfinished);
        }
        whole
    }

    /// Waits until no other process and no other thread fetches the policy of this domain.
    ///
    /// # Errors
    /// No lock can be had (`PermissionDenied` and its like: a directory that is only read), or not in time (`TimedOut`).
    pub(crate) fn lock(&self, domain: &Domain, deadline: Instant) -> io::Result<Lock> {
        self.lock_name(domain.as_str(), deadline)
    }

    /// Waits for the lock of a name; one with a space in it is no domain's.
    pub(crate) fn lock_name(&self, name: &str, deadline: Instant) -> io::Result<Lock> {
        let directory = self.directory().map_err(|e| match e {
            StoreError::Directory(_, e) => e,
            other => io::Error::new(io::ErrorKind::PermissionDenied, other.to_string()),
        })?;
        let mode = lock_mode(&directory);
        if mode == OWNER_ALONE && directory.uid() != process::user() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Lock::take(&self.locks(), mode, name, deadline)
    }

    /// The file in which all locks are.
    pub(crate) fn locks(&self) -> PathBuf {
        self.dir.join(LOCKS)
    }

    fn path(&self, domain: &Domain) -> PathBuf {
        // A domain has at most 253 octets of LDH labels: it fits a file name and leads nowhere else.
        self.dir.join(domain.as_str())
    }

    fn directory(&self) -> Result<Metadata, StoreError> {
        let about = fs::metadata(&self.dir).map_err(|e| StoreError::Directory(self.dir.clone(), e))?;
        if !about.is_dir() {
            return Err(StoreError::Directory(
                self.dir.clone(),
                io::ErrorKind::NotADirectory.into(),
            ));
        }
        if about.mode() & 0o002 != 0 {
            return Err(StoreError::WorldWritable(self.dir.clone()));
        }
        Ok(about)
    }

    fn make_directory(&self) -> Result<Metadata, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|e| StoreError::Directory(self.dir.clone(), e))?;
        self.directory()
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

/// Who may write in the directory may write its files, who may read it may read them.
fn file_mode(directory: &Metadata) -> u32 {
    directory.mode() & 0o660 | 0o600
}

/// Who may write in the directory may lock, and nobody else: for a lock that others wait for, the right to read is enough.
fn lock_mode(directory: &Metadata) -> u32 {
    if directory.mode() & 0o020 == 0 {
        OWNER_ALONE
    } else {
        0o660
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::TxtSeen;

    /// Two lookups that fetch at once, because the lock was not had: the later fetch stands, whoever writes last. And what
    /// was there from the beginning is replaced although its time, by a clock that was wrong then, is later.
    #[test]
    fn of_two_that_fetched_at_once_the_later_stands() {
        let dir = std::env::temp_dir().join(format!("mtasts-store-later-{}", std::process::id()));
        let (store, domain) = (Store::new(dir.clone()), Domain::parse("example.com").unwrap());
        let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
        let fetched = |id: &str, at: u64| {
            let mut entry = Entry::new(domain.clone());
            entry.held = Some(Arc::new(Held::new(id.parse().unwrap(), at, text).unwrap()));
            entry
        };
        let ahead = fetched("ahead", 900);
        for before in [Entry::new(domain.clone()), ahead] {
            store.save(&before).unwrap();
            store.update(&before, &fetched("later", 102)).unwrap();
            store.update(&before, &fetched("earlier", 101)).unwrap();
            let held = store.load(&domain).unwrap().unwrap().held.unwrap();
            assert_eq!(held.id, "later");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A writer that was stopped between its reading and its writing has lost its turn: meanwhile another one wrote a new
    /// policy, which must not be taken back.
    #[test]
    fn a_writer_that_was_stopped_does_not_bring_back_what_it_read() {
        let dir = std::env::temp_dir().join(format!("mtasts-store-stopped-{}", std::process::id()));
        let (store, domain) = (Store::new(dir.clone()), Domain::parse("example.com").unwrap());
        let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
        let fetched = |id: &str, at: u64| {
            let mut entry = Entry::new(domain.clone());
            entry.held = Some(Arc::new(Held::new(id.parse().unwrap(), at, text).unwrap()));
            entry
        };
        let id = || {
            store
                .load(&domain)
                .unwrap()
                .and_then(|e| e.held.clone())
                .map(|h| h.id.to_string())
        };
        for remove in [false, true] {
            store.save(&fetched("old", 100)).unwrap();
            let mut other = Some(fetched("new", 101));
            store
                .change(&domain, Instant::now() + WRITE_TURN, |stored| {
                    let mut entry = stored.unwrap().unwrap();
                    if let Some(other) = other.take() {
                        store.save(&other).unwrap();
                    }
                    if remove {
                        // As one that has expired.
                        return (entry.held.as_ref().unwrap().fetched == 100).then(|| Entry::new(domain.clone()));
                    }
                    entry.note_use(200);
                    Some(entry)
                })
                .unwrap();
            assert_eq!(id().as_deref(), Some("new"));
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A disk on which a write takes longer than others wait for their turn.
    #[test]
    fn a_policy_that_is_being_written_is_not_taken_back() {
        let dir = std::env::temp_dir().join(format!("mtasts-store-{}", std::process::id()));
        let (store, domain) = (Store::new(dir.clone()), Domain::parse("example.com").unwrap());
        let held = |id: &str| {
            let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
            Some(Arc::new(Held::new(id.parse().unwrap(), 100, text).unwrap()))
        };
        let mut before = Entry::new(domain.clone());
        before.held = held("old");
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
        let pinned = store.change(&domain, Instant::now(), |_| panic!("out of turn"));
        assert!(matches!(pinned, Err(StoreError::Slow(_))), "{pinned:?}");
        let mut fetched = before.clone();
        fetched.held = held("new");
        store.update(&before, &fetched).unwrap();
        assert_eq!(
            store.load(&domain).unwrap(),
            Some(fetched),
            "a new policy is kept in any case"
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}
