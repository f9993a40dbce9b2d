//! The two ways in which users share a cache: all of a group write, or one writes and the group reads.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mtasts::cache::Cache as _;
use mtasts::cache::entry::Entry;
use mtasts::cache::entry::{CachedPolicy, FailedFetch, TxtSeen};
use mtasts::sender::lookup::Lookup;
use mtasts::sender::refresh::run::{Run, RunError};
use mtasts::sender::resolver::unix_now;
use mtasts::{Answer, Domain, Mode, ResultType, Source};
use mtasts_lab::{Change, policy_text};

use mtasts_kit::{Internet, as_user, ask, mtasts, name};

use crate::{MEMORY, files_of, on_the_internet, warns};

/// Who refreshes and owns the directory, two mail servers in its group, and somebody who is in none.
const OWNER: u32 = 4001;
const HARAKA: u32 = 4002;
const PYTHON: u32 = 4003;
const STRANGER: u32 = 4004;
const GROUP: u32 = 4000;
const HOUR: u64 = 3600;
const CENTURY: u64 = 100 * 365 * 86_400;

fn share(ground: &Internet, mode: u32) {
    ground.own(OWNER, GROUP);
    ground.mode(mode);
}

/// A mail from a new process of a user.
fn mail(ground: &Internet, user: u32, domain: &str) -> Arc<Answer> {
    as_user(user, GROUP, || ground.asks(domain))
}

/// The owner, the group and the mode of a file in the cache.
fn about(ground: &Internet, file: &str) -> (u32, u32, u32) {
    let about = ground.file(file).metadata().unwrap();
    (about.uid(), about.gid(), about.mode() & 0o7777)
}

/// The domain has another policy now.
fn publish(ground: &Internet, id: &str) {
    let policy = policy_text("enforce", &["mx.good.test", &format!("{id}.good.test")], 86_400);
    ground.lab.set("good.test", Change::publish(id, policy)).unwrap();
}

/// The user asks DNS with his next mail.
fn forget_txt(ground: &Internet, user: u32) {
    let due = Entry {
        txt: None,
        ..ground.entry("good.test").unwrap()
    };
    as_user(user, GROUP, || ground.store().save(&due).unwrap());
}

#[test]
fn everyone_of_the_group_reads_and_writes() {
    on_the_internet("group", |ground| {
        share(ground, 0o2770);
        for (round, umask) in [0o000, 0o077].into_iter().enumerate() {
            // SAFETY: cannot fail. The test's own thread, and those that it starts, have a mask of their own.
            unsafe { libc::umask(umask) };
            let _ = fs::remove_file(ground.file(".lock"));
            as_user(PYTHON, GROUP, || ground.store().remove(&name("good.test")).unwrap());
            assert_eq!(mail(ground, HARAKA, "good.test").source(), Source::Fresh);
            for file in ["good.test", ".lock"] {
                assert_eq!(about(ground, file), (HARAKA, GROUP, 0o660), "{file}, umask {umask:o}");
            }
            // Each rewrites what the other wrote, and reads what he wrote.
            for (number, (writer, reader)) in [(PYTHON, HARAKA), (HARAKA, PYTHON), (OWNER, HARAKA)].iter().enumerate() {
                let id = format!("id{round}{number}");
                publish(ground, &id);
                forget_txt(ground, *reader);
                let fresh = mail(ground, *writer, "good.test");
                assert_eq!((fresh.source(), fresh.warning()), (Source::Fresh, None), "{fresh}");
                assert_eq!(about(ground, "good.test"), (*writer, GROUP, 0o660));
                let asked = ground.lab.counters();
                let cached = mail(ground, *reader, "good.test");
                assert_eq!((cached.source(), cached.warning()), (Source::Cached, None), "{cached}");
                assert_eq!(cached.cached().unwrap().id.to_string(), id);
                assert_eq!(ground.lab.counters(), asked);
            }
            // A use is noted by whoever uses it.
            let mut unused = ground.entry("good.test").unwrap();
            unused.used = Some(1);
            as_user(HARAKA, GROUP, || ground.store().save(&unused).unwrap());
            mail(ground, PYTHON, "good.test");
            assert_eq!(about(ground, "good.test"), (PYTHON, GROUP, 0o660));
            assert!(ground.entry("good.test").unwrap().used.unwrap() + HOUR > unix_now());
        }
        // They wait for each other as well: one fetch for all.
        thread::scope(|scope| {
            for user in [HARAKA, PYTHON, OWNER] {
                for _ in 0..4 {
                    scope.spawn(move || assert_eq!(mail(ground, user, "wild.test").mode(), Mode::Enforce));
                }
            }
        });
        assert_eq!(ground.fetches("wild.test"), 1);
    });
}

