//! Postfix as Debian has it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::host::{self, Host, Unpacked};
use super::server::Server;
use super::{Differs, judge, judge_with};
use mtasts_kit::{mtasts, on_the_internet_with, repository};
use mtasts_lab::judge::{End, Fate};
use mtasts_lab::{Entry, table};

const LATER: &str = "at security level may, Postfix tries again without TLS only after minimal_backoff_time";
const BOUNCES: &str = "Postfix bounces before it asks for a policy";

/// What only a Postfix before 3.10.5 does otherwise.
const OLD: Differs<'_> = &[(
    "sameip.test",
    End::Verified,
    "the certificate of a listed host passes at another host",
)];

/// What every Postfix does otherwise.
const DIFFERS: Differs<'_> = &[
    (
        "cnonly.test",
        End::Verified,
        "Postfix takes the common name if there is no DNS name",
    ),
    ("nullmx.test", End::Bounced, BOUNCES),
    ("mxdenied-nxdomain.test", End::Bounced, BOUNCES),
    ("mxdenied-nodata.test", End::Bounced, BOUNCES),
    ("testing-tls11.test", End::Deferred, LATER),
    ("none-tls11.test", End::Deferred, LATER),
    ("nopolicy-tls11.test", End::Deferred, LATER),
    ("testing-handshake-reset.test", End::Deferred, LATER),
    ("none-handshake-reset.test", End::Deferred, LATER),
    ("nopolicy-handshake-reset.test", End::Deferred, LATER),
    ("testing-nottls.test", End::Deferred, LATER),
    ("none-nottls.test", End::Deferred, LATER),
    ("nopolicy-nottls.test", End::Deferred, LATER),
];

/// Patience for silent hosts, and no more mails at a time than a busy machine has time for. All else is as the example has
/// it.
const IMPATIENT: &str = "
default_process_limit = 32
smtp_connect_timeout = 10s
smtp_helo_timeout = 10s
smtp_starttls_timeout = 10s
smtp_mail_timeout = 10s
smtp_data_done_timeout = 10s
smtp_quit_timeout = 10s
";

/// The lines of the example for this version as an operator copies them, and the name of its map.
pub(crate) fn example(mta: &Unpacked) -> (String, &'static str) {
    let (name, map) = match mta.is_at_least(3, 10) {
        true => ("main-3.10.cf", "postfix-3.10"),
        false => ("main.cf", "postfix"),
    };
    let text = fs::read_to_string(repository().join("examples/postfix").join(name)).unwrap();
    (text + IMPATIENT, map)
}

