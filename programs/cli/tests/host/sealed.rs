//! Private keys at rest.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mtasts_kit::until;

use super::hosting::Hosting;
use super::issuing::{change, is_certified, is_served, ledger, settings};
use super::pebble::{DIRECTORY, Pebble};

/// A copy of the ledger is none of the private keys, if these are sealed.
#[test]
fn private_keys_are_sealed_and_opened_again() {
    let mut hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let set = |hosting: &Hosting, keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| hosting.path(key).display().to_string()).collect();
        let before = format!("seal_keys = {keys:?}\n");
        settings(hosting, &before, DIRECTORY, "", &["example.com"]);
    };
    for (name, octet) in [("old.key", 1), ("new.key", 2), ("wrong.key", 3)] {
        hosting.write(name, &BASE64_STANDARD.encode([octet; 32]));
        // Root alone can read it.
        fs::set_permissions(hosting.path(name), fs::Permissions::from_mode(0o400)).unwrap();
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
    fs::set_permissions(hosting.path("old.key"), fs::Permissions::from_mode(0o404)).unwrap();
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
    until("a renewal", || is_certified(&hosting, "example.com"));
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 2));
    assert!(is_served(&hosting, "example.com") && !is_plain(&hosting));
    hosting.stop();
}
