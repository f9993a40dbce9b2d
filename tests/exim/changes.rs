//! What an operator or a domain changes, and what Exim makes of it.

use std::fs;

use mtasts_lab::{Change, policy_text};

use super::host::{self, Config, Fate, Host};
use super::{World, builds, evidence};

/// Mail that leaves although the policy forbids it: the log says by whose word, with each message and nowhere else.
pub(crate) fn exceptions(world: &World) {
    let (users, strict) = (["a@nomatch.test", "b@nomatch.test"], "a@expired.test");
    let sentence = "mtasts[exception]: nomatch.test: enforcement is off until 2099-12-31 (operator exception: $5 & (ticket) 47'11/: they move)";
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        assert_eq!(
            host.send(&users).of(users[0]).0,
            Fate::Deferred,
            "the row can no longer fail"
        );
        fs::write(
            host.etc("mtasts/exceptions"),
            "nomatch.test 2099-12-31 $5 & {ticket} 47\"11\\: they move\n",
        )
        .unwrap();
        host.forget();
        let outcome = host.send(&users);
        for user in users {
            let (fate, line) = outcome.of(user);
            assert_eq!(fate, Fate::Delivered, "{}", outcome.log);
            assert!(line.contains("T=remote_smtp_testing "), "{line}");
        }
        let id = outcome.of(users[0]).1.split(' ').nth(2).unwrap();
        let told: Vec<&str> = outcome
            .log
            .lines()
            .filter(|line| line.contains("mtasts[exception]"))
            .collect();
        assert!(
            !told.is_empty() && told.iter().all(|line| line.ends_with(&format!("{id} {sentence}"))),
            "{told:?}"
        );
        evidence(&format!("an exception ({tls:?} {config:?})"), told[0]);
        // Nobody else's mail, no look at an address, and nothing that Exim found odd.
        assert_eq!(host.send(&[strict]).of(strict).0, Fate::Deferred);
        host::run(host.command("exim4").args(["-bt", users[0]]));
        host::run(host.command("exim4").args(["-bv", users[0]]));
        assert_eq!(
            host.log().matches("mtasts[exception]").count(),
            told.len(),
            "{}",
            host.log()
        );
        assert_eq!(host.panic_log(), "");
    }
}

/// RFC 8461 5: before a mail is bounced, is there a newer policy?
pub(crate) fn recheck(world: &World) {
    for tls in builds() {
        world.lab.reset().unwrap();
        let host = world.host(*tls, &Config::Complete);
        let asks = |domain: &str| {
            expanded(
                &host,
                &format!("${{dlfunc{{libmtasts.so.1}}{{mtasts_exim_recheck}}{{{domain}}}}}"),
            )
        };
        let unknown = asks("good.test");
        assert!(unknown.starts_with("changed=yes mode=enforce id="), "{unknown}");
        let same = unknown.replace("changed=yes", "changed=no");
        assert_eq!(asks("good.test"), same);
        // The domain moves, and the TXT record that is in the cache is not due yet.
        let moved = Change {
            hosts: Some(vec!["mx2.good.test".into()]),
            ..Change::publish("moved", policy_text("enforce", &["mx2.good.test"], 86_400))
        };
        world.lab.set("good.test", moved).unwrap();
        let to = format!("{tls:?}@good.test").to_lowercase();
        let outcome = host.send(&[&to]);
        assert_eq!(
            outcome.of(&to).0,
            Fate::Deferred,
            "the row can no longer fail: {}",
            outcome.log
        );
        let newer = asks("good.test");
        assert_eq!(newer, "changed=yes mode=enforce id=moved");
        evidence(&format!("mtasts_exim_recheck ({tls:?})"), &newer);
        let outcome = host.run_queue("-qff");
        let (fate, line) = outcome.of(&to);
        assert!(
            fate == Fate::Delivered && line.contains(" H=mx2.good.test "),
            "{}",
            outcome.log
        );
        evidence("the mail that was kept from bouncing", line);
        assert_eq!(asks("good.test"), "changed=no mode=enforce id=moved");
        assert_eq!(asks("nopolicy.test"), "changed=no mode=none id=");
        assert_eq!(asks("[192.0.2.1]"), "changed=no mode=none id=");
        // What keeps it from being asked is no answer.
        fs::write(host.etc("mtasts/mtasts.toml"), "cache_dir = 7\n").unwrap();
        let refused = asks("good.test");
        assert!(
            refused.contains("Failed: ") && refused.contains("/etc/mtasts/mtasts.toml"),
            "{refused}"
        );
    }
}

/// What Exim makes of a string, as root.
fn expanded(host: &Host, text: &str) -> String {
    let output = host::run(host.command("exim4").args(["-be", text]));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