#[test]
fn the_owner_writes_and_the_group_reads() {
    on_the_internet("hardened", |ground| {
        share(ground, 0o2750);
        assert_eq!(mail(ground, OWNER, "good.test").warning(), None);
        // Readers do without the lock: the right to read it is enough to keep others waiting.
        for (file, mode) in [("good.test", 0o640), (".lock", 0o600)] {
            assert_eq!(about(ground, file), (OWNER, GROUP, mode), "{file}");
        }
        let stored = fs::read(ground.file("good.test")).unwrap();
        let haraka = ground.resolver();
        let asks = |domain: &str| as_user(HARAKA, GROUP, || ask(&haraka, domain));
        let cached = asks("good.test");
        assert_eq!((cached.source(), cached.warning()), (Source::Cached, None));

        // What it has to fetch itself it keeps, and says so.
        let fetched = asks("wild.test");
        assert_eq!((fetched.source(), fetched.mode()), (Source::Fresh, Mode::Enforce));
        warns(&fetched, "wild.test: Permission denied");
        warns(&fetched, "The new policy is kept in memory only.");
        assert_eq!(files_of(ground), ["good.test"]);
        thread::sleep(MEMORY);
        let asked = ground.lab.counters();
        for domain in ["wild.test", "good.test"] {
            let kept = asks(domain);
            assert_eq!(
                (kept.source(), kept.warning()),
                (Source::Cached, None),
                "told once: {kept}"
            );
        }
        assert_eq!(ground.lab.counters(), asked);
        // The command tells it to whoever asks for the domain.
        let program = ground.cache.with_file_name("mtasts");
        let copied = Command::new("cp").arg(mtasts()).arg(&program).status();
        assert!(copied.unwrap().success());
        let shown = as_user(HARAKA, GROUP, || {
            let mut command = Command::new(&program);
            command
                .args(["cache", "show", "wild.test"])
                .current_dir("/")
                .output()
                .unwrap()
        });
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(
            shown.contains("policies that it fetches are kept in memory only"),
            "{shown}"
        );

        // What the owner knows better counts.
        publish(ground, "newer");
        let owner = ground.resolver();
        as_user(OWNER, GROUP, || owner.recheck(&name("good.test"), MEMORY * 2).unwrap());
        thread::sleep(MEMORY);
        assert_eq!(asks("good.test").cached().unwrap().id, "newer");

        // And nobody else changes anything.
        let stored_now = fs::read(ground.file("good.test")).unwrap();
        assert_ne!(stored_now, stored);
        let entry = ground.entry("good.test").unwrap();
        for user in [HARAKA, STRANGER] {
            let group = if user == STRANGER { STRANGER } else { GROUP };
            as_user(user, group, || {
                assert!(ground.store().save(&entry).is_err());
                assert!(ground.store().remove(&entry.domain).is_err());
                assert!(fs::write(ground.file("other.test"), "").is_err());
                let resolver = ground.resolver();
                match Run::begin(&resolver) {
                    Err(RunError::Lock(_) | RunError::Store(_)) => {}
                    Err(other) => panic!("{other}"),
                    Ok(_) => panic!("user {user} may refresh"),
                }
            });
        }
        assert_eq!(fs::read(ground.file("good.test")).unwrap(), stored_now);
        let stranger = as_user(STRANGER, STRANGER, || ground.asks("good.test"));
        assert_eq!((stranger.source(), stranger.mode()), (Source::Fresh, Mode::Enforce));
        warns(&stranger, "Permission denied");
    });
}

/// What a member of the group may write: as much as the parser lets through.
fn forged(domain: &Domain, text: &str, id: &str, fetched: u64, txt: (u64, u64)) -> Entry {
    let mut entry = Entry::new(domain.clone());
    entry.cached = Some(Arc::new(CachedPolicy::new(id.parse().unwrap(), fetched, text).unwrap()));
    entry.txt = Some(TxtSeen { at: txt.0, next: txt.1 });
    entry
}

