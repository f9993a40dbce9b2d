//! One message to every domain of the test Internet.

use super::host::{Config, Tls};
use super::judge::judge;
use super::{World, evidence};
use mtasts::lab::{self, Entry};

/// Known deviations of Exim itself, which no configuration mends. One that is gone fails the test.
const DEVIATIONS: &[(Tls, &str, &str)] = &[];

/// The MX hosts of these say nothing until Exim's five minutes are over; see `silent_hosts`.
fn silent(entry: &Entry) -> bool {
    ["tls-silent.test", "blackhole.test"].contains(&entry.name.as_str())
}

/// One message to each domain, and nothing that the table does not allow.
pub(crate) fn every_domain(world: &World, tls: Tls, config: &Config) {
    let mut wrong = Vec::new();
    let host = world.host(tls, config);
    for entry in lab::table().iter().filter(|entry| !silent(entry)) {
        let to = format!("table@{}", entry.name);
        let outcome = host.send(&[&to]);
        let verdict = judge(entry, &to, &outcome, &world.mail(&to));
        let deviates = DEVIATIONS.iter().any(|(build, name, _)| *build == tls && *name == entry.name);
        if verdict.right == deviates {
            wrong.push(format!("{} ({}): {}\n{}", entry.name, entry.wrong, verdict.did, outcome.log));
        }
        evidence(&format!("{} ({}): {}", entry.name, entry.wrong, verdict.did), &verdict.line);
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
