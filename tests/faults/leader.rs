//! Whoever fetches for all is killed in the middle of it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::{Mode, Source};
use mtasts_lab::{Change, Https};

use mtasts_kit::{Child, Internet, USER, as_user, ask, become_user};

use crate::on_the_internet;

/// The first of many asks a host that never answers, and is killed: processes and threads that wait are freed, and one
/// of them fetches for the rest.
fn the_next_one_goes_on(ground: &Internet, domain: &str, as_root: bool) {
    let identity = || {
        if !as_root {
            become_user(USER, USER);
        }
    };
    ground.lab.set(domain, Change::https(Https::Silent)).unwrap();
    let leader = Child::start(|| {
        identity();
        // Its lock among the hosts of a fleet costs the next one two seconds; tests/fleet/proof.rs has that.
        let answer = ask(&ground.resolver_of_new_fleet(), domain);
        panic!("the leader was not to end: {answer}");
    });
    let end = Instant::now() + Duration::from_secs(10);
    while ground.fetches(domain) == 0 {
        assert!(Instant::now() < end, "the leader does not fetch");
        thread::sleep(Duration::from_millis(2));
    }
    let learns = || {
        identity();
        let answer = ground.asks(domain);
        assert_eq!((answer.mode(), answer.warning()), (Mode::Enforce, None), "{answer}");
    };
    thread::scope(|scope| {
        let processes: Vec<Child> = (0..3).map(|_| Child::start(learns)).collect();
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(learns)).collect();
        // They have asked DNS and wait for their turn.
        let end = Instant::now() + Duration::from_secs(10);
        while ground.questions(domain) < 7 {
            assert!(Instant::now() < end, "they do not ask");
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(200));
        assert_eq!(ground.fetches(domain), 1, "one at a time");
        assert!(threads.iter().all(|thread| !thread.is_finished()));

        ground.lab.set(domain, Change::https(Https::Ok)).unwrap();
        let killed = Instant::now();
        drop(leader);
        processes
            .into_iter()
            .for_each(|process| process.ends_well(Duration::from_secs(10)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Within a second on a machine at rest; without being freed they would wait for 20.
        assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    });
    assert_eq!(ground.fetches(domain), 2, "one of them fetched for all");
    as_user(USER, USER, || {
        assert_eq!(ask(&ground.resolver(), domain).source(), Source::Cached)
    });
}

#[test]
fn a_leader_that_is_killed_holds_up_nobody() {
    on_the_internet("leader", |ground| {
        // The helper of a root process dies with it.
        for (domain, as_root) in [("good.test", false), ("wild.test", true)] {
            // Who has waited for two seconds fetches without his turn: a machine as busy as that has another try.
            for attempt in 1.. {
                let begin = Instant::now();
                match catch_unwind(AssertUnwindSafe(|| the_next_one_goes_on(ground, domain, as_root))) {
                    Ok(()) => break,
                    Err(panic) if attempt == 5 || begin.elapsed() < Duration::from_secs(2) => resume_unwind(panic),
                    Err(_) => {
                        ground.empty_cache();
                        ground.lab.reset().unwrap();
                    }
                }
            }
        }
    });
}
