//! The server: gone, slow or lying; with TLS and users; and the one that Sentinel names.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::queue::Queue;
use mtasts::{Mode, Resolver, Source};
use mtasts_kit::valkey::{Valkey, key_file};
use mtasts_kit::{USER, as_user, ask, pki, settings, until};

use super::kept::through;
use super::{Fleet, KEY, on_a_fleet};

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

/// Cold lookups of new processes, by turns without a fleet and with a server that takes connections and says nothing.
#[test]
fn a_silent_server_costs_a_cold_lookup_150_ms_at_most() {
    on_a_fleet("fleet-silent", 40, |internet| {
        let path = internet.lab.directory().join("silent.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let fleet = Fleet::at(internet, format!("unix:{}", path.display()));
        let (disk, mut times) = (fleet.disk("a"), [vec![], vec![]]);
        let mut domains = (0..).map(|number| format!("many{number}.test"));
        for _ in 0..20 {
            for (resolver, times) in [Resolver::new(settings(&disk, &[])), fleet.host("a")]
                .iter()
                .zip(&mut times)
            {
                let (domain, begun) = (domains.next().unwrap(), Instant::now());
                assert_eq!(ask(resolver, &domain).source(), Source::Fresh);
                times.push(begun.elapsed());
            }
        }
        // The best of each: the machine may be busy.
        let [without, with] = times.map(|times| times.into_iter().min().unwrap());
        println!("a cold lookup takes {without:?}, with a silent server {with:?}");
        // A timer of the kernel may be late by some milliseconds.
        assert!(with < without + Duration::from_millis(160), "{with:?} and {without:?}");
        assert!(with > without + Duration::from_millis(100), "the server was asked");
    });
}

/// What a stranger with the password has put under our keys, in the server's other types.
#[test]
fn a_key_of_another_type_is_no_policy() {
    on_a_fleet("fleet-types", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        for (number, command) in [
            &["RPUSH", "KEY", "x"][..],
            &["HSET", "KEY", "x", "y"],
            &["SETBIT", "KEY", "7000", "1"],
        ]
        .iter()
        .enumerate()
        {
            for kind in ["p", "f", "l"] {
                server.says(&["FLUSHALL"]);
                let key = format!("mtasts:1:{kind}:good.test");
                let command: Vec<&str> = command
                    .iter()
                    .map(|word| if *word == "KEY" { &key } else { *word })
                    .collect();
                assert_ne!(server.says(&command), "");
                let answer = ask(&fleet.host(&format!("h{number}{kind}")), "good.test");
                assert_eq!(
                    (answer.source(), answer.mode()),
                    (Source::Fresh, Mode::Enforce),
                    "{command:?}"
                );
                let told = fleet.told();
                assert!(
                    told.iter().all(|line| line.contains("it answered: WRONGTYPE")),
                    "{told:?}"
                );
            }
        }
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
        // A worker of a queue keeps its connection under TLS as well, and the server may close it.
        let fleet = Fleet::at(internet, format!("rediss://mtasts@{host}:6380/1"));
        key_file(&fleet.key, &format!("{KEY}{password}"));
        let resolver = fleet.host_with("kept", &[("ca_file", roots.to_str().unwrap())]);
        as_user(USER, USER, || {
            let (queue, before) = (Queue::new(&resolver).unwrap(), server.connections());
            for domain in ["testing.test", "twomx.test", "none.test"] {
                assert!(through(&queue, domain).cached().is_some());
            }
            assert_eq!(server.connections() - before, 1);
            server.says(&["CLIENT", "KILL", "TYPE", "normal"]);
            assert!(through(&queue, "wildcert.test").cached().is_some());
            assert_eq!((server.connections() - before, fleet.told()), (2, vec![]));
        });
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
        let sentinel = Valkey::sentinel(&at("s"), 7003, "127.0.0.1 7001");
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
