//! The refresh: when a policy is due to be renewed, and when an entry is removed (RFC 8461 3.3, 10.2).
//!
//! This module only decides what to do and when, as a function of an entry and the time. [`run`] does it.
//!
//! Each policy is renewed once a day, at a time of day of its own; one with a short life when half of it has passed. A
//! renewal that failed is tried again after an hour, and after as long again as it has failed: at least once a day, and
//! always before the policy expires.
//!
//! Nothing is removed because of one look at the clock. A refresh marks an entry that is expired or unused, and removes
//! it only if each run of a week has found it so. A clock that jumps, however far, has to stay wrong for that
//! week. Without a policy there is nothing to lose: such an entry goes as soon as it is of no use.

pub mod run;

use crate::cache::entry::Entry;
use crate::sender::lookup::{FETCH_PAUSE, refresh_period};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// A policy that no lookup has asked for in this time, in seconds, is no longer renewed.
pub const UNUSED: u64 = 180 * DAY;
/// How long an entry is kept after it was found worth nothing, in seconds.
pub const GRACE: u64 = 7 * DAY;

/// What a refresh does with an entry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Ask the policy host.
    Renew,
    /// Nothing yet.
    Wait,
    /// Mark it: since now there is nothing to keep.
    Mark,
    /// Take the mark away: there is something to keep.
    Unmark,
    /// Remove it.
    Remove,
}

/// Why an entry is not worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Its policy has expired.
    NoPolicy,
    /// It never had a policy, and what failed at the first contact is over.
    NeverHad,
    /// There were more than `cache_max_per_parent` or `cache_max`, and it was worth least.
    Crowded,
    /// No lookup has asked for the domain for [`UNUSED`].
    Unused,
}

/// What to do with an entry. `uses_are_noted` says whether those who use the cache can write to it: if they only read,
/// it is unknown what is used, and nothing is treated as unused.
#[must_use]
pub fn plan(entry: &Entry, now: u64, uses_are_noted: bool) -> Plan {
    match (idle(entry, now, uses_are_noted), entry.idle_since) {
        (Some(Idle::NeverHad), _) => Plan::Remove,
        (Some(_), Some(since)) if (since..since.saturating_add(GRACE)).contains(&now) => Plan::Wait,
        (Some(_), Some(since)) if since < now => Plan::Remove,
        // No mark, or one from the future: the clock went back.
        (Some(_), _) => Plan::Mark,
        (None, Some(_)) => Plan::Unmark,
        (None, None) if next(entry, now).is_some_and(|next| next <= now) => Plan::Renew,
        (None, None) => Plan::Wait,
    }
}

/// Why the entry is not worth keeping, if it is not.
#[must_use]
pub fn idle(entry: &Entry, now: u64, uses_are_noted: bool) -> Option<Idle> {
    if entry.pinned(now).is_some() {
        return None;
    }
    if entry.cached.is_none() {
        // A first contact that failed is known for its pause, and for first_contact_defer as long as mail asks.
        let asked = entry.txt.as_ref().map(|txt| txt.at);
        let recent = |time: u64, within: u64| time.abs_diff(now) < within;
        let paused = entry
            .failed
            .as_ref()
            .is_some_and(|failed| recent(failed.at, FETCH_PAUSE));
        let waits = entry
            .unlearned_since
            .is_some_and(|since| recent(since.max(asked.unwrap_or(0)), DAY));
        return (!paused && !waits).then_some(Idle::NeverHad);
    }
    if entry.live(now).is_none() {
        return Some(Idle::NoPolicy);
    }
    let unused = entry.used.is_some_and(|used| used.saturating_add(UNUSED) < now);
    (unused && uses_are_noted).then_some(Idle::Unused)
}

