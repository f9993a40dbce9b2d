//! sys4's collector and reporter, which Postfix feeds too.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mtasts::report::{Loss, PolicyType, ReportEvent};
use mtasts::{MxName, ResultType};
use mtasts_kit::sys4::{Sys4, fetch_reporter};
use mtasts_kit::{name, signal, until};
use serde_json::{Value, json};

use super::place::{PATIENCE, Place, RECORD, as_user, dns, failed, passed};

/// The same results to the collector and to the journal: the reporter of sys4 and ours make the same report of them.
#[test]
fn the_reporter_of_postfix_reports_the_same() {
    let (place, dns) = (Place::new("same"), dns());
    let sys4 = Sys4::start(&place.0, None);
    let socket = sys4.socket();
    let to_collector = place.resolver(&dns, &[("tlsrpt_socket", socket.to_str().unwrap())]);
    let to_journal = place.resolver(&dns, &[("tlsrpt_journal", "on")]);
    let report = |domain: &str, events: &[ReportEvent]| {
        as_user(|| to_journal.report(&name(domain), events, PATIENCE)).unwrap();
        // The queue of the collector holds ten.
        while as_user(|| to_collector.report(&name(domain), events, PATIENCE)) == Err(Loss::QueueFull) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let results: Vec<ResultType> = (0..400).filter_map(ResultType::from_number).collect();
    assert_eq!(results.len(), 11);
    for (n, result) in results.into_iter().enumerate() {
        for domain in ["example.test", "alias.test"] {
            report(domain, &[passed(domain)]);
            for _ in 0..=n % 3 {
                report(
                    domain,
                    &[failed(
                        domain,
                        result,
                        &format!("{result}: \"{n}\" \u{2028}\u{e9}\u{1f4a9}\\"),
                    )],
                );
            }
        }
    }
    let dane = |result, why: &str| ReportEvent {
        policy_type: PolicyType::Tlsa,
        domain: name("mx.example.test"),
        policy_lines: vec!["3 1 1 00ff".into(), "2 0 1 ff00".into()],
        patterns: Vec::new(),
        result,
        reason_code: why.into(),
        ..passed("example.test")
    };
    let none = ReportEvent {
        policy_type: PolicyType::NoPolicyFound,
        policy_lines: Vec::new(),
        patterns: Vec::new(),
        ..passed("example.test")
    };
    let by_name = ReportEvent {
        address: None,
        local_address: None,
        host: MxName::from_mx("bad_name.test"),
        ..failed("example.test", ResultType::ValidationFailure, "mx-not-a-host-name")
    };
    report("example.test", &[dane(None, ""), passed("example.test")]);
    report("example.test", &[dane(Some(ResultType::TlsaInvalid), "tlsa-unusable")]);
    report("example.test", &[none]);
    report("example.test", &[by_name]);
    assert_eq!(sys4.compare(&place.path("cache")), 2);
}

/// sys4's collector on a socket to which the ordinary user may write, until it is dropped.
struct Collector {
    process: Child,
    directory: PathBuf,
}

fn python() -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", fetch_reporter());
    python
}

impl Collector {
    fn start(directory: &Path) -> Self {
        let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let main = "from tlsrpt_reporter.tlsrpt import tlsrpt_collectd_main as main; main()";
        let process = python()
            .args(["-c", main, "--storage", &format!("sqlite://{}", at("results.sqlite"))])
            .args([
                "--socketname",
                &at("socket"),
                "--socketmode",
                "0666",
                "--sockettimeout",
                "1",
            ])
            .args(["--logfilename", &at("collectd.log"), "--log_level", "warning"])
            .args(["--dump_path_for_invalid_datagram", &at("invalid")])
            .stdout(Stdio::null())
            .spawn()
            .expect("python3");
        until("the collector", || directory.join("socket").exists());
        // It makes its data base and sets the mode of the socket after that.
        until("its data base", || directory.join("results.sqlite").exists());
        until("the mode of its socket", || {
            let mode = fs::metadata(directory.join("socket")).unwrap().permissions().mode();
            mode & 0o777 == 0o666
        });
        Self {
            process,
            directory: directory.to_owned(),
        }
    }

    fn signal(&self, number: i32) {
        signal(i32::try_from(self.process.id()).unwrap(), number);
    }

    /// Ends it, and gives the rows of its two tables: domain, record, policy, sessions, failures; and domain, policy, detail,
    /// count.
    ///
    /// It drops what is in the queue of its socket when it ends, so all these sessions are waited for.
    fn rows(mut self, sessions: u64) -> (Vec<Value>, Vec<Value>) {
        until("the sessions in the data base", || {
            let counts = self.read().0.into_iter().map(|policy| policy[3].as_u64().unwrap());
            counts.sum::<u64>() == sessions
        });
        self.signal(libc::SIGTERM);
        let ended = self.process.wait().unwrap();
        let log = fs::read_to_string(self.directory.join("collectd.log")).unwrap_or_default();
        assert!(ended.success(), "the collector: {ended}\n{log}");
        assert_eq!(log, "", "the collector complains");
        assert!(
            !self.directory.join("invalid").exists(),
            "the collector could not read a datagram"
        );
        self.read()
    }

