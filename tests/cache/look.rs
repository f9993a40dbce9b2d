//! `mtasts cache list`, `show` and `purge`.

use std::os::unix::fs::chown;

use mtasts::sender::resolver::unix_now;
use mtasts_lab::{Change, Https};
use serde_json::json;

use mtasts_kit::{USER, on_the_internet};

use crate::{DAY, age};

#[test]
fn list_has_a_line_for_each_entry() {
    on_the_internet("list", |host| {
        let ran = host.cache("list");
        assert_eq!(
            (ran.status, ran.out.as_str(), ran.err.as_str()),
            (0, "", ""),
            "an empty cache"
        );
        assert_eq!(host.cache("list --json").lines().len(), 0);
        for domain in ["good.test", "testing.test", "none.test", "absent.test"] {
            host.lookup(domain);
        }
        age(host, "testing.test", 400 * DAY);
        for ran in [host.cache("list"), host.cache_as(USER, "list")] {
            assert_eq!((ran.status, ran.err.as_str()), (0, ""));
            let lines: Vec<Vec<&str>> = ran
                .out
                .lines()
                .map(|line| line.split("  ").filter(|s| !s.is_empty()).map(str::trim).collect())
                .collect();
            assert_eq!(lines[0], ["DOMAIN", "MODE", "FETCHED", "EXPIRES", "REFRESH", "NOTES"]);
            assert_eq!(lines[1][..2], ["good.test", "enforce"]);
            assert!(lines[1][2].ends_with(" ago") || lines[1][2] == "now", "{ran:?}");
            assert!(
                lines[1][3].starts_with("in ") && lines[1][4].starts_with("in "),
                "{ran:?}"
            );
            assert_eq!(lines[3][..2], ["testing.test", "testing"]);
            assert_eq!(lines[3][4..], ["-", "expired"]);
            assert_eq!(lines.len(), 4, "what has no policy leaves no trace: {ran:?}");
        }
        std::fs::write(host.cache.join("broken.test"), "rubbish").unwrap();
        chown(host.cache.join("broken.test"), Some(USER), Some(USER)).unwrap();
        let ran = host.cache("list --json");
        let lines = ran.lines();
        assert_eq!((ran.status, lines.len()), (1, 4), "{ran:?}");
        let error = lines[0]["error"].as_str().unwrap();
        assert!(
            error.ends_with("broken.test is ignored: not a file of this version of mtasts"),
            "{error}"
        );
        let good = &lines[1];
        assert_eq!(
            (&good["domain"], &good["mode"], &good["counts"]),
            (&json!("good.test"), &json!("enforce"), &json!(true))
        );
        assert_eq!(
            good["expires"],
            json!(good["fetched"].as_u64().unwrap() + good["max_age"].as_u64().unwrap())
        );
        assert!(good["next_refresh"].as_u64().unwrap() <= good["fetched"].as_u64().unwrap() + DAY);
        assert_eq!(good["error"], json!(null));
        assert_eq!(lines[3]["counts"], json!(false));
    });
}

#[test]
fn show_explains_one_domain() {
    on_the_internet("show", |host| {
        let ran = host.cache("show good.test");
        assert_eq!((ran.status, ran.err.as_str()), (1, ""));
        assert!(ran.out.contains("no entry: "), "{ran:?}");
        assert_eq!(
            host.cache("show good.test --json").json(),
            json!({ "domain": "good.test", "entry": null })
        );

        host.lookup("good.test");
        let ran = host.cache("show GOOD.test");
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        for sentence in [
            "good.test\n  ok      cached policy, enforced since 20",
            "  mx ",
            " fetched 20",
            ", in force for 1 day, until 20",
            "TXT id ",
            "DNS asked 20",
            "to be asked again from 20",
            "next refresh 20",
            "last used on 20",
        ] {
            assert!(ran.out.contains(sentence), "{sentence}: {}", ran.out);
        }
        let json = host.cache("show good.test --json").json();
        assert_eq!(json, host.cache("list --json").json(), "the same shape");

        // All that can be out of the ordinary.
        host.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        host.cache("refresh --all");
        let now = unix_now();
        host.change("good.test", |entry| {
            entry.used = Some(now - 100 * DAY);
            entry.imported = Some(now - DAY);
            entry.idle_since = Some(now - DAY);
            entry.unlearned_since = Some(now - DAY);
        });
        let ran = host.cache("show good.test");
        assert_eq!(ran.status, 0, "the policy is in force anyway");
        for sentence in [
            "  bad     last failure 20",
            "sts-policy-fetch-error: mta-sts.good.test [",
            "unused since 20",
            "not yet fetched here",
            "no policy worth keeping since 20",
            "DNS has been broken since 20",
        ] {
            assert!(ran.out.contains(sentence), "{sentence}: {}", ran.out);
        }
        age(host, "good.test", 400 * DAY);
        let ran = host.cache("show good.test");
        assert_eq!(ran.status, 1);
        assert!(
            ran.out.contains("  bad     the cached policy (enforced) expired on 20"),
            "{}",
            ran.out
        );
    });
}

