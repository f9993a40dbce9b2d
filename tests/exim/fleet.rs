//! Each delivery of Exim is a process of its own, and many are on their way at a time: all share the server of a fleet.

use std::fs;

use mtasts_kit::until;
use mtasts_kit::valkey::Valkey;

use super::host::{self, Config, Fate, Tls};
use super::{World, evidence};

/// How many of Exim's processes deliver at a time.
const AT_ONCE: usize = 100;

/// `FLEET_MAILS` mails, or 40: each asks the server, none is judged by the policy of another domain, and nothing is left.
pub(crate) fn children_in_flight(world: &World) {
    let mails = std::env::var("FLEET_MAILS").map_or(40, |text| text.parse().unwrap());
    let server = Valkey::start(&world.folder().join("valkey"), &[]);
    let host = world.host(Tls::Gnu, &Config::Complete);
    let settings = format!(
        "{}fleet = \"{}\"\nfleet_key_file = \"/etc/mtasts/fleet.key\"\ntxt_life_min = 0\ntxt_life_max = 0\n",
        host::SETTINGS,
        server.address()
    );
    fs::write(host.etc("mtasts/mtasts.toml"), settings).unwrap();
    fs::write(host.etc("mtasts/fleet.key"), format!("key {}\n", "ab".repeat(32))).unwrap();
    for owner in [&["chgrp", "mtasts"], &["chmod", "640"]] {
        host::run(host.command(owner[0]).args([owner[1], "/etc/mtasts/fleet.key"]));
    }
    let domains = [
        ("good.test", Fate::Delivered, " T=remote_smtp_mtasts "),
        ("selfsigned.test", Fate::Deferred, " T=remote_smtp_mtasts "),
        ("testing.test", Fate::Delivered, " T=remote_smtp_testing "),
        ("nopolicy.test", Fate::Delivered, " T=remote_smtp "),
    ];
    let recipient = |number: usize| format!("u{number}@{}", domains[number % domains.len()].0);
    let before = server.connections();
    // On a busy machine the server may be late. The mail goes out all the same.
    let mut late = 0;
    for first in (0..mails).step_by(AT_ONCE) {
        let numbers = first..mails.min(first + AT_ONCE);
        let recipients: Vec<String> = numbers.clone().map(recipient).collect();
        // Or the mail to a host that was not good enough is not tried.
        host.forget();
        let outcome = host.send_each(&recipients);
        for number in numbers {
            let (domain, fate, transport) = domains[number % domains.len()];
            let (became, line) = outcome.of(&recipient(number));
            assert_eq!(became, fate, "{domain}: {line}");
            assert!(line.contains(transport), "{domain}: {line}");
        }
        late += outcome.log.matches(" in time").count();
    }
    let asked = server.connections() - before;
    assert!(asked >= mails as u64, "{asked} connections of {mails} mails");
    // One is that of the question itself.
    until("the end of all connections", || {
        server.says(&["CLIENT", "LIST"]).lines().count() == 1
    });
    assert_eq!(host.panic_log(), "");
    evidence(
        &format!("{mails} mails, {} at a time", AT_ONCE.min(mails)),
        &format!("{asked} connections to the server, none is left; it was late for {late}"),
    );
}
