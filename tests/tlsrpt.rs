//! Results for TLS reports (RFC 8460) on their way out: the record of a domain, the collector of sys4's tlsrpt-reporter that
//! Postfix feeds too, and the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::cache::store::Store;
use mtasts::report::{Loss, PolicyType, ReportEvent};
use mtasts::{Domain, MxName, Resolver, ResultType, Settings};
use mtasts_kit::dns_server::{Asked, DnsServer, Reply, cname, txt};
use mtasts_kit::{USER, become_user, give_up_root, name, repository, signal, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const RECORD: &str = "v=TLSRPTv1; rua=mailto:reports@example.test";

/// A directory that every user may look into, with a cache of the ordinary user.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("mtasts-tlsrpt-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("cache")).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o777)).unwrap();
        chown(root.join("cache"), Some(USER), Some(USER)).expect("this test needs root");
        fs::set_permissions(root.join("cache"), Permissions::from_mode(0o750)).unwrap();
        Self(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn settings(&self, dns: &DnsServer, more: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        settings.set("cache_dir", self.path("cache").to_str().unwrap()).unwrap();
        settings.set("nameservers", &dns.address.to_string()).unwrap();
        for (key, value) in more {
            settings.set(key, value).unwrap();
        }
        settings
    }

    fn resolver(&self, dns: &DnsServer, more: &[(&str, &str)]) -> Resolver {
        Resolver::new(self.settings(dns, more))
    }

    /// The lines of all journals, and the letters of all losses.
    fn journal(&self) -> (Vec<Value>, String) {
        let store = Store::new(self.path("cache"));
        let (mut lines, mut losses) = (String::new(), String::new());
        for journal in store.journals().unwrap() {
            if let Some(mut file) = store.results(&journal).unwrap() {
                file.read_to_string(&mut lines).unwrap();
            }
            if let Some(mut file) = store.losses(&journal).unwrap() {
                file.read_to_string(&mut losses).unwrap();
            }
        }
        let lines = lines.lines().filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        (lines.collect(), losses)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn zone(asked: &Asked) -> Reply {
    assert_eq!(asked.kind, RecordType::TXT);
    match &*asked.name {
        "_smtp._tls.example.test" => Reply::answers(vec![txt(&asked.name, 300, &[RECORD.as_bytes()])]),
        "_smtp._tls.alias.test" => Reply::answers(vec![
            cname(&asked.name, 300, "reports.example.test"),
            txt(
                "reports.example.test",
                300,
                &[b"v=TLSRPTv1; ", b"rua=https://r.example.test/"],
            ),
        ]),
        "_smtp._tls.odd.test" => Reply::answers(vec![
            txt(&asked.name, 300, &[b"other"]),
            txt(
                &asked.name,
                300,
                &[b"v=TLSRPTv1; rua=javascript:alert(1),mailto:a@odd.test"],
            ),
        ]),
        "_smtp._tls.bad.test" => Reply::answers(vec![txt(&asked.name, 300, &[b"v=TLSRPTv1; rua=http://bad.test/"])]),
        "_smtp._tls.silent.test" => Reply::silence(),
        _ => Reply::nxdomain(),
    }
}

fn dns() -> DnsServer {
    DnsServer::start(zone)
}

/// Does something as the ordinary user, and returns what it made.
fn as_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    mtasts_kit::as_user(USER, USER, work)
}

fn passed(domain: &str) -> ReportEvent {
    ReportEvent {
        policy_type: PolicyType::Sts,
        domain: name(domain),
        policy_lines: [
            "version: STSv1",
            "mode: testing",
            "mx: mx.example.test",
            "max_age: 86400",
        ]
        .map(str::to_owned)
        .to_vec(),
        patterns: vec!["mx.example.test".into()],
        host: MxName::from_mx("mx.example.test"),
        address: Some("192.0.2.1".parse().unwrap()),
        local_address: Some("192.0.2.99".parse().unwrap()),
        result: None,
        reason_code: "".into(),
    }
}

fn failed(domain: &str, result: ResultType, why: &str) -> ReportEvent {
    ReportEvent {
        result: Some(result),
        reason_code: why.into(),
        ..passed(domain)
    }
}

#[test]
fn a_record_is_asked_for_once_and_read_like_the_vectors() {
    let (place, dns) = (Place::new("record"), dns());
    let text = |resolver: &Resolver, domain: &str| {
        let record = resolver.report_record(&name(domain), PATIENCE).unwrap();
        record.map(|record| record.text().to_owned())
    };
    // Each process has a memory of its own; root's helper tells root.
    let as_root = place.resolver(&dns, &[]);
    let ordinary = place.resolver(&dns, &[]);
    let all = |resolver: &Resolver| {
        for _ in 0..3 {
            assert_eq!(text(resolver, "example.test").as_deref(), Some(RECORD));
            assert_eq!(
                text(resolver, "alias.test").as_deref(),
                Some("v=TLSRPTv1; rua=https://r.example.test/")
            );
            assert_eq!(
                text(resolver, "odd.test").as_deref(),
                Some("v=TLSRPTv1;rua=mailto:a@odd.test")
            );
            assert_eq!(text(resolver, "bad.test"), None);
            assert_eq!(text(resolver, "none.test"), None);
        }
    };
    all(&as_root);
    let asked = dns.asked().len();
    assert_eq!(asked, 5, "{:?}", dns.asked());
    as_user(|| all(&ordinary));
    assert_eq!(dns.asked().len(), 2 * asked);
}

#[test]
fn silence_is_no_record_and_holds_up_one_mail_alone() {
    let (place, dns) = (Place::new("silence"), dns());
    let resolver = place.resolver(&dns, &[("tlsrpt_socket", "/nowhere/socket")]);
    let domain = name("silent.test");
    let begun = Instant::now();
    let why = resolver.report_record(&domain, Duration::from_secs(1)).unwrap_err();
    assert_eq!(why.to_string(), "no name server answered in time");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let again = Instant::now();
    let lost = resolver.report(&domain, &[passed("silent.test")], PATIENCE);
    assert_eq!(lost, Err(Loss::RecordUnknown));
    assert!(again.elapsed() < Duration::from_secs(1), "{:?}", again.elapsed());
    assert_eq!(place.journal(), (Vec::new(), "r".to_owned()));
}

#[test]
fn it_is_off_by_default() {
    let (place, dns) = (Place::new("off"), dns());
    let resolver = place.resolver(&dns, &[]);
    resolver
        .report(&name("example.test"), &[passed("example.test")], PATIENCE)
        .unwrap();
    as_user(|| resolver.report(&name("example.test"), &[passed("example.test")], PATIENCE)).unwrap();
    assert_eq!(dns.asked().len(), 0);
    assert_eq!(fs::read_dir(place.path("cache")).unwrap().count(), 0);
}

/// Root (by its helper), an ordinary user, a thread, and a child of a child.
#[test]
fn every_process_writes_the_journal() {
    let (place, dns) = (Place::new("journal"), dns());
    let resolver = place.resolver(&dns, &[("tlsrpt_journal", "on")]);
    let report = |host: &str| {
        let event = ReportEvent {
            host: MxName::from_mx(host),
            ..failed(
                "example.test",
                ResultType::CertificateExpired,
                "certificate-expired: 2026-01-01",
            )
        };
        resolver.report(&name("example.test"), &[event], PATIENCE)
    };
    report("root.test").unwrap();
    as_user(|| report("user.test")).unwrap();
    let child = mtasts_kit::Child::start(|| {
        give_up_root();
        report("child.test").unwrap();
        mtasts_kit::Child::start(|| report("grandchild.test").unwrap()).ends_well(PATIENCE);
    });
    child.ends_well(PATIENCE);
    let both = [passed("mx.example.test"), passed("example.test")];
    resolver.report(&name("example.test"), &both, PATIENCE).unwrap();
    let (lines, losses) = place.journal();
    let detail = |line: &Value| line["policies"][0]["failure-details"][0]["n"].clone();
    let hosts: Vec<Value> = lines.iter().map(detail).collect();
    assert_eq!(
        hosts,
        [
            json!("root.test"),
            json!("user.test"),
            json!("child.test"),
            json!("grandchild.test"),
            json!(null),
            json!(null)
        ]
    );
    assert_eq!(losses, "");
    assert_eq!(lines[4]["policies"][0]["policy-domain"], "mx.example.test");
    assert_eq!(lines[5]["policies"][0]["policy-string"][1], "mode: testing");
    assert_eq!(lines[5]["d"], "example.test");
    // The journal needs no record: the reporter asks for it.
    assert_eq!(dns.asked().len(), 0);
}

#[test]
fn what_cannot_be_written_is_told_once_and_harms_nothing() {
    let (place, dns) = (Place::new("unwritten"), dns());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    let settings = place.settings(&dns, &[("tlsrpt_journal", "on"), ("tlsrpt_socket", "/nowhere/socket")]);
    let resolver = Resolver::with_log(settings, move |line| tells.lock().unwrap().push(line.to_owned()));
    fs::set_permissions(place.path("cache"), Permissions::from_mode(0o550)).unwrap();
    for _ in 0..3 {
        let lost = as_user(|| resolver.report(&name("example.test"), &[passed("example.test")], PATIENCE));
        assert!(matches!(lost, Err(Loss::NotWritten(_))), "{lost:?}");
    }
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    let begins = "mtasts[report-lost]: a result for TLS reports is lost: the journal cannot be written: cannot use the cache \
                  file ";
    assert!(told[0].starts_with(begins), "{}", told[0]);
    assert!(
        told[0].ends_with("Permission denied (os error 13). The mail is not affected."),
        "{}",
        told[0]
    );
}

/// Beyond the limit of file sizes the kernel would end the mail server.
#[test]
fn the_limit_of_the_process_is_kept() {
    let place = Place::new("limit");
    let store = Store::new(place.path("cache"));
    let child = mtasts_kit::Child::start(|| {
        give_up_root();
        let limit = libc::rlimit {
            rlim_cur: 10_000,
            rlim_max: 10_000,
        };
        // SAFETY: a valid limit that lives during the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        for n in 0..20 {
            let expected = if n < 10 { Ok(()) } else { Err(Loss::JournalFull) };
            assert_eq!(store.append(&"x".repeat(998), 1_800_000_000), expected);
        }
    });
    child.ends_well(PATIENCE);
}

/// sys4's collector on a socket to which the ordinary user may write, until it is dropped.
struct Collector {
    process: Child,
    directory: PathBuf,
}

fn python() -> Command {
    let packages = repository().join("target/tlsrpt-reporter");
    let fetched = Command::new(repository().join("tests/tlsrpt/fetch.sh"))
        .arg(&packages)
        .status();
    assert!(fetched.unwrap().success(), "tests/tlsrpt/fetch.sh");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages);
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
        self.read_from(&self.directory.join("results.sqlite"))
    }

    fn read_from(&self, file: &Path) -> (Vec<Value>, Vec<Value>) {
        let read = "import json, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(json.dumps([c.execute(q).fetchall() for q in (\
            'select domain, tlsrptrecord, policy, cntrtotal, cntrfailure from finalresults order by rowid',\
            'select domain, policy, reason, cntr from failures order by rowid')]))";
        let output = python().args(["-c", read]).arg(file).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What the reporter of sys4 makes of a collector's day, by domain: its own report, from its own three programs.
fn reports_of_sys4(mut collector: Collector, sessions: u64) -> BTreeMap<String, Value> {
    let are_in = |(policies, _): (Vec<Value>, Vec<Value>)| {
        let counts = policies.into_iter().map(|policy| policy[3].as_u64().unwrap());
        counts.sum::<u64>() == sessions
    };
    until("the sessions in the data base", || are_in(collector.read()));
    let directory = collector.directory.clone();
    let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    // Its signal for the end of the day.
    collector.signal(libc::SIGUSR2);
    // It has made an empty one when it began.
    let yesterday = directory.join("results.sqlite.yesterday");
    until("the end of the day", || {
        yesterday.exists() && are_in(collector.read_from(&yesterday))
    });
    collector.signal(libc::SIGTERM);
    collector.process.wait().unwrap();
    let main = |which: &str| format!("from tlsrpt_reporter.tlsrpt import {which} as main; main()");
    let fetcher = format!(
        "#!/bin/sh\nexec env PYTHONPATH='{}' python3 -c '{}' --storage 'sqlite://{}' \"$@\"\n",
        repository().join("target/tlsrpt-reporter").display(),
        main("tlsrpt_fetcher_main"),
        at("results.sqlite")
    );
    fs::write(at("fetcher"), fetcher).unwrap();
    fs::set_permissions(at("fetcher"), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(at("reports")).unwrap();
    let mut reportd = python()
        .args([
            "-c",
            &main("tlsrpt_reportd_main"),
            "--fetchers",
            &at("fetcher"),
            "--dbname",
            &at("reportd.sqlite"),
        ])
        .args([
            "--debug_send_file_dest",
            &at("reports"),
            "--sendmail_script",
            "cat",
            "--http_script",
            "cat",
        ])
        .args(["--organization_name", "Sender", "--contact_info", "tlsrpt@sender.test"])
        .args([
            "--sender_address",
            "tlsrpt@sender.test",
            "--spread_out_delivery",
            "1",
            "--interval_main_loop",
            "1",
        ])
        .args([
            "--logfilename",
            &at("reportd.log"),
            "--log_level",
            "info",
            "--pidfilename",
            &at("reportd.pid"),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3");
    let log = || fs::read_to_string(at("reportd.log")).unwrap_or_default();
    // Beside the report of a mail there is the whole mail.
    let reports = || {
        let files = fs::read_dir(at("reports")).unwrap().map(|file| file.unwrap());
        let is_report = |file: &fs::DirEntry| !file.file_name().to_str().unwrap().contains("THE_EMAIL");
        files.filter(is_report).collect::<Vec<_>>()
    };
    let count = || reports().len();
    let deadline = Instant::now() + Duration::from_secs(60);
    while count() < 2 && reportd.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    signal(i32::try_from(reportd.id()).unwrap(), libc::SIGTERM);
    reportd.wait().unwrap();
    assert_eq!(count(), 2, "{}", log());
    let report = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        let domain = name
            .strip_prefix("testreport-")
            .unwrap()
            .split('-')
            .next()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(file.path()).unwrap();
        (
            domain,
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")),
        )
    };
    reports().into_iter().map(report).collect()
}

/// The entries of a report in one order, each with its failures in one order.
fn entries(report: &Value) -> Vec<Value> {
    let sorted = |list: &Value| {
        let mut list = list.as_array().cloned().unwrap_or_default();
        list.sort_by_key(Value::to_string);
        list
    };
    let mut report = report.clone();
    for entry in report["policies"].as_array_mut().unwrap() {
        // RFC 8460 4.4 has no failure-details without a failure; an empty list says the same.
        entry["failure-details"] = sorted(&entry["failure-details"]).into();
    }
    sorted(&report["policies"])
}

/// The same results to the collector and to the journal: the reporter of sys4 and ours make the same report of them.
#[test]
fn the_reporter_of_postfix_reports_the_same() {
    let (place, dns) = (Place::new("same"), dns());
    let collector = Collector::start(&place.0);
    let socket = place.path("socket");
    let to_collector = place.resolver(&dns, &[("tlsrpt_socket", socket.to_str().unwrap())]);
    let to_journal = place.resolver(&dns, &[("tlsrpt_journal", "on")]);
    let mut sessions = 0;
    let mut report = |domain: &str, events: &[ReportEvent]| {
        sessions += events.len() as u64;
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
    let theirs = reports_of_sys4(collector, sessions);
    for (domain, theirs) in &theirs {
        let show = [
            "report",
            "show",
            "--organization",
            "Sender",
            "--contact",
            "tlsrpt@sender.test",
            "--day",
        ];
        let ran = Command::new(mtasts_kit::mtasts())
            .args(show)
            .args([
                &mtasts::protocol::calendar::date(mtasts::sender::resolver::unix_now()),
                domain,
            ])
            .env("MTASTS_CACHE_DIR", place.path("cache"))
            .uid(USER)
            .gid(USER)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let ours: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(entries(&ours), entries(theirs), "{domain}");
        for key in ["organization-name", "contact-info"] {
            assert_eq!(ours[key], theirs[key]);
        }
        for key in ["start-datetime", "end-datetime"] {
            let time = |report: &Value| report["date-range"][key].as_str().unwrap()[10..].to_owned();
            assert_eq!(time(&ours), time(theirs));
        }
        let keys = |report: &Value| report.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&ours), keys(theirs));
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

/// Twenty thousand results in a few seconds, by threads and processes at once: the journal has each of them.
#[test]
fn a_burst_loses_nothing_in_the_journal() {
    const EACH: usize = 2500;
    let (place, dns) = (Place::new("burst"), dns());
    let resolver = place.resolver(&dns, &[("tlsrpt_journal", "on")]);
    let domain: Domain = name("example.test");
    let work = || {
        become_user(USER, USER);
        for n in 0..EACH {
            let event = failed("example.test", ResultType::ValidationFailure, &format!("reason {n}"));
            resolver.report(&domain, &[event], PATIENCE).unwrap();
        }
    };
    let begun = Instant::now();
    let children: Vec<_> = (0..4)
        .map(|_| mtasts_kit::Child::start(|| std::thread::scope(|scope| drop([(); 2].map(|()| scope.spawn(work))))))
        .collect();
    for child in children {
        child.ends_well(Duration::from_secs(60));
    }
    println!("{} results in {:?}", 8 * EACH, begun.elapsed());
    let (lines, losses) = place.journal();
    assert_eq!((lines.len(), &*losses), (8 * EACH, ""));
    for n in [0, EACH - 1] {
        let reason = json!(format!("reason {n}"));
        let with = lines
            .iter()
            .filter(|line| line["policies"][0]["failure-details"][0]["f"] == reason);
        assert_eq!(with.count(), 8);
    }
}
