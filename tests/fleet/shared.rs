//! What the hosts of a fleet share: policies, failed fetches, the fetch itself; and which of two is the later.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::entry::CachedPolicy;
use mtasts::cache::sealed::{Secrets, seal};
use mtasts::cache::store::Store;
use mtasts::sender::resolver::unix_now;
use mtasts::{Mode, Resolver, Source};
use mtasts_kit::valkey::Valkey;
use mtasts_kit::{USER, as_user, ask, name};
use mtasts_lab::{Change, Https, policy_text};

use super::{Fleet, KEY, id, on_a_fleet};

#[test]
fn a_policy_is_fetched_once_by_all_hosts() {
    on_a_fleet("fleet", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        assert_eq!(ask(&fleet.host("a"), "good.test").source(), Source::Fresh);
        let theirs = fleet.entry("a", "good.test").unwrap();
        for host in ["b", "c"] {
            let answer = ask(&fleet.host(host), "good.test");
            assert_eq!((answer.source(), answer.mode()), (Source::Cached, Mode::Enforce));
            let entry = fleet.entry(host, "good.test").unwrap();
            assert_eq!((&entry.cached, entry.mode_since), (&theirs.cached, theirs.mode_since));
            assert!(entry.imported.is_none() && entry.txt.is_some(), "DNS was asked here");
        }
        assert_eq!(internet.fetches("good.test"), 1);
        // It goes when the policy ends, and not before.
        let left = theirs.cached.unwrap().expires() - unix_now();
        let ttl: u64 = server.says(&["TTL", "mtasts:1:p:good.test"]).parse().unwrap();
        assert!(ttl.abs_diff(left) < 5, "{ttl} of {left}");

        // A new id: who learns of it first fetches, the others adopt. Times are seconds.
        thread::sleep(Duration::from_millis(1100));
        let policy = policy_text("enforce", &["*.good.test"], 86_400);
        internet.lab.set("good.test", Change::publish("n2", policy)).unwrap();
        for (host, source) in [("b", Source::Fresh), ("a", Source::Cached), ("c", Source::Cached)] {
            let answer = ask(&fleet.host(host), "good.test");
            assert_eq!((id(&answer), answer.source()), (Some("n2"), source), "{host}");
        }
        assert_eq!(internet.fetches("good.test"), 2);
        // A host that is not privileged has no helper.
        as_user(USER, USER, || {
            assert_eq!(id(&ask(&fleet.host("a"), "good.test")), Some("n2"))
        });
        assert_eq!((internet.fetches("good.test"), fleet.told()), (2, vec![]));
    });
}

/// A host that was rebuilt is protected from its first mail on, and what the others know is told anew after FLUSHALL.
#[test]
fn a_new_host_is_protected_although_dns_is_gone() {
    on_a_fleet("fleet-new", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        ask(&fleet.host("old"), "good.test");
        let dns = |records: &str| internet.lab.set("good.test", Change::txt(records)).unwrap();
        dns("SERVFAIL");
        let answer = ask(&fleet.host("new"), "good.test");
        assert_eq!(
            (answer.source(), answer.mode()),
            (Source::CachedAfterFailure, Mode::Enforce)
        );
        // An attacker's NXDOMAIN at one host is not what the others hear.
        assert_eq!(server.says(&["FLUSHALL"]), "OK");
        dns("NXDOMAIN");
        assert_eq!(ask(&fleet.host("blind"), "good.test").source(), Source::NoPolicy);
        assert_eq!(server.says(&["DBSIZE"]), "0");
        assert_eq!(ask(&fleet.host("old"), "good.test").mode(), Mode::Enforce);
        assert_eq!(server.says(&["KEYS", "*"]), "mtasts:1:p:good.test");
        assert_eq!(ask(&fleet.host("blind"), "good.test").mode(), Mode::Enforce);
        assert_eq!((internet.fetches("good.test"), fleet.told()), (1, vec![]));
    });
}

