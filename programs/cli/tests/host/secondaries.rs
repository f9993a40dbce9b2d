//! Name servers that copy the zone, by signed transfers.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use mtasts_kit::until;

use super::dns_tools::{
    KNOT, SECONDARY, SECRET, ask, bind, fetch, from_address, key_of_bind, knot, read, settings, write, zone_of_bind,
};
use super::hosting::{HOST, Hosting, policy};

/// The table of the settings for this key.
fn transfer(hosting: &Hosting) -> String {
    hosting.write("transfer.key", SECRET);
    format!(
        "[transfer]\nkey = \"transfer.example\"\nsecret_file = \"{}\"\n",
        hosting.path("transfer.key").display()
    )
}

#[test]
fn secondaries_that_sign_copy_the_same_zone() {
    fetch("bind9", &["bind9"]);
    fetch("dig", &["bind9-dnsutils"]);
    fetch("knot", &["knot", "knot-dnsutils"]);
    let mut hosting = Hosting::new(&[]);
    // More than fit into one message.
    let domains = |max_age| {
        let names = (0..40).map(|n| policy(&format!("d{n}.example"), if n == 7 { max_age } else { 86_400 }));
        names.collect::<String>()
    };
    let set = |hosting: &Hosting, max_age| {
        settings(hosting, &(transfer(hosting) + &domains(max_age)));
        let text = fs::read_to_string(hosting.path("host.toml")).unwrap();
        let both = format!("secondaries = [\"{SECONDARY}\", \"{KNOT}\"]");
        hosting.write(
            "host.toml",
            &text.replace(&format!("secondaries = [\"{SECONDARY}\"]"), &both),
        );
    };
    set(&hosting, 86_400);
    hosting.start();
    let at = format!("@{HOST}");
    let signed = format!("hmac-sha256:transfer.example:{SECRET}");
    let dig = |arguments: &[&str]| ask("dig", "bin/dig", &[&[at.as_str()], arguments].concat());
    let kdig = |arguments: &[&str]| ask("knot", "bin/kdig", &[&[at.as_str()], arguments].concat());
    let zone = ["sts.example.net", "AXFR"];
    // Neither from another address, nor without the key, nor with another one.
    let wrong = format!("hmac-sha256:transfer.example:{}", SECRET.replace("c2Vj", "d2Vj"));
    let unknown = format!("hmac-sha256:other.example:{SECRET}");
    for (arguments, expected) in [
        (&["-b", HOST, "-y", &signed][..], "Transfer failed"),
        (&["-b", SECONDARY], "Transfer failed"),
        (&["-b", SECONDARY, "-y", &wrong], "BADSIG"),
        (&["-b", SECONDARY, "-y", &unknown], "BADKEY"),
    ] {
        let (records, text) = dig(&[arguments, &zone].concat());
        assert!(records.is_empty() && text.contains(expected), "{arguments:?}: {text}");
    }
    let (ours, text) = dig(&["-b", SECONDARY, "-y", &signed, zone[0], zone[1]]);
    assert_eq!(ours.len(), 1 + 3 + 40 * 3, "{text}");
    assert!(!text.contains("WARNING") && !text.contains("Couldn't verify"), "{text}");
    let (seen, text) = kdig(&["-b", SECONDARY, "-y", &signed, zone[0], zone[1]]);
    assert_eq!(seen, ours, "{text}");
    // A secondary asks so over UDP whether there is something new. Who validates gets an answer too.
    for arguments in [
        &["+norec", "-y", &signed, "sts.example.net", "SOA"][..],
        &["+norec", "+dnssec", "sts.example.net", "SOA"],
        &["+norec", "+tcp", "+dnssec", "-y", &signed, "sts.example.net", "SOA"],
    ] {
        for (records, text) in [dig(arguments), kdig(arguments)] {
            assert!(
                records.len() == 1 && ours.is_superset(&records),
                "{arguments:?}: {text}"
            );
            assert!(!text.to_ascii_lowercase().contains("warning"), "{arguments:?}: {text}");
        }
    }

    let primaries = format!(
        "type secondary; primaries {{ {HOST} key \"transfer.example\"; }}; allow-notify {{ {HOST}; {SECONDARY}; }};"
    );
    let _bind = bind(&hosting, &(key_of_bind("transfer.example") + &zone_of_bind(&primaries)));
    let _knot = knot(
        &hosting,
        "transfer.example",
        &format!(
            "remote:\n  - id: primary\n    address: {HOST}@53\n    via: {KNOT}\n    key: transfer.example\nacl:\n  - id: primary\n    \
             address: [{HOST}, 127.0.0.0/8]\n    key: transfer.example\n    action: notify\n  - id: all\n    address: [8.8.8.0/24, \
             127.0.0.0/8]\n    action: transfer\nzone:\n  - domain: sts.example.net\n    master: primary\n    acl: [primary, all]\n"
        ),
    );
    let same = |expected: &BTreeSet<String>| {
        for secondary in [SECONDARY, KNOT] {
            let at = format!("@{secondary}");
            until(secondary, || {
                let (copy, _) = ask("dig", "bin/dig", &[&at, zone[0], zone[1]]);
                copy == *expected
            });
        }
    };
    same(&ours);
    // Both are told of a change.
    set(&hosting, 604_800);
    hosting.reload("settings reloaded");
    let (changed, _) = dig(&["-b", SECONDARY, "-y", &signed, zone[0], zone[1]]);
    assert_eq!(changed.difference(&ours).count(), 2, "the SOA and an id");
    same(&changed);
    hosting.stop();
}

