//! Policies and MX hosts that change while mail flows, with connections that Postfix uses again, and with a server that is
//! reloaded and killed: no mail goes where no policy of the last seconds lets it go. `make changes` has a thousand changes, and with
//! SESSIONS=1 a cache of TLS sessions in place of such connections.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::host::{self, Host};
use super::postfix::example;
use super::server::Server;
use mtasts_kit::{mtasts, on_the_internet_with, signal};
use mtasts_lab::{Change, policy_text};

const DOMAINS: [&str; 10] = [
    "good.test",
    "wild.test",
    "wildcert.test",
    "twomx.test",
    "tls12.test",
    "v6.test",
    "mixed.test",
    "signed.test",
    "secondgood.test",
    "hub.test",
];
/// Hosts with valid certificates, each its own.
const HOSTS: [&str; 4] = ["mx.good.test", "mx.hub.test", "mx1.twomx.test", "mx2.twomx.test"];
/// For how long a change may be unknown here: a TXT record is kept for a second, an answer for five, the MX hosts for one,
/// and Postfix uses a connection again for two.
const SETTLED: Duration = Duration::from_secs(9);
const REUSE: &str = "\nsmtp_tls_connection_reuse = yes\nsmtp_connection_reuse_time_limit = 2s\n\
    smtp_connection_cache_time_limit = 2s\nsmtp_connection_cache_destinations = static:all\n";

/// With a cache of TLS sessions, which Postfix keeps for two minutes or longer, and no connection that is used again. A session
/// that is resumed is not checked for the names before 3.10.5, so that a change may be unknown for as long.
const SESSIONS: &str = "\nsmtp_tls_session_cache_database = btree:${data_directory}/smtp_scache\n\
    smtp_tls_session_cache_timeout = 120s\n";
const RESUMED: Duration = Duration::from_secs(120);

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// Some of the hosts, in any order.
    fn some(&mut self, count: usize) -> Vec<&'static str> {
        let mut hosts = HOSTS.to_vec();
        (0..count).map(|_| hosts.swap_remove(self.below(hosts.len()))).collect()
    }
}

/// Sends a mail to each domain, and waits until each was tried.
fn send(host: &Host, local_part: &str) {
    let recipients = DOMAINS.map(|domain| format!("{local_part}@{domain}"));
    assert!(host.submit(&[], &recipients));
    let end = Instant::now() + Duration::from_secs(180);
    let tried = |log: &str| {
        let lines = log.lines().filter(|line| line.contains(" status="));
        lines
            .filter(|line| line.contains(&format!("to=<{local_part}@")))
            .count()
    };
    loop {
        let log = fs::read_to_string(host.base.join("var/log/mail.log")).unwrap_or_default();
        if tried(&log) >= DOMAINS.len() {
            return;
        }
        assert!(Instant::now() < end, "{log}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn changes_while_mail_flows() {
    let mta = host::fetch("postfix", &["postfix"]);
    mtasts();
    let sessions = std::env::var_os("CHANGES_SESSIONS").is_some_and(|value| !value.is_empty());
    let rounds = std::env::var("CHANGES").map_or(2, |number| number.parse::<usize>().unwrap().div_ceil(20));
    let settings = [("timeout", "20s"), ("txt_life_min", "1s"), ("txt_life_max", "1s")];
    on_the_internet_with("postfix-changes", &settings, move |internet| {
        let (lines, _) = example(&mta);
        let mut server = Server::start(internet);
        let host = Host::start(
            "postfix.sh",
            internet.lab.directory(),
            &mta,
            &(lines + if sessions { SESSIONS } else { REUSE }),
        );
        // Debian has it commented out, and no connection is used again without it.
        for arguments in [
            &["postconf", "-M", "tlsproxy/unix=tlsproxy unix - - y - 0 tlsproxy"][..],
            &["postfix", "reload"],
        ] {
            let done = host.command(arguments[0]).args(&arguments[1..]).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }
        let mut numbers = Numbers(15);
        // What each domain listed, round by round.
        let mut listed: HashMap<&str, Vec<Vec<&str>>> = HashMap::new();
        let mut begun = Vec::new();
        for round in 0..rounds {
            begun.push(Instant::now());
            for domain in DOMAINS {
                let count = 1 + numbers.below(2);
                let (list, dns) = (numbers.some(count), numbers.some(3));
                let text = policy_text("enforce", &list, 86400);
                let change = Change {
                    hosts: Some(dns.into_iter().map(str::to_owned).collect()),
                    ..Change::publish(&format!("r{round}"), text)
                };
                internet.lab.set(domain, change).unwrap();
                listed.entry(domain).or_default().push(list);
            }
            match round % 4 {
                1 => signal(server.pid(), libc::SIGHUP),
                3 => {
                    signal(server.pid(), libc::SIGKILL);
                    drop(server);
                    server = Server::start(internet);
                }
                _ => {}
            }
            // The first round ends what the lab had before.
            if round > 0 {
                send(&host, &format!("now{round}"));
            }
            thread::sleep(SETTLED);
            send(&host, &format!("settled{round}"));
            let deferred = host.command("postsuper").args(["-d", "ALL", "deferred"]).output();
            assert!(deferred.unwrap().status.success());
        }
        let mail = internet.lab.mail();
        for mail in &mail {
            let (local_part, domain) = mail.recipients[0].split_once('@').unwrap();
            let digits = local_part.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            let round: usize = digits.parse().unwrap();
            let mut oldest = if local_part.starts_with("now") {
                round - 1
            } else {
                round
            };
            // The policy before was in force until this one came.
            while sessions && oldest > 0 && begun[round] - begun[oldest] < RESUMED {
                oldest -= 1;
            }
            let allowed = listed[domain][oldest..=round].concat();
            assert!(
                allowed.contains(&mail.host.as_str()) && mail.tls.is_some(),
                "{local_part}@{domain} went to {}; the policy lists {allowed:?}",
                mail.host
            );
        }
        let settled = mail
            .iter()
            .filter(|mail| mail.recipients[0].starts_with("settled"))
            .count();
        println!(
            "{} changes, {} mails delivered, {settled} of them long after a change",
            rounds * 20,
            mail.len()
        );
        let log = fs::read_to_string(host.base.join("var/log/mail.log")).unwrap();
        assert!(
            settled > rounds * 3,
            "{settled} of {} mails\n{log}",
            rounds * DOMAINS.len()
        );
    });
}
