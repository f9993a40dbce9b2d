//! What the pure parts cost: policy, record, names, MX match, certificate chain. Prints rows of a table; each round runs
//! every case once, so that a busy moment of the machine hits all of them, and the medians are compared.
//!
//! `core make-cache DIR COUNT` fills a cache for the C programs beside this file.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtasts::cache::entry::Entry;
use mtasts::cache::entry::{CachedPolicy, TxtSeen};
use mtasts::protocol::certificate::check_chain;
use mtasts::protocol::record::Record;
use mtasts::sender::resolver::unix_now;
use mtasts::{Domain, Policy};
use mtasts_kit::pki;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

#[path = "../tests/properties/hostile.rs"]
mod hostile;

const SIX_LINES: &str = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n\
                         mx: backupmx.example.com\r\nmax_age: 604800\r\n";
const ROUNDS: usize = 101;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, dir, count] = &arguments[..]
        && command == "make-cache"
    {
        return make_cache(Path::new(dir), count.parse().expect("a number"));
    }
    policies();
    matches();
    chain();
    worst_chains();
}

/// A case: its name, the most that it may take in nanoseconds, and the work.
struct Case<'a> {
    name: String,
    target: Option<f64>,
    work: Box<dyn FnMut() + 'a>,
}

fn case<'a>(name: impl Into<String>, target: impl Into<Option<f64>>, work: impl FnMut() + 'a) -> Case<'a> {
    Case {
        name: name.into(),
        target: target.into(),
        work: Box::new(work),
    }
}

/// Measures all cases together and prints a row for each; the first is the floor that the others are compared with.
fn compare(mut cases: Vec<Case<'_>>) {
    let batch = Duration::from_micros(300);
    let counts: Vec<u32> = cases
        .iter_mut()
        .map(|case| {
            let (mut count, start) = (0, Instant::now());
            while start.elapsed() < batch {
                (case.work)();
                count += 1;
            }
            count
        })
        .collect();
    let mut samples = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((case, count), samples) in cases.iter_mut().zip(&counts).zip(&mut samples) {
            let start = Instant::now();
            for _ in 0..*count {
                (case.work)();
            }
            samples.push(start.elapsed().as_nanos() as f64 / f64::from(*count));
        }
    }
    let medians: Vec<f64> = samples
        .iter_mut()
        .map(|samples| {
            samples.sort_by(f64::total_cmp);
            samples[ROUNDS / 2]
        })
        .collect();
    for (case, median) in cases.iter().zip(&medians) {
        let (target, met) = match case.target {
            Some(target) => (
                format!("<= {target:.0}"),
                if *median <= target { "yes" } else { "**no**" },
            ),
            None => ("".into(), ""),
        };
        let ratio = median / medians[0];
        println!("| {} | {median:.0} | {ratio:.2} | {target} | {met} |", case.name);
    }
}

/// The least that a reader of a policy does: it looks at each octet, and finds the lines and their colons.
fn scan(text: &[u8]) -> usize {
    let text = std::str::from_utf8(black_box(text)).expect("UTF-8");
    let colons = text.split('\n').filter_map(|line| line.split_once(':'));
    colons.map(|(name, value)| name.len() ^ value.len()).sum()
}

fn parsed(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).expect("valid").0
}

fn pair(name: &str, text: &[u8], target: f64) {
    compare(vec![
        case(format!("scan of it: UTF-8, line ends, colons ({name})"), None, || {
            black_box(scan(text));
        }),
        case(format!("policy, {name}"), target, || {
            let _ = black_box(Policy::parse(black_box(text)));
        }),
    ]);
}

fn hundred_mx() -> String {
    let mx: String = (0..100).map(|i| format!("mx: mx{i}.example.com\r\n")).collect();
    format!("version: STSv1\r\nmode: enforce\r\n{mx}max_age: 604800\r\n")
}

fn policies() {
    pair("6 lines", SIX_LINES.as_bytes(), 250.0);
    pair("100 mx", hundred_mx().as_bytes(), 6_000.0);
    for (name, text) in hostile::policies() {
        pair(&format!("64 KiB, {name}"), text.as_bytes(), 500_000.0);
    }
}