/// Sends one message to all these domains, and waits until each recipient was tried once.
pub(crate) fn send(host: &Host, cases: &[Entry]) -> Vec<Fate> {
    let recipients: Vec<String> = cases.iter().map(|entry| format!("table@{}", entry.name)).collect();
    assert!(host.submit(&[], &recipients));
    let end = Instant::now() + Duration::from_secs(240);
    loop {
        let log = fs::read_to_string(host.base.join("var/log/mail.log")).unwrap_or_default();
        let fates = fates(&log);
        if fates.len() >= recipients.len() {
            return fates;
        }
        assert!(
            Instant::now() < end,
            "{} of {} were tried:\n{log}",
            fates.len(),
            recipients.len()
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// What became of each recipient `table@DOMAIN`, read from Postfix's log.
fn fates(log: &str) -> Vec<Fate> {
    // The last handshake of each smtp(8): how much it trusts the host, and which.
    let mut handshakes: HashMap<&str, (&str, &str)> = HashMap::new();
    let mut fates = Vec::new();
    for line in log.lines() {
        let Some((begin, text)) = line.split_once("]: ") else {
            continue;
        };
        let process = begin.rsplit(' ').next().unwrap();
        if let Some((trust, rest)) = text.split_once(" TLS connection established to ") {
            handshakes.insert(process, (trust, rest.split('[').next().unwrap()));
        }
        let Some((_, rest)) = text.split_once(": to=<table@") else {
            continue;
        };
        let domain = rest.split('>').next().unwrap();
        let relay = rest
            .split_once("relay=")
            .map_or("none", |(_, relay)| relay.split(['[', ',']).next().unwrap());
        let status = rest.split_once("status=").map_or("", |(_, status)| status);
        let (word, why) = status.split_once(' ').unwrap_or((status, ""));
        let end = match word {
            "sent" if handshakes.get(process) == Some(&("Verified", relay)) => End::Verified,
            "sent" => End::Delivered,
            "deferred" => End::Deferred,
            _ => End::Bounced,
        };
        let host = (word == "sent").then(|| relay.to_owned());
        fates.push(Fate {
            words: why.to_owned(),
            ..Fate::new(domain, end, host)
        });
        handshakes.remove(process);
    }
    fates
}

#[test]
fn every_domain_of_the_lab() {
    let mta = host::fetch("postfix", &["postfix"]);
    mtasts();
    on_the_internet_with("postfix", &[("timeout", "6s")], move |internet| {
        let server = Server::start(internet);
        let host = Host::start("postfix.sh", internet.lab.directory(), &mta, &example(&mta).0);
        let cases = table();
        let fates = send(&host, &cases);
        let differs = match mta.is_at_least(3, 10) {
            true => DIFFERS.to_vec(),
            false => [OLD, DIFFERS].concat(),
        };
        judge(&internet.lab, &cases, &fates, &differs);
        drop(server);
    });
}

/// With the setting `dane` the TLSA records decide before the policy does, and Postfix checks them.
#[test]
fn dane_decides_before_the_policy() {
    let mta = host::fetch("postfix", &["postfix"]);
    mtasts();
    let settings = [("timeout", "20s"), ("dane", "trust"), ("dane_resolver", "198.18.0.53")];
    on_the_internet_with("postfix-dane", &settings, move |internet| {
        let server = Server::start(internet);
        // As the example has it, without the comment signs.
        let (lines, map) = example(&mta);
        let [dnssec, insecure] = [
            "smtp_dns_support_level = dnssec",
            "smtp_tls_dane_insecure_mx_policy = dane",
        ];
        assert!(lines.contains(&format!("\n#{dnssec}\n#{insecure}\n")), "{lines}");
        let lines = lines
            .replace(&format!("#{dnssec}"), dnssec)
            .replace(&format!("#{insecure}"), insecure);
        let host = Host::start("postfix.sh", internet.lab.directory(), &mta, &lines);
        let checked = host.command(mtasts()).args(["check-mta", "postfix"]).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
        let more = [
            "signed.test",
            "good.test",
            "wild.test",
            "twomx.test",
            "nopolicy.test",
            "untrusted.test",
        ];
        let is_one = |entry: &Entry| entry.name.starts_with("dane") || more.contains(&entry.name.as_str());
        let cases: Vec<Entry> = table().into_iter().filter(is_one).collect();
        let fates = send(&host, &cases);
        const BY_RECORDS: &str =
            "usable TLSA records alone decide, and Postfix takes no list of hosts with them (D-15)";
        judge_with(
            &internet.lab,
            &cases,
            &fates,
            &[("dane-nomatch.test", End::Verified, BY_RECORDS)],
            true,
        );
        for (domain, reply) in [
            ("dane.test", "OK dane-only"),
            ("dane-nopolicy.test", "OK dane-only"),
            ("signed.test", "OK secure match=mx.signed.test servername=hostname"),
            (
                "dane-unusable.test",
                "OK secure match=mx.dane-unusable.test servername=hostname",
            ),
        ] {
            assert!(
                server.ask(map, domain).starts_with(reply),
                "{domain}: {}",
                server.ask(map, domain)
            );
        }
        assert!(
            server
                .ask(map, "dane-bogus.test")
                .starts_with("TEMP the MX hosts of dane-bogus.test")
        );
    });
}

/// An MX host that only Postfix sees, with a certificate that is valid for its own name: the attacker has spoofed the answer
/// that Postfix got, and not the one that the server got.
#[test]
fn a_spoofed_mx_host_gets_nothing() {
    let mta = host::fetch("postfix", &["postfix"]);
    mtasts();
    on_the_internet_with("postfix-spoofed", &[("timeout", "20s")], move |internet| {
        let server = Server::start(internet);
        let host = Host::start("postfix.sh", internet.lab.directory(), &mta, &example(&mta).0);
        let spoofed = ["good.test", "wild.test"];
        for name in spoofed {
            assert!(server.ask("postfix", name).starts_with("OK secure match="));
        }
        let liar = host.is_lied_to();
        let is_one = |entry: &Entry| spoofed.contains(&entry.name.as_str()) || entry.name == "hub.test";
        let cases: Vec<Entry> = table().into_iter().filter(is_one).collect();
        for fate in send(&host, &cases) {
            let end = match fate.domain == "hub.test" {
                true => End::Verified,
                false => End::Deferred,
            };
            assert_eq!(fate.end, end, "{fate}");
        }
        assert_eq!(internet.lab.mail().len(), 1, "{:?}", internet.lab.mail());
        assert!(liar.asked().iter().any(|asked| asked.name == "good.test"));
    });
}

/// By the unix socket in the chroot of Debian's smtp(8); and mail waits while there is no server.
#[test]
fn in_the_chroot_and_without_the_server() {
    let mta = host::fetch("postfix", &["postfix"]);
    mtasts();
    on_the_internet_with("postfix-chroot", &[("timeout", "20s")], move |internet| {
        let (lines, map) = example(&mta);
        let tcp = format!("\nsmtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:{map}\n");
        let unix = format!("\n#smtp_tls_policy_maps = socketmap:unix:mtasts/socketmap:{map}\n");
        assert!(lines.contains(&tcp) && lines.contains(&unix), "{lines}");
        let lines = lines.replace(&tcp, "\n").replace(&unix, &unix.replace('#', ""));
        let host = Host::start("postfix.sh", internet.lab.directory(), &mta, &lines);
        let checked = host.command(mtasts()).args(["check-mta", "postfix"]).output().unwrap();
        let found = String::from_utf8(checked.stdout).unwrap();
        assert!(checked.status.success() && found == "nothing was found\n", "{found}");
        let only = |name: &str| -> Vec<Entry> { table().into_iter().filter(|entry| entry.name == name).collect() };
        let [fate] = &send(&host, &only("good.test"))[..] else {
            panic!()
        };
        assert_eq!(fate.end, End::Deferred, "{fate}");
        assert!(internet.lab.mail().is_empty());

        let at = Path::new("/var/spool/postfix/mtasts/socketmap");
        let made = host.command("mkdir").arg(at.parent().unwrap()).status().unwrap();
        assert!(made.success());
        let mut serve = host.command(mtasts());
        let server = Server::run(internet, serve.args(["serve", "--listen"]).arg(at));
        let flush = |host: &Host| {
            assert!(host.command("postqueue").arg("-f").status().unwrap().success());
        };
        // Again and again: at first the message may still be on its way back into the queue.
        let end = Instant::now() + Duration::from_secs(120);
        while internet.lab.mail().is_empty() {
            assert!(
                Instant::now() < end,
                "{:?}",
                Command::new("cat").arg(host.base.join("var/log/mail.log")).output()
            );
            flush(&host);
            thread::sleep(Duration::from_millis(500));
        }
        assert!(internet.lab.mail()[0].tls.is_some());
        drop(server);
    });
}
