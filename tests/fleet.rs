//! One cache for a fleet: hosts on the test Internet that share what they fetch by a real Valkey or Redis server, and what
//! becomes of them without it.
//!
//! Debian packages: redis-server.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::Cache as _;
use mtasts::cache::entry::{CachedPolicy, Entry};
use mtasts::cache::sealed::{Secrets, seal};
use mtasts::cache::store::Store;
use mtasts::sender::resolver::unix_now;
use mtasts::{Answer, Mode, Resolver, Source};
use mtasts_kit::valkey::{Valkey, key_file};
use mtasts_kit::{Internet, Ran, USER, as_user, ask, name, on_the_internet_with_crowd, pki, settings, until};
use mtasts_lab::{Change, Https, policy_text};

#[path = "fleet/proof.rs"]
mod proof;

const KEY: &str = "key aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n";

/// Runs a test on a test Internet with so many domains more. The server has 150 ms for a lookup: if this machine was too busy
/// for that, the test is run once more.
fn on_a_fleet(name: &str, crowd: u16, test: impl Fn(&Internet) + Send + Sync + 'static) {
    let test = Arc::new(test);
    for attempt in 1.. {
        let (before, again) = (late(), test.clone());
        let run = || on_the_internet_with_crowd(name, crowd, move |internet| again(internet));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(()) => return,
            Err(panic) if late() == before || attempt == 5 => resume_unwind(panic),
            Err(_) => println!("{name}: once more, the server was late"),
        }
    }
}

/// Where all processes of this test note that the server was late: a file without a name, which a fork has too.
fn late_file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("mtasts-fleet-late-{}", std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file
    })
}

fn late() -> u64 {
    late_file().metadata().unwrap().len()
}

/// The hosts of a fleet: each has a disk of its own, and all have one server.
struct Fleet {
    directory: PathBuf,
    address: String,
    key: PathBuf,
    /// What the log of each host has.
    told: Arc<Mutex<Vec<String>>>,
}

impl Fleet {
    fn at(internet: &Internet, address: String) -> Self {
        let directory = internet.lab.directory().join("hosts");
        fs::create_dir_all(&directory).unwrap();
        let key = directory.join("key");
        key_file(&key, KEY);
        Self {
            directory,
            address,
            key,
            told: Arc::default(),
        }
    }

    /// A server, and hosts that know it.
    fn with_server(internet: &Internet) -> (Valkey, Self) {
        let server = Valkey::start(&internet.lab.directory().join("valkey"), &[]);
        let address = server.address();
        (server, Self::at(internet, address))
    }

    fn disk(&self, host: &str) -> PathBuf {
        let disk = self.directory.join(host);
        if !disk.exists() {
            fs::create_dir(&disk).unwrap();
            std::os::unix::fs::chown(&disk, Some(USER), Some(USER)).unwrap();
        }
        disk
    }

    /// A new process of a host.
    fn host(&self, host: &str) -> Resolver {
        self.host_with(host, &[])
    }

    fn host_with(&self, host: &str, settings_too: &[(&str, &str)]) -> Resolver {
        let more = [
            ("fleet", self.address.as_str()),
            ("fleet_key_file", self.key.to_str().unwrap()),
            ("txt_life_min", "0s"),
            ("txt_life_max", "0s"),
        ];
        let more = [&more, settings_too].concat();
        let (told, late) = (self.told.clone(), late_file());
        Resolver::with_log(settings(&self.disk(host), &more), move |line| {
            if line.contains(" in time") {
                let mut late: &File = late;
                late.write_all(b"x").unwrap();
            }
            told.lock().unwrap().push(line.to_owned());
        })
    }

    fn entry(&self, host: &str, domain: &str) -> Option<Entry> {
        Store::new(self.disk(host)).load(&name(domain)).unwrap()
    }

    /// What was told of the fleet since the last time, and not of a domain.
    fn told(&self) -> Vec<String> {
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.retain(|line| !line.contains("[policy-"));
        told
    }
}

fn id(answer: &Answer) -> Option<&str> {
    answer.cached().map(|cached| cached.id.as_str())
}

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
            waited > Duration::from_millis(1400) && waited < Duration::from_millis(2500),
            "{waited:?}"
        );
        assert_eq!(server.says(&["GET", lock]), "dead", "only its holder removes it");
        let begun = Instant::now();
        assert_eq!(ask(&hosts[1], "twomx.test").source(), Source::Cached);
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(fleet.told(), [""; 0]);
    });
}

