//! The fleet at work: many hosts and processes at once, some of which die, children of a busy host, bad weather, and a
//! writer who has no key. `make fleet` makes each of them large.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::entry::{CachedPolicy, Entry};
use mtasts::cache::sealed::{Secrets, seal};
use mtasts::sender::resolver::unix_now;
use mtasts::{Mode, Resolver, Source};
use mtasts_kit::process::signal;
use mtasts_kit::{Child, ask, give_up_root, name};
use mtasts_lab::{Change, Https, policy_text};

use super::{Fleet, KEY, id, on_a_fleet};

/// How large it is: as the environment says, or short.
fn size(name: &str, short: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(short, |number| number.parse().expect(name))
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// The longest that a lookup may take: another host that dies holds it up by less than two seconds.
const LONGEST: Duration = Duration::from_millis(2500);

/// A process of a host: it asks for all domains, in an order of its own. None may take longer than this.
fn process(fleet: &Fleet, host: &str, domains: u64, seed: u64, longest: Duration) -> Child {
    let resolver = fleet.host_with(host, &[("txt_life_min", "60s"), ("txt_life_max", "1h")]);
    Child::start(move || {
        give_up_root();
        let mut random = Random(seed * 2_654_435_761 + 1);
        let mut order: Vec<u64> = (0..domains).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        for number in order {
            let begun = Instant::now();
            let domain = format!("many{number}.test");
            let answer = ask(&resolver, &domain);
            assert_eq!(answer.mode(), Mode::Enforce, "{answer}");
            assert_eq!(answer.domain().unwrap().as_str(), domain);
            assert!(begun.elapsed() < longest, "{domain}: {:?}", begun.elapsed());
        }
    })
}

#[test]
fn each_domain_is_fetched_once_by_hosts_with_many_processes() {
    let (hosts, processes, domains) = (
        size("FLEET_HOSTS", 4),
        size("FLEET_PROCESSES", 2),
        size("FLEET_DOMAINS", 40),
    );
    on_a_fleet("fleet-many", u16::try_from(domains).unwrap(), move |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let children: Vec<_> = (0..hosts * processes)
            .map(|number| {
                let host = format!("host{}", number / processes);
                // Processes by the hundred wait for the processors as well.
                process(&fleet, &host, domains, number + 1, Duration::from_secs(60))
            })
            .collect();
        for child in children {
            child.ends_well(Duration::from_secs(3600));
        }
        let fetches: u64 = (0..domains)
            .map(|number| internet.fetches(&format!("many{number}.test")))
            .sum();
        println!("{hosts} hosts of {processes} processes: {fetches} fetches of {domains} domains");
        assert!(
            fetches >= domains && fetches * 100 <= domains * 102 + 100,
            "{fetches} of {domains}"
        );
        let stored = server.says(&["DBSIZE"]).parse::<u64>().unwrap();
        assert_eq!(stored, domains, "no lock is left");
        let memory = server
            .says(&["MEMORY", "USAGE", "mtasts:1:p:many0.test"])
            .parse::<u64>()
            .unwrap();
        println!("{memory} octets of the server's memory for a policy");
        assert!(memory < 1024, "{memory}");
    });
}

/// Hosts that are killed while they fetch: no other one waits for longer than it may, and none is without a policy.
#[test]
fn hosts_that_die_hold_up_the_others_for_two_seconds_at_most() {
    let (hosts, domains) = (size("FLEET_HOSTS", 6), size("FLEET_DOMAINS", 40));
    on_a_fleet("fleet-killed", u16::try_from(domains).unwrap(), move |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let start = |number: u64| process(&fleet, &format!("host{number}"), domains, number + 77, LONGEST);
        let mut random = Random(4711);
        let (doomed, others): (Vec<_>, Vec<_>) = (0..hosts)
            .map(|number| (number, start(number)))
            .partition(|(n, _)| n % 2 == 0);
        for (_, child) in doomed {
            thread::sleep(Duration::from_millis(random.below(60) as u64));
            // It is killed when it is forgotten.
            drop(child);
        }
        for (_, child) in others {
            child.ends_well(Duration::from_secs(3600));
        }
        println!(
            "locks of the dead that are left: {}",
            server.says(&["KEYS", "mtasts:1:l:*"]).lines().count()
        );
    });
}

