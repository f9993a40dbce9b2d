//! When a certificate is renewed, and what an order says of the one before.

use mtasts_kit::until;
use serde_json::{Value, json};

use super::acme2certifier::{self, Acme2certifier, CUSTOMER, SIX_DAYS};
use super::door::{Answer, payload};
use super::hosting::Hosting;
use super::issuing::{again, change, customer, is_certified, is_served, ledger, settings, text};
use super::pebble::{DOOR_DIRECTORY, Names, Pebble};

const DAY: i64 = 86_400;

/// An authority that says when to renew (RFC 9773), and does or does not take it that an order replaces a certificate.
#[test]
fn a_renewal_follows_the_advice_of_the_authority() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let door = Pebble::door(&hosting);
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
    settings(&hosting, "", DOOR_DIRECTORY, "", &["example.com"]);
    advises(|_, _| panic!("the first certificate replaces none"));
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a certificate", || is_served(&hosting, "example.com"));
    // The advice is asked for at once; a certificate of this day stays.
    until("the advice", || {
        ledger(&hosting, "SELECT advised FROM certificate") == 1
    });
    assert_eq!((door.count("/ari/"), pebble.orders()), (1, 1));

    // It is two days old. The order says what it replaces; the authority repeats that, or omits or refuses it.
    let two_days_later = "UPDATE certificate SET issued = issued - 172800, ask = 0, renew = unixepoch() + 1000000;
        UPDATE account SET plain = plain - 172800";
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
        // The order that it has made is lost, and another one is asked for. (Pebble 2.7 would repeat it.)
        (
            |_, answer| {
                let mut order = answer.json();
                order.as_object_mut().expect("an order").remove("replaces");
                answer.body = order.to_string().into();
            },
            2,
        ),
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
        let before = pebble.orders();
        again(&mut hosting, two_days_later);
        until("a renewal", || is_certified(&hosting, "example.com"));
        assert_eq!(pebble.orders() - before, orders, "{}", hosting.log());
        until("the advice", || {
            ledger(&hosting, "SELECT advised FROM certificate") == 1
        });
    }
    // The identifier is that of the certificate: the serial number of the one that is served.
    assert!(
        door.requests()
            .iter()
            .any(|request| request.path.starts_with("/ari/") && request.path.matches('.').count() == 1)
    );
    hosting.stop();
}

/// Both clocks are put on by so many seconds: that of the host, and that of the authority.
fn put_on(hosting: &mut Hosting, authority: &Acme2certifier, seconds: i64) {
    authority.put_on(seconds);
    let older = format!(
        "UPDATE certificate SET issued = issued - {seconds}, ends = ends - {seconds}, renew = renew - {seconds}, ask = ask - {seconds};
         UPDATE account SET plain = plain - {seconds}; UPDATE ordered SET time = time - {seconds}"
    );
    again(hosting, &older);
}

/// Puts the clocks on to the moment at which the next certificate is due, and waits for that. Says whose it is, and how long it was.
fn next_renewal(hosting: &mut Hosting, authority: &Acme2certifier) -> (String, i64) {
    let first = "FROM certificate ORDER BY renew LIMIT 1";
    let domain = text(hosting, &format!("SELECT domain {first}"));
    let left = ledger(hosting, &format!("SELECT renew - unixepoch() + 1 {first}"));
    let key = format!("SELECT key FROM certificate WHERE domain = '{domain}'");
    let before = text(hosting, &key);
    put_on(hosting, authority, left);
    until("a renewal", || is_certified(hosting, &domain));
    assert_ne!(text(hosting, &key), before);
    let is_asked = "SELECT min(ask) > unixepoch() FROM certificate";
    until("what the authority advises", || ledger(hosting, is_asked) == 1);
    (domain, left)
}

/// An authority with certificates of six days that advises, and takes it, without a word, that an order replaces a certificate: our
/// library forgets such an order.
#[test]
fn an_authority_that_does_not_repeat_what_is_replaced_is_asked_without_for_a_day() {
    let mut hosting = Acme2certifier::hosting();
    let _names = Names::start();
    let mut authority = Acme2certifier::start(&hosting);
    let more = format!(
        "contact = [\"mailto:hostmaster@example.net\"]\nprofile = \"{SIX_DAYS}\"\n{}",
        customer(&hosting, CUSTOMER)
    );
    settings(
        &hosting,
        "",
        acme2certifier::DIRECTORY,
        &more,
        &["d0.example", "d1.example"],
    );
    hosting.start();
    for name in ["d0.example", "d1.example"] {
        until(name, || is_served(&hosting, name));
    }
    assert_eq!((authority.accounts(), authority.orders()), (1, 2));
    // The profile is the one of the settings.
    let lives = "SELECT count(*) FROM certificate WHERE ends - issued BETWEEN 6 * 86400 - 60 AND 6 * 86400";
    assert_eq!(ledger(&hosting, lives), 2);
    // A moment of the window of this authority: the last 15 % of the life.
    let windows = "SELECT count(*) FROM certificate WHERE advised AND renew BETWEEN issued + 5.1 * 86400 - 60 AND ends";
    until("the advice", || ledger(&hosting, windows) == 2);

    // The first renewal says what it replaces, and is made again without that.
    let (first, _) = next_renewal(&mut hosting, &authority);
    assert_eq!((authority.orders(), authority.replacing()), (4, 1), "{}", hosting.log());
    // Both count, in the last three hours: this authority exempts none.
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM ordered"), 2);
    // The other one comes within a day, in another process: it is asked without from the beginning.
    let (second, left) = next_renewal(&mut hosting, &authority);
    assert!(second != first && left < DAY, "{first} {second} {left}");
    assert_eq!((authority.orders(), authority.replacing()), (5, 1), "{}", hosting.log());
    // After that day it is tried again, once.
    let (_, left) = next_renewal(&mut hosting, &authority);
    assert!(left > DAY, "{left}");
    assert_eq!((authority.orders(), authority.replacing()), (7, 2), "{}", hosting.log());

    // It gives no advice any more. The ledger still says so of the present certificates, and nothing is held up by that.
    let before = (authority.orders(), authority.replacing());
    authority.restart("[Order]", "[Renewalinfo]\nrenewalinfo_disable: True\n[Order]");
    change(&hosting, "UPDATE account SET plain = 0");
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM certificate WHERE advised"), 2);
    let (which, _) = next_renewal(&mut hosting, &authority);
    assert_eq!(
        (authority.orders(), authority.replacing()),
        (before.0 + 1, before.1),
        "{}",
        hosting.log()
    );
    // The next one is at two thirds of its life.
    let planned =
        format!("SELECT (ends - renew) - 2 * 86400 FROM certificate WHERE NOT advised AND domain = '{which}'");
    let planned = ledger(&hosting, &planned);
    assert!((-60..60).contains(&planned), "{planned}");
    assert_eq!(authority.accounts(), 1);
    hosting.stop();
}
