//! A stranger with a wildcard in DNS has as many mail domains as he likes, each with a policy; and a file that was once
//! open to a group must not stay so.

use std::os::unix::fs::{MetadataExt, chown};
use std::thread;

use mtasts::Source;
use mtasts::cache::Cache as _;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::{Internet, USER};
use mtasts_lab::{Change, Https};

use crate::on_the_internet;

const DAY: u64 = 86_400;
/// How many names the stranger uses.
const NAMES: usize = 400;
/// How many of them the settings allow.
const ALLOWED: usize = 40;

/// Mail to many names below a domain.
fn flood(host: &Internet, names: usize, below: &str) {
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for number in (part..names).step_by(4) {
                    let answer = host.lookup(&format!("x{number}.{below}"));
                    let found = [Source::Fresh, Source::CouldNotLearn].contains(&answer.source());
                    assert!(found, "x{number}: {answer}");
                }
            });
        }
    });
}

fn count(host: &Internet, below: &str) -> usize {
    let domains = host.store().domains().unwrap();
    let below = format!(".{below}");
    domains
        .iter()
        .filter(|domain| domain.as_str().ends_with(&below))
        .count()
}

/// `mtasts cache refresh`: whether it ended well, and what it told.
fn refresh(host: &Internet) -> (bool, String) {
    let ran = host.cache("refresh");
    (ran.status == 0, ran.err)
}

#[test]
fn a_wildcard_zone_fills_no_cache_and_nobody_else_loses_a_policy() {
    on_the_internet("zone", |host| {
        host.set(&format!("cache_max_per_parent = {ALLOWED}"));
        let every_name = Change {
            every_name: Some(true),
            ..Change::default()
        };
        host.lab.set("good.test", every_name).unwrap();
        let others = ["testing.test", "wild.test"];
        for domain in others {
            host.lookup(domain);
            // A policy on which mail has relied for weeks, though not today.
            host.change(domain, |entry| {
                entry.mode_since = Some(unix_now() - 20 * DAY);
                entry.used = Some(unix_now() - 5 * DAY);
            });
        }
        flood(host, NAMES, "good.test");
        let files = count(host, "good.test");
        println!("{NAMES} names below one domain: {files} files where {ALLOWED} are allowed");
        // One write in 16 looks how many there are.
        assert!(files < ALLOWED + 16 * 10, "{files}");
        // What is not kept is in force all the same.
        let answer = host.lookup("again.good.test");
        assert_eq!((answer.source(), answer.mode().name()), (Source::Fresh, "enforce"));

        let (well, told) = refresh(host);
        assert!(
            well && told.lines().count() <= 1,
            "a stranger does not fill the log: {told}"
        );
        assert_eq!(count(host, "good.test"), ALLOWED);
        host.set("cache_max = 12");
        let (well, told) = refresh(host);
        assert!(
            well && told.contains("mtasts[cache-full]: 30 entries removed to keep within cache_max"),
            "{told}"
        );
        assert_eq!(host.store().domains().unwrap().len(), 12);
        for domain in others {
            let entry = host.entry(domain);
            assert!(entry.is_some_and(|entry| entry.cached.is_some()), "{domain}");
        }
        assert_eq!(refresh(host), (true, String::new()));
    });
}

/// Where many are allowed below one domain, but few in all.
#[test]
fn a_full_cache_keeps_what_mail_relies_on() {
    on_the_internet("full", |host| {
        host.set("cache_max = 30");
        let every_name = Change {
            every_name: Some(true),
            ..Change::default()
        };
        host.lab.set("good.test", every_name).unwrap();
        host.lookup("wild.test");
        flood(host, 300, "good.test");
        let files = count(host, "good.test");
        println!("300 names, 30 allowed in all: {files} files");
        assert!(files < 30 + 16 * 10, "{files}");
        assert!(host.file("wild.test").exists());
    });
}

#[test]
fn names_that_announce_a_policy_and_have_none_leave_nothing_behind() {
    on_the_internet("nothing", |host| {
        let broken = Change {
            every_name: Some(true),
            ..Change::https(Https::Status404)
        };
        host.lab.set("good.test", broken).unwrap();
        flood(host, 20, "good.test");
        assert_eq!(count(host, "good.test"), 20, "the pause is for all processes");
        assert_eq!(refresh(host), (true, String::new()));
        assert_eq!(count(host, "good.test"), 20, "and lasts");
        for domain in host.store().domains().unwrap() {
            host.change(domain.as_str(), |entry| {
                entry.failed.as_mut().unwrap().at -= 301;
                entry.txt = None;
            });
        }
        assert_eq!(refresh(host), (true, String::new()));
        assert_eq!(count(host, "good.test"), 0);
    });
}

#[test]
fn what_a_group_could_write_is_written_anew_when_it_may_no_longer() {
    on_the_internet("modes", |host| {
        let names = ["good.test", "testing.test", "wild.test"];
        let about = |domain: &str| {
            let about = host.file(domain).metadata().unwrap();
            (about.mode() & 0o777, about.uid(), about.ino())
        };
        names.iter().for_each(|domain| drop(host.lookup(domain)));
        assert_eq!(about("good.test").0, 0o660);
        // A member of the group has the file open for writing, and another file is his.
        let open = std::fs::OpenOptions::new().write(true).open(host.file("good.test"));
        chown(host.file("testing.test"), Some(4711), Some(USER)).unwrap();
        let (before, entry) = (names.map(about), host.entry("good.test"));
        assert_eq!(refresh(host), (true, String::new()));
        assert_eq!(names.map(about), before, "the group may write");
        host.mode(0o2750);
        assert_eq!(refresh(host), (true, String::new()));
        for (domain, before) in names.iter().zip(before) {
            let (mode, owner, file) = about(domain);
            assert_eq!((mode, owner), (0o640, USER), "{domain}");
            assert_ne!(
                file, before.2,
                "{domain}: who has the old file open cannot write to this one"
            );
        }
        drop(open.unwrap());
        let now = host.entry("good.test");
        assert_eq!(now.unwrap().cached, entry.unwrap().cached);
        // Then it stays, though the file of another user would be as good as open whatever its mode.
        let mended = names.map(about);
        assert_eq!(refresh(host), (true, String::new()));
        assert_eq!(names.map(about), mended);
        chown(host.file("wild.test"), Some(4711), Some(USER)).unwrap();
        assert_eq!(refresh(host), (true, String::new()));
        assert_eq!(about("wild.test").1, USER);
    });
}
