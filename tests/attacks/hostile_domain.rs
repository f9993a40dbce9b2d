//! A domain, or many of them, that costs time: name servers and policy hosts that say nothing.

use std::collections::HashSet;
use std::fs::Permissions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::sender::resolver::Unavailable;
use mtasts::{Answer, Domain, Resolver, Settings, Source};

use mtasts_kit::dns_server::{DnsServer, Reply, address, txt};
use mtasts_kit::pki::{self, host};
use mtasts_kit::policy_server::{PolicyServer, isolate};
use mtasts_kit::{USER, become_user, until};

/// Accepts and says nothing.
const HOLE: &str = "8.8.8.1";
/// Proves its name and then says nothing.
const MUTE: &str = "8.8.8.2";
/// Answers after [`World::slowness`].
const SLOW: &str = "8.8.8.3";
const GOOD: &str = "8.8.8.4";

/// An Internet on which the first label of a domain says what its policy host does, with a cache.
struct World {
    dns: DnsServer,
    dir: PathBuf,
    _servers: [PolicyServer; 3],
}

impl World {
    fn new(name: &str, slowness: Duration) -> Self {
        isolate(&[HOLE, MUTE, SLOW, GOOD]);
        let dir = std::env::temp_dir().join(format!("mtasts-attacks-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let authority = pki::root("Test Root");
        std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
        let hole = TcpListener::bind((HOLE, 443)).unwrap();
        thread::spawn(move || hole.incoming().collect::<Vec<_>>());
        let mut names = vec!["mta-sts.slow.example".to_owned(), "mta-sts.good.example".to_owned()];
        names.extend((0..100).map(|n| format!("mta-sts.mute{n}.example")));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let certificate = host(&names, &authority, |_| {});
        let server = |ip, wait: Duration| {
            PolicyServer::start(ip, &certificate, move |stream| {
                thread::sleep(wait);
                let text = "version: STSv1\nmode: enforce\nmx: mx.example\nmax_age: 86400\n";
                let length = text.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}"
                );
            })
        };
        let servers = [
            server(MUTE, Duration::from_secs(300)),
            server(SLOW, slowness),
            server(GOOD, Duration::ZERO),
        ];
        let dns = DnsServer::start(|asked| match asked.kind {
            _ if asked.name.contains("silent") => Reply::silence(),
            RecordType::TXT => Reply::answers(vec![txt(&asked.name, 60, &[b"v=STSv1; id=a;"])]),
            RecordType::A => {
                let at = [("slow", SLOW), ("good", GOOD), ("mute", MUTE)];
                let at = at
                    .iter()
                    .find(|(word, _)| asked.name.starts_with(&format!("mta-sts.{word}")))
                    .map_or(HOLE, |(_, ip)| *ip);
                Reply::answers(vec![address(&asked.name, at)])
            }
            _ => Reply::nodata(),
        });
        Self {
            dns,
            dir,
            _servers: servers,
        }
    }

    /// A context as a new process has it, on a cache of its own.
    fn resolver(&self, cache: &str, more: &[(&str, &str)]) -> (Resolver, PathBuf) {
        let cache = self.dir.join(cache);
        if !cache.exists() {
            std::fs::create_dir(&cache).unwrap();
            chown(&cache, Some(USER), Some(USER)).unwrap();
        }
        let mut settings = Settings::default();
        let of = |path: &Path| path.to_str().unwrap().to_owned();
        settings.set("cache_dir", &of(&cache)).unwrap();
        settings.set("ca_file", &of(&self.dir.join("ca.pem"))).unwrap();
        settings.set("nameservers", &self.dns.address.to_string()).unwrap();
        for (key, value) in more {
            settings.set(key, value).unwrap();
        }
        (Resolver::new(settings), cache)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// The time in which the test runs, or the default of a minute where `MTASTS_REAL_TIME` is set.
fn scaled(short: &'static str, real: &'static str) -> &'static str {
    match std::env::var_os("MTASTS_REAL_TIME") {
        Some(_) => real,
        None => short,
    }
}

/// A hundred policy hosts that say nothing, asked at once: each failure is noted, so that the next mail does not pay for
/// it again. Twenty seconds are long enough for the kernel to round a socket's time-out up by two.
#[test]
fn every_silent_policy_host_is_noted() {
    const MANY: usize = 100;
    let run = || {
        let world = World::new("noted", Duration::ZERO);
        let timeout = scaled("20s", "60s");
        let (resolver, cache) = world.resolver("cache", &[("timeout", timeout)]);
        let start = Instant::now();
        thread::scope(|scope| {
            for n in 0..MANY {
                let resolver = &resolver;
                scope.spawn(move || {
                    become_user(USER, USER);
                    let kind = if n % 2 == 0 { "hole" } else { "mute" };
                    let answer = resolver.lookup(&domain(&format!("{kind}{n}.example")), Duration::MAX);
                    assert_eq!(answer.unwrap().source(), Source::CouldNotLearn);
                });
            }
        });
        let took = start.elapsed();
        let store = Store::new(cache);
        let is_noted = |name: &Domain| store.load(name).unwrap().is_some_and(|entry| entry.failed.is_some());
        // At the deadline of a lookup its thread may still write.
        let noted = || store.domains().unwrap().iter().filter(|name| is_noted(name)).count();
        until("all are noted", || noted() == MANY);
        println!("timeout {timeout}: all of {MANY} silent policy hosts are noted, after {took:?}");
        // The next mail, in another process.
        let (again, _) = world.resolver("cache", &[("timeout", timeout)]);
        let start = Instant::now();
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    become_user(USER, USER);
                    let answer = again.lookup(&domain("hole0.example"), Duration::MAX).unwrap();
                    assert!(answer.explain().contains("five minutes"), "{answer}");
                })
                .join()
                .unwrap()
        });
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    };
    thread::spawn(run).join().unwrap();
}

