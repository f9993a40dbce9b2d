//! `mtasts cache pin`.

use std::path::PathBuf;

use mtasts::cache::Cache as _;
use mtasts::sender::resolver::unix_now;
use mtasts::{Mode, Source};
use mtasts_lab::{Change, policy_text};
use serde_json::json;

use mtasts_kit::{Internet, on_the_internet};

use crate::{DAY, age};

const YEAR: u32 = 31_557_600;

/// A policy file that only root may read.
fn policy(host: &Internet, mode: &str, max_age: u32) -> PathBuf {
    let file = host.cache.with_file_name("policy");
    std::fs::write(&file, policy_text(mode, &["mx.pinned.test"], max_age)).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file
}

/// The day so many days from now, by date(1).
fn day(days: i64) -> String {
    let date = std::process::Command::new("date")
        .args(["-u", "+%F", "-d", &format!("{days} days")])
        .output()
        .unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

#[test]
fn no_fetch_replaces_a_pinned_policy_until_its_day_is_over() {
    on_the_internet("pin", |host| {
        host.lookup("good.test");
        let file = policy(host, "enforce", YEAR);
        let ran = host.cache(&format!("pin good.test {} --until {}", file.display(), day(20)));
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        assert_eq!(ran.out, format!("good.test: pinned until {} (mode enforce)\n", day(20)));
        host.lab
            .set("good.test", Change::publish("new", policy_text("none", &[], 86_400)))
            .unwrap();
        let asked = host.lab.counters();
        let resolver = mtasts::Resolver::new(mtasts::Settings::of_host(|_| None).unwrap());
        let domain = mtasts::Domain::parse("good.test").unwrap();
        let patience = std::time::Duration::from_secs(12);
        for answer in [
            host.lookup("good.test"),
            resolver.recheck(&domain, patience).unwrap(),
            resolver.refresh(&domain, patience).unwrap(),
            resolver.lookup_cached(&domain).unwrap(),
        ] {
            assert_eq!((answer.source(), answer.mode()), (Source::Cached, Mode::Enforce));
            assert!(
                answer
                    .explain()
                    .contains(&format!("pinned by the operator until {}", day(20))),
                "{answer}"
            );
            let pattern: Vec<_> = answer.policy().unwrap().mx().map(|mx| mx.as_str().to_owned()).collect();
            assert_eq!(pattern, ["mx.pinned.test"]);
        }
        age(host, "good.test", 2 * DAY); // Of a year.
        assert_eq!(host.cache("refresh --all --json").json()["renewed"], json!(0));
        assert_eq!(host.lab.counters(), asked, "the network is not asked");
        assert!(host.cache("list").out.contains(&format!("pinned until {}", day(20))));
        let shown = host.cache("show good.test");
        assert!(shown.out.contains("pinned by the operator on 20"), "{shown:?}");
        assert!(
            host.cache("show good.test --json").json()["pinned_until"]
                .as_u64()
                .unwrap()
                > unix_now() + 19 * DAY
        );
        assert_eq!(host.cache("purge --expired").out, "0 removed\n");

        // The day is over: the next mail fetches.
        host.change("good.test", |entry| entry.pinned_until = Some(unix_now() - 1));
        let answer = host.lookup("good.test");
        assert_eq!((answer.source(), answer.mode()), (Source::Fresh, Mode::None));
        assert_eq!(host.entry("good.test").unwrap().pinned_until, None);
    });
}

/// A lookup that has begun before must not write over a pin.
#[test]
fn a_fetch_in_flight_does_not_undo_a_pin() {
    on_the_internet("pin-flight", |host| {
        let store = mtasts::cache::store::Store::new(host.cache.clone());
        host.lookup("good.test");
        let before = host.entry("good.test").unwrap();
        let mut fetched = before.clone();
        age(host, "good.test", 0);
        fetched.cached = host.entry("good.test").unwrap().cached;
        fetched.mode_since = Some(1);
        fetched.txt = Some(mtasts::cache::entry::TxtSeen { at: 5, next: 6 });
        let file = policy(host, "testing", YEAR);
        let ran = host.cache(&format!("pin good.test {} --until {} --json", file.display(), day(1)));
        assert_eq!(
            (ran.json()["mode"].clone(), ran.json()["replaced"].clone()),
            (json!("testing"), json!("enforce"))
        );
        assert_eq!(
            ran.err,
            "mtasts: good.test: the policy changed from enforce to testing, by hand\n"
        );
        let pinned = host.entry("good.test").unwrap();
        store.update(&before, &fetched).unwrap();
        let after = host.entry("good.test").unwrap();
        assert_eq!(
            (&after.cached, after.pinned_until, after.mode_since),
            (&pinned.cached, pinned.pinned_until, pinned.mode_since)
        );
        assert_eq!(after.txt, fetched.txt, "what has nothing to do with it is written");
    });
}

#[test]
fn what_cannot_be_pinned_says_why() {
    on_the_internet("pin-bad", |host| {
        let short = policy(host, "enforce", 86_400);
        let ran = host.cache(&format!("pin good.test {} --until {}", short.display(), day(9)));
        assert_eq!(ran.status, 2);
        assert!(
            ran.err.contains("max_age 86400 ends before the end of") && ran.err.contains("it must be "),
            "{ran:?}"
        );
        let long = policy(host, "enforce", YEAR);
        for (arguments, why) in [
            (format!("{} --until {}", long.display(), day(-1)), " has passed"),
            (
                format!("{} --until tomorrow", long.display()),
                "must be a day like 2026-12-31",
            ),
            (
                format!("{} --until 2026-02-30", long.display()),
                "must be a day like 2026-12-31",
            ),
            (long.display().to_string(), "--until <DAY>"),
            (format!("/nowhere --until {}", day(9)), "/nowhere: No such file"),
            (format!("/etc/hostname --until {}", day(9)), "/etc/hostname: "),
        ] {
            let ran = host.cache(&format!("pin good.test {arguments}"));
            assert_eq!(ran.status, 2, "{ran:?}");
            assert!(ran.err.contains(why), "{why}: {ran:?}");
        }
        assert_eq!(host.entry("good.test"), None);
    });
}