/// When the policy is to be renewed, in Unix seconds; `None` if none is in force, or if it is the operator's own.
#[must_use]
pub fn next(entry: &Entry, now: u64) -> Option<u64> {
    let cached = entry.live(now).filter(|_| entry.pinned(now).is_none())?;
    let due = if entry.imported.is_some() || cached.fetched > now {
        // Never fetched here, or fetched under a clock that went back: due at once.
        cached.fetched.min(now)
    } else {
        let period = refresh_period(&cached.policy);
        // Earlier by up to a quarter, so that policies fetched together are not renewed together for ever.
        cached.fetched + period - period / 4 * share(entry.domain.as_str()) / 256
    };
    let again = entry.failed.as_ref().filter(|failed| failed.at <= now).map(|failed| {
        let longest = DAY.min(cached.expires().saturating_sub(failed.at) / 2).max(FETCH_PAUSE);
        failed.at + failed.at.saturating_sub(due).max(HOUR).min(longest)
    });
    Some(due.max(again.unwrap_or(0)))
}

/// A fixed number below 256 for each domain: one octet of its SHA-256.
fn share(domain: &str) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, domain.as_bytes());
    digest.as_ref().first().map_or(0, |octet| u64::from(*octet))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::entry::{CachedPolicy, FailedFetch, TxtSeen};
    use crate::protocol::names::Domain;
    use crate::protocol::words::ResultType;

    const T: u64 = 1_800_000_000;
    const MONTH: u64 = 30 * DAY;

    /// Fetched at `T`.
    fn entry(domain: &str, max_age: u64) -> Entry {
        let text = format!("version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: {max_age}\n");
        let mut entry = Entry::new(Domain::parse(domain).unwrap());
        entry.cached = Some(Arc::new(CachedPolicy::new("a".parse().unwrap(), T, text).unwrap()));
        entry.used = Some(T);
        entry
    }

    fn failed(mut entry: Entry, at: u64) -> Entry {
        let (id, result) = ("a".parse().unwrap(), ResultType::StsPolicyFetchError);
        entry.failed = Some(FailedFetch::new(id, at, result, "HTTP status 500"));
        entry
    }

    #[test]
    fn each_policy_is_due_daily_at_a_time_of_its_own() {
        let due: Vec<u64> = (0..4000)
            .map(|i| next(&entry(&format!("customer{i}.example.com"), MONTH), T).unwrap() - T)
            .collect();
        assert!(due.iter().all(|after| (18 * HOUR..=DAY).contains(after)));
        // All hours have their share.
        for hour in 18..24 {
            let count = due.iter().filter(|after| **after / HOUR == hour).count();
            assert!((500..850).contains(&count), "hour {hour}: {count}");
        }
        let one = entry("example.com", MONTH);
        assert_eq!(next(&one, T), next(&one, T + HOUR), "the same each time");
        let at = next(&one, T).unwrap();
        assert_eq!(
            (plan(&one, at - 1, true), plan(&one, at, true)),
            (Plan::Wait, Plan::Renew)
        );
    }

    #[test]
    fn a_short_life_is_renewed_when_half_of_it_has_passed() {
        for max_age in [0, 1, 60, 3600, DAY, 2 * DAY] {
            let entry = entry("example.com", max_age);
            let after = next(&entry, T).unwrap() - T;
            assert!(
                after <= max_age / 2 && after >= max_age / 2 - max_age / 8,
                "{max_age}: {after}"
            );
        }
    }

    #[test]
    fn a_renewal_that_failed_is_tried_again_ever_more_rarely_but_daily() {
        let mut entry = entry("example.com", 365 * DAY);
        let due = next(&entry, T).unwrap();
        let (mut now, mut waits) = (due, Vec::new());
        for _ in 0..9 {
            entry = failed(entry, now);
            let again = next(&entry, now).unwrap();
            assert_eq!(plan(&entry, again - 1, true), Plan::Wait);
            assert_eq!(plan(&entry, again, true), Plan::Renew);
            waits.push((again - now) / HOUR);
            now = again;
        }
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 24, 24, 24]);
    }

    #[test]
    fn a_renewal_is_tried_again_before_the_policy_expires() {
        let mut entry = entry("example.com", 2 * HOUR);
        let (mut now, mut attempts) = (next(&entry, T).unwrap(), 0);
        while now <= T + 2 * HOUR {
            entry = failed(entry, now);
            let again = next(&entry, now).unwrap();
            // RFC 8461 3.3.
            assert!(again >= now + FETCH_PAUSE);
            (now, attempts) = (again, attempts + 1);
        }
        assert!(attempts >= 4, "{attempts}");
    }

    #[test]
    fn an_import_is_due_at_once_and_a_pin_never() {
        let mut imported = entry("example.com", MONTH);
        imported.imported = Some(T);
        assert_eq!(plan(&imported, T, true), Plan::Renew);
        assert_eq!(
            plan(&failed(imported, T), T, true),
            Plan::Wait,
            "and has its pause as others"
        );
        let mut pinned = entry("example.com", MONTH);
        pinned.pinned_until = Some(T + 20 * DAY);
        pinned.used = Some(1);
        assert_eq!(
            (plan(&pinned, T + 20 * DAY, true), next(&pinned, T)),
            (Plan::Wait, None)
        );
        assert_eq!(plan(&pinned, T + 20 * DAY + 1, true), Plan::Mark, "unused");
        pinned.used = Some(T);
        assert_eq!(plan(&pinned, T + 20 * DAY + 1, true), Plan::Renew);
    }

    #[test]
    fn what_is_expired_or_unused_goes_after_a_week_in_which_it_stayed_so() {
        let expired = entry("example.com", DAY);
        let mut unused = entry("example.com", 365 * DAY);
        unused.used = Some(T - 179 * DAY);
        for (mut entry, since) in [(expired, T + DAY + 1), (unused, T + DAY + 1)] {
            assert_ne!(plan(&entry, since - 1, true), Plan::Mark);
            assert_eq!(plan(&entry, since, true), Plan::Mark);
            entry.idle_since = Some(since);
            assert_eq!(plan(&entry, since + GRACE - 1, true), Plan::Wait);
            assert_eq!(plan(&entry, since + GRACE, true), Plan::Remove);
        }
        // If uses leave no trace, nothing is unused.
        let mut unknown = entry("example.com", 365 * DAY);
        unknown.used = Some(1);
        assert_eq!(plan(&unknown, T + 2 * DAY, false), Plan::Renew);
        // And an entry from before uses were noted is not unused either.
        unknown.used = None;
        assert_eq!(plan(&unknown, T + 2 * DAY, true), Plan::Renew);
    }

    #[test]
    fn a_clock_that_jumps_destroys_nothing() {
        let good = entry("example.com", MONTH);
        // A year forward: all has expired and nothing is used. It is marked.
        let year = T + 365 * DAY;
        assert_eq!(plan(&good, year, true), Plan::Mark);
        let mut marked = good.clone();
        marked.idle_since = Some(year);
        // In each run until the clock is set.
        assert_eq!(plan(&marked, year + 6 * DAY, true), Plan::Wait);
        // The clock is right again.
        assert_eq!(plan(&marked, T + HOUR, true), Plan::Unmark);
        // A mark from the future on an entry that is worth nothing does not prove a week.
        let mut expired = entry("example.com", 60);
        expired.idle_since = Some(year);
        assert_eq!(plan(&expired, T + DAY, true), Plan::Mark);
        // A fetch, a failure and a use from the future: renewed now, and then all is right.
        let mut future = failed(good, year);
        (future.cached, future.used) = (entry("example.com", MONTH).cached, Some(year));
        assert_eq!(plan(&future, T - DAY, true), Plan::Renew);
    }

    #[test]
    fn a_failed_first_contact_is_kept_as_long_as_it_is_of_use() {
        let mut bare = failed(Entry::new(Domain::parse("example.com").unwrap()), T);
        assert_eq!(plan(&bare, T + FETCH_PAUSE - 1, true), Plan::Wait);
        assert_eq!(plan(&bare, T + FETCH_PAUSE, true), Plan::Remove);
        // While mail asks, it is known since when it has waited, however long that is.
        (bare.failed, bare.unlearned_since) = (None, Some(T));
        assert_eq!(plan(&bare, T + DAY - 1, true), Plan::Wait);
        assert_eq!(plan(&bare, T + DAY, true), Plan::Remove);
        bare.txt = Some(TxtSeen {
            at: T + 3 * DAY,
            next: T + 3 * DAY + 60,
        });
        assert_eq!(plan(&bare, T + 4 * DAY - 1, true), Plan::Wait);
        assert_eq!(plan(&bare, T + 4 * DAY, true), Plan::Remove);
    }
}
