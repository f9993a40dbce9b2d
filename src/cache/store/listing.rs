//! All that the cache holds, and what dead writers left behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{Store, UNFINISHED};
use crate::cache::contract::CacheError;
use crate::protocol::names::Domain;
use crate::sys::process;

/// A write takes milliseconds: after this time its file is left over, if its writer is gone.
const LEFT_OVER: Duration = Duration::from_secs(3600);
/// After this time it is left over in any case: another process may have got the writer's number.
const LEFT_OVER_BY_ANYONE: Duration = Duration::from_secs(86_400);

impl Store {
    /// See [`Cache::domains`]. A name that is not a domain in its one spelling is not ours.
    pub(super) fn list(&self) -> Result<Vec<Domain>, CacheError> {
        if self.directory()?.is_none() {
            return Ok(Vec::new());
        }
        let mut domains = Vec::new();
        for file in fs::read_dir(&self.dir).map_err(|e| self.unusable(&e))? {
            let name = file.map_err(|e| self.unusable(&e))?.file_name();
            let Some(name) = name.to_str() else { continue };
            match Domain::parse(name) {
                Ok(domain) if domain.as_str() == name => domains.push(domain),
                _ => {}
            }
        }
        domains.sort_unstable();
        Ok(domains)
    }

    /// Removes the files that writers left unfinished when they died. Returns how many.
    ///
    /// # Errors
    /// A [`CacheError`] if the directory cannot be read.
    pub fn sweep(&self) -> Result<usize, CacheError> {
        let mut swept = 0;
        for file in fs::read_dir(&self.dir).map_err(|e| self.unusable(&e))?.flatten() {
            let name = file.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED)) else {
                continue;
            };
            let Ok(about) = file.metadata() else { continue };
            // The number identifies the writer only if we see all processes: hence the longer time.
            let writer = rest.split('-').next().filter(|number| !number.is_empty());
            let lives = writer.is_some_and(|number| Path::new("/proc").join(number).exists());
            let longest = if lives { LEFT_OVER_BY_ANYONE } else { LEFT_OVER };
            let age = about.modified().ok().and_then(|time| time.elapsed().ok());
            if about.is_file() && age.is_some_and(|age| age > longest) && fs::remove_file(file.path()).is_ok() {
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Whether this process may write to the directory. One that may not keeps its policies in memory.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        process::may_write(&self.dir)
    }

    /// Whether each user of the cache can note its uses: all who can read the directory can also write there. In a
    /// directory of mode 2750 the group reads and leaves no trace.
    ///
    /// # Errors
    /// A [`CacheError`] if the directory cannot be used.
    pub fn uses_are_noted(&self) -> Result<bool, CacheError> {
        Ok(matches!(self.existing()?.mode() & 0o070, 0o000 | 0o070 | 0o030))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;
    use crate::cache::contract::Cache;

    fn store(name: &str) -> Store {
        let dir = std::env::temp_dir().join(format!("mtasts-listing-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Store::new(dir)
    }

    #[test]
    fn lists_domains_and_nothing_else() {
        let store = store("domains");
        for name in [
            "b.example",
            "a.example",
            ".lock",
            ".tmp-1-2-3",
            "A.example",
            "a.example.",
            "x_y.example",
            "b\u{fc}cher.test",
            "xn--bcher-kva.test",
            "192.0.2.1",
            "-",
            "lost+found",
        ] {
            fs::write(store.dir().join(name), "").unwrap();
        }
        fs::create_dir(store.dir().join("directory")).unwrap();
        let domains = store.domains().unwrap();
        let names: Vec<&str> = domains.iter().map(Domain::as_str).collect();
        assert_eq!(names, ["a.example", "b.example", "directory", "xn--bcher-kva.test"]);
        for domain in &domains {
            assert!(store.remove(domain).unwrap(), "{domain}");
            assert!(!store.remove(domain).unwrap(), "{domain}");
        }
        assert!(store.domains().unwrap().is_empty());
        fs::remove_dir_all(store.dir()).unwrap();
        assert!(store.domains().unwrap().is_empty(), "no directory, no domains");
    }

    #[test]
    fn sweeps_what_is_old_and_has_no_writer() {
        let store = store("sweep");
        let (dead, alive) = (0x7fff_fff0_u32, std::process::id());
        for (name, hours, stays) in [
            (format!(".tmp-{dead}-5-0"), 2, false),
            (format!(".tmp-{dead}-5-1"), 0, true),
            (format!(".tmp-{alive}-5-0"), 2, true),
            (format!(".tmp-{alive}-5-1"), 25, false),
            (".tmp-".into(), 2, false),
            ("a.example".into(), 900, true),
            (".lock".into(), 900, true),
        ] {
            let path = store.dir().join(&name);
            let file = File::create(&path).unwrap();
            let time = SystemTime::now() - Duration::from_secs(3600 * hours);
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
            assert_eq!(store.sweep().unwrap(), usize::from(!stays), "{name}");
            assert_eq!(path.exists(), stays, "{name}");
        }
        fs::remove_dir_all(store.dir()).unwrap();
    }

    #[test]
    fn uses_are_noted_where_every_reader_can_write() {
        let store = store("noted");
        for (mode, noted) in [
            (0o700, true),
            (0o2770, true),
            (0o2750, false),
            (0o750, false),
            (0o710, false),
        ] {
            fs::set_permissions(store.dir(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(store.uses_are_noted().unwrap(), noted, "{mode:o}");
        }
        fs::remove_dir_all(store.dir()).unwrap();
    }
}
