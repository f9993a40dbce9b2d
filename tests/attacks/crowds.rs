//! A stranger with a wildcard in DNS has as many mail domains as he likes, each with a policy; and a file that was once
//! open to a group must not stay so.

use crate::command::mtasts;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::sender::context::unix_now;
use mtasts::{Answer, Context, Domain, Entry, Settings, Source};
use mtasts_lab::{self as lab, Change, Https, Lab};

/// The owner of the cache.
const USER: u32 = 65534;
const DAY: u64 = 86_400;
/// How many names the stranger uses.
const NAMES: usize = 400;
/// How many of them the settings allow.
const ALLOWED: usize = 40;

struct Host {
    lab: Lab,
    cache: PathBuf,
}

fn on_the_internet(name: &str, test: impl FnOnce(&Host) + Send + 'static) {
    let dir = std::env::temp_dir().join(format!("mtasts-attacks-{}-{name}", std::process::id()));
    let at = dir.clone();
    // A thread of its own, because its namespaces are for good.
    let run = move || {
        lab::isolate(&at).unwrap();
        let host = Host {
            lab: Lab::start(&at).unwrap(),
            cache: at.join("cache"),
        };
        chown(&host.cache, Some(USER), Some(USER)).unwrap();
        host.mode(0o2770);
        test(&host);
    };
    thread::spawn(run).join().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
}

impl Host {
    fn mode(&self, mode: u32) {
        set_permissions(&self.cache, Permissions::from_mode(mode)).unwrap();
    }

    fn set(&self, lines: &str) {
        let file = Path::new("/etc/mtasts/mtasts.toml");
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, format!("{text}{lines}\n")).unwrap();
    }

    /// A mail for the domain, from a new process.
    fn lookup(&self, domain: &str) -> Arc<Answer> {
        let context = Context::new(Settings::of_host(|_| None).unwrap());
        let domain = Domain::parse(domain).unwrap();
        context.lookup(&domain, Duration::from_secs(12)).unwrap()
    }

    /// Mail to many names below a domain.
    fn flood(&self, names: usize, below: &str) {
        thread::scope(|scope| {
            for part in 0..4 {
                scope.spawn(move || {
                    for number in (part..names).step_by(4) {
                        let answer = self.lookup(&format!("x{number}.{below}"));
                        let found = [Source::Fresh, Source::CouldNotLearn].contains(&answer.source());
                        assert!(found, "x{number}: {answer}");
                    }
                });
            }
        });
    }

    fn store(&self) -> Store {
        Store::new(self.cache.clone())
    }

    fn count(&self, below: &str) -> usize {
        let domains = self.store().domains().unwrap();
        let below = format!(".{below}");
        domains
            .iter()
            .filter(|domain| domain.as_str().ends_with(&below))
            .count()
    }

    fn change(&self, domain: &Domain, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.store().load(domain).unwrap().unwrap();
        change(&mut entry);
        self.store().save(&entry).unwrap();
        chown(self.cache.join(domain.as_str()), Some(USER), Some(USER)).unwrap();
    }

    /// `mtasts cache refresh`: whether it ended well, and what it told.
    fn refresh(&self) -> (bool, String) {
        let mut command = Command::new(mtasts());
        command.args(["cache", "refresh"]).current_dir("/").stdin(Stdio::null());
        let ran = command.output().unwrap();
        (ran.status.success(), String::from_utf8(ran.stderr).unwrap())
    }
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
            host.change(&Domain::parse(domain).unwrap(), |entry| {
                entry.mode_since = Some(unix_now() - 20 * DAY);
                entry.used = Some(unix_now() - 5 * DAY);
            });
        }
        host.flood(NAMES, "good.test");
        let files = host.count("good.test");
        println!("{NAMES} names below one domain: {files} files where {ALLOWED} are allowed");
        // One write in 16 looks how many there are.
        assert!(files < ALLOWED + 16 * 10, "{files}");
        // What is not kept is in force all the same.
        let answer = host.lookup("again.good.test");
        assert_eq!((answer.source(), answer.mode().name()), (Source::Fresh, "enforce"));

        let (well, told) = host.refresh();
        assert!(
            well && told.lines().count() <= 1,
            "a stranger does not fill the log: {told}"
        );
        assert_eq!(host.count("good.test"), ALLOWED);
        host.set("cache_max = 12");
        let (well, told) = host.refresh();
        assert!(well && told.contains("30 entries removed: cache_max"), "{told}");
        assert_eq!(host.store().domains().unwrap().len(), 12);
        for domain in others {
            let entry = host.store().load(&Domain::parse(domain).unwrap()).unwrap();
            assert!(entry.is_some_and(|entry| entry.held.is_some()), "{domain}");
        }
        assert_eq!(host.refresh(), (true, String::new()));
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
        host.flood(300, "good.test");
        let files = host.count("good.test");
        println!("300 names, 30 allowed in all: {files} files");
        assert!(files < 30 + 16 * 10, "{files}");
        assert!(host.cache.join("wild.test").exists());
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
        host.flood(20, "good.test");
        assert_eq!(host.count("good.test"), 20, "the pause is for all processes");
        assert_eq!(host.refresh(), (true, String::new()));
        assert_eq!(host.count("good.test"), 20, "and lasts");
        for domain in host.store().domains().unwrap() {
            host.change(&domain, |entry| {
                entry.failed.as_mut().unwrap().at -= 301;
                entry.txt = None;
            });
        }
        assert_eq!(host.refresh(), (true, String::new()));
        assert_eq!(host.count("good.test"), 0);
    });
}

#[test]
fn what_a_group_could_write_is_written_anew_when_it_may_no_longer() {
    on_the_internet("modes", |host| {
        let names = ["good.test", "testing.test", "wild.test"];
        let about = |domain: &str| {
            let about = host.cache.join(domain).metadata().unwrap();
            (about.mode() & 0o777, about.uid(), about.ino())
        };
        names.iter().for_each(|domain| drop(host.lookup(domain)));
        assert_eq!(about("good.test").0, 0o660);
        // A member of the group has the file open for writing, and another file is his.
        let open = std::fs::OpenOptions::new()
            .write(true)
            .open(host.cache.join("good.test"));
        chown(host.cache.join("testing.test"), Some(4711), Some(USER)).unwrap();
        let (before, held) = (
            names.map(about),
            host.store().load(&Domain::parse("good.test").unwrap()),
        );
        assert_eq!(host.refresh(), (true, String::new()));
        assert_eq!(names.map(about), before, "the group may write");
        host.mode(0o2750);
        assert_eq!(host.refresh(), (true, String::new()));
        for (domain, before) in names.iter().zip(before) {
            let (mode, owner, file) = about(domain);
            assert_eq!((mode, owner), (0o640, USER), "{domain}");
            assert_ne!(
                file, before.2,
                "{domain}: who has the old file open cannot write to this one"
            );
        }
        drop(open.unwrap());
        let now = host.store().load(&Domain::parse("good.test").unwrap());
        assert_eq!(now.unwrap().unwrap().held, held.unwrap().unwrap().held);
        // Then it stays, though the file of another user would be as good as open whatever its mode.
        let mended = names.map(about);
        assert_eq!(host.refresh(), (true, String::new()));
        assert_eq!(names.map(about), mended);
        chown(host.cache.join("wild.test"), Some(4711), Some(USER)).unwrap();
        assert_eq!(host.refresh(), (true, String::new()));
        assert_eq!(about("wild.test").1, USER);
    });
}
