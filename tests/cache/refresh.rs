//! `mtasts cache refresh`: renews, keeps, alerts, repairs, removes.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::time::{Duration, Instant, SystemTime};

use mtasts::sender::resolver::unix_now;
use mtasts_lab::{self as lab, Change, Https, Policy, policy_text};
use serde_json::json;

use mtasts_kit::{Internet, USER, command::cache, mtasts, on_the_internet, until};

use crate::{DAY, HOUR, age, fetched};

/// The policies of the test Internet live for a day: after half of it they are due.
const LATE: u64 = 13 * HOUR;

fn fails(host: &Internet, domain: &str, token: &str, why: &str) {
    let ran = host.cache("refresh");
    assert_eq!(ran.status, 1, "{ran:?}");
    let [line] = &ran.err.lines().collect::<Vec<_>>()[..] else {
        panic!("one line for the journal: {ran:?}")
    };
    assert!(
        line.starts_with(&format!("mtasts[{token}]: {domain}: ")) && line.contains(why),
        "{line}"
    );
    assert!(
        line.ends_with(&format!("mtasts check {domain}")),
        "says what to do: {line}"
    );
}

#[test]
fn what_is_due_is_renewed_and_nothing_else() {
    on_the_internet("due", |host| {
        for domain in ["good.test", "testing.test", "wild.test"] {
            host.lookup(domain);
        }
        assert_eq!(host.fetches("good.test"), 1);
        age(host, "good.test", LATE);
        age(host, "testing.test", 8 * HOUR);
        let ran = host.cache("refresh");
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        assert!(
            ran.out
                .ends_with(" entries: 1 renewed, 0 weakened, 0 failed, 0 removed, 0 not usable\n"),
            "{ran:?}"
        );
        assert_eq!((host.fetches("good.test"), host.fetches("testing.test")), (2, 1));
        assert!(fetched(host, "good.test") + 60 > unix_now());
        let about = host.cache.join("good.test").metadata().unwrap();
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o777), (USER, USER, 0o660));

        // Not due again; by an ordinary user and all of them.
        let ran = host.cache_as(USER, "refresh --json");
        assert_eq!((ran.status, ran.json()["renewed"].clone()), (0, json!(0)));
        let ran = host.cache_as(USER, "refresh --all --json");
        let policies = ran.json()["policies"].as_u64().unwrap();
        assert_eq!(
            (ran.status, ran.json()["renewed"].as_u64().unwrap()),
            (0, policies),
            "{ran:?}"
        );
        assert_eq!((host.fetches("good.test"), host.fetches("testing.test")), (3, 2));
    });
}

#[test]
fn what_cannot_be_renewed_is_kept_told_and_tried_again_later() {
    on_the_internet("kept", |host| {
        host.lookup("good.test");
        age(host, "good.test", LATE);
        let before = host.entry("good.test").unwrap().cached;
        host.lab.set("good.test", Change::https(Https::Status404)).unwrap();
        fails(
            host,
            "good.test",
            "policy-not-renewed",
            "the cached one stays in force (mode enforce",
        );
        assert_eq!(host.entry("good.test").unwrap().cached, before);
        assert!(host.cache("show good.test").out.contains("last failure"));

        // The pause, which a mail in between does not end.
        host.change("good.test", |entry| entry.txt = None);
        host.lookup("good.test");
        let ran = host.cache("refresh");
        assert_eq!((ran.status, ran.err.as_str(), host.fetches("good.test")), (0, "", 2));
        host.change("good.test", |entry| entry.failed.as_mut().unwrap().at -= 5 * HOUR);
        fails(host, "good.test", "policy-not-renewed", "the HTTP status is 404");
        assert_eq!(
            (host.entry("good.test").unwrap().cached, host.fetches("good.test")),
            (before, 3)
        );

        // The record is gone, the policy host is there: RFC 8461 10.2 asks it all the same.
        host.lab.reset().unwrap();
        host.lab.set("good.test", Change::txt("NXDOMAIN")).unwrap();
        host.change("good.test", |entry| entry.failed.as_mut().unwrap().at -= DAY);
        let ran = host.cache("refresh --json");
        assert_eq!((ran.status, ran.json()["renewed"].clone()), (0, json!(1)), "{ran:?}");
        assert_eq!(host.entry("good.test").unwrap().failed, None);

        // A policy of mode none that cannot be renewed is nobody's alarm.
        host.lab.reset().unwrap();
        host.lab
            .set("good.test", Change::publish("n", policy_text("none", &[], 86_400)))
            .unwrap();
        host.change("good.test", |entry| entry.txt = None);
        host.lookup("good.test");
        age(host, "good.test", LATE);
        host.lab.set("good.test", Change::https(Https::Status404)).unwrap();
        let ran = host.cache("refresh");
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    });
}

