//! The server under load, with clients that come and go, malformed input, reloads, and policies that change: each answer is
//! one that may be given, and its memory stays flat. Some seconds here, `make soak-serve SECONDS=300` for longer.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::limits::memory;
use super::server::{Server, netstring};
use mtasts_kit::{on_the_internet_with, signal};
use mtasts_lab::{Change, Policy, policy_text, table};

const MAPS: [&str; 3] = ["postfix", "postfix-3.10", "sts"];

#[test]
fn memory_stays_flat() {
    let seconds: u64 = std::env::var("SOAK_SERVE_SECONDS").map_or(8, |text| text.parse().unwrap());
    let settings = [("timeout", "6s"), ("txt_life_min", "1s"), ("txt_life_max", "1s")];
    on_the_internet_with("serve-soak", &settings, move |internet| {
        let server = Server::start(internet);
        let enforced: Vec<(String, bool)> = table()
            .into_iter()
            .map(|entry| (entry.name, matches!(entry.policy, Policy::Enforce)))
            .collect();
        let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        let client = |number: usize| {
            let mut turn = number * 7919;
            while !stop.load(Ordering::Relaxed) {
                let mut client = server.client();
                for _ in 0..50 {
                    turn += 1;
                    let (name, enforced) = &enforced[turn * 31 % enforced.len()];
                    let reply = client.ask(MAPS[turn % 3], name);
                    let allowed = match enforced {
                        true => reply.starts_with("OK secure match=") || reply.starts_with("TEMP "),
                        false => reply == "NOTFOUND ",
                    };
                    assert!(allowed, "{name}: {reply}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                // Half a query, what is none, or nothing, and gone.
                let last: &[u8] = [
                    &b"17:postfix good"[..],
                    b"GET / HTTP/1.1\r\n",
                    b"exim lookup good.test\n",
                    b"",
                ][turn % 4];
                let _ = client.0.write_all(last);
            }
        };
        let client = &client;
        thread::scope(|scope| {
            let clients: Vec<_> = (0..8).map(|number| scope.spawn(move || client(number))).collect();
            let begun = Instant::now();
            let mut before = None;
            let mut id = 0;
            while begun.elapsed() < Duration::from_secs(seconds) {
                thread::sleep(Duration::from_millis(500));
                id += 1;
                let text = policy_text("enforce", &["mx.good.test", &format!("mx{id}.good.test")], 86400);
                internet
                    .lab
                    .set("good.test", Change::publish(&format!("s{id}"), text))
                    .unwrap();
                if id % 8 == 0 {
                    signal(server.pid(), libc::SIGHUP);
                }
                // The first half is for what is made once.
                if before.is_none() && begun.elapsed() > Duration::from_secs(seconds / 2) {
                    before = Some(memory(&server));
                }
            }
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().for_each(|client| client.join().unwrap());
            let (before, after) = (before.unwrap(), memory(&server));
            println!(
                "{} queries in {seconds} s; memory {before} KiB, then {after} KiB",
                asked.load(Ordering::Relaxed)
            );
            // In some seconds the allocator has not come to rest.
            let slack = if seconds >= 60 { before / 20 } else { before / 2 };
            assert!(after <= before + slack, "{before} KiB, then {after} KiB");
        });
        assert!(server.client().0.write_all(&netstring("postfix good.test")).is_ok());
        let log = server.stop();
        assert!(!log.contains("panic") && log.ends_with("stopped.\n"), "{log}");
    });
}
