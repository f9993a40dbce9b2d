//! What a TLS report counts of Exim's sessions, whatever the policy.

use std::collections::BTreeMap;
use std::fs;

use mtasts::ResultType;
use mtasts::cache::store::Store;
use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;
use mtasts_lab as lab;
use serde_json::Value;

use super::host::{self, Config, Host, Tls};
use super::{World, builds, evidence};

/// The policy types (RFC 8460 4.2) as the journal has them.
const TLSA: i64 = 1;
const STS: i64 = 2;
const NO_POLICY: i64 = 9;

/// The settings of a host that counts.
pub(crate) const SETTINGS: &str = "tlsrpt_journal = \"on\"\ntlsrpt_sender = \"reports@sender.test\"\n";

/// The sessions in the journal of a host.
pub(crate) fn journal(host: &Host) -> Vec<Value> {
    let store = Store::new(host.var("lib/mtasts"));
    let mut text = String::new();
    for journal in store.journals().unwrap() {
        if let Some(mut file) = store.results(&journal).unwrap() {
            std::io::Read::read_to_string(&mut file, &mut text).unwrap();
        }
    }
    let lines = text.lines().filter(|line| !line.is_empty());
    let read = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    read.collect()
}

/// The code of the failure in a session, or 0.
pub(crate) fn code(session: &Value) -> i64 {
    session["policies"][0]["failure-details"][0]["c"].as_i64().unwrap_or(0)
}

/// The code of a result type.
pub(crate) fn code_of(name: &str) -> i64 {
    i64::from(ResultType::from_name(name).unwrap().number())
}

/// `exim.conf` counts all its sessions, those of its own transport too.
pub(crate) fn counting() -> Config {
    host::edited(&[
        ("keep_environment =\n", "keep_environment =\nMTASTS_REPORTS = yes\n"),
        (
            "remote_smtp:\n  driver = smtp\n",
            "remote_smtp:\n  driver = smtp\n  user = $exim_uid\n  group = $exim_gid\n  initgroups\n",
        ),
    ])
}

fn counting_host(world: &World, tls: Tls) -> Host {
    let host = world.host(tls, &counting());
    fs::write(host.etc("mtasts/mtasts.toml"), format!("{}{SETTINGS}", host::SETTINGS)).unwrap();
    host
}

/// What is counted of one mail to each of these domains: the policy type, and what failed.
const SESSIONS: &[(&str, &[(i64, &str)])] = &[
    ("good", &[(STS, "")]),
    ("expired", &[(STS, "certificate-expired")]),
    ("selfsigned", &[(STS, "certificate-not-trusted")]),
    ("wrongname", &[(STS, "certificate-host-mismatch")]),
    ("cnonly", &[(STS, "certificate-host-mismatch")]),
    ("nostarttls", &[(STS, "starttls-not-supported")]),
    ("starttls454", &[(STS, "starttls-not-supported")]),
    ("starttls554", &[(STS, "starttls-not-supported")]),
    ("tls11", &[(STS, "validation-failure")]),
    ("testing", &[(STS, "")]),
    // In testing, and without a policy, Exim connects again without TLS after a handshake that failed. That is no new failure.
    ("testing-starttls454", &[(STS, "starttls-not-supported")]),
    ("testing-tls11", &[(STS, "validation-failure")]),
    // Without a policy no certificate is asked for.
    ("nopolicy", &[(NO_POLICY, "")]),
    ("nopolicy-expired", &[(NO_POLICY, "")]),
    ("nopolicy-nostarttls", &[(NO_POLICY, "starttls-not-supported")]),
    ("nopolicy-starttls454", &[(NO_POLICY, "starttls-not-supported")]),
    ("nopolicy-tls11", &[(NO_POLICY, "validation-failure")]),
    // Exim does not connect to a host that an enforced policy does not list.
    ("nomatch", &[(STS, "validation-failure")]),
    ("mixed", &[(STS, "validation-failure"), (STS, "")]),
    (
        "mixed-broken",
        &[(STS, "validation-failure"), (STS, "certificate-expired")],
    ),
    ("dane-nomatch", &[(STS, "validation-failure")]),
    // What TLSA records say comes before the policy, which is then asked for nothing but the name.
    ("dane", &[(TLSA, "")]),
    ("dane-ta", &[(TLSA, "")]),
    ("dane-selfsigned", &[(TLSA, "")]),
    ("dane-nopolicy", &[(TLSA, "")]),
    ("dane-mismatch", &[(TLSA, "validation-failure")]),
    ("dane-mismatch-nopolicy", &[(TLSA, "validation-failure")]),
    ("dane-ta-wrongname", &[(TLSA, "certificate-host-mismatch")]),
    ("dane-nostarttls", &[(TLSA, "starttls-not-supported")]),
    ("dane-bogus", &[(TLSA, "dnssec-invalid")]),
    ("dane-unusable", &[(TLSA, "tlsa-invalid"), (STS, "")]),
    // It is signed and has no TLSA record.
    ("signed", &[(STS, "")]),
];

