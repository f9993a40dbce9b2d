//! `mtasts cache pin`: a policy of the operator's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::super::{Found, Trouble, input, output};
use super::open;
use mtasts::cache::contract::{Cache, WRITE_TURN};
use mtasts::cache::entry::{CachedPolicy, Entry};
use mtasts::protocol::calendar;
use mtasts::protocol::names::Domain;
use mtasts::protocol::policy::{MAX_POLICY, Mode};
use mtasts::protocol::record::PolicyId;
use mtasts::sender::resolver::unix_now;

/// The id of a pinned policy. No record announces it, so the first lookup after the pin's end fetches.
const ID: &[u8] = b"pinned";

/// Put a policy of your own into the cache, which no fetch replaces until a day.
///
/// For a domain whose policy host is broken, or with which a policy was agreed by other means. When the day is over,
/// the policy is in force like one that was fetched when it was pinned. `mtasts cache purge DOMAIN` takes it back
/// before.
#[derive(Args)]
pub(crate) struct Pin {
    /// The domain, as in a recipient's address.
    domain: Domain,
    /// The policy (RFC 8461 3.2); "-" reads it from stdin.
    file: PathBuf,
    /// The last day on which it holds (UTC), like 2026-12-31.
    #[arg(long, value_parser = last_second, value_name = "DAY")]
    until: u64,
    /// Print {"domain":..,"mode":..,"pinned_until":..,"replaced":MODE}.
    #[arg(long)]
    json: bool,
}

impl Pin {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let Self { domain, until, .. } = self;
        // Before root is given up: the file may be root's alone.
        let bytes = input::read(&self.file, MAX_POLICY + 1)?;
        let name = self.file.display();
        let (id, now) = (
            PolicyId::parse(ID).map_err(|error| Trouble(error.to_string()))?,
            unix_now(),
        );
        let cached = CachedPolicy::new(id, now, bytes).map_err(|error| Trouble(format!("{name}: {error}")))?;
        let policy = &cached.policy;
        let day = calendar::date(until);
        let Some(left) = until.checked_sub(now) else {
            return Err(Trouble(format!("{day} has passed")));
        };
        if u64::from(policy.max_age()) < left {
            return Err(Trouble(format!(
                "{name}: max_age {} ends before the end of {day}: it must be {left} at least, and cannot be more than a \
                 year (31557600)",
                policy.max_age()
            )));
        }
        let (_, store) = open()?;
        let mode = policy.mode();
        let (cached, mut before) = (Arc::new(cached), None);
        let pinned = store.change(&domain, Instant::now() + WRITE_TURN, &mut |stored| {
            let mut entry = stored.ok().flatten().unwrap_or_else(|| Entry::new(domain.clone()));
            before = entry.live(now).map(|cached| cached.policy.mode());
            if before != Some(mode) {
                entry.mode_since = Some(now);
            }
            entry.cached = Some(cached.clone());
            entry.pinned_until = Some(until);
            // When the pin ends, DNS is due at once.
            entry.txt = None;
            (entry.imported, entry.failed, entry.unlearned_since, entry.idle_since) = (None, None, None, None);
            Some(entry)
        });
        pinned.map_err(|error| Trouble(error.to_string()))?;
        if before == Some(Mode::Enforce) && mode != Mode::Enforce {
            output::tell(&format!("{domain}: the policy changed from enforce to {mode}, by hand"));
        }
        if self.json {
            output::print_json(&json!({
                "domain": domain.as_str(),
                "mode": mode.name(),
                "pinned_until": until,
                "replaced": before.map(Mode::name),
            }))?;
        } else {
            output::print(&format!("{domain}: pinned until {day} (mode {mode})\n"))?;
        }
        Ok(Found::Good)
    }
}

/// The last second of a day.
fn last_second(day: &str) -> Result<u64, String> {
    let begins = calendar::day(day).ok_or("must be a day like 2026-12-31")?;
    Ok(begins + 86_399)
}
