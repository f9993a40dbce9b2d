//! An authority, or somebody before it, that answers otherwise than it should.

use std::thread;
use std::time::Duration;

use mtasts_kit::{pki, until};
use serde_json::json;

use super::door::Answer;
use super::issuing::{is_served, ledger, settings};
use super::pebble::{DOOR_DIRECTORY, Pebble};

#[test]
fn a_hostile_authority_harms_no_host() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let door = Pebble::door(&hosting);
    let other = |names: &[&str]| {
        let host = pki::host(names, hosting.authority(), |_| {});
        pem::encode(&pem::Pem::new("CERTIFICATE", host.der))
    };
    let (for_other, of_other_key) = (other(&["mta-sts.other.example"]), other(&["mta-sts.d1.example"]));
    type Lie = Box<dyn Fn(&str, &[u8], &mut Answer) + Send>;
    let at = |begin: &'static str, lie: Box<dyn Fn(&mut Answer) + Send>| -> Lie {
        Box::new(move |path, _, answer| {
            // An answer that a nonce is bad, which this authority gives without a reason, stays one.
            if path.starts_with(begin) && answer.status < 300 {
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
    settings(&hosting, "", DOOR_DIRECTORY, "", &[]);
    hosting.start();
    pebble.is_trusted(&hosting);
    for (n, (expected, lie)) in lies.into_iter().enumerate() {
        door.does(lie);
        names.push(format!("d{n}.example"));
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        settings(&hosting, "", DOOR_DIRECTORY, "", &all);
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
            "SELECT count(*) FROM attempt WHERE failures = 1 AND next >= since + 590"
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
    settings(&hosting, "", DOOR_DIRECTORY, "", &["new.example", "closed.example"]);
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
    settings(&hosting, "", DOOR_DIRECTORY, "", &["new.example", "late.example"]);
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
        DOOR_DIRECTORY,
        "",
        &["new.example", "late.example", "later.example"],
    );
    hosting.reload("settings reloaded");
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(door.requests().len(), before);
    hosting.stop();
}
