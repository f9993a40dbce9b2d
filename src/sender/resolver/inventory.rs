//! The inventory of a resolver: the domains in its cache, the removal of one, and whether the cache can be used.

use super::{Resolver, Unavailable};
use crate::cache::{CacheError, Condition};
use crate::protocol::names::Domain;
use crate::sender::user::name_of;

impl From<CacheError> for Unavailable {
    fn from(error: CacheError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Resolver {
    /// The domains that the cache has an entry of, in alphabetical order; its policy may have expired. A file that is not
    /// an entry is not listed. One that this process may not read can be an entry, and is.
    ///
    /// # Errors
    /// A [`Unavailable`].
    pub fn domains(&self) -> Result<Vec<Domain>, Unavailable> {
        let list = self.shared.in_cache(|cache| {
            let mut domains = cache.domains()?;
            domains.retain(|domain| matches!(cache.load(domain), Ok(Some(_)) | Err(CacheError::Unread(_))));
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

    /// Whether the cache can be used, for a program that starts: where it is, whose, and of how many domains it holds
    /// something, in one sentence for the log. An entry is begun and given up. Call it when the process has become the user
    /// who sends the mail; it may take a while, as the cache has a file for each domain.
    ///
    /// # Errors
    /// A sentence for the log: what is wrong, and what becomes of mail until it is repaired. The resolver sees by itself
    /// when it is. A process of root that has no user to become cannot look anything up, and what this host did not ask
    /// is never taken for what a domain does not have: mail to every domain is deferred.
    pub fn check_cache(&self) -> Result<String, String> {
        let checked = self.shared.in_cache(|cache| {
            let Condition { directory, domains } = cache.check()?;
            let owner = directory.map_or(String::new(), |(uid, mode)| {
                format!(" (user {}, mode {mode:o})", name_of(uid))
            });
            let plural = if domains == 1 { "" } else { "s" };
            Ok(format!("{cache}{owner} has entries for {domains} domain{plural}"))
        });
        checked.map_err(|error| match error {
            Unavailable::Store(why) => {
                format!("policies are kept by this process alone and are lost when it ends: {why}")
            }
            why => format!("mail to every domain is deferred, with a policy or without: {why}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::cache::entry::Entry;
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
        for name in ["a.example", "b.example"] {
            let mut entry = Entry::new(Domain::parse(name).unwrap());
            entry.used = Some(1);
            fs::write(dir.join(name), entry.to_file()).unwrap();
        }
        fs::write(dir.join(".lock"), "").unwrap();
        let not_entries = ["notes", "c.example", "copy.example"].map(|name| dir.join(name));
        for path in &not_entries[..2] {
            fs::write(path, "whatever it is").unwrap();
        }
        fs::copy(dir.join("a.example"), &not_entries[2]).unwrap();
        let domain = Domain::parse("a.example").unwrap();
        let names = |resolver: &Resolver| -> Vec<String> {
            let domains = resolver.domains().unwrap();
            domains.iter().map(|domain| domain.as_str().to_owned()).collect()
        };
        assert_eq!(names(&resolver), ["a.example", "b.example"]);
        for path in not_entries {
            fs::remove_file(path).unwrap();
        }
        assert!(resolver.purge(&domain).unwrap());
        assert!(!resolver.purge(&domain).unwrap());
        assert_eq!(names(&resolver), ["b.example"]);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
        let checked = resolver.check_cache().unwrap();
        assert!(
            checked.starts_with(&format!("the cache directory {} (user ", dir.display())),
            "{checked}"
        );
        assert!(checked.ends_with(", mode 750) has entries for 1 domain"), "{checked}");
        fs::remove_dir_all(&dir).unwrap();
        if process::is_root() {
            let wrong = resolver.check_cache().unwrap_err();
            assert!(
                wrong.starts_with("mail to every domain is deferred, with a policy or without: "),
                "{wrong}"
            );
        }
        let listed = resolver.domains();
        if process::is_root() {
            assert!(listed.unwrap_err().to_string().contains("install -d"));
        } else {
            assert!(listed.unwrap().is_empty());
        }
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_not_all_there_is() {
        let dir = std::env::temp_dir().join(format!("mtasts-unusable-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        if process::is_root() {
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut settings = Settings::default();
        settings.set("cache_dir", dir.to_str().unwrap()).unwrap();
        let wrong = Resolver::new(settings).check_cache().unwrap_err();
        fs::remove_dir(&dir).unwrap();
        assert!(wrong.starts_with("policies are kept by this process alone"), "{wrong}");
        assert!(wrong.contains("writable by everyone"), "{wrong}");
    }

    #[test]
    fn without_a_directory_there_is_memory() {
        let mut settings = Settings::default();
        settings.set("cache_dir", "").unwrap();
        let resolver = Resolver::new(settings);
        assert!(resolver.domains().unwrap().is_empty());
        assert!(!resolver.purge(&Domain::parse("a.example").unwrap()).unwrap());
        assert_eq!(
            resolver.check_cache().unwrap(),
            "the memory of this process has entries for 0 domains"
        );
    }
}
