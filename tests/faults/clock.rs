//! Clocks that jump by a year, forward and back: no policy comes back to life, and none is lost.

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtasts::cache::entry::Entry;
use mtasts::cache::entry::{CachedPolicy, TxtSeen};
use mtasts::network::dns::{Answered, Dns, DnsError, Mx};
use mtasts::network::https::{FetchError, Https};
use mtasts::sender::answer::Decision;
use mtasts::sender::lookup::{Ask, Lookup};
use mtasts::sender::resolver::unix_now;
use mtasts::{Answer, Domain, Mode, ResultType, Settings, Source};
use mtasts_lab::Change;

use mtasts_kit::{Internet, USER, as_user, ask, mtasts, name};

use crate::on_the_internet;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
const T: u64 = 1_800_000_000;

/// The network: there, or gone.
struct Network(bool);

impl Dns for Network {
    fn txt(&self, _: &str, _: Instant) -> Result<Answered<Vec<Vec<u8>>>, DnsError> {
        let there = Answered {
            data: vec![b"v=STSv1; id=one;".to_vec()],
            ttl: Duration::from_secs(300),
            authenticated: false,
        };
        if self.0 { Ok(there) } else { Err(DnsError::ServFail) }
    }

    fn addresses(&self, _: &str, _: Instant) -> Result<Answered<Vec<IpAddr>>, DnsError> {
        unreachable!()
    }

    fn mx(&self, _: &Domain, _: Instant) -> Result<Answered<Vec<Mx>>, DnsError> {
        unreachable!()
    }
}

