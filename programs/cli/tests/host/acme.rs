//! Certificates from a real authority: each host gets one, whatever fails meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use mtasts_kit::until;
use serde_json::json;

use super::hosting::mode;
use super::issuing::{change, is_certified, is_served, ledger, settings};
use super::pebble::{DIRECTORY, DOOR_DIRECTORY, Pebble};

#[test]
fn every_host_gets_a_certificate_and_a_restart_orders_none() {
    let names: Vec<String> = (0..12).map(|n| format!("d{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    // The limit of the settings is that of the authority's count.
    settings(&hosting, "", DIRECTORY, "orders = 5\n", &names);
    hosting.start();
    until("five orders", || pebble.said("Added order") == 5);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(pebble.said("Added order"), 5);
    hosting.stop();
    let contact = "contact = [\"mailto:hostmaster@example.net\"]\n";
    settings(&hosting, "", DIRECTORY, contact, &names);
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
    until("a renewal", || is_certified(&hosting, "d3.example"));
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
    settings(&hosting, &http, DIRECTORY, "challenge = \"http-01\"\n", &all);
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

#[test]
fn a_process_that_is_killed_loses_no_order() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    // The order stops before its proof until the last kill. Otherwise the authority might look while the host is down.
    let is_held = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&is_held);
    Pebble::door(&hosting).does(move |path, _, _| {
        while path.starts_with("/authZ") && held.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
    });
    settings(&hosting, "", DOOR_DIRECTORY, "", &["example.com"]);
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
    is_held.store(false, Ordering::SeqCst);
    until("its certificate", || is_served(&hosting, "example.com"));
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 1), "{}", hosting.log());
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM attempt"), 0);
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
    settings(&hosting, "", DIRECTORY, "flight_test = false\n", &["broken.example"]);
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
    settings(&hosting, "", DIRECTORY, "orders = 1200\n", &names);
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
