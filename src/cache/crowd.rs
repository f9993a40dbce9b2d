//! Which entries are removed if there are too many.
//!
//! The owner of a domain has any number of names below it, with a policy for each, and one mail from or to each is
//! enough to fill a cache. So the names below one parent are counted together, and those of the fullest parent go
//! first: a crowd crowds out itself. Before them go the entries that protect no mail, and those that were used only
//! once.

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};

use crate::cache::entry::Entry;
use crate::protocol::names::Domain;

const DAY: u64 = 86_400;
/// Below a country's own domain of these names anyone may register one (`example.co.uk`).
const PUBLIC: [&str; 14] = [
    "ac", "co", "com", "edu", "gob", "gov", "govt", "ltd", "net", "nom", "or", "org", "ne", "go",
];

/// One in so many new entries counts all entries, because that takes longer than a write. Which one is random.
const LOOKS: u64 = 16;

/// How many entries there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Below one parent domain.
    pub per_parent: usize,
    /// In all.
    pub in_all: usize,
}

/// Whether the writer of this new entry has to count the files of the cache: one writer in [`LOOKS`] does.
pub(super) fn looks(domain: &Domain) -> bool {
    RandomState::new().hash_one(domain.as_str()).is_multiple_of(LOOKS)
}

/// What an entry is worth. The least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worth {
    kind: Kind,
    used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// No policy of it is in force.
    Nothing,
    /// No lookup has asked for it after the day on which it came.
    Once,
    /// It was of use on another day, or another server's cache had it.
    Again,
    /// The operator's own. It stays.
    Pinned,
}

impl Worth {
    /// The worth of an entry at this time.
    #[must_use]
    pub(crate) fn of(entry: &Entry, now: u64) -> Self {
        let used = entry.used.unwrap_or(0);
        let kind = match entry.live(now) {
            None => Kind::Nothing,
            Some(_) if entry.pinned(now).is_some() => Kind::Pinned,
            Some(cached) => {
                let came = entry.mode_since.unwrap_or(cached.fetched);
                match entry.imported.is_some() || used >= came.saturating_add(DAY) {
                    true => Kind::Again,
                    false => Kind::Once,
                }
            }
        };
        Self { kind, used }
    }

    /// Whether it may be removed before all entries have been read.
    pub(crate) fn is_little(self) -> bool {
        self.kind < Kind::Again
    }

    /// Whether it stays, however many there are.
    pub(crate) fn is_fixed(self) -> bool {
        self.kind == Kind::Pinned
    }
}

/// The name below which a domain is counted: the one that had to be registered, as far as it can be determined.
pub(crate) fn parent(domain: &Domain) -> &str {
    let name = domain.as_str();
    let mut labels = name.rsplit('.');
    let public = match (labels.next(), labels.next()) {
        (Some(country), Some(second)) => country.len() == 2 && PUBLIC.contains(&second),
        _ => false,
    };
    let labels = if public { 3 } else { 2 };
    let mut dots = name.rmatch_indices('.');
    dots.nth(labels - 1).map_or(name, |(dot, _)| &name[dot + 1..])
}

/// Which of these entries go, by their places, if there may be so many below one parent and so many in all.
pub(crate) fn excess(entries: &[(&str, Worth)], per_parent: usize, in_all: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..entries.len()).collect();
    places.sort_unstable_by_key(|place| (entries[*place].0, Reverse(entries[*place].1)));
    let (mut gone, mut stay) = (Vec::new(), Vec::with_capacity(places.len()));
    // How many of the same parent are worth more.
    let (mut before, mut rank) = ("", 0);
    for place in places {
        let (parent, worth) = entries[place];
        rank = if parent == before { rank + 1 } else { 0 };
        before = parent;
        if rank >= per_parent && !worth.is_fixed() {
            gone.push(place);
        } else {
            stay.push((worth.kind, Reverse(rank), worth.used, place));
        }
    }
    stay.sort_unstable();
    let too_many = stay.len().saturating_sub(in_all);
    let goes = stay.iter().filter(|(kind, ..)| *kind != Kind::Pinned).take(too_many);
    gone.extend(goes.map(|(.., place)| *place));
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn worth(kind: Kind, used: u64) -> Worth {
        Worth { kind, used }
    }

    #[test]
    fn names_below_one_registered_domain_are_counted_together() {
        for (name, expected) in [
            ("example.com", "example.com"),
            ("a.example.com", "example.com"),
            ("a.b.c.example.com", "example.com"),
            ("example.co.uk", "example.co.uk"),
            ("a.example.co.uk", "example.co.uk"),
            ("a.b.example.com.au", "example.com.au"),
            ("co.uk", "co.uk"),
            ("a.abc.de", "abc.de"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(parent(&Domain::parse(name).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn who_makes_a_crowd_crowds_out_himself() {
        let mut entries = vec![("a.test", worth(Kind::Once, 1)), ("b.test", worth(Kind::Again, 2))];
        entries.extend((0..10).map(|n| ("crowd.test", worth(Kind::Once, 100 + n))));
        // Below one parent: the least recently used of it.
        assert_eq!(excess(&entries, 7, 100), [4, 3, 2]);
        // In all: of the fullest parent, although all of it is newer.
        let mut gone = excess(&entries, 100, 4);
        gone.sort_unstable();
        assert_eq!(gone, (2..10).collect::<Vec<_>>());
        assert_eq!(excess(&entries, 10, 12), [] as [usize; 0]);
    }

    #[test]
    fn what_protects_nobody_goes_first_and_a_pin_never() {
        let entries = [
            ("a.test", worth(Kind::Again, 1)),
            ("b.test", worth(Kind::Nothing, 9)),
            ("c.test", worth(Kind::Once, 9)),
            ("d.test", worth(Kind::Pinned, 0)),
            ("d.test", worth(Kind::Pinned, 0)),
        ];
        assert_eq!(excess(&entries, 1, 4), [1]);
        assert_eq!(excess(&entries, 1, 3), [1, 2]);
        assert_eq!(excess(&entries, 1, 0), [1, 2, 0]);
    }
}
