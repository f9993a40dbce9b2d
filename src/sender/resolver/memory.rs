//! What is known of a domain before anybody is asked: in memory, and on disk.
//!
//! Memory is a shortcut in front of the disk, and the only place of what could not be written.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, TryLockError};
use std::thread;
use std::time::Duration;

use super::{Shared, unix_now};
use crate::cache::CacheError;
use crate::cache::crowd::{Worth, excess, parent};
use crate::cache::entry::Entry;
use crate::protocol::names::Domain;
use crate::protocol::words::Source;
use crate::sender::answer::Answer;
use crate::sender::exception::Exception;
use crate::sender::outcome::Outcome;
use crate::sender::settings::Settings;

/// For how long an answer is repeated from memory before the disk is looked at again, in seconds: another process may
/// have learnt more, or an operator may have removed the file.
const MEMORY_LIFE: u64 = 5;
/// How many domains are kept in memory.
const MEMORY_SIZE: usize = 10_000;
/// The longest policy text that is kept in memory, in octets, where the disk has it too; most have 200.
const MEMORY_TEXT: usize = 4096;
/// How long a removal tries to get the memory for itself. Where it cannot in this time, its lock belonged to a thread of
/// a parent process: then nothing is read from memory here either.
const MEMORY_TRIES: u32 = 100;

/// Answers that may be repeated. The lock is never waited for, because the thread that holds it may be one of a parent
/// process, which does not exist here: a lock that is taken only means that the disk is read.
#[derive(Default)]
pub(super) struct Answers(RwLock<HashMap<Domain, Remembered>>);

#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) answer: Arc<Answer>,
    /// What could not be written to disk. In a box because there is hardly ever any: memory is kept small.
    pub(super) unsaved: Option<Box<Entry>>,
}

/// What was known of a domain before anybody was asked.
pub(super) struct Known {
    /// What the disk and the memory know together.
    pub(super) entry: Entry,
    /// What is on the disk: only what differs from that is written there.
    pub(super) stored: Entry,
    /// Memory has something that could not be written.
    pub(super) in_memory_alone: bool,
    /// Why the disk does not say what it holds.
    pub(super) unread: Option<CacheError>,
}

impl Answers {
    /// The answer that memory holds and that may be repeated now. `name` is a domain in its one spelling.
    pub(super) fn get(&self, name: &str, now: u64) -> Option<Arc<Answer>> {
        let memory = self.0.try_read().ok()?;
        memory
            .get(name)
            .filter(|known| now < known.answer.good_until())
            .map(|known| known.answer.clone())
    }

