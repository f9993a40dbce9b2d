//! Who is next. Flights wait in lines, one line for each parent domain, and are taken in their order as long as the names
//! below one parent do not take more than its share of the workers.
//!
//! A stranger can make any number of names below a domain of his, each with name servers or a policy host that say
//! nothing, and each keeps a worker for the whole time of its lookup. Which name servers are behind a name is not known
//! here (we ask recursive ones), and which domains belong together is known by no rule; but those who make names make them
//! below few parents. So every parent has a share of the workers that are free *now*: one of two labels a quarter, one
//! of three an eighth, and so on. A single parent can have 51 of 256 workers, ten can have 18 each, and
//! with any number of them some workers stay free for other names. A parent like `co.uk`, below which many domains live,
//! is large enough for all that is not silent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Errand, MAX_WORKERS};

/// The ancestors with more labels than this have no share of their own; those with fewer bound them.
const MOST_LABELS: u32 = 6;

#[derive(Default)]
pub(super) struct Line {
    /// The flights that no worker has taken yet, by the parent and the number of their first lookup.
    waiting: HashMap<Box<str>, BTreeMap<u64, Arc<Errand>>>,
    /// How many workers are with names below a parent.
    below: HashMap<Box<str>, usize>,
    /// How many workers are with a flight.
    at_work: usize,
}

impl Line {
    pub(super) fn add(&mut self, number: u64, errand: Arc<Errand>) {
        let line = self.waiting.entry(parent(errand.domain.as_str()).into()).or_default();
        line.insert(number, errand);
    }

    pub(super) fn remove(&mut self, number: u64, errand: &Errand) {
        let parent = parent(errand.domain.as_str());
        if let Some(line) = self.waiting.get_mut(parent) {
            line.remove(&number);
            if line.is_empty() {
                self.waiting.remove(parent);
            }
        }
    }

    /// Whether a flight of this errand may have a worker now.
    pub(super) fn may_begin(&self, errand: &Errand) -> bool {
        let free = MAX_WORKERS.saturating_sub(self.at_work);
        let within =
            |(parent, labels): (&str, u32)| self.below.get(parent).copied().unwrap_or(0) < (free >> labels).max(1);
        free > 0 && ancestors(errand.domain.as_str()).all(within)
    }

    /// The first flight that may have a worker now.
    pub(super) fn first(&self) -> Option<(u64, Arc<Errand>)> {
        let heads = self.waiting.values().filter_map(BTreeMap::first_key_value);
        let (number, errand) = heads
            .filter(|(_, errand)| self.may_begin(errand))
            .min_by_key(|(number, _)| **number)?;
        Some((*number, errand.clone()))
    }

    /// A worker begins.
    pub(super) fn begin(&mut self, errand: &Errand) {
        self.at_work += 1;
        for (parent, _) in ancestors(errand.domain.as_str()) {
            *self.below.entry(parent.into()).or_default() += 1;
        }
    }

    /// It has ended.
    pub(super) fn end(&mut self, errand: &Errand) {
        self.at_work = self.at_work.saturating_sub(1);
        for (parent, _) in ancestors(errand.domain.as_str()) {
            if let Some(count) = self.below.get_mut(parent) {
                *count -= 1;
                if *count == 0 {
                    self.below.remove(parent);
                }
            }
        }
    }
}

fn parent(name: &str) -> &str {
    name.split_once('.').map_or("", |(_, parent)| parent)
}

/// The domains above a name that have a share, with the number of their labels. A top-level domain has none.
fn ancestors(name: &str) -> impl Iterator<Item = (&str, u32)> {
    let dots = name.rmatch_indices('.').map(|(at, _)| &name[at + 1..]);
    dots.zip(1..=MOST_LABELS).skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::names::Domain;
    use crate::sender::lookup::Ask;

    fn errand(name: &str) -> Arc<Errand> {
        Arc::new(Errand {
            domain: Domain::parse(name).unwrap(),
            ask: Ask::Delivery,
        })
    }

    fn fill(line: &mut Line, name: impl Fn(usize) -> String) -> usize {
        let flights = (0..3000).map(|n| errand(&name(n)));
        flights
            .filter(|errand| line.may_begin(errand).then(|| line.begin(errand)).is_some())
            .count()
    }

    #[test]
    fn ancestors_end_below_the_top() {
        let of = |name| {
            ancestors(name)
                .map(|(parent, labels)| format!("{labels} {parent}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("a.b.example.com"), ["2 example.com", "3 b.example.com"]);
        assert!(of("example.com").is_empty());
        assert_eq!(of("1.2.3.4.5.6.7.8.9.example").len(), 5);
        assert_eq!((parent("a.example"), parent("example")), ("example", ""));
    }

    #[test]
    fn no_parent_takes_all() {
        let mut line = Line::default();
        assert_eq!(fill(&mut line, |n| format!("n{n}.one.example")), 51);
        assert!(line.may_begin(&errand("good.example")));
        assert!(line.may_begin(&errand("good.two.example")));
        assert!(!line.may_begin(&errand("deep.names.one.example")));

        let mut line = Line::default();
        assert_eq!(fill(&mut line, |n| format!("n{n}.p{}.example", n % 10)), 181);
        // However many there are, and however deep below one.
        let mut line = Line::default();
        assert!(fill(&mut line, |n| format!("n{n}.p{}.example", n % 1000)) < MAX_WORKERS + 1);
        let mut line = Line::default();
        assert_eq!(fill(&mut line, |n| format!("n.p{n}.one.example")), 51);
        let mut line = Line::default();
        assert_eq!(fill(&mut line, |n| format!("n{n}.shop.co.example")), 28);
        assert!(line.may_begin(&errand("good.co.example")), "it has a share of its own");
    }

    #[test]
    fn the_order_is_that_of_the_submissions_and_ends_return_shares() {
        let mut line = Line::default();
        fill(&mut line, |n| format!("n{n}.one.example"));
        for (number, name) in [(1, "x.one.example"), (3, "good.example"), (2, "y.two.example")] {
            line.add(number, errand(name));
        }
        assert_eq!(line.first().unwrap().0, 2);
        line.remove(2, &errand("y.two.example"));
        assert_eq!(line.first().unwrap().0, 3);
        line.end(&errand("n0.one.example"));
        assert_eq!(line.first().unwrap().0, 1);
    }
}