#[test]
fn a_weaker_policy_is_told() {
    on_the_internet("weaker", |host| {
        for mode in ["testing", "none"] {
            host.lab.reset().unwrap();
            host.cache("purge --all");
            host.lookup("good.test");
            age(host, "good.test", LATE);
            host.lab
                .set(
                    "good.test",
                    Change::publish("new", policy_text(mode, &["mx.good.test"], 86_400)),
                )
                .unwrap();
            let changed = format!("the policy changed from enforce to {mode}");
            fails(host, "good.test", "policy-weakened", &changed);
            let entry = host.entry("good.test").unwrap();
            assert_eq!(entry.cached.unwrap().policy.mode().name(), mode);
            assert!(entry.mode_since.unwrap() + 60 > unix_now());
        }
    });
}

#[test]
fn what_is_expired_or_unused_goes_after_a_week_of_runs() {
    on_the_internet("removed", |host| {
        let ids = ["good.test", "testing.test", "wild.test"];
        for domain in ids {
            host.lookup(domain);
        }
        let now = unix_now();
        age(host, "good.test", 400 * DAY);
        host.change("testing.test", |entry| entry.used = Some(now - 181 * DAY));
        let ran = host.cache("refresh --json");
        assert_eq!(
            (ran.status, ran.json()["removed"].clone()),
            (0, json!(0)),
            "one look is no proof: {ran:?}"
        );
        for domain in ["good.test", "testing.test"] {
            assert!(host.entry(domain).unwrap().idle_since.unwrap() >= now);
            host.change(domain, |entry| entry.idle_since = Some(now - 6 * DAY));
        }
        assert_eq!(host.cache("refresh --json").json()["removed"], json!(0));

        // Used again: the mark goes. Expired still: the file goes.
        host.lookup("testing.test");
        host.change("testing.test", |entry| entry.idle_since = Some(now - 8 * DAY));
        host.change("good.test", |entry| entry.idle_since = Some(now - 8 * DAY));
        let ran = host.cache("refresh");
        assert_eq!(
            ran.err,
            "mtasts[entry-removed]: good.test: removed from the cache: no policy is in force\n"
        );
        assert_eq!((ran.status, host.entry("good.test")), (0, None));
        assert_eq!(host.entry("testing.test").unwrap().idle_since, None);

        // Where those who read leave no trace, nothing is unused.
        host.change("wild.test", |entry| {
            entry.used = Some(now - 181 * DAY);
            entry.idle_since = Some(now - 8 * DAY);
        });
        host.mode(0o2750);
        assert_eq!(host.cache("refresh --json").json()["removed"], json!(0));
        host.mode(0o2770);
        host.change("wild.test", |entry| entry.idle_since = Some(now - 8 * DAY));
        let ran = host.cache("refresh");
        assert_eq!(
            ran.err,
            "mtasts[entry-removed]: wild.test: removed from the cache: not used for half a year\n"
        );
        assert!(!host.cache.join("wild.test").exists());
    });
}

