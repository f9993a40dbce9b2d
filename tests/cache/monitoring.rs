//! `mtasts cache status`, the metrics of the refresh, and the alerts and the dashboard that are made of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use mtasts::sender::resolver::unix_now;
use mtasts_kit::{Internet, Ran, USER, command::cache, on_the_internet, repository};
use mtasts_lab::{Change, Https};

use crate::{DAY, HOUR, age};

/// The status and the line, which is one.
fn status(host: &Internet) -> (i32, String) {
    let ran = host.cache("status");
    assert_eq!((ran.out.lines().count(), ran.err.as_str()), (1, ""), "{ran:?}");
    (ran.status, ran.out.trim_end().to_owned())
}

/// The state, the sentences and the data of a line as a monitoring system takes it apart.
fn parts(line: &str) -> (&str, &str, &str) {
    let (text, data) = line.split_once(" | ").unwrap_or((line, ""));
    let (state, sentences) = text.split_once(": ").unwrap();
    (state, sentences, data)
}

/// The last run of the refresh began so long ago.
fn refreshed(host: &Internet, seconds: u64) {
    let locks = fs::File::options().write(true).open(host.cache.join(".lock")).unwrap();
    locks
        .set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
}

#[test]
fn status_is_a_line_for_monitoring() {
    on_the_internet("status", |host| {
        let (code, line) = status(host);
        assert_eq!(
            (code, parts(&line).0, parts(&line).1),
            (0, "MTA-STS OK", "0 policies in force, 0 enforced; no refresh yet")
        );

        for domain in ["good.test", "testing.test", "none.test", "wild.test"] {
            host.lookup(domain);
        }
        host.set("exceptions = \"/etc/mtasts/exceptions\"");
        fs::write("/etc/mtasts/exceptions", "wild.test 2999-12-31 they said so\n").unwrap();
        host.cache("refresh");
        for ran in [host.cache("status"), host.cache_as(USER, "status")] {
            let (state, sentences, data) = parts(ran.out.trim_end());
            assert_eq!((ran.status, state), (0, "MTA-STS OK"), "{ran:?}");
            let begin = "4 policies in force, 1 enforced; last refresh ";
            assert!(sentences.starts_with(begin) && sentences.ends_with(" ago"), "{ran:?}");
            assert!(
                data.starts_with(
                    "policies=4 enforced=1 not_renewed=0;0 expiring=0;;0 not_usable=0;0 pins=0 exceptions=1 refresh_age="
                ) && data.ends_with("s;10800;86400"),
                "{ran:?}"
            );
        }

        // The timer has stopped.
        refreshed(host, 4 * HOUR);
        let (code, line) = status(host);
        let begin = "MTA-STS WARNING: last refresh 4 hours ago; 4 policies in force, 1 enforced | ";
        assert!(code == 1 && line.starts_with(begin), "{line}");
        refreshed(host, 2 * DAY);
        let (code, line) = status(host);
        assert!(
            code == 2 && line.starts_with("MTA-STS CRITICAL: last refresh 2 days ago; "),
            "{line}"
        );
        refreshed(host, 0);

        // A policy host that does not answer: first the policy is only old, then it is about to expire.
        age(host, "good.test", 13 * HOUR);
        age(host, "none.test", 13 * HOUR);
        for domain in ["good.test", "none.test"] {
            host.lab.set(domain, Change::https(Https::Status500)).unwrap();
        }
        assert_eq!(host.cache("refresh").status, 1);
        let (code, line) = status(host);
        assert!(
            code == 1 && line.starts_with("MTA-STS WARNING: 1 not renewed: good.test; 4 policies"),
            "what has mode none asks for nothing: {line}"
        );
        assert!(line.contains(" not_renewed=1;0 expiring=0;;0 "), "{line}");
        age(host, "good.test", 19 * HOUR);
        let (code, line) = status(host);
        assert!(
            code == 2
                && line.starts_with(
                    "MTA-STS CRITICAL: 1 not renewed and soon expired: good.test; 1 not renewed: good.test; 4 policies"
                ),
            "{line}"
        );
        assert!(line.contains(" not_renewed=1;0 expiring=1;;0 "), "{line}");
        // What has expired protects nothing any more, and a refresh will not bring it back by itself.
        age(host, "good.test", 25 * HOUR);
        assert!(status(host).1.contains("3 policies in force, 0 enforced"));

        // By the operator's hand, and what is broken.
        for name in ["a.test", "b.test", "c.test", "d.test"] {
            fs::write(host.cache.join(name), "rubbish").unwrap();
            chown(host.cache.join(name), Some(USER), Some(USER)).unwrap();
        }
        let (code, line) = status(host);
        assert!(
            code == 1 && line.contains(" 4 not usable: a.test, b.test, c.test and 1 more;"),
            "{line}"
        );
        let policy = host.cache.with_file_name("pin.txt");
        fs::write(
            &policy,
            "version: STSv1\nmode: enforce\nmx: mx.good.test\nmax_age: 31557600\n",
        )
        .unwrap();
        let tomorrow = mtasts::protocol::calendar::date(unix_now() + DAY);
        let ran = host.cache(&format!("pin --until {tomorrow} good.test {}", policy.display()));
        assert_eq!(ran.status, 0, "{ran:?}");
        let (code, line) = status(host);
        assert!(
            code == 1 && line.contains(" 1 pinned for less than a week: good.test;") && line.contains(" pins=1 "),
            "{line}"
        );

        // Nothing can be said: on stdout, where a monitoring system reads.
        let stranger = cache(&host.cache.with_file_name("mtasts"), "status")
            .uid(12_345)
            .gid(12_345)
            .output();
        let ran = Ran::from(stranger.unwrap());
        assert_eq!((ran.status, ran.err.as_str()), (3, ""), "{ran:?}");
        assert!(
            ran.out.starts_with("MTA-STS UNKNOWN: ") && ran.out.contains("Permission denied"),
            "{ran:?}"
        );
    });
}

