//! What the contract promises, over every engine: each case gets an empty cache of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::contract::{Cache, CacheError, WRITE_TURN};
use super::crowd::Bounds;
use super::entry::{CachedPolicy, Entry, FailedFetch, TxtSeen};
use super::memory::Memory;
use super::store::Store;
use crate::protocol::names::Domain;
use crate::protocol::words::ResultType;

const NOW: u64 = 1_700_000_000;
/// How many write or fetch at once, and how often each of them.
const THREADS: usize = 8;
const TIMES: usize = 20;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a case over each engine.
fn over_each(case: impl Fn(&dyn Cache)) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("mtasts-conformance-{}-{count}", std::process::id());
    let directory = Directory(std::env::temp_dir().join(name));
    case(&Store::new(directory.0.clone()));
    case(&Memory::default());
}

fn domain() -> Domain {
    Domain::parse("example.com").unwrap()
}

/// An entry with a policy of this id that was fetched at this time.
fn fetched(domain: &Domain, id: &str, at: u64) -> Entry {
    let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
    let mut entry = Entry::new(domain.clone());
    entry.cached = Some(Arc::new(CachedPolicy::new(id.parse().unwrap(), at, text).unwrap()));
    entry
}

fn store(cache: &dyn Cache, entry: &Entry) {
    change(cache, &entry.domain, |_| Some(entry.clone())).unwrap();
}

fn change(
    cache: &dyn Cache,
    domain: &Domain,
    mut change: impl FnMut(Option<Entry>) -> Option<Entry>,
) -> Result<(), CacheError> {
    let deadline = Instant::now() + 300 * WRITE_TURN;
    cache.change(domain, deadline, &mut |stored| change(stored.unwrap()))
}

fn id(cache: &dyn Cache, domain: &Domain) -> Option<String> {
    Some(cache.load(domain).unwrap()?.cached?.id.to_string())
}