/// A server that is not there, says nothing, says an octet at a time, or says what it should not.
#[test]
fn without_the_server_everything_is_as_before() {
    on_a_fleet("fleet-gone", 0, |internet| {
        let directory = internet.lab.directory().to_owned();
        let bulk = || b"$536870912\r\n".to_vec();
        let answers: Vec<(&str, Vec<u8>)> = vec![
            ("silent", Vec::new()),
            ("dripping", b"$100000\r\n".to_vec()),
            ("deep", b"*1\r\n".repeat(1_000_000)),
            ("bulk", bulk()),
            ("wrong", b":1\r\n:2\r\n".to_vec()),
            ("moved", b"-MOVED 3999 198.18.0.99:6379\r\n".to_vec()),
            ("lua", b"$-1\r\n$-1\r\n-ERR user_script:1: no memory\r\n".to_vec()),
            ("http", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            ("closes", Vec::new()),
        ];
        let mut number = 0;
        let mut run = |what: &str, address: String, longest: Duration, is_told: bool| {
            number += 1;
            let fleet = Fleet::at(internet, address);
            let resolver = fleet.host(&format!("{what}{number}"));
            let fetched = internet.fetches("good.test");
            let begun = Instant::now();
            let answer = ask(&resolver, "good.test");
            assert_eq!(
                (answer.source(), answer.mode()),
                (Source::Fresh, Mode::Enforce),
                "{what}"
            );
            assert_eq!(internet.fetches("good.test"), fetched + 1);
            assert!(begun.elapsed() < longest, "{what}: {:?}", begun.elapsed());
            let told = fleet.told();
            assert_eq!(told.len(), usize::from(is_told), "{what}: {told:?}");
            assert!(
                told.iter().all(|line| line.starts_with("mtasts[fleet-not-used]: ")),
                "{told:?}"
            );
            // The door is shut, and nothing more is told.
            ask(&resolver, "testing.test");
            assert_eq!(fleet.told(), [""; 0], "{what}");
            told.into_iter().next().unwrap_or_default()
        };
        // Without a fleet it takes some milliseconds; the machine may be busy.
        let longest = Duration::from_millis(150 + 2000);
        let gone = run("gone", format!("unix:{}/nowhere", directory.display()), longest, true);
        assert!(gone.contains("No such file"), "{gone}");
        let refused = run("refused", "redis://127.0.0.1:1".to_owned(), longest, true);
        assert!(refused.contains("refused"), "{refused}");
        for (what, answer) in answers {
            let path = directory.join(format!("{what}.sock"));
            let listener = UnixListener::bind(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
            let connections = Arc::new(AtomicUsize::new(0));
            let seen = connections.clone();
            // It ends with the test's process.
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else { return };
                    seen.fetch_add(1, Ordering::Relaxed);
                    let answer = answer.clone();
                    thread::spawn(move || {
                        let mut asked = [0; 4096];
                        let _ = stream.read(&mut asked);
                        if answer.is_empty() && what == "closes" {
                            return;
                        }
                        let _ = stream.write_all(&answer);
                        if what == "dripping" {
                            while stream.write_all(b"x").is_ok() {
                                thread::sleep(Duration::from_millis(20));
                            }
                        }
                        thread::sleep(Duration::from_secs(30));
                    });
                }
            });
            // Numbers in place of texts are nothing, until the script answers.
            run(what, format!("unix:{}", path.display()), longest, true);
            assert_eq!(connections.load(Ordering::Relaxed), 1, "{what}: the door was shut");
        }
        // A socket whose queue is full: the kernel lets a client wait.
        let path = directory.join("full.sock");
        let _listener = full(&path);
        let told = run("full", format!("unix:{}", path.display()), longest, true);
        assert!(told.contains("did not answer in time"), "{told}");
        // The settings lack the secrets, or others may read them.
        let server = Valkey::start(&directory.join("valkey"), &[]);
        let fleet = Fleet::at(internet, server.address());
        fs::set_permissions(&fleet.key, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ask(&fleet.host("open"), "good.test").source(), Source::Fresh);
        let told = fleet.told();
        assert!(told[0].contains("its mode is 644") && told.len() == 1, "{told:?}");
    });
}

