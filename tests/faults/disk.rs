//! A disk that is full or read-only, a directory that is missing or another user's.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::entry::Entry;
use mtasts::report::Peer;
use mtasts::{Answer, Attempt, Mode, MxName, Resolver, Seen, Source};
use mtasts_lab::{Change, Https};

use mtasts_kit::{Internet, USER, as_user, ask, name, settings};

use crate::{MEMORY, SETTINGS, files_of, on_the_internet, run, warns};

const NOTHING_LEFT: &str = ".filling";

/// What a fault of the disk must not change, whoever meets it: what is held counts, what is new is learnt, what is
/// stored stays, and everybody hears of it. Then the fault is mended, and what only memory knew is written.
fn a_fault(ground: &Internet, fault: impl Fn(&Internet), error: &str, mend: impl Fn(&Internet)) {
    // Two policies are held; the TXT record of the second is due.
    for domain in ["good.test", "wild.test"] {
        let fresh = as_user(USER, USER, || ground.asks(domain));
        assert_eq!((fresh.source(), fresh.warning()), (Source::Fresh, None));
    }
    let due = Entry {
        txt: None,
        ..ground.entry("wild.test").unwrap()
    };
    as_user(USER, USER, || ground.store().save(&due).unwrap());
    let stored = || ["good.test", "wild.test"].map(|domain| fs::read(ground.file(domain)).unwrap());
    let (before, files) = (stored(), files_of(ground));
    fault(ground);

    let learns = |resolver: &Resolver| {
        let cached = ask(resolver, "good.test");
        assert_eq!(
            (cached.source(), cached.mode()),
            (Source::Cached, Mode::Enforce),
            "{cached}"
        );
        let asked = ask(resolver, "wild.test");
        assert_eq!(
            (asked.source(), asked.mode()),
            (Source::Cached, Mode::Enforce),
            "{asked}"
        );
        warns(&asked, error);
        let fresh = ask(resolver, "testing.test");
        assert_eq!(
            (fresh.source(), fresh.mode()),
            (Source::Fresh, Mode::Testing),
            "{fresh}"
        );
        warns(&fresh, error);
        warns(&fresh, "The new policy is kept in memory only.");
        // A domain without a policy has nothing to lose.
        assert_eq!(ask(resolver, "nopolicy.test").warning(), None);
    };
    // As root, whose helper it is that meets the fault.
    learns(&ground.resolver_of_new_fleet());
    let resolver = ground.resolver_of_new_fleet();
    as_user(USER, USER, || learns(&resolver));
    assert_eq!(stored(), before);
    let left: Vec<String> = files_of(ground)
        .into_iter()
        .filter(|name| name != NOTHING_LEFT)
        .collect();
    assert_eq!(left, files, "nothing is left lying about");

    // What was learnt is known for as long as it would be on disk: nobody is asked again.
    thread::sleep(MEMORY);
    let asked = ground.lab.counters();
    let again = |domain: &str| {
        let answer = as_user(USER, USER, || ask(&resolver, domain));
        assert_eq!(answer.source(), Source::Cached, "{answer}");
        answer
    };
    let kept = again("testing.test");
    again("wild.test");
    assert_eq!(ground.lab.counters(), asked);

    mend(ground);
    thread::sleep(MEMORY);
    again("testing.test");
    again("wild.test");
    assert_eq!(ground.lab.counters(), asked);
    assert_eq!(
        ground.entry("testing.test").unwrap().cached.as_deref(),
        kept.cached(),
        "written at the next occasion"
    );
    assert!(ground.entry("wild.test").unwrap().txt.is_some());
    let other = as_user(USER, USER, || ground.asks("testing.test"));
    assert_eq!((other.source(), other.cached()), (Source::Cached, kept.cached()));
    assert_eq!(ground.lab.counters(), asked, "and so others need not ask");
}

