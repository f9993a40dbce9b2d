//! A domain that goes to other MX hosts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mtasts_kit::dns_server::{Reply, address, record};
use mtasts_kit::pki;
use mtasts_kit::until;
use serde_json::Value;

use super::hosting::{Answer, Hosting, Zone, policy};
use super::mx_server::MxServer;

/// The MX hosts in DNS.
#[derive(Clone)]
struct Hosts {
    names: Arc<Mutex<Vec<&'static str>>>,
    asked: Arc<AtomicUsize>,
}

impl Hosts {
    fn are(&self, names: &[&'static str]) {
        *self.names.lock().unwrap() = names.to_vec();
    }

    /// The same for another name server, which may come to differ.
    fn also(&self) -> Self {
        Self {
            names: Arc::new(Mutex::new(self.names.lock().unwrap().clone())),
            asked: Arc::clone(&self.asked),
        }
    }

    /// Has a name server say so.
    fn answer(&self, zone: &mut Vec<Answer>) {
        let hosts = self.clone();
        zone.push(Box::new(move |asked| match (asked.name.as_str(), asked.kind) {
            ("example.com", RecordType::MX) => {
                hosts.asked.fetch_add(1, Ordering::SeqCst);
                let names = hosts.names.lock().unwrap();
                Some(Reply::answers(names.iter().map(|host| exchange(host)).collect()))
            }
            ("mx.example.com" | "mx2.example.com", RecordType::A) => {
                Some(Reply::answers(vec![address(&asked.name, "8.8.8.2")]))
            }
            ("loop.example.com", RecordType::A) => Some(Reply::answers(vec![address(&asked.name, "127.0.0.1")])),
            _ => None,
        }));
    }

    /// Has the server look at DNS now, and waits until it has done with what it has seen.
    fn are_seen(&self, hosting: &Hosting) {
        let before = self.asked.load(Ordering::SeqCst);
        hosting.reload("settings reloaded");
        until("a look at DNS", || self.asked.load(Ordering::SeqCst) > before);
        sleep(Duration::from_millis(500));
    }
}

fn exchange(host: &str) -> Record {
    let mut name = Name::from_labels(host.split('.').map(str::as_bytes)).unwrap();
    name.set_fqdn(true);
    record("example.com", 60, RData::MX(MX::new(10, name)))
}

fn hosting() -> (Hosting, Hosts, String) {
    let hosting = Hosting::new(&["example.com"]);
    let hosts = Hosts {
        names: Arc::new(Mutex::new(vec!["mx.example.com"])),
        asked: Arc::default(),
    };
    let mut zone = Vec::new();
    hosts.answer(&mut zone);
    zone.into_iter().for_each(|answer| hosting.says(answer));
    let main = format!(
        "https = [\"8.8.8.1:443\"]\nresolvers = [\"{}\"]\nca_file = \"{}\"\n",
        hosting.resolver(),
        hosting.path("roots.pem").display()
    );
    (hosting, hosts, main)
}

/// The time of the ledger goes on.
fn pass(hosting: &Hosting, seconds: u32) {
    let change = format!(
        "UPDATE served SET begun = begun - {seconds}, ended = ended - {seconds};
         UPDATE exchange SET since = since - {seconds}"
    );
    let ledger = rusqlite::Connection::open(hosting.path("ledger/ledger.db")).unwrap();
    ledger.execute_batch(&change).unwrap();
}

fn moves(hosting: &Hosting) -> Vec<(String, String)> {
    let output = hosting.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let moves = status["domains"][0]["moves"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    moves.map(|known| (text(&known["mx"]), text(&known["stage"]))).collect()
}

fn serves(hosting: &Hosting, mx: &[&str]) {
    let mx: String = mx.iter().map(|name| format!("mx: {name}\r\n")).collect();
    let expected = format!("version: STSv1\r\nmode: enforce\r\n{mx}max_age: 604800\r\n");
    until("the policy", || {
        hosting.fetch("example.com").is_ok_and(|text| text == expected)
    });
}

#[test]
fn a_domain_goes_to_other_mx_hosts_and_no_mail_waits() {
    let (mut hosting, hosts, main) = hosting();
    hosting.settings(&format!("{main}{}", policy("example.com", 604_800)));
    hosting.start();
    serves(&hosting, &["mx.example.com"]);
    let said = hosting.ask(&["mx", "example.com", "+host.example.net", "-mx.example.com"]);
    assert!(
        said.contains("host.example.net is added: it is not served yet"),
        "{said}"
    );
    serves(&hosting, &["mx.example.com", "host.example.net"]);
    let status = hosting.ask(&["status"]);
    assert!(
        status.contains("host.example.net is added: no MX record before 20"),
        "{status}"
    );

    // DNS changes too early, and it is said. The old one stays until no sender has a policy without the new one, however long DNS
    // has not had it.
    hosts.are(&["host.example.net"]);
    hosts.are_seen(&hosting);
    pass(&hosting, 100_000);
    hosts.are_seen(&hosting);
    let status = hosting.ask(&["status"]);
    assert!(
        status.contains("no MX record has mx.example.com; it is in the policy until 20"),
        "{status}"
    );
    serves(&hosting, &["mx.example.com", "host.example.net"]);

    // The longest life is over. A restart loses nothing.
    pass(&hosting, 604_800);
    hosting.stop();
    hosting.start();
    serves(&hosting, &["host.example.net"]);
    let expected = [("host.example.net", "added"), ("mx.example.com", "dropped")];
    assert_eq!(moves(&hosting), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(
        hosting
            .log()
            .contains("example.com: mx.example.com is not in the policy any more: no MX record has it.")
    );
    // The file follows, and is all that counts again.
    let file = policy("example.com", 604_800).replace("mx.example.com", "host.example.net");
    hosting.settings(&format!("{main}{file}"));
    hosting.reload("settings reloaded");
    until("the end of the moves", || moves(&hosting).is_empty());
    serves(&hosting, &["host.example.net"]);
    hosting.stop();
}

#[test]
fn what_dns_says_is_adopted_when_it_is_no_mistake() {
    let (mut hosting, hosts, main) = hosting();
    let (zone, second) = (Zone::default(), hosts.also());
    let other = Hosting::name_server(&zone);
    second.answer(&mut zone.lock().unwrap());
    let servers = MxServer::start("8.8.8.2");
    servers.has(Some(&pki::host(&["mx.example.com"], hosting.authority(), |_| {})));
    let main = main.replace("resolvers = [", &format!("resolvers = [\"{}\", ", other.address));
    let domain = "[domain.\"example.com\"]\nmode = \"auto\"\nmx = \"dns\"\nwaits = [\"300d\"]\n";
    hosting.settings(&format!("{main}{domain}"));
    hosting.start();
    let fetch = |hosting: &Hosting| hosting.fetch("example.com").unwrap();
    // At first nothing is asked of senders.
    assert_eq!(fetch(&hosting), "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n");
    let is = |hosting: &Hosting, expected: &[(&str, &str)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        until("its MX hosts", || moves(hosting) == expected);
    };
    is(&hosting, &[("mx.example.com", "proposed")]);
    let status = |hosting: &Hosting| hosting.ask(&["status"]);
    until("a look", || status(&hosting).contains("it is adopted on 20"));
    pass(&hosting, 3601);
    hosts.are_seen(&hosting);
    is(&hosting, &[("mx.example.com", "adopted")]);
    let testing = "version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmax_age: 86400\r\n";
    until("the policy", || fetch(&hosting) == testing);

    // One resolver alone has it; the certificate is not its own; it is at a loopback address; it is no name: never.
    servers.has(Some(&pki::host(
        &["mx.example.com", "mx2.example.com"],
        hosting.authority(),
        |_| {},
    )));
    // The first resolver alone, whose word the look at the host goes by.
    second.are(&["mx.example.com", "mx2.example.com"]);
    let doubt = |why: &str| {
        hosts.are_seen(&hosting);
        pass(&hosting, 9999);
        hosts.are_seen(&hosting);
        until(why, || {
            status(&hosting).contains("is in DNS and not in the policy: it is adopted when")
        });
        assert_eq!(fetch(&hosting), testing, "{why}");
    };
    doubt("one resolver");
    servers.has(Some(&pki::host(&["mx.example.com"], hosting.authority(), |_| {})));
    hosts.are(&["mx.example.com", "mx2.example.com"]);
    doubt("another certificate");
    let own = MxServer::start("127.0.0.1");
    hosts.are(&["mx.example.com", "loop.example.com", "a\u{1b}b.example.com"]);
    second.are(&["mx.example.com", "loop.example.com", "a\u{1b}b.example.com"]);
    doubt("a loopback address");
    assert_eq!(own.connections(), 0);
    is(
        &hosting,
        &[("mx.example.com", "adopted"), ("loop.example.com", "proposed")],
    );

    // It is as it must be. After a restart the hour goes on.
    hosts.are(&["mx.example.com", "mx2.example.com"]);
    second.are(&["mx.example.com", "mx2.example.com"]);
    servers.has(Some(&pki::host(
        &["mx.example.com", "mx2.example.com"],
        hosting.authority(),
        |_| {},
    )));
    hosts.are_seen(&hosting);
    until("a look", || status(&hosting).contains("it is adopted on 20"));
    hosting.stop();
    pass(&hosting, 3601);
    hosting.start();
    is(
        &hosting,
        &[("mx.example.com", "adopted"), ("mx2.example.com", "adopted")],
    );
    until("the policy", || fetch(&hosting).contains("mx: mx2.example.com"));
    let refused = hosting
        .command(&["mx", "example.com", "-mx2.example.com"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    hosting.stop();
}

#[test]
fn a_move_that_would_cost_mail_is_refused() {
    let (hosting, _, main) = hosting();
    hosting.settings(&format!("{main}{}", policy("example.com", 604_800)));
    let refused = |changes: &[&str], status: i32, expected: &str| {
        let output = hosting
            .command(&[&["mx", "example.com"], changes].concat())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{changes:?}: {said}");
        assert!(
            said.contains(expected) && !said.contains('\u{1b}'),
            "{changes:?}: {said}"
        );
    };
    refused(&["+a.example.com"], 1, "is not claimed yet");
    hosting.ask(&["add", "example.com"]);
    refused(&["-mx.example.com"], 1, "would have no MX host left");
    refused(&["-host.example.com"], 1, "host.example.com is not in the policy");
    refused(&["+a.example.com", "-A.example.com"], 2, "cannot come and go");
    refused(&["a.example.com"], 2, "begins with + or -");
    refused(&["+com"], 2, "top-level domain");
    refused(&["+a\u{1b}[2J.example.com"], 2, "mx: ");
    refused(&[], 2, "required");
    let many: Vec<String> = (0..101).map(|n| format!("+mx{n}.example.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&many, 1, "more than 100");
    let long: Vec<String> = (0..60)
        .map(|n| format!("+mx{n}.{}.example.com", "a".repeat(60)))
        .collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    refused(&long, 1, "more than 4096");
    assert_eq!(moves(&hosting), []);
    hosting.settings(&format!(
        "{main}[domain.\"example.com\"]\nmode = \"none\"\nmax_age = 86400\n"
    ));
    refused(&["+a.example.com"], 1, "mode none");
}
