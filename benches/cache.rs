//! What the cache costs when processes share it: `cache shared DIR COUNT`, and how much memory 100,000 policies take:
//! `cache memory DIR COUNT`. The directory is one of `core make-cache`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::sender::resolver::unix_now;
use mtasts::{Domain, Mode, Resolver, Settings};

const PROCESSES: usize = 4;
const TIME: Duration = Duration::from_secs(6);
/// Without writers, and with them: which share of what a process does is a write.
const WRITES: [usize; 2] = [0, 5];
const ROUNDS: usize = 3;
/// A context holds ten thousand policies in memory: so many contexts hold a hundred thousand.
const CONTEXTS: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let Some([command, dir, count, rest @ ..]) = arguments.get(1..) else {
        return;
    };
    let (dir, count) = (Path::new(dir), count.parse().unwrap_or(0));
    match (command.as_str(), rest) {
        ("shared", _) => shared(dir, count),
        ("process", [writes, seed]) => process(dir, count, writes.parse().unwrap(), seed.parse().unwrap()),
        ("memory", _) => memory(dir, count),
        // What cargo passes to a bench.
        _ => {}
    }
}

fn resolver(dir: &Path) -> Resolver {
    let mut settings = Settings {
        cache_dir: Some(dir.to_owned()),
        ..Settings::default()
    };
    // Should the cache fail us: nobody is there, and no other name server is asked.
    settings.set("nameservers", "127.0.0.1:1").unwrap();
    Resolver::new(settings)
}

fn domains(count: usize) -> Vec<Domain> {
    let name = |i| Domain::parse(&format!("customer{i}.example.com")).expect("a name");
    (0..count).map(name).collect()
}

/// Lookups of one process: how many took how long, in classes of a sixteenth of a power of two.
type Times = BTreeMap<u64, u64>;

fn class(nanos: u64) -> u64 {
    let coarse = nanos.max(16).ilog2() - 4;
    (nanos >> coarse) << coarse
}

fn quantile(times: &Times, share: f64) -> f64 {
    let all: u64 = times.values().sum();
    let mut below = 0;
    let found = times.iter().find(|(_, count)| {
        below += **count;
        below as f64 >= share * all as f64
    });
    *found.expect("some lookups").0 as f64 / 1000.0
}

/// Processes take the cache in turns without writers and with them.
fn shared(dir: &Path, count: usize) {
    let mut found: [Vec<(f64, Times)>; WRITES.len()] = Default::default();
    for round in 0..ROUNDS {
        for (writes, found) in WRITES.iter().zip(&mut found) {
            let start = |process: usize| {
                Command::new(std::env::current_exe().unwrap())
                    .arg("process")
                    .args([dir.as_os_str(), count.to_string().as_ref()])
                    .args([writes.to_string(), (round * PROCESSES + process + 1).to_string()])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            };
            let mut processes: Vec<_> = (0..PROCESSES).map(start).collect();
            // All begin when each has read what it will ask for.
            for process in &mut processes {
                process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            }
            for process in &mut processes {
                drop(process.stdin.take());
            }
            let mut times = Times::new();
            for process in processes {
                let output = process.wait_with_output().unwrap();
                assert!(output.status.success());
                for line in String::from_utf8(output.stdout).unwrap().lines() {
                    let (class, count) = line.split_once(' ').unwrap();
                    *times.entry(class.parse().unwrap()).or_default() += count.parse::<u64>().unwrap();
                }
            }
            let rate = times.values().sum::<u64>() as f64 / TIME.as_secs_f64();
            found.push((rate, times));
        }
    }
    let mut floor = 0.0;
    for (writes, found) in WRITES.iter().zip(&mut found) {
        found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let (rate, times) = &found[ROUNDS / 2];
        if *writes == 0 {
            floor = *rate;
        }
        println!(
            "| {PROCESSES} processes, {writes} % of all they do are writes | {rate:.0} | {:.3} | {:.2} | {:.2} | {:.1} |",
            rate / floor,
            quantile(times, 0.5),
            quantile(times, 0.99),
            quantile(times, 0.9999),
        );
    }
}

fn process(dir: &Path, count: usize, writes: usize, mut seed: usize) {
    let (resolver, store, domains) = (resolver(dir), Store::new(dir.to_owned()), domains(count));
    let ask = |domain: &Domain| {
        let answer = resolver.lookup(domain, Duration::from_secs(1)).expect("an answer");
        assert_eq!(answer.mode(), Mode::Enforce);
    };
    domains.iter().for_each(ask);
    print!(".");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    let (start, mut times) = (Instant::now(), Times::new());
    let mut begun = start;
    while begun - start < TIME {
        // Knuth's linear congruential generator.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let domain = &domains[(seed >> 33) % count];
        if (seed >> 20) % 100 < writes {
            renew(&store, domain);
            begun = Instant::now();
            continue;
        }
        ask(domain);
        let end = Instant::now();
        let nanos = u64::try_from((end - begun).as_nanos()).unwrap();
        *times.entry(class(nanos)).or_default() += 1;
        begun = end;
    }
    // Behind the one octet that said that we are ready.
    for (class, count) in times {
        println!("{class} {count}");
    }
}

/// What a refresh does when it has fetched the policy.
fn renew(store: &Store, domain: &Domain) {
    let before = store.load(domain).expect("a file").expect("an entry");
    let mut after = before.clone();
    let txt = after.txt.as_mut().expect("a record");
    (txt.at, txt.next) = (unix_now() - 1, txt.next + 1);
    store.update(&before, &after).expect("a write");
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: usize = status.split(' ').nth(1).expect("a number").parse().expect("a number");
    pages * 4096
}

fn memory(dir: &Path, count: usize) {
    let names = domains(count);
    let contexts: Vec<Resolver> = (0..CONTEXTS).map(|_| resolver(dir)).collect();
    // What the first lookup of a process brings with it is no matter of how many there are.
    let _ = contexts[0].lookup(&names[0], Duration::from_secs(1));
    let before = resident();
    for resolver in &contexts {
        for name in &names {
            let answer = resolver.lookup(name, Duration::from_secs(1)).expect("an answer");
            assert_eq!(answer.mode(), Mode::Enforce);
        }
    }
    let policies = CONTEXTS * count;
    let held = resident() - before;
    println!(
        "| {policies} policies of 6 lines in the memory of one process | {:.1} MiB | {} | <= 300 | {} |",
        held as f64 / f64::from(1 << 20),
        held / policies,
        if held <= 300 * policies { "yes" } else { "**no**" }
    );
}
