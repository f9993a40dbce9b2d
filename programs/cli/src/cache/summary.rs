//! The cache as a whole, for monitoring. The numbers do not grow with what strangers publish: no domain has one of its own.

use super::super::Trouble;
use super::describe::Described;
use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::protocol::names::Domain;
use mtasts::protocol::policy::Mode;
use mtasts::sender::resolver::unix_now;
use mtasts::sender::settings::Settings;

const DAY: u64 = 86_400;
/// The operator has a week to replace a pin.
const PIN_ENDS: u64 = 7 * DAY;
/// So many domains of a kind are named.
const NAMED: usize = 3;

/// Domains of which something is wrong.
#[derive(Default)]
pub(super) struct Affected {
    pub(super) count: usize,
    names: Vec<String>,
}

impl Affected {
    fn add(&mut self, domain: &Domain) {
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push(domain.to_string());
        }
    }

    /// `a.test, b.test, c.test and 5 more`.
    pub(super) fn named(&self) -> String {
        let names = self.names.join(", ");
        match self.count - self.names.len() {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

/// What there is at a time.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) now: u64,
    /// All entries, also those without a policy in force.
    pub(super) entries: usize,
    /// Policies in force, by mode.
    pub(super) enforce: usize,
    pub(super) testing: usize,
    pub(super) none: usize,
    /// Policies of mode enforce without an exception.
    pub(super) enforced: usize,
    /// Policies in force that could not be renewed when that was tried last. Mode none asks for nothing and cannot fail
    /// anybody (RFC 8461 10.2).
    pub(super) failing: Affected,
    /// Those of them that expire soon: less than a day is left, or less than a quarter of a short life.
    pub(super) expiring: Affected,
    /// Files that cannot be used.
    pub(super) broken: Affected,
    pub(super) pins: usize,
    /// Pins that end within a week.
    pub(super) pins_ending: Affected,
    /// Exceptions that are not over.
    pub(super) exceptions: usize,
    /// When the oldest policy in force was fetched.
    pub(super) oldest_fetch: Option<u64>,
    /// When the next policy expires that a refresh has to renew.
    pub(super) next_expiry: Option<u64>,
    /// When the last run of the refresh began.
    pub(super) refresh_begun: Option<u64>,
}

impl Summary {
    pub(super) fn read(store: &Store, settings: &Settings) -> Result<Self, Trouble> {
        let domains = store.domains().map_err(|error| Trouble(error.to_string()))?;
        let now = unix_now();
        let exceptions = settings.exceptions.iter();
        let mut summary = Self {
            now,
            exceptions: exceptions.filter(|exception| exception.is_live(now)).count(),
            refresh_begun: Some(store.run_begun()).filter(|begun| *begun > 0),
            ..Self::default()
        };
        for domain in &domains {
            if let Some(described) = Described::read(store, settings, domain, now) {
                summary.add(&described);
            }
        }
        Ok(summary)
    }

    fn add(&mut self, described: &Described<'_>) {
        self.entries += 1;
        let (domain, now) = (described.domain, self.now);
        let Ok(entry) = &described.entry else {
            return self.broken.add(domain);
        };
        let Some(cached) = entry.live(now) else { return };
        let mode = cached.policy.mode();
        *match mode {
            Mode::Enforce => &mut self.enforce,
            Mode::Testing => &mut self.testing,
            Mode::None => &mut self.none,
        } += 1;
        self.enforced += usize::from(described.enforced());
        self.oldest_fetch = Some(
            self.oldest_fetch
                .map_or(cached.fetched, |time| time.min(cached.fetched)),
        );
        if let Some(until) = entry.pinned(now) {
            self.pins += 1;
            if until < now + PIN_ENDS {
                self.pins_ending.add(domain);
            }
        }
        // What is unused may expire.
        if mode == Mode::None || described.next_refresh(entry).is_none() {
            return;
        }
        let expires = cached.expires();
        self.next_expiry = Some(self.next_expiry.map_or(expires, |time| time.min(expires)));
        if entry.failed.is_some() {
            self.failing.add(domain);
            if expires - now < DAY.min(u64::from(cached.policy.max_age()) / 4) {
                self.expiring.add(domain);
            }
        }
    }

    /// Policies in force, of any mode.
    pub(super) const fn policies(&self) -> usize {
        self.enforce + self.testing + self.none
    }
}
