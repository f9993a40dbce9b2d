//! The zone at another name server, by dynamic updates and by a command.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::thread;

use mtasts_kit::until;

use super::dns_tools::{
    KNOT, POWER_DNS, SECONDARY, SECRET, bind, drill, fetch, key_of_bind, knot, power_dns, read, write, zone_of_bind,
};
use super::hosting::{HOST, Hosting, policy};

/// What a relay before a name server does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    Nothing,
    /// It answers an update with the answer to an earlier one.
    Replays,
    /// It answers an update without the signature.
    Strips,
    /// It changes an octet of the signature.
    Forges,
    /// It answers another question.
    Confuses,
    /// It says that nothing is at any name.
    Forgets,
}

/// A relay at port 5353 of this host.
fn relay() -> Arc<Mutex<Lie>> {
    let lie = Arc::new(Mutex::new(Lie::Nothing));
    let (lies, first) = (Arc::clone(&lie), Arc::new(Mutex::new(None)));
    let listener = TcpListener::bind((HOST, 5353)).unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (lies, first) = (Arc::clone(&lies), Arc::clone(&first));
            thread::spawn(move || {
                let mut server = TcpStream::connect((SECONDARY, 53)).ok()?;
                loop {
                    let question = read(&mut client)?;
                    let lie = *lies.lock().unwrap();
                    let is_update = question[2] & 0x78 == 0x28;
                    write(&mut server, &question)?;
                    let mut answer = read(&mut server)?;
                    let first = first.lock().unwrap().get_or_insert_with(|| answer.clone()).clone();
                    match lie {
                        Lie::Replays if is_update => {
                            answer = [&question[..2], &first[2..]].concat();
                        }
                        // The question, and no other section.
                        Lie::Strips if is_update => {
                            let end = 12 + b"\x03sts\x07example\x03net\0".len() + 4;
                            answer.truncate(end);
                            answer[10..12].fill(0);
                        }
                        // The MAC is before the 6 octets behind it (RFC 8945 4.2).
                        Lie::Forges if is_update => {
                            let at = answer.len() - 7;
                            answer[at] ^= 1;
                        }
                        Lie::Confuses if is_update => answer[0] ^= 1,
                        Lie::Forgets if !is_update => {
                            answer = question.clone();
                            answer[2] |= 0x80;
                        }
                        _ => {}
                    }
                    write(&mut client, &answer)?;
                }
                #[allow(unreachable_code)]
                Some(())
            });
        }
    });
    lie
}

/// The settings for updates there.
fn update(hosting: &Hosting, port: u16, secret: &str, domains: &str) {
    hosting.write("secret", secret);
    let server = if port == 53 { SECONDARY } else { HOST };
    hosting.settings(&format!(
        "reports = [\"mailto:tlsrpt@example.net\"]\nhttps = [\"{HOST}:443\"]\n[update]\nserver = \"{server}:{port}\"\nkey = \
         \"update.example\"\nsecret_file = \"{}\"\n{domains}",
        hosting.path("secret").display()
    ));
}

/// A zone without records of ours.
const EMPTY: &str = "$TTL 300\n@ SOA ns.sts.example.net. h.sts.example.net. 1 3600 600 86400 60\n@ NS ns.sts.example.net.\nns A \
                     8.8.8.2\nother TXT \"stays\"\n";

