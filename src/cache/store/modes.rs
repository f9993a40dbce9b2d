//! Files that more users may write than the directory's mode allows, from a time when it had another mode.

use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use super::{Store, file_mode};
use crate::cache::contract::{Cache, CacheError};
use crate::protocol::names::Domain;

impl Store {
    /// Writes the file of a domain anew if its mode is wider than the directory's, or if it belongs to another user and
    /// only the directory's owner may write: the owner of a file may write to it whatever its mode. It is a new file,
    /// because another process may have the old one open. Returns whether it did; a file that cannot be read
    /// stays as it is.
    ///
    /// # Errors
    /// A [`CacheError`].
    pub(crate) fn mend(&self, domain: &Domain, deadline: Instant) -> Result<bool, CacheError> {
        let directory = self.existing()?;
        let Ok(file) = self.path(domain).symlink_metadata() else {
            return Ok(false);
        };
        let wide = file.mode() & 0o777 & !file_mode(&directory) != 0;
        let foreign = directory.mode() & 0o020 == 0 && file.uid() != directory.uid();
        if !file.is_file() || !(wide || foreign) {
            return Ok(false);
        }
        let mut mended = false;
        self.change(domain, deadline, &mut |stored| {
            let entry = stored.ok().flatten();
            mended = entry.is_some();
            entry
        })?;
        Ok(mended)
    }
}
