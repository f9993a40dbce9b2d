//! A hundred thousand policies.

use std::process::Stdio;
use std::time::{Duration, Instant};

use mtasts::Domain;
use mtasts::cache::entry::CachedPolicy;
use mtasts::cache::entry::Entry;
use mtasts::sender::resolver::unix_now;

use mtasts_kit::{USER, command::cache, mtasts, on_the_internet};

const MANY: usize = 100_000;

/// Runs a command, and gives its time, the most memory that it held (in KiB), and what it printed.
fn measured(arguments: &str) -> (Duration, u64, String) {
    let out = std::env::temp_dir().join(format!("mtasts-many-{}", std::process::id()));
    let start = Instant::now();
    let mut command = cache(std::path::Path::new(mtasts()), arguments);
    let file = std::fs::File::create(&out).unwrap();
    let mut child = command.stdout(file).stderr(Stdio::null()).spawn().unwrap();
    let mut most = 0;
    let status = loop {
        // The kernel's own high-water mark: what lies between two looks is in the later one.
        let about = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = about.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")) {
            most = most.max(kib.parse().unwrap());
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{arguments}: {status}");
    let took = start.elapsed();
    let printed = std::fs::read_to_string(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    println!("{MANY} policies: {arguments}: {took:?}, {most} KiB");
    (took, most, printed)
}

#[test]
fn a_hundred_thousand_policies_in_little_time_and_memory() {
    on_the_internet("many", |host| {
        let text = "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmx: mx2.example.com\nmax_age: 2592000\n";
        let now = unix_now();
        for number in 0..MANY {
            let mut entry = Entry::new(Domain::parse(&format!("customer{number}.example")).unwrap());
            // None is due, and there is no policy host that would answer.
            let fetched = now - number as u64 % (17 * 3600);
            entry.cached = Some(
                CachedPolicy::new("20260101".parse().unwrap(), fetched, text)
                    .unwrap()
                    .into(),
            );
            entry.used = Some(now);
            let file = host.cache.join(entry.domain.as_str());
            std::fs::write(&file, entry.to_file()).unwrap();
            std::os::unix::fs::chown(&file, Some(USER), Some(USER)).unwrap();
        }
        // Without optimisation, on a small machine that has other things to do.
        let limit = Duration::from_secs(90);
        for (arguments, lines) in [("list", MANY + 1), ("export", MANY), ("refresh", 1)] {
            let (took, most, printed) = measured(arguments);
            assert_eq!(printed.lines().count(), lines, "{arguments}");
            assert!(took < limit, "{arguments}: {took:?}");
            assert!(most < 48 * 1024, "{arguments}: {most} KiB");
            if arguments == "refresh" {
                assert!(
                    printed.starts_with("100000 entries: 0 renewed, 0 weakened, 0 failed"),
                    "{printed}"
                );
            }
        }
        // One of so many is found as fast as one of few.
        let (took, ..) = measured("show customer77777.example");
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}
