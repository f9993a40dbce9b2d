//! Lookups from C on the test Internet: the whole path, threads, forks, alarms, and what is left behind.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use mtasts_kit::{Internet, USER};

use crate::build::{Link, library, program, root};
use crate::run::{Bench, Watch, Who};
use mtasts_kit::pki::command;

/// Runs a test with programs on a test Internet of its own.
pub(crate) fn on_the_internet(name: &str, test: impl FnOnce(&Bench, &Internet) + Send + 'static) {
    // While there is the other Internet.
    library();
    let bench = Bench::new(name);
    // A thread of its own, because its namespaces are for good.
    let run = move || {
        let place = bench.root().join("lab");
        test(&bench, &Internet::at(&place));
    };
    thread::spawn(run).join().unwrap();
}

/// The ways to build, to run and to watch a program that takes its time, and how much of a hundred it is to do.
const WAYS: [(Link, Who, Watch, u32); 8] = [
    (Link::Shared, Who::Root, Watch::Nothing, 100),
    (Link::Static, Who::User, Watch::Nothing, 100),
    (Link::Sanitized, Who::Root, Watch::Nothing, 10),
    (Link::Sanitized, Who::User, Watch::Nothing, 10),
    (Link::Shared, Who::Root, Watch::ValgrindOverTls, 2),
    (Link::Shared, Who::User, Watch::ValgrindOverTls, 2),
    (Link::Shared, Who::Root, Watch::Helgrind, 2),
    (Link::Shared, Who::User, Watch::Helgrind, 2),
];

fn all_ways(source: &'static str, most: u32, threads: u32) {
    on_the_internet(source, move |bench, _| {
        for (link, who, watch, share) in WAYS {
            let program = program(source, link, bench.root());
            let cache = bench.of_user("cache", 0o2770);
            let (count, threads) = ((most * share).div_ceil(100).to_string(), threads.to_string());
            let said = bench.run(&program, &[cache.to_str().unwrap(), &count, &threads], who, watch);
            assert_eq!(said, "", "{source}, {link:?} as {who:?}");
        }
    });
}

#[test]
fn threads_share_a_context() {
    all_ways("threads.c", 10, 8);
}

#[test]
fn children_of_a_busy_parent_look_up() {
    all_ways("fork.c", 200, 5);
}

#[test]
fn alarms_disturb_no_lookup() {
    all_ways("signals.c", 3, 1);
}

