//! What the administrator finds in Exim's main log, and what the panic log is spared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use mtasts_lab::{self as lab, Change, Expect, policy_text};

use super::host::{self, Config, Fate, Host, Tls};
use super::{World, counted, evidence};

/// The lines of ours that belong to a message, without Exim's own fields.
fn told<'a>(log: &'a str, id: &str) -> Vec<&'a str> {
    let ours = |line: &'a str| line.split_once(&format!(" {id} mtasts[")).map(|(_, rest)| rest);
    log.lines().filter_map(ours).collect()
}

/// A cache that cannot be written: mail is delivered, and each message says so once.
pub(crate) fn unusable_cache(world: &World) {
    let dir = "/var/lib/mtasts";
    let faults = [
        ("mode 0777", format!("chmod 0777 {dir}")),
        ("mode 0500", format!("chmod 0500 {dir}")),
        (
            "read-only",
            format!("mount --bind {dir} {dir} && mount -o remount,ro,bind {dir}"),
        ),
        (
            "full disk",
            format!(
                "mount -t tmpfs -o size=4k,mode=2770,uid=$(id -u Debian-exim),gid=$(id -g Debian-exim) full {dir} \
                 && head -c 4096 /dev/zero >{dir}/.filler; chown Debian-exim {dir}/.filler"
            ),
        ),
    ];
    let to = ["a@good.test", "b@good.test", "c@nopolicy.test", "d@testing.test"];
    for (tls, config) in world.combinations() {
        for (fault, command) in &faults {
            let host = world.host(tls, &config);
            host::run(host.command("sh").args(["-c", command]));
            let outcome = host.send(&to);
            for to in to {
                assert_eq!(outcome.of(to).0, Fate::Delivered, "{fault}: {}", outcome.log);
            }
            let id = outcome.of(to[0]).1.split(' ').nth(2).unwrap();
            let lines = told(&outcome.log, id);
            assert_eq!(lines.len(), 1, "{fault}: {}", outcome.log);
            assert!(
                lines[0].starts_with("cache-not-") && lines[0].contains(dir),
                "{lines:?}"
            );
            evidence(&format!("{fault} ({tls:?} {config:?})"), lines[0]);
            // The next message says it again. A look at an address does not.
            let outcome = host.send(&to[..1]);
            let id = outcome.of(to[0]).1.split(' ').nth(2).unwrap();
            assert_eq!(told(&outcome.log, id).len(), 1, "{fault}: {}", outcome.log);
            let before = host.log();
            host::run(host.command("exim4").args(["-bt", to[0]]));
            host::run(host.command("exim4").args(["-bv", to[0]]));
            assert_eq!(host.log(), before);
            assert_eq!(host.panic_log(), "");
        }
    }
}

/// Mail that waits is no reason to write the panic log, the log has dates, and the retry times belong to the domain.
pub(crate) fn deferrals(world: &World) {
    let unknown = ["a@txt-servfail.test", "b@txt-servfail.test"];
    let unfit = ["a@nomatch.test", "b@nomatch.test"];
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        fs::write(
            host.etc("mtasts/mtasts.toml"),
            format!("{}first_contact_defer = \"1h\"\n", host::SETTINGS),
        )
        .unwrap();
        for to in [unknown, unfit] {
            let outcome = host.send(&to);
            for to in to {
                let (fate, line) = outcome.of(to);
                assert_eq!(fate, Fate::Deferred, "{}", outcome.log);
                assert!(line.contains("mtasts["), "{line}");
                evidence(&format!("{to} ({tls:?})"), line);
            }
        }
        let log = host.log();
        assert!(
            log.contains("at the latest until 2") && log.contains("(first_contact_defer)"),
            "{log}"
        );
        assert!(!has_unix_time(&log), "{log}");
        let hints = host::run(host.command("exim_dumpdb").args(["/var/spool/exim4", "retry"]));
        let hints = String::from_utf8_lossy(&hints.stdout).into_owned();
        for domain in ["txt-servfail.test", "nomatch.test"] {
            assert!(
                hints.contains(&format!(" R:{domain} ")),
                "no hint about {domain}: {hints}"
            );
            assert!(
                !hints.contains(&format!("@{domain}")),
                "a hint about an address: {hints}"
            );
        }
        fs::write(host.etc("mtasts/mtasts.toml"), "no_such_setting = true\n").unwrap();
        assert_eq!(host.send(&["a@good.test"]).of("a@good.test").0, Fate::Deferred);
        assert_eq!(host.panic_log(), "", "{tls:?} {config:?}");
    }
}

/// Ten digits that begin as the present does.
fn has_unix_time(log: &str) -> bool {
    log.split(|c: char| !c.is_ascii_digit())
        .any(|number| number.len() == 10 && (number.starts_with("17") || number.starts_with("18")))
}

/// The tokens by which the log may name a failure that a report names so.
fn tokens(result: &str) -> &[&str] {
    match result {
        "validation-failure" => &["mx-host-not-in-policy", "mx-not-a-host-name", "tls-handshake-failed"],
        "starttls-not-supported" => &["starttls-not-offered", "starttls-refused"],
        "certificate-expired" => &["certificate-expired"],
        "certificate-host-mismatch" => &["certificate-host-mismatch"],
        _ => &["certificate-not-trusted"],
    }
}

