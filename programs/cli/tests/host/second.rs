//! Two authorities, which are not alike.

use mtasts_kit::until;

use super::acme2certifier::{self, Acme2certifier, CUSTOMER};
use super::issuing::{again, customer, is_certified, is_served, ledger, settings};
use super::pebble::{DOOR_DIRECTORY, Pebble};

/// The first authority takes no order, for too long. The second one wants to know its customer.
#[test]
fn another_authority_is_asked_when_the_first_has_failed_for_long() {
    let mut hosting = Acme2certifier::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let door = Pebble::door(&hosting);
    let other = Acme2certifier::start(&hosting);
    let second = format!(
        "[acme.second]\ndirectory = \"{}\"\nagree_to_terms = true\nca_file = \"{}\"\ncontact = \
         [\"mailto:hostmaster@example.net\"]\nprofile = \"classic\"\n{}",
        acme2certifier::DIRECTORY,
        hosting.path("roots.pem").display(),
        customer(&hosting, CUSTOMER)
    );
    door.does(|path, _, answer| {
        if path == "/order-plz" {
            answer.status = 500;
            answer.body = br#"{"type":"urn:ietf:params:acme:error:serverInternal","detail":"out of order"}"#.to_vec();
        }
    });
    settings(&hosting, "", DOOR_DIRECTORY, &second, &["example.com"]);
    hosting.start();
    pebble.is_trusted(&hosting);
    until("a failure", || hosting.log().contains("out of order"));
    let by = |directory: &str| format!("SELECT count(*) FROM certificate WHERE authority = '{directory}'");
    // Not yet: it has failed for less than an hour.
    again(&mut hosting, "UPDATE attempt SET next = 0, since = since - 3000");
    until("a second failure", || {
        ledger(&hosting, "SELECT max(failures) FROM attempt") == 2
    });
    assert_eq!(ledger(&hosting, "SELECT count(*) FROM certificate"), 0);
    assert_eq!((other.accounts(), other.orders()), (0, 0));
    again(&mut hosting, "UPDATE attempt SET next = 0, since = since - 600");
    until("a certificate", || is_served(&hosting, "example.com"));
    assert_eq!(ledger(&hosting, &by(acme2certifier::DIRECTORY)), 1);
    assert_eq!((other.accounts(), other.orders()), (1, 1));
    until("the advice", || {
        ledger(&hosting, "SELECT advised FROM certificate") == 1
    });
    // The next one is the first one's again, with a third of the time that is left.
    again(
        &mut hosting,
        "UPDATE certificate SET renew = unixepoch() - 1, ask = unixepoch() + 86400",
    );
    until("a failure", || {
        ledger(&hosting, "SELECT count(*) FROM attempt WHERE failures = 1") == 1
    });
    let third = ledger(&hosting, "SELECT (ends - renew) / 3 FROM certificate");
    assert!(third > 86_400);
    again(
        &mut hosting,
        &format!("UPDATE attempt SET next = 0, since = since - {}", third - 600),
    );
    until("a failure", || {
        ledger(&hosting, "SELECT max(failures) FROM attempt") == 2
    });
    assert_eq!((other.orders(), other.replacing()), (1, 0));
    again(&mut hosting, "UPDATE attempt SET next = 0, since = since - 600");
    until("a renewal", || is_certified(&hosting, "example.com"));
    assert_eq!(ledger(&hosting, &by(acme2certifier::DIRECTORY)), 1);
    // After a restart its account is the one that it had. It forgets what an order replaces, so that there are two.
    assert_eq!((other.accounts(), other.orders(), other.replacing()), (1, 3, 1));
    // It is repaired.
    door.does(|_, _, _| ());
    again(
        &mut hosting,
        "UPDATE certificate SET renew = unixepoch() - 1, ask = unixepoch() + 86400",
    );
    until("a renewal", || is_certified(&hosting, "example.com"));
    assert_eq!((ledger(&hosting, &by(DOOR_DIRECTORY)), pebble.accounts()), (1, 1));
    assert_eq!(other.orders(), 3);
    hosting.stop();
}