/// What dig asks with the key, heard on the way from the secondary; and what dig says of the answer.
fn overheard(question: &[&str]) -> (Vec<u8>, String) {
    let listener = TcpListener::bind((SECONDARY, 53)).unwrap();
    let relay = thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let question = read(&mut client).unwrap();
        let mut server = from_address(SECONDARY, 53);
        write(&mut server, &question).unwrap();
        write(&mut client, &read(&mut server).unwrap()).unwrap();
        question
    });
    let (at, key) = (
        format!("@{SECONDARY}"),
        format!("hmac-sha256:transfer.example:{SECRET}"),
    );
    let (_, text) = ask(
        "dig",
        "bin/dig",
        &[&[at.as_str(), "+tcp", "-y", &key], question].concat(),
    );
    (relay.join().unwrap(), text)
}

#[test]
fn a_signed_request_gets_the_zone_once() {
    fetch("dig", &["bind9-dnsutils"]);
    let mut hosting = Hosting::new(&[]);
    settings(&hosting, &(transfer(&hosting) + &policy("example.com", 86_400)));
    hosting.start();
    // The code, the number of records, and what is wrong with the signature.
    let again = |request: &[u8]| {
        let mut server = from_address(SECONDARY, 53);
        write(&mut server, request).unwrap();
        let answer = read(&mut server).unwrap();
        // RFC 8945 4.2: the error is before the 6 octets of our time, which BADTIME alone has.
        let error = &answer[answer.len() - 10..answer.len() - 8];
        (answer[3] & 0x0f, answer[7], error.to_vec())
    };
    let late = (9, 0, vec![0, 18]);
    for kind in ["AXFR", "IXFR=1"] {
        let (request, text) = overheard(&["sts.example.net", kind]);
        assert!(text.contains(" IN\tTXT\t") || text.contains("_mta-sts."), "{text}");
        assert_eq!(again(&request), late, "{kind}");
        assert_eq!(again(&request), late, "{kind}");
        // Nor by a server that was started again meanwhile.
        thread::sleep(Duration::from_millis(1100));
        hosting.stop();
        hosting.start();
        assert_eq!(again(&request), late, "{kind}");
    }
    // What anybody may ask may be sent again, as a secondary does when an answer over UDP is lost.
    let (request, text) = overheard(&["sts.example.net", "SOA", "+norec"]);
    assert!(text.contains("SOA\tns1.sts.example.net."), "{text}");
    for _ in 0..2 {
        let (code, records, _) = again(&request);
        assert_eq!((code, records), (0, 1));
    }
    hosting.stop();
}
