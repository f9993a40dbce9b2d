//! The fleet at work: many hosts and processes at once, some of which die, and children of a busy host. `make fleet` makes
//! each of them large.

use std::fs;
use std::os::unix::fs::chown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::entry::{CachedPolicy, Entry};
use mtasts::cache::store::Store;
use mtasts::sender::refresh::run::{Outcome, Run};
use mtasts::sender::resolver::unix_now;
use mtasts::{Mode, Resolver};
use mtasts_kit::network::Bridge;
use mtasts_kit::valkey::Valkey;
use mtasts_kit::{Child, USER, ask, give_up_root, name, until};
use mtasts_lab::{Change, Https, policy_text};

use super::{Fleet, Random, is_large, late, on_a_fleet, size};

/// Whether the server was late since then, so that hosts had to fetch for themselves. A proof at its full size has no such
/// excuse.
fn was_late(before: u64) -> bool {
    !is_large() && late() > before
}

/// The longest that all of a proof may take.
const LONG: Duration = Duration::from_secs(3 * 3600);
/// The longest that a lookup may take: another host that dies holds it up by less than two seconds.
const LONGEST: Duration = Duration::from_millis(2500);

/// A process of a host: it asks for all domains, in an order of its own. None may take longer than this. Between two it waits
/// up to so many milliseconds: hundreds of processes that never do are more than the processors of one machine can do in time.
fn process(fleet: &Fleet, host: &str, domains: u64, seed: u64, longest: Duration, pause: usize) -> Child {
    let more = [
        ("txt_life_min", "60s"),
        ("txt_life_max", "1h"),
        ("fleet_insecure", "on"),
    ];
    let resolver = fleet.host_with(host, &more);
    Child::start(move || {
        give_up_root();
        let mut random = Random(seed * 2_654_435_761 + 1);
        let mut order: Vec<u64> = (0..domains).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        for number in order {
            thread::sleep(Duration::from_millis(random.below(pause + 1) as u64));
            let begun = Instant::now();
            let domain = format!("many{number}.test");
            let answer = ask(&resolver, &domain);
            assert_eq!(answer.mode(), Mode::Enforce, "{answer}");
            assert_eq!(answer.domain().unwrap().as_str(), domain);
            assert!(begun.elapsed() < longest, "{domain}: {:?}", begun.elapsed());
        }
    })
}

/// Hosts with networks of their own, which reach the server and the test Internet over a bridge. The policy hosts take 50 ms.
#[test]
fn each_domain_is_fetched_once_by_hosts_with_many_processes() {
    let (hosts, processes, domains) = (
        size("FLEET_HOSTS", 4),
        size("FLEET_PROCESSES", 2),
        size("FLEET_DOMAINS", 40),
    );
    on_a_fleet("fleet-many", u16::try_from(domains).unwrap(), move |internet| {
        let (bridge, before) = (Bridge::here(), late());
        let pause = usize::try_from(size("FLEET_PAUSE", 20)).unwrap();
        let at = internet.lab.directory().join("valkey");
        let port = format!("bind {}", bridge.address);
        let server = Valkey::start(&at, &["port 6379", &port, "protected-mode no"]);
        let fleet = Fleet::at(internet, format!("redis://{}", bridge.address));
        for number in 0..domains {
            let slow = Change::https(Https::After50);
            internet.lab.set(&format!("many{number}.test"), slow).unwrap();
        }
        let children: Vec<_> = (0..hosts)
            .map(|host| {
                let work = || {
                    let name = format!("host{host}");
                    // Processes by the hundred wait for the processors as well.
                    let start = |number| {
                        let seed = host * processes + number + 1;
                        process(&fleet, &name, domains, seed, Duration::from_secs(60), pause)
                    };
                    let children: Vec<_> = (0..processes).map(start).collect();
                    children.into_iter().for_each(|child| child.ends_well(LONG));
                };
                bridge.host(u8::try_from(host + 1).unwrap(), work)
            })
            .collect();
        children.into_iter().for_each(|child| child.ends_well(LONG));
        let fetches: u64 = (0..domains)
            .map(|number| internet.fetches(&format!("many{number}.test")))
            .sum();
        let late_now = late() - before;
        println!(
            "{hosts} hosts of {processes} processes: {fetches} fetches of {domains} domains; {late_now} times too late"
        );
        assert!(
            fetches >= domains && (fetches * 100 <= domains * 102 + 100 || was_late(before)),
            "{fetches} of {domains}"
        );
        let stored = server.says(&["DBSIZE"]).parse::<u64>().unwrap();
        assert!(stored == domains || was_late(before), "no lock is left: {stored}");
        let memory = server
            .says(&["MEMORY", "USAGE", "mtasts:1:p:many0.test"])
            .parse::<u64>()
            .unwrap();
        println!("{memory} octets of the server's memory for a policy");
        assert!(memory < 1024, "{memory}");
    });
}