/// A policy in testing: mail is delivered, and the log has a line about each host that would have failed.
pub(crate) fn testing(world: &World) {
    // Exim names this host by the target of its CNAME, and nothing is wrong with it.
    let fits = Change::publish("fits", policy_text("testing", &["mx.cname-mx.test"], 86_400));
    world.lab.set("cname-mx.test", fits).unwrap();
    // This host greets with 421, so that nothing is known of its TLS.
    let busy = Change::publish("fits", policy_text("testing", &["mx.busy.test"], 86_400));
    world.lab.set("busy.test", busy).unwrap();
    let table: BTreeMap<String, lab::Entry> = lab::table()
        .into_iter()
        .map(|entry| (entry.name.clone(), entry))
        .collect();
    let broken = table.values().filter_map(|entry| {
        let of_enforced = table.get(entry.name.strip_prefix("testing-")?)?.result;
        (entry.expect == Expect::Deliver).then(|| (entry.name.clone(), of_enforced))
    });
    let mut rows: Vec<(String, Option<&str>)> = broken.collect();
    rows.push(("cname-mx.test".to_owned(), None));
    assert!(rows.len() > 25, "{rows:?}");
    for (tls, config) in world.combinations() {
        let with_reports = match &config {
            Config::Complete => counted::counting(),
            other => other.clone(),
        };
        let host = world.host(tls, &with_reports);
        if matches!(config, Config::Debian) {
            host.macros("MTASTS_REPORTS = yes\n");
        }
        let settings = format!("{}{}", host::SETTINGS, counted::SETTINGS);
        fs::write(host.etc("mtasts/mtasts.toml"), settings).unwrap();
        for rows in rows.chunks(8) {
            let to: Vec<String> = rows.iter().map(|(domain, _)| format!("t@{domain}")).collect();
            let outcome = host.send_each(&to);
            for ((domain, result), to) in rows.iter().zip(&to) {
                one_of_testing(tls, &outcome, domain, *result, to);
            }
        }
        assert_eq!(host.panic_log(), "");
        reported(tls, &host, &rows);
        not_reported(tls, &host);
        quiet_elsewhere(&host);
    }
}

/// A report, and a mail that needs no TLS, is not in the journal (D-39).
fn not_reported(tls: Tls, host: &Host) {
    let sessions = || counted::journal(host).len();
    let before = sessions();
    let to = "u@cname-mx.test";
    host.send_from("Reports@sender.test", "", to);
    host.send_from("alice@sender.test", "TLS-Required: No\n", to);
    assert_eq!(sessions(), before, "{tls:?}");
    host.send_from("alice@sender.test", "TLS-Required: Yes\n", to);
    assert!(sessions() > before, "{tls:?}: nothing was written");
}

/// The journal for TLS reports has a session with each of these domains, and what the table says of it.
fn reported(tls: Tls, host: &Host, rows: &[(String, Option<&str>)]) {
    let mut journal: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for session in counted::journal(host) {
        let policy = &session["policies"][0];
        assert_eq!(policy["policy-string"][0], "version: STSv1", "{session}");
        let addresses = ["r", "s"].map(|key| &policy["failure-details"][0][key]);
        let code = counted::code(&session);
        assert!(
            code == 0 || addresses.iter().all(|address| address.is_string()),
            "{session}"
        );
        journal
            .entry(session["d"].as_str().unwrap().to_owned())
            .or_default()
            .insert(code);
    }
    assert!(!journal.is_empty(), "{tls:?}: nothing was written");
    for (domain, result) in rows {
        // As in the log.
        let result = result.filter(|_| !(tls == Tls::Gnu && domain == "testing-clientonly.test"));
        let expected = BTreeSet::from([result.map_or(0, counted::code_of)]);
        assert_eq!(journal.get(domain), Some(&expected), "{domain}, {result:?} ({tls:?})");
    }
}

fn one_of_testing(tls: Tls, outcome: &host::Outcome, domain: &str, result: Option<&str>, to: &str) {
    let (fate, line) = outcome.of(to);
    assert_eq!(fate, Fate::Delivered, "{domain}: {}", outcome.log);
    let lines = told(&outcome.log, line.split(' ').nth(2).unwrap());
    // A deviation of GnuTLS, as in the table.
    let passes = tls == Tls::Gnu && domain == "testing-clientonly.test";
    let Some(result) = result.filter(|_| !passes) else {
        assert_eq!(lines, Vec::<&str>::new(), "{domain}");
        return;
    };
    let known = |line: &&str| {
        tokens(result)
            .iter()
            .any(|token| line.starts_with(&format!("{token}]: ")))
    };
    assert!(
        !lines.is_empty() && lines.iter().all(known),
        "{domain}, {result}: {lines:?}\n{}",
        outcome.log
    );
    let says = lines
        .iter()
        .all(|line| line.contains("this does not prevent delivery") && line.contains(domain));
    assert!(says, "{lines:?}");
    evidence(&format!("{domain} ({tls:?})"), lines[0]);
}

/// A domain in order, one without a policy, and one whose host is busy: nothing is said.
fn quiet_elsewhere(host: &Host) {
    let to = [
        "t@testing.test",
        "t@good.test",
        "t@nopolicy-expired.test",
        "t@busy.test",
    ];
    let outcome = host.send(&to);
    assert!(outcome.of(to[3]).1.contains("T=remote_smtp_testing"), "{}", outcome.log);
    assert!(!outcome.log.contains("mtasts["), "{}", outcome.log);
}