#[test]
fn bind_takes_updates_and_a_name_server_that_lies_is_found_out() {
    fetch("bind9", &["bind9"]);
    let mut hosting = Hosting::new(&["example.com", "example.org"]);
    hosting.write("zone", EMPTY);
    let primary = "type primary; file \"zone\"; allow-update { key \"update.example\"; };";
    let _bind = bind(&hosting, &(key_of_bind("update.example") + &zone_of_bind(primary)));
    let lie = relay();
    let there = |hosting: &Hosting| drill(hosting, SECONDARY, &["-t", "sts.example.net", "AXFR"]).1;
    let all = |hosting: &Hosting| {
        let zone = hosting.ask(&["zone"]);
        zone.lines()
            .map(|line| line.replacen(" 300", "", 1))
            .collect::<BTreeSet<_>>()
    };
    until("the zone", || there(&hosting).len() == 4);
    let empty = there(&hosting);

    // A wrong secret changes nothing.
    let both = policy("example.com", 86_400) + &policy("example.org", 86_400);
    update(&hosting, 53, "YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Q=", &both);
    hosting.start();
    until("a refusal", || {
        hosting
            .log()
            .contains("the name server says that the signature is wrong (BADSIG)")
    });
    assert_eq!(there(&hosting), empty);
    hosting.stop();

    // All of both domains, and nothing else is touched.
    update(&hosting, 5353, SECRET, &both);
    hosting.start();
    until("the records", || all(&hosting).is_subset(&there(&hosting)));
    assert_eq!(there(&hosting).len(), 4 + 6, "{:?}", there(&hosting));
    // A change, which replaces; and a domain that is gone.
    update(&hosting, 5353, SECRET, &policy("example.com", 604_800));
    hosting.reload("settings reloaded");
    until("the new id", || all(&hosting).is_subset(&there(&hosting)));
    assert_eq!(there(&hosting).len(), 4 + 6);
    hosting.ask(&["remove", "example.org", "--force"]);
    until("its end", || there(&hosting).len() == 4 + 3);
    assert!(all(&hosting).is_subset(&there(&hosting)));
    assert!(there(&hosting).contains("other.sts.example.net. IN TXT \"stays\""));

    // One that leaves while this host does not run.
    update(&hosting, 5353, SECRET, &both);
    hosting.reload("settings reloaded");
    until("its return", || there(&hosting).len() == 4 + 6);
    hosting.stop();
    update(&hosting, 5353, SECRET, &policy("example.com", 604_800));
    hosting.ask(&["remove", "example.org", "--force"]);
    hosting.start();
    until("its end", || there(&hosting).len() == 4 + 3);
    assert!(all(&hosting).is_subset(&there(&hosting)));

    for (what, max_age, expected) in [
        (Lie::Replays, 700_000, "the signature of the answer is wrong"),
        (Lie::Strips, 710_000, "the answer is not signed"),
        (Lie::Forges, 720_000, "the signature of the answer is wrong"),
        (Lie::Confuses, 730_000, "the name server answers something else"),
        (Lie::Forgets, 800_000, "the name server has taken the update, and "),
    ] {
        // It starts with the lie: what has failed is tried again after a minute, whatever the settings say then.
        hosting.stop();
        *lie.lock().unwrap() = what;
        update(&hosting, 5353, SECRET, &policy("example.com", max_age));
        hosting.start();
        until(expected, || hosting.log().contains(expected));
    }
    hosting.stop();
}

