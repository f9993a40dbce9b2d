//! Sendmail as Debian has it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::host::{self, Host, Unpacked};
use super::server::{Client, Server};
use super::{Differs, judge};
use mtasts_kit::drivers::each;
use mtasts_kit::{Internet, mtasts, on_the_internet_with, repository};
use mtasts_lab::judge::{End, Fate};
use mtasts_lab::{Change, policy_text, table};

pub(crate) const PACKAGES: &[&str] = &["sendmail-bin", "sendmail-base", "sendmail-cf"];
/// Where Sendmail asks: the port of its feature.
const PORT: &str = "127.0.0.1:5461";

const HANDSHAKE: &str = "after a failed handshake Sendmail tries later, and never without TLS";
const BOUNCES: &str = "Sendmail bounces before it asks for a policy";

/// What Sendmail does otherwise.
const DIFFERS: Differs<'_> = &[
    ("nullmx.test", End::Bounced, BOUNCES),
    ("mxdenied-nxdomain.test", End::Bounced, BOUNCES),
    ("mxdenied-nodata.test", End::Bounced, BOUNCES),
    ("testing-tls11.test", End::Deferred, HANDSHAKE),
    ("none-tls11.test", End::Deferred, HANDSHAKE),
    ("nopolicy-tls11.test", End::Deferred, HANDSHAKE),
    ("testing-handshake-reset.test", End::Deferred, HANDSHAKE),
    ("none-handshake-reset.test", End::Deferred, HANDSHAKE),
    ("nopolicy-handshake-reset.test", End::Deferred, HANDSHAKE),
    ("testing-nottls.test", End::Deferred, HANDSHAKE),
    ("none-nottls.test", End::Deferred, HANDSHAKE),
    ("nopolicy-nottls.test", End::Deferred, HANDSHAKE),
];

