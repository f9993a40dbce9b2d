//! The lookup against the test Internet: real DNS, real policy hosts, a real cache, and root's helper.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mtasts::{Domain, Mode, Resolver, ResultType, Source};
use mtasts_kit::{USER, ask, on_the_internet, settings, settings_of_new_fleet};
use mtasts_lab::{self as lab, Change, Https, Policy, policy_text};

/// A context as a new process has it: nothing in memory.
fn resolver(cache: &Path) -> Resolver {
    Resolver::new(settings(cache, &[]))
}

/// A change takes effect at once where the TXT record is asked for each time.
fn impatient(cache: &Path) -> Resolver {
    Resolver::new(settings(cache, &[("txt_life_min", "0s"), ("txt_life_max", "0s")]))
}

#[test]
fn every_domain_of_the_test_internet() {
    on_the_internet("all", |internet| {
        let cache = &internet.cache;
        let table = lab::table();
        let next = AtomicUsize::new(0);
        let wrong = Mutex::new(Vec::new());
        let resolver = resolver(cache);
        thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    while let Some(entry) = table.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let answer = ask(&resolver, &entry.name);
                        let source = answer.source();
                        let result = answer.failure().and_then(|f| f.result).map(ResultType::name);
                        let right = match entry.policy {
                            Policy::Enforce => source == Source::Fresh && answer.mode() == Mode::Enforce,
                            Policy::Testing => source == Source::Fresh && answer.mode() == Mode::Testing,
                            Policy::None => source == Source::Fresh && answer.mode() == Mode::None,
                            Policy::Absent => source == Source::NoPolicy,
                            Policy::Unobtainable(word) => source == Source::CouldNotLearn && result == Some(word),
                            Policy::Unknown => source == Source::CouldNotLearn && result.is_none(),
                        };
                        if !right {
                            let (name, wrong_there, policy) = (&entry.name, &entry.wrong, entry.policy);
                            wrong
                                .lock()
                                .unwrap()
                                .push(format!("{name} ({wrong_there}): {policy:?}, got {answer}"));
                        }
                    }
                });
            }
        });
        let wrong = wrong.into_inner().unwrap();
        assert!(
            wrong.is_empty(),
            "{} of {} domains:\n{}",
            wrong.len(),
            table.len(),
            wrong.join("\n")
        );
    });
}

/// What each process of the test below does, in this same program: 20 threads ask for one domain.
#[test]
fn one_of_many_processes() {
    let Some(cache) = std::env::var_os("MTASTS_TEST_CACHE") else {
        return;
    };
    let resolver = resolver(Path::new(&cache));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(ask(&resolver, "good.test").mode(), Mode::Enforce));
        }
    });
}

#[test]
fn eight_processes_of_twenty_threads_fetch_once() {
    on_the_internet("once", |internet| {
        let (lab, cache) = (&internet.lab, &internet.cache);
        let start = |_| {
            let mut process = std::process::Command::new(std::env::current_exe().unwrap());
            process
                .args(["--exact", "one_of_many_processes"])
                .env("MTASTS_TEST_CACHE", cache);
            process.stdout(std::process::Stdio::null()).spawn().unwrap()
        };
        // Who has waited for his turn for two seconds fetches without it: a machine as busy as that has another round.
        for round in 1.. {
            internet.empty_cache();
            lab.reset().unwrap();
            let begin = std::time::Instant::now();
            let processes: Vec<_> = (0..8).map(start).collect();
            for mut process in processes {
                assert!(process.wait().unwrap().success());
            }
            match lab.counters().https.get("mta-sts.good.test") {
                Some(&1) => break,
                more => assert!(round < 5 && begin.elapsed() > Duration::from_secs(2), "{more:?}"),
            }
        }
    });
}

/// Root's helpers are forked by many threads at once, while others of the process resolve, shake hands and allocate.
#[test]
fn helpers_of_a_busy_process_never_hang() {
    on_the_internet("busy", |internet| {
        let cache = &internet.cache;
        let resolver = resolver(cache);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        // Also the handshake and the fetch.
                        let _ = std::fs::remove_file(cache.join("good.test"));
                        let answer = resolver.recheck(&Domain::parse("good.test").unwrap(), Duration::from_secs(20));
                        assert_eq!(answer.unwrap().mode(), Mode::Enforce);
                    }
                });
            }
        });
    });
}

