//! One message to every domain of the test Internet.

use super::host::{self, Config, Host, Tls};
use super::judge::fate;
use super::{World, builds};
use mtasts_kit::drivers::follow;
use mtasts_lab::judge::{End, Rules};
use mtasts_lab::{self as lab, Entry};

/// Where the table is not followed, what is done instead, and why. One that is gone fails the test.
const DEVIATIONS: &[(Tls, &str, End, &str)] = &[
    (
        Tls::Gnu,
        "clientonly.test",
        End::Verified,
        "GnuTLS takes a certificate that is for TLS clients only",
    ),
    (
        Tls::Open,
        "dane-unusable.test",
        End::Deferred,
        "a defect of Exim: the delivery process crashes (dane_tlsa_load sets no error text)",
    ),
];

/// The same for Debian's configuration and GnuTLS. `mtasts exim install` leaves Debian's own transport as it is, which has
/// the mail without a policy (docs/exim.md has the line that closes it).
const DEVIATION_OF_DEBIAN: (&str, End, &str) = (
    "dane-ta-wrongname-nopolicy.test",
    End::Verified,
    "a defect of Exim: under DANE-TA, GnuTLS takes any name if a public CA vouches for the chain",
);

/// The same for Exim 4.97 of Ubuntu noble with GnuTLS; with OpenSSL it follows the table, as Exim 4.96 and 4.98 do.
const DEVIATION_OF_NOBLE: (&str, End, &str) = (
    "empty-subject.test",
    End::Deferred,
    "a defect of Exim 4.97 with GnuTLS: a certificate whose subject is empty counts as none",
);

/// The MX hosts of these say nothing until Exim's five minutes are over; see [`silent_hosts`].
const SILENT: &[&str] = &["tls-silent.test", "blackhole.test"];

/// The rows with silent hosts, or all others.
fn cases(silent: bool) -> Vec<Entry> {
    let mut cases = lab::table();
    cases.retain(|entry| SILENT.contains(&entry.name.as_str()) == silent);
    cases
}

/// One message to each domain, and nothing that the table does not allow.
pub(crate) fn every_domain(world: &World, tls: Tls, config: &Config) {
    let is_debian = matches!(config, Config::Debian) && tls == Tls::Gnu;
    let more = is_debian.then_some(DEVIATION_OF_DEBIAN);
    every_domain_from(world, &world.host(tls, config), tls, more.as_slice());
}

/// The same from a host that is there.
pub(crate) fn every_domain_from(world: &World, host: &Host, tls: Tls, more: &[(&str, End, &str)]) {
    let mut fates = Vec::new();
    // The retry time of a host that failed is a second: other mail to the host comes before.
    let mut rows = cases(false);
    rows.sort_by_key(|entry| ["shared.test", "shared-strict.test"].contains(&entry.name.as_str()));
    // Some at a time, because some are slow.
    for entries in rows.chunks(8) {
        let recipients: Vec<_> = entries.iter().map(|entry| format!("table@{}", entry.name)).collect();
        let outcome = host.send_each(&recipients);
        fates.extend(recipients.iter().map(|to| fate(to, &outcome)));
    }
    let differs = DEVIATIONS.iter().filter(|(build, ..)| *build == tls);
    let mut differs: Vec<(String, End)> = differs.map(|(_, name, end, _)| ((*name).to_owned(), *end)).collect();
    let noble = (host::is_noble() && tls == Tls::Gnu).then_some(DEVIATION_OF_NOBLE);
    differs.extend(
        more.iter()
            .chain(&noble)
            .map(|(name, end, _)| ((*name).to_owned(), *end)),
    );
    let rules = Rules {
        dane: true,
        results: false,
        differs,
    };
    follow(&world.lab, &rows, &fates, &rules);
    // The reader of a bounce sees what DNS gives beside what the policy lists.
    let unlisted = fates.iter().find(|fate| fate.domain == "nomatch.test").unwrap();
    assert!(
        unlisted.words.contains("; DNS gives: mx.nomatch.test)"),
        "{}",
        unlisted.words
    );
}

/// The hosts that keep silent, with less patience.
pub(crate) fn silent_hosts(world: &World) {
    let impatient = host::edited(&[(
        "  multi_domain = false\n",
        "  multi_domain = false\n  command_timeout = 2s\n",
    )]);
    for tls in builds() {
        let host = world.host(*tls, &impatient);
        let recipients: Vec<_> = cases(true)
            .iter()
            .map(|entry| format!("table@{}", entry.name))
            .collect();
        let fates = recipients.iter().map(|to| fate(to, &host.send(&[to])));
        follow(&world.lab, &cases(true), &fates.collect::<Vec<_>>(), &Rules::default());
    }
}