/// promtool, with its arguments and its input: what it says, if it is content.
fn promtool(directory: &Path, arguments: &[&str], input: &str) -> String {
    let unpacked: PathBuf = repository().join("target/prometheus");
    let fetched = Command::new(repository().join("tests/prometheus/fetch.sh"))
        .arg(&unpacked)
        .status();
    assert!(fetched.is_ok_and(|status| status.success()), "no promtool");
    fs::write(directory.join("input"), input).unwrap();
    let output = Command::new(unpacked.join("usr/bin/promtool"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::from(fs::File::open(directory.join("input")).unwrap()))
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("mtasts_"))
        .collect()
}

#[test]
fn refresh_writes_metrics() {
    // Before the namespace, from which no archive can be reached.
    let directory = std::env::temp_dir().join(format!("mtasts-{}-promtool", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let examples = repository().join("examples/prometheus");
    fs::copy(examples.join("alerts.yml"), directory.join("alerts.yml")).unwrap();
    fs::copy(
        repository().join("tests/prometheus/alerts.test.yml"),
        directory.join("alerts.test.yml"),
    )
    .unwrap();
    promtool(&directory, &["check", "rules", "alerts.yml"], "");
    promtool(&directory, &["test", "rules", "alerts.test.yml"], "");

    on_the_internet("metrics", |host| {
        let home = host.cache.with_file_name("textfile");
        fs::create_dir(&home).unwrap();
        let file = home.join("mtasts.prom");
        let refresh = format!("refresh --prometheus {}", file.display());
        // The directory is still root's: the run is done, and says that its numbers are not written.
        for domain in ["good.test", "testing.test", "none.test"] {
            host.lookup(domain);
        }
        age(host, "testing.test", 13 * HOUR);
        let ran = host.cache(&refresh);
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(
            ran.out.contains(" 1 renewed, ") && ran.err.contains("mtasts.prom: Permission denied"),
            "{ran:?}"
        );
        chown(&home, Some(USER), Some(USER)).unwrap();
        age(host, "good.test", 19 * HOUR);
        host.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        let now = unix_now();
        assert_eq!(host.cache(&refresh).status, 1);
        let text = fs::read_to_string(&file).unwrap();
        for line in [
            "mtasts_cache_entries 3",
            "mtasts_cache_policies{mode=\"enforce\"} 1",
            "mtasts_cache_policies{mode=\"testing\"} 1",
            "mtasts_cache_policies{mode=\"none\"} 1",
            "mtasts_cache_policies_enforced 1",
            "mtasts_cache_policies_not_renewed 1",
            "mtasts_cache_policies_expiring 1",
            "mtasts_cache_files_unusable 0",
            "mtasts_refresh_policies{outcome=\"failed\"} 1",
            "mtasts_refresh_policies{outcome=\"renewed\"} 0",
            "mtasts_dane_resolver{worth=\"off\"} 1",
            "mtasts_dane_resolver{worth=\"unknown\"} 0",
            "mtasts_fleet{state=\"off\"} 1",
            "mtasts_fleet{state=\"down\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        let value = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value
                .unwrap_or_else(|| panic!("{name}: {text}"))
                .parse::<f64>()
                .unwrap()
                - now as f64
        };
        let near = |name: &str, seconds: i64| {
            let difference = value(name) - seconds as f64;
            assert!(difference.abs() < 60.0, "{name}: {difference}");
        };
        near("mtasts_cache_oldest_fetch_timestamp_seconds", -19 * HOUR as i64);
        near("mtasts_cache_next_expiry_timestamp_seconds", 5 * HOUR as i64);
        near("mtasts_refresh_timestamp_seconds", 0);
        // Another user reads it, and nothing but it is there.
        let about = file.metadata().unwrap();
        assert_eq!((about.permissions().mode() & 0o777, about.uid()), (0o644, USER));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
        // A reader that has the file open keeps a whole one: it is replaced and not rewritten.
        let inode = about.ino();
        host.cache(&refresh);
        assert_ne!(file.metadata().unwrap().ino(), inode);

        // The names are as Prometheus wants them; what the examples ask for exists, and the dashboard shows all of it.
        let said = promtool(&host.cache.with_file_name("textfile"), &["check", "metrics"], &text);
        assert_eq!(said, "");
        let written = metrics(&text);
        let alerts = fs::read_to_string(repository().join("examples/prometheus/alerts.yml")).unwrap();
        let dashboard = fs::read_to_string(repository().join("examples/prometheus/dashboard.json")).unwrap();
        // Those of the server are looked at in tests/serve/words.rs.
        let asked: BTreeSet<_> = metrics(&alerts)
            .into_iter()
            .filter(|name| !name.starts_with("mtasts_serve_"))
            .collect();
        assert!(asked.is_subset(&written), "{asked:?}");
        assert_eq!(metrics(&dashboard), written);
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
        assert!(dashboard["panels"].as_array().unwrap().len() > 5);
    });
    fs::remove_dir_all(&directory).unwrap();
}