/// The cache is a small disk of its own.
fn disk(ground: &Internet, options: &str) {
    run("mount", &["-t", "tmpfs", "-o", options, "mtasts-faults"], &ground.cache);
    ground.own(USER, USER);
    ground.mode(0o2770);
}

fn fill(ground: &Internet) {
    let mut file = fs::File::create(ground.file(NOTHING_LEFT)).unwrap();
    while file.write_all(&[0; 1024]).is_ok() {}
}

fn make_room(ground: &Internet) {
    run("rm", &["-r"], &ground.file(NOTHING_LEFT));
}

fn a_full_disk() {
    on_the_internet("full", |ground| {
        disk(ground, "size=64k");
        a_fault(ground, fill, "No space left on device", make_room);
    });
}

fn a_disk_that_takes_no_more_files() {
    on_the_internet("inodes", |ground| {
        // The directory, the lock, three policies and one in the making.
        disk(ground, "size=1m,nr_inodes=6");
        let take = |ground: &Internet| {
            fs::create_dir(ground.file(NOTHING_LEFT)).unwrap();
            fs::write(ground.file(NOTHING_LEFT).join("filling"), "").unwrap();
        };
        a_fault(ground, take, "No space left on device", make_room);
    });
}

fn a_disk_that_is_read_only() {
    on_the_internet("readonly", |ground| {
        disk(ground, "size=1m");
        let remount = |ground: &Internet, how: &str| run("mount", &["-o", how], &ground.cache);
        a_fault(
            ground,
            |ground| remount(ground, "remount,ro"),
            "Read-only file system",
            |ground| remount(ground, "remount,rw"),
        );
    });
}

fn a_directory_that_may_not_be_written_to() {
    on_the_internet("mode", |ground| {
        a_fault(
            ground,
            |ground| ground.mode(0o550),
            "Permission denied",
            |ground| ground.mode(0o2770),
        );
    });
}