/// Children of a host with threads, as Exim forks them: each has a connection of its own, and the parent has none of theirs.
#[test]
fn children_in_flight_leave_nothing_behind() {
    let (all, at_once) = (size("FLEET_FORKS", 40), 100);
    on_a_fleet("fleet-forks", 0, move |internet| {
        let (_server, fleet) = Fleet::with_server(internet);
        let domains = ["good.test", "testing.test", "none.test", "twomx.test"];
        let asks = |resolver: &Resolver, number: usize| {
            let domain = domains[number % domains.len()];
            let answer = ask(resolver, domain);
            assert_eq!(answer.domain().unwrap().as_str(), domain);
            assert!(answer.cached().is_some(), "{answer}");
        };
        let warm = fleet.host("a");
        asks(&warm, 0);
        Child::start(|| {
            give_up_root();
            let stop = AtomicBool::new(false);
            let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
            let before = (count("fd"), count("task"));
            thread::scope(|scope| {
                // The parent asks meanwhile.
                for domain in domains {
                    let (warm, stop) = (&warm, &stop);
                    scope.spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            let _ = warm.recheck(domain, Duration::from_secs(20)).unwrap();
                        }
                    });
                }
                let mut flight = Vec::new();
                for number in 0..usize::try_from(all).unwrap() {
                    flight.push(Child::start(|| {
                        asks(&warm, number);
                        let again = warm
                            .recheck(domains[number % domains.len()], Duration::from_secs(20))
                            .unwrap();
                        assert_eq!(again.domain().unwrap().as_str(), domains[number % domains.len()]);
                    }));
                    if flight.len() == at_once {
                        flight
                            .drain(..)
                            .for_each(|child| child.ends_well(Duration::from_secs(120)));
                    }
                }
                flight
                    .drain(..)
                    .for_each(|child| child.ends_well(Duration::from_secs(120)));
                stop.store(true, Ordering::Relaxed);
            });
            assert_eq!((count("fd"), count("task")), before);
        })
        .ends_well(Duration::from_secs(1800));
    });
}

/// Changes of sealed entries, replays of older ones, and entries of another domain: no policy is in force that is weaker than
/// what the host or the TXT record knows.
#[test]
fn ten_thousand_forgeries_plant_nothing() {
    let rounds = size("FLEET_FORGERIES", 60);
    on_a_fleet("fleet-forgeries", 0, move |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let key = "mtasts:1:p:good.test";
        let ours = Secrets::parse(KEY).unwrap();
        let now = unix_now();
        let sealed = |domain: &str, id: &str, mode: &str, age: u64| {
            let mut entry = Entry::new(name(domain));
            let text = policy_text(mode, &["*.good.test"], 86_400);
            let cached = CachedPolicy::new(id.parse().unwrap(), now - age, text).unwrap();
            entry.cached = Some(cached.into());
            seal(&ours, &entry)
        };
        let old = [
            sealed("good.test", "n1", "none", 900),
            sealed("good.test", "n2", "testing", 600),
            sealed("testing.test", "n3", "none", 0),
        ];
        let policy = policy_text("enforce", &["*.good.test"], 86_400);
        internet.lab.set("good.test", Change::publish("n3", policy)).unwrap();
        let knows = fleet.host("knows");
        assert_eq!(id(&ask(&knows, "good.test")), Some("n3"));
        let current = String::from_utf8(server.get(key)).unwrap();
        // The policy host is gone: nothing but the cache and the fleet has a policy.
        internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        let mut random = Random(20_260_901);
        let mut authentic = 0;
        for round in 0..rounds {
            let mut text = match random.below(4) {
                3 => current.clone(),
                which => old[which].clone(),
            }
            .into_bytes();
            let is_changed = random.below(10) > 0;
            if is_changed {
                for _ in 0..=random.below(3) {
                    let at = random.below(text.len());
                    match random.below(5) {
                        0 => text[at] ^= 1 << random.below(8),
                        1 => text.truncate(at),
                        2 => text.insert(at, b"0123456789abcdef\n: "[random.below(19)]),
                        3 => drop(text.remove(at)),
                        // A line of another entry.
                        _ => {
                            let other = old[random.below(3)].as_bytes();
                            let cut = random.below(other.len());
                            text.truncate(at);
                            text.extend_from_slice(&other[cut..]);
                        }
                    }
                    if text.is_empty() {
                        text.push(b'x');
                    }
                }
            }
            server.set(key, &text);
            let answer = ask(&knows, "good.test");
            assert_eq!(
                (id(&answer), answer.mode()),
                (Some("n3"), Mode::Enforce),
                "round {round}: {answer}"
            );
            // A host that has nothing believes what a host of the fleet has fetched, and nothing else.
            server.set(key, &text);
            let _ = server.says(&["DEL", "mtasts:1:f:good.test"]);
            let answer = ask(&fleet.host("new"), "good.test");
            let is_authentic = current.as_bytes() == text || old[..2].iter().any(|old| old.as_bytes() == text);
            assert_eq!(
                answer.cached().is_some(),
                is_authentic,
                "round {round}: {answer}\n{}",
                String::from_utf8_lossy(&text)
            );
            authentic += u64::from(is_authentic);
            let _ = fs::remove_file(fleet.disk("new").join("good.test"));
            if round % 50 == 0 {
                // The policy host is back, and the TXT record's id is what counts.
                internet.lab.set("good.test", Change::https(Https::Ok)).unwrap();
                server.set(key, &text);
                let _ = server.says(&["DEL", "mtasts:1:f:good.test"]);
                let answer = ask(&fleet.host("new"), "good.test");
                assert_eq!(
                    (id(&answer), answer.mode()),
                    (Some("n3"), Mode::Enforce),
                    "round {round}: {answer}"
                );
                let _ = fs::remove_file(fleet.disk("new").join("good.test"));
                internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
            }
        }
        println!("{rounds} rounds, {authentic} of them a replay of an authentic entry");
        assert_eq!(fleet.told(), [""; 0]);
    });
}

