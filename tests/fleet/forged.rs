//! A writer who has no key of the fleet, or brings back what was.

use std::fs;

use mtasts::cache::entry::{CachedPolicy, Entry};
use mtasts::cache::sealed::{Secrets, seal};
use mtasts::sender::resolver::unix_now;
use mtasts::{Mode, Source};
use mtasts_kit::{ask, name};
use mtasts_lab::{Change, Https, policy_text};

use super::{Fleet, KEY, Random, id, on_a_fleet, size};

/// A writer who has no key, and one who has a key of another fleet.
#[test]
fn nobody_without_the_key_plants_a_policy() {
    on_a_fleet("fleet-forged", 0, |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let key = "mtasts:1:p:good.test";
        ask(&fleet.host("a"), "good.test");
        internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        let good = server.get(key);
        let mut weak = fleet.entry("a", "good.test").unwrap();
        let none = CachedPolicy::new("n9".parse().unwrap(), unix_now(), policy_text("none", &[], 86_400));
        weak.cached = Some(none.unwrap().into());
        let other = Secrets::parse(&KEY.replace('a', "c")).unwrap();
        let ours = Secrets::parse(KEY).unwrap();
        // The same seal for another domain.
        let mut of_another = weak.clone();
        of_another.domain = name("testing.test");
        for (what, forged) in [
            ("no seal", weak.to_file()),
            ("another fleet's", seal(&other, &weak)),
            ("another domain's", seal(&ours, &of_another)),
            ("cut", String::from_utf8(good[..good.len() - 20].to_vec()).unwrap()),
            ("newer", seal(&ours, &weak).replacen("fleet 1", "fleet 2", 1)),
        ] {
            server.set(key, forged.as_bytes());
            let answer = ask(&fleet.host("new"), "good.test");
            assert_eq!(answer.source(), Source::CouldNotLearn, "{what}: {answer}");
            let answer = ask(&fleet.host("a"), "good.test");
            assert_eq!(answer.mode(), Mode::Enforce, "{what}: {answer}");
            let _ = fs::remove_dir_all(fleet.disk("new"));
        }
    });
}

/// Changes of sealed entries, replays of older ones, and entries of another domain: no policy is in force that is weaker than
/// what the host or the TXT record knows.
#[test]
fn ten_thousand_forgeries_plant_nothing() {
    let rounds = size("FLEET_FORGERIES", 60);
    on_a_fleet("fleet-forgeries", 0, move |internet| {
        let (server, fleet) = Fleet::with_server(internet);
        let key = "mtasts:1:p:good.test";
        let ours = Secrets::parse(KEY).unwrap();
        let now = unix_now();
        let sealed = |domain: &str, id: &str, mode: &str, age: u64| {
            let mut entry = Entry::new(name(domain));
            let text = policy_text(mode, &["*.good.test"], 86_400);
            let cached = CachedPolicy::new(id.parse().unwrap(), now - age, text).unwrap();
            entry.cached = Some(cached.into());
            seal(&ours, &entry)
        };
        let old = [
            sealed("good.test", "n1", "none", 900),
            sealed("good.test", "n2", "testing", 600),
            sealed("testing.test", "n3", "none", 0),
        ];
        let policy = policy_text("enforce", &["*.good.test"], 86_400);
        internet.lab.set("good.test", Change::publish("n3", policy)).unwrap();
        let knows = fleet.host("knows");
        assert_eq!(id(&ask(&knows, "good.test")), Some("n3"));
        let current = String::from_utf8(server.get(key)).unwrap();
        // The policy host is gone: nothing but the cache and the fleet has a policy.
        internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
        let mut random = Random(20_260_901);
        let mut authentic = 0;
        for round in 0..rounds {
            let mut text = match random.below(4) {
                3 => current.clone(),
                which => old[which].clone(),
            }
            .into_bytes();
            let is_changed = random.below(10) > 0;
            if is_changed {
                for _ in 0..=random.below(3) {
                    let at = random.below(text.len());
                    match random.below(5) {
                        0 => text[at] ^= 1 << random.below(8),
                        1 => text.truncate(at),
                        2 => text.insert(at, b"0123456789abcdef\n: "[random.below(19)]),
                        3 => drop(text.remove(at)),
                        // A line of another entry.
                        _ => {
                            let other = old[random.below(3)].as_bytes();
                            let cut = random.below(other.len());
                            text.truncate(at);
                            text.extend_from_slice(&other[cut..]);
                        }
                    }
                    if text.is_empty() {
                        text.push(b'x');
                    }
                }
            }
            server.set(key, &text);
            let answer = ask(&knows, "good.test");
            assert_eq!(
                (id(&answer), answer.mode()),
                (Some("n3"), Mode::Enforce),
                "round {round}: {answer}"
            );
            // A host that has nothing believes what a host of the fleet has fetched, and nothing else.
            server.set(key, &text);
            let _ = server.says(&["DEL", "mtasts:1:f:good.test"]);
            let answer = ask(&fleet.host("new"), "good.test");
            let is_authentic = current.as_bytes() == text || old[..2].iter().any(|old| old.as_bytes() == text);
            assert_eq!(
                answer.cached().is_some(),
                is_authentic,
                "round {round}: {answer}\n{}",
                String::from_utf8_lossy(&text)
            );
            authentic += u64::from(is_authentic);
            let _ = fs::remove_file(fleet.disk("new").join("good.test"));
            if round % 50 == 0 {
                // The policy host is back, and the TXT record's id is what counts.
                internet.lab.set("good.test", Change::https(Https::Ok)).unwrap();
                server.set(key, &text);
                let _ = server.says(&["DEL", "mtasts:1:f:good.test"]);
                let answer = ask(&fleet.host("new"), "good.test");
                assert_eq!(
                    (id(&answer), answer.mode()),
                    (Some("n3"), Mode::Enforce),
                    "round {round}: {answer}"
                );
                let _ = fs::remove_file(fleet.disk("new").join("good.test"));
                internet.lab.set("good.test", Change::https(Https::Status500)).unwrap();
            }
        }
        println!("{rounds} rounds, {authentic} of them a replay of an authentic entry");
        assert_eq!(fleet.told(), [""; 0]);
    });
}