#[test]
fn a_policy_survives_a_restart_and_every_failure() {
    on_the_internet("survives", |internet| {
        let (lab, cache) = (&internet.lab, &internet.cache);
        let first = ask(&resolver(cache), "good.test");
        assert_eq!((first.source(), first.mode()), (Source::Fresh, Mode::Enforce));
        let asked = lab.counters();

        // A new process, inside the life of the TXT record: no network at all.
        let hit = ask(&resolver(cache), "good.test");
        assert_eq!(hit.source(), Source::Cached);
        assert_eq!(hit.cached(), first.cached());
        assert_eq!(lab.counters(), asked, "a hit touches no network");

        let policy = policy_text("none", &[], 60);
        let failures = [
            Change::txt("NXDOMAIN"),
            Change::txt("NODATA"),
            Change::txt("SERVFAIL"),
            Change::txt("REFUSED"),
            Change::txt("v=STSv1; id=bad-id;"),
            Change {
                txt: Some(vec!["v=STSv1; id=a;".into(), "v=STSv1; id=b;".into()]),
                ..Change::default()
            },
            Change {
                https: Some(Https::Status404),
                ..Change::publish("new1", policy.clone())
            },
            Change {
                https: Some(Https::Refused),
                ..Change::publish("new2", policy.clone())
            },
            Change {
                https: Some(Https::Status302),
                ..Change::publish("new3", policy.clone())
            },
            Change {
                https: Some(Https::Garbage),
                ..Change::publish("new4", policy)
            },
            Change::publish("new5", "version: STSv1\nmode: none\n"),
        ];
        for change in failures {
            lab.reset().unwrap();
            lab.set("good.test", change.clone()).unwrap();
            let kept = ask(&impatient(cache), "good.test");
            assert_eq!(
                (kept.source(), kept.mode()),
                (Source::CachedAfterFailure, Mode::Enforce),
                "{change:?}: {kept}"
            );
            assert_eq!(kept.cached(), first.cached(), "{change:?}");
            assert!(
                kept.alert()
                    .is_some_and(|alert| alert.contains("the cached one stays in force")),
                "{change:?}: {kept}"
            );
        }

        // Only a newly fetched policy replaces it.
        lab.reset().unwrap();
        lab.set("good.test", Change::publish("new6", policy_text("none", &[], 60)))
            .unwrap();
        let replaced = ask(&impatient(cache), "good.test");
        assert_eq!((replaced.source(), replaced.mode()), (Source::Fresh, Mode::None));
        assert!(
            replaced
                .alert()
                .is_some_and(|alert| alert.contains("from enforce to none"))
        );
    });
}

#[test]
fn a_failed_fetch_is_not_tried_again_for_five_minutes_by_any_process() {
    on_the_internet("pause", |internet| {
        let (lab, cache) = (&internet.lab, &internet.cache);
        lab.set("good.test", Change::https(Https::Status500)).unwrap();
        for _ in 0..24 {
            let answer = ask(&impatient(cache), "good.test");
            assert_eq!(answer.source(), Source::CouldNotLearn);
            assert_eq!(answer.failure().unwrap().result, Some(ResultType::StsPolicyFetchError));
        }
        assert_eq!(lab.counters().https.get("mta-sts.good.test"), Some(&1));
        // Another id is another matter.
        lab.set(
            "good.test",
            Change {
                https: Some(Https::Ok),
                ..Change::txt("v=STSv1; id=other;")
            },
        )
        .unwrap();
        assert_eq!(ask(&impatient(cache), "good.test").source(), Source::Fresh);
    });
}

/// A caller with little time learns nothing, and that is not the fault of the domain: the next one, who has more, must
/// not wait five minutes for its policy.
#[test]
fn an_impatient_caller_keeps_nobody_from_a_policy() {
    on_the_internet("hurry", |internet| {
        let (lab, cache) = (&internet.lab, &internet.cache);
        let good = Domain::parse("good.test").unwrap();
        lab.set("good.test", Change::https(Https::BlackHole)).unwrap();
        let hurried = resolver(cache).lookup(&good, Duration::from_secs(3)).unwrap();
        assert_eq!(hurried.source(), Source::CouldNotLearn, "{hurried}");
        assert_eq!(
            hurried.failure().unwrap().result,
            None,
            "not known to be at fault: {hurried}"
        );
        lab.set("good.test", Change::https(Https::Ok)).unwrap();
        assert_eq!(ask(&resolver(cache), "good.test").source(), Source::Fresh);
    });
}

#[test]
fn first_contact_with_a_broken_dns_waits_where_it_is_asked_to() {
    on_the_internet("first", |internet| {
        let (lab, cache) = (&internet.lab, &internet.cache);
        lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        assert_eq!(
            ask(&impatient(cache), "good.test").defer_until(),
            None,
            "by default mail flows"
        );
        let waiting = |wait: &str| {
            let settings = settings(cache, &[("first_contact_defer", wait)]);
            ask(&Resolver::new(settings), "good.test").defer_until()
        };
        let until = waiting("1h").expect("waits");
        assert_eq!(
            waiting("1h"),
            Some(until),
            "counted from the first failure, across processes"
        );
        thread::sleep(Duration::from_millis(1100));
        assert_eq!(waiting("1s"), None, "and then it flows");
        lab.reset().unwrap();
        assert_eq!(ask(&impatient(cache), "good.test").source(), Source::Fresh);
    });
}