/// A listener that takes nobody, with a queue that has no place left.
fn full(path: &Path) -> (UnixListener, Vec<std::os::unix::net::UnixStream>) {
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    let mut waiting = Vec::new();
    let (sent, arrived) = std::sync::mpsc::channel();
    // Each attempt on a thread of its own: the last one waits until the listener goes.
    loop {
        let (sent, path) = (sent.clone(), path.to_owned());
        thread::spawn(move || sent.send(std::os::unix::net::UnixStream::connect(path)));
        match arrived.recv_timeout(Duration::from_millis(300)) {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => return (listener, waiting),
        }
        assert!(waiting.len() < 10_000);
    }
}

/// Over TLS, as a user who may do what a lookup needs and nothing else.
#[test]
fn the_server_proves_its_name_and_knows_its_users() {
    on_a_fleet("fleet-tls", 0, |internet| {
        let directory = internet.lab.directory().join("valkey");
        fs::create_dir_all(&directory).unwrap();
        // The test Internet has an address for this name, at which nothing listens at this port.
        let (host, address) = ("mta-sts.good.test", "198.18.1.30");
        let authority = pki::root("the fleet's");
        let proof = pki::host(&[host], &authority, |_| {});
        fs::write(directory.join("key.pem"), &proof.key_pem).unwrap();
        fs::write(
            directory.join("cert.pem"),
            pem::encode(&pem::Pem::new("CERTIFICATE", proof.der)),
        )
        .unwrap();
        let at = directory.display();
        let server = Valkey::start(
            &directory,
            &[
                &format!("bind {address}"),
                "protected-mode no",
                "tls-port 6380",
                "tls-auth-clients no",
                &format!("tls-cert-file {at}/cert.pem"),
                &format!("tls-key-file {at}/key.pem"),
                "user mtasts on >secret ~mtasts:1:* +get +set +del +eval +select",
                "user reader on >secret ~mtasts:1:* +get",
            ],
        );
        let roots = internet.lab.directory().join("roots.pem");
        let lab = fs::read_to_string(internet.lab.directory().join("ca.pem")).unwrap();
        fs::write(&roots, lab.clone() + &authority.pem()).unwrap();
        let asks = |user: &str, secrets: &str, roots: &Path, name: &str| {
            let fleet = Fleet::at(internet, format!("rediss://{user}@{name}:6380/1"));
            key_file(&fleet.key, &format!("{KEY}{secrets}"));
            let resolver = fleet.host_with(&format!("host{}", number()), &[("ca_file", roots.to_str().unwrap())]);
            (
                ask(&resolver, "good.test").source(),
                fleet.told().pop().unwrap_or_default(),
            )
        };
        let password = "password secret\n";
        assert_eq!(asks("mtasts", password, &roots, host), (Source::Fresh, String::new()));
        assert_eq!(asks("mtasts", password, &roots, host), (Source::Cached, String::new()));
        assert_eq!(
            server.says(&["-n", "1", "DBSIZE"]),
            "1",
            "in the database of the address"
        );
        let only_lab = internet.lab.directory().join("ca.pem");
        for (user, secrets, roots, name, why) in [
            ("mtasts", password, &only_lab, host, "TLS failed: "),
            ("mtasts", password, &roots, "mta-sts.testing.test", "refused"),
            ("mtasts", "password wrong\n", &roots, host, "it answered: WRONGPASS"),
            ("mtasts", "", &roots, host, "it answered: WRONGPASS"),
            ("reader", password, &roots, host, "it answered: NOPERM"),
        ] {
            let (source, told) = asks(user, secrets, roots, name);
            assert_eq!(source, Source::Fresh, "{why}");
            assert!(told.contains(why) && !told.contains("secret"), "{told}");
        }
        // The right host has a certificate for another name.
        let other = pki::host(&["other.test"], &authority, |_| {});
        fs::write(directory.join("key.pem"), &other.key_pem).unwrap();
        fs::write(
            directory.join("cert.pem"),
            pem::encode(&pem::Pem::new("CERTIFICATE", other.der)),
        )
        .unwrap();
        let files = [format!("{at}/cert.pem"), format!("{at}/key.pem")];
        assert_eq!(
            server.says(&["CONFIG", "SET", "tls-cert-file", &files[0], "tls-key-file", &files[1]]),
            "OK"
        );
        let (_, told) = asks("mtasts", password, &roots, host);
        assert!(told.contains("other.test"), "{told}");
    });
}

