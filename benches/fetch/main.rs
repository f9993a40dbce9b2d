//! Cold fetches: each domain is asked for once, many at the same time, and DNS and HTTPS each take their time to answer.
//!
//! `fetch run DIR` runs as root in a network namespace with its loopback up (`unshare -n`): an origin of our own takes
//! ports 53 and 443 there. It is a process of its own, and shares the processors with whoever asks. Beside the library
//! runs the least that can fetch a policy ([`bare`]), with as many threads.

mod bare;
mod origin;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mtasts::queue::{Completed, Queue};
use mtasts::{Domain, Mode, Resolver, Settings};

/// The user who asks: nobody.
const USER: u32 = 65_534;
const DOMAINS: usize = 3000;
const IN_FLIGHT: usize = 256;
const ROUNDS: usize = 3;
/// What the origin waits before each answer.
const DELAY: Duration = Duration::from_millis(50);
/// One after the other: the TXT record, the address, the policy.
const ANSWERS: u32 = 3;
const LONG: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["run", dir] => run(Path::new(dir)),
        ["origin", dir, domains] => origin::serve(Path::new(dir), domains.parse().unwrap()),
        ["ask", who, dir, first] => ask(who, Path::new(dir), first.parse().unwrap()),
        // What cargo passes to a bench.
        _ => {}
    }
}

fn domain(number: usize) -> Domain {
    Domain::parse(&format!("customer{number}.example")).unwrap()
}

/// Us again, in another part.
fn part(words: &[&str]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// What a process has used so far: seconds of the processors, and at its peak so many MiB.
fn used(who: libc::c_int) -> (f64, f64) {
    // SAFETY: a rusage is plain memory, and the call fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let peak = usage.ru_maxrss as f64 / 1024.0;
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), peak)
}

/// One measurement: domains per second, processor ms per domain of who asked and of the origin, peak memory in MiB.
type Measured = [f64; 4];

fn run(dir: &Path) {
    let names = ["bare", "library"];
    let mut measured: [Vec<Measured>; 2] = Default::default();
    let text = dir.to_str().unwrap();
    for round in 0..=ROUNDS {
        for (who, measured) in names.iter().zip(&mut measured) {
            // An origin for each, so that its own time can be told.
            let mut origin = part(&["origin", text, &DOMAINS.to_string()]);
            origin.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            let asks = part(&["ask", who, text, "0"]).wait_with_output().unwrap();
            assert!(asks.status.success());
            drop(origin.stdin.take());
            let served = origin.wait_with_output().unwrap();
            let numbers = |out: &[u8]| -> Vec<f64> {
                let text = String::from_utf8_lossy(out);
                text.split_whitespace().map(|number| number.parse().unwrap()).collect()
            };
            let (asks, served) = (numbers(&asks.stdout), numbers(&served.stdout));
            let each = 1000.0 / DOMAINS as f64;
            // The first round warms the machine up.
            if round > 0 {
                measured.push([DOMAINS as f64 / asks[0], asks[1] * each, served[0] * each, asks[2]]);
            }
        }
    }
    let at_best = IN_FLIGHT as f64 / (DELAY * ANSWERS).as_secs_f64();
    println!("| the origin's time alone: {ANSWERS} answers of {DELAY:?} | {at_best:.0} | | | | | | |");
    for (name, mut measured) in names.iter().zip(measured) {
        measured.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let [rate, ours, origins, peak] = measured[ROUNDS / 2];
        // Both processors busy with nothing else.
        let by_processor = 2000.0 / (ours + origins);
        let target = match *name {
            "library" if rate >= 1500.0 => ">= 1500 | yes",
            "library" => ">= 1500 | **no**",
            _ => " | ",
        };
        println!("| {name} | {rate:.0} | {ours:.2} | {origins:.2} | {by_processor:.0} | {peak:.0} | {target} |");
    }
}

/// Asks for all domains, and prints how many seconds that took, the processor's seconds, and the peak of memory.
fn ask(who: &str, dir: &Path, first: usize) {
    // A new one, and the last is not removed yet: a file system may spend more on not using the places of files that were
    // just removed (ext4: for five seconds) than on all else.
    let cache = dir.join(format!("cold-{}", std::process::id()));
    std::fs::create_dir(&cache).unwrap();
    std::os::unix::fs::chown(&cache, Some(USER), Some(USER)).unwrap();
    // SAFETY: plain system calls; the process has one thread, and gives up being root.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(USER, USER, USER), 0);
        assert_eq!(libc::setresuid(USER, USER, USER), 0);
    }
    let domains: Vec<Domain> = (first..first + DOMAINS).map(domain).collect();
    let start = Instant::now();
    match who {
        "bare" => bare::fetch(dir, &domains, IN_FLIGHT),
        _ => library(dir, cache, &domains),
    }
    let took = start.elapsed().as_secs_f64();
    let (processor, peak) = used(libc::RUSAGE_SELF);
    println!("{took} {processor} {peak}");
}

/// As an event loop does it: all are submitted, and the queue has as many in flight as it has threads.
fn library(dir: &Path, cache: PathBuf, domains: &[Domain]) {
    let mut settings = Settings {
        cache_dir: Some(cache),
        ca_file: Some(dir.join("ca.pem")),
        ..Settings::default()
    };
    settings.set("nameservers", "127.0.0.1").unwrap();
    settings.set("allow_addresses", "127.0.0.0/8").unwrap();
    let queue = Queue::new(&Resolver::new(settings)).unwrap();
    for domain in domains {
        queue.submit(domain, LONG, ()).unwrap();
    }
    let mut done = 0;
    while done < domains.len() {
        let mut wait = libc::pollfd {
            fd: queue.descriptor().unwrap(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut wait, 1, -1) };
        while let Some(completion) = queue.next().unwrap() {
            match &completion.result {
                Completed::Answer(answer) if answer.mode() == Mode::Enforce => done += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}
