//! The completion queue on the test Internet. Each scenario runs in a process of its own, whose threads, descriptors and
//! memory are then the queue's: as an ordinary user, and as root with its helpers.

mod c;
mod scenario;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::network::dns::{Dns, StubResolver};
use mtasts_lab::{self as lab, Change, Https, Policy};

use mtasts_kit::dns_server::{DnsServer, Reply, address, txt};
use mtasts_kit::{Internet, on_the_internet};

/// Where the policy hosts of `slowN.example` are: they accept and say nothing.
const BLACK_HOLE: &str = "198.18.99.1";

/// A scenario in a process of its own.
fn run(internet: &Internet, scenario: &str, who: &str, settings: &str) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", "scenario::one", "--nocapture"])
        .env("MTASTS_SCENARIO", format!("{scenario} {who}"))
        .env("MTASTS_TEST_CACHE", &internet.cache)
        .env("MTASTS_TEST_SETTINGS", settings);
    let output = process.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    print!(
        "{}",
        said.lines()
            .filter(|line| line.contains(who))
            .collect::<Vec<_>>()
            .join("\n")
    );
    println!();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{scenario} as {who}: {}\n{said}{complained}",
        output.status
    );
}

/// A scenario as an ordinary user and as root, each with an empty cache.
fn run_both(internet: &Internet, scenario: &str, settings: &str) {
    for who in ["user", "root"] {
        internet.empty_cache();
        run(internet, scenario, who, settings);
    }
}

/// The domains whose policy host answers at once, and those whose policy host the test has slowed down.
fn good_domains() -> Vec<String> {
    let has_policy = |entry: &lab::Entry| matches!(entry.policy, Policy::Enforce | Policy::Testing | Policy::None);
    let table = lab::table().into_iter().filter(has_policy);
    table.map(|entry| entry.name).collect()
}

/// A name server that knows `good.test` as the lab does, and any number of domains `slowN.example`.
fn many_slow_domains() -> DnsServer {
    let soon = Instant::now() + Duration::from_secs(20);
    let lab = StubResolver::with_servers(&[(lab::DNS_ADDRESS, 53).into()]);
    let good = lab.addresses("mta-sts.good.test", soon).unwrap().data[0].to_string();
    let listener = TcpListener::bind((BLACK_HOLE.parse::<Ipv4Addr>().unwrap(), 443)).unwrap();
    thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    DnsServer::start(move |asked| match asked.kind {
        RecordType::TXT => Reply::answers(vec![txt(&asked.name, 60, &[b"v=STSv1; id=a;"])]),
        RecordType::A if asked.name == "mta-sts.good.test" => Reply::answers(vec![address(&asked.name, &good)]),
        RecordType::A => Reply::answers(vec![address(&asked.name, BLACK_HOLE)]),
        _ => Reply::nodata(),
    })
}

fn settings_with(dns: &DnsServer, more: &str) -> String {
    format!("nameservers={};{more}", dns.address)
}

#[test]
fn a_queue_is_one_descriptor_and_its_threads_come_with_need_and_go() {
    on_the_internet("threads", |internet| run_both(internet, "threads", ""));
}

#[test]
fn lookups_of_one_domain_are_one_fetch() {
    on_the_internet("joined", |internet| {
        for who in ["user", "root"] {
            internet.empty_cache();
            internet.lab.reset().unwrap();
            run(internet, "joined", who, "");
            assert_eq!(
                internet.lab.counters().https.get("mta-sts.good.test"),
                Some(&1),
                "{who}"
            );
        }
    });
}

#[test]
fn a_hit_is_complete_at_once_without_the_network() {
    on_the_internet("hits", |internet| {
        run(internet, "fill", "user", "");
        let asked = internet.lab.counters();
        run(internet, "hits", "user", "");
        run(internet, "hits", "root", "");
        assert_eq!(internet.lab.counters(), asked);
    });
}

#[test]
fn a_recheck_asks_whatever_the_cache_says() {
    on_the_internet("recheck", |internet| {
        for who in ["user", "root"] {
            internet.empty_cache();
            internet.lab.reset().unwrap();
            run(internet, "fill", "user", "");
            let weaker = lab::policy_text("testing", &["mx.good.test"], 86400);
            internet.lab.set("good.test", Change::publish("newer", weaker)).unwrap();
            run(internet, "recheck", who, "");
            let fetched = internet.lab.counters().https["mta-sts.good.test"];
            assert_eq!(fetched, 2, "{who}: one for the cache, one for both rechecks");
        }
    });
}

#[test]
fn fast_domains_do_not_wait_for_slow_ones() {
    on_the_internet("mixed", |internet| {
        let slow = [Https::BlackHole, Https::Drip, Https::Silent];
        for (domain, https) in good_domains().iter().zip(slow.iter().cycle()).take(scenario::SLOW) {
            internet.lab.set(domain, Change::https(*https)).unwrap();
        }
        run_both(internet, "mixed", "");
    });
}