/// The certificates that a host sends after STARTTLS, each in a file of its own.
fn chain(host: &str, bench: &Bench) -> Vec<String> {
    let output = command("openssl", "openssl", bench.root())
        .args(["s_client", "-starttls", "smtp", "-showcerts", "-connect"])
        .arg(format!("{host}:25"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let certificates = pem::parse_many(&output.stdout).unwrap();
    assert!(!certificates.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |(n, certificate): (usize, &pem::Pem)| {
        let path = bench.root().join(format!("{host}.{n}.der"));
        fs::write(&path, certificate.contents()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    certificates.iter().enumerate().map(file).collect()
}

const DELIVER: i32 = 0;
const TRY_LATER: i32 = 75;

/// Domain, MX host, and what the example has to make of it: an exit status, and words that it says in this order.
#[rustfmt::skip] // a row a line
const DELIVERIES: &[(&str, &str, i32, &[&str])] = &[
    ("good.test", "mx.good.test", DELIVER, &["good.test", "is in the MTA-STS policy", "meets the MTA-STS policy"]),
    ("GOOD.test", "mx.good.test.", DELIVER, &["meets the MTA-STS policy"]),
    ("expired.test", "mx.expired.test", TRY_LATER, &["is in the MTA-STS policy", "no mail is sent to this host", "certificate-expired"]),
    ("hub-unlisted.test", "mx.hub.test", TRY_LATER, &["is not in the MTA-STS policy", "mx-host-not-in-policy"]),
    ("testing-expired.test", "mx.testing-expired.test", DELIVER, &["the policy is in testing", "certificate-expired"]),
    ("nopolicy.test", "mx.nopolicy.test", DELIVER, &["mail is delivered as usual"]),
    ("[192.0.2.1]", "mx.good.test", DELIVER, &["no policy is possible", "mail is delivered as usual"]),
    ("good.test", "192.0.2.1", TRY_LATER, &["192.0.2.1"]),
];

#[test]
fn the_example_delivers_as_rfc_8461_asks() {
    on_the_internet("deliver", |bench, _| {
        let example = root().join("examples/c/deliver.c");
        let chains: Vec<Vec<String>> = DELIVERIES
            .iter()
            .map(|(_, host, _, _)| match *host {
                "192.0.2.1" => Vec::new(),
                host => chain(host.trim_end_matches('.'), bench),
            })
            .collect();
        for (link, who, watch) in [
            (Link::Shared, Who::Root, Watch::Nothing),
            (Link::Static, Who::User, Watch::Nothing),
            (Link::Sanitized, Who::Root, Watch::Nothing),
            (Link::Sanitized, Who::User, Watch::Nothing),
            (Link::Shared, Who::Root, Watch::ValgrindOverTls),
            (Link::Shared, Who::User, Watch::ValgrindOverTls),
            (Link::Shared, Who::User, Watch::Helgrind),
        ] {
            let program = program(example.to_str().unwrap(), link, bench.root());
            // Where the settings of the test Internet say that it is.
            let cache = bench.of_user("lab/cache", 0o2770);
            for ((domain, host, status, words), chain) in DELIVERIES.iter().zip(&chains) {
                let mut arguments = vec![*domain, *host];
                arguments.extend(chain.iter().map(String::as_str));
                let said = bench.run_to(*status, &program, &arguments, who, watch);
                let mut rest = said.as_str();
                for word in *words {
                    let Some((_, behind)) = rest.split_once(word) else {
                        panic!("{domain} {host}, {link:?} as {who:?}: no {word:?} in\n{said}")
                    };
                    rest = behind;
                }
            }
            assert!(cache.join("good.test").is_file());
        }
    });
}

/// A directory for the cache, the umask of the host, and the modes of the directory and its files afterwards.
#[rustfmt::skip] // a row a line
const MODES: &[(Option<u32>, &str, u32, u32)] = &[
    (Some(0o2770), "0", 0o2770, 0o660),
    (Some(0o2770), "077", 0o2770, 0o660),
    (Some(0o750), "0", 0o750, 0o640),
    (Some(0o700), "022", 0o700, 0o600),
    (None, "0", 0o700, 0o600),
    (None, "077", 0o700, 0o600),
];

#[test]
fn nothing_is_left_behind_but_the_cache_with_its_modes() {
    on_the_internet("traces", |bench, _| {
        for (link, watch) in [(Link::Shared, Watch::Nothing), (Link::Sanitized, Watch::Nothing)] {
            let program = program("traces.c", link, bench.root());
            for who in [Who::Root, Who::User] {
                for (before, umask, of_directory, of_files) in MODES {
                    let home = bench.of_user("home", 0o755);
                    let cache = match before {
                        Some(mode) => bench.of_user("home/cache", *mode),
                        // Root's helper is the owner of a directory that exists.
                        None if who == Who::Root => continue,
                        None => home.join("cache"),
                    };
                    let said = bench.run(&program, &[cache.to_str().unwrap(), umask], who, watch);
                    assert_eq!(said, "");
                    assert_eq!(mode(&cache), *of_directory, "{before:?} umask {umask} as {who:?}");
                    let files: Vec<PathBuf> = fs::read_dir(&cache).unwrap().map(|f| f.unwrap().path()).collect();
                    assert!(files.iter().any(|file| file.ends_with("good.test")), "{files:?}");
                    for file in files {
                        // Whoever does not write there does not lock either.
                        let writes_alone = file.ends_with(".lock") && of_directory & 0o020 == 0;
                        let of_files = if writes_alone { &0o600 } else { of_files };
                        assert_eq!(mode(&file), *of_files, "{file:?} umask {umask} as {who:?}");
                        assert_eq!(file.metadata().unwrap().uid(), USER);
                    }
                }
            }
        }
    });
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// The system calls of a program and all its children and threads, in order.
fn system_calls(program: &Path, arguments: &[&str], who: Who, bench: &Bench) -> Vec<String> {
    let trace = bench.of_user("strace", 0o777).join("calls");
    let mut strace = command("strace", "strace", bench.root());
    strace.args(["-f", "-o"]).arg(&trace).arg(program).args(arguments);
    let done = bench.prepare(&mut strace, who).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let calls = fs::read_to_string(&trace).unwrap();
    // Without the number of the thread.
    calls
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1.trim_start().to_owned()))
        .collect()
}

/// What stands between two marks.
fn between<'a>(calls: &'a [String], from: &str, to: &str) -> &'a [String] {
    let at = |mark: &str| {
        let mark = format!("access(\"{mark}\"");
        calls.iter().position(|call| call.starts_with(&mark)).unwrap()
    };
    &calls[at(from) + 1..at(to)]
}

#[test]
fn a_context_touches_nothing_and_every_descriptor_ends_with_exec() {
    on_the_internet("strace", |bench, _| {
        let program = program("traces.c", Link::Shared, bench.root());
        for who in [Who::Root, Who::User] {
            let cache = bench.of_user("cache", 0o2770);
            let calls = system_calls(&program, &[cache.to_str().unwrap(), "0"], who, bench);
            for (from, to) in [("/making a context", "/a context"), ("/a hit in memory", "/no more")] {
                for call in between(&calls, from, to) {
                    // The first getrandom of glibc 2.41 takes memory, for which it holds all signals back. That the mask is
                    // as before, traces.c sees.
                    let memory = [
                        "brk(",
                        "mmap(NULL, ",
                        "munmap(",
                        "mremap(",
                        "madvise(",
                        "getrandom(",
                        "rt_sigprocmask(",
                    ];
                    let innocent = memory.iter().any(|known| call.starts_with(known)) && !call.contains("MAP_SHARED");
                    assert!(innocent, "{from}, as {who:?}: {call}");
                }
            }
            let lookup = between(&calls, "/the first lookup", "/a lookup");
            let mut opened = 0;
            for call in lookup {
                // The kinds of calls that make a descriptor. `accept` and `dup` set no flag, so they must not be there.
                let name = call.split(['(', ' ']).next().unwrap();
                let opens = [
                    "open",
                    "openat",
                    "openat2",
                    "creat",
                    "socket",
                    "socketpair",
                    "pipe",
                    "pipe2",
                    "dup",
                    "dup2",
                ];
                let more = [
                    "dup3",
                    "accept",
                    "accept4",
                    "eventfd",
                    "eventfd2",
                    "memfd_create",
                    "timerfd_create",
                ];
                let rest = [
                    "epoll_create",
                    "epoll_create1",
                    "inotify_init",
                    "inotify_init1",
                    "signalfd",
                    "signalfd4",
                ];
                if [&opens[..], &more, &rest].concat().contains(&name) {
                    assert!(call.contains("CLOEXEC"), "as {who:?}: {call}");
                    opened += 1;
                }
                assert!(name != "fcntl" || !call.contains("F_DUPFD,"), "as {who:?}: {call}");
                // Root's helper has the signals of a new process, and errors in place of two of them.
                let of_helper = who == Who::Root
                    && (call.contains("{sa_handler=SIG_DFL,")
                        || ["SIGPIPE", "SIGXFSZ"]
                            .iter()
                            .any(|signal| call.starts_with(&format!("rt_sigaction({signal}, {{sa_handler=SIG_IGN,"))));
                // pthread_create sets glibc's own handler for setuid in all threads, on a signal of glibc's own.
                let of_glibc = call.starts_with("rt_sigaction(SIGRT_1, {");
                let never = ["execve", "umask", "rt_sigaction", "setitimer", "alarm"].contains(&name);
                assert!(!never || of_glibc || of_helper, "as {who:?}: {call}");
            }
            assert!(opened > 3, "a lookup opens sockets: {lookup:?}");
        }
    });
}
