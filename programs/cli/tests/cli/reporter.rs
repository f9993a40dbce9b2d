//! `mtasts report run`: reports to mail addresses and to https URLs of a small Internet, each once.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use mtasts::cache::store::Store;
use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::dns_server::{DnsServer, Reply, address, mx, txt};
use mtasts_kit::pki::{host, root};
use mtasts_kit::policy_server::{PolicyServer, Stream, isolate};
use mtasts_kit::{Ran, USER, repository, until};
use serde_json::{Value, json};

/// A day in seconds.
const DAY: u64 = 86_400;
/// Reads a mail, as a receiver does: its headers, and its parts with the report uncompressed.
const READ_MAIL: &str = "
import sys, json, gzip, email, email.policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.SMTP)
parts = [[p.get_content_type(), p.get_filename(), p.get_payload(decode=True)] for p in m.iter_parts()]
print(json.dumps({'headers': {k.lower(): str(v) for k, v in m.items()}, 'count': len(m.items()), 'type': m.get_content_type(),
  'report-type': m.get_param('report-type'), 'defects': [str(d) for d in m.defects], 'text': parts[0][2].decode(),
  'parts': [p[0] for p in parts], 'file': parts[1][1], 'report': json.loads(gzip.decompress(parts[1][2]))}))";

/// The host of the reporter, on a network of its own.
struct World {
    directory: PathBuf,
    dns: DnsServer,
    /// What DNS says: texts of TXT records, and addresses.
    records: Arc<Mutex<BTreeMap<String, String>>>,
    posted: Arc<Mutex<Vec<Value>>>,
    servers: Vec<PolicyServer>,
}

/// What DNS has for the sender.
const SENDER: [(&str, &str); 3] = [
    ("mx:sender.test", "mx.sender.test"),
    ("txt:sender.test", "v=spf1 mx -all"),
    ("txt:s._domainkey.sender.test", KEY),
];
/// A key record with a key of nobody.
const KEY: &str = "v=DKIM1; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApgoQGulwf3DcFacpxg1j1PmRw7n+rI6FDbwo2Wejn6BDADHsMr4ulLUivSN72AvfV+M0kypMFfQ5+GsO8BJtMmwx4PP1xgfic9rjMVGNs1U15MSCKKwqFhz/UH3/Ck1Ro5SPc0iUI+D7C0Wl9i32XBtzAoth2vKQI/ZaTi4s9VUup5XmYgM5NtLXddiXVnUbchQC3sKzwErQ69aTZNE+Yo57PoZvCFC5MgVid7ukOTWHl0RoYlXlYpv1f4QQ2y9eraBrFmx8c0nPA19gQIgOVAOeaCYb7BQ1wWar3KIE35mvRzFxxdvmD6vID32p1WfB+ZeX1UQgsKjfSQNGmK672wIDAQAB";

