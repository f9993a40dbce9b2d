//! What has to be good before anything is sent.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::world::{KEY, World};

/// Without a place for its notes nothing is sent; nor without an address to send from.
#[test]
fn nothing_is_sent_that_cannot_be_noted() {
    let world = World::new("unnoted", &[("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test")]);
    world.sessions(&["mail.test"]);
    let ran = world.run_within(0);
    assert_eq!((ran.status, &*ran.out), (2, ""), "{ran:?}");
    assert!(
        ran.err.contains("the ledger of the reports cannot be used: "),
        "{ran:?}"
    );
    assert_eq!(world.mails().len(), 0);
    fs::set_permissions(world.ledger(), Permissions::from_mode(0o666)).unwrap();
    let ran = world.run();
    assert!(
        ran.err
            .ends_with("more users may use it than the mode of the directory allows\n"),
        "{ran:?}"
    );
    fs::remove_file(world.ledger()).unwrap();
    let settings = fs::read_to_string(world.path("mtasts.toml")).unwrap();
    fs::write(world.path("mtasts.toml"), settings.replace("tlsrpt_sender", "#")).unwrap();
    let ran = world.run();
    assert!(
        ran.status == 2 && ran.err.contains("Set tlsrpt_sender in mtasts.toml"),
        "{ran:?}"
    );
    assert_eq!(world.mails().len(), 0);
}

#[test]
fn a_check_says_what_receivers_would_miss() {
    let world = World::new("check", &[]);
    let two = format!("{KEY}|{KEY}");
    let email = KEY.replace("; p", "; s=email; p");
    for (name, text, said) in [
        (
            "mx:sender.test",
            None,
            "sender.test has neither an MX host nor an address",
        ),
        ("mx:sender.test", Some("."), "sender.test takes no mail (null MX)"),
        ("txt:sender.test", None, "sender.test has no SPF record"),
        ("txt:sender.test", Some("v=spf1 -all"), "says that it sends no mail"),
        (
            "txt:sender.test",
            Some("v=spf1 a|v=spf1 mx"),
            "sender.test has 2 SPF records",
        ),
        (
            "txt:s._domainkey.sender.test",
            None,
            "s._domainkey.sender.test must have one TXT record, and has 0",
        ),
        ("txt:s._domainkey.sender.test", Some(&two), "and has 2"),
        (
            "txt:s._domainkey.sender.test",
            Some(&email),
            "its s= does not allow reports everywhere",
        ),
    ] {
        let before = world.records.lock().unwrap().get(name).cloned();
        world.publish(name, text);
        let ran = world.check();
        assert!(ran.status == 1 && ran.out.contains(said), "{name} {text:?}: {ran:?}");
        assert_eq!(ran.out.matches("bad").count(), 1, "{ran:?}");
        world.publish(name, before.as_deref());
    }
    spf_of_this_host(&world);
    let settings = fs::read_to_string(world.path("report.toml")).unwrap();
    for (from, to, said) in [
        ("dkim_selector", "#", "set dkim_selector in report.toml"),
        ("/sendmail", "/none", "none: No such file or directory"),
    ] {
        fs::write(world.path("report.toml"), settings.replace(from, to)).unwrap();
        let ran = world.check();
        assert!(ran.status == 1 && ran.out.contains(said), "{ran:?}");
        assert_eq!(world.run().status, 2, "these settings were not checked");
    }
    fs::write(world.path("report.toml"), settings).unwrap();
    assert_eq!(world.run().status, 0);
}

/// What the SPF record says of the address from which this host sends.
fn spf_of_this_host(world: &World) {
    let route = ["route", "add", "198.41.0.4", "dev", "lo", "src", "8.8.8.1"];
    assert!(Command::new("ip").args(route).status().unwrap().success());
    world.publish("mx.sender.test", Some("8.8.8.1"));
    world.publish("txt:_other.test", Some("v=spf1 ip4:8.8.8.0/24 -all"));
    world.publish("txt:loop.test", Some("v=spf1 include:loop.test -all"));
    let (lists, not) = ("lists 8.8.8.1", "does not list 8.8.8.1: add it");
    for (record, said) in [
        ("v=spf1 mx -all", lists),
        ("v=spf1 ip6:2001:db8::/32 a:mx.sender.test/24//64 -all", lists),
        ("v=spf1 include:_other.test -all", lists),
        ("v=spf1 redirect=_other.test", lists),
        ("v=spf1 ip4:8.8.9.0/24 ~all", not),
        ("v=spf1 -ip4:8.8.8.1 +all", not),
        ("v=spf1 a mx:none.test/8 -all", not),
        ("v=spf1 exists:%{i}.x.test -all", "for you to see: it has a macro"),
        ("v=spf1 include:loop.test -all", "it asks DNS more than 10 times"),
        ("v=spf1 ptr -all", "it has the mechanism ptr"),
    ] {
        world.publish("txt:sender.test", Some(record));
        let ran = world.check();
        assert!(ran.out.contains(said), "{record}: {ran:?}");
    }
    let ran = world.check();
    assert!(ran.out.contains("sender.test has no DMARC record"), "{ran:?}");
    world.publish("txt:_dmarc.sender.test", Some("v=DMARC1; p=none"));
    let ran = world.check();
    assert!(!ran.out.contains("DMARC"), "{ran:?}");
    world.publish("txt:sender.test", Some("v=spf1 mx -all"));
    assert!(
        Command::new("ip")
            .args(["route", "del", "198.41.0.4"])
            .status()
            .unwrap()
            .success()
    );
}
