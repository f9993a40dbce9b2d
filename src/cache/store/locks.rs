//! Locks between the processes that share the directory: to fetch, to write, and to run the refresh. All are in one
//! file.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Instant, UNIX_EPOCH};

use super::Store;
use crate::cache::contract::{CacheError, Lease};
use crate::protocol::names::Domain;
use crate::sys::lock::{Lock, OWNER_ALONE};
use crate::sys::process;

/// The file in which all locks are.
const LOCKS: &str = ".lock";
/// The lock that a run of the refresh holds; no domain has a space in its name.
const RUN: &str = "refresh run";

impl Store {
    /// See [`Cache::lease`](crate::cache::Cache::lease).
    pub(super) fn fetch_turn(&self, domain: &Domain, deadline: Instant) -> Result<Option<Lease>, CacheError> {
        use io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, TimedOut};
        let begun = Instant::now();
        let locks = self.locks();
        let locks = locks.display();
        match self.lock(domain.as_str(), deadline) {
            Ok(lock) => Ok(Some(Lease::new(lock))),
            Err(e) => match e.kind() {
                // A process that may not write to the directory has no locks; that is reported with what could not be
                // written. And a process has only so many locks.
                PermissionDenied | NotFound | ReadOnlyFilesystem | QuotaExceeded => Ok(None),
                TimedOut => Err(CacheError::Busy(format!(
                    "another process has cached it in {locks} for {:.1} s; if that is said again, see which process is \
                     stopped or hangs (fuser -v {locks})",
                    begun.elapsed().as_secs_f64()
                ))),
                _ => Err(CacheError::Unwritten(format!("{locks}: {e}"))),
            },
        }
    }

    /// Waits for the lock to write the entry of a domain.
    ///
    /// # Errors
    /// No lock can be had (`PermissionDenied` and the like: a directory that is only readable), or not in time
    /// (`TimedOut`).
    pub(super) fn write_turn(&self, domain: &Domain, deadline: Instant) -> io::Result<Lock> {
        self.lock(&format!("{domain} write"), deadline)
    }

    /// Waits for the lock of the refresh, and notes that the run begins now.
    ///
    /// # Errors
    /// [`CacheError::Busy`]: another run is active (see [`Store::run_begun`]). [`CacheError::Unwritten`]: no lock can
    /// be had.
    pub(crate) fn run_turn(&self, deadline: Instant) -> Result<Lease, CacheError> {
        let lock = self.lock(RUN, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => CacheError::Busy("another refresh is running".into()),
            _ => CacheError::Unwritten(e.to_string()),
        })?;
        lock.stamp().map_err(|e| CacheError::Unwritten(e.to_string()))?;
        Ok(Lease::new(lock))
    }

    /// When the last run began, in Unix seconds; 0 if that is not known. A member of the group could
    /// set it, but could do worse.
    #[must_use]
    pub fn run_begun(&self) -> u64 {
        let begun = self.locks().symlink_metadata().and_then(|about| about.modified());
        let begun = begun.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        begun.map_or(0, |since| since.as_secs())
    }

    /// The file in which all locks are.
    pub(crate) fn locks(&self) -> PathBuf {
        self.dir.join(LOCKS)
    }

    fn lock(&self, name: &str, deadline: Instant) -> io::Result<Lock> {
        // What is wrong with the directory is reported by the functions that read or write there.
        let directory = self.directory().map_err(|_| io::ErrorKind::PermissionDenied)?;
        let directory = directory.ok_or(io::ErrorKind::NotFound)?;
        let mode = mode(&directory);
        if mode == OWNER_ALONE && directory.uid() != process::user() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Lock::take(&self.locks(), mode, name, deadline)
    }
}

/// Only a user who may write in the directory may lock: to hold up others, the right to read a file would be enough.
fn mode(directory: &Metadata) -> u32 {
    if directory.mode() & 0o020 == 0 {
        OWNER_ALONE
    } else {
        0o660
    }
}
