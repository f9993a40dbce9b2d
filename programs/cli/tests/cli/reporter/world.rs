//! The host of a reporter, on a small Internet with domains that want reports.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use mtasts::cache::store::Store;
use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::dns_server::{DnsServer, Reply, address, mx, ptr, txt};
use mtasts_kit::pki::{host, root};
use mtasts_kit::policy_server::{PolicyServer, Stream, isolate};
use mtasts_kit::{Ran, USER};
use serde_json::Value;

/// A day in seconds.
pub(super) const DAY: u64 = 86_400;
/// Reads a mail, as a receiver does: its headers, and its parts with the report uncompressed.
pub(super) const READ_MAIL: &str = "
import sys, json, gzip, email, email.policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.SMTP)
parts = [[p.get_content_type(), p.get_filename(), p.get_payload(decode=True)] for p in m.iter_parts()]
print(json.dumps({'headers': {k.lower(): str(v) for k, v in m.items()}, 'count': len(m.items()), 'type': m.get_content_type(),
  'report-type': m.get_param('report-type'), 'defects': [str(d) for d in m.defects], 'text': parts[0][2].decode(),
  'parts': [p[0] for p in parts], 'file': parts[1][1], 'report': json.loads(gzip.decompress(parts[1][2]))}))";

/// The host of the reporter, on a network of its own.
pub(super) struct World {
    pub(super) directory: PathBuf,
    pub(super) dns: DnsServer,
    /// What DNS says: texts of TXT records, and addresses.
    pub(super) records: Arc<Mutex<BTreeMap<String, String>>>,
    pub(super) posted: Arc<Mutex<Vec<Value>>>,
    pub(super) servers: Vec<PolicyServer>,
}

/// What DNS has for the sender.
pub(super) const SENDER: [(&str, &str); 3] = [
    ("mx:sender.test", "mx.sender.test"),
    ("txt:sender.test", "v=spf1 mx -all"),
    ("txt:s._domainkey.sender.test", KEY),
];
/// A key record with a key of nobody.
pub(super) const KEY: &str = "v=DKIM1; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApgoQGulwf3DcFacpxg1j1PmRw7n+rI6FDbwo2Wejn6BDADHsMr4ulLUivSN72AvfV+M0kypMFfQ5+GsO8BJtMmwx4PP1xgfic9rjMVGNs1U15MSCKKwqFhz/UH3/Ck1Ro5SPc0iUI+D7C0Wl9i32XBtzAoth2vKQI/ZaTi4s9VUup5XmYgM5NtLXddiXVnUbchQC3sKzwErQ69aTZNE+Yo57PoZvCFC5MgVid7ukOTWHl0RoYlXlYpv1f4QQ2y9eraBrFmx8c0nPA19gQIgOVAOeaCYb7BQ1wWar3KIE35mvRzFxxdvmD6vID32p1WfB+ZeX1UQgsKjfSQNGmK672wIDAQAB";

impl World {
    pub(super) fn new(name: &str, records: &[(&str, &str)]) -> Self {
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
                (RecordType::PTR, None) => {
                    // Of 4.3.2.1.in-addr.arpa.
                    let labels = asked.name.split('.').map_while(|label| label.parse::<u8>().ok());
                    let octets: Vec<u8> = labels.collect();
                    match <[u8; 4]>::try_from(octets)
                        .map(|[d, c, b, a]| find(&format!("ptr:{}", Ipv4Addr::new(a, b, c, d))))
                    {
                        Ok(Some(host)) => Reply::answers(vec![ptr(&asked.name, &host)]),
                        _ => Reply::nxdomain(),
                    }
                }
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

    pub(super) fn check(&self) -> Ran {
        let settings = self.path("report.toml");
        let mut command = crate::command_of_user(&["report", "check", "--settings", &settings]);
        command.env("MTASTS_CONFIG", self.path("mtasts.toml"));
        command.output().unwrap().into()
    }

    pub(super) fn publish(&self, name: &str, text: Option<&str>) {
        let mut records = self.records.lock().unwrap();
        match text {
            Some(text) => records.insert(name.to_owned(), text.to_owned()),
            None => records.remove(name),
        };
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn configure(&self, more: &str) {
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
    pub(super) fn mailer(&self, what: &str) {
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
    pub(super) fn sessions(&self, domains: &[&str]) {
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

    pub(super) fn command(&self) -> Command {
        let settings = self.path("report.toml");
        let mut command = crate::command_of_user(&["report", "run", "--at-once", "--settings", &settings]);
        command.env("MTASTS_CONFIG", self.path("mtasts.toml"));
        command
    }

    pub(super) fn run(&self) -> Ran {
        self.command().output().unwrap().into()
    }

    /// With files of so many blocks of 512 octets at most, as on a disk that is full.
    pub(super) fn run_within(&self, blocks: u32) -> Ran {
        let command = self.command();
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\"")]);
        limited.arg(command.get_program()).args(command.get_args());
        limited.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        limited.stdin(crate::program()).uid(USER).gid(USER);
        limited.output().unwrap().into()
    }

    pub(super) fn mails(&self) -> Vec<Value> {
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
    pub(super) fn ledger(&self) -> PathBuf {
        self.directory.join(format!("cache/.report-{}.sent", yesterday()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(super) fn yesterday() -> String {
    calendar::date(unix_now() - DAY)
}

pub(super) fn read_mail(mail: &[u8]) -> Value {
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

/// What the journals of this host have in their names.
pub(super) fn label() -> String {
    let known = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    mtasts::sys::host::name().chars().take(64).map(known).collect()
}
