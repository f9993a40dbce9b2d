//! How many files there may be, kept while they are written; the refresh, which reads all of them, keeps it exactly.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Instant;

use super::Store;
use crate::cache::contract::{Cache, CacheError};
use crate::cache::crowd::{Bounds, Worth, looks, parent};
use crate::cache::entry::Entry;
use crate::protocol::names::Domain;

impl Store {
    /// Removes what is too much after a new file of this domain: below the domain's own parent, and below the one that
    /// has the most.
    pub(super) fn keep_bounds(&self, domain: &Domain, bounds: Bounds, now: u64) {
        if !looks(domain) {
            return;
        }
        // Nearly always there is room, and to see that the names alone are enough.
        if self
            .count(parent(domain))
            .is_ok_and(|(below, all)| below <= bounds.per_parent && all <= bounds.in_all)
        {
            return;
        }
        let Ok(domains) = self.domains() else { return };
        let mut families: HashMap<&str, Vec<&Domain>> = HashMap::new();
        for domain in &domains {
            families.entry(parent(domain)).or_default().push(domain);
        }
        let mut left = domains.len();
        if let Some(family) = families.get(parent(domain)) {
            let too_many = family.len().saturating_sub(bounds.per_parent);
            left -= self.let_go(family, too_many, now, |_| true);
        }
        let fullest = families.values().max_by_key(|family| family.len());
        if let Some(family) = fullest.filter(|_| left > bounds.in_all) {
            // About entries that others rely on, a refresh decides when it has seen all.
            self.let_go(
                family,
                (left - bounds.in_all).min(family.len() - 1),
                now,
                Worth::is_little,
            );
        }
    }

    /// How many files there are for names below a parent, and in all.
    fn count(&self, parent: &str) -> io::Result<(usize, usize)> {
        let (mut below, mut all) = (0, 0);
        for file in fs::read_dir(self.dir())? {
            let name = file?.file_name();
            let name = name.as_encoded_bytes();
            all += 1;
            below += usize::from(name.ends_with(parent.as_bytes()));
        }
        Ok((below, all))
    }

    /// Removes so many of these, those that are worth least first. Returns how many that were.
    fn let_go(&self, family: &[&Domain], count: usize, now: u64, may: impl Fn(Worth) -> bool) -> usize {
        if count == 0 {
            return 0;
        }
        // The refresh repairs an entry that cannot be read.
        let worth = |domain: &&&Domain| Some(Worth::of(&self.load(domain).ok()??, now));
        let mut known: Vec<(Worth, &Domain)> = family.iter().filter_map(|d| Some((worth(&d)?, *d))).collect();
        known.sort_unstable();
        let goes = known.into_iter().take(count).filter(|(worth, _)| may(*worth));
        goes.filter(|(worth, domain)| self.evict(domain, *worth, Instant::now(), now).unwrap_or(false))
            .count()
    }

    /// Removes the entry of a domain unless it is worth more by now. Returns whether it did.
    ///
    /// # Errors
    /// As [`Cache::change`].
    pub(crate) fn evict(&self, domain: &Domain, worth: Worth, deadline: Instant, now: u64) -> Result<bool, CacheError> {
        let mut evicted = false;
        self.change(domain, deadline, &mut |stored| {
            let entry = stored.ok()??;
            evicted = !worth.is_fixed() && Worth::of(&entry, now) <= worth;
            evicted.then(|| Entry::new(domain.clone()))
        })?;
        Ok(evicted)
    }
}