impl World {
    fn new(name: &str, records: &[(&str, &str)]) -> Self {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let records: Arc<Mutex<BTreeMap<_, _>>> = Arc::new(Mutex::new(SENDER.iter().chain(records).map(own).collect()));
        let known = Arc::clone(&records);
        isolate(&["8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.8.4"]);
        let dns = DnsServer::start(move |asked| {
            let find = |name: &str| known.lock().unwrap().get(name).cloned();
            match (asked.kind, asked.name.strip_prefix("_smtp._tls.")) {
                (RecordType::TXT, Some("silent.test")) => Reply::code(ResponseCode::ServFail),
                (RecordType::TXT, Some(domain)) => match find(domain) {
                    Some(text) => Reply::answers(vec![txt(
                        &asked.name,
                        300,
                        &text.as_bytes().chunks(255).collect::<Vec<_>>(),
                    )]),
                    None => Reply::nxdomain(),
                },
                (RecordType::TXT, None) => match find(&format!("txt:{}", asked.name)) {
                    Some(text) => Reply::answers(
                        text.split('|')
                            .map(|text| txt(&asked.name, 300, &text.as_bytes().chunks(255).collect::<Vec<_>>()))
                            .collect(),
                    ),
                    None => Reply::nodata(),
                },
                (RecordType::MX, None) => match find(&format!("mx:{}", asked.name)) {
                    Some(host) => Reply::answers(vec![mx(&asked.name, 10, &host)]),
                    None => Reply::nodata(),
                },
                (RecordType::A, None) => match find(&asked.name) {
                    Some(ip) => Reply::answers(vec![address(&asked.name, &ip)]),
                    None => Reply::nxdomain(),
                },
                _ => Reply::nodata(),
            }
        });
        let directory = std::env::temp_dir().join(format!("mtasts-reporter-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        for (part, mode) in [("", 0o755), ("cache", 0o2770), ("mail", 0o755)] {
            fs::create_dir(directory.join(part)).unwrap();
            chown(directory.join(part), Some(USER), Some(USER)).expect("this test needs root");
            fs::set_permissions(directory.join(part), Permissions::from_mode(mode)).unwrap();
        }
        let authority = root("Test Root");
        fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
        let posted: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = Arc::clone(&posted);
        let take = move |stream: &mut Stream| {
            let report: Value = serde_json::from_reader(GzDecoder::new(&mut *stream)).unwrap();
            taken.lock().unwrap().push(report);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        };
        let says = |status: &'static str| {
            move |stream: &mut Stream| {
                let _: Result<Value, _> = serde_json::from_reader(GzDecoder::new(&mut *stream));
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nLocation: https://good.test/\r\nContent-Length: 0\r\n\r\n"
                );
            }
        };
        let named = |name: &str| host(&[name], &authority, |_| {});
        let servers = vec![
            PolicyServer::start("8.8.8.1", &named("good.test"), take),
            PolicyServer::start("8.8.8.2", &named("moved.test"), says("307 Temporary Redirect")),
            PolicyServer::start("8.8.8.3", &named("other.test"), says("200 OK")),
        ];
        let world = Self {
            directory,
            dns,
            records,
            posted,
            servers,
        };
        world.configure("dkim_selector = \"s\"");
        world.mailer("cat > \"$MAILS/$$\"");
        let unchecked = world.run();
        assert_eq!(unchecked.status, 2);
        assert!(
            unchecked
                .err
                .ends_with("a check of these settings was good: mtasts report check\n"),
            "{unchecked:?}"
        );
        let checked = world.check();
        assert_eq!((checked.status, &*checked.err), (0, ""), "{checked:?}");
        world
    }

    fn check(&self) -> Ran {
        let settings = self.path("report.toml");
        let mut command = super::command(&["report", "check", "--settings", &settings]);
        command.env("MTASTS_CONFIG", self.path("mtasts.toml"));
        command.uid(USER).gid(USER).output().unwrap().into()
    }

    fn publish(&self, name: &str, text: Option<&str>) {
        let mut records = self.records.lock().unwrap();
        match text {
            Some(text) => records.insert(name.to_owned(), text.to_owned()),
            None => records.remove(name),
        };
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    fn configure(&self, more: &str) {
        let mtasts = format!(
            "cache_dir = \"{}\"\nnameservers = \"{}\"\nca_file = \"{}\"\ntlsrpt_sender = \"tlsrpt@sender.test\"\n",
            self.path("cache"),
            self.dns.address,
            self.path("ca.pem")
        );
        fs::write(self.path("mtasts.toml"), mtasts).unwrap();
        let report = format!(
            "organization = \"Sénder\"\nsendmail = \"{}\"\n{more}",
            self.path("sendmail")
        );
        fs::write(self.path("report.toml"), report).unwrap();
    }

    /// What the program for mails does; `$MAILS` is where they are kept.
    fn mailer(&self, what: &str) {
        let file = self.path("sendmail");
        let text = format!(
            "#!/bin/sh\nMAILS={}\n[ \"$*\" = \"-i -t -f tlsrpt@sender.test\" ] || exit 64\n{what}\n",
            self.path("mail")
        );
        let _ = fs::remove_file(&file);
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
    }

    /// Sessions of yesterday: a good one and one that failed, for each domain.
    fn sessions(&self, domains: &[&str]) {
        let store = Store::new(self.directory.join("cache"));
        for domain in domains {
            for details in [
                "\"t\":0,\"f\":0",
                "\"failure-details\":[{\"c\":204,\"n\":\"mx\"}],\"t\":1,\"f\":1",
            ] {
                let line =
                    format!("{{\"dpv\":\"1\",\"d\":\"{domain}\",\"policies\":[{{\"policy-type\":2,{details}}}]}}");
                mtasts_kit::as_user(USER, USER, || store.append(&line, unix_now() - DAY)).unwrap();
            }
        }
    }

    fn command(&self) -> Command {
        let settings = self.path("report.toml");
        let mut command = super::command(&["report", "run", "--at-once", "--settings", &settings]);
        command.env("MTASTS_CONFIG", self.path("mtasts.toml"));
        command.uid(USER).gid(USER);
        command
    }

    fn run(&self) -> Ran {
        self.command().output().unwrap().into()
    }

    fn mails(&self) -> Vec<Value> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("mail"))
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|file| read_mail(&fs::read(file).unwrap()))
            .collect()
    }

    /// The ledger of yesterday.
    fn ledger(&self) -> PathBuf {
        self.directory.join(format!("cache/.report-{}.sent", yesterday()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn yesterday() -> String {
    calendar::date(unix_now() - DAY)
}

fn read_mail(mail: &[u8]) -> Value {
    let mut python = Command::new("python3")
        .args(["-c", READ_MAIL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().unwrap().write_all(mail).unwrap();
    let output = python.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(mail);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn each_domain_gets_its_report_once_where_it_wants_it() {
    let world = World::new(
        "once",
        &[
            ("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test"),
            (
                "both.test",
                "v=TLSRPTv1; rua=mailto:a%21b@both.test,HTTPS://good.test:443/v1?x=%7E",
            ),
            ("good.test", "8.8.8.1"),
            // Whoever writes a record can name us, our own network, and things that are not destinations.
            (
                "hostile.test",
                "v=TLSRPTv1; rua=mailto:TLSRPT@sender.test,https://127.0.0.1/,http://x.test/,javascript:alert(1),mailto:x%0d%0aBcc:y@z.test",
            ),
        ],
    );
    world.sessions(&["mail.test", "both.test", "none.test", "hostile.test", "silent.test"]);
    let ran = world.run();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "reports: 3 sent, 0 failed, 2 domains want none, of 1 DNS does not say\n"
    );
    assert_eq!(
        ran.err,
        "mtasts: 5 of the places where hostile.test wants reports are not used (D-36, D-38)\n"
    );
    let again = world.run();
    assert_eq!(
        again.out, "reports: 0 sent, 0 failed, 0 domains want none, of 1 DNS does not say\n",
        "{again:?}"
    );

    let day = yesterday();
    let begin = calendar::day(&day).unwrap();
    let mails = world.mails();
    assert_eq!(mails.len(), 2, "{mails:?}");
    let mail = mails
        .iter()
        .find(|mail| mail["headers"]["tls-report-domain"] == "mail.test")
        .unwrap();
    let headers = &mail["headers"];
    let id = mail["report"]["report-id"].as_str().unwrap();
    assert_eq!(
        headers["subject"],
        format!("Report Domain: mail.test Submitter: sender.test Report-ID: <{id}>")
    );
    assert_eq!(headers["from"], "Sénder <tlsrpt@sender.test>");
    assert_eq!(headers["to"], "reports@mail.test");
    assert_eq!(headers["tls-report-submitter"], "sender.test");
    assert_eq!(headers["tls-required"], "No");
    assert_eq!(headers["auto-submitted"], "auto-generated");
    assert!(
        headers["message-id"].as_str().unwrap().ends_with("@sender.test>"),
        "{headers}"
    );
    assert_eq!(mail["count"], 11, "{headers}");
    assert_eq!(
        (&mail["type"], &mail["report-type"]),
        (&json!("multipart/report"), &json!("tlsrpt"))
    );
    assert_eq!(
        (&mail["parts"], &mail["defects"]),
        (&json!(["text/plain", "application/tlsrpt+gzip"]), &json!([]))
    );
    let unique = id.rsplit_once('@').unwrap().0.rsplit_once('_').unwrap().1;
    assert_eq!(
        mail["file"],
        format!("sender.test!mail.test!{begin}!{}!{unique}.json.gz", begin + DAY - 1)
    );
    assert!(
        mail["text"]
            .as_str()
            .unwrap()
            .contains(&format!("servers of mail.test on {day} (UTC)")),
        "{}",
        mail["text"]
    );
    let report = &mail["report"];
    assert_eq!(report["organization-name"], "Sénder");
    let summary = json!({"total-successful-session-count": 1, "total-failure-session-count": 1});
    assert_eq!(report["policies"][0]["summary"], summary);
    let both = mails
        .iter()
        .find(|mail| mail["headers"]["tls-report-domain"] == "both.test")
        .unwrap();
    assert_eq!(both["headers"]["to"], "a!b@both.test");
    // The same report by https.
    assert_eq!(*world.posted.lock().unwrap(), [both["report"].clone()]);
    let requests = world.servers[0].requests();
    assert_eq!(requests.len(), 1);
    let head = requests[0].head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1?x=%7e http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/tlsrpt+gzip\r\n") && head.contains("content-length: "),
        "{head}"
    );
    // Who wants a report is asked once a day; of whom nothing is known, again.
    let asked = |domain: &str| {
        let name = format!("_smtp._tls.{domain}");
        world.dns.asked().iter().filter(|asked| asked.name == name).count()
    };
    assert_eq!(["mail.test", "none.test", "hostile.test"].map(asked), [1, 1, 1]);
    assert!(asked("silent.test") >= 2);
}

#[test]
fn what_is_not_taken_is_tried_again_and_not_elsewhere() {
    let world = World::new(
        "again",
        &[
            (
                "a.test",
                "v=TLSRPTv1; rua=mailto:r@a.test,https://moved.test/,https://inside.test/,https://good.test/,https://none.test/",
            ),
            ("b.test", "v=TLSRPTv1; rua=https://other.test/,https://wrong.test/"),
            ("good.test", "8.8.8.1"),
            ("moved.test", "8.8.8.2"),
            ("other.test", "8.8.8.3"),
            ("wrong.test", "8.8.8.3"),
            ("inside.test", "10.1.2.3"),
        ],
    );
    world.sessions(&["a.test", "b.test"]);
    world.mailer("echo no room >&2; exit 75");
    let ran = world.run();
    let day = yesterday();
    let mut said: Vec<&str> = ran.err.lines().collect();
    said.sort_unstable();
    let line = |domain: &str, uri: &str, why: &str| {
        format!("mtasts: the report of {day} to {domain} at {uri} is not known to be sent: {why}")
    };
    let sendmail = world.path("sendmail");
    let expected = [
        line(
            "a.test",
            "https://inside.test/",
            "inside.test has the address 10.1.2.3, a private address, and is not contacted; if this is your own host, add \
             10.1.2.3/32 to allow_addresses",
        ),
        line(
            "a.test",
            "https://moved.test/",
            "moved.test [8.8.8.2]: the HTTP status is 307",
        ),
        line(
            "a.test",
            "https://none.test/",
            "none.test: the name does not exist (NXDOMAIN)",
        ),
        line(
            "a.test",
            "mailto:r@a.test",
            &format!("{sendmail} has refused the mail: exit status: 75 (no room)"),
        ),
        line(
            "b.test",
            "https://wrong.test/",
            "wrong.test [8.8.8.3]: the certificate names other.test, not wrong.test",
        ),
    ];
    assert_eq!(said, expected);
    assert_eq!(
        (ran.status, &*ran.out),
        (
            1,
            "reports: 2 sent, 5 failed, 0 domains want none, of 0 DNS does not say\n"
        )
    );
    assert_eq!((world.mails().len(), world.posted.lock().unwrap().len()), (0, 1));

    // Not at once, and then what has failed alone. Certificates need not be checked.
    let soon = world.run();
    assert_eq!(
        (soon.status, &*soon.out),
        (
            0,
            "reports: 0 sent, 0 failed, 0 domains want none, of 0 DNS does not say\n"
        )
    );
    let ledger = fs::read_to_string(world.ledger()).unwrap();
    let now = unix_now() / 100_000;
    assert!(ledger.contains(&format!(" {now}")), "{ledger}");
    fs::write(world.ledger(), ledger.replace(&format!(" {now}"), " 17000")).unwrap();
    world.mailer("cat > \"$MAILS/$$\"");
    world.configure("dkim_selector = \"s\"\nhttps_certificates = false");
    let later = world.run();
    assert_eq!(
        (later.status, &*later.out),
        (
            1,
            "reports: 2 sent, 3 failed, 0 domains want none, of 0 DNS does not say\n"
        )
    );
    assert_eq!((world.mails().len(), world.posted.lock().unwrap().len()), (1, 1));
    let ledger = fs::read_to_string(world.ledger()).unwrap();
    assert!(ledger.contains("\nsent b.test https://wrong.test/ .\n"), "{ledger}");

    // The day after, what was not sent is told once.
    let before = world
        .directory
        .join(format!("cache/.report-{}.sent", calendar::date(unix_now() - 2 * DAY)));
    fs::rename(world.ledger(), before).unwrap();
    fs::remove_file(world.directory.join(format!("cache/.report-{day}-{}", label()))).unwrap();
    let after = world.run();
    assert_eq!(
        after.err.matches(" was not sent, and is given up: ").count(),
        3,
        "{after:?}"
    );
    assert_eq!((after.status, world.run().err.as_str()), (0, ""));
}

/// What the journals of this host have in their names.
fn label() -> String {
    let known = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    mtasts::sys::host::name().chars().take(64).map(known).collect()
}

/// Without a place for its notes nothing is sent; nor without an address to send from.
#[test]
fn nothing_is_sent_that_cannot_be_noted() {
    let world = World::new("unnoted", &[("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test")]);
    world.sessions(&["mail.test"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 0; trap '' XFSZ; exec \"$0\" \"$@\""]);
    let command = world.command();
    limited.arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let ran: Ran = limited.uid(USER).gid(USER).output().unwrap().into();
    assert_eq!((ran.status, &*ran.out), (2, ""), "{ran:?}");
    assert!(
        ran.err.contains("the ledger of the reports cannot be used: "),
        "{ran:?}"
    );
    assert_eq!(world.mails().len(), 0);
    fs::set_permissions(world.ledger(), Permissions::from_mode(0o666)).unwrap();
    let ran = world.run();
    assert!(
        ran.err
            .ends_with("more users may use it than the mode of the directory allows\n"),
        "{ran:?}"
    );
    fs::remove_file(world.ledger()).unwrap();
    let settings = fs::read_to_string(world.path("mtasts.toml")).unwrap();
    fs::write(world.path("mtasts.toml"), settings.replace("tlsrpt_sender", "#")).unwrap();
    let ran = world.run();
    assert!(
        ran.status == 2 && ran.err.contains("Set tlsrpt_sender in mtasts.toml"),
        "{ran:?}"
    );
    assert_eq!(world.mails().len(), 0);
}

#[test]
fn a_check_says_what_receivers_would_miss() {
    let world = World::new("check", &[]);
    let two = format!("{KEY}|{KEY}");
    let email = KEY.replace("; p", "; s=email; p");
    for (name, text, said) in [
        (
            "mx:sender.test",
            None,
            "sender.test has neither an MX host nor an address",
        ),
        ("mx:sender.test", Some("."), "sender.test takes no mail (null MX)"),
        ("txt:sender.test", None, "sender.test has no SPF record"),
        ("txt:sender.test", Some("v=spf1 -all"), "says that it sends no mail"),
        (
            "txt:sender.test",
            Some("v=spf1 a|v=spf1 mx"),
            "sender.test has 2 SPF records",
        ),
        (
            "txt:s._domainkey.sender.test",
            None,
            "s._domainkey.sender.test must have one TXT record, and has 0",
        ),
        ("txt:s._domainkey.sender.test", Some(&two), "and has 2"),
        (
            "txt:s._domainkey.sender.test",
            Some(&email),
            "its s= does not allow reports everywhere",
        ),
    ] {
        let before = world.records.lock().unwrap().get(name).cloned();
        world.publish(name, text);
        let ran = world.check();
        assert!(ran.status == 1 && ran.out.contains(said), "{name} {text:?}: {ran:?}");
        assert_eq!(ran.out.matches("bad").count(), 1, "{ran:?}");
        world.publish(name, before.as_deref());
    }
    let settings = fs::read_to_string(world.path("report.toml")).unwrap();
    for (from, to, said) in [
        ("dkim_selector", "#", "set dkim_selector in report.toml"),
        ("/sendmail", "/none", "none: No such file or directory"),
    ] {
        fs::write(world.path("report.toml"), settings.replace(from, to)).unwrap();
        let ran = world.check();
        assert!(ran.status == 1 && ran.out.contains(said), "{ran:?}");
        assert_eq!(world.run().status, 2, "these settings were not checked");
    }
    fs::write(world.path("report.toml"), settings).unwrap();
    assert_eq!(world.run().status, 0);
}

/// Where OpenDKIM is, which the archive of this machine has.
fn opendkim_of_debian() -> PathBuf {
    let program = repository().join("target/opendkim");
    let fetch = repository().join("tests/tlsrpt/opendkim.sh");
    let fetched = Command::new(fetch).arg(&program).status();
    assert!(fetched.unwrap().success(), "tests/tlsrpt/opendkim.sh");
    program
}

/// What OpenDKIM says of a mail, with the one key of the sender.
fn opendkim(program: &Path, directory: &Path, key: &str, mail: &str) -> String {
    let file = |name: &str, text: &str| {
        fs::write(directory.join(name), text).unwrap();
        directory.join(name)
    };
    let keys = file("keys", &format!("s._domainkey.sender.test {key}\n"));
    let config = file("opendkim.conf", &format!("Mode v\nTestPublicKeys {}\n", keys.display()));
    let mail = file("mail.eml", &mail.replace('\n', "\r\n"));
    let ran = Command::new(program.join("root/usr/sbin/opendkim"))
        .env(
            "LD_LIBRARY_PATH",
            fs::read_to_string(program.join("libraries")).unwrap().trim(),
        )
        .arg("-x")
        .arg(config)
        .arg("-vvt")
        .arg(mail)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()
}

/// For a host whose mail server does not sign: each signature verifies, by a program of others.
#[test]
fn the_reporter_signs_by_rsa_and_by_ed25519() {
    // Before this thread has a network of its own.
    let verifier = opendkim_of_debian();
    let world = World::new("signs", &[("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test")]);
    world.sessions(&["mail.test"]);
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let key = world.path("key.pem");
    for (algorithm, option, name) in [
        ("RSA", &["-pkeyopt", "rsa_keygen_bits:2048"][..], "rsa-sha256"),
        ("ED25519", &[], "ed25519-sha256"),
    ] {
        openssl(&[&["genpkey", "-algorithm", algorithm, "-out", &key], option].concat());
        chown(&key, Some(USER), Some(USER)).unwrap();
        let spki = openssl(&["pkey", "-in", &key, "-pubout", "-outform", "DER"]);
        let record = match algorithm {
            "RSA" => format!("v=DKIM1; k=rsa; p={}", BASE64.encode(&spki)),
            _ => format!(
                "v=DKIM1; k=ed25519; s=email:tlsrpt; p={}",
                BASE64.encode(&spki[spki.len() - 32..])
            ),
        };
        world.configure(&format!("dkim_selector = \"s\"\ndkim_key = \"{key}\""));
        world.publish("txt:s._domainkey.sender.test", Some(KEY));
        let other = world.check();
        assert!(other.status == 1 && other.out.contains("dkim_key"), "{other:?}");
        world.publish("txt:s._domainkey.sender.test", Some(&record));
        let checked = world.check();
        assert!(
            checked.status == 0 && checked.out.contains("the reporter signs"),
            "{checked:?}"
        );
        let _ = fs::remove_file(world.ledger());
        assert_eq!(world.run().status, 0);
        let file = fs::read_dir(world.path("mail"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mail = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        assert_eq!(read_mail(mail.as_bytes())["defects"], json!([]));
        let (field, rest) = mail.split_once("\nFrom:").unwrap();
        assert!(
            field.starts_with(&format!("DKIM-Signature: v=1; a={name}; ")) && !field.contains("; l="),
            "{field}"
        );
        assert!(
            field.contains("h=TLS-Report-Domain:\n\t TLS-Report-Submitter:\n"),
            "{field}"
        );
        let said = opendkim(&verifier, &world.directory, &record, &mail);
        assert!(
            said.contains("verification (s=s, d=sender.test") && said.contains("succeeded"),
            "{name}: {said}\n{field}"
        );
        let line = mail.lines().find(|line| line.starts_with("H4sI")).unwrap();
        for changed in [
            mail.replacen(line, &line.replace('H', "I"), 1),
            mail.replacen("Domain: mail.test", "Domain: x.test", 1),
        ] {
            assert_ne!(changed, mail, "{rest}");
            let said = opendkim(&verifier, &world.directory, &record, &changed);
            assert!(!said.contains("succeeded"), "{name}: {said}");
        }
    }
}

/// How many mails there are for each domain. The program writes a mail under another name first.
fn copies(world: &World) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for file in fs::read_dir(world.path("mail")).unwrap() {
        let Ok(mail) = fs::read_to_string(file.unwrap().path()) else {
            continue;
        };
        let domain = mail.lines().find_map(|line| line.strip_prefix("TLS-Report-Domain: "));
        *copies.entry(domain.expect("a whole header").to_owned()).or_default() += 1;
        assert!(
            mail.ends_with("--\n") || mail.ends_with("--\n\n"),
            "a whole mail: {mail}"
        );
    }
    copies
}

/// The reporter is killed again and again: each report arrives once, or twice, and then that was said. Three hundred times with
/// KILL_POINTS=300.
#[test]
fn a_reporter_that_is_killed_sends_no_report_a_third_time() {
    const DOMAINS: usize = 30;
    let points: u64 = std::env::var("KILL_POINTS").map_or(30, |points| points.parse().unwrap());
    let names: Vec<String> = (0..DOMAINS).map(|n| format!("d{n}.test")).collect();
    let records: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "v=TLSRPTv1; rua=mailto:reports@mail.test"))
        .collect();
    let world = World::new("killed", &records);
    world.sessions(&names.iter().map(String::as_str).collect::<Vec<_>>());
    world.mailer("cat > \"$MAILS/../part.$$\" && mv \"$MAILS/../part.$$\" \"$MAILS/$$\"");
    fs::set_permissions(&world.directory, Permissions::from_mode(0o777)).unwrap();
    let (mut killed, mut rounds, mut twice) = (0, 0, 0);
    while killed < points {
        rounds += 1;
        let mut said = String::new();
        for patience in 0.. {
            let mut run = world.command();
            let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // Each time a little later, from the start of the process to its end.
            std::thread::sleep(Duration::from_micros(1500 * (1 + patience) + killed * 137 % 1500));
            let ended = run.try_wait().unwrap().is_some();
            run.kill().unwrap();
            let ran = run.wait_with_output().unwrap();
            said += &String::from_utf8_lossy(&ran.stderr);
            // A program for mails that is about to begin has the lock of the one that was killed for a moment.
            let waits = said.ends_with("another process is sending the reports\n");
            if ended && !waits {
                assert!(ran.status.success(), "{ran:?}");
                break;
            }
            killed += 1;
        }
        let is_part =
            |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().to_str().unwrap().starts_with("part.");
        until("the last mails", || {
            !fs::read_dir(&world.directory).unwrap().any(is_part)
        });
        std::thread::sleep(Duration::from_millis(100));
        let ledger = fs::read_to_string(world.ledger()).unwrap();
        let copies = copies(&world);
        for name in &names {
            let again = said.contains(&format!(
                " to {name} at mailto:reports@mail.test is sent again, and may arrive twice: "
            ));
            match copies.get(name) {
                Some(1) => {}
                Some(2) if again => twice += 1,
                other => panic!("{name} has {other:?} reports (sent again: {again})\n{said}\n{ledger}"),
            }
        }
        let left = fs::read_dir(world.path("cache"))
            .unwrap()
            .map(|file| file.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".mail-")).collect();
        assert!(left.is_empty(), "{left:?}");
        fs::remove_dir_all(world.path("mail")).unwrap();
        fs::create_dir(world.path("mail")).unwrap();
        chown(world.path("mail"), Some(USER), Some(USER)).unwrap();
        fs::remove_file(world.ledger()).unwrap();
    }
    println!("{killed} times killed, {rounds} times {DOMAINS} reports: {twice} twice");
}

/// The program for mails goes on without the reporter, and the next run knows what became of the mail.
#[test]
fn a_mail_that_was_taken_from_a_dead_reporter_is_not_sent_again() {
    let world = World::new("dead", &[("a.test", "v=TLSRPTv1; rua=mailto:r@a.test")]);
    world.sessions(&["a.test"]);
    world.mailer("cat > \"$MAILS/$$\"; until [ -e \"$MAILS/../go\" ]; do sleep 0.01; done");
    let mut run = world.command().stdout(Stdio::null()).spawn().unwrap();
    until("the mail", || fs::read_dir(world.path("mail")).unwrap().count() == 1);
    run.kill().unwrap();
    run.wait().unwrap();
    fs::write(world.path("go"), "").unwrap();
    let taken = |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().to_string_lossy().ends_with(".taken");
    until("its end", || fs::read_dir(world.path("cache")).unwrap().any(taken));
    let again = world.run();
    assert_eq!((again.status, &*again.err), (0, ""), "{again:?}");
    assert_eq!(copies(&world)["a.test"], 1);
    let ledger = fs::read_to_string(world.ledger()).unwrap();
    assert!(ledger.ends_with("\nsent a.test mailto:r@a.test .\n"), "{ledger}");
    assert!(!fs::read_dir(world.path("cache")).unwrap().any(taken));
}

/// A disk that is full in the middle: the run ends there, and the next one sends the rest, each report once.
#[test]
fn a_full_disk_ends_a_run_and_doubles_nothing() {
    let names: Vec<String> = (0..60).map(|n| format!("d{n}.test")).collect();
    let records: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "v=TLSRPTv1; rua=mailto:reports@mail.test"))
        .collect();
    let world = World::new("full", &records);
    world.sessions(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8; trap '' XFSZ; exec \"$0\" \"$@\""]);
    let command = world.command();
    limited.arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let ran: Ran = limited.uid(USER).gid(USER).output().unwrap().into();
    assert!(
        ran.status == 2
            && ran
                .err
                .contains("the ledger of the reports cannot be used: File too large"),
        "{ran:?}"
    );
    let first = copies(&world).len();
    assert!((1..60).contains(&first), "{first}");
    let ran = world.run();
    assert_eq!(ran.status, 0, "{ran:?}");
    let copies = copies(&world);
    assert_eq!(copies.len(), 60);
    for (name, copies) in copies {
        let again = ran.err.contains(&format!(" to {name} at "));
        assert!(copies == 1 || (copies == 2 && again), "{name}: {copies}, {ran:?}");
    }
}