    fn read(&self) -> (Vec<Value>, Vec<Value>) {
        let read = "import json, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(json.dumps([c.execute(q).fetchall() for q in (\
            'select domain, tlsrptrecord, policy, cntrtotal, cntrfailure from finalresults order by rowid',\
            'select domain, policy, reason, cntr from failures order by rowid')]))";
        let output = python()
            .args(["-c", read])
            .arg(self.directory.join("results.sqlite"))
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_collector_of_postfix_has_what_was_sent() {
    let (place, dns) = (Place::new("collector"), dns());
    let collector = Collector::start(&place.0);
    let resolver = place.resolver(&dns, &[("tlsrpt_socket", place.path("socket").to_str().unwrap())]);
    let domain = name("example.test");
    let expired = || {
        failed(
            "example.test",
            ResultType::CertificateExpired,
            "certificate-expired: since \"May\"",
        )
    };
    let tlsa = ReportEvent {
        policy_type: PolicyType::Tlsa,
        domain: name("mx.example.test"),
        policy_lines: vec!["3 1 1 00ff".into()],
        patterns: Vec::new(),
        ..passed("example.test")
    };
    let report = |events: &[ReportEvent]| resolver.report(&domain, events, PATIENCE).unwrap();
    report(&[passed("example.test")]);
    as_user(|| {
        report(&[expired()]);
        report(&[expired()]);
        report(&[tlsa, passed("example.test")]);
    });
    // A domain without a record gets no report.
    resolver
        .report(&name("none.test"), &[passed("none.test")], PATIENCE)
        .unwrap();
    // What strangers write does not end the collector.
    let text = "\u{0}\"}]}\\\u{9b}\u{2028}\u{202e}\n\u{1f4a9}".repeat(3000);
    let hostile = ReportEvent {
        policy_lines: vec!["version: STSv1".into(), text.clone()],
        patterns: vec![text.clone()],
        host: MxName::from_mx(&text),
        ..failed("example.test", ResultType::ValidationFailure, &text)
    };
    report(&[hostile.clone(), hostile]);
    let (policies, failures) = collector.rows(7);
    let parsed = |text: &Value| -> Value { serde_json::from_str(text.as_str().unwrap()).unwrap() };
    let policy = |row: &Value| -> Value { json!([row[0], row[1], parsed(&row[2]), row[3], row[4]]) };
    let sts = json!({
        "policy-type": 2, "policy-domain": "example.test",
        "policy-string": ["version: STSv1", "mode: testing", "mx: mx.example.test", "max_age: 86400"],
        "mx-host": ["mx.example.test"],
    });
    let dane = json!({"policy-type": 1, "policy-domain": "mx.example.test", "policy-string": ["3 1 1 00ff"]});
    assert_eq!(policy(&policies[0]), json!(["example.test", RECORD, sts, 4, 2]));
    assert_eq!(policy(&policies[1]), json!(["example.test", RECORD, dane, 1, 0]));
    // The hostile policy, twice in one datagram; its second line was too long for it.
    assert_eq!(parsed(&policies[2][2])["policy-string"], json!(["version: STSv1"]));
    assert_eq!((policies.len(), &policies[2][3]), (3, &json!(2)));
    // Letter for letter as Postfix has it: else one policy would be two.
    let keys = "{\"policy-type\": 2, \"policy-domain\": \"example.test\", \"policy-string\": [";
    assert!(policies[0][2].as_str().unwrap().starts_with(keys), "{}", policies[0][2]);
    assert_eq!(
        parsed(&failures[0][2]),
        json!({"c": 204, "s": "192.0.2.99", "n": "mx.example.test", "r": "192.0.2.1",
               "f": "certificate-expired: since \"May\""})
    );
    assert_eq!(
        (failures.len(), &failures[0][3], &failures[1][3]),
        (2, &json!(2), &json!(2))
    );
    assert_eq!(place.journal(), (Vec::new(), String::new()));
}

/// A collector that is slow, stopped, dead or absent costs no time, and each datagram arrives or is counted.
#[test]
fn what_the_collector_does_not_take_is_counted() {
    const MANY: usize = 3000;
    let (place, dns) = (Place::new("losses"), dns());
    let socket = place.path("socket");
    let resolver = place.resolver(&dns, &[("tlsrpt_socket", socket.to_str().unwrap())]);
    let report = || resolver.report(&name("example.test"), &[passed("example.test")], PATIENCE);
    let absent = as_user(report);
    assert!(matches!(absent, Err(Loss::NoCollector(_))), "{absent:?}");
    let collector = Collector::start(&place.0);
    collector.signal(libc::SIGSTOP);
    let begun = Instant::now();
    let lost = as_user(|| (0..MANY).filter(|_| report() == Err(Loss::QueueFull)).count());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(lost > 0 && lost < MANY, "{lost}");
    collector.signal(libc::SIGCONT);
    collector.rows(u64::try_from(MANY - lost).unwrap());
    // It is dead, and its socket is left.
    drop(UnixDatagram::bind(&socket).unwrap());
    let dead = as_user(report);
    assert!(
        dead.unwrap_err()
            .to_string()
            .ends_with("socket: Permission denied (os error 13)")
    );
    fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
    let dead = as_user(report);
    assert!(
        dead.unwrap_err()
            .to_string()
            .ends_with("socket: Connection refused (os error 111)")
    );
    let (_, losses) = place.journal();
    let letters: BTreeSet<char> = losses.chars().collect();
    assert_eq!(letters, BTreeSet::from(['c', 'q']));
    assert_eq!(losses.chars().filter(|c| *c == 'q').count(), lost);
    assert_eq!(losses.chars().filter(|c| *c == 'c').count(), 3);
}
