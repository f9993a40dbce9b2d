//! The timelines of `tests/vectors/rfc8461.json`: the life of a cached policy, second by second, each step through a
//! real store on disk. DNS and HTTPS are scripted here, because the clock is; the real ones are in tests/lookup.rs.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::network::dns::{Answered, Dns, DnsError, Mx};
use mtasts::network::https::{FetchError, Https};
use mtasts::sender::answer::Decision;
use mtasts::sender::lookup::{Ask, Lookup};
use mtasts::sender::settings::Settings;
use mtasts::{Domain, ResultType, Source};
use serde_json::{Value, json};

struct Script {
    event: Mutex<Value>,
    gets: Mutex<u64>,
}

impl Dns for Script {
    fn txt(&self, name: &str, _: Instant) -> Result<Answered<Vec<Vec<u8>>>, DnsError> {
        assert_eq!(name, "_mta-sts.example.com");
        let ttl = Duration::from_secs(300);
        match self.event.lock().unwrap()["dns"].as_str().unwrap() {
            "none" => Err(DnsError::NxDomain),
            "temperror" => Err(DnsError::ServFail),
            id => {
                let id = id.strip_prefix("id:").unwrap();
                Ok(Answered {
                    data: vec![format!("v=STSv1; id={id};").into_bytes()],
                    ttl,
                    authenticated: false,
                })
            }
        }
    }

    fn addresses(&self, _: &str, _: Instant) -> Result<Answered<Vec<IpAddr>>, DnsError> {
        unreachable!()
    }

    fn mx(&self, _: &Domain, _: Instant) -> Result<Answered<Vec<Mx>>, DnsError> {
        unreachable!()
    }
}

impl Https for Script {
    fn get(&self, domain: &Domain, _: Instant) -> Result<Vec<u8>, FetchError> {
        assert_eq!(domain.as_str(), "example.com");
        *self.gets.lock().unwrap() += 1;
        let event = self.event.lock().unwrap();
        let https = &event["https"];
        if let Some(policy) = https["policy"].as_str() {
            return Ok(policy.as_bytes().to_vec());
        }
        let result = match https["error"].as_str() {
            Some("tls-cert") => ResultType::StsWebpkiInvalid,
            _ if https.is_null() => panic!("the policy host must not be asked: {event}"),
            _ => ResultType::StsPolicyFetchError,
        };
        Err(FetchError::Host {
            result,
            detail: https.to_string(),
        })
    }
}

