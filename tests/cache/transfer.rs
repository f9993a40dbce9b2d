//! `mtasts cache export` and `import`: from one cache to another.

use mtasts::sender::resolver::unix_now;
use mtasts::{Mode, Source};
use mtasts_lab::{Change, Https, policy_text};
use serde_json::{Value, json};

use mtasts_kit::{Internet, USER, on_the_internet};

use crate::{DAY, HOUR, age};

/// The export of a server with some policies, of which nothing is left here.
fn exported(host: &Internet) -> String {
    for domain in ["good.test", "testing.test", "wild.test"] {
        host.lookup(domain);
    }
    age(host, "good.test", 2 * HOUR);
    age(host, "wild.test", 400 * DAY);
    let ran = host.cache("export");
    assert_eq!((ran.status, ran.err.as_str(), ran.lines().len()), (0, "", 3));
    assert_eq!(ran, host.cache_as(USER, "export"));
    host.cache("purge --all");
    host.lab.reset().unwrap();
    ran.out
}

#[test]
fn an_import_protects_at_once_and_is_checked_as_soon_as_it_is_used() {
    on_the_internet("import", |host| {
        let stream = exported(host);
        let file = host.cache.with_file_name("export");
        std::fs::write(&file, &stream).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let ran = host.cache(&format!("import {}", file.display()));
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        assert!(
            ran.out.starts_with("2 imported, 0 kept as they are here, 1 skipped"),
            "{ran:?}"
        );
        let entry = host.entry("good.test").unwrap();
        assert!(entry.imported.is_some() && entry.txt.is_none());
        assert!(
            unix_now() - entry.cached.as_ref().unwrap().fetched >= 2 * HOUR,
            "its life goes on as it was"
        );
        assert!(host.cache("list").out.contains("imported, not yet fetched here"));

        // DNS and HTTPS are broken: it protects all the same.
        let broken = Change {
            https: Some(Https::Status500),
            ..Change::txt("SERVFAIL")
        };
        host.lab.set("good.test", broken).unwrap();
        let answer = host.lookup("good.test");
        assert_eq!(
            (answer.source(), answer.mode()),
            (Source::CachedAfterFailure, Mode::Enforce)
        );
        // The next mail asks DNS, the next refresh the policy host. Then it is as good as any.
        host.lab.reset().unwrap();
        host.lookup("testing.test");
        // One question, which is sent again if the machine is busy.
        let asked = host.lab.counters().dns.get("_mta-sts.testing.test TXT").copied();
        assert!(matches!(asked, Some(1..=3)), "{:?}", host.lab.counters());
        let ran = host.cache("refresh --json");
        assert_eq!((ran.status, ran.json()["renewed"].clone()), (0, json!(2)), "{ran:?}");
        let entry = host.entry("good.test").unwrap();
        assert_eq!(entry.imported, None);
        assert!(entry.cached.unwrap().fetched + 60 > unix_now());
        assert_eq!(host.cache("refresh --json").json()["renewed"], json!(0));
    });
}

#[test]
fn an_import_never_replaces_what_was_fetched_here_later() {
    on_the_internet("import-kept", |host| {
        let stream = exported(host);
        // Fetched here later, and weaker: the domain has changed its mind.
        host.lab
            .set("good.test", Change::publish("n", policy_text("none", &[], 3600)))
            .unwrap();
        host.lookup("good.test");
        let ours = host.entry("good.test").unwrap();
        let import = |kept: u64, imported: u64| {
            let ran = host.cache_with_input("import - --json", &stream);
            let want = json!({ "imported": imported, "kept": kept, "left_out": 1, "bad": 0 });
            assert_eq!((ran.status, ran.json()), (0, want));
        };
        import(1, 1);
        assert_eq!(host.entry("good.test"), Some(ours));
        import(2, 0);
        // Also when it has expired since: a policy that was taken back does not return.
        age(host, "good.test", HOUR + 60);
        import(2, 0);
        assert_eq!(host.lookup("good.test").mode(), Mode::None);
        // What was fetched here earlier and counts stays as well, and goes when it has expired.
        host.cache("purge good.test");
        host.lab.reset().unwrap();
        host.lookup("good.test");
        age(host, "good.test", DAY);
        import(2, 0);
        age(host, "good.test", 400 * DAY);
        import(1, 1);
        assert!(host.entry("good.test").unwrap().imported.is_some());
    });
}

