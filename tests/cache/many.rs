//! A hundred thousand policies.

use std::process::Stdio;
use std::time::Duration;

use mtasts::Domain;
use mtasts::cache::entry::CachedPolicy;
use mtasts::cache::entry::Entry;
use mtasts::sender::resolver::unix_now;

use mtasts_kit::{USER, command::cache, mtasts, on_the_internet};

const MANY: usize = 100_000;

/// What the kernel tells of a process in this file; nothing of one that has just ended.
fn about(process: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default()
}

/// Runs a command, and gives its time on a processor, the most memory that it held (in KiB), and what it printed.
fn measured(arguments: &str) -> (Duration, u64, String) {
    let out = std::env::temp_dir().join(format!("mtasts-many-{}", std::process::id()));
    let mut command = cache(std::path::Path::new(mtasts()), arguments);
    let file = std::fs::File::create(&out).unwrap();
    let mut child = command.stdout(file).stderr(Stdio::null()).spawn().unwrap();
    let (mut most, mut ticks) = (0, 0);
    let status = loop {
        // The kernel's own high-water mark: what lies between two looks is in the later one.
        let status = about(child.id(), "status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")) {
            most = most.max(kib.parse().unwrap());
        }
        // Fields 14 and 15, of user and kernel; the second field may have blanks and ends with a parenthesis (proc(5)). Time on
        // a processor is the same beside others' work.
        let stat = about(child.id(), "stat");
        if let Some((_, fields)) = stat.rsplit_once(')') {
            let times = fields.split_whitespace().skip(11).take(2);
            ticks = times.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>().max(ticks);
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{arguments}: {status}");
    // A tick that the kernel tells is a hundredth of a second.
    let took = Duration::from_millis(10 * ticks);
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
        // Without optimisation, on a small machine: half a minute, and more where the processors are shared.
        let limit = Duration::from_secs(180);
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