fn matches() {
    let (six, hundred) = (parsed(SIX_LINES), parsed(&hundred_mx()));
    let host = |name| Domain::parse(name).expect("a name");
    let (first, wildcard, none) = (
        host("mail.example.com"),
        host("mx1.example.net"),
        host("mx1.example.org"),
    );
    let equal = String::from("mail.example.com");
    compare(vec![
        case("one comparison of two names", None, || {
            black_box(black_box(first.as_str()) == black_box(&*equal));
        }),
        case("MX match, the first of 3", None, || {
            black_box(black_box(&six).allows_mx(black_box(&first)));
        }),
        case("MX match, a wildcard, the second of 3", None, || {
            black_box(black_box(&six).allows_mx(black_box(&wildcard)));
        }),
        case("MX match, none of 100", None, || {
            black_box(black_box(&hundred).allows_mx(black_box(&none)));
        }),
        case("a name, ASCII", None, || {
            let _ = black_box(Domain::parse(black_box("Mail.Example.COM.")));
        }),
        case("a name, U-labels", None, || {
            let _ = black_box(Domain::parse(black_box("bücher.example")));
        }),
        case("a record", None, || {
            let _ = black_box(Record::parse(black_box(b"v=STSv1; id=20160831085700Z;")));
        }),
    ]);
}

/// Host, intermediate, root (ECDSA P-256), among 140 other roots: what a CA bundle holds.
fn chain() {
    let root = pki::root("Root");
    let intermediate = pki::intermediate("Intermediate", &root, |_| {});
    let leaf = pki::host(&["mx.example.com", "*.example.com"], &intermediate, |_| {}).der;
    let others: Vec<pki::Authority> = (0..140).map(|i| pki::root(&format!("Root {i}"))).collect();
    let roots = pki::roots(&others.iter().chain([&root]).collect::<Vec<_>>());
    let only_root = pki::roots(&[&root]);
    let sent: Vec<&[u8]> = vec![&leaf, intermediate.der()];
    let host = Domain::parse("mx.example.com").expect("a name");
    let at = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let (der, issuers) = (
        CertificateDer::from(&*leaf),
        [CertificateDer::from(&**intermediate.der())],
    );
    let webpki_alone = || {
        let leaf = EndEntityCert::try_from(&der).expect("a certificate");
        let (all, usage) = (webpki::ALL_VERIFICATION_ALGS, KeyUsage::server_auth());
        let path = leaf.verify_for_usage(all, only_root.anchors(), &issuers, at, usage, None, None);
        assert!(path.is_ok());
    };
    compare(vec![
        case("the path alone, by webpki, its one root given", None, webpki_alone),
        case("certificate chain, 3 deep, 141 roots", 120_000.0, || {
            assert_eq!(check_chain(&host, black_box(&sent), roots.anchors(), at), Ok(()));
        }),
    ]);
}

/// What a hostile host can make a check cost: the worst of the chains that tests/pki/worst.rs makes, each three times.
fn worst_chains() {
    let host = Domain::parse("mx1.example.com").expect("a name");
    let at = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    for worst in pki::worst::chains() {
        let sent: Vec<&[u8]> = worst.chain.iter().map(Vec::as_slice).collect();
        let took = (0..3).map(|_| {
            let start = Instant::now();
            assert!(check_chain(&host, black_box(&sent), worst.roots.anchors(), at).is_err());
            start.elapsed().as_nanos()
        });
        let (took, target) = (took.min().unwrap_or_default(), 50_000_000);
        let met = if took <= target { "yes" } else { "**no**" };
        println!(
            "| hostile chain: {}, {} octets | {took} | | <= {target} | {met} |",
            worst.what,
            worst.octets()
        );
    }
}

/// Domains `customer0.example.com` and on, as another process would have left them a second ago.
fn make_cache(dir: &Path, count: usize) {
    let now = unix_now();
    for i in 0..count {
        let mut entry = Entry::new(Domain::parse(&format!("customer{i}.example.com")).expect("a name"));
        let id = "20160831085700Z".parse().expect("an id");
        entry.cached = Some(Arc::new(CachedPolicy::new(id, now - 1, SIX_LINES).expect("a policy")));
        entry.txt = Some(TxtSeen {
            at: now - 1,
            next: now + 86_400,
        });
        std::fs::write(dir.join(entry.domain.as_str()), entry.to_file()).expect("a file in the cache");
    }
}
