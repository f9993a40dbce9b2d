//! The connections that the workers of a queue keep: how many the server sees, and what ends one.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::sealed::{Secrets, open};
use mtasts::queue::{Completed, Queue};
use mtasts::sender::fleet::counts::Event;
use mtasts::sender::resolver::unix_now;
use mtasts::{Answer, Mode, Resolver, Source};
use mtasts_kit::valkey::{Valkey, key_file};
use mtasts_kit::{Child, USER, as_user, ask, give_up_root, name, until};

use super::{Fleet, KEY, on_a_fleet};

/// The answer of a queue, whose one worker is idle before and after.
pub(crate) fn through(queue: &Queue<()>, domain: &str) -> Arc<Answer> {
    queue.submit(domain, Duration::from_secs(20), ()).unwrap();
    loop {
        match queue.next().unwrap().map(|completion| completion.result) {
            Some(Completed::Answer(answer)) => return answer,
            Some(other) => panic!("{domain}: {other:?}"),
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn a_worker_of_a_queue_keeps_its_connection() {
    on_a_fleet("fleet-kept", 20, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let (resolver, other) = (fleet.host("a"), fleet.host("b"));
        as_user(USER, USER, || {
            let queue = Queue::new(&resolver).unwrap();
            let before = server.connections();
            for number in 0..8 {
                assert_eq!(through(&queue, &format!("many{number}.test")).source(), Source::Fresh);
            }
            assert_eq!(server.connections() - before, 1);
            let count = |event| resolver.fleet_counts().take(event);
            assert_eq!(Event::ALL.map(count), [0, 8, 8, 0, 1, 0, 0]);
            // A lookup on the caller's own thread has a connection of its own, which is gone when it returns.
            for number in 0..3 {
                assert_eq!(ask(&other, &format!("many{number}.test")).source(), Source::Cached);
                assert_eq!(server.connections() - before, 2 + number);
            }
            assert_eq!(
                Event::ALL.map(|event| other.fleet_counts().take(event)),
                [3, 0, 0, 0, 3, 0, 0]
            );
            // The server closes what is idle, which is not a failure.
            server.says(&["CLIENT", "KILL", "TYPE", "normal"]);
            assert_eq!(through(&queue, "many8.test").source(), Source::Fresh);
            assert_eq!(through(&queue, "many9.test").source(), Source::Fresh);
            assert_eq!(server.connections() - before, 5);
            assert_eq!(Event::ALL.map(count), [0, 2, 2, 0, 1, 0, 0]);
            // It ends with the worker, who waits for some seconds.
            let clients = || server.says(&["CLIENT", "LIST"]).lines().count();
            assert_eq!(clients(), 2);
            until("the end of the worker", || clients() == 1);
            assert_eq!(through(&queue, "many10.test").source(), Source::Fresh);
            assert_eq!(fleet.told(), [""; 0]);
        });
    });
}

fn is_sealed_with(server: &Valkey, key: &str, domain: &str) -> bool {
    let text = server.get(&format!("mtasts:1:p:{domain}"));
    open(&Secrets::parse(key).unwrap(), &name(domain), &text, unix_now()).is_ok()
}

/// No program need be restarted for another key or another password.
#[test]
fn a_kept_connection_follows_the_file_of_secrets() {
    on_a_fleet("fleet-kept-keys", 20, |internet| {
        let server = Valkey::start(
            &internet.lab.directory().join("valkey"),
            &["user mtasts on >one ~mtasts:1:* +get +set +del +eval +select"],
        );
        let fleet = Fleet::at(internet, server.address().replace("unix:", "unix:mtasts@"));
        let new = KEY.replace('a', "c");
        key_file(&fleet.key, &format!("{KEY}password one\n"));
        let (queue, begin) = (Queue::new(&fleet.host("a")).unwrap(), Instant::now());
        as_user(USER, USER, || {
            let before = server.connections();
            assert_eq!(through(&queue, "many0.test").source(), Source::Fresh);
            assert!(is_sealed_with(&server, KEY, "many0.test"));
            assert_eq!(server.connections() - before, 1);
        });
        key_file(&fleet.key, &format!("{new}{KEY}password one\n"));
        as_user(USER, USER, || {
            let before = server.connections();
            assert_eq!(through(&queue, "many1.test").source(), Source::Fresh);
            assert!(is_sealed_with(&server, &new, "many1.test"));
            // An idle worker ends after three seconds, and its connection with it.
            let is_same = server.connections() == before || begin.elapsed() > Duration::from_secs(3);
            assert!(is_same, "on the same connection");
        });
        // Another password is another connection.
        server.says(&["ACL", "SETUSER", "mtasts", "resetpass", ">two"]);
        key_file(&fleet.key, &format!("{new}password two\n"));
        as_user(USER, USER, || {
            let before = server.connections();
            assert_eq!(through(&queue, "many2.test").source(), Source::Fresh);
            assert_eq!(server.connections() - before, 1);
            assert_eq!(fleet.told(), [""; 0]);
        });
    });
}

/// A child that is forked has none of its parent's connections, and makes its own.
#[test]
fn a_child_has_no_connection_of_its_parent() {
    on_a_fleet("fleet-kept-fork", 20, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let resolver = fleet.host("a");
        Child::start(|| {
            give_up_root();
            let sockets = || -> Vec<_> {
                let list = fs::read_dir("/proc/self/fd").unwrap();
                let links = list.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
                links
                    .filter(|link| link.to_string_lossy().starts_with("socket:"))
                    .collect()
            };
            let asks = |queue: &Queue<()>, resolver: &Resolver, domain: &str| {
                let before = server.connections();
                let answer = through(queue, domain);
                assert_eq!((answer.source(), answer.mode()), (Source::Fresh, Mode::Enforce));
                assert_eq!(resolver.fleet_counts().take(Event::Failed), 0);
                server.connections() - before
            };
            let before = sockets();
            let (queue, begin) = (Queue::new(&resolver).unwrap(), Instant::now());
            assert_eq!(asks(&queue, &resolver, "many0.test"), 1);
            assert_eq!(sockets().len(), before.len() + 1, "a kept one");
            Child::start(|| {
                assert!(sockets() == before, "a child has a connection of its parent");
                let queue = Queue::new(&resolver).unwrap();
                assert_eq!(asks(&queue, &resolver, "many1.test"), 1);
                assert_eq!(asks(&queue, &resolver, "many2.test"), 0);
                // It ends as a program does, with what it has inherited.
                drop(queue);
            })
            .ends_well(Duration::from_secs(60));
            // An idle worker ends after three seconds, and its connection with it.
            let more = asks(&queue, &resolver, "many3.test");
            assert!(more == 0 || begin.elapsed() > Duration::from_secs(3), "{more}");
        })
        .ends_well(Duration::from_secs(120));
    });
}
