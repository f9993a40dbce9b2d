//! `mtasts report visit` on the test Internet: what it counts is what the table says of each domain in testing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use mtasts_kit::{Internet, ask, until};
use mtasts_lab as lab;
use serde_json::Value;

use crate::mtasts;

/// What the journal has of each domain: the kind of policy, and what failed.
fn journal(internet: &Internet) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in journals(internet) {
        for line in fs::read_to_string(file)
            .unwrap()
            .lines()
            .filter(|line| !line.is_empty())
        {
            let session: Value = serde_json::from_str(line).unwrap();
            let policy = &session["policies"][0];
            let detail = &policy["failure-details"][0];
            let code = detail["c"].as_i64().and_then(|code| i32::try_from(code).ok());
            let word = code.map_or("ok", |code| mtasts::ResultType::from_number(code).unwrap().name());
            assert!(
                code.is_none() || word == "validation-failure" || detail["s"].is_string(),
                "{line}"
            );
            let word = match policy["policy-type"].as_i64() {
                Some(1) => format!("tlsa {word}"),
                _ => word.to_owned(),
            };
            let domain = session["d"].as_str().unwrap().to_owned();
            found.entry(domain).or_default().push(word);
        }
    }
    found
}

fn journals(internet: &Internet) -> Vec<PathBuf> {
    let files = fs::read_dir(&internet.cache).unwrap().map(|file| file.unwrap().path());
    let is_one = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().starts_with(".report-");
    files.filter(is_one).collect()
}

/// With the setting `dane` TLSA records are asked for, and what they say is counted apart. The server does it by itself.
#[test]
fn the_server_visits_and_knows_of_dane() {
    let settings = [
        ("timeout", "20s"),
        ("dane", "trust"),
        ("dane_resolver", "198.18.0.53"),
        ("tlsrpt_journal", "on"),
    ];
    mtasts_kit::on_the_internet_with("visit-dane", &settings, |internet| {
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, words) in [
            ("dane-selfsigned", &["tlsa ok"][..]),
            ("dane-mismatch", &["tlsa validation-failure"]),
            ("dane-unusable", &["tlsa tlsa-invalid", "ok"]),
            ("signed", &["ok"]),
        ] {
            let domain = format!("{name}.test");
            let policy = lab::policy_text("testing", &[&format!("mx.{domain}")], 86_400);
            internet
                .lab
                .set(&domain, lab::Change::publish("testing", policy))
                .unwrap();
            ask(&internet.resolver(), &domain);
            expected.insert(domain, words.iter().map(|word| (*word).to_owned()).collect());
        }
        let ran = mtasts(&["report", "visit"]);
        assert_eq!((ran.status, &*ran.err), (0, ""), "{ran:?}");
        assert_eq!(journal(internet), expected);
        journals(internet)
            .into_iter()
            .for_each(|file| fs::remove_file(file).unwrap());
        let log = internet.lab.directory().join("serve.log");
        let mut server = super::command(&["serve", "--listen", "127.0.0.1:8461", "--visit"])
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let said = "visits: 4 domains with a policy in testing, 0 results lost.\n";
        until("the visits of the server", || {
            fs::read_to_string(&log).unwrap().contains(said)
        });
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(journal(internet), expected);
    });
}

#[test]
fn a_visit_counts_what_a_domain_in_testing_shows() {
    mtasts_kit::on_the_internet_with("visit", &[("timeout", "20s")], |internet| {
        let nobody = mtasts(&["report", "visit"]);
        assert!(
            nobody.status == 2 && nobody.err.contains("set tlsrpt_journal or tlsrpt_socket"),
            "{nobody:?}"
        );
        internet.set("tlsrpt_journal = \"on\"");
        let results: BTreeMap<String, Option<&str>> = lab::table()
            .into_iter()
            .map(|entry| (entry.name, entry.result))
            .collect();
        // Of each twin in testing what the table says of the domain that enforces.
        let names = [
            "expired",
            "selfsigned",
            "wrongname",
            "nostarttls",
            "starttls454",
            "nomatch",
        ];
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names {
            let result = results[&format!("{name}.test")].expect("a failure");
            expected.insert(format!("testing-{name}.test"), vec![result.to_owned()]);
        }
        expected.insert("testing.test".to_owned(), vec!["ok".to_owned()]);
        let resolver = internet.resolver();
        for domain in expected
            .keys()
            .map(String::as_str)
            .chain(["good.test", "nopolicy.test", "none.test"])
        {
            ask(&resolver, domain);
        }
        let ran = mtasts(&["report", "visit"]);
        assert_eq!((ran.status, &*ran.err), (0, ""), "{ran:?}");
        let said = format!(
            "visits: {} domains with a policy in testing, 0 results lost\n",
            expected.len()
        );
        assert_eq!(ran.out, said);
        assert_eq!(journal(internet), expected);
        let commands = internet.lab.sessions().into_iter().flat_map(|session| session.commands);
        assert_eq!(
            commands.filter(|line| line.contains("MAIL")).count(),
            0,
            "no mail is sent"
        );
    });
}