/// The server stops, forgets, restarts and brings back what was, while policies change: each host goes on, and never back.
#[test]
fn bad_weather_takes_no_policy_away() {
    let seconds = size("FLEET_WEATHER", 4);
    on_a_fleet("fleet-weather", 0, move |internet| {
        let directory = internet.lab.directory().join("valkey");
        let mut server = Some(mtasts_kit::valkey::Valkey::start(&directory, &[]));
        let fleet = Fleet::at(internet, server.as_ref().unwrap().address());
        let domains = ["good.test", "testing.test", "twomx.test", "wildcert.test"];
        let published: BTreeMap<&str, AtomicU64> = domains.iter().map(|domain| (*domain, AtomicU64::new(0))).collect();
        let publish = |domain: &'static str| {
            let number = published[domain].load(Ordering::Relaxed) + 1;
            let policy = policy_text("enforce", &[&format!("*.{domain}")], 86_400);
            internet
                .lab
                .set(domain, Change::publish(&format!("n{number}"), policy))
                .unwrap();
            published[domain].store(number, Ordering::Relaxed);
        };
        domains.iter().for_each(|domain| publish(domain));
        let (end, lookups) = (Instant::now() + Duration::from_secs(seconds), AtomicU64::new(0));
        thread::scope(|scope| {
            for host in 0..4 {
                let (fleet, published, lookups) = (&fleet, &published, &lookups);
                scope.spawn(move || {
                    let resolver = fleet.host(&format!("host{host}"));
                    let mut known: BTreeMap<&str, u64> = BTreeMap::new();
                    let mut random = Random(host + 99);
                    while Instant::now() < end {
                        let domain = domains[random.below(domains.len())];
                        let before = published[domain].load(Ordering::Relaxed);
                        let begun = Instant::now();
                        let answer = ask(&resolver, domain);
                        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
                        assert_eq!(answer.mode(), Mode::Enforce, "{answer}");
                        let number: u64 = id(&answer).unwrap()[1..].parse().unwrap();
                        let newest = published[domain].load(Ordering::Relaxed);
                        // DNS had the one from before the lookup, or the one that came meanwhile.
                        assert!(
                            (before..=newest + 1).contains(&number),
                            "{domain}: {number} of {before}..={newest}"
                        );
                        assert!(
                            known.insert(domain, number).is_none_or(|old| old <= number),
                            "{domain} went back"
                        );
                        assert_ne!(answer.source(), Source::CouldNotLearn);
                        lookups.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut random = Random(7);
            let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
            while Instant::now() < end {
                let domain = domains[random.below(domains.len())];
                let key = format!("mtasts:1:p:{domain}");
                let there = server.as_ref().unwrap();
                match random.below(6) {
                    // A partition: it is there and says nothing.
                    0 => {
                        signal(there.pid(), libc::SIGSTOP);
                        thread::sleep(Duration::from_millis(300));
                        signal(there.pid(), libc::SIGCONT);
                    }
                    1 => drop(there.says(&["FLUSHALL"])),
                    2 => {
                        drop(server.take());
                        let _ = fs::remove_file(directory.join("socket"));
                        thread::sleep(Duration::from_millis(200));
                        server = Some(mtasts_kit::valkey::Valkey::start(&directory, &[]));
                    }
                    3 => kept.push((key.clone(), there.get(&key))),
                    4 => {
                        if let Some((key, old)) = kept.pop().filter(|(_, old)| !old.is_empty()) {
                            there.set(&key, &old);
                        }
                    }
                    _ => {
                        publish(domain);
                        // Times are seconds: two policies of one second are one to the fleet.
                        thread::sleep(Duration::from_millis(1100));
                    }
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        println!("{} lookups", lookups.into_inner());
        let told = fleet.told();
        assert!(
            told.iter().all(|line| line.starts_with("mtasts[fleet-not-used]: ")),
            "{told:?}"
        );
    });
}