/// Old data come back, with a failover or by hand: the disk and the TXT record know better.
#[test]
fn what_was_fetched_later_wins_here_and_there() {
    on_a_fleet("fleet-later", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let key = "mtasts:1:p:good.test";
        ask(&fleet.host("a"), "good.test");
        let first = server.get(key);
        thread::sleep(Duration::from_secs(1));
        let policy = policy_text("none", &[], 86_400);
        internet.lab.set("good.test", Change::publish("n2", policy)).unwrap();
        ask(&fleet.host("b"), "good.test");
        let second = server.get(key);
        assert_ne!(first, second);
        thread::sleep(Duration::from_secs(1));
        let policy = policy_text("enforce", &["*.good.test"], 86_400);
        internet.lab.set("good.test", Change::publish("n3", policy)).unwrap();
        ask(&fleet.host("a"), "good.test");
        let third = server.get(key);
        // The policy `none` is sealed, and was in force.
        server.set(key, &second);
        internet.lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        let answer = ask(&fleet.host("a"), "good.test");
        assert_eq!((id(&answer), answer.mode()), (Some("n3"), Mode::Enforce));
        assert_eq!(server.get(key), third, "and the host has told so");
        server.set(key, &second);
        internet.lab.set("good.test", Change::txt("v=STSv1; id=n3;")).unwrap();
        let answer = ask(&fleet.host("new"), "good.test");
        assert_eq!(
            (id(&answer), answer.mode()),
            (Some("n3"), Mode::Enforce),
            "the TXT record knows better"
        );

        // A value with a time that cannot be, and one without a seal, keep no good one out.
        let forged = format!("mtasts-fleet 1 {} {}\nx", u64::MAX, "a".repeat(64));
        let soon = format!("mtasts-fleet 1 {} {}\nx", unix_now() + 60, "a".repeat(64));
        for forged in [forged, soon, "x".to_owned(), "x".repeat(100_000)] {
            server.set(key, forged.as_bytes());
            assert_eq!(id(&ask(&fleet.host("a"), "good.test")), Some("n3"));
            assert!(server.get(key).starts_with(b"mtasts-fleet 1 1"), "it was replaced");
        }
        assert_eq!(fleet.told(), [""; 0]);
    });
}

/// What a replica does not have yet is no reason to write over what its master has.
#[test]
fn a_replica_that_is_behind_takes_nothing_back() {
    on_a_fleet("fleet-replica", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let key = "mtasts:1:p:good.test";
        ask(&fleet.host("old"), "good.test");
        thread::sleep(Duration::from_millis(1100));
        let policy = policy_text("enforce", &["*.good.test"], 86_400);
        internet.lab.set("good.test", Change::publish("n2", policy)).unwrap();
        ask(&fleet.host("new"), "good.test");
        let stored = server.get(key);
        internet.lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        let behind = Valkey::start(&internet.lab.directory().join("replica"), &[]);
        let fleet = Fleet::at(internet, format!("{} {}", server.address(), behind.address()));
        assert_ne!(id(&ask(&fleet.host("old"), "good.test")), Some("n2"));
        assert_eq!(
            (server.get(key) == stored, behind.says(&["DBSIZE"])),
            (true, "0".to_owned())
        );
        // And it is the one that is read.
        behind.set(key, &stored);
        assert_eq!(id(&ask(&fleet.host("third"), "good.test")), Some("n2"));
        assert_eq!(fleet.told(), [""; 0]);
    });
}

#[test]
fn a_broken_policy_host_is_asked_once_by_all_hosts() {
    on_a_fleet("fleet-broken", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        let asks = |host: &str| {
            let answer = ask(&fleet.host(host), "good.test");
            let failure = answer.failure().unwrap();
            (answer.source(), failure.result, failure.detail.to_string())
        };
        let (source, result, detail) = asks("a");
        assert_eq!(source, Source::CouldNotLearn);
        let (source, theirs, told) = asks("b");
        assert_eq!((source, theirs), (Source::CouldNotLearn, result));
        assert!(told.starts_with(&detail), "{told}");
        assert_eq!(internet.fetches("good.test"), 1);
        let ttl: u64 = server.says(&["TTL", "mtasts:1:f:good.test"]).parse().unwrap();
        assert!((290..=300).contains(&ttl), "{ttl}");
        // Another id is another question, and what was fetched is over with the failure.
        let policy = policy_text("enforce", &["*.good.test"], 86_400);
        let change = Change {
            https: Some(Https::Ok),
            ..Change::publish("n2", policy)
        };
        internet.lab.set("good.test", change).unwrap();
        assert_eq!((asks_id(&fleet, "b"), asks_id(&fleet, "a")), ("n2".into(), "n2".into()));
        assert_eq!((internet.fetches("good.test"), fleet.told()), (2, vec![]));
    });
}

