//! `mtasts serve` and the server of a fleet: one connection for a worker, and counters of what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::server::Server;
use mtasts_kit::valkey::{Valkey, key_file};
use mtasts_kit::{Internet, on_the_internet_with_crowd, signal, until};

#[test]
fn a_worker_keeps_its_connection_and_what_came_of_it_is_counted() {
    // The server of the fleet has 150 ms of a lookup: a round in which a busy machine was late says nothing.
    let is_in_time = Arc::new(AtomicBool::new(false));
    let is_done = (0..5).any(|_| {
        let seen = Arc::clone(&is_in_time);
        on_the_internet_with_crowd("serve-fleet", 12, move |internet| {
            seen.store(counts(internet), Ordering::Relaxed);
        });
        is_in_time.load(Ordering::Relaxed)
    });
    assert!(is_done, "it was late five times");
}

/// Whether the machine was quick enough to tell.
fn counts(internet: &Internet) -> bool {
    let valkey = Valkey::start(&internet.lab.directory().join("valkey"), &[]);
    let key = internet.lab.directory().join("fleet.key");
    key_file(&key, &format!("key {}\n", "a1".repeat(32)));
    internet.set(&format!("fleet = {:?}\nfleet_key_file = {key:?}", valkey.address()));
    let server = Server::start(internet);
    let count = |event: &str| -> u64 {
        let page = server.get("/metrics");
        let begins = format!("mtasts_serve_fleet_total{{event=\"{event}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&begins));
        value.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
    };
    let (before, begin) = (valkey.connections(), Instant::now());
    for number in 0..6 {
        let reply = server.ask("postfix", &format!("many{number}.test"));
        assert!(reply.starts_with("OK secure"), "{reply}");
    }
    // An idle worker ends after three seconds.
    if count("failed") > 0 || begin.elapsed() > Duration::from_secs(3) {
        return false;
    }
    assert_eq!(valkey.connections() - before, 1);
    for (event, times) in [("miss", 6), ("stored", 6), ("connected", 1), ("hit", 0), ("failed", 0)] {
        assert_eq!(count(event), times, "{event}");
    }
    // A reload begins with new workers, and no count is lost.
    signal(server.pid(), libc::SIGHUP);
    until("the reload", || server.log().contains("settings reloaded"));
    valkey.says(&["SET", "mtasts:1:p:many6.test", "x"]);
    server.ask("postfix", "many6.test");
    if count("failed") > 0 {
        return false;
    }
    assert_eq!((count("miss"), count("stored"), count("connected")), (7, 7, 2));
    drop(valkey);
    let begin = Instant::now();
    for number in 7..10 {
        let reply = server.ask("postfix", &format!("many{number}.test"));
        assert!(reply.starts_with("OK secure"), "{reply}");
    }
    // It is asked again after five seconds.
    if begin.elapsed() > Duration::from_secs(4) {
        return false;
    }
    assert_eq!((count("failed"), count("skipped")), (1, 2));
    assert!(server.log().contains("mtasts[fleet-not-used]: "), "{}", server.log());
    true
}