/// At once, because each waits for memory to forget.
#[test]
fn a_disk_that_takes_nothing() {
    let all: [(&str, fn()); 4] = [
        ("full", a_full_disk),
        ("no more files", a_disk_that_takes_no_more_files),
        ("read-only", a_disk_that_is_read_only),
        ("mode", a_directory_that_may_not_be_written_to),
    ];
    let running = all.map(|(what, test)| (what, thread::spawn(test)));
    let failed: Vec<&str> = running
        .into_iter()
        .filter_map(|(what, test)| test.join().is_err().then_some(what))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// A result for a TLS report is lost while the disk is full, and the next one is whole again.
#[test]
fn a_full_disk_costs_results_and_no_mail() {
    on_the_internet("results", |ground| {
        disk(ground, "size=64k");
        let mut settings = ground.settings();
        settings.set("tlsrpt_journal", "on").unwrap();
        let resolver = Resolver::new(settings);
        let report = |host: &str| {
            let mut attempt = Attempt::new(&ask(&resolver, "good.test"), MxName::from_mx(host));
            attempt.saw(Seen::Name);
            assert!(attempt.finish(Peer::default()).is_some(), "{host} is not listed");
            attempt.report(&resolver, Duration::from_secs(5))
        };
        let long = format!("{}.test", "a".repeat(60));
        as_user(USER, USER, || {
            report("before.test").unwrap();
            fill(ground);
            // What is left of the last block takes some.
            let lost = (0..20)
                .filter_map(|_| report(&long).err())
                .next_back()
                .unwrap()
                .to_string();
            assert!(lost.starts_with("the journal cannot be written: "), "{lost}");
        });
        assert!(report("root.test").is_err());
        make_room(ground);
        as_user(USER, USER, || report("after.test").unwrap());
        let (store, mut text) = (ground.store(), String::new());
        for journal in store.journals().unwrap() {
            store
                .results(&journal)
                .unwrap()
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
        }
        let whole = |host: &str| {
            let end = format!("\"n\":\"{host}\",\"f\":\"mx-host-not-in-policy\"}}],\"t\":1,\"f\":1}}]}}");
            text.lines()
                .any(|line| line.starts_with("{\"dpv\":\"1\",") && line.ends_with(&end))
        };
        assert!(whole("before.test") && whole("after.test"), "{text}");
    });
}

/// Not yet there, or gone: each lookup answers, and writes as soon as it can.
#[test]
fn a_directory_that_is_missing() {
    on_the_internet("missing", |ground| {
        fs::remove_dir_all(&ground.cache).unwrap();
        let resolver = ground.resolver();
        let fresh = as_user(USER, USER, || ask(&resolver, "good.test"));
        assert_eq!((fresh.source(), fresh.mode()), (Source::Fresh, Mode::Enforce));
        warns(&fresh, "the cache directory ");
        warns(&fresh, "Permission denied");
        let root = ground
            .resolver()
            .lookup(fresh.domain().unwrap(), Duration::from_secs(20))
            .unwrap_err();
        assert!(root.to_string().contains("install -d -m 2770"), "{root}");

        fs::create_dir(&ground.cache).unwrap();
        ground.own(USER, USER);
        ground.mode(0o2770);
        thread::sleep(MEMORY);
        assert_eq!(
            as_user(USER, USER, || ask(&resolver, "good.test")).source(),
            Source::Cached
        );
        assert_eq!(ground.entry("good.test").unwrap().cached.as_deref(), fresh.cached());
        assert_eq!(ground.fetches("good.test"), 1);

        // Where an ordinary user may make it, it is his alone.
        fs::remove_dir_all(&ground.cache).unwrap();
        chown(ground.cache.parent().unwrap(), Some(USER), Some(USER)).unwrap();
        let fresh = as_user(USER, USER, || ask(&ground.resolver_of_new_fleet(), "good.test"));
        assert_eq!((fresh.source(), fresh.warning()), (Source::Fresh, None));
        assert_eq!(ground.cache.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(ground.file("good.test").metadata().unwrap().mode() & 0o777, 0o600);
    });
}

/// The directory, or a file in it, is another user's.
#[test]
fn what_may_not_be_read() {
    const OTHER: u32 = 4242;
    on_the_internet("owner", |ground| {
        as_user(USER, USER, || ground.asks("good.test"));
        let stored = fs::read(ground.file("good.test")).unwrap();

        // The whole directory. What the network says counts, and is kept in memory.
        ground.mode(0o700);
        let resolver = ground.resolver();
        for source in [Source::Fresh, Source::Cached] {
            let answer = as_user(OTHER, OTHER, || ask(&resolver, "good.test"));
            assert_eq!((answer.source(), answer.mode()), (source, Mode::Enforce), "{answer}");
            warns(&answer, "Permission denied");
            thread::sleep(MEMORY);
        }
        assert_eq!(fs::read(ground.file("good.test")).unwrap(), stored);

        // Whoever can neither read what there is nor learn anything must not take that for "no policy".
        ground.lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        let refused = as_user(OTHER, OTHER, || {
            let domain = name("good.test");
            [
                ground.resolver().lookup(&domain, Duration::from_secs(20)),
                ground.resolver().lookup_cached(&domain),
            ]
        });
        for refused in refused {
            let refused = refused.unwrap_err().to_string();
            assert!(
                refused.starts_with("cannot tell whether the domain has a policy: ")
                    && refused.contains("Permission denied"),
                "{refused}"
            );
        }
        // Memory knows what counts, also when the answer is too old to be repeated.
        let kept = as_user(OTHER, OTHER, || ask(&resolver, "good.test"));
        assert_eq!(kept.mode(), Mode::Enforce, "{kept}");
        ground.lab.reset().unwrap();

        // One file, in a directory where we may replace it: that is mended.
        ground.mode(0o2770);
        chown(ground.file("good.test"), Some(OTHER), Some(OTHER)).unwrap();
        fs::set_permissions(ground.file("good.test"), PermissionsExt::from_mode(0o600)).unwrap();
        let fresh = as_user(USER, USER, || ask(&ground.resolver_of_new_fleet(), "good.test"));
        assert_eq!((fresh.source(), fresh.mode()), (Source::Fresh, Mode::Enforce));
        warns(&fresh, "Permission denied");
        let about = ground.file("good.test").metadata().unwrap();
        assert_eq!((about.uid(), about.mode() & 0o777), (USER, 0o660));
        let cached = as_user(USER, USER, || ground.asks("good.test"));
        assert_eq!((cached.source(), cached.warning()), (Source::Cached, None));
    });
}

/// The failed fetch of an id pauses for five minutes (RFC 8461 3.3), also where the failure cannot be written down.
#[test]
fn a_pause_that_only_memory_knows() {
    on_the_internet("pause", |ground| {
        ground.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        ground.mode(0o550);
        let resolver = ground.resolver();
        let asks = || -> Arc<Answer> { as_user(USER, USER, || ask(&resolver, "good.test")) };
        for _ in 0..5 {
            assert_eq!(asks().source(), Source::CouldNotLearn);
        }
        assert_eq!(ground.fetches("good.test"), 1);
        ground.mode(0o2770);
        asks();
        let begin = Instant::now();
        while ground.entry("good.test").unwrap().failed.is_none() {
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "it is written with the next question"
            );
            asks();
        }
        assert_eq!(ground.fetches("good.test"), 1);
    });
}

/// What a process does in the test below, in this same program.
#[test]
fn a_process_on_a_slow_disk() {
    let Some(cache) = std::env::var_os("MTASTS_TEST_CACHE") else {
        return;
    };
    let fetches = || {
        let (resolver, asked) = (Resolver::new(settings(Path::new(&cache), SETTINGS)), Instant::now());
        let answer = resolver.lookup(&name("good.test"), Duration::from_secs(6)).unwrap();
        let took = asked.elapsed();
        assert_eq!(
            (answer.source(), answer.mode()),
            (Source::Fresh, Mode::Enforce),
            "{answer}"
        );
        warns(&answer, "takes too long");
        assert!(took < Duration::from_secs(15), "{took:?}");
        resolver
    };
    if std::env::var_os("MTASTS_TEST_ROOT").is_some() {
        // The helper takes with it what was not written.
        fetches();
        return;
    }
    as_user(USER, USER, || {
        let resolver = fetches();
        thread::sleep(MEMORY);
        let kept = resolver.lookup_cached(&name("good.test")).unwrap();
        assert_eq!((kept.source(), kept.mode()), (Source::Cached, Mode::Enforce), "{kept}");
    });
}

/// A disk that takes a quarter of a minute to write: what was learnt is not thrown away because it could not be kept in time.
#[test]
fn a_disk_that_takes_its_time() {
    on_the_internet("slow", |ground| {
        let slow = [
            "-f",
            "-qq",
            "-e",
            "trace=fsync",
            "-e",
            "inject=fsync:delay_enter=15000000",
        ];
        let start = |who: &str| {
            let mut traced = Command::new("strace");
            traced.args(slow).arg(std::env::current_exe().unwrap());
            traced.args(["--exact", "disk::a_process_on_a_slow_disk"]);
            traced.env("MTASTS_TEST_CACHE", &ground.cache).env(who, "");
            traced.output().unwrap()
        };
        for (who, fetches) in [("MTASTS_TEST_ROOT", 1), ("MTASTS_TEST_USER", 2)] {
            let traced = start(who);
            let said = String::from_utf8_lossy(&traced.stdout) + String::from_utf8_lossy(&traced.stderr);
            assert!(traced.status.success(), "{said}");
            assert_eq!(ground.fetches("good.test"), fetches, "{who}");
        }
    });
}
