//! What a TLS report counts of Exim's sessions under an enforced policy, and without a policy.

use std::collections::BTreeMap;
use std::fs;

use mtasts::ResultType;
use mtasts_lab as lab;
use serde_json::Value;

use super::host::{self, Host, Tls};
use super::{World, builds};

/// The policy types (RFC 8460 4.2) as the journal has them.
const STS: i64 = 2;
const NO_POLICY: i64 = 9;

/// What the journal has of each domain: the policy type, and the code of the failure or 0.
fn journal(host: &Host) -> BTreeMap<String, Vec<(i64, i64)>> {
    let mut journal: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for file in fs::read_dir(host.var("lib/mtasts")).unwrap().map(Result::unwrap) {
        if !file.file_name().to_str().unwrap().starts_with(".report-") {
            continue;
        }
        let text = fs::read_to_string(file.path()).unwrap();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let session: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let policy = &session["policies"][0];
            let code = policy["failure-details"][0]["c"].as_i64().unwrap_or(0);
            let domain = session["d"].as_str().unwrap().to_owned();
            let row = (policy["policy-type"].as_i64().unwrap(), code);
            journal.entry(domain).or_default().push(row);
        }
    }
    journal
}

/// An Exim that counts all its sessions, those of its own transport too.
fn counting(world: &World, tls: Tls) -> Host {
    let config = host::edited(&[
        ("keep_environment =\n", "keep_environment =\nMTASTS_REPORTS = yes\n"),
        (
            "remote_smtp:\n  driver = smtp\n",
            "remote_smtp:\n  driver = smtp\n  user = $exim_uid\n  group = $exim_gid\n  initgroups\n",
        ),
    ]);
    let host = world.host(tls, &config);
    let reports = "tlsrpt_journal = \"on\"\ntlsrpt_sender = \"reports@sender.test\"\n";
    fs::write(host.etc("mtasts/mtasts.toml"), format!("{}{reports}", host::SETTINGS)).unwrap();
    host
}

pub(crate) fn every_session(world: &World) {
    let code = |name: &str| i64::from(ResultType::from_name(name).unwrap().number());
    let results: BTreeMap<String, Option<&str>> = lab::table()
        .into_iter()
        .map(|entry| (entry.name, entry.result))
        .collect();
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for name in [
        "good",
        "expired",
        "selfsigned",
        "wrongname",
        "cnonly",
        "nostarttls",
        "tls11",
        "testing",
    ] {
        let domain = format!("{name}.test");
        let result = results[&domain].map_or(0, code);
        expected.insert(domain, (STS, result));
    }
    // Without a policy no certificate is asked for.
    for (name, result) in [
        ("nopolicy", None),
        ("nopolicy-expired", None),
        ("nopolicy-nostarttls", Some("starttls-not-supported")),
        ("nopolicy-tls11", Some("validation-failure")),
    ] {
        expected.insert(format!("{name}.test"), (NO_POLICY, result.map_or(0, code)));
    }
    for tls in builds() {
        let host = counting(world, *tls);
        let mut to: Vec<String> = expected.keys().map(|domain| format!("c@{domain}")).collect();
        // What its TLSA records say is not known here.
        to.push("c@dane-nopolicy.test".to_owned());
        host.send_each(&to);
        // No report counts a report.
        host.send_from("reports@sender.test", "", "d@good.test");
        host.send_from("reports@sender.test", "", "d@nopolicy.test");
        assert_eq!(host.panic_log(), "");
        let mut found = journal(&host);
        // Exim tries again without TLS: that is a session of its own.
        let again = found.get_mut("nopolicy-tls11.test").and_then(Vec::pop);
        assert_eq!(again, Some(expected["nopolicy-tls11.test"]), "{tls:?}");
        let once: BTreeMap<_, _> = expected
            .iter()
            .map(|(domain, row)| (domain.clone(), vec![*row]))
            .collect();
        assert_eq!(found, once, "{tls:?}");
    }
}