#[test]
fn a_policy_in_the_cache_outlives_the_callers_patience() {
    on_the_internet("patience", |internet| {
        for who in ["user", "root"] {
            internet.empty_cache();
            internet.lab.reset().unwrap();
            run(internet, "fill", who, "");
            internet.lab.set("good.test", Change::txt("SILENT")).unwrap();
            run(internet, "patience", who, "txt_life_min=0s;txt_life_max=0s");
        }
    });
}

/// The name server overhears the first question.
#[test]
fn a_patient_lookup_outlives_the_hasty_one_that_it_joined() {
    on_the_internet("hasty", |internet| {
        for who in ["user", "root"] {
            internet.empty_cache();
            let overheard = AtomicBool::new(false);
            let dns = DnsServer::start(move |_| match overheard.swap(true, Ordering::Relaxed) {
                false => Reply::silence(),
                true => Reply::nxdomain(),
            });
            run(internet, "hasty", who, &settings_with(&dns, ""));
        }
    });
}

#[test]
fn the_administrator_is_told_on_the_callers_thread() {
    on_the_internet("told", |internet| {
        for who in ["user", "root"] {
            internet.empty_cache();
            internet.lab.reset().unwrap();
            run(internet, "fill", who, "");
            internet.lab.set("good.test", Change::txt("NXDOMAIN")).unwrap();
            internet.lab.set("testing.test", Change::txt("SILENT")).unwrap();
            run(internet, "told", who, "txt_life_min=0s;txt_life_max=0s");
        }
    });
}

#[test]
fn a_cancelled_lookup_completes_at_once_and_its_answer_is_for_the_cache() {
    on_the_internet("cancel", |internet| {
        let dns = many_slow_domains();
        run_both(internet, "cancel", &settings_with(&dns, "timeout=8s"));
    });
}

#[test]
fn a_queue_is_dropped_in_flight() {
    on_the_internet("dropped", |internet| {
        let dns = many_slow_domains();
        run_both(internet, "dropped", &settings_with(&dns, "timeout=3s"));
    });
}

#[test]
fn a_child_leaves_the_parents_queue_alone() {
    on_the_internet("forked", |internet| {
        let dns = many_slow_domains();
        run_both(internet, "forked", &settings_with(&dns, ""));
    });
}

#[test]
fn without_a_thread_or_a_descriptor_the_caller_is_told() {
    on_the_internet("limits", |internet| run(internet, "limits", "user", ""));
}

#[test]
fn ten_thousand_lookups_in_flight() {
    on_the_internet("many", |internet| {
        let dns = many_slow_domains();
        run_both(internet, "many", &settings_with(&dns, ""));
    });
}

/// Names that cost a stranger nothing do not keep the others from being asked, and what was not asked has no answer.
#[test]
fn a_silent_crowd_starves_nobody() {
    on_the_internet("crowd", |internet| {
        let lab = StubResolver::with_servers(&[(lab::DNS_ADDRESS, 53).into()]);
        let soon = Instant::now() + Duration::from_secs(20);
        let hosts: HashMap<String, String> = good_domains()
            .iter()
            .filter_map(|name| {
                let host = format!("mta-sts.{name}");
                let at = lab
                    .addresses(&host, soon)
                    .ok()?
                    .data
                    .into_iter()
                    .find(IpAddr::is_ipv4)?;
                Some((host, at.to_string()))
            })
            .collect();
        let listener = TcpListener::bind((BLACK_HOLE.parse::<Ipv4Addr>().unwrap(), 443)).unwrap();
        thread::spawn(move || listener.incoming().collect::<Vec<_>>());
        let dns = DnsServer::start(move |asked| match asked.kind {
            _ if asked.name.contains("silent") => Reply::silence(),
            RecordType::TXT => Reply::answers(vec![txt(&asked.name, 60, &[b"v=STSv1; id=a;"])]),
            RecordType::A => {
                let at = hosts.get(&asked.name).map_or(BLACK_HOLE, String::as_str);
                Reply::answers(vec![address(&asked.name, at)])
            }
            _ => Reply::nodata(),
        });
        for who in ["user", "root"] {
            internet.empty_cache();
            run(internet, "crowd", who, &settings_with(&dns, ""));
            let asked: HashSet<String> = dns.asked().into_iter().map(|asked| asked.name).collect();
            let answered = std::fs::read_to_string(internet.cache.join(".answered")).unwrap();
            for name in answered.lines() {
                assert!(
                    asked.contains(&format!("_mta-sts.{name}")),
                    "{name} was answered and never asked"
                );
            }
        }
    });
}