fn asks_id(fleet: &Fleet, host: &str) -> String {
    id(&ask(&fleet.host(host), "good.test")).unwrap_or_default().to_owned()
}

/// Who comes second adopts what the first one has fetched, or its failure.
#[test]
fn a_refresh_is_done_by_one_host() {
    on_a_fleet("fleet-refresh", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let domain = name("good.test");
        let hosts = ["a", "b", "c"];
        // A day has passed since the last one.
        let age = |seconds: u64| {
            assert_eq!(server.says(&["FLUSHALL"]), "OK");
            for host in hosts {
                let mut entry = fleet.entry(host, "good.test").unwrap();
                let text = entry.cached.unwrap().text.clone();
                let cached = CachedPolicy::new("20160831".parse().unwrap(), unix_now() - seconds, text).unwrap();
                entry.cached = Some(Arc::new(cached));
                Store::new(fleet.disk(host)).save(&entry).unwrap();
                let file = fleet.disk(host).join("good.test");
                std::os::unix::fs::chown(file, Some(USER), Some(USER)).unwrap();
            }
        };
        let refresh = |host: &str| {
            let answer = fleet.host(host).refresh(&domain, Duration::from_secs(20)).unwrap();
            (
                answer.source(),
                fleet.entry(host, "good.test").unwrap().cached.unwrap().fetched,
            )
        };
        let policy = policy_text("enforce", &["*.good.test"], 604_800);
        internet
            .lab
            .set("good.test", Change::publish("20160831", policy))
            .unwrap();
        for host in hosts {
            ask(&fleet.host(host), "good.test");
        }
        age(80_000);
        let before = internet.fetches("good.test");
        let (source, fetched) = refresh("a");
        assert_eq!(source, Source::Fresh);
        for host in ["b", "c"] {
            assert_eq!(refresh(host), (Source::Cached, fetched));
        }
        assert_eq!(internet.fetches("good.test"), before + 1);
        // What is older than a quarter of a day is fetched.
        age(80_000);
        let mut older = fleet.entry("a", "good.test").unwrap();
        let text = older.cached.unwrap().text.clone();
        let cached = CachedPolicy::new("20160831".parse().unwrap(), unix_now() - 21_700, text).unwrap();
        older.cached = Some(Arc::new(cached));
        server.set(
            "mtasts:1:p:good.test",
            seal(&Secrets::parse(KEY).unwrap(), &older).as_bytes(),
        );
        assert_eq!(refresh("b").0, Source::Fresh);
        // A refresh that fails is not tried again by the next host at once.
        age(80_000);
        internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        let before = internet.fetches("good.test");
        for host in hosts {
            assert_eq!(refresh(host).0, Source::CachedAfterFailure);
        }
        assert_eq!((internet.fetches("good.test"), fleet.told()), (before + 1, vec![]));
    });
}

/// At any moment one host of all fetches a domain; one that dies meanwhile holds up the others for less than two seconds.
#[test]
fn of_many_hosts_at_once_one_fetches() {
    on_a_fleet("fleet-flight", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let hosts: Vec<Resolver> = (0..12).map(|number| fleet.host(&format!("h{number}"))).collect();
        for domain in ["good.test", "testing.test", "none.test"] {
            thread::scope(|scope| {
                for host in &hosts {
                    scope.spawn(|| assert!(ask(host, domain).cached().is_some()));
                }
            });
            assert_eq!(internet.fetches(domain), 1, "{domain}");
            assert_eq!(server.says(&["EXISTS", &format!("mtasts:1:l:{domain}")]), "0");
        }
        // Its holder is gone.
        let lock = "mtasts:1:l:twomx.test";
        server.says(&["SET", lock, "dead", "PX", "65000"]);
        let begun = Instant::now();
        assert_eq!(ask(&hosts[0], "twomx.test").source(), Source::Fresh);
        let waited = begun.elapsed();
        assert!(
            waited > Duration::from_millis(1400) && waited < Duration::from_secs(10),
            "{waited:?}"
        );
        assert_eq!(server.says(&["GET", lock]), "dead", "only its holder removes it");
        let begun = Instant::now();
        assert_eq!(ask(&hosts[1], "twomx.test").source(), Source::Cached);
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(fleet.told(), [""; 0]);
    });
}