#[test]
fn no_file_is_trusted_further_than_it_can_be_checked() {
    on_the_internet("trust", |ground| {
        share(ground, 0o2770);
        let domain = name("good.test");
        let real = mail(ground, OWNER, "good.test");
        let id = real.cached().unwrap().id.as_str();
        let now = unix_now();
        let write = |entry: &Entry| as_user(HARAKA, GROUP, || ground.store().save(entry).unwrap());
        let none = "version: STSv1\nmode: none\nmax_age: 9999999999\n";
        let refresh = || {
            let ran = Command::new(mtasts())
                .args(["cache", "refresh", "--json"])
                .output()
                .unwrap();
            let counts: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
            counts["renewed"].as_u64().unwrap()
        };

        // What is cut to the time of writing is in the past soon after.
        let a_second_passes = || thread::sleep(Duration::from_millis(2100));

        // An unlimited life ends with the longest that there is (RFC 8461 3.2), or is no policy at all.
        let forever = forged(&domain, none, id, now, (now, u64::MAX));
        write(&forever);
        assert_eq!(
            ground.entry("good.test").unwrap().cached.unwrap().expires(),
            now + 31_557_600
        );
        let file = String::from_utf8(fs::read(ground.file("good.test")).unwrap()).unwrap();
        // The longest pause is that of the settings, whatever the file says.
        let settings = ground.settings();
        assert!(Lookup::hit(&forever, &settings, now + HOUR - 1).is_some());
        assert!(Lookup::hit(&forever, &settings, now + HOUR).is_none());

        // Without a digest that fits, and by hand, nothing is said.
        fs::write(ground.file("good.test"), file.replace("mode: none", "mode: testing")).unwrap();
        let repaired = mail(ground, PYTHON, "good.test");
        assert_eq!((repaired.source(), repaired.mode()), (Source::Fresh, Mode::Enforce));
        warns(&repaired, "the checksum does not match");

        // Asked in the future, fetched in the future: DNS is asked now, and its id brings the real policy.
        for fetched in [now, now + CENTURY, u64::MAX] {
            write(&forged(&domain, none, "forged", fetched, (now + CENTURY, u64::MAX)));
            a_second_passes();
            let corrected = mail(ground, PYTHON, "good.test");
            assert_eq!(
                (corrected.source(), corrected.mode()),
                (Source::Fresh, Mode::Enforce),
                "{corrected}"
            );
            assert!(ground.entry("good.test").unwrap().cached.unwrap().fetched <= unix_now());
        }
        // Under the id that DNS has, it is the refresh that brings it: what was fetched in the future is due at once.
        for fetched in [now + CENTURY, u64::MAX] {
            write(&forged(&domain, none, id, fetched, (now, u64::MAX)));
            assert_eq!(mail(ground, PYTHON, "good.test").mode(), Mode::None);
            a_second_passes();
            assert_eq!(refresh(), 1);
            assert_eq!(mail(ground, PYTHON, "good.test").mode(), Mode::Enforce);
            assert!(ground.entry("good.test").unwrap().cached.unwrap().fetched <= unix_now());
        }

        // Every time at its end: nothing overflows, in a lookup, in a refresh or in a list.
        for time in [0, u64::MAX] {
            let mut end = forged(&domain, none, "forged", time, (time, time));
            let (id, result) = ("forged".parse().unwrap(), ResultType::StsPolicyFetchError);
            end.failed = Some(FailedFetch::new(id, time, result, "\u{1b}[31mforged\u{202e}"));
            (end.unlearned_since, end.mode_since, end.imported) = (Some(time), Some(time), Some(time));
            (end.used, end.idle_since) = (Some(time), Some(time));
            write(&end);
            for arguments in [
                &["list"][..],
                &["list", "--json"],
                &["show", "good.test"],
                &["refresh"],
                &["export"],
            ] {
                let ran = Command::new(mtasts()).arg("cache").args(arguments).output().unwrap();
                let told = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
                assert!(ran.status.code().is_some_and(|code| code < 2), "{arguments:?}: {told}");
                assert!(
                    !told.contains("panicked") && !told.contains(['\u{1b}', '\u{202e}']),
                    "{told}"
                );
            }
            write(&end);
            let corrected = mail(ground, PYTHON, "good.test");
            assert_eq!(
                (corrected.source(), corrected.mode()),
                (Source::Fresh, Mode::Enforce),
                "{corrected}"
            );
        }
    });
}