/// A number that no other call returns.
fn number() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// After a failover the hosts ask the new master, which may be behind: nothing is lost that a host has on its disk.
#[test]
fn sentinel_says_who_is_the_master() {
    on_a_fleet("fleet-sentinel", 0, |internet| {
        let at = |name: &str| internet.lab.directory().join(name);
        let first = Valkey::start(&at("v1"), &["port 7001"]);
        let second = Valkey::start(&at("v2"), &["port 7002", "replicaof 127.0.0.1 7001"]);
        let sentinel = Valkey::sentinel(&at("s"), 7003, 7001);
        // The first Sentinel is gone.
        let fleet = Fleet::at(internet, "redis+sentinel://127.0.0.1:1,127.0.0.1:7003/mail".to_owned());
        assert_eq!(ask(&fleet.host("a"), "good.test").source(), Source::Fresh);
        assert_eq!(ask(&fleet.host("b"), "good.test").source(), Source::Cached);
        assert_eq!(first.says(&["DBSIZE"]), "1");
        until("a replica", || second.says(&["DBSIZE"]) == "1");
        until("Sentinel knows it", || {
            sentinel.says(&["SENTINEL", "REPLICAS", "mail"]).contains("7002")
        });
        let role = |server: &Valkey| server.says(&["ROLE"]).lines().next().unwrap_or_default().to_owned();
        drop(first);
        until("the failover", || role(&second) == "master");
        until("Sentinel's word", || {
            sentinel
                .says(&["SENTINEL", "get-master-addr-by-name", "mail"])
                .contains("7002")
        });
        assert_eq!(second.says(&["FLUSHALL"]), "OK");
        assert_eq!(ask(&fleet.host("a"), "good.test").source(), Source::Cached);
        assert_eq!(ask(&fleet.host("c"), "good.test").source(), Source::Cached);
        assert_eq!((internet.fetches("good.test"), fleet.told()), (1, vec![]));
        // It is not followed to a stranger, to whom the password would be sent.
        sentinel.says(&["SENTINEL", "REMOVE", "mail"]);
        sentinel.says(&["SENTINEL", "MONITOR", "mail", "198.18.1.30", "6379", "1"]);
        assert_eq!(ask(&fleet.host("d"), "good.test").source(), Source::Fresh);
        let told = fleet.told().pop().unwrap_or_default();
        assert!(told.contains("198.18.1.30, which the setting does not name"), "{told}");
    });
}

