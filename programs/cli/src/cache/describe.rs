//! An entry of the cache in words, and as JSON.

use std::fs;
use std::io::ErrorKind;

use serde_json::{Value, json};

use mtasts::cache::contract::{Cache, CacheError};
use mtasts::cache::entry::Entry;
use mtasts::cache::store::Store;
use mtasts::protocol::calendar;
use mtasts::protocol::mx::MxPattern;
use mtasts::protocol::names::Domain;
use mtasts::protocol::policy::{Mode, Policy};
use mtasts::sender::exception::Exception;
use mtasts::sender::refresh;
use mtasts::sender::settings::Settings;

/// A day: what was used within it is in use.
const DAY: u64 = 86_400;

/// What there is for a domain at a time: the entry or what is wrong with its file, and the exception.
pub(super) struct Described<'a> {
    pub(super) domain: &'a Domain,
    pub(super) entry: Result<Entry, CacheError>,
    pub(super) exception: Option<&'a Exception>,
    pub(super) uses_are_noted: bool,
    /// This user may not look at the directory itself.
    directory_is_hidden: bool,
    pub(super) now: u64,
}

impl<'a> Described<'a> {
    /// Reads the entry of a domain; `None` if there is none.
    pub(super) fn read(store: &Store, settings: &'a Settings, domain: &'a Domain, now: u64) -> Option<Self> {
        let entry = store.load(domain).transpose()?;
        Some(Self {
            domain,
            entry,
            exception: settings.exceptions.find(domain, now).map(|exception| &**exception),
            uses_are_noted: store.uses_are_noted().unwrap_or(false),
            directory_is_hidden: fs::metadata(store.dir()).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied),
            now,
        })
    }

    /// A time with its distance: `2026-12-31 23:59:59 UTC (in 3 days)`.
    pub(super) fn at(&self, time: u64) -> String {
        format!("{} ({})", calendar::date_time(time), self.distance(time))
    }

    /// `3 days ago` or `in 3 days`.
    pub(super) fn distance(&self, time: u64) -> String {
        match self.now.checked_sub(time) {
            Some(0) => "now".to_owned(),
            Some(passed) => format!("{} ago", calendar::span(passed)),
            None => format!("in {}", calendar::span(time - self.now)),
        }
    }

    /// Whether a policy is in force; `None` if this user may not read it.
    pub(super) fn counts(&self) -> Option<bool> {
        match &self.entry {
            Ok(entry) => Some(entry.live(self.now).is_some()),
            Err(error) => (!self.is_hidden(error)).then_some(false),
        }
    }

    /// Whether the error is this user's, and says nothing of what is stored.
    pub(super) fn is_hidden(&self, error: &CacheError) -> bool {
        match error {
            CacheError::Unread(_) => true,
            CacheError::Elsewhere(_) => self.directory_is_hidden,
            _ => false,
        }
    }

    /// What is out of the ordinary, in a few words each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match &self.entry {
            Err(error) if self.is_hidden(error) => notes.push(format!("unknown: {error}")),
            Err(error) => notes.push(format!("not used: {error}")),
            Ok(entry) => {
                match (&entry.cached, entry.live(self.now)) {
                    (None, _) => notes.push("no policy".to_owned()),
                    (Some(_), None) => notes.push("expired".to_owned()),
                    _ => {}
                }
                if let Some(until) = entry.pinned(self.now) {
                    notes.push(format!("pinned until {}", calendar::date(until)));
                }
                if entry.imported.is_some() {
                    notes.push("imported, not yet fetched here".to_owned());
                }
                if let Some(failed) = &entry.failed {
                    notes.push(format!("fetch failed {}: {}", self.distance(failed.at), failed.result));
                }
                if let Some(since) = self.unused_since(entry) {
                    notes.push(format!("unused since {}", calendar::date(since)));
                }
                if let Some(since) = entry.idle_since {
                    let removal = since.saturating_add(refresh::GRACE);
                    notes.push(format!("to be removed {}", self.distance(removal)));
                }
            }
        }
        if let Some(exception) = self.exception {
            notes.push(format!("not enforced until {}", calendar::date(exception.until)));
        }
        notes
    }

    /// Since when no lookup has asked for the domain, if that is long ago.
    pub(super) fn unused_since(&self, entry: &Entry) -> Option<u64> {
        entry
            .used
            .filter(|used| self.uses_are_noted && used.saturating_add(30 * DAY) < self.now)
    }

    /// The shape is fixed: what there is not is null. Times are Unix seconds.
    pub(super) fn json(&self) -> Value {
        let (entry, error) = match &self.entry {
            Ok(entry) => (Some(entry), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let cached = entry.and_then(|entry| entry.cached.as_ref());
        let policy = cached.map(|cached| &cached.policy);
        let txt = entry.and_then(|entry| entry.txt.as_ref());
        json!({
            "domain": self.domain.as_str(),
            "error": error,
            "counts": self.counts(),
            "mode": policy.map(|policy| policy.mode().name()),
            "mode_since": entry.and_then(|entry| entry.mode_since),
            "mx": policy.map(|policy| policy.mx().map(MxPattern::as_str).collect::<Vec<_>>()),
            "max_age": policy.map(Policy::max_age),
            "id": cached.map(|cached| cached.id.as_str()),
            "fetched": cached.map(|cached| cached.fetched),
            "expires": cached.map(|cached| cached.expires()),
            "imported": entry.and_then(|entry| entry.imported),
            "pinned_until": entry.and_then(|entry| entry.pinned(self.now)),
            "txt_seen": txt.map(|txt| txt.at),
            "txt_next": txt.map(|txt| txt.next),
            "next_refresh": entry.and_then(|entry| self.next_refresh(entry)),
            "failed": entry.and_then(|entry| entry.failed.as_ref()).map(|failed| json!({
                "id": failed.id.as_str(),
                "at": failed.at,
                "result": failed.result.name(),
                "detail": &*failed.detail,
            })),
            "unlearned_since": entry.and_then(|entry| entry.unlearned_since),
            "used": entry.and_then(|entry| entry.used),
            "idle_since": entry.and_then(|entry| entry.idle_since),
            "exception": self.exception.map(|exception| json!({
                "until": exception.until,
                "reason": exception.reason,
            })),
        })
    }

    /// When a refresh will renew the policy; `None` if none will.
    pub(super) fn next_refresh(&self, entry: &Entry) -> Option<u64> {
        let next = refresh::next(entry, self.now)?;
        refresh::idle(entry, self.now, self.uses_are_noted)
            .is_none()
            .then_some(next)
    }

    /// Whether mail for the domain is protected now.
    pub(super) fn enforced(&self) -> bool {
        let policy = self.entry.as_ref().ok().and_then(|entry| entry.live(self.now));
        self.exception.is_none() && policy.is_some_and(|cached| cached.policy.mode() == Mode::Enforce)
    }
}
