//! The inventory of a resolver: the domains in its cache, and the removal of one.

use super::{Resolver, Unavailable};
use crate::cache::CacheError;
use crate::protocol::names::Domain;

impl From<CacheError> for Unavailable {
    fn from(error: CacheError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Resolver {
    /// The domains that the cache holds something of, in alphabetical order; whether that can be read and still counts is
    /// another matter.
    ///
    /// # Errors
    /// A [`Unavailable`].
    pub fn domains(&self) -> Result<Vec<Domain>, Unavailable> {
        let list = self.shared.in_cache(|cache| {
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
    /// A [`Unavailable`].
    pub fn purge(&self, domain: &Domain) -> Result<bool, Unavailable> {
        let removed = self.shared.in_cache(|cache| {
            let removed = cache.remove(domain)?;
            Ok(if removed { "removed".into() } else { String::new() })
        })?;
        self.shared.memory.forget(domain);
        Ok(!removed.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use super::*;
    use crate::sender::settings::Settings;
    use crate::sys::process;

    const NOBODY: u32 = 65_534;

    /// As root (CI is) this goes through the helper, else it does not.
    #[test]
    fn lists_and_forgets_what_is_on_disk() {
        let dir = std::env::temp_dir().join(format!("mtasts-inventory-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        if process::is_root() {
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut settings = Settings::default();
        settings.set("cache_dir", dir.to_str().unwrap()).unwrap();
        let resolver = Resolver::new(settings);
        assert!(resolver.domains().unwrap().is_empty());
        for name in ["b.example", "a.example", ".lock"] {
            fs::write(dir.join(name), "whatever it is").unwrap();
        }
        let domain = Domain::parse("a.example").unwrap();
        let names = |resolver: &Resolver| -> Vec<String> {
            let domains = resolver.domains().unwrap();
            domains.iter().map(|domain| domain.as_str().to_owned()).collect()
        };
        assert_eq!(names(&resolver), ["a.example", "b.example"]);
        assert!(resolver.purge(&domain).unwrap());
        assert!(!resolver.purge(&domain).unwrap());
        assert_eq!(names(&resolver), ["b.example"]);
        fs::remove_dir_all(&dir).unwrap();
        let listed = resolver.domains();
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
        let resolver = Resolver::new(settings);
        assert!(resolver.domains().unwrap().is_empty());
        assert!(!resolver.purge(&Domain::parse("a.example").unwrap()).unwrap());
    }
}