/// Another reader: what it finds in the mail is what the journal had.
#[test]
#[ignore = "downloads parsedmarc and all that it needs: half a minute"]
fn parsedmarc_reads_a_report() {
    const READ: &str = "import sys, json, parsedmarc
print(json.dumps(parsedmarc.parse_report_email(sys.stdin.buffer.read(), offline=True), default=str))";
    let reader = repository().join("target/parsedmarc");
    let fetched = Command::new(repository().join("tests/tlsrpt/parsedmarc.sh"))
        .arg(&reader)
        .status();
    assert!(fetched.unwrap().success(), "tests/tlsrpt/parsedmarc.sh");
    let world = World::new(
        "parsedmarc",
        &[("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test")],
    );
    world.sessions(&["mail.test"]);
    assert_eq!(world.run().status, 0);
    let mail = fs::read_dir(world.path("mail")).unwrap().next().unwrap().unwrap();
    let output = Command::new(reader.join("venv/bin/python"))
        .args(["-c", READ])
        .stdin(fs::File::open(mail.path()).unwrap())
        .output()
        .unwrap();
    let read: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(read["report_type"], "smtp_tls");
    let report = &read["report"];
    assert_eq!(
        (&report["organization_name"], &report["contact_info"]),
        (&json!("Sénder"), &json!("tlsrpt@sender.test"))
    );
    let policy = &report["policies"][0];
    assert_eq!(
        (&policy["policy_domain"], &policy["policy_type"]),
        (&json!("mail.test"), &json!("sts"))
    );
    assert_eq!(
        (&policy["successful_session_count"], &policy["failed_session_count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(policy["failure_details"][0]["result_type"], "certificate-expired");
}
