//! One message to every domain of the test Internet.

use super::host::{self, Config, Tls};
use super::judge::judge;
use super::{BUILDS, World, evidence};
use mtasts_lab as lab;

/// Where the table is not followed, and why. One that is gone fails the test.
const DEVIATIONS: &[(&[Tls], &str, &str)] = &[
    (
        BUILDS,
        "nullmx.test",
        "a null MX against an enforced policy that lists hosts may be forged: mail waits",
    ),
    (
        &[Tls::Gnu],
        "clientonly.test",
        "GnuTLS takes a certificate that is for TLS clients only",
    ),
    (
        &[Tls::Open],
        "dane-unusable.test",
        "a defect of Exim: the delivery process crashes (dane_tlsa_load sets no error text)",
    ),
    (
        &[Tls::Gnu],
        "dane-ta-wrongname.test",
        "a defect of Exim: with DANE-TA, GnuTLS is not asked for the host's name",
    ),
];

/// The MX hosts of these say nothing until Exim's five minutes are over; see [`silent_hosts`].
const SILENT: &[&str] = &["tls-silent.test", "blackhole.test"];

/// One message to each domain, and nothing that the table does not allow.
pub(crate) fn every_domain(world: &World, tls: Tls, config: &Config) {
    let mut wrong = Vec::new();
    let host = world.host(tls, config);
    let table = lab::table();
    let table: Vec<_> = table
        .iter()
        .filter(|entry| !SILENT.contains(&entry.name.as_str()))
        .collect();
    // Some at a time, because some are slow.
    for entries in table.chunks(8) {
        let recipients: Vec<_> = entries.iter().map(|entry| format!("table@{}", entry.name)).collect();
        let outcome = host.send_each(&recipients);
        for (entry, to) in entries.iter().zip(&recipients) {
            let verdict = judge(entry, to, &outcome, &world.mail(to));
            let deviates = DEVIATIONS
                .iter()
                .any(|(builds, name, _)| builds.contains(&tls) && *name == entry.name);
            if verdict.right == deviates {
                wrong.push(format!(
                    "{} ({}): {}\n{}",
                    entry.name, entry.wrong, verdict.did, verdict.line
                ));
            }
            evidence(
                &format!("{} ({}): {}", entry.name, entry.wrong, verdict.did),
                &verdict.line,
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The hosts that keep silent, with less patience.
pub(crate) fn silent_hosts(world: &World) {
    let impatient = host::edited(&[(
        "  multi_domain = false\n",
        "  multi_domain = false\n  command_timeout = 2s\n",
    )]);
    for tls in BUILDS {
        let host = world.host(*tls, &impatient);
        for entry in lab::table()
            .iter()
            .filter(|entry| SILENT.contains(&entry.name.as_str()))
        {
            let to = format!("table@{}", entry.name);
            let outcome = host.send(&[&to]);
            let verdict = judge(entry, &to, &outcome, &world.mail(&to));
            assert!(verdict.right, "{}: {}\n{}", entry.name, verdict.did, outcome.log);
            evidence(
                &format!("{} ({}): {}", entry.name, entry.wrong, verdict.did),
                &verdict.line,
            );
        }
    }
}