/// What an operator sees of it.
#[test]
fn the_command_shows_what_is_shared() {
    on_a_fleet("fleet-command", 0, |internet| {
        let server = Valkey::start(&internet.lab.directory().join("valkey"), &[]);
        internet.empty_cache();
        let key = internet.lab.directory().join("fleet.key");
        key_file(&key, KEY);
        let none = internet.cache("fleet status");
        assert!(
            none.status == 2 && none.err.contains("the setting fleet is empty"),
            "{none:?}"
        );
        internet.set(&format!("fleet = {:?}\nfleet_key_file = {key:?}", server.address()));
        for domain in ["good.test", "testing.test"] {
            internet.lookup(domain);
        }
        let status = internet.cache("fleet status");
        let lines: Vec<&str> = status.out.lines().collect();
        assert_eq!((status.status, lines.len()), (0, 3), "{status:?}");
        assert!(
            lines[0].contains(" answers after ") && lines[1].contains("2 policies"),
            "{lines:?}"
        );
        assert!(lines[2].contains("no limit, maxmemory-policy noeviction"), "{lines:?}");
        // What is exported can be imported.
        let export = internet.cache("fleet export");
        assert_eq!((export.status, export.out.lines().count()), (0, 2), "{export:?}");
        let file = internet.lab.directory().join("export");
        fs::write(&file, &export.out).unwrap();
        internet.empty_cache();
        let import = internet.cache(&format!("import {}", file.display()));
        assert!(import.status == 0 && import.out.starts_with("2 imported"), "{import:?}");
        // What is not sealed is left out.
        server.set("mtasts:1:p:testing.test", b"x");
        server.set("mtasts:1:p:Not a domain", b"x");
        server.set("other:p:example.com", b"x");
        let export = internet.cache("fleet export");
        assert_eq!((export.status, export.out.lines().count()), (1, 1), "{export:?}");
        assert!(
            export
                .err
                .contains("mtasts:1:p:testing.test is ignored: not a sealed entry"),
            "{export:?}"
        );
        let purged = internet.cache("fleet purge good.test example.com");
        assert_eq!((purged.status, purged.out.lines().count()), (1, 1), "{purged:?}");
        assert!(
            purged.err.contains("example.com: the fleet has no policy"),
            "{purged:?}"
        );
        assert_eq!(server.get("mtasts:1:p:good.test"), b"");
        // A server that drops what is in force.
        server.says(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        let status = internet.cache("fleet status --json");
        assert_eq!(
            (status.status, status.json()["memory_policy"].as_str()),
            (1, Some("allkeys-lru"))
        );
        let codes = || -> Vec<String> {
            let doctor = Command::new(mtasts_kit::mtasts()).args(["doctor", "--json"]).output();
            let found = Ran::from(doctor.unwrap()).json();
            let findings = found["findings"].as_array().unwrap().iter();
            let codes = findings.map(|finding| finding["code"].as_str().unwrap().to_owned());
            codes.filter(|code| code.starts_with("fleet")).collect()
        };
        assert_eq!(codes(), ["fleet", "fleet-evicts"]);
        let up = |file: &Path, state: &str| {
            let ran = internet.cache(&format!("refresh --prometheus {}", file.display()));
            assert_eq!(ran.status, 0, "{ran:?}");
            let text = fs::read_to_string(file).unwrap();
            assert!(
                text.contains(&format!("mtasts_fleet{{state=\"{state}\"}} 1\n")),
                "{text}"
            );
        };
        assert_eq!(server.says(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
        // One that is asked without TLS beyond this host, which has to be allowed.
        let plain = Valkey::start(
            &internet.lab.directory().join("plain"),
            &["port 7001", "bind 198.18.1.30", "protected-mode no"],
        );
        let file = "/etc/mtasts/mtasts.toml";
        let text = fs::read_to_string(file).unwrap();
        let changed = text.replace(&server.address(), "redis://198.18.1.30:7001");
        fs::write(file, &changed).unwrap();
        let refused = internet.cache("fleet status");
        assert!(
            refused.status == 2 && refused.err.contains("without TLS"),
            "{refused:?}"
        );
        fs::write(file, changed + "fleet_insecure = \"on\"\n").unwrap();
        assert_eq!(codes(), ["fleet", "fleet-plain"]);
        let status = internet.cache("fleet status --json");
        assert_eq!((status.status, status.json()["tls"].as_bool()), (1, Some(false)));
        drop(plain);
        fs::write(file, text).unwrap();
        let file = internet.cache.with_file_name("textfile").join("mtasts.prom");
        fs::create_dir(file.parent().unwrap()).unwrap();
        std::os::unix::fs::chown(file.parent().unwrap(), Some(USER), Some(USER)).unwrap();
        up(&file, "up");
        drop(server);
        up(&file, "down");
        let status = internet.cache("fleet status");
        assert!(
            status.status == 1 && status.out.contains("Each host fetches for itself"),
            "{status:?}"
        );
        assert_eq!(codes(), ["fleet-silent"]);
    });
}

/// A writer who has no key, and one who has a key of another fleet.
#[test]
fn nobody_without_the_key_plants_a_policy() {
    on_a_fleet("fleet-forged", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let key = "mtasts:1:p:good.test";
        ask(&fleet.host("a"), "good.test");
        internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        let good = server.get(key);
        let mut weak = fleet.entry("a", "good.test").unwrap();
        let none = CachedPolicy::new("n9".parse().unwrap(), unix_now(), policy_text("none", &[], 86_400));
        weak.cached = Some(Arc::new(none.unwrap()));
        let other = Secrets::parse(&KEY.replace('a', "c")).unwrap();
        let ours = Secrets::parse(KEY).unwrap();
        // The same seal for another domain.
        let mut of_another = weak.clone();
        of_another.domain = name("testing.test");
        for (what, forged) in [
            ("no seal", weak.to_file()),
            ("another fleet's", seal(&other, &weak)),
            ("another domain's", seal(&ours, &of_another)),
            ("cut", String::from_utf8(good[..good.len() - 20].to_vec()).unwrap()),
            ("newer", seal(&ours, &weak).replacen("fleet 1", "fleet 2", 1)),
        ] {
            server.set(key, forged.as_bytes());
            let answer = ask(&fleet.host("new"), "good.test");
            assert_eq!(answer.source(), Source::CouldNotLearn, "{what}: {answer}");
            let answer = ask(&fleet.host("a"), "good.test");
            assert_eq!(answer.mode(), Mode::Enforce, "{what}: {answer}");
            let _ = fs::remove_dir_all(fleet.disk("new"));
        }
    });
}
