//! `mtasts cache purge`.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::super::{Found, Trouble, output};
use super::open;
use mtasts::cache::contract::{Cache, CacheError, WRITE_TURN};
use mtasts::cache::entry::Entry;
use mtasts::cache::store::Store;
use mtasts::protocol::names::Domain;
use mtasts::sender::resolver::unix_now;

/// Remove entries from the cache.
///
/// Until the next lookup, mail for such a domain is protected only by a record in DNS, which an attacker may forge:
/// purge what is wrong, not what is old. Exit status: 0, or 1 if a domain has no entry.
#[derive(Args)]
pub(crate) struct Purge {
    /// The domains.
    #[arg(required_unless_present_any = ["expired", "all"], conflicts_with_all = ["expired", "all"])]
    domain: Vec<Domain>,
    /// All entries whose policy has expired, and those without one.
    #[arg(long, conflicts_with = "all")]
    expired: bool,
    /// All entries.
    #[arg(long)]
    all: bool,
    /// Print {"removed":COUNT,"missing":[..]}.
    #[arg(long)]
    json: bool,
}

impl Purge {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let (_, store) = open()?;
        let trouble = |error: CacheError| Trouble(error.to_string());
        let (mut removed, mut missing) = (0_usize, Vec::new());
        for domain in &self.domain {
            if store.remove(domain).map_err(trouble)? {
                removed += 1;
            } else {
                missing.push(domain.as_str());
            }
        }
        if self.all || self.expired {
            let now = unix_now();
            for domain in store.domains().map_err(trouble)? {
                let gone = if self.all {
                    store.remove(&domain)
                } else {
                    remove_expired(&store, &domain, now)
                };
                removed += usize::from(gone.map_err(trouble)?);
            }
        }
        if self.json {
            output::print_json(&json!({ "removed": removed, "missing": missing }))?;
        } else {
            output::print(&format!("{removed} removed\n"))?;
            for domain in &missing {
                output::tell(&format!("{domain}: the cache has no entry"));
            }
        }
        Ok(if missing.is_empty() { Found::Good } else { Found::Bad })
    }
}

/// Removes the entry unless its policy is in force. A file that cannot be read is left alone.
fn remove_expired(store: &Store, domain: &Domain, now: u64) -> Result<bool, CacheError> {
    let mut gone = false;
    store.change(domain, Instant::now() + WRITE_TURN, &mut |stored| {
        let entry = stored.ok()??;
        gone = entry.live(now).is_none();
        gone.then(|| Entry::new(domain.clone()))
    })?;
    Ok(gone)
}
