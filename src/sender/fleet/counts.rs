//! What came of asking the server of a fleet, for the metrics of a program that lives on.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server had a policy, or a failed fetch.
    Hit,
    /// It had nothing of the domain that this host can read.
    Miss,
    /// A policy, or a failed fetch, was stored there.
    Stored,
    /// A lookup has waited because another host was fetching.
    Waited,
    /// A connection was made.
    Connected,
    /// The server could not be used.
    Failed,
    /// It was not asked, because it had failed less than five seconds ago.
    Skipped,
}

impl Event {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Hit,
        Self::Miss,
        Self::Stored,
        Self::Waited,
        Self::Connected,
        Self::Failed,
        Self::Skipped,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stored => "stored",
            Self::Waited => "waited",
            Self::Connected => "connected",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// How often each has happened in this process. A helper of root counts for itself.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Event::ALL.len()]);

impl Counts {
    /// It has happened once more.
    pub fn note(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has happened since the last call.
    pub fn take(&self, event: Event) -> u64 {
        self.0[event as usize].swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_own_place() {
        let counts = Counts::default();
        for (times, event) in (1..).zip(Event::ALL) {
            (0..times).for_each(|_| counts.note(event));
        }
        for (times, event) in (1..).zip(Event::ALL) {
            assert_eq!((counts.take(event), counts.take(event)), (times, 0), "{}", event.name());
        }
    }
}