#[test]
fn show_says_what_is_wrong_with_a_file() {
    on_the_internet("show-broken", |host| {
        host.lookup("good.test");
        let file = host.cache.join("good.test");
        let whole = std::fs::read_to_string(&file).unwrap();
        for (content, wrong) in [
            (whole.replace("enforce", "testing"), "the checksum does not match"),
            (whole[..whole.len() - 1].to_owned(), "the checksum does not match"),
            (whole.replacen("mtasts 1", "mtasts 2", 1), "not a file of this version"),
            (String::new(), "not a file of this version"),
        ] {
            std::fs::write(&file, content).unwrap();
            let ran = host.cache("show good.test");
            assert_eq!(ran.status, 1);
            assert!(
                ran.out.contains("  bad     the cache file /") && ran.out.contains(wrong),
                "{}",
                ran.out
            );
            let json = host.cache("show good.test --json").json();
            assert!(json["error"].as_str().unwrap().contains(wrong), "{json}");
        }
        std::fs::rename(&file, host.cache.join("testing.test")).unwrap();
        std::fs::write(host.cache.join("testing.test"), whole).unwrap();
        assert!(
            host.cache("show testing.test")
                .out
                .contains("the file is for another domain")
        );
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert!(host.cache("show good.test").out.contains("is not a regular file"));
    });
}

/// The hardened way of sharing: the group reads, the owner writes.
#[test]
fn show_says_that_this_user_may_not_write() {
    on_the_internet("show-hardened", |host| {
        host.mode(0o2750);
        host.lookup("good.test");
        let says = "this user cannot write to /";
        assert!(host.cache_as(1234, "show good.test").out.contains(says));
        assert!(!host.cache_as(USER, "show good.test").out.contains(says));
        assert!(
            !host.cache("show good.test").out.contains(says),
            "root is the owner here"
        );
        // Who may not even read is told so.
        host.mode(0o2700);
        let ran = host.cache_as(1234, "list");
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.contains("Permission denied"), "{ran:?}");
    });
}

#[test]
fn purge_removes_what_is_named() {
    on_the_internet("purge", |host| {
        let fill = || {
            for domain in ["good.test", "testing.test", "none.test"] {
                host.lookup(domain);
            }
        };
        fill();
        let ran = host.cache("purge good.test unknown.test");
        assert_eq!((ran.status, ran.out.as_str()), (1, "1 removed\n"));
        assert_eq!(ran.err, "mtasts: unknown.test: the cache has no entry\n");
        let ran = host.cache("purge testing.test --json");
        assert_eq!((ran.status, ran.json()), (0, json!({ "removed": 1, "missing": [] })));
        fill();
        age(host, "testing.test", 400 * DAY);
        assert_eq!(
            host.cache_as(USER, "purge --expired --json").json()["removed"],
            json!(1)
        );
        assert!(host.entry("testing.test").is_none() && host.entry("good.test").is_some());
        assert_eq!(host.cache("purge --all").out, "2 removed\n");
        assert_eq!(host.cache("list").out, "");
        for wrong in ["purge", "purge --all --expired", "purge --all good.test", "purge .."] {
            assert_eq!(host.cache(wrong).status, 2, "{wrong}");
        }
    });
}

#[test]
fn root_is_the_owner_of_the_cache_or_nobody() {
    on_the_internet("owner", |host| {
        host.lookup("good.test");
        chown(&host.cache, Some(0), Some(0)).unwrap();
        for command in [
            "list",
            "show good.test",
            "refresh",
            "purge --all",
            "export",
            "import /etc/hostname",
        ] {
            let ran = host.cache(command);
            assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{ran:?}");
            assert!(
                ran.err.contains("belongs to root") && ran.err.contains("install -d -m 2770"),
                "{ran:?}"
            );
        }
        assert!(host.cache.join("good.test").exists());
    });
}