/// What a mail notes, and how often it writes.
#[test]
fn a_use_is_written_once_a_day() {
    on_the_internet("used", |host| {
        host.lookup("good.test");
        let written = || host.cache.join("good.test").metadata().unwrap().ino();
        let (now, first) = (unix_now(), written());
        assert!(host.entry("good.test").unwrap().used.unwrap() + 60 > now);
        host.lookup("good.test");
        assert_eq!(written(), first, "a hit writes nothing");
        host.change("good.test", |entry| entry.used = Some(now - DAY - 1));
        assert_eq!(host.lookup("good.test").source(), mtasts::Source::Cached);
        assert!(host.entry("good.test").unwrap().used.unwrap() >= now);
        assert_eq!(host.fetches("good.test"), 1);
        // A refresh is no use.
        host.change("good.test", |entry| entry.used = Some(now - 2 * DAY));
        assert_eq!(host.cache("refresh --all --json").json()["renewed"], json!(1));
        assert_eq!(host.entry("good.test").unwrap().used, Some(now - 2 * DAY));
    });
}

#[test]
fn broken_files_are_repaired_or_told_and_left_overs_swept() {
    on_the_internet("broken", |host| {
        for domain in ["good.test", "absent.test", "testing.test"] {
            std::fs::write(host.cache.join(domain), "mtasts 1 rubbish\n").unwrap();
            chown(host.cache.join(domain), Some(USER), Some(USER)).unwrap();
        }
        std::fs::write(host.cache.join("testing.test"), "mtasts 2 from the future\n").unwrap();
        let left_over = host.cache.join(format!(".tmp-{}-0-0", 0x7fff_fff0_u32));
        let file = std::fs::File::create(&left_over).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(2 * HOUR))
            .unwrap();
        let ran = host.cache("refresh --json");
        let counts = ran.json();
        assert_eq!(
            (ran.status, &counts["renewed"], &counts["broken"], &counts["swept"]),
            (1, &json!(1), &json!(2), &json!(1))
        );
        assert!(host.entry("good.test").unwrap().cached.is_some() && !left_over.exists());
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!(lines.len(), 2, "{ran:?}");
        for domain in ["absent.test", "testing.test"] {
            let advice = format!("mtasts cache purge {domain}");
            assert!(
                lines
                    .iter()
                    .any(|line| line.starts_with("mtasts[cache-not-read]: ") && line.ends_with(&advice)),
                "{ran:?}"
            );
            assert!(host.cache.join(domain).exists());
        }
    });
}

#[test]
fn a_policy_that_cannot_be_kept_is_a_failure() {
    on_the_internet("readonly", |host| {
        host.lookup("good.test");
        age(host, "good.test", LATE);
        let before = fetched(host, "good.test");
        host.mode(0o550);
        let ran = host.cache("refresh");
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(
            ran.err
                .contains("mtasts[cache-not-written]: good.test: the new policy could not be written: "),
            "{ran:?}"
        );
        assert_eq!(fetched(host, "good.test"), before);
    });
}

#[test]
fn one_run_at_a_time_sixteen_policies_at_once() {
    on_the_internet("at-once", |host| {
        host.set("timeout = \"3s\"");
        // Policies of domains whose hosts do not answer.
        host.lookup("good.test");
        age(host, "good.test", LATE);
        let table = lab::table();
        let domains = table.iter().filter(|entry| entry.policy == Policy::Enforce).take(33);
        for domain in domains {
            let mut entry = mtasts::cache::entry::Entry::new(mtasts::Domain::parse(&domain.name).unwrap());
            entry.cached = host.entry("good.test").unwrap().cached;
            mtasts::cache::store::Store::new(host.cache.clone())
                .save(&entry)
                .unwrap();
            chown(host.cache.join(&domain.name), Some(USER), Some(USER)).unwrap();
            host.lab.set(&domain.name, Change::https(Https::BlackHole)).unwrap();
        }
        host.lab.set("good.test", Change::https(Https::BlackHole)).unwrap();
        let start = Instant::now();
        let before = host.questions("good.test");
        let first = cache(std::path::Path::new(mtasts()), "refresh").spawn().unwrap();
        until("the first run", || host.questions("good.test") > before);
        let second = host.cache("refresh");
        assert_eq!(second.err, "mtasts[refresh-running]: another refresh is running\n");
        assert_eq!((second.status, second.out.as_str()), (0, ""));
        let first = first.wait_with_output().unwrap();
        assert_eq!(first.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(first.stderr).unwrap().lines().count(),
            host.cache.read_dir().unwrap().count() - 1
        );
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    });
}