fn play(vector: &Value, txt_life: Duration) {
    let name = &vector["name"];
    let dir = std::env::temp_dir().join(format!(
        "mtasts-timeline-{}-{}",
        std::process::id(),
        name.as_str().unwrap()
    ));
    let _ = std::fs::remove_dir_all(&dir);
    let store = Store::new(dir.clone());
    let domain = Domain::parse(vector["domain"].as_str().unwrap()).unwrap();
    let settings = Settings {
        txt_life_min: txt_life,
        txt_life_max: txt_life,
        // The vectors' profile has it for DNS alone, so that only those that name it have the setting.
        first_contact_defer: Duration::from_secs(if vector.to_string().contains(r#""action":"defer""#) {
            3600
        } else {
            0
        }),
        ..Settings::default()
    };
    for event in vector["events"].as_array().unwrap() {
        let script = Script {
            event: Mutex::new(event.clone()),
            gets: Mutex::new(0),
        };
        let lookup = Lookup {
            dns: &script,
            https: &script,
            flight: &(),
            settings: &settings,
        };
        let ask = match event["op"].as_str().unwrap() {
            "lookup" => Ask::Delivery,
            "refresh" => Ask::Refresh,
            "pre_bounce" => Ask::Recheck,
            other => panic!("{other}"),
        };
        // Each step reads and writes the disk, as a new process does.
        let mut entry = store
            .load(&domain)
            .unwrap()
            .unwrap_or_else(|| mtasts::cache::entry::Entry::new(domain.clone()));
        let (read, before) = (entry.clone(), entry.cached.clone());
        let (t, deadline) = (event["t"].as_u64().unwrap(), Instant::now() + Duration::from_secs(9));
        let outcome = lookup.run(&mut entry, ask, t, deadline).unwrap();
        let seen = u64::from(outcome.seen.body.is_some());
        assert_eq!(seen, *script.gets.lock().unwrap(), "{name} at {}", event["t"]);
        let answer = outcome.into_answer(Decision::default()).unwrap();
        store.update(&read, &entry).unwrap();

        let at = format!("{name} at {}: {answer:?}", event["t"]);
        for (key, want) in event["expect"].as_object().unwrap() {
            match key.as_str() {
                "gets" => assert_eq!(want, *script.gets.lock().unwrap(), "{at}"),
                "policy" => assert_eq!(want.as_str(), answer.policy().map(|p| p.mode().name()), "{at}"),
                "id" => assert_eq!(want.as_str(), answer.cached().map(|h| h.id.as_str()), "{at}"),
                "expires_at" => assert_eq!(want.as_u64(), answer.cached().map(|h| h.expires()), "{at}"),
                "alert" => assert_eq!(want.as_bool(), Some(answer.alert().is_some()), "{at}"),
                "source" if want == "fresh" => assert_eq!(answer.source(), Source::Fresh, "{at}"),
                "source" => {
                    assert!(
                        matches!(answer.source(), Source::Cached | Source::CachedAfterFailure),
                        "{at}"
                    );
                }
                "result_type" => {
                    let result = answer.failure().and_then(|f| f.result);
                    assert_eq!(want.as_str(), result.map(ResultType::name), "{at}");
                }
                "action" => match want.as_str().unwrap() {
                    "no-policy" => assert!(
                        answer.mode() == mtasts::Mode::None && answer.defer_until().is_none(),
                        "{at}"
                    ),
                    "apply" => assert!(answer.mode() != mtasts::Mode::None, "{at}"),
                    "defer" => assert!(answer.defer_until().is_some(), "{at}"),
                    "temp-fail" => assert_eq!(entry.cached, before, "{at}"),
                    "re-evaluate" => assert_ne!(entry.cached, before, "{at}"),
                    other => panic!("{other}"),
                },
                other => panic!("{other}"),
            }
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn timelines() {
    let all: Value = serde_json::from_str(include_str!("vectors/rfc8461.json")).unwrap();
    for vector in all["timeline"].as_array().unwrap() {
        assert_eq!(vector["profile"]["txt_check"], "every-lookup");
        play(vector, Duration::ZERO);
    }
}

/// A record that announces a policy, and a policy host that does not give it, are the strongest hint of an attack that
/// there is: on first contact the mail waits as it does where DNS is silent, by the same clock.
#[test]
fn first_contact_waits_for_the_policy_host_too() {
    const HOUR: u64 = 3600;
    const T: u64 = 1_800_000_000;
    let wait = Settings {
        first_contact_defer: Duration::from_secs(HOUR),
        txt_life_min: Duration::ZERO,
        txt_life_max: Duration::ZERO,
        ..Settings::default()
    };
    let domain = Domain::parse("example.com").unwrap();
    let look = |entry: &mut mtasts::cache::entry::Entry, settings: &Settings, event: Value, now: u64| {
        let script = Script {
            event: Mutex::new(event),
            gets: Mutex::new(0),
        };
        let lookup = Lookup {
            dns: &script,
            https: &script,
            flight: &(),
            settings,
        };
        let deadline = Instant::now() + Duration::from_secs(9);
        let outcome = lookup.run(entry, Ask::Delivery, now, deadline).unwrap();
        outcome.into_answer(Decision::default()).unwrap()
    };
    let broken = |error: &str| json!({ "dns": "id:a", "https": { "error": error } });
    let good = json!({ "dns": "id:a", "https": { "policy": "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n" } });

    for error in ["tls-cert", "timeout"] {
        let mut entry = mtasts::cache::entry::Entry::new(domain.clone());
        let first = look(&mut entry, &wait, broken(error), T);
        assert_eq!(
            (first.source(), first.defer_until()),
            (Source::CouldNotLearn, Some(T + HOUR)),
            "{first}"
        );
        let verdict = mtasts::sender::verdict::verdict(&first, &domain.clone().into(), &mtasts::Seen::Name);
        assert_eq!(verdict.action, mtasts::Action::Defer);
        assert!(
            verdict.sentence.contains("https://mta-sts.example.com"),
            "{}",
            verdict.sentence
        );
        // In the pause, after it, and while DNS fails as well: it is the same wait.
        let dns_gone = json!({ "dns": "temperror" });
        for (event, at) in [
            (Value::Null, T),
            (broken(error), T + 600),
            (dns_gone, T + 900),
            (broken(error), T + 1800),
        ] {
            let event = if event.is_null() {
                json!({ "dns": "id:a" })
            } else {
                event
            };
            assert_eq!(look(&mut entry, &wait, event, at).defer_until(), Some(T + HOUR), "{at}");
        }
        // It runs out, and mail flows (RFC 8461 3.3); and when the policy is there it protects.
        let over = look(&mut entry, &wait, broken(error), T + HOUR);
        assert_eq!(
            (over.defer_until(), over.failure().unwrap().result.is_some()),
            (None, true),
            "{over}"
        );
        assert_eq!(
            look(&mut entry, &wait, good.clone(), T + 2 * HOUR).source(),
            Source::Fresh
        );
        assert_eq!(entry.unlearned_since, None);
        // Nothing waits where a policy counts.
        let kept = look(
            &mut entry,
            &wait,
            json!({ "dns": "id:b", "https": { "error": error } }),
            T + 3 * HOUR,
        );
        assert_eq!((kept.source(), kept.defer_until()), (Source::CachedAfterFailure, None));
    }
    let mut entry = mtasts::cache::entry::Entry::new(domain);
    let flows = look(&mut entry, &Settings::default(), broken("timeout"), T);
    assert_eq!(
        (flows.defer_until(), entry.unlearned_since),
        (None, None),
        "only where it is asked for"
    );
}
