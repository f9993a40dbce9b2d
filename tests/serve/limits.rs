//! Clients that are many, slow, or do not read.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::server::{Client, Server, netstring};
use mtasts_kit::{on_the_internet, process, until};
use mtasts_lab::{Change, policy_text};

/// The memory of the server, in KiB.
pub(crate) fn memory(server: &Server) -> u64 {
    let text = process::status(server.pid(), "VmRSS").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// 1,024 are served at a time. One more is served at once: who has asked nothing for the longest time goes.
#[test]
fn idle_clients_are_no_wall() {
    on_the_internet("serve-idle", |internet| {
        let server = Server::start(internet);
        let mut first = server.client();
        assert!(first.ask("postfix", "good.test").starts_with("OK "));
        let idle: Vec<_> = (0..1023).map(|_| server.client()).collect();
        // A client that has just come is not idle yet.
        thread::sleep(Duration::from_millis(1500));
        let begun = Instant::now();
        let more: Vec<_> = (0..500)
            .map(|_| {
                let mut client = server.client();
                assert!(client.ask("postfix", "good.test").starts_with("OK "));
                client
            })
            .collect();
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        let mut end = [0];
        assert_eq!(
            first.0.read(&mut end).unwrap(),
            0,
            "the first has asked nothing for the longest time"
        );
        let counters = server.get("/metrics");
        assert!(counters.contains("mtasts_serve_connections 1024"), "{counters}");
        assert!(memory(&server) < 60 << 10, "{} KiB", memory(&server));
        drop((idle, more));
        until("no client", || {
            server.get("/metrics").contains("mtasts_serve_connections 0")
        });
    });
}

/// Ten thousand clients that ask nothing: whoever asks is served among them, and they cost no memory.
#[test]
fn ten_thousand_idle_clients() {
    on_the_internet("serve-idle-many", |internet| {
        let server = Server::start(internet);
        assert!(server.ask("postfix", "good.test").starts_with("OK "));
        let mut idle = VecDeque::new();
        let mut longest = Duration::ZERO;
        for number in 0..10_000 {
            idle.push_back(server.client());
            // What the server has closed long ago need not stay open here.
            if idle.len() > 3_000 {
                idle.pop_front();
            }
            if number % 1000 == 999 {
                let asked = Instant::now();
                assert!(server.ask("postfix", "good.test").starts_with("OK "));
                longest = longest.max(asked.elapsed());
            }
        }
        assert!(longest < Duration::from_secs(20), "{longest:?}");
        assert!(memory(&server) < 60 << 10, "{} KiB", memory(&server));
        let counters = server.get("/metrics");
        let connected = counters
            .lines()
            .find_map(|line| line.strip_prefix("mtasts_serve_connections "));
        let connected: usize = connected.unwrap().parse().unwrap();
        assert!((900..=1024).contains(&connected), "{counters}");
    });
}

/// A query has ten seconds to come, octet by octet or not, and a reply has ten seconds to be read. Others do not notice.
#[test]
fn slow_clients_are_cut_off() {
    on_the_internet("serve-slow", |internet| {
        let patterns: Vec<String> = (0..1000).map(|n| format!("h{n}.a-longer-name.good.test")).collect();
        let mut mx: Vec<&str> = patterns.iter().map(String::as_str).collect();
        mx.push("mx.good.test");
        let large = policy_text("enforce", &mx, 86400);
        internet.lab.set("good.test", Change::publish("large", large)).unwrap();
        let server = Server::start(internet);
        let reply = server.ask("postfix-3.10", "good.test");
        assert!(reply.len() > 50_000 && reply.len() < 100_000, "{}", reply.len());
        let before = memory(&server);

        let (mut half, mut drop_by_drop, mut deaf) = (server.client(), server.client(), server.client());
        half.0.write_all(b"17:postfix good").unwrap();
        let query = netstring("postfix-3.10 good.test");
        deaf.0.set_nonblocking(true).unwrap();
        // Until nothing goes any more: the server does not read queries whose replies are not read.
        let mut queries = 0;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            match deaf.0.write_all(&query) {
                Ok(()) => queries += 1,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        assert!(queries > 10, "{queries}");
        let mut ends = 0;
        let begun = Instant::now();
        for octet in b"9999:postfix good.test and so on for ever".iter().cycle() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is served for ever");
            if drop_by_drop.0.write_all(&[*octet]).is_err() {
                break;
            }
            // Meanwhile others are served.
            let asked = Instant::now();
            assert!(server.ask("postfix", "good.test").starts_with("OK "));
            assert!(asked.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(200));
            ends += 1;
        }
        assert!(ends > 20, "it was cut off before its time");
        assert!(gone(&mut half));
        let grown = memory(&server).saturating_sub(before);
        assert!(grown < 10 << 10, "{grown} KiB");
        let counters = server.get("/metrics");
        for (reason, times) in [("slow query", 2), ("slow reader", 1)] {
            let line = format!("mtasts_serve_closed_total{{reason=\"{reason}\"}} {times}");
            assert!(counters.contains(&line), "{counters}");
        }
    });
}

/// Whether the server has closed the connection.
fn gone(client: &mut Client<std::os::unix::net::UnixStream>) -> bool {
    let mut octet = [0];
    client.0.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    matches!(client.0.read(&mut octet), Ok(0))
}