/// The names of the silent ones come first in the alphabet, and they are more than are asked at once.
#[test]
fn what_expires_first_is_renewed_first_and_not_behind_silent_hosts() {
    on_the_internet("order", |host| {
        host.set("timeout = \"160s\"");
        host.lookup("good.test");
        age(host, "good.test", LATE);
        let cached = host.entry("good.test").unwrap().cached;
        let table = lab::table();
        let silent = table.iter().filter(|entry| entry.policy == Policy::Enforce);
        let silent = silent.filter(|entry| entry.name.as_str() < "wild.test").take(33);
        for domain in silent {
            let mut entry = mtasts::cache::entry::Entry::new(mtasts::Domain::parse(&domain.name).unwrap());
            entry.cached = cached.clone();
            mtasts::cache::store::Store::new(host.cache.clone())
                .save(&entry)
                .unwrap();
            chown(host.cache.join(&domain.name), Some(USER), Some(USER)).unwrap();
            host.lab.set(&domain.name, Change::https(Https::BlackHole)).unwrap();
        }
        // It has less than an hour to live.
        host.lookup("wild.test");
        age(host, "wild.test", 23 * HOUR + 1800);
        let start = Instant::now();
        let mut run = cache(std::path::Path::new(mtasts()), "refresh").spawn().unwrap();
        while fetched(host, "wild.test") + HOUR < unix_now() {
            // The first silent ones have forty seconds.
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "it waits for the silent ones"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("renewed after {:?}", start.elapsed());
        run.kill().unwrap();
        run.wait().unwrap();
    });
}

/// Whoever has a domain has as many slow hosts below it as he likes. After 32 of them (and those that are asked at the same
/// time) the others below it wait until everybody else has been asked.
#[test]
fn below_a_domain_of_slow_hosts_the_others_wait_until_the_end() {
    const NAMES: usize = 64;
    on_the_internet("parent", |host| {
        host.set("timeout = \"2s\"");
        host.lookup("good.test");
        age(host, "good.test", LATE);
        let cached = host.entry("good.test").unwrap().cached;
        std::fs::remove_file(host.cache.join("good.test")).unwrap();
        let silent = Change {
            every_name: Some(true),
            ..Change::https(Https::BlackHole)
        };
        host.lab.set("good.test", silent).unwrap();
        for number in 0..NAMES {
            let name = format!("n{number}.good.test");
            let mut entry = mtasts::cache::entry::Entry::new(mtasts::Domain::parse(&name).unwrap());
            entry.cached = cached.clone();
            mtasts::cache::store::Store::new(host.cache.clone())
                .save(&entry)
                .unwrap();
            chown(host.cache.join(&name), Some(USER), Some(USER)).unwrap();
        }
        let asked = || {
            let questions = host.lab.counters().dns;
            let questions = questions.keys().filter(|key| key.starts_with("_mta-sts.n"));
            questions.filter(|key| key.contains(".good.test")).count()
        };
        let mut run = cache(std::path::Path::new(mtasts()), "refresh").spawn().unwrap();
        let mut told = BufReader::new(run.stderr.take().unwrap()).lines();
        // A host is told when it was slow at the end too, so by then all others have had their turn.
        let first = told.next().unwrap().unwrap();
        let before = asked();
        println!("{before} of {NAMES} hosts were asked before the end: {first}");
        assert!((32..32 + 16).contains(&before), "{before}");
        assert_eq!((told.count(), asked()), (NAMES - 1, NAMES));
        assert_eq!(run.wait().unwrap().code(), Some(1));
    });
}

/// In a quarter of its time it did not answer.
#[test]
fn a_slow_policy_host_has_its_whole_time_at_the_end() {
    on_the_internet("slow", |host| {
        host.set("timeout = \"12s\"");
        host.lookup("good.test");
        age(host, "good.test", LATE);
        host.lab.set("good.test", Change::https(Https::BlackHole)).unwrap();
        let before = host.questions("good.test");
        let run = cache(std::path::Path::new(mtasts()), "refresh").spawn().unwrap();
        // In the first attempt it keeps silent, in the second it does not.
        until("the first attempt", || host.questions("good.test") > before);
        std::thread::sleep(Duration::from_millis(1000));
        host.lab.set("good.test", Change::https(Https::Ok)).unwrap();
        let ran = run.wait_with_output().unwrap();
        assert_eq!(
            (ran.status.code(), String::from_utf8(ran.stderr).unwrap()),
            (Some(0), String::new())
        );
        assert!(fetched(host, "good.test") + HOUR > unix_now());
    });
}

/// A run that was stopped, by Ctrl-Z or in a frozen cgroup, holds its lock for as long: that does not stay unseen.
#[test]
fn a_run_that_takes_longer_than_it_can_is_a_failure() {
    on_the_internet("stuck", |host| {
        host.lookup("good.test");
        age(host, "good.test", LATE);
        host.lab.set("good.test", Change::https(Https::BlackHole)).unwrap();
        let lock = host.cache.join(".lock");
        let touch = |time: SystemTime| {
            let file = std::fs::File::options().write(true).open(&lock).unwrap();
            file.set_modified(time).unwrap();
        };
        // It tells when it begins, whatever the file said before.
        touch(SystemTime::UNIX_EPOCH);
        let mut first = cache(std::path::Path::new(mtasts()), "refresh").spawn().unwrap();
        let asks = Instant::now() + Duration::from_secs(10);
        while host.fetches("good.test") < 2 && lock.metadata().unwrap().modified().unwrap() == SystemTime::UNIX_EPOCH {
            assert!(Instant::now() < asks, "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::kill(first.id().try_into().unwrap(), libc::SIGSTOP) }, 0);
        let second = host.cache("refresh");
        assert_eq!(second.err, "mtasts[refresh-running]: another refresh is running\n");
        assert_eq!((second.status, second.out.as_str()), (0, ""));
        let (hours, now) = (Duration::from_secs(2 * HOUR), SystemTime::now());
        for time in [now - hours, now + hours, SystemTime::UNIX_EPOCH] {
            touch(time);
            let third = host.cache("refresh");
            assert_eq!((third.status, third.out.as_str()), (1, ""), "{third:?}");
            let told = format!("and end it: fuser -v {}", lock.display());
            assert!(
                third.err.lines().count() == 1
                    && third
                        .err
                        .starts_with("mtasts[refresh-stuck]: another refresh has been running since "),
                "{third:?}"
            );
            assert!(third.err.contains(&told), "says what to do: {third:?}");
        }
        first.kill().unwrap();
        first.wait().unwrap();
        host.lab.set("good.test", Change::https(Https::Ok)).unwrap();
        assert_eq!(host.cache("refresh").status, 0);
    });
}

/// `script` (util-linux) makes a terminal.
#[test]
fn a_bar_shows_how_far_it_is_where_somebody_watches() {
    on_the_internet("bar", |host| {
        host.lookup("good.test");
        host.lookup("testing.test");
        let entries = host.cache("list --json").lines().len();
        let refresh = format!("'{}' cache refresh --all", mtasts());
        let mut script = std::process::Command::new("script");
        script
            .args(["-q", "-e", "-c", &refresh, "/dev/null"])
            .env("TERM", "xterm");
        let output = script.stdin(std::process::Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains(&format!("/{entries}")),
            "{text:?}"
        );
        assert!(
            text.ends_with(&format!(
                "{entries} entries: {entries} renewed, 0 weakened, 0 failed, 0 removed, 0 not usable\r\n"
            )),
            "{text:?}"
        );
        assert_eq!(host.cache("refresh --all").err, "", "and nowhere else");
    });
}
