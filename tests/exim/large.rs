//! The largest policies that a stranger may have (RFC 8461 3.3: 64 KiB), against as many MX hosts as he likes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mtasts_lab::Change;

use super::host::{self, Config, Fate, Host, Tls};
use super::{World, builds, evidence};

/// How many MX hosts there are. Exim looks at the list once for each.
const HOSTS: usize = 100;
/// What a policy may add to Exim's own memory and time.
const MEMORY: u64 = 16 << 10;
/// The same where the whole list is read for each host.
const WHOLE: u64 = 96 << 10;
const TIME: Duration = Duration::from_secs(1);
/// The longest policy.
const LONGEST: usize = 65_536;

/// What routing an address took.
struct Peak {
    kib: u64,
    time: Duration,
    printed: String,
}

/// `exim4 -bt`, after the policy has come into the cache.
fn route(host: &Host, peak: &Path) -> Peak {
    let output = host
        .command(peak.to_str().unwrap())
        .args(["exim4", "-bt", "a@good.test"])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let numbers = err.lines().rev().find_map(|line| line.strip_prefix("peak "));
    let (kib, time) = numbers
        .and_then(|line| line.split_once(' '))
        .unwrap_or_else(|| panic!("{out}{err}"));
    Peak {
        kib: kib.parse().unwrap(),
        time: Duration::from_millis(time.parse().unwrap()),
        printed: format!("{out}{err}"),
    }
}

/// A policy with as many of these patterns as fit beside those of the hosts.
fn full(hosts: &[String], pattern: impl Fn(usize) -> String) -> String {
    let mut text = String::from("version: STSv1\nmode: enforce\nmax_age: 86400\n");
    hosts.iter().for_each(|host| text += &format!("mx:{host}\n"));
    for number in 0.. {
        let line = format!("mx:{}\n", pattern(number));
        if text.len() + line.len() > LONGEST {
            break;
        }
        text += &line;
    }
    text
}

/// Letters and digits that nothing can make shorter.
fn noise(seed: usize, length: usize) -> String {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[(state >> 33) as usize % 36])
    };
    std::iter::repeat_with(letter).take(length).collect()
}

/// The shortest names that there are.
fn base36(number: usize) -> String {
    let digit = |n: usize| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[n % 36]);
    [digit(number / 1296), digit(number / 36), digit(number)]
        .iter()
        .collect()
}

fn compiled(into: &Path) -> PathBuf {
    let program = into.join("peak");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exim/peak.c");
    host::run(
        Command::new("cc")
            .arg("-Wall")
            .arg("-Werror")
            .arg("-o")
            .arg(&program)
            .arg(source),
    );
    program
}

/// Exim compiles each item of the list anew for each host, and frees nothing.
pub(crate) fn policies(world: &World) {
    let peak = compiled(world.folder());
    let hosts: Vec<String> = (0..HOSTS).map(|n| format!("h{n}.good.test")).collect();
    let last = &hosts[HOSTS - 1..];
    let long = |n: usize| [1, 2, 3, 4].map(|part| noise(4 * n + part, 60)).join(".");
    let policies = [
        ("the most patterns", full(last, base36)),
        ("numbered hosts", full(last, |n| format!("mx{n}.mail.good.test"))),
        ("wildcards", full(last, |n| format!("*.{}.test", noise(n, 8)))),
        ("names of noise", full(last, |n| format!("{}.test", noise(n, 12)))),
        ("long names of noise", full(last, long)),
        ("all hosts allowed", full(&hosts, |n| format!("{}.test", noise(n, 12)))),
    ];
    // Without the router that asks again, a configuration of before.
    let whole = host::edited(&[("${extract{large}{$address_data}{yes}{no}}", "no")]);
    for (tls, config, memory) in [
        (Tls::Gnu, &Config::Complete, MEMORY),
        (Tls::Open, &Config::Complete, MEMORY),
        (Tls::Gnu, &Config::Debian, MEMORY),
        (Tls::Gnu, &whole, WHOLE),
    ]
    .into_iter()
    .filter(|(tls, ..)| builds().contains(tls))
    {
        let host = world.host(tls, config);
        publish(world, &host, "small", &hosts, &full(last, |_| "x".repeat(LONGEST)));
        let small = route(&host, &peak);
        for (number, (name, policy)) in policies.iter().enumerate() {
            publish(world, &host, &format!("large{number}"), &hosts, policy);
            // The machine may have other things to do at times.
            let large = (0..3)
                .map(|_| route(&host, &peak))
                .min_by_key(|large| large.time)
                .unwrap();
            let (kib, time) = (
                large.kib.saturating_sub(small.kib),
                large.time.saturating_sub(small.time),
            );
            let patterns = policy.matches("mx:").count();
            evidence(
                &format!("{name}: {patterns} patterns ({tls:?}, bound {memory} KiB)"),
                &format!(
                    "{kib} KiB and {time:?} more than {} KiB and {:?}",
                    small.kib, small.time
                ),
            );
            let allowed = if name.starts_with("all") { HOSTS } else { 1 };
            assert_eq!(
                large.printed.matches("host h").count(),
                allowed,
                "{name}: {}",
                large.printed
            );
            assert!(kib < memory && time < TIME, "{name}: {kib} KiB, {time:?}");
        }
    }
}

/// The mail goes where the policy says, however large it is.
pub(crate) fn deliveries(world: &World) {
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        for (domain, listed, fate) in [
            ("good.test", "h1.good.test", Fate::Delivered),
            ("good.test", "h7.good.test", Fate::Deferred),
            // Without an MX record the domain is its own host.
            ("implicit.test", "implicit.test", Fate::Delivered),
            ("implicit.test", "mx.implicit.test", Fate::Deferred),
        ] {
            world.lab.reset().unwrap();
            host.forget();
            host::run(host.command("rm").args(["-f", &format!("/var/lib/mtasts/{domain}")]));
            let policy = full(&[listed.to_owned()], |n| format!("mx{n}.{domain}"));
            let change = Change {
                hosts: (domain == "good.test").then(|| (0..3).map(|n| format!("h{n}.{domain}")).collect()),
                ..Change::publish("large", policy)
            };
            world.lab.set(domain, change).unwrap();
            let to = format!("a@{domain}");
            let outcome = host.send(&[&to]);
            let (came, line) = outcome.of(&to);
            assert_eq!(came, fate, "{listed}: {}", outcome.log);
            if fate == Fate::Delivered {
                assert!(
                    line.contains(&format!(" H={listed} ")) && line.contains("CV=yes"),
                    "{line}"
                );
            }
            evidence(
                &format!("{domain}, where 64 KiB list {listed} ({tls:?} {config:?})"),
                line,
            );
        }
        assert_eq!(host.panic_log(), "");
    }
}

/// Publishes a policy and brings it into the cache.
fn publish(world: &World, host: &Host, id: &str, hosts: &[String], policy: &str) {
    host::run(host.command("rm").args(["-f", "/var/lib/mtasts/good.test"]));
    let change = Change {
        hosts: Some(hosts.to_vec()),
        ..Change::publish(id, policy)
    };
    world.lab.set("good.test", change).unwrap();
    host::run(host.command("exim4").args(["-bt", "a@good.test"]));
}
