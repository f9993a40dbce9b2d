//! Properties that hold for every input (tests/properties/invariants.rs), on texts that proptest makes up: arbitrary
//! octets, and texts near enough to good ones to come far.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use mtasts::cache::entry::Entry;
use mtasts::cache::entry::{CachedPolicy, FailedFetch, TxtSeen};
use mtasts::network::roots::Roots;
use mtasts::protocol::record::PolicyId;
use mtasts::{Domain, Policy, ResultType};
use mtasts_kit::pki;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "properties/hostile.rs"]
mod hostile;
#[path = "properties/invariants.rs"]
mod invariants;

/// Pieces of good texts and arbitrary ones between them.
fn pieces(good: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => select(good).prop_map(|text| text.as_bytes().to_vec()),
        1 => "[ -~\t\r\n]{0,8}".prop_map(String::into_bytes),
        1 => "\\PC{0,4}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

const RECORD: &[&str] = &[
    "v=STSv1",
    ";",
    "; ",
    "id=",
    "20160831085700Z",
    "id=a;",
    "ext=1",
    " \t",
    "\n",
    "=",
];
const REPORT_RECORD: &[&str] = &[
    "v=TLSRPTv1;",
    "v=TLSRPTv1 ; ",
    "rua=",
    "mailto:a@b.example",
    "https://r.example/v1",
    "mailto:",
    "a%21b@B.example",
    "https://",
    "javascript:alert(1)",
    "%0d%0a",
    ",",
    " , ",
    ";",
    "ext=1",
    "\n",
];
const POLICY: &[&str] = &[
    "version: STSv1\n",
    "mode: enforce\r\n",
    "mode:none\n",
    "max_age: 604800\n",
    "max_age:9999999999\n",
    "mx: mail.example.com\n",
    "mx:*.EXAMPLE.net.\r\n",
    "mx: 192.0.2.1\n",
    "x: y\n",
    "mx: ",
    "\n",
];
const NAME: &[&str] = &[
    "a",
    "example",
    ".",
    "xn--",
    "-",
    "1",
    "192.0.2.1",
    "ü",
    "ß",
    "。",
    "１",
    "．",
    "[",
    ":",
    "\u{200d}",
    "１92.0。2.1",
];
const ENTRY: &[&str] = &[
    "domain: example.com\n",
    "policy-id: A\nfetched: 7\n",
    "mode-since: 4\n",
    "imported: 5\n",
    "pinned-until: 6\n",
    "txt-seen: 1\ntxt-next: 2\n",
    "failed-id: B\nfailed-at: 3\nfailed-result: sts-webpki-invalid\nfailed-detail: x\n",
    "unlearned-since: 18446744073709551615\n",
    "used: 8\nidle-since: 9\n",
    "\n",
    "version: STSv1\nmode: none\nmax_age: 1\n",
];
const REPLY: &[&str] = &[
    "+OK\r\n",
    "-ERR no\r\n",
    ":-3\r\n",
    "$3\r\nabc\r\n",
    "$-1\r\n",
    "*2\r\n",
    "*-1\r\n",
    "$9\r\n",
    "*99999\r\n",
    "\r\n",
];
const EXCEPTIONS: &[&str] = &[
    "example.com 2026-12-31 moved\n",
    "a.example\t2000-02-29 \té\n",
    "example.net ",
    "9999-12-31",
    "0000-00-00",
    "2026-02-30",
    " reason",
    "\n",
    "# x\n",
];
const ROOTS: &[&str] = &[
    include_str!("../fuzz/seeds/root.pem"),
    "-----BEGIN CERTIFICATE-----",
    "-----END CERTIFICATE-----",
    "-----BEGIN X509 CERTIFICATE-----",
    "-----END X509 CERTIFICATE-----",
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    "\n",
    "\r\n",
    "\u{feff}",
    "YWJj",
    "# ",
    " ",
    "-",
];
const SETTINGS: &[&str] = &[
    "cache_dir",
    "user",
    "nameservers",
    "allow_addresses",
    "nat64_prefixes",
    "timeout",
    "first_contact_defer",
    "exceptions",
    "txt_life_max",
    " = ",
    "'1h'",
    "'/x'",
    "9999999999999d",
    "999999999d",
    "'999999999d'",
    "'é'",
    "['192.0.2.0/24', '::1']",
    "['2001:db8:64::/96', 'fd64::/48']",
    "-1",
    "\n",
    "[",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn record(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(RECORD, 12)]) {
        invariants::record(&data);
    }

    #[test]
    fn report_record(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(REPORT_RECORD, 16)]) {
        invariants::report_record(&[b"v=TLSRPTv1;rua=", &*data].concat());
        invariants::report_record(&data);
    }

    #[test]
    fn policy(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(POLICY, 12)]) {
        invariants::policy(&data);
    }

    #[test]
    fn names(data in prop_oneof![vec(any::<u8>(), 0..300), pieces(NAME, 3), pieces(NAME, 8), pieces(NAME, 200)]) {
        invariants::names(&data);
    }

    #[test]
    fn mx_match(data in prop_oneof![vec(any::<u8>(), 0..100), pattern_and_host()]) {
        invariants::mx_match(&data);
    }

    #[test]
    fn entry_file(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(ENTRY, 8)]) {
        invariants::entry(&data);
    }

    #[test]
    fn sealed_entry(time in any::<[u8; 8]>(), data in prop_oneof![vec(any::<u8>(), 0..200), pieces(ENTRY, 8)]) {
        invariants::sealed(&[&time[..], &data[..]].concat());
    }

    #[test]
    fn server_reply(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(REPLY, 12)]) {
        invariants::reply(&data);
    }

    #[test]
    fn entry_reads_back(entry in entry()) {
        invariants::reads_back(&entry);
    }

    #[test]
    fn settings(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(SETTINGS, 12)]) {
        invariants::settings(&data);
    }

    #[test]
    fn exceptions(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(EXCEPTIONS, 12)]) {
        invariants::exceptions(&data);
    }

    #[test]
    fn roots(data in prop_oneof![vec(any::<u8>(), 0..200), pieces(ROOTS, 8)]) {
        invariants::roots(&data);
    }

    #[test]
    fn chain(data in vec(any::<u8>(), 0..400)) {
        invariants::chain(&data, &PKI.roots);
    }

    /// A good chain with some octets changed.
    #[test]
    fn chain_with_faults(faults in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let mut data = PKI.chain.clone();
        for (at, octet) in faults {
            let at = at.index(data.len());
            data[at] = octet;
        }
        invariants::chain(&data, &PKI.roots);
    }
}