#[test]
fn before_a_bounce_a_newer_policy_is_asked_for() {
    on_the_internet("recheck", |internet| {
        let (lab, cache) = (&internet.lab, &internet.cache);
        let resolver = resolver(cache);
        let old = ask(&resolver, "good.test");
        lab.set(
            "good.test",
            Change::publish("moved", policy_text("enforce", &["mx2.good.test"], 86_400)),
        )
        .unwrap();
        assert_eq!(
            ask(&resolver, "good.test").cached(),
            old.cached(),
            "inside the life of the TXT record"
        );
        let new = resolver
            .recheck(old.domain().unwrap(), Duration::from_secs(12))
            .unwrap();
        assert_eq!(new.cached().unwrap().id, "moved");
        assert_eq!(ask(&resolver, "good.test").cached(), new.cached());
    });
}

#[test]
fn root_writes_nothing_and_asks_nothing() {
    on_the_internet("root", |internet| {
        let cache = &internet.cache;
        ask(&resolver(cache), "good.test");
        let files: BTreeSet<PathBuf> = std::fs::read_dir(cache).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files, BTreeSet::from([cache.join(".lock"), cache.join("good.test")]));
        for file in files {
            let about = file.metadata().unwrap();
            assert_eq!((about.uid(), about.mode() & 0o777), (USER, 0o660), "{}", file.display());
        }
        let about = cache.join("good.test").metadata().unwrap();
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o777), (USER, USER, 0o660));

        // Without another user there is no network for root, and it says what to do.
        chown(cache, Some(0), Some(0)).unwrap();
        let refused = resolver(cache).lookup(&Domain::parse("testing.test").unwrap(), Duration::from_secs(12));
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("belongs to root") && refused.contains("install -d -m 2770"),
            "{refused}"
        );
        let missing = Resolver::new(settings(Path::new("/nonexistent/cache"), &[]));
        assert!(
            missing
                .lookup(&Domain::parse("testing.test").unwrap(), Duration::from_secs(12))
                .is_err()
        );
    });
}

#[test]
fn a_cache_that_cannot_be_used_is_told_and_mail_keeps_its_protection() {
    on_the_internet("faults", |internet| {
        let cache = &internet.cache;
        let new_fleet = || Resolver::new(settings_of_new_fleet(cache, &[]));
        // Rubbish in the file's place is replaced by the next fetch.
        for rubbish in ["", "mtasts 1 0000\n\n", "mtasts 9 newer\n"] {
            std::fs::write(cache.join("good.test"), rubbish).unwrap();
            let answer = ask(&new_fleet(), "good.test");
            assert_eq!((answer.source(), answer.mode()), (Source::Fresh, Mode::Enforce));
            assert!(
                answer.warning().is_some_and(|w| w.contains("good.test is ignored")),
                "{answer}"
            );
            assert_eq!(ask(&resolver(cache), "good.test").source(), Source::Cached);
        }
        // A link is not followed, neither to read nor to write.
        let target = cache.parent().unwrap().join("target");
        std::fs::copy(cache.join("good.test"), &target).unwrap();
        let before = std::fs::read(&target).unwrap();
        std::fs::remove_file(cache.join("good.test")).unwrap();
        std::os::unix::fs::symlink(&target, cache.join("good.test")).unwrap();
        assert_eq!(ask(&new_fleet(), "good.test").source(), Source::Fresh);
        assert!(cache.join("good.test").symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read(&target).unwrap(), before);
        // A directory that everyone may write to is not believed.
        std::fs::set_permissions(cache, PermissionsExt::from_mode(0o777)).unwrap();
        let answer = ask(&new_fleet(), "good.test");
        assert_eq!((answer.source(), answer.mode()), (Source::Fresh, Mode::Enforce));
        assert!(answer.warning().is_some_and(|w| w.contains("chmod o-w")), "{answer}");
        std::fs::set_permissions(cache, PermissionsExt::from_mode(0o2770)).unwrap();
        // A directory that the helper may not write to: the answer holds, and the log says why it is not kept.
        std::fs::set_permissions(cache, PermissionsExt::from_mode(0o550)).unwrap();
        let answer = ask(&resolver(cache), "testing.test");
        assert_eq!((answer.source(), answer.mode()), (Source::Fresh, Mode::Testing));
        assert!(
            answer.warning().is_some_and(|w| w.contains("Permission denied")),
            "{answer}"
        );
    });
}

#[test]
fn the_cache_alone_answers_without_the_network() {
    on_the_internet("alone", |internet| {
        let (lab, cache) = (&internet.lab, &internet.cache);
        let resolver = resolver(cache);
        let domain = Domain::parse("good.test").unwrap();
        let unknown = resolver.lookup_cached(&domain).unwrap();
        assert_eq!((unknown.source(), unknown.mode()), (Source::CouldNotLearn, Mode::None));
        assert_eq!(lab.counters().dns.len(), 0);
        ask(&resolver, "good.test");
        assert_eq!(resolver.lookup_cached(&domain).unwrap().mode(), Mode::Enforce);
        assert_eq!(
            Resolver::new(settings(cache, &[]))
                .lookup_cached(&domain)
                .unwrap()
                .mode(),
            Mode::Enforce
        );
    });
}