/// Does a work on so many threads, which get their numbers.
fn at_once(work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

#[test]
fn what_was_stored_is_loaded() {
    over_each(|cache| {
        assert_eq!(cache.load(&domain()), Ok(None), "{cache}");
        let mut entry = fetched(&domain(), "a", NOW);
        entry.txt = Some(TxtSeen { at: NOW, next: NOW + 9 });
        entry.failed = Some(FailedFetch::new(
            "b".parse().unwrap(),
            NOW,
            ResultType::StsPolicyFetchError,
            "HTTP status 500",
        ));
        entry.mode_since = Some(NOW - 1);
        entry.imported = Some(NOW - 2);
        entry.pinned_until = Some(NOW + 3);
        entry.used = Some(NOW - 4);
        entry.idle_since = Some(NOW - 5);
        store(cache, &entry);
        assert_eq!(cache.load(&domain()), Ok(Some(entry)), "{cache}");
        let mut unlearned = Entry::new(Domain::parse("unlearned.example").unwrap());
        unlearned.unlearned_since = Some(NOW);
        cache.update(&Entry::new(unlearned.domain.clone()), &unlearned).unwrap();
        assert_eq!(cache.load(&unlearned.domain), Ok(Some(unlearned)), "{cache}");
    });
}

/// A reader sees the entry of before or that of after a change, whole, and never none.
#[test]
fn who_reads_meanwhile_sees_a_whole_entry() {
    over_each(|cache| {
        store(cache, &fetched(&domain(), "a", NOW));
        at_once(|number| {
            for time in 0..TIMES {
                if number == 0 {
                    store(cache, &fetched(&domain(), &format!("a{time}"), NOW + time as u64));
                } else {
                    assert!(cache.load(&domain()).unwrap().unwrap().cached.is_some(), "{cache}");
                }
            }
        });
    });
}

#[test]
fn an_update_changes_what_its_lookup_has_changed() {
    over_each(|cache| {
        let before = fetched(&domain(), "a", NOW);
        store(cache, &before);
        // Meanwhile another process has fetched a policy, and this lookup has only asked DNS.
        store(cache, &fetched(&domain(), "b", NOW + 1));
        let mut asked = before.clone();
        asked.txt = Some(TxtSeen { at: NOW, next: NOW + 9 });
        cache.update(&before, &asked).unwrap();
        let stored = cache.load(&domain()).unwrap().unwrap();
        assert_eq!(
            (stored.cached.unwrap().id.as_str(), stored.txt),
            ("b", asked.txt),
            "{cache}"
        );
        // What has been removed meanwhile comes back only if it was fetched anew.
        assert_eq!(cache.remove(&domain()), Ok(true));
        let mut used = before.clone();
        used.used = Some(NOW);
        cache.update(&before, &used).unwrap();
        assert_eq!(cache.load(&domain()), Ok(None), "{cache}");
        cache.update(&before, &fetched(&domain(), "c", NOW + 2)).unwrap();
        assert_eq!(id(cache, &domain()).as_deref(), Some("c"), "{cache}");
    });
}

#[test]
fn of_two_that_fetched_at_once_the_later_stays() {
    over_each(|cache| {
        let before = Entry::new(domain());
        cache.update(&before, &fetched(&domain(), "later", NOW + 2)).unwrap();
        cache.update(&before, &fetched(&domain(), "earlier", NOW + 1)).unwrap();
        assert_eq!(id(cache, &domain()).as_deref(), Some("later"), "{cache}");
        at_once(|number| {
            let at = NOW + 10 + number as u64;
            cache
                .update(&before, &fetched(&domain(), &format!("n{number}"), at))
                .unwrap();
        });
        let last = format!("n{}", THREADS - 1);
        assert_eq!(id(cache, &domain()), Some(last), "{cache}");
    });
}

#[test]
fn a_pin_is_not_written_over() {
    over_each(|cache| {
        let before = fetched(&domain(), "a", NOW);
        store(cache, &before);
        change(cache, &domain(), |stored| {
            let mut pinned = fetched(&domain(), "pinned", NOW - 9);
            pinned.used = stored.unwrap().used;
            pinned.pinned_until = Some(NOW + 99);
            Some(pinned)
        })
        .unwrap();
        cache.update(&before, &fetched(&domain(), "b", NOW + 1)).unwrap();
        let stored = cache.load(&domain()).unwrap().unwrap();
        assert_eq!(stored.pinned_until, Some(NOW + 99), "{cache}");
        assert_eq!(id(cache, &domain()).as_deref(), Some("pinned"), "{cache}");
    });
}

/// Each change sees what the one before it stored, however many there are at once.
#[test]
fn changes_have_their_turn() {
    over_each(|cache| {
        // A directory that is missing has no locks.
        store(cache, &fetched(&domain(), "a", NOW));
        at_once(|_| {
            for _ in 0..TIMES {
                let counted = change(cache, &domain(), |stored| {
                    let at = stored.unwrap().cached.unwrap().fetched + 1;
                    thread::sleep(Duration::from_micros(50));
                    Some(fetched(&domain(), "a", at))
                });
                counted.unwrap();
            }
        });
        let stored = cache.load(&domain()).unwrap().unwrap();
        let last = NOW + (THREADS * TIMES) as u64;
        assert_eq!(stored.cached.unwrap().fetched, last, "{cache}");
    });
}

/// A change that was held up while another one wrote begins again with what is stored now.
#[test]
fn a_change_that_comes_late_begins_again() {
    over_each(|cache| {
        store(cache, &fetched(&domain(), "old", NOW));
        let mut seen = Vec::new();
        change(cache, &domain(), |stored| {
            let mut entry = stored.unwrap();
            seen.push(entry.cached.as_ref().unwrap().id.to_string());
            if seen.len() == 1 {
                assert_eq!(cache.remove(&domain()), Ok(true));
                cache
                    .update(&Entry::new(domain()), &fetched(&domain(), "new", NOW + 1))
                    .unwrap();
            }
            entry.idle_since = Some(NOW);
            Some(entry)
        })
        .unwrap();
        assert_eq!(seen, ["old", "new"], "{cache}");
        let stored = cache.load(&domain()).unwrap().unwrap();
        assert_eq!(
            (stored.cached.unwrap().id.as_str(), stored.idle_since),
            ("new", Some(NOW)),
            "{cache}"
        );
    });
}

#[test]
fn a_change_may_leave_all_as_it_is() {
    over_each(|cache| {
        change(cache, &domain(), |_| None).unwrap();
        assert_eq!(cache.domains(), Ok(vec![]), "{cache}");
        let entry = fetched(&domain(), "a", NOW);
        store(cache, &entry);
        change(cache, &domain(), |_| None).unwrap();
        assert_eq!(cache.load(&domain()), Ok(Some(entry)), "{cache}");
    });
}

#[test]
fn an_entry_that_is_empty_is_none() {
    over_each(|cache| {
        let bare = Entry::new(domain());
        store(cache, &bare);
        assert_eq!(
            (cache.load(&domain()), cache.domains()),
            (Ok(None), Ok(vec![])),
            "{cache}"
        );
        store(cache, &fetched(&domain(), "a", NOW));
        store(cache, &bare);
        assert_eq!(
            (cache.load(&domain()), cache.domains()),
            (Ok(None), Ok(vec![])),
            "{cache}"
        );
        let entry = fetched(&domain(), "a", NOW);
        store(cache, &entry);
        cache.update(&entry, &bare).unwrap();
        assert_eq!(
            (cache.load(&domain()), cache.domains()),
            (Ok(None), Ok(vec![])),
            "{cache}"
        );
    });
}

#[test]
fn what_is_removed_is_gone_once() {
    over_each(|cache| {
        assert_eq!(cache.remove(&domain()), Ok(false), "{cache}");
        for _ in 0..TIMES {
            store(cache, &fetched(&domain(), "a", NOW));
            let removed = AtomicUsize::new(0);
            at_once(|_| {
                removed.fetch_add(usize::from(cache.remove(&domain()).unwrap()), Ordering::Relaxed);
            });
            assert_eq!((removed.into_inner(), cache.load(&domain())), (1, Ok(None)), "{cache}");
        }
    });
}

#[test]
fn domains_are_listed_in_alphabetical_order() {
    over_each(|cache| {
        assert_eq!(cache.domains(), Ok(vec![]), "{cache}");
        let names: Vec<String> = (0..THREADS).map(|number| format!("d{number}.example")).collect();
        at_once(|number| {
            let domain = Domain::parse(&names[THREADS - 1 - number]).unwrap();
            store(cache, &fetched(&domain, "a", NOW));
        });
        let listed = cache.domains().unwrap();
        let listed: Vec<&str> = listed.iter().map(Domain::as_str).collect();
        assert_eq!(listed, names, "{cache}");
    });
}

#[test]
fn a_check_leaves_nothing_behind() {
    over_each(|cache| {
        for domains in [0, 1] {
            assert_eq!(cache.check().unwrap().domains, domains, "{cache}");
            assert_eq!(cache.domains().unwrap().len(), domains, "{cache}");
            store(cache, &fetched(&domain(), "a", NOW));
        }
    });
}

#[test]
fn a_use_is_noted_once_a_day() {
    over_each(|cache| {
        cache.touch(&domain(), NOW);
        assert_eq!(cache.load(&domain()), Ok(None), "{cache}: nothing is known");
        store(cache, &fetched(&domain(), "a", NOW));
        let used = || cache.load(&domain()).unwrap().unwrap().used;
        cache.touch(&domain(), NOW + 1);
        assert_eq!(used(), Some(NOW + 1), "{cache}");
        cache.touch(&domain(), NOW + 2);
        assert_eq!(used(), Some(NOW + 1), "{cache}");
        cache.touch(&domain(), NOW + 100_000);
        assert_eq!(used(), Some(NOW + 100_000), "{cache}");
    });
}

#[test]
fn a_lease_excludes_the_second_and_ends_with_its_holder() {
    over_each(|cache| {
        // A directory that is missing has no locks.
        store(cache, &fetched(&domain(), "a", NOW));
        let soon = || Instant::now() + Duration::from_millis(30);
        let lease = cache.lease(&domain(), soon()).unwrap();
        assert!(lease.is_some(), "{cache}");
        let refused = cache.lease(&domain(), soon());
        assert!(matches!(refused, Err(CacheError::Busy(_))), "{cache}: {refused:?}");
        let other = cache.lease(&Domain::parse("other.example").unwrap(), soon());
        assert!(other.unwrap().is_some(), "{cache}: another domain is free");
        cache
            .update(&Entry::new(domain()), &fetched(&domain(), "b", NOW + 1))
            .unwrap();
        assert_eq!(
            id(cache, &domain()).as_deref(),
            Some("b"),
            "{cache}: a lease is no turn to write"
        );
        drop(lease);
        // What another test has just forked holds a lock that was given back, for a moment.
        let late = || Instant::now() + Duration::from_secs(60);
        assert!(cache.lease(&domain(), late()).unwrap().is_some(), "{cache}");
        // A holder that panics, on another thread.
        let panics = || {
            let _lease = cache.lease(&domain(), late()).unwrap().unwrap();
            std::panic::panic_any(());
        };
        let died = thread::scope(|scope| scope.spawn(panics).join());
        assert!(
            died.is_err() && cache.lease(&domain(), late()).unwrap().is_some(),
            "{cache}"
        );
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        at_once(|_| {
            let _lease = cache
                .lease(&domain(), Instant::now() + Duration::from_secs(20))
                .unwrap();
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            inside.fetch_sub(1, Ordering::SeqCst);
        });
        assert_eq!(most.into_inner(), 1, "{cache}");
    });
}

/// A domain with many names below it loses its own, and no pin is removed.
#[test]
fn there_are_no_more_than_the_bounds_allow() {
    let bounds = Bounds {
        per_parent: 10,
        in_all: 30,
    };
    over_each(|cache| {
        let add = |name: &str, pinned: bool| {
            let domain = Domain::parse(name).unwrap();
            let mut entry = fetched(&domain, "a", NOW);
            entry.pinned_until = pinned.then_some(NOW + 99);
            store(cache, &entry);
            cache.make_room(&domain, bounds, NOW);
        };
        add("pinned.crowd.example", true);
        for number in 0..5 {
            add(&format!("mx.other{number}.example"), false);
        }
        at_once(|thread| {
            for number in 0..40 {
                add(&format!("x{thread}-{number}.crowd.example"), false);
            }
        });
        // An engine looks now and then: until it has looked once more.
        let end = Instant::now() + Duration::from_secs(20);
        let crowd = || {
            let domains = cache.domains().unwrap();
            let below = domains
                .iter()
                .filter(|domain| domain.as_str().ends_with(".crowd.example"));
            (below.count(), domains.len())
        };
        while crowd().0 > bounds.per_parent {
            assert!(Instant::now() < end, "{cache}: {:?}", crowd());
            cache.make_room(&Domain::parse("x0-0.crowd.example").unwrap(), bounds, NOW);
        }
        let (below, all) = crowd();
        assert!(below > 1 && all == below + 5, "{cache}: {below} of {all}");
        assert!(
            cache
                .load(&Domain::parse("pinned.crowd.example").unwrap())
                .unwrap()
                .is_some()
        );
    });
}