    /// Keeps an answer. Where there is no room, those below a parent domain with more than `per_parent` go first.
    pub(super) fn put(&self, known: Remembered, per_parent: usize) {
        let Some(domain) = known.answer.domain().cloned() else {
            return;
        };
        // A stranger's policy may have 64 KiB, and ten thousand of those are too much for a guest. It is on disk.
        if known.unsaved.is_none()
            && known
                .answer
                .cached()
                .is_some_and(|cached| cached.text.len() > MEMORY_TEXT)
        {
            return;
        }
        let mut memory = match self.0.try_write() {
            Ok(memory) => memory,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if memory.len() >= MEMORY_SIZE && !memory.contains_key(&domain) {
            memory.retain(|_, old| old.unsaved.is_some());
            // Only a host that can write nothing at all comes here, and memory is all that its policies have.
            if memory.len() >= MEMORY_SIZE {
                make_room(&mut memory, per_parent);
            }
        }
        memory.insert(domain, known);
    }

    /// The policy of the last answer, however long ago that was, where it counts still.
    fn last_seen(&self, domain: &Domain, now: u64) -> Option<Entry> {
        let memory = self.0.try_read().ok()?;
        let answer = &memory.get(domain.as_str())?.answer;
        let mut entry = Entry::new(domain.clone());
        entry.cached = answer.cached_shared().cloned();
        entry.pinned_until = answer.pinned_until();
        entry.live(now).is_some().then_some(entry)
    }

    /// What memory alone knows of the domain.
    pub(super) fn unsaved(&self, domain: &Domain) -> Option<Box<Entry>> {
        let memory = self.0.try_read().ok()?;
        memory.get(domain.as_str())?.unsaved.clone()
    }

    /// Forgets a domain.
    pub(super) fn forget(&self, domain: &Domain) {
        for _ in 0..MEMORY_TRIES {
            if let Ok(mut memory) = self.0.try_write() {
                memory.remove(domain.as_str());
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Lets go of an eighth of what cannot be written: what is worth least.
fn make_room(memory: &mut HashMap<Domain, Remembered>, per_parent: usize) {
    let now = unix_now();
    let unsaved: Vec<&Entry> = memory.values().filter_map(|known| known.unsaved.as_deref()).collect();
    let worth: Vec<_> = unsaved
        .iter()
        .map(|entry| (parent(&entry.domain), Worth::of(entry, now)))
        .collect();
    let gone = excess(&worth, per_parent, MEMORY_SIZE - MEMORY_SIZE / 8);
    let gone: Vec<Domain> = gone.into_iter().map(|place| unsaved[place].domain.clone()).collect();
    for domain in gone {
        memory.remove(&domain);
    }
}

impl Shared {
    /// What is known of the domain: on disk, and in memory where it could not be written.
    pub(super) fn load(&self, domain: &Domain, now: u64) -> Known {
        let (stored, unread) = match self.cache.load(domain) {
            Ok(stored) => (stored, None),
            Err(e) => (None, Some(e)),
        };
        if let Some(mut entry) = self.memory.unsaved(domain).map(|entry| *entry) {
            if let Some(stored) = &stored {
                entry.join(stored);
            }
            let stored = stored.unwrap_or_else(|| Entry::new(domain.clone()));
            return Known {
                in_memory_alone: entry != stored,
                entry,
                stored,
                unread,
            };
        }
        let entry = match (stored, &unread) {
            (Some(stored), _) => Some(stored),
            // The entry is as good as it was.
            (None, Some(CacheError::Unread(_))) => self.memory.last_seen(domain, now),
            (None, _) => None,
        };
        let entry = entry.unwrap_or_else(|| Entry::new(domain.clone()));
        Known {
            stored: entry.clone(),
            entry,
            in_memory_alone: false,
            unread,
        }
    }
}

/// Until when the answer of an outcome may be repeated from memory.
pub(super) fn good_until(
    entry: &Entry,
    outcome: &Outcome,
    exception: Option<&Exception>,
    settings: &Settings,
    now: u64,
) -> u64 {
    let due = entry.txt.as_ref().map_or(now, |txt| txt.next);
    let due = due.min(now.saturating_add(settings.txt_life_max.as_secs()));
    let due = entry.pinned(now).unwrap_or(due);
    let until = match outcome.source {
        Source::CouldNotLearn => now,
        Source::NoPolicy => due,
        _ => due
            .min(
                outcome
                    .cached
                    .as_ref()
                    .map_or(now, |cached| cached.expires().saturating_add(1)),
            )
            .min(now + MEMORY_LIFE),
    };
    exception.map_or(until, |exception| until.min(exception.until + 1))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Question, Resolver};
    use super::*;
    use crate::cache::entry::{CachedPolicy, TxtSeen};
    use crate::sender::answer::Decision;
    use crate::sender::lookup::{Ask, Lookup};
    use crate::sender::silence::Share;

    /// What a stranger's names fill memory with where nothing can be written pushes out nobody else's policy.
    #[test]
    fn a_crowd_of_what_cannot_be_written_pushes_out_itself() {
        let mut settings = Settings::default();
        settings.set("cache_dir", "/proc/mtasts-cannot-be-made").unwrap();
        let resolver = Resolver::new(settings);
        let now = unix_now();
        let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
        let cached = Arc::new(CachedPolicy::new("a".parse().unwrap(), now, text).unwrap());
        let remember = |name: &str, used: u64| {
            let mut entry = Entry::new(Domain::parse(name).unwrap());
            entry.cached = Some(cached.clone());
            entry.used = Some(used);
            let known = Remembered {
                answer: resolver
                    .shared
                    .decide(Lookup::from_cache(&entry, now), &entry, now)
                    .unwrap(),
                unsaved: Some(Box::new(entry)),
            };
            resolver
                .shared
                .memory
                .put(known, resolver.settings().cache_max_per_parent);
        };
        remember("victim.test", now - 5 * 86_400);
        for number in 0..3 * MEMORY_SIZE {
            remember(&format!("x{number}.crowd.test"), now);
        }
        let known = |name: &str| resolver.shared.memory.unsaved(&Domain::parse(name).unwrap()).is_some();
        assert!(known("victim.test") && known(&format!("x{}.crowd.test", 3 * MEMORY_SIZE - 1)));
        assert!(resolver.shared.memory.0.read().unwrap().len() <= MEMORY_SIZE);
    }

    /// A directory that may not be written to leaves the policy in memory alone, and no hit may take it from there.
    #[test]
    fn what_only_memory_knows_survives_each_hit() {
        let mut settings = Settings::default();
        settings.set("cache_dir", "/proc/mtasts-cannot-be-made").unwrap();
        let resolver = Resolver::new(settings);
        let (domain, now) = (Domain::parse("example.com").unwrap(), unix_now());
        let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
        let mut entry = Entry::new(domain.clone());
        entry.cached = Some(Arc::new(CachedPolicy::new("a".parse().unwrap(), now, text).unwrap()));
        entry.txt = Some(TxtSeen {
            at: now,
            next: now + 3600,
        });
        let outcome = Lookup::hit(&entry, resolver.settings(), now).unwrap();
        // Not to be repeated from memory: the next question looks at what is known again.
        let known = Remembered {
            answer: Arc::new(outcome.into_answer(Decision::default()).unwrap()),
            unsaved: Some(Box::new(entry)),
        };
        resolver
            .shared
            .memory
            .put(known, resolver.settings().cache_max_per_parent);
        for _ in 0..3 {
            let question = Question::Network(Ask::Delivery);
            let learnt = resolver
                .shared
                .answer(
                    &domain,
                    question,
                    Instant::now() + Duration::from_secs(60),
                    Share::default(),
                )
                .unwrap();
            assert_eq!(learnt.outcome.source, Source::Cached, "{:?}", learnt.outcome);
            assert!(!learnt.is_saved);
            let known = resolver.shared.remembered_as(learnt, now).unwrap();
            resolver
                .shared
                .memory
                .put(known, resolver.settings().cache_max_per_parent);
        }
    }
}
