//! `mtasts host`: what the settings publish, and the claims and the records of domains.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use mtasts_kit::{Ran, USER};
use serde_json::json;
use tempfile::TempDir;

use super::mtasts;

const MAIN: &str = "[group.mail]\nmode = \"enforce\"\nmax_age = 604800\nmx = [\"mx.example.net\"]\n\
                    [domain.\"example.com\"]\ngroup = \"mail\"\n";

/// Settings with one tenant, `anna`.
fn settings(anna: &str) -> (TempDir, impl Fn(&[&str]) -> Ran) {
    let directory = TempDir::new().unwrap();
    let main = directory.path().join("host.toml");
    fs::create_dir(directory.path().join("host.d")).unwrap();
    fs::write(&main, MAIN).unwrap();
    fs::write(directory.path().join("host.d/anna.toml"), anna).unwrap();
    let main = main.to_str().unwrap().to_owned();
    let run = move |arguments: &[&str]| mtasts(&[&["host"], arguments, &["--settings", &main]].concat());
    (directory, run)
}

#[test]
fn the_settings_are_checked() {
    let (_files, host) = settings("[domain.\"anna.example\"]\ngroup = \"mail\"\nmode = \"testing\"\n");
    let ran = host(&["check"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(
        lines[0].starts_with("ok        anna.example: testing, max_age 604800, id "),
        "{lines:?}"
    );
    assert!(lines[0].ends_with(" (anna)"), "{lines:?}");
    assert!(lines[1].ends_with(" (host.toml)"), "{lines:?}");

    let (files, host) = settings("[domain.\"anna.example\"]\ngroup = \"mail\"\nmax_age = 1\n");
    let ran = host(&["check"]);
    assert_eq!(ran.status, 1);
    let bad = "anna.toml: line 3: domain.\"anna.example\".max_age: must be 86400 (a day) to 31557600";
    assert!(ran.out.contains(bad), "{}", ran.out);
    let found: serde_json::Value = serde_json::from_str(&host(&["check", "--json"]).out).unwrap();
    assert_eq!(found["domains"][0]["mx"], json!(["mx.example.net"]));
    assert_eq!(found["refused"][0]["line"], 3);

    fs::write(files.path().join("host.toml"), "x = 1").unwrap();
    let ran = host(&["check"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(ran.err.ends_with("host.toml: line 1: x: unknown key\n"), "{}", ran.err);
}

#[test]
fn the_text_is_printed_as_it_is_served() {
    let (_files, host) = settings("");
    let ran = host(&["policy", "Example.COM"]);
    let text = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.net\r\nmax_age: 604800\r\n";
    assert_eq!((ran.status, ran.out.as_str()), (0, text));
    let ran = host(&["policy", "example.org"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "mtasts: example.org is in no file that is in force\n");
}

/// Settings whose ledger belongs to an ordinary user, and a command on them.
fn with_ledger() -> (TempDir, impl Fn(&[&str]) -> Ran) {
    let (files, host) = settings("");
    let directory = files.path();
    fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(directory.join("ledger")).unwrap();
    chown(directory.join("ledger"), Some(USER), Some(USER)).unwrap();
    let service = format!(
        "ledger = \"{}/ledger/ledger.db\"\nzone = \"sts.example.net\"\naddresses = [\"192.0.2.1\"]\n",
        directory.display()
    );
    fs::write(directory.join("host.toml"), service + MAIN).unwrap();
    (files, host)
}

#[test]
fn a_claim_stays_until_the_domain_is_moved() {
    let (files, host) = with_ledger();
    let ran = host(&["records", "example.com"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert_eq!(
        ran.err,
        "mtasts: example.com is not claimed yet: use mtasts host add example.com\n"
    );
    let added = host(&["add", "example.com"]);
    assert_eq!((added.status, added.err.as_str()), (0, ""));
    let token = |ran: &Ran| {
        let (_, target) = ran
            .out
            .split_once("mta-sts.example.com. 300 IN CNAME ")
            .expect(&ran.out);
        target.split('.').next().unwrap().to_owned()
    };
    assert_eq!(token(&added).len(), 16);
    for again in [host(&["add", "example.com"]), host(&["records", "EXAMPLE.com"])] {
        assert_eq!(again.out, added.out);
    }
    // In a zone above, and in another notation.
    let ran = host(&["records", "example.com", "--zone", "com", "--format", "dnscontrol"]);
    assert!(
        ran.out.starts_with("D_EXTEND(\"com\",\n  CNAME(\"mta-sts.example\", "),
        "{}",
        ran.out
    );
    let ran = host(&["records", "example.com", "--zone", "example.net"]);
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (2, "mtasts: example.com is not in the zone example.net\n")
    );
    let zone = host(&["zone"]).out;
    assert!(
        zone.starts_with(&format!("{}.sts.example.net. 300 IN A 192.0.2.1\n", token(&added))),
        "{zone}"
    );

    // A tenant does not get it by naming it, and gets another token when the operator gives it.
    let main = fs::read_to_string(files.path().join("host.toml")).unwrap();
    let (service, domain) = main.split_once("[domain.").unwrap();
    fs::write(files.path().join("host.toml"), service).unwrap();
    fs::write(files.path().join("host.d/anna.toml"), format!("[domain.{domain}")).unwrap();
    let ran = host(&["add", "example.com"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err
            .contains("anna.toml: line 1: domain.\"example.com\": the domain is the operator's"),
        "{}",
        ran.err
    );
    assert_eq!(host(&["move", "example.com", "anna"]).status, 0);
    assert_ne!(token(&host(&["records", "example.com"])), token(&added));
    assert_eq!(host(&["move", "example.com", "../x"]).status, 2);

    // Nothing was served for it, so it can go at once.
    let ran = host(&["remove", "example.com"]);
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (1, "mtasts: example.com is in a file (anna); take it out there first\n")
    );
    fs::write(files.path().join("host.d/anna.toml"), "").unwrap();
    assert_eq!(host(&["remove", "example.com"]).status, 0);
    assert_eq!(
        host(&["remove", "example.com"]).err,
        "mtasts: example.com is not known here\n"
    );
}

#[test]
fn a_setting_that_is_missing_is_named() {
    let (files, host) = with_ledger();
    let main = fs::read_to_string(files.path().join("host.toml")).unwrap();
    let without = |key: &str| {
        let lines = main
            .lines()
            .filter(|line| !line.starts_with(key))
            .map(|line| format!("{line}\n"));
        fs::write(files.path().join("host.toml"), lines.collect::<String>()).unwrap();
    };
    without("zone");
    assert!(
        host(&["add", "example.com"])
            .err
            .contains("CNAMEs need the setting zone")
    );
    assert_eq!(host(&["add", "example.com", "--direct"]).status, 0);
    assert_eq!(host(&["zone"]).status, 1);
    without("addresses");
    assert!(
        host(&["add", "example.com", "--direct"])
            .err
            .contains("A and AAAA records need the setting addresses")
    );
    // Root writes nothing in a directory of its own.
    fs::write(
        files.path().join("host.toml"),
        format!("ledger = \"{}/x.db\"\n{MAIN}", files.path().display()),
    )
    .unwrap();
    let ran = host(&["add", "example.com"]);
    assert!(
        ran.status == 2 && ran.err.contains("belongs to root. Create it for a user"),
        "{}",
        ran.err
    );
}
