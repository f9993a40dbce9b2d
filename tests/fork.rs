//! Fork is normal: lookups in children of warm, threaded parents, at any time and at any depth.
//!
//! The host process of these tests is a child of the test that has become an ordinary user, so that lookups run in it
//! and not in root's helper.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::abort;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::{Domain, Resolver, Settings, Source};
use mtasts_kit::{Child, give_up_root};

/// Runs `host` in a process of an ordinary user; it must come to its end in time.
fn as_a_host(host: impl FnOnce()) {
    let child = Child::start(|| {
        give_up_root();
        host();
    });
    child.ends_well(Duration::from_secs(900));
}

/// A name server that says NXDOMAIN to everything, and tells the id and the port of each question.
fn name_server() -> (SocketAddr, Receiver<(u16, u16)>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let _ = tell.send((u16::from_be_bytes([packet[0], packet[1]]), from.port()));
            // A response, recursion available, NXDOMAIN; the question stands as it was, and nothing behind it.
            (packet[2], packet[3]) = (0x81, 0x83);
            let question = 12 + packet[12..length].iter().position(|o| *o == 0).unwrap() + 5;
            packet[6..12].fill(0);
            let _ = socket.send_to(&packet[..question], from);
        }
    });
    (address, told)
}

fn resolver(name_server: SocketAddr, cache: &Path) -> Resolver {
    let mut settings = Settings::default();
    settings.set("cache_dir", cache.to_str().unwrap()).unwrap();
    settings.set("nameservers", &name_server.to_string()).unwrap();
    Resolver::new(settings)
}

fn cache(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mtasts-fork-{}-{name}", std::process::id()))
}

fn asks(resolver: &Resolver, domain: &str) {
    let answer = resolver
        .lookup(&Domain::parse(domain).unwrap(), Duration::from_secs(10))
        .unwrap();
    assert_eq!(answer.source(), Source::NoPolicy, "{answer}");
}

#[test]
fn siblings_never_share_dns_ids_or_ports() {
    let (server, told) = name_server();
    let dir = cache("ids");
    as_a_host(|| {
        let resolver = resolver(server, &dir);
        // A warm parent: it has asked before.
        asks(&resolver, "warm.example");
        let children: Vec<Child> = (0..16)
            .map(|n| Child::start(|| asks(&resolver, &format!("child{n}.example"))))
            .collect();
        children
            .into_iter()
            .for_each(|child| child.ends_well(Duration::from_secs(30)));
    });
    let (ids, ports): (BTreeSet<u16>, BTreeSet<u16>) = told.try_iter().unzip();
    // Two of seventeen random ids of 16 bits are equal once in 480 runs, three once in a million.
    assert!(ids.len() >= 16, "{ids:x?}");
    assert!(ports.len() >= 14, "{ports:?}");
}

#[test]
fn two_thousand_forks_of_a_busy_parent_and_none_hangs() {
    let (server, _told) = name_server();
    let dir = cache("busy");
    as_a_host(|| {
        let resolver = resolver(server, &dir);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for n in 0..4 {
                let (resolver, stop) = (&resolver, &stop);
                scope.spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        count += 1;
                        asks(resolver, &format!("thread{n}-{count}.example"));
                        let _ = resolver.lookup_cached(&Domain::parse("other.example").unwrap());
                    }
                });
            }
            for n in 0..2000 {
                let resolver = resolver.clone();
                let child = Child::start(move || {
                    let known = resolver
                        .lookup_cached(&Domain::parse("cached.example").unwrap())
                        .unwrap();
                    assert_eq!(known.source(), Source::CouldNotLearn);
                    asks(&resolver, &format!("fork{n}.example"));
                    if n % 20 == 0 {
                        // A child's child, and freeing in the child.
                        let grandchild = Child::start(|| asks(&resolver, &format!("grandchild{n}.example")));
                        grandchild.ends_well(Duration::from_secs(20));
                        drop(resolver);
                    }
                });
                child.ends_well(Duration::from_secs(30));
            }
            stop.store(true, Ordering::Relaxed);
        });
        asks(&resolver, "still-alive.example");
    });
}

/// A child that only lives on must not keep the parent's lookups from the cache.
#[test]
fn a_child_that_does_nothing_disturbs_nobody() {
    let (server, _told) = name_server();
    let dir = cache("idle");
    as_a_host(|| {
        let resolver = resolver(server, &dir);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    asks(&resolver, &format!("parent{count}.example"));
                }
            });
            let idle: Vec<Child> = (0..20)
                .map(|_| {
                    thread::sleep(Duration::from_millis(3));
                    Child::start(|| {
                        loop {
                            thread::sleep(Duration::from_secs(60));
                        }
                    })
                })
                .collect();
            let start = Instant::now();
            (0..100).for_each(|n| asks(&resolver, &format!("after{n}.example")));
            if start.elapsed() > Duration::from_secs(20) {
                abort();
            }
            stop.store(true, Ordering::Relaxed);
            drop(idle);
        });
    });
}