/// What became of the recipients of a message that were looked up one after the other, in one process.
struct Message {
    took: Duration,
    answers: Vec<(String, Result<std::sync::Arc<Answer>, Unavailable>)>,
}

impl Message {
    fn route(resolver: &Resolver, names: &[String]) -> Self {
        let start = Instant::now();
        let answers = names
            .iter()
            .map(|name| (name.clone(), resolver.lookup(&domain(name), Duration::MAX)));
        let answers = answers.collect();
        Self {
            took: start.elapsed(),
            answers,
        }
    }

    fn source(&self, name: &str) -> Option<Source> {
        let (_, answer) = self.answers.iter().find(|(known, _)| known == name)?;
        answer.as_ref().ok().map(|answer| answer.source())
    }
}

/// Thirty silent recipients of a message do not hold up the others: those that work are looked up in any place, also one
/// whose policy host takes its time, and of those that are silent the ones that had no fair time wait.
#[test]
fn a_message_to_silent_domains_leaves_in_time() {
    let run = || {
        let real = scaled("", "real") == "real";
        // So long a policy host takes that is slow and honest; the bound is that of the issue, or its share.
        let (slowness, bound) = if real { (12, 120) } else { (4, 75) };
        let world = World::new("message", Duration::from_secs(slowness));
        let more = [
            ("timeout", scaled("10s", "60s")),
            ("silence_budget", scaled("10s", "60s")),
        ];
        let names = |kinds: &[&str]| -> Vec<String> {
            let mut names: Vec<String> = (0..30)
                .map(|n| format!("{}{n}.example", kinds[n % kinds.len()]))
                .collect();
            names.insert(20, "slow.example".into());
            names.push("good.example".into());
            names
        };
        // One whose host proves its name takes the longer time from the honest one.
        let crowds: [(&str, &[&str], bool); 3] = [
            ("user", &["hole", "silent"], false),
            ("root", &["hole", "silent"], true),
            ("mute", &["mute"], false),
        ];
        thread::scope(|scope| {
            for (cache, kinds, as_root) in crowds {
                let (resolver, _) = world.resolver(cache, &more);
                let (names, world) = (names(kinds), &world);
                scope.spawn(move || {
                    if !as_root {
                        become_user(USER, USER);
                    }
                    let message = Message::route(&resolver, &names);
                    let waits = message.answers.iter().filter(|(_, answer)| answer.is_err()).count();
                    println!(
                        "as {cache}: {} recipients in {:?}, {waits} of them wait",
                        names.len(),
                        message.took
                    );
                    assert!(message.took < Duration::from_secs(bound), "{cache}: {:?}", message.took);
                    assert_eq!(message.source("good.example"), Some(Source::Fresh), "{cache}");
                    if kinds != ["mute"] {
                        assert_eq!(message.source("slow.example"), Some(Source::Fresh), "{cache}");
                    }
                    assert_eq!(
                        message.source(&names[0]),
                        Some(Source::CouldNotLearn),
                        "it had its time"
                    );
                    for (name, answer) in &message.answers {
                        if let Err(why) = answer {
                            assert!(why.to_string().contains("silence_budget"), "{name}: {why}");
                        }
                    }
                    assert!(waits >= 28, "{waits}");
                    let asked: HashSet<String> = world.dns.asked().into_iter().map(|asked| asked.name).collect();
                    assert!(names.iter().all(|name| asked.contains(&format!("_mta-sts.{name}"))));
                    // The next queue run, in another process: one that waited has its whole time now.
                    let (resolver, _) = world.resolver(cache, &more);
                    let again = Message::route(&resolver, &names[1..2]);
                    assert_eq!(again.source(&names[1]), Some(Source::CouldNotLearn));
                });
            }
        });
    };
    thread::spawn(run).join().unwrap();
}
