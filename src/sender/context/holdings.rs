//! What a context holds: the domains in its cache, and the removal of one.
//!
//! As in a lookup, a process of root leaves the disk to a child that has become another user.

use std::thread;
use std::time::{Duration, Instant};

use super::{Context, ContextError};
use crate::cache::{Cache, CacheError};
use crate::protocol::names::Domain;
use crate::sender::user::whom_root_becomes;
use crate::sys::process::{self, HelperError};

/// How long root's helper may take for a directory of any size.
const HELPER_TIME: Duration = Duration::from_secs(60);
/// The longest list that it may give, in octets: some million domains.
const LONGEST_LIST: usize = 64 << 20;
/// How long a removal tries to get the memory for itself. Where it cannot in this time, its lock belonged to a thread of
/// a parent process: then nothing is read from memory here either.
const MEMORY_TRIES: u32 = 100;

impl From<CacheError> for ContextError {
    fn from(error: CacheError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Context {
    /// The domains that the cache holds something of, in alphabetical order; whether that can be read and still counts is
    /// another matter.
    ///
    /// # Errors
    /// A [`ContextError`].
    pub fn domains(&self) -> Result<Vec<Domain>, ContextError> {
        let list = self.in_cache(|cache| {
            let domains = cache.domains()?;
            Ok(domains.iter().map(|domain| format!("{domain}\n")).collect())
        })?;
        Ok(list.lines().filter_map(|name| Domain::parse(name).ok()).collect())
    }

    /// Forgets a domain, in the cache and in the memory of this process; another process may repeat its answer for some
    /// seconds more. Says whether there was anything in the cache.
    ///
    /// Until it is looked up again, mail for the domain has no protection but a record in DNS that an attacker may forge:
    /// this is for what is wrong, not for what is old.
    ///
    /// # Errors
    /// A [`ContextError`].
    pub fn purge(&self, domain: &Domain) -> Result<bool, ContextError> {
        let removed = self.in_cache(|cache| {
            let removed = cache.remove(domain)?;
            Ok(if removed { "removed".into() } else { String::new() })
        })?;
        self.forget(domain);
        Ok(!removed.is_empty())
    }

    /// Works on the cache. If it is a directory, a process of root leaves that to its helper.
    fn in_cache(&self, work: impl FnOnce(&dyn Cache) -> Result<String, CacheError>) -> Result<String, ContextError> {
        let cache = &*self.shared.cache;
        if !self.shared.leaves_the_cache() {
            return Ok(work(cache)?);
        }
        let user = whom_root_becomes(self.settings())?;
        // The first letter says how it went: a message is never empty.
        let message = process::in_helper(user, Instant::now() + HELPER_TIME, LONGEST_LIST, || {
            match work(cache) {
                Ok(done) => format!("+{done}"),
                Err(error) => format!("-{error}"),
            }
            .into_bytes()
        })?;
        let message = String::from_utf8(message).map_err(|_| HelperError::Died)?;
        match (message.strip_prefix('+'), message.strip_prefix('-')) {
            (Some(done), _) => Ok(done.to_owned()),
            (_, Some(error)) => Err(ContextError::Store(error.to_owned())),
            _ => Err(HelperError::Died.into()),
        }
    }

    fn forget(&self, domain: &Domain) {
        for _ in 0..MEMORY_TRIES {
            if let Ok(mut memory) = self.shared.memory.try_write() {
                memory.remove(domain.as_str());
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use super::*;
    use crate::sender::settings::Settings;

    const NOBODY: u32 = 65_534;

    /// As root (CI is) this goes through the helper, else it does not.
    #[test]
    fn lists_and_forgets_what_is_on_disk() {
        let dir = std::env::temp_dir().join(format!("mtasts-holdings-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        if process::is_root() {
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut settings = Settings::default();
        settings.set("cache_dir", dir.to_str().unwrap()).unwrap();
        let context = Context::new(settings);
        assert!(context.domains().unwrap().is_empty());
        for name in ["b.example", "a.example", ".lock"] {
            fs::write(dir.join(name), "whatever it is").unwrap();
        }
        let domain = Domain::parse("a.example").unwrap();
        let names = |context: &Context| -> Vec<String> {
            let domains = context.domains().unwrap();
            domains.iter().map(|domain| domain.as_str().to_owned()).collect()
        };
        assert_eq!(names(&context), ["a.example", "b.example"]);
        assert!(context.purge(&domain).unwrap());
        assert!(!context.purge(&domain).unwrap());
        assert_eq!(names(&context), ["b.example"]);
        fs::remove_dir_all(&dir).unwrap();
        let listed = context.domains();
        if process::is_root() {
            assert!(listed.unwrap_err().to_string().contains("install -d"));
        } else {
            assert!(listed.unwrap().is_empty());
        }
    }

    #[test]
    fn without_a_directory_there_is_memory() {
        let mut settings = Settings::default();
        settings.set("cache_dir", "").unwrap();
        let context = Context::new(settings);
        assert!(context.domains().unwrap().is_empty());
        assert!(!context.purge(&Domain::parse("a.example").unwrap()).unwrap());
    }
}