/// Patience for silent hosts and for a busy machine, before the lines of the example.
const IMPATIENT: &str = "\
define(`confTO_ICONNECT', `10s')dnl
define(`confTO_CONNECT', `10s')dnl
define(`confTO_INITIAL', `10s')dnl
define(`confTO_HELO', `10s')dnl
define(`confTO_STARTTLS', `10s')dnl
define(`confTO_MAIL', `10s')dnl
define(`confTO_RCPT', `10s')dnl
define(`confTO_QUIT', `1s')dnl
define(`confQUEUE_LA', `1000')dnl
";

/// What Sendmail logs, from the socket where syslog(3) sends it.
fn log(folder: &Path) -> Arc<Mutex<String>> {
    let socket = UnixDatagram::bind(folder.join("log")).unwrap();
    fs::set_permissions(folder.join("log"), fs::Permissions::from_mode(0o666)).unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let written = log.clone();
    thread::spawn(move || {
        let mut line = [0; 9000];
        while let Ok(length) = socket.recv(&mut line) {
            let line = String::from_utf8_lossy(&line[..length]);
            *written.lock().unwrap() += &format!("{line}\n");
        }
    });
    log
}

/// What became of each recipient `table@DOMAIN`.
fn fates(log: &str) -> HashMap<String, Fate> {
    let mut verified: HashMap<&str, &str> = HashMap::new();
    let mut fates = HashMap::new();
    for line in log.lines() {
        let Some((begin, text)) = line.split_once("]: ") else {
            continue;
        };
        let process = begin.rsplit(' ').next().unwrap();
        let field = |name: &str| {
            text.split_once(name)
                .map_or("", |(_, rest)| rest.split([',', ' ']).next().unwrap())
        };
        let relay = field("relay=").trim_end_matches('.');
        if text.starts_with("STARTTLS=client") {
            verified.remove(process);
            if field("verify=") == "OK" {
                verified.insert(process, relay);
            }
        }
        let Some((_, rest)) = text.split_once(": to=table@") else {
            continue;
        };
        let domain = rest.split(',').next().unwrap();
        let status = rest.split_once("stat=").map_or("", |(_, status)| status);
        let end = match status.split([' ', ':']).next().unwrap() {
            "Sent" if verified.get(process) == Some(&relay) => End::Verified,
            "Sent" => End::Delivered,
            "Deferred" | "queued" => End::Deferred,
            _ if field("dsn=").starts_with('4') => End::Deferred,
            _ => End::Bounced,
        };
        let host = (end == End::Verified || end == End::Delivered).then(|| relay.to_owned());
        let fate = Fate {
            words: status.to_owned(),
            ..Fate::new(domain, end, host)
        };
        fates.insert(domain.to_owned(), fate);
    }
    fates
}

/// A server, and a host with Sendmail that asks it. What Sendmail logs comes with it.
pub(crate) fn start(internet: &Internet, mta: &Unpacked) -> (Server, Host, Arc<Mutex<String>>) {
    let mut serve = Command::new(mtasts());
    let server = Server::run(internet, serve.args(["serve", "--listen", PORT]));
    let example = fs::read_to_string(repository().join("examples/sendmail/sendmail.mc")).unwrap();
    let lines = format!("{IMPATIENT}{example}");
    let (host, log) = Host::start_with("sendmail.sh", internet.lab.directory(), mta, &lines, log);
    (server, host, log)
}

/// Sends a mail to each of these domains, each in a process of its own, which ends when the mail was tried; a bounce is
/// its failure.
pub(crate) fn send(host: &Host, log: &Mutex<String>, names: &[String]) -> Vec<Fate> {
    let tried = each(names, |name| {
        host.submit(&["-Am", "-odi"], &[format!("table@{name}")]);
        Fate::new(name, End::Bounced, None)
    });
    assert_eq!(tried.len(), names.len());
    // The last lines may still be on their way through the socket.
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let log = log.lock().unwrap().clone();
        let mut fates = fates(&log);
        if names.iter().all(|name| fates.contains_key(name)) {
            return names.iter().filter_map(|name| fates.remove(name)).collect();
        }
        assert!(Instant::now() < end, "nothing became of one of {names:?}:\n{log}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_domain_of_the_lab() {
    let mta = host::fetch("sendmail", PACKAGES);
    mtasts();
    on_the_internet_with("sendmail", &[("timeout", "6s")], move |internet| {
        let (_server, host, log) = start(internet, &mta);
        let cases = table();
        let names: Vec<String> = cases.iter().map(|entry| entry.name.clone()).collect();
        judge(&internet.lab, &cases, &send(&host, &log, &names), DIFFERS);
    });
}

/// Sendmail ignores the names behind the 255th character of a list, and with a longer one it delivers in clear. Such a
/// domain waits, and so does mail while there is no server.
#[test]
fn a_list_that_would_be_cut_is_a_delay() {
    let mta = host::fetch("sendmail", PACKAGES);
    mtasts();
    on_the_internet_with("sendmail-long", &[("timeout", "20s")], move |internet| {
        let hosts = (0..12).map(|n| format!("a-host-with-a-rather-long-name-{n:02}.good.test"));
        let change = Change {
            hosts: Some(hosts.collect()),
            ..Change::publish("long", policy_text("enforce", &["*.good.test"], 86400))
        };
        internet.lab.set("good.test", change).unwrap();
        let (server, host, log) = start(internet, &mta);
        is_as_the_check_wants_it(&host);
        let fates = send(&host, &log, &["good.test".to_owned(), "hub.test".to_owned()]);
        let ends: Vec<End> = fates.iter().map(|fate| fate.end).collect();
        assert_eq!(ends, [End::Deferred, End::Verified], "{fates:?}");
        drop(server);
        let fates = send(&host, &log, &["twomx.test".to_owned()]);
        assert_eq!(fates[0].end, End::Deferred, "{fates:?}");
        assert_eq!(internet.lab.mail().len(), 1);
    });
}

/// An MX host that only Sendmail sees, with a certificate of its own: the server saw another one.
#[test]
fn a_spoofed_mx_host_gets_nothing() {
    let mta = host::fetch("sendmail", PACKAGES);
    mtasts();
    on_the_internet_with("sendmail-spoofed", &[("timeout", "20s")], move |internet| {
        let (server, host, log) = start(internet, &mta);
        for name in ["good.test", "wild.test"] {
            let mut client = Client(std::net::TcpStream::connect(PORT).unwrap());
            assert!(client.ask("sts", name).starts_with("OK secure match="));
        }
        let liar = host.is_lied_to();
        let names = ["good.test", "wild.test", "hub.test"].map(str::to_owned);
        for fate in send(&host, &log, &names) {
            let end = match fate.domain == "hub.test" {
                true => End::Verified,
                false => End::Deferred,
            };
            assert_eq!(fate.end, end, "{fate}");
        }
        assert_eq!(internet.lab.mail().len(), 1);
        assert!(liar.asked().iter().any(|asked| asked.name == "good.test"));
        drop(server);
    });
}

/// `mtasts check-mta sendmail` finds nothing in the example, and something in what Debian has without it.
fn is_as_the_check_wants_it(host: &Host) {
    let check = || {
        let checked = host
            .command(mtasts())
            .args(["check-mta", "--json", "sendmail"])
            .output()
            .unwrap();
        String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap()
    };
    assert_eq!(check().split_whitespace().collect::<String>(), r#"{"problems":[]}"#);
    let edit = |program: &str| {
        let status = host
            .command("sed")
            .args(["-i.before", program, "/etc/mail/sendmail.cf"])
            .status();
        assert!(status.unwrap().success());
        let found = check();
        let put_back = ["/etc/mail/sendmail.cf.before", "/etc/mail/sendmail.cf"];
        assert!(host.command("cp").args(put_back).status().unwrap().success());
        found
    };
    for (program, code) in [
        ("/^Ksts /s/ -T<TMPF>//", "server-down-ignored"),
        ("/^R< \\$={cert_altnames} >/d", "names-not-checked"),
        ("s/^O CACert/#&/", "no-root-certificates"),
        ("/^Ksts /d", "no-policy-map"),
    ] {
        let found = edit(program);
        assert!(found.contains(code), "{code}: {found}");
    }
}
