//! Certificates from a real authority, and from one that lies.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use std::{fs, thread};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use mtasts_kit::{pki, until};
use serde_json::{Value, json};

use super::authority::{Answer, Door, Pebble};
use super::hosting::{Hosting, exchange, mode, policy};

const HTTPS: &str = "https = [\"8.8.8.1:443\"]\n";

fn settings(hosting: &Hosting, before: &str, is_door: bool, acme: &str, domains: &[&str]) {
    let domains: String = domains.iter().map(|domain| policy(domain, 86_400)).collect();
    let acme = Pebble::settings(hosting, is_door, acme);
    hosting.settings(&format!("{HTTPS}{before}{acme}{domains}"));
    // The files of another client come second.
    let text = fs::read_to_string(hosting.path("host.toml")).unwrap();
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("certificates")).collect();
    hosting.write("host.toml", &text.join("\n"));
}

/// Whether the authority's certificate is served for a domain.
fn is_served(hosting: &Hosting, domain: &str) -> bool {
    let name = format!("mta-sts.{domain}");
    let fetched = hosting
        .connect(&name)
        .and_then(|mut stream| exchange(&mut stream, &name));
    fetched.is_ok_and(|(_, text)| text == hosting.ask(&["policy", domain]))
}

/// What the ledger has.
fn ledger(hosting: &Hosting, query: &str) -> i64 {
    let ledger = rusqlite::Connection::open(hosting.path("ledger/ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(5)).unwrap();
    ledger.query_row(query, (), |row| row.get(0)).unwrap()
}

fn change(hosting: &Hosting, statement: &str) {
    let ledger = rusqlite::Connection::open(hosting.path("ledger/ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(5)).unwrap();
    ledger.execute_batch(statement).unwrap();
}

#[test]
fn every_host_gets_a_certificate_and_a_restart_orders_none() {
    let names: Vec<String> = (0..12).map(|n| format!("d{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    // The limit of the settings is that of the authority's count.
    settings(&hosting, "", false, "orders = 5\n", &names);
    hosting.start();
    until("five orders", || pebble.said("Added order") == 5);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(pebble.said("Added order"), 5);
    hosting.stop();
    let contact = "contact = [\"mailto:hostmaster@example.net\"]\n";
    settings(&hosting, "", false, contact, &names);
    hosting.start();
    pebble.is_trusted(&hosting);
    for name in &names {
        until(name, || is_served(&hosting, name));
    }
    // One order each although the authority rejects nonces, and one account.
    assert_eq!(
        (pebble.accounts(), pebble.orders()),
        (1, names.len()),
        "{}",
        hosting.log()
    );
    for file in fs::read_dir(hosting.path("ledger")).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    // Each has a key of its own.
    assert_eq!(ledger(&hosting, "SELECT count(DISTINCT key) FROM certificate"), 12);
    hosting.stop();
    hosting.start();
    for name in &names {
        assert!(is_served(&hosting, name), "at once: {name}");
    }
    thread::sleep(Duration::from_millis(1500));
    assert_eq!((pebble.accounts(), pebble.orders()), (1, names.len()));

    // At two thirds of its life there is a new one with a new key, for the same account.
    change(&hosting, "UPDATE certificate SET renew = 0 WHERE domain = 'd3.example'");
    hosting.stop();
    hosting.start();
    until("a renewal", || {
        hosting.log().contains("mta-sts.d3.example has a certificate")
    });
    assert_eq!((pebble.accounts(), pebble.orders()), (1, names.len() + 1));
    assert_eq!(ledger(&hosting, "SELECT count(DISTINCT key) FROM certificate"), 12);
    hosting.stop();
}

#[test]
fn by_http_and_what_fails_before_costs_no_order() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let elsewhere = json!({ "host": "mta-sts.away.example.", "addresses": ["8.8.8.2"] });
    pebble.names("add-a", &elsewhere);
    pebble.names("set-servfail", &json!({ "host": "mta-sts.broken.example." }));
    let http = "http = [\"8.8.8.1:80\"]\n";
    let all = ["good.example", "away.example", "broken.example"];
    let http = format!("{http}metrics = [\"127.0.0.1:9106\"]\n");
    settings(&hosting, &http, false, "challenge = \"http-01\"\n", &all);
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a certificate", || is_served(&hosting, "good.example"));
    for why in [
        "mta-sts.away.example leads to 8.8.8.2, which is not in the setting addresses",
        "the addresses of mta-sts.broken.example cannot be looked up",
    ] {
        until(why, || hosting.log().contains(why));
    }
    assert_eq!(pebble.orders(), 1);
    // Numbers alone, and only there.
    let metrics = |path: &str| {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:9106").unwrap();
        std::io::Write::write_all(&mut stream, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    let text = metrics("/metrics");
    for line in [
        "mtasts_host_policies{mode=\"enforce\"} 3",
        "mtasts_host_policies{mode=\"testing\"} 0",
        "mtasts_host_certificates 1",
        "mtasts_host_certificate_failures 2",
        "mtasts_host_steps_refused 0",
        "mtasts_host_connections 1",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
    }
    let end = text.split("mtasts_host_certificate_first_end_seconds ").last().unwrap();
    let end: i64 = end.lines().next().unwrap().parse().unwrap();
    assert_eq!(end, ledger(&hosting, "SELECT min(ends) FROM certificate"));
    assert!(text.ends_with("\n# EOF\n") && !text.contains(".example"), "{text}");
    assert!(metrics("/").starts_with("HTTP/1.0 404"));
    // It is said once, and tried again when the operator wants it.
    pebble.names("clear-a", &json!({ "host": "mta-sts.away.example." }));
    hosting.reload("settings reloaded");
    until("a certificate", || is_served(&hosting, "away.example"));
    assert_eq!(pebble.orders(), 2);
    assert_eq!(
        hosting
            .log()
            .matches("mta-sts.broken.example gets no certificate")
            .count(),
        1
    );
    let page = hosting.command(&["status", "broken.example"]).output().unwrap();
    let text = String::from_utf8(page.stdout).unwrap();
    assert!(
        text.contains("no certificate: ") && page.status.code() == Some(1),
        "{text}"
    );
    hosting.stop();
}

/// An authority that wants to know its customer, with profiles of its own.
#[test]
fn an_account_is_bound_to_a_customer() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut hosting = Pebble::hosting();
    let customers = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": KEY } });
    let pebble = Pebble::start_with(&hosting, 0, customers);
    let file = hosting.path("eab");
    let eab = format!("eab_kid = \"kid-1\"\neab_key_file = \"{}\"\n", file.display());
    for (key, more, why) in [
        ("", "", "externalAccountRequired"),
        ("", eab.as_str(), "gets no certificate: "),
        ("c3RyYW5nZXI=", &eab, "gets no certificate: "),
    ] {
        hosting.write("eab", key);
        settings(&hosting, "", false, more, &["example.com"]);
        hosting.start();
        until(why, || hosting.log().contains("gets no certificate: "));
        assert!(hosting.log().contains(why), "{}", hosting.log());
        hosting.stop();
        change(&hosting, "DELETE FROM attempt");
    }
    assert_eq!(pebble.accounts(), 0);
    change(&hosting, "DELETE FROM account");
    hosting.write("eab", KEY);
    settings(&hosting, "", false, &eab, &["example.com"]);
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a certificate", || is_served(&hosting, "example.com"));
    // The account stays, without the key of the customer.
    hosting.stop();
    hosting.write("eab", "");
    change(&hosting, "UPDATE certificate SET renew = 0");
    hosting.start();
    until("a renewal", || {
        hosting.log().contains("mta-sts.example.com has a certificate")
    });
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 2));
    hosting.stop();
}

#[test]
fn a_process_that_is_killed_loses_no_order() {
    let mut hosting = Pebble::hosting();
    // The authority takes its time to look.
    let pebble = Pebble::start(&hosting, 3);
    settings(&hosting, "", false, "", &["example.com"]);
    hosting.start();
    pebble.is_trusted(&hosting);
    until("an order", || {
        hosting.path("ledger/ledger.db").exists()
            && ledger(&hosting, "SELECT count(*) FROM attempt WHERE url IS NOT NULL") == 1
    });
    for _ in 0..2 {
        hosting.kill();
        hosting.start();
    }
    until("its certificate", || is_served(&hosting, "example.com"));
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 1), "{}", hosting.log());
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM attempt"), 0);
    hosting.stop();
}

/// The first authority takes no order, for too long. The second one wants to know its customer.
#[test]
fn another_authority_is_asked_when_the_first_has_failed_for_long() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut hosting = Pebble::hosting();
    let customers = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": KEY } });
    let pebble = Pebble::start_with(&hosting, 0, customers);
    let door = Door::start(&hosting);
    hosting.write("eab", KEY);
    let eab = format!(
        "eab_kid = \"kid-1\"\neab_key_file = \"{}\"\n",
        hosting.path("eab").display()
    );
    let second = format!(
        "{eab}[acme.second]\ndirectory = \"https://127.0.0.1:14000/dir\"\nagree_to_terms = true\nca_file = \"{}\"\n{eab}",
        hosting.path("roots.pem").display()
    );
    door.does(|path, _, answer| {
        if path == "/order-plz" {
            answer.status = 500;
            answer.body = br#"{"type":"urn:ietf:params:acme:error:serverInternal","detail":"out of order"}"#.to_vec();
        }
    });
    settings(&hosting, "", true, &second, &["example.com"]);
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a failure", || hosting.log().contains("out of order"));
    let by = |port: &str| format!("SELECT count(*) FROM certificate WHERE authority = 'https://127.0.0.1:{port}/dir'");
    let again = |hosting: &mut Hosting, statement: &str| {
        hosting.stop();
        change(hosting, statement);
        hosting.start();
    };
    // Not yet: it has failed for less than an hour.
    again(&mut hosting, "UPDATE attempt SET next = 0, since = since - 3000");
    until("a second failure", || {
        ledger(&hosting, "SELECT max(failures) FROM attempt") == 2
    });
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM certificate"), 0);
    again(&mut hosting, "UPDATE attempt SET next = 0, since = since - 600");
    until("a certificate", || is_served(&hosting, "example.com"));
    assert_eq!((ledger(&hosting, &by("14000")), pebble.accounts()), (1, 2));
    // The next one is the first one's again, with a third of the time that is left.
    again(
        &mut hosting,
        "UPDATE certificate SET renew = unixepoch() - 1, ask = unixepoch() + 86400",
    );
    until("a failure", || {
        ledger(&hosting, "SELECT count(*) FROM attempt WHERE failures = 1") == 1
    });
    let third = "SELECT (ends - renew) / 3 FROM certificate";
    let third = ledger(&hosting, third);
    assert!(third > 86_400);
    again(
        &mut hosting,
        &format!("UPDATE attempt SET next = 0, since = since - {}", third - 600),
    );
    until("a failure", || {
        ledger(&hosting, "SELECT max(failures) FROM attempt") == 2
    });
    again(&mut hosting, "UPDATE attempt SET next = 0, since = since - 600");
    until("a renewal", || {
        hosting.log().contains("mta-sts.example.com has a certificate")
    });
    assert_eq!(ledger(&hosting, &by("14000")), 1);
    // It is repaired.
    door.does(|_, _, _| ());
    again(
        &mut hosting,
        "UPDATE certificate SET renew = unixepoch() - 1, ask = unixepoch() + 86400",
    );
    until("a renewal", || {
        hosting.log().contains("mta-sts.example.com has a certificate")
    });
    // Its account is the one that it had.
    assert_eq!((ledger(&hosting, &by("14001")), pebble.accounts()), (1, 2));
    hosting.stop();
}

/// A domain whose DNS is broken, for `VIRTUAL_DAYS` days: the clock of the ledger is put on to each next try.
#[test]
fn a_domain_that_fails_for_days_costs_one_authorisation_a_day() {
    let days: i64 = std::env::var("VIRTUAL_DAYS").map_or(2, |days| days.parse().unwrap());
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let elsewhere = json!({ "host": "mta-sts.broken.example.", "addresses": ["8.8.8.2"] });
    pebble.names("add-a", &elsewhere);
    // The test before an order would find it out.
    settings(&hosting, "", false, "flight_test = false\n", &["broken.example"]);
    let (mut clock, mut tries) = (0, Vec::new());
    while clock <= days * 86_400 {
        hosting.start();
        tries.push(clock);
        let failed = format!("SELECT count(*) FROM attempt WHERE failures = {}", tries.len());
        until("a failure", || ledger(&hosting, &failed) == 1);
        clock += ledger(&hosting, "SELECT next - unixepoch() FROM attempt");
        hosting.stop();
        change(&hosting, "UPDATE attempt SET next = 0");
    }
    // The first hours: at once, after ten minutes, an hour, six hours.
    let late = &tries[4..];
    assert!(tries[3] < 12 * 3600, "{tries:?}");
    assert!(late.windows(2).all(|pair| pair[1] - pair[0] >= 86_400), "{tries:?}");
    assert!(late.len() <= usize::try_from(days).unwrap(), "{tries:?}");
    println!("{days} days: {} orders", tries.len());
    // What the authority counts is not more.
    assert_eq!(
        (pebble.orders(), pebble.said("set INVALID by completed challenge")),
        (tries.len(), tries.len())
    );
}

/// A copy of the ledger is none of the private keys, if these are sealed.
#[test]
fn private_keys_are_sealed_and_opened_again() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let set = |hosting: &Hosting, keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| hosting.path(key).display().to_string()).collect();
        let before = format!("seal_keys = {keys:?}\n");
        settings(hosting, &before, false, "", &["example.com"]);
    };
    for (name, octet) in [("old.key", 1), ("new.key", 2), ("wrong.key", 3)] {
        hosting.write(name, &base64::prelude::BASE64_STANDARD.encode([octet; 32]));
        // Root alone can read it.
        fs::set_permissions(hosting.path(name), PermissionsExt::from_mode(0o400)).unwrap();
    }
    let files = |hosting: &Hosting| {
        let files = fs::read_dir(hosting.path("ledger")).unwrap();
        let octets = files.flat_map(|file| fs::read(file.unwrap().path()).unwrap());
        octets.collect::<Vec<u8>>()
    };
    let is_plain = |hosting: &Hosting| files(hosting).windows(11).any(|octets| octets == b"PRIVATE KEY");
    set(&hosting, &[]);
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a certificate", || is_served(&hosting, "example.com"));
    assert!(is_plain(&hosting));
    hosting.stop();
    // What was there is sealed at the next start; then with another key.
    for (keys, count) in [(&["old.key"][..], 2), (&["new.key", "old.key"], 2), (&["new.key"], 0)] {
        set(&hosting, keys);
        hosting.start();
        assert!(is_served(&hosting, "example.com"), "{}", hosting.log());
        let said = format!("{count} private keys are sealed");
        assert_eq!(hosting.log().contains(&said), count > 0, "{keys:?}: {}", hosting.log());
        assert!(!is_plain(&hosting), "{keys:?}");
        hosting.stop();
    }
    // A wrong one, none, or one that others can read: nothing starts, and nothing changes.
    let before = ledger(&hosting, "SELECT unicode(substr(key, 25, 1)) FROM certificate");
    fs::set_permissions(hosting.path("old.key"), PermissionsExt::from_mode(0o404)).unwrap();
    for (keys, expected) in [
        (&["wrong.key"][..], ", which is not in seal_keys"),
        (&[], "is sealed; name the key "),
        (&["old.key"], "is not for its owner alone"),
        (&["absent.key"], "No such file"),
    ] {
        set(&hosting, keys);
        let output = hosting.command(&["run"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && error.contains(expected),
            "{keys:?}: {error}"
        );
    }
    assert_eq!(
        ledger(&hosting, "SELECT unicode(substr(key, 25, 1)) FROM certificate"),
        before
    );
    // The same account gets a new one, with a sealed key.
    set(&hosting, &["new.key"]);
    change(&hosting, "UPDATE certificate SET renew = 0");
    hosting.start();
    until("a renewal", || {
        hosting.log().contains("mta-sts.example.com has a certificate")
    });
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 2));
    assert!(is_served(&hosting, "example.com") && !is_plain(&hosting));
    hosting.stop();
}