/// BIND takes updates into another view than the one that is seen: it says NOERROR, with a signature, and nothing changes.
#[test]
fn a_name_server_that_takes_an_update_and_does_nothing_is_found_out() {
    fetch("bind9", &["bind9"]);
    let mut hosting = Hosting::new(&["example.com"]);
    update(&hosting, 53, SECRET, &policy("example.com", 86_400));
    hosting.ask(&["add", "example.com"]);
    let ours = hosting.ask(&["zone"]);
    let of_kind = |is_text: bool| {
        let lines = ours.lines().filter(|line| line.contains(" TXT ") == is_text);
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let views = |hosting: &Hosting, seen: &str| {
        let view = |name: &str, clients: &str, text: &str| {
            format!(
                "view \"{name}\" {{ match-clients {{ {clients}; }}; {} }};\n",
                zone_of_bind(text)
            )
        };
        // A server that was killed leaves its journal, which is not that of this file.
        let _ = fs::remove_file(hosting.path("taken.jnl"));
        hosting.write("taken", EMPTY);
        hosting.write("seen", &(EMPTY.to_owned() + seen));
        let taken = "type primary; file \"taken\"; allow-update { key \"update.example\"; };";
        key_of_bind("update.example")
            + &view("taken", "key update.example", taken)
            + &view("seen", "any", "type primary; file \"seen\";")
    };
    // Nothing is there; all but the addresses; all but the texts.
    for (seen, is_missing) in [
        (String::new(), ".sts.example.net has not changed there"),
        (of_kind(true), ".sts.example.net has not changed there"),
        (of_kind(false), "_mta-sts."),
    ] {
        let bind = bind(&hosting, &views(&hosting, &seen));
        hosting.start();
        until("what is missing", || {
            let log = hosting.log();
            log.lines()
                .any(|line| line.contains("the name server has taken the update, and ") && line.contains(is_missing))
        });
        hosting.stop();
        drop(bind);
    }
    // All of it is there.
    let _bind = bind(&hosting, &views(&hosting, &ours));
    hosting.start();
    thread::sleep(std::time::Duration::from_secs(2));
    assert!(!hosting.log().contains("is not updated"), "{}", hosting.log());
    hosting.stop();
}

#[test]
fn knot_takes_updates() {
    fetch("knot", &["knot", "knot-dnsutils"]);
    let hosting = Hosting::new(&[]);
    fs::create_dir(hosting.path("knot")).unwrap();
    hosting.write(
        "knot/sts.example.net.zone",
        &format!("$ORIGIN sts.example.net.\n{EMPTY}"),
    );
    let knot = knot(
        &hosting,
        "update.example",
        "acl:\n  - id: update\n    key: update.example\n    action: update\n  - id: all\n    address: [8.8.8.0/24, 127.0.0.0/8]\n    action: \
         transfer\nzone:\n  - domain: sts.example.net\n    acl: [update, all]\n",
    );
    takes_updates(hosting, KNOT);
    drop(knot);
}

#[test]
fn power_dns_takes_updates() {
    fetch("pdns", &["pdns-server", "pdns-backend-sqlite3"]);
    let hosting = Hosting::new(&[]);
    hosting.write("zone", &format!("$ORIGIN sts.example.net.\n{EMPTY}"));
    let power_dns = power_dns(&hosting, "update.example", "zone");
    takes_updates(hosting, POWER_DNS);
    drop(power_dns);
}

/// The name server at this address, which has the zone without records of ours.
fn takes_updates(mut hosting: Hosting, server: &str) {
    let set = |hosting: &Hosting, domains: &str| {
        hosting.write("secret", SECRET);
        hosting.settings(&format!(
            "reports = [\"mailto:tlsrpt@example.net\"]\nhttps = [\"{HOST}:443\"]\n[update]\nserver = \"{server}\"\nkey = \
             \"update.example\"\nsecret_file = \"{}\"\n{domains}",
            hosting.path("secret").display()
        ));
    };
    let there = |hosting: &Hosting| drill(hosting, server, &["-t", "sts.example.net", "AXFR"]).1;
    let all = |hosting: &Hosting| {
        let zone = hosting.ask(&["zone"]);
        let lines = zone.lines().map(|line| line.replacen(" 300", "", 1));
        lines.collect::<BTreeSet<_>>()
    };
    until("the zone", || there(&hosting).len() == 4);
    set(
        &hosting,
        &(policy("example.com", 86_400) + &policy("example.org", 86_400)),
    );
    hosting.start();
    until("the records", || all(&hosting).is_subset(&there(&hosting)));
    assert_eq!(there(&hosting).len(), 4 + 6);
    set(&hosting, &policy("example.com", 604_800));
    hosting.reload("settings reloaded");
    hosting.ask(&["remove", "example.org", "--force"]);
    until("its end", || there(&hosting).len() == 4 + 3);
    until("the new id", || all(&hosting).is_subset(&there(&hosting)));
    hosting.stop();
}

#[test]
fn a_command_publishes_what_is_served() {
    let mut hosting = Hosting::new(&[]);
    let copy = hosting.path("ledger/copy");
    // It counts its runs and copies the file. While `copy.no` is there it fails.
    let script = format!(
        "#!/bin/sh\nset -e\n[ \"$MTASTS_ZONE\" = sts.example.net ]\n[ ! -e {copy}.no ] || {{ echo \"no way\" >&2; exit 3; }}\necho \
         >>{copy}.count\ncp \"$MTASTS_FILE\" {copy}.$1\n",
        copy = copy.display()
    );
    hosting.write("publish", &script);
    fs::set_permissions(hosting.path("publish"), PermissionsExt::from_mode(0o755)).unwrap();
    let set = |hosting: &Hosting, max_age| {
        hosting.settings(&format!(
            "proxy = [\"127.0.0.1:8080\"]\n[publish]\nfile = \"{}\"\nexec = [\"{}\", \"done\"]\n{}",
            hosting.path("ledger/zone").display(),
            hosting.path("publish").display(),
            policy("example.com", max_age)
        ));
    };
    let published = |hosting: &Hosting| fs::read_to_string(hosting.path("ledger/copy.done")).unwrap_or_default();
    let count = |hosting: &Hosting| fs::read_to_string(hosting.path("ledger/copy.count")).unwrap().len();
    set(&hosting, 86_400);
    hosting.start();
    until("the records", || published(&hosting) == hosting.ask(&["zone"]));
    // What has not changed is not published again.
    hosting.reload("settings reloaded");
    thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(count(&hosting), 1);
    set(&hosting, 604_800);
    hosting.reload("settings reloaded");
    until("the new id", || published(&hosting) == hosting.ask(&["zone"]));
    assert_eq!(count(&hosting), 2);
    // A failure is told with what it says.
    fs::write(hosting.path("ledger/copy.no"), "").unwrap();
    set(&hosting, 604_801);
    hosting.reload("settings reloaded");
    until("a complaint", || {
        hosting.log().contains("the records are not published: ")
            && hosting.log().contains("exit status: 3: no way; it is tried again")
    });
    hosting.stop();
}