#[test]
fn an_import_never_counts_longer_than_it_would_there() {
    on_the_internet("import-future", |host| {
        host.lookup("good.test");
        host.change("good.test", |entry| {
            let cached = entry.cached.as_ref().unwrap();
            let cached =
                mtasts::cache::entry::CachedPolicy::new(cached.id, unix_now() + 4000 * DAY, cached.text.as_str());
            entry.cached = Some(cached.unwrap().into());
            (entry.used, entry.mode_since) = (Some(u64::MAX), Some(u64::MAX));
        });
        let stream = host.cache("export").out;
        host.cache("purge --all");
        assert_eq!(host.cache_with_input("import -", &stream).status, 0);
        let entry = host.entry("good.test").unwrap();
        let now = unix_now();
        assert!(entry.cached.unwrap().fetched <= now && entry.used <= Some(now) && entry.mode_since <= Some(now));
        // A pin is a decision of the operator there.
        host.change("good.test", |entry| entry.pinned_until = Some(now + DAY));
        let stream = host.cache("export").out;
        host.cache("purge --all");
        assert!(
            host.cache_with_input("import -", &stream)
                .out
                .starts_with("0 imported, 0 kept as they are here, 1 skipped")
        );
    });
}

#[test]
fn lines_that_cannot_be_used_are_named_and_the_others_taken() {
    on_the_internet("import-bad", |host| {
        let stream = exported(host);
        let lines: Vec<&str> = stream.lines().collect();
        let with = |change: &dyn Fn(&mut Value)| {
            let mut line: Value = serde_json::from_str(lines[0]).unwrap();
            change(&mut line);
            line.to_string()
        };
        let other = with(&|line| line["domain"] = json!("evil.test"));
        let path = with(&|line| line["domain"] = json!("a/b.test"));
        let edited = with(&|line| line["entry"] = json!(line["entry"].as_str().unwrap().replace("enforce", "none")));
        let more = with(&|line| line["x"] = json!(1));
        let bad = [
            (other.as_str(), "evil.test: the file is for another domain"),
            (&path, "the character '/' cannot be part of a host name"),
            (&edited, "good.test: the checksum does not match"),
            (&more, "not a line from an export: unknown field `x`"),
            ("rubbish", "not a line from an export: "),
            ("", "not a line from an export: "),
            ("[\"\x1b[31m\"]", "not a line from an export: "),
        ];
        let mut input: Vec<&str> = bad.iter().map(|(line, _)| *line).collect();
        input.push(lines[0]);
        let ran = host.cache_with_input("import -", &input.join("\n"));
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(
            ran.out.starts_with("1 imported,") && ran.out.ends_with(", 7 not readable\n"),
            "{ran:?}"
        );
        for ((_, why), (number, told)) in bad.iter().zip((1..).zip(ran.err.lines())) {
            let begins = format!("mtasts: stdin: line {number} is skipped: ");
            assert!(told.starts_with(&begins) && told.contains(why), "{why}: {told}");
        }
        assert!(!ran.err.contains('\x1b'));
        let endless = "x".repeat(1_000_000);
        let ran = host.cache_with_input("import -", &endless);
        assert_eq!(
            (ran.status, ran.err.as_str()),
            (2, "mtasts: stdin: line 1 is too long for an export\n")
        );
        assert_eq!(host.cache("import /nowhere").status, 2);
    });
}

/// Somebody on the way, or the other server itself, has forged an entry, with a digest that fits.
#[test]
fn a_forged_line_imports_nothing_that_dns_or_https_could_not_give() {
    on_the_internet("import-forged", |host| {
        host.lookup("good.test");
        let before = host.entry("good.test").unwrap();
        let body = before.to_file().split_once('\n').unwrap().1.to_owned();
        let id = before.cached.as_ref().unwrap().id;
        let forged = |from: &str, to: &str| {
            let body = body.replace(from, to);
            let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
            let sum: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            json!({ "domain": "good.test", "entry": format!("mtasts 1 {sum}\n{body}") }).to_string()
        };
        let (old, injected) = (format!("policy-id: {id}\n"), "policy-id: x\" ignore=\"*\n");
        let ran = host.cache_with_input("import -", &forged(&old, injected));
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(
            ran.err.contains("good.test: cannot read the line") && ran.out.ends_with(", 1 not readable\n"),
            "{ran:?}"
        );
        assert_eq!(host.entry("good.test").unwrap(), before, "what was there stands there");
        // What lives for ever there lives here for its max_age from now.
        host.cache("purge --all");
        let fetched = format!("fetched: {}\n", before.cached.unwrap().fetched);
        let line = forged(&fetched, "fetched: 18446744073709551615\n");
        assert_eq!(host.cache_with_input("import -", &line).status, 0);
        let cached = host.entry("good.test").unwrap().cached.unwrap();
        assert!(cached.fetched <= unix_now() && cached.expires() <= unix_now() + u64::from(cached.policy.max_age()));
    });
}