/// An authority, or somebody before it, that answers otherwise than it should.
#[test]
fn a_hostile_authority_harms_no_host() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let door = Door::start(&hosting);
    let other = |names: &[&str]| {
        let host = pki::host(names, hosting.authority(), |_| {});
        pem::encode(&pem::Pem::new("CERTIFICATE", host.der))
    };
    let (for_other, of_other_key) = (other(&["mta-sts.other.example"]), other(&["mta-sts.d1.example"]));
    type Lie = Box<dyn Fn(&str, &[u8], &mut Answer) + Send>;
    let at = |begin: &'static str, lie: Box<dyn Fn(&mut Answer) + Send>| -> Lie {
        Box::new(move |path, _, answer| {
            if path.starts_with(begin) {
                lie(answer);
            }
        })
    };
    let body =
        |text: Vec<u8>| -> Box<dyn Fn(&mut Answer) + Send> { Box::new(move |answer| answer.body = text.clone()) };
    let lies: Vec<(&str, Lie)> = vec![
        (
            "refused: is not for mta-sts.d0.example",
            at("/certZ", body(for_other.into())),
        ),
        (
            "the key beside it is not the key of the certificate",
            at("/certZ", body(of_other_key.into())),
        ),
        (
            "what the authority has sent is refused",
            at("/certZ", body(b"\x1b[2J garbage".to_vec())),
        ),
        ("length limit exceeded", at("/certZ", body(vec![b'a'; 10 << 20]))),
        ("(de)serialize JSON", at("/order-plz", body(b"<html>".to_vec()))),
        (
            "(de)serialize JSON",
            at(
                "/order-plz",
                Box::new(|answer| {
                    answer.status = 302;
                    answer.fields.push("Location: https://127.0.0.1:14001/order-plz".into());
                    answer.body.clear();
                }),
            ),
        ),
        (
            "wants a proof for another name",
            at(
                "/authZ",
                Box::new(|answer| {
                    let mut authorization = answer.json();
                    authorization["identifier"]["value"] = "mta-sts.other.example".into();
                    answer.body = authorization.to_string().into();
                }),
            ),
        ),
        (
            "names a URL that is not one of https",
            at(
                "/order-plz",
                Box::new(|answer| {
                    let text = String::from_utf8_lossy(&answer.body).replace("https://", "http://");
                    answer.body = text.into();
                }),
            ),
        ),
    ];
    let mut names: Vec<String> = Vec::new();
    settings(&hosting, "", true, "", &[]);
    hosting.start();
    pebble.is_trusted(&hosting);
    for (n, (expected, lie)) in lies.into_iter().enumerate() {
        door.does(lie);
        names.push(format!("d{n}.example"));
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        settings(&hosting, "", true, "", &all);
        hosting.reload("settings reloaded");
        let name = format!("mta-sts.d{n}.example gets no certificate: ");
        until(expected, || {
            let log = hosting.log();
            let line = log.lines().find(|line| line.contains(&name)).map(str::to_owned);
            line.is_some_and(|line| {
                assert!(
                    line.contains(expected) && !line.contains('\u{1b}'),
                    "{expected}: {line}"
                );
                true
            })
        });
        assert!(hosting.connect(&format!("mta-sts.d{n}.example")).is_err());
    }
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM certificate"), 0);
    // Each has failed once, and waits for ten minutes at least.
    assert_eq!(
        ledger(
            &hosting,
            "SELECT count(*) FROM attempt WHERE failures = 1 AND next > unixepoch() + 550"
        ),
        8
    );

    // What is new in an answer is stepped over. A name that DNS allows to no authority is not ordered.
    door.does(|path, _, answer| {
        if path.starts_with("/authZ") {
            let mut authorization = answer.json();
            authorization["new"] = json!({ "x": [1] });
            let strange = json!({ "type": "future-01", "url": "https://x.example", "status": "pending", "token": "x" });
            // It may be an error instead: the authority rejects nonces.
            if let Some(challenges) = authorization["challenges"].as_array_mut() {
                challenges.insert(0, strange);
            }
            answer.body = authorization.to_string().into();
        }
        if path == "/dir" {
            let mut directory = answer.json();
            directory["meta"]["caaIdentities"] = json!(["pebble.example"]);
            answer.body = directory.to_string().into();
        }
    });
    let forbids = json!({ "host": "closed.example.", "policies": [{ "tag": "issue", "value": "other.example" }] });
    pebble.names("add-caa", &forbids);
    let orders = pebble.orders();
    settings(&hosting, "", true, "", &["new.example", "closed.example"]);
    hosting.stop();
    hosting.start();
    until("a certificate", || is_served(&hosting, "new.example"));
    let closed = "closed.example: the CAA records allow other authorities alone; add one: issue \"pebble.example\"";
    until(closed, || hosting.log().contains(closed));
    assert_eq!(pebble.orders(), orders + 1);

    // It wants to be left alone, for 30 years: for a day it is.
    door.does(|path, _, answer| {
        if path == "/order-plz" {
            answer.status = 503;
            answer.fields.push("Retry-After: 1000000000".into());
            answer.body = br#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"go away"}"#.to_vec();
        }
    });
    settings(&hosting, "", true, "", &["new.example", "late.example"]);
    hosting.reload("settings reloaded");
    until("its answer", || {
        hosting
            .log()
            .contains("mta-sts.late.example gets no certificate: API error: go away")
    });
    let day = "SELECT count(*) FROM attempt WHERE domain = 'late.example' AND next BETWEEN unixepoch() + 86000 AND unixepoch() + 86400";
    assert_eq!(ledger(&hosting, day), 1);
    let before = door.requests().len();
    settings(
        &hosting,
        "",
        true,
        "",
        &["new.example", "late.example", "later.example"],
    );
    hosting.reload("settings reloaded");
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(door.requests().len(), before);
    hosting.stop();
}