pub(crate) fn every_session(world: &World) {
    let table: BTreeMap<String, Option<&str>> = lab::table()
        .into_iter()
        .map(|entry| (entry.name, entry.result))
        .collect();
    let mut expected: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for (name, rows) in SESSIONS {
        let domain = format!("{name}.test");
        let result = |name: &str| if name.is_empty() { 0 } else { code_of(name) };
        // What the table says of a policy is not written here twice.
        if let ([(STS, word)], Some(Some(known))) = (rows, table.get(&domain)) {
            assert_eq!(word, known, "{domain}");
        }
        expected.insert(
            domain,
            rows.iter().map(|(policy, name)| (*policy, result(name))).collect(),
        );
    }
    for tls in builds() {
        let host = counting_host(world, *tls);
        let mut expected = expected.clone();
        // A defect of Exim with OpenSSL: the process crashes (the table of deviations in table.rs).
        if *tls == Tls::Open {
            expected.remove("dane-unusable.test");
        }
        let to: Vec<String> = expected.keys().map(|domain| format!("c@{domain}")).collect();
        for to in to.chunks(8) {
            host.send_each(to);
        }
        // A message to three recipients of a domain is one delivery that passes a host over.
        let several = ["d@mixed.test", "e@mixed.test", "f@mixed.test"];
        host.send(&several);
        // No report counts a report.
        for domain in ["good", "nopolicy", "mixed", "nomatch", "dane"] {
            host.send_from("reports@sender.test", "", &format!("d@{domain}.test"));
        }
        // A look at an address is no delivery.
        for domain in ["nomatch", "mixed"] {
            let looked_at = host
                .command("exim4")
                .args(["-bt", &format!("d@{domain}.test")])
                .output();
            assert!(looked_at.is_ok());
        }
        assert_eq!(host.panic_log(), "");
        let mut found: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
        for session in journal(&host) {
            let policy = &session["policies"][0];
            let row = (policy["policy-type"].as_i64().unwrap(), code(&session));
            found
                .entry(session["d"].as_str().unwrap().to_owned())
                .or_default()
                .push(row);
            let lines = policy["policy-string"].as_array();
            match row {
                (TLSA, 0) => {
                    assert!(
                        lines.is_some_and(|lines| lines[0].as_str().unwrap().len() == 70),
                        "{session}"
                    );
                    assert!(
                        policy["policy-domain"].as_str().unwrap().starts_with("mx."),
                        "{session}"
                    );
                }
                (STS, _) => assert_eq!(lines.unwrap()[0], "version: STSv1", "{session}"),
                _ => {}
            }
        }
        let mixed = expected["mixed.test"].clone();
        expected.get_mut("mixed.test").unwrap().extend(mixed);
        assert_eq!(found, expected, "{tls:?}");
    }
}

/// A journal that cannot be written: each delivery says so, under whatever policy, and the loss is counted.
pub(crate) fn losses(world: &World) {
    let host = counting_host(world, Tls::Gnu);
    let day = calendar::date(unix_now());
    let directory = format!("/var/lib/mtasts/.report-{day}-sender-test");
    host::run(host.command("mkdir").arg(&directory));
    let to = ["good", "testing", "testing-expired", "nopolicy", "nomatch", "dane"].map(|name| format!("l@{name}.test"));
    for to in &to {
        let outcome = host.send(&[to]);
        let told = outcome
            .log
            .lines()
            .filter(|line| line.contains("mtasts[report-lost]: "));
        let told: Vec<&str> = told.collect();
        assert!(
            told.len() == 1 && told[0].contains("The mail is not affected."),
            "{to}: {}",
            outcome.log
        );
        evidence(to, told[0]);
    }
    assert_eq!(host.panic_log(), "");
    let losses = fs::read_to_string(host.var("lib/mtasts").join(format!(".report-{day}-sender-test.lost")));
    assert_eq!(losses.unwrap(), "w".repeat(to.len()));
}
