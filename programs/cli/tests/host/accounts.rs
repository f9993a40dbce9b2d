//! Our account at an authority.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtasts_kit::until;
use serde_json::json;

use super::acme2certifier::{self, Acme2certifier};
use super::issuing::{KEY, change, customer, is_certified, is_served, ledger, settings};
use super::pebble::{DIRECTORY, DOOR_DIRECTORY, Names, Pebble};

/// An authority that wants to know its customer, with profiles of its own.
#[test]
fn an_account_is_bound_to_a_customer() {
    let mut hosting = Pebble::hosting();
    let customers = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": KEY } });
    let pebble = Pebble::start_with(&hosting, 0, customers);
    let eab = customer(&hosting, "kid-1");
    for (key, more, why) in [
        ("", "", "externalAccountRequired"),
        ("", eab.as_str(), "gets no certificate: "),
        ("c3RyYW5nZXI=", &eab, "gets no certificate: "),
    ] {
        hosting.write("eab", key);
        settings(&hosting, "", DIRECTORY, more, &["example.com"]);
        hosting.start();
        until(why, || hosting.log().contains("gets no certificate: "));
        assert!(hosting.log().contains(why), "{}", hosting.log());
        hosting.stop();
        change(&hosting, "DELETE FROM attempt");
    }
    assert_eq!(pebble.accounts(), 0);
    // The key that was made for an account without a customer is in the ledger, and no authority knows it.
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM account"), 1);
    hosting.write("eab", KEY);
    settings(&hosting, "", DIRECTORY, &eab, &["example.com"]);
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a certificate", || is_served(&hosting, "example.com"));
    // The account stays, without the key of the customer.
    hosting.stop();
    hosting.write("eab", "");
    change(&hosting, "UPDATE certificate SET renew = 0");
    hosting.start();
    until("a renewal", || is_certified(&hosting, "example.com"));
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 2));
    hosting.stop();
}

/// An authority that gives no account without a contact, and looks at port 80.
#[test]
fn an_account_has_a_contact_from_the_beginning() {
    let mut hosting = Acme2certifier::hosting();
    let _names = Names::start();
    let authority = Acme2certifier::start_with(&hosting, "");
    let http = "http = [\"8.8.8.1:80\"]\n";
    let by_http = "challenge = \"http-01\"\n";
    settings(&hosting, http, acme2certifier::DIRECTORY, by_http, &["example.com"]);
    hosting.start();
    let why = "gets no certificate: API error: Contact information is missing";
    until(why, || hosting.log().contains(why));
    hosting.stop();
    change(&hosting, "DELETE FROM attempt");
    let contact = format!("{by_http}contact = [\"mailto:hostmaster@example.net\"]\n");
    settings(&hosting, http, acme2certifier::DIRECTORY, &contact, &["example.com"]);
    hosting.start();
    until("a certificate", || is_served(&hosting, "example.com"));
    assert_eq!((authority.accounts(), authority.orders()), (1, 1));
    // It stays the account of the host.
    hosting.stop();
    change(&hosting, "UPDATE certificate SET renew = 0");
    hosting.start();
    until("a renewal", || is_certified(&hosting, "example.com"));
    assert_eq!((authority.accounts(), authority.orders()), (1, 2), "{}", hosting.log());
    hosting.stop();
}

/// What an authority says of the host it says to all its domains: it is not asked again for each of them.
#[test]
fn a_refused_account_is_asked_for_once() {
    let mut hosting = Pebble::hosting();
    let customers = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": KEY } });
    let _pebble = Pebble::start_with(&hosting, 0, customers);
    let door = Pebble::door(&hosting);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    door.does(move |path, _, answer| {
        // The library asks again if a nonce is rejected, which this authority does without a reason.
        let is_an_answer = !String::from_utf8_lossy(&answer.body).contains(":badNonce");
        count.fetch_add(usize::from(path == "/sign-me-up" && is_an_answer), Ordering::Relaxed);
    });
    let names: Vec<String> = (0..20).map(|n| format!("d{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    settings(&hosting, "", DOOR_DIRECTORY, "", &names);
    hosting.start();
    let failed = "SELECT count(*) FROM attempt WHERE why LIKE '%externalAccountRequired%'";
    until("twenty failures", || ledger(&hosting, failed) == 20);
    let registrations = || asked.load(Ordering::Relaxed);
    assert_eq!(registrations(), 1, "{}", hosting.log());
    // At once if the operator wants it.
    hosting.reload("settings reloaded");
    until("another try", || registrations() > 1);
    hosting.stop();
}