impl Https for Network {
    fn get(&self, _: &Domain, _: Instant) -> Result<Vec<u8>, FetchError> {
        if self.0 {
            return Ok(b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 2592000\n".to_vec());
        }
        Err(FetchError::Host {
            result: ResultType::StsPolicyFetchError,
            detail: "gone".into(),
        })
    }
}

/// A mail at this time.
fn mail(entry: &mut Entry, network: bool, now: u64) -> Answer {
    let (network, settings) = (Network(network), Settings::default());
    let lookup = Lookup {
        dns: &network,
        https: &network,
        flight: &(),
        settings: &settings,
    };
    let deadline = Instant::now() + Duration::from_secs(9);
    let outcome = lookup.run(entry, Ask::Delivery, now, deadline).unwrap();
    outcome.into_answer(Decision::default()).unwrap()
}

fn fetched() -> Entry {
    let mut entry = Entry::new(name("example.com"));
    assert_eq!(mail(&mut entry, true, T).source(), Source::Fresh);
    entry
}

#[test]
fn a_year_forward_and_back() {
    // Without a network: by the wrong clock the policy has expired, and by the right one it counts as before.
    let mut entry = fetched();
    assert_eq!(
        mail(&mut entry, false, T + YEAR).mode(),
        Mode::None,
        "it does not live on"
    );
    let back = mail(&mut entry, false, T + HOUR);
    assert_eq!(
        (back.source(), back.mode()),
        (Source::CachedAfterFailure, Mode::Enforce)
    );
    assert_eq!(mail(&mut entry, false, T + 30 * DAY).mode(), Mode::Enforce);
    assert_eq!(
        mail(&mut entry, false, T + 30 * DAY + 1).mode(),
        Mode::None,
        "nor longer than it would have"
    );

    // With one: it is fetched in the wrong year, and DNS is asked as soon as the clock is right.
    let mut entry = fetched();
    assert_eq!(mail(&mut entry, true, T + YEAR).source(), Source::Fresh);
    assert_eq!(Lookup::hit(&entry, &Settings::default(), T + HOUR), None);
    assert_eq!(mail(&mut entry, true, T + HOUR).source(), Source::Cached);
    assert!(entry.txt.as_ref().unwrap().next <= T + 2 * HOUR);

    // A failure in the wrong year is no pause, and the first one by the right clock counts anew.
    let mut entry = Entry::new(name("example.com"));
    let wait = Settings {
        first_contact_defer: Duration::from_secs(HOUR),
        ..Settings::default()
    };
    let until = |entry: &mut Entry, now| Lookup::unanswered(entry, &wait, now).defer_until;
    assert_eq!(until(&mut entry, T + YEAR), Some(T + YEAR + HOUR));
    assert_eq!(until(&mut entry, T), Some(T + HOUR));
    assert_eq!(until(&mut entry, T + 1800), Some(T + HOUR));
    assert_eq!(until(&mut entry, T + HOUR), None);
}

#[test]
fn a_year_back_and_forward() {
    // The clock of a machine that has just started, say: what is known counts, and DNS is asked.
    let mut entry = fetched();
    let early = mail(&mut entry, false, T - YEAR);
    assert_eq!(
        (early.source(), early.mode()),
        (Source::CachedAfterFailure, Mode::Enforce)
    );
    assert_eq!(mail(&mut entry, false, T + 30 * DAY).mode(), Mode::Enforce);
    assert_eq!(mail(&mut entry, false, T + 30 * DAY + 1).mode(), Mode::None);

    // What was fetched in the wrong year has expired in the right one, and is fetched again at once.
    let mut entry = Entry::new(name("example.com"));
    assert_eq!(mail(&mut entry, true, T - YEAR).source(), Source::Fresh);
    assert_eq!(mail(&mut entry, false, T).mode(), Mode::None);
    assert_eq!(mail(&mut entry, true, T).source(), Source::Fresh);
}

/// The same jump, as the cache on disk sees it: all its times are wrong at once.
fn jump(ground: &Internet, domain: &str, by: i64) {
    let mut entry = ground.entry(domain).unwrap();
    let moved = |time: u64| time.checked_add_signed(-by).unwrap();
    let cached = entry.cached.as_ref().unwrap();
    let cached = CachedPolicy::new(cached.id, moved(cached.fetched), cached.text.as_str());
    entry.cached = Some(Arc::new(cached.unwrap()));
    entry.txt = entry.txt.map(|txt| TxtSeen {
        at: moved(txt.at),
        next: moved(txt.next),
    });
    if let Some(failed) = &mut entry.failed {
        failed.at = moved(failed.at);
    }
    for time in [&mut entry.mode_since, &mut entry.used, &mut entry.idle_since] {
        *time = time.map(moved);
    }
    as_user(USER, USER, || ground.store().save(&entry).unwrap());
}

fn refresh() -> serde_json::Value {
    let mut command = Command::new(mtasts());
    let output = command
        .args(["cache", "refresh", "--json"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `mtasts cache refresh` in the wrong year, once an hour for days, and then in the right one.
#[test]
fn a_refresh_in_the_wrong_year() {
    on_the_internet("clock", |ground| {
        // The clock of what a fleet knows does not jump.
        let asks = || as_user(USER, USER, || ask(&ground.resolver_of_new_fleet(), "good.test"));
        let year = i64::try_from(YEAR).unwrap();
        let day = i64::try_from(DAY).unwrap();
        let first = asks();
        let policy = first.cached().unwrap();

        // Forward, and nobody can be asked: it has expired by that clock, and stays.
        ground.lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        jump(ground, "good.test", year);
        for _ in 0..6 {
            let ran = refresh();
            assert_eq!((&ran["removed"], &ran["policies"]), (&0.into(), &1.into()), "{ran}");
            jump(ground, "good.test", day);
        }
        assert!(ground.entry("good.test").unwrap().idle_since.is_some());
        assert_eq!(asks().mode(), Mode::None, "it is not brought back to life");
        jump(ground, "good.test", -year - 6 * day);
        let kept = asks();
        assert_eq!(kept.mode(), Mode::Enforce, "{kept}");
        assert!(kept.cached().unwrap().fetched.abs_diff(policy.fetched) < 60);
        refresh();
        assert_eq!(ground.entry("good.test").unwrap().idle_since, None);

        // Back: fetched next year. It counts, and the refresh makes it right at once.
        ground.lab.reset().unwrap();
        jump(ground, "good.test", -year);
        assert_eq!(asks().mode(), Mode::Enforce);
        let ran = refresh();
        assert_eq!((&ran["renewed"], &ran["removed"]), (&1.into(), &0.into()), "{ran}");
        let now = unix_now();
        let entry = ground.entry("good.test").unwrap();
        assert!(entry.cached.unwrap().fetched.abs_diff(now) < 60);
        assert!(entry.txt.unwrap().next <= now + HOUR);
    });
}