/// A day later all hosts begin their refresh at once: each policy is fetched by one of them.
#[test]
fn a_daily_refresh_fetches_each_domain_once() {
    let (hosts, domains) = (size("FLEET_REFRESH_HOSTS", 3), size("FLEET_REFRESHED", 60));
    on_a_fleet("fleet-daily", u16::try_from(domains).unwrap(), move |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let before = late();
        let yesterday = unix_now() - 86_400;
        for host in 0..hosts {
            let disk = fleet.disk(&format!("host{host}"));
            let store = Store::new(disk.clone());
            for number in 0..domains {
                let domain = format!("many{number}.test");
                let text = policy_text("enforce", &[&format!("*.{domain}")], 604_800);
                let mut entry = Entry::new(name(&domain));
                entry.cached = Some(
                    CachedPolicy::new("20160831".parse().unwrap(), yesterday, text)
                        .unwrap()
                        .into(),
                );
                entry.used = Some(yesterday);
                store.save(&entry).unwrap();
                chown(disk.join(&domain), Some(USER), Some(USER)).unwrap();
            }
        }
        let children: Vec<_> = (0..hosts)
            .map(|host| {
                let resolver = fleet.host(&format!("host{host}"));
                Child::start(move || {
                    give_up_root();
                    let run = Run::begin(&resolver).unwrap();
                    let done = AtomicU64::new(0);
                    run.run(false, |domain, outcome| {
                        assert!(
                            matches!(outcome, Outcome::Renewed | Outcome::Waits),
                            "{domain}: {outcome:?}"
                        );
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                    assert_eq!(done.into_inner(), domains);
                })
            })
            .collect();
        children.into_iter().for_each(|child| child.ends_well(LONG));
        let fetches: u64 = (0..domains)
            .map(|number| internet.fetches(&format!("many{number}.test")))
            .sum();
        println!("{hosts} hosts refresh {domains} domains: {fetches} fetches");
        assert!(fetches == domains || was_late(before), "{fetches} of {domains}");
        for host in 0..hosts {
            for number in 0..domains {
                let entry = fleet
                    .entry(&format!("host{host}"), &format!("many{number}.test"))
                    .unwrap();
                assert!(
                    entry.cached.unwrap().fetched > yesterday,
                    "host{host}, many{number}.test"
                );
            }
        }
        let stored = server.says(&["DBSIZE"]);
        assert!(stored == domains.to_string() || was_late(before), "{stored}");
    });
}

/// Hosts that are killed while they fetch: no other one waits for longer than it may, and none is without a policy.
#[test]
fn hosts_that_die_hold_up_the_others_for_two_seconds_at_most() {
    let (hosts, domains) = (size("FLEET_HOSTS", 6), size("FLEET_DOMAINS", 40));
    on_a_fleet("fleet-killed", u16::try_from(domains).unwrap(), move |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        // Other tests run beside the short one.
        let longest = if is_large() { LONGEST } else { 3 * LONGEST };
        let start = |number: u64| process(&fleet, &format!("host{number}"), domains, number + 77, longest, 0);
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
            child.ends_well(LONG);
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
            // A thread that has ended may be seen for a moment.
            until("the end of all threads", || (count("fd"), count("task")) == before);
        })
        .ends_well(Duration::from_secs(1800));
    });
}
