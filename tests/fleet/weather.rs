//! Bad weather: the servers stop, forget, die, hand over, lose their network and bring back what was, while policies change.
//! Each host goes on, and never back.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::queue::Queue;
use mtasts::{Mode, Source};
use mtasts_kit::network::{cut, may_be_cut};
use mtasts_kit::valkey::Valkey;
use mtasts_kit::{Internet, USER, ask, become_user, on_the_internet, signal, until};
use mtasts_lab::{Change, policy_text};

use super::kept::through;
use super::{Fleet, Random, id, size};

/// Two servers and a Sentinel, each with an address of its own.
struct Servers<'a> {
    internet: &'a Internet,
    servers: [Option<Valkey>; 2],
    sentinel: Valkey,
}

const ADDRESSES: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
const SETTING: &str = "redis+sentinel://127.0.0.1:7003,127.0.0.2:7003,127.0.0.3:7003/mail";

impl<'a> Servers<'a> {
    fn start(internet: &'a Internet) -> Self {
        let servers = [0, 1].map(|number| Some(Self::server(internet, number, number == 1)));
        let sentinel = Valkey::sentinel(&internet.lab.directory().join("sentinel"), 7003, "127.0.0.2 7001");
        let servers = Self {
            internet,
            servers,
            sentinel,
        };
        until("a replica", || {
            servers
                .sentinel
                .says(&["SENTINEL", "REPLICAS", "mail"])
                .contains("127.0.0.3")
        });
        servers
    }

    fn server(internet: &Internet, number: usize, is_replica: bool) -> Valkey {
        let bind = format!("bind {0}\nreplica-announce-ip {0}", ADDRESSES[number]);
        let mut lines = vec!["port 7001", "protected-mode no", &bind, "repl-diskless-sync-delay 0"];
        if is_replica {
            lines.push("replicaof 127.0.0.2 7001");
        }
        let directory = internet.lab.directory().join(format!("v{number}"));
        let _ = fs::remove_file(directory.join("socket"));
        Valkey::start(&directory, &lines)
    }

    /// The number of the server that takes writes, if there is one.
    fn master(&self) -> Option<usize> {
        let is_master = |server: &Option<Valkey>| {
            server
                .as_ref()
                .is_some_and(|server| server.says(&["ROLE"]).starts_with("master"))
        };
        self.servers.iter().position(is_master)
    }

    /// One thing that goes wrong. Returns its name.
    fn trouble(&mut self, which: usize, kept: &mut Vec<(String, Vec<u8>)>, key: &str) -> &'static str {
        let Some(master) = self.master() else {
            return "no master";
        };
        let there = self.servers[master].as_ref().unwrap();
        match which {
            0 => {
                signal(there.pid(), libc::SIGSTOP);
                thread::sleep(Duration::from_millis(300));
                signal(there.pid(), libc::SIGCONT);
                "SIGSTOP"
            }
            1 => {
                there.says(&["FLUSHALL"]);
                "FLUSHALL"
            }
            // Its host dies, and comes back with nothing.
            2 => {
                drop(self.servers[master].take());
                let other = self.servers[1 - master].as_ref();
                let taken_over = || other.is_none_or(|other| other.says(&["ROLE"]).starts_with("master"));
                let end = Instant::now() + Duration::from_secs(20);
                while !taken_over() && Instant::now() < end {
                    thread::sleep(Duration::from_millis(100));
                }
                self.servers[master] = Some(Self::server(self.internet, master, false));
                "death of the master"
            }
            3 => {
                self.sentinel.says(&["SENTINEL", "FAILOVER", "mail"]);
                thread::sleep(Duration::from_secs(1));
                "failover"
            }
            4 => {
                cut(ADDRESSES[master], true);
                thread::sleep(Duration::from_millis(700));
                cut(ADDRESSES[master], false);
                "partition"
            }
            5 => {
                kept.push((key.to_owned(), there.get(key)));
                "copy"
            }
            _ => match kept.pop().filter(|(_, old)| old.starts_with(b"mtasts-fleet")) {
                Some((key, old)) => {
                    there.set(&key, &old);
                    "replay"
                }
                None => "nothing",
            },
        }
    }
}

#[test]
fn bad_weather_takes_no_policy_away() {
    // How long it lasts, and how many milliseconds a host waits after each lookup.
    let (seconds, pause) = (size("FLEET_WEATHER", 8), size("FLEET_WEATHER_PAUSE", 0));
    // No second run: in this weather the server is late.
    on_the_internet("fleet-weather", move |internet| {
        may_be_cut();
        let mut servers = Servers::start(internet);
        let fleet = Fleet::at(internet, SETTING.to_owned());
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
        let slow = AtomicU64::new(0);
        let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
        thread::scope(|scope| {
            for host in 0..4 {
                let (fleet, published, lookups, slow) = (&fleet, &published, &lookups, &slow);
                scope.spawn(move || {
                    let resolver = fleet.host(&format!("host{host}"));
                    // Two of the hosts have no root and keep their connections, as `mtasts serve` does.
                    let queue = (host % 2 == 0).then(|| {
                        become_user(USER, USER);
                        Queue::new(&resolver).unwrap()
                    });
                    let mut known: BTreeMap<&str, u64> = BTreeMap::new();
                    let mut random = Random(host + 99);
                    while Instant::now() < end {
                        let domain = domains[random.below(domains.len())];
                        let before = published[domain].load(Ordering::Relaxed);
                        let begun = Instant::now();
                        let answer = match &queue {
                            Some(queue) => through(queue, domain),
                            None => ask(&resolver, domain),
                        };
                        slow.fetch_add(u64::from(begun.elapsed() > Duration::from_secs(5)), Ordering::Relaxed);
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
                        thread::sleep(Duration::from_millis(pause));
                    }
                });
            }
            let mut random = Random(7);
            let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
            while Instant::now() < end {
                let domain = domains[random.below(domains.len())];
                let which = random.below(10);
                let name = if which < 7 {
                    servers.trouble(which, &mut kept, &format!("mtasts:1:p:{domain}"))
                } else {
                    publish(domain);
                    // Times are seconds: two policies of one second are one to the fleet.
                    thread::sleep(Duration::from_millis(1100));
                    "a new policy"
                };
                *happened.entry(name).or_default() += 1;
                thread::sleep(Duration::from_millis(50));
            }
        });
        let (lookups, slow) = (lookups.into_inner(), slow.into_inner());
        println!("{lookups} lookups in {seconds} s, of them {slow} took longer than 5 s; {happened:?}");
        // Of a machine that has other things to do.
        assert!(slow * 1000 <= lookups.max(3000), "{slow} of {lookups}");
        let told = fleet.told();
        assert!(
            told.iter().all(|line| line.starts_with("mtasts[fleet-not-used]: ")),
            "{told:?}"
        );
        // Nothing is lost: without DNS and without the fleet each host still enforces what it had.
        for domain in domains {
            internet.lab.set(domain, Change::txt("SERVFAIL")).unwrap();
        }
        drop(servers);
        for host in 0..4 {
            for domain in domains {
                let answer = ask(&fleet.host(&format!("host{host}")), domain);
                assert_eq!(answer.mode(), Mode::Enforce, "host{host}: {answer}");
            }
        }
    });
}
