//! `mtasts report visit` on the test Internet: what it counts is what the table says of each domain in testing.

use std::collections::BTreeMap;
use std::fs;

use mtasts_kit::ask;
use mtasts_lab as lab;
use serde_json::Value;

use crate::mtasts;

#[test]
fn a_visit_counts_what_a_domain_in_testing_shows() {
    mtasts_kit::on_the_internet_with("visit", &[("timeout", "2s")], |internet| {
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
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let files = fs::read_dir(&internet.cache).unwrap().map(Result::unwrap);
        for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(".report-")) {
            for line in fs::read_to_string(file.path())
                .unwrap()
                .lines()
                .filter(|line| !line.is_empty())
            {
                let session: Value = serde_json::from_str(line).unwrap();
                let detail = &session["policies"][0]["failure-details"][0];
                let code = detail["c"].as_i64().and_then(|code| i32::try_from(code).ok());
                let word = code.map_or("ok", |code| mtasts::ResultType::from_number(code).unwrap().name());
                assert!(
                    code.is_none() || word == "validation-failure" || detail["s"].is_string(),
                    "{line}"
                );
                let domain = session["d"].as_str().unwrap().to_owned();
                found.entry(domain).or_default().push(word.to_owned());
            }
        }
        assert_eq!(found, expected);
        let commands = internet.lab.sessions().into_iter().flat_map(|session| session.commands);
        assert_eq!(
            commands.filter(|line| line.contains("MAIL")).count(),
            0,
            "no mail is sent"
        );
    });
}
