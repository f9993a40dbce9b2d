//! How long the reports of a large day take to make, and how much memory: a million results over 50,000 domains, in the journals
//! of several hosts. Prints a table of benches/RESULTS.md.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use mtasts::cache::store::Store;
use mtasts_report::journals::sessions;
use mtasts_report::report::Day;
use mtasts_report::run::parts;
use mtasts_report::settings::sender;
use mtasts_report::spread::hash;

const DAY: &str = "2026-11-27";
const RESULTS: usize = 1_000_000;
const DOMAINS: usize = 50_000;
/// A journal has 64 MiB at most.
const HOSTS: usize = 8;

fn main() {
    let directory = std::env::temp_dir().join(format!("mtasts-bench-day-{}", std::process::id()));
    fs::create_dir(&directory).expect("a directory");
    for host in 0..HOSTS {
        let mut text = String::new();
        for n in (host..RESULTS).step_by(HOSTS) {
            // Some domains get much more mail than others.
            let domain = if n % 4 == 0 {
                n / 4 % 100
            } else {
                (n / 4 * 3 + n % 4 - 1) % DOMAINS
            };
            write_result(&mut text, domain, n);
        }
        let journal = directory.join(format!(".report-{DAY}-host{host}"));
        fs::write(&journal, text).expect("a journal");
        fs::set_permissions(journal, Permissions::from_mode(0o600)).expect("its mode");
    }
    let store = Store::new(directory.clone());
    let sender = sender("tlsrpt@sender.test", None).expect("an address");
    let begun = Instant::now();
    let (mut reports, mut octets) = (0, 0);
    let parts = parts(&store, DAY).expect("journals");
    for part in 0..parts {
        let mut day = Day::default();
        let wanted = |domain: &str| hash(domain) % parts == part;
        let rest = sessions(&store, DAY, wanted, |session| day.add(session)).expect("journals");
        assert!(rest.is_nothing(), "{rest:?}");
        for (_, sessions) in day.into_domains() {
            octets += sessions.report(DAY, &sender).compressed().len();
            reports += 1;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(reports, DOMAINS);
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .map(str::trim);
    let peak: u64 = peak
        .and_then(|peak| peak.strip_suffix(" kB")?.parse().ok())
        .expect("VmHWM");
    let mark = |good: bool| if good { "yes" } else { "**no**" };
    println!("| case | value | target | met |");
    println!("| --- | --- | --- | --- |");
    println!(
        "| 1,000,000 results of 50,000 domains made into compressed reports, s | {seconds:.1} | < 60 | {} |",
        mark(seconds < 60.0)
    );
    println!(
        "| memory at most, MiB | {} | < 100 | {} |",
        peak / 1024,
        mark(peak < 100 * 1024)
    );
    println!("| size of a report, octets | {} | | |", octets / reports);
    fs::remove_dir_all(directory).expect("the directory");
}

fn write_result(text: &mut String, domain: usize, n: usize) {
    let failure = match n % 10 {
        0 => format!(
            "\"failure-details\":[{{\"c\":204,\"s\":\"192.0.2.{}\",\"n\":\"mx{}.example{domain}.test\",\"r\":\"198.51.100.7\",\
             \"f\":\"certificate-expired: 2026-11-01\"}}],\"t\":1,\"f\":1",
            n % 4,
            n % 3
        ),
        _ => "\"t\":0,\"f\":0".to_owned(),
    };
    let _ = write!(
        text,
        "\n{{\"dpv\":\"1\",\"d\":\"example{domain}.test\",\"policies\":[{{\"policy-type\":2,\"policy-domain\":\"example{domain}.test\",\
         \"policy-string\":[\"version: STSv1\",\"mode: testing\",\"mx: *.example{domain}.test\",\"max_age: 604800\"],\
         \"mx-host\":[\"*.example{domain}.test\"],{failure}}}]}}\n"
    );
}