/// What is in the payload of a request.
fn payload(request: &[u8]) -> Option<Value> {
    let request: Value = serde_json::from_slice(request).ok()?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(request["payload"].as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// An authority that says when to renew (RFC 9773), and does or does not take it that an order replaces a certificate.
#[test]
fn a_renewal_follows_the_advice_of_the_authority() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let door = Door::start(&hosting);
    let advises = |repeats: fn(&Value, &mut Answer)| {
        door.does(move |path, request, answer| {
            if path == "/dir" {
                let mut directory = answer.json();
                directory["renewalInfo"] = "https://127.0.0.1:14001/ari".into();
                answer.body = directory.to_string().into();
            } else if path.starts_with("/ari/") {
                answer.status = 200;
                answer.fields = vec!["Retry-After: 21600".into()];
                let window = json!({ "start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z" });
                answer.body = json!({ "suggestedWindow": window, "new": 1 }).to_string().into();
            } else if path == "/order-plz"
                && let Some(replaces) = payload(request).and_then(|payload| payload.get("replaces").cloned())
            {
                repeats(&replaces, answer);
            }
        });
    };
    settings(&hosting, "", true, "", &["example.com"]);
    advises(|_, _| panic!("the first certificate replaces none"));
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a certificate", || is_served(&hosting, "example.com"));
    // The advice is asked for at once; a certificate of this day stays.
    until("the advice", || {
        ledger(&hosting, "SELECT advised FROM certificate") == 1
    });
    let info = door.requests().iter().filter(|path| path.starts_with("/ari/")).count();
    assert_eq!((info, pebble.orders()), (1, 1));

    // It is two days old. The order says what it replaces; the authority repeats that, or omits or refuses it.
    let two_days_later = "UPDATE certificate SET issued = issued - 172800, ask = 0, renew = unixepoch() + 1000000";
    type Case = (fn(&Value, &mut Answer), usize);
    let cases: [Case; 3] = [
        (
            |replaces, answer| {
                let mut order = answer.json();
                order["replaces"] = replaces.clone();
                answer.body = order.to_string().into();
            },
            1,
        ),
        // The order that it has made is lost, and another one is asked for.
        (|_, _| (), 2),
        (
            // Only if it has made one: it rejects nonces.
            |_, answer| {
                if answer.status != 201 {
                    return;
                }
                answer.status = 409;
                answer.body = br#"{"type":"urn:ietf:params:acme:error:alreadyReplaced","detail":"no"}"#.to_vec();
            },
            2,
        ),
    ];
    for (repeats, orders) in cases {
        advises(repeats);
        change(&hosting, two_days_later);
        let before = pebble.orders();
        hosting.stop();
        hosting.start();
        until("a renewal", || {
            hosting.log().contains("mta-sts.example.com has a certificate")
        });
        assert_eq!(pebble.orders() - before, orders, "{}", hosting.log());
        until("the advice", || {
            ledger(&hosting, "SELECT advised FROM certificate") == 1
        });
    }
    // The identifier is that of the certificate: the serial number of the one that is served.
    assert!(
        door.requests()
            .iter()
            .any(|path| path.starts_with("/ari/") && path.matches('.').count() == 1)
    );
    hosting.stop();
}

/// From an empty ledger to a thousand certificates, and what it takes. It is too long for each run:
/// `cargo test -p mtasts-cli --test host -- --ignored --nocapture a_thousand`.
#[test]
#[ignore = "minutes"]
fn a_thousand_hosts_get_their_certificates() {
    const HOSTS: usize = 1000;
    let names: Vec<String> = (0..HOSTS).map(|n| format!("d{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    settings(&hosting, "", false, "orders = 1200\n", &names);
    let begun = std::time::Instant::now();
    hosting.start();
    pebble.is_trusted(&hosting);
    let mut issued = 0;
    let mut killed = false;
    while issued < HOSTS {
        assert!(
            begun.elapsed() < Duration::from_secs(900),
            "{issued} in a quarter of an hour: {}",
            hosting.log()
        );
        thread::sleep(Duration::from_secs(1));
        issued = usize::try_from(ledger(&hosting, "SELECT count(*) FROM certificate")).unwrap();
        // In the middle the process is killed.
        if issued > HOSTS / 2 && !killed {
            killed = true;
            hosting.kill();
            hosting.start();
        }
    }
    let memory = mtasts_kit::process::status(hosting.pid(), "VmRSS").unwrap();
    println!(
        "{HOSTS} certificates in {:?}, {} orders, {memory}",
        begun.elapsed(),
        pebble.orders()
    );
    assert_eq!(
        (pebble.accounts(), ledger(&hosting, "SELECT count(*) FROM attempt")),
        (1, 0)
    );
    // An order whose URL had not come yet when the process was killed is made again.
    assert!((HOSTS..HOSTS + 9).contains(&pebble.orders()), "{}", pebble.orders());
    assert!(names.iter().step_by(97).all(|name| is_served(&hosting, name)));
    hosting.stop();
}