/// Names of few labels, so that many nearly match.
fn pattern_and_host() -> impl Strategy<Value = Vec<u8>> {
    let pattern = vec(select(&["*", "a", "B", "1", "*.a", "a."][..]), 1..5);
    let host = vec(select(&["a", "b", "A", "1"][..]), 1..5);
    (pattern, host).prop_map(|(pattern, host)| format!("{}\n{}", pattern.join("."), host.join(".")).into_bytes())
}

/// Entries with every field in any state.
fn entry() -> impl Strategy<Value = Entry> {
    let id = || "[A-Za-z0-9]{1,32}".prop_map(|id| id.parse::<PolicyId>().unwrap());
    let cached = (id(), any::<u64>(), pieces(POLICY, 12)).prop_map(|(id, fetched, text)| {
        let text = String::from_utf8(text)
            .ok()
            .filter(|text| Policy::parse(text.as_bytes()).is_ok())
            .unwrap_or_else(|| "version: STSv1\n\nmode: none\nmax_age: 0".into());
        Arc::new(CachedPolicy::new(id, fetched, text).unwrap())
    });
    let txt = (any::<u64>(), any::<u64>()).prop_map(|(at, next)| TxtSeen { at, next });
    let failed = (id(), any::<u64>(), 301..=303, any::<String>());
    let failed = failed.prop_map(|(id, at, result, detail)| {
        FailedFetch::new(id, at, ResultType::from_number(result).unwrap(), &detail)
    });
    let times: [_; 6] = std::array::from_fn(|_| prop::option::of(any::<u64>()));
    let parts = (
        prop::option::of(cached),
        prop::option::of(txt),
        prop::option::of(failed),
        times,
    );
    parts.prop_map(|(cached, txt, failed, times)| {
        let [unlearned_since, mode_since, imported, pinned_until, used, idle_since] = times;
        Entry {
            domain: Domain::parse("example.com").unwrap(),
            cached,
            txt,
            failed,
            unlearned_since,
            mode_since,
            imported,
            pinned_until,
            used,
            idle_since,
        }
    })
}

/// A good chain, as the invariant wants it, and its root.
struct Pki {
    roots: Roots,
    chain: Vec<u8>,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let root = pki::root("Root");
    let intermediate = pki::intermediate("Intermediate", &root, |_| {});
    let host = pki::host(&["mx.example.com"], &intermediate, |_| {});
    let mut chain = Vec::new();
    for der in [&host.der[..], intermediate.der()] {
        chain.extend(u16::try_from(der.len()).unwrap().to_be_bytes());
        chain.extend(der);
    }
    Pki {
        roots: pki::roots(&[&root]),
        chain,
    }
});

/// Whether `long` takes less than `limit` times what `short` takes. The machine may be busy: the best of many rounds
/// counts, and the first that settles it ends them.
fn within(limit: u32, mut short: impl FnMut(), mut long: impl FnMut()) -> Result<(), String> {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let mut best = (Duration::MAX, Duration::MAX);
    let end = Instant::now() + Duration::from_secs(5);
    for round in 0.. {
        if Instant::now() > end {
            break;
        }
        best = (best.0.min(time(&mut short)), best.1.min(time(&mut long)));
        if round >= 5 && best.1 < best.0 * limit {
            return Ok(());
        }
    }
    Err(format!("{:?} against {:?}", best.1, best.0))
}

fn parse(text: &[u8]) {
    let _ = black_box(Policy::parse(black_box(text)));
}

/// P18: a text four times as long costs four times as much, whatever its shape; sixteen times would be quadratic.
#[test]
fn the_policy_parser_is_linear() {
    for (name, text) in hostile::policies() {
        let whole = text.as_bytes();
        let quarter = &whole[..whole.len() / 4];
        within(9, || parse(quarter), || parse(whole)).expect(name);
    }
}

/// P18: no shape costs much more an octet than the plainest scan of the text.
#[test]
fn the_policy_parser_is_close_to_a_scan() {
    for (name, text) in hostile::policies() {
        let colons = |line: &str| line.bytes().filter(|c| *c == b':').count();
        let scan = || {
            black_box(black_box(&text).split('\n').map(colons).sum::<usize>());
        };
        within(100, scan, || parse(text.as_bytes())).expect(name);
    }
}

/// P19: what we print can be read again also where there is no room for the spaces.
#[test]
fn a_full_policy_reads_back() {
    for (_, text) in hostile::policies() {
        invariants::policy(text.as_bytes());
    }
}

/// P18: what is kept of the largest policy is no larger than its text by much.
#[test]
fn a_full_policy_keeps_each_pattern_once() {
    let (_, text) = &hostile::policies()[0];
    let (policy, _) = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(
        policy.mx().len(),
        text.matches("mx:").count() - 1,
        "the two \"a\" are one"
    );
}
