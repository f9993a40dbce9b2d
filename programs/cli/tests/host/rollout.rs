//! The steps of a policy and the gates before them, on real MX hosts.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mtasts::Domain;
use mtasts_host::ledger::Ledger as _;
use mtasts_host::sqlite::Sqlite;
use mtasts_kit::dns_server::{Asked, Reply, address, record, txt};
use mtasts_kit::pki;
use mtasts_kit::policy_server::{PolicyServer, add_address};
use mtasts_kit::until;
use serde_json::Value;

use super::hosting::{HOST, Hosting, Zone};
use super::mx_server::MxServer;

const EXCHANGE: &str = "mx.example.com";
const SECOND: &str = "8.8.8.3";
/// Another policy host.
const OTHER: &str = "8.8.8.9";

/// What DNS says of example.com.
#[derive(Clone)]
struct Records {
    mx: Result<Vec<&'static str>, ResponseCode>,
    /// Those of the MX host; no answer, if one of them is "servfail".
    addresses: Vec<&'static str>,
    /// In place of the id that is served; no record if it is empty.
    id: Option<&'static str>,
    policy_host: &'static str,
}

impl Records {
    fn good() -> Self {
        Self {
            mx: Ok(vec![EXCHANGE]),
            addresses: vec!["8.8.8.2", SECOND],
            id: None,
            policy_host: HOST,
        }
    }

    fn answer(&self, asked: &Asked, served: &str) -> Option<Reply> {
        Some(match (asked.name.as_str(), asked.kind) {
            ("example.com", RecordType::MX) => match &self.mx {
                // They are more than UDP has room for.
                Ok(hosts) if hosts.len() > 16 && !asked.tcp => Reply::truncated(),
                Ok(hosts) => Reply::answers(hosts.iter().map(|host| exchange(host)).collect()),
                Err(code) => Reply::code(*code),
            },
            ("_mta-sts.example.com", RecordType::TXT) => match self.id.unwrap_or(served) {
                "" => Reply::nxdomain(),
                "nodata" => Reply::nodata(),
                "servfail" => Reply::code(ResponseCode::ServFail),
                id => {
                    let text = format!("v=STSv1; id={id};");
                    Reply::answers(vec![txt(&asked.name, 60, &[text.as_bytes()])])
                }
            },
            ("mta-sts.example.com", RecordType::A) => Reply::answers(vec![address(&asked.name, self.policy_host)]),
            (name, _) if name.ends_with(EXCHANGE) && self.addresses.contains(&"servfail") => {
                Reply::code(ResponseCode::ServFail)
            }
            (name, RecordType::A | RecordType::AAAA) if name.ends_with(EXCHANGE) => {
                let all = self.addresses.iter().map(|ip| address(name, ip));
                Reply::answers(all.filter(|record| record.record_type() == asked.kind).collect())
            }
            _ => return None,
        })
    }
}

/// An MX record, also with a name that is not one of a host.
fn exchange(host: &str) -> Record {
    let labels = host.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    let mut name = Name::from_labels(labels).unwrap();
    name.set_fqdn(true);
    record("example.com", 60, RData::MX(MX::new(10, name)))
}

/// A host with a domain, its MX host at two addresses, and two resolvers of which the second one has its own opinion.
struct Site {
    hosting: Hosting,
    records: [Arc<Mutex<Records>>; 2],
    servers: [MxServer; 2],
    settings: String,
}

impl Site {
    fn new(domain: &str) -> Self {
        let hosting = Hosting::new(&["example.com"]);
        add_address(SECOND);
        let records = [Records::good(), Records::good()].map(|records| Arc::new(Mutex::new(records)));
        let zone = Zone::default();
        let second = Hosting::name_server(&zone);
        for (at, records) in records.iter().enumerate() {
            let (records, ledger) = (Arc::clone(records), hosting.path("ledger/ledger.db"));
            // The provider's zone: it announces what is served.
            let answer = move |asked: &Asked| {
                let served = || {
                    ledger
                        .exists()
                        .then(|| Sqlite::open(&ledger))?
                        .ok()?
                        .served()
                        .ok()?
                        .remove(&Domain::parse("example.com").ok()?)
                };
                let id = match asked.kind {
                    RecordType::TXT => served().map(|published| published.id().to_owned()),
                    _ => None,
                };
                records.lock().unwrap().answer(asked, &id.unwrap_or_default())
            };
            match at {
                0 => hosting.says(answer),
                _ => zone.lock().unwrap().push(Box::new(answer)),
            }
        }
        let settings = format!(
            "https = [\"{HOST}:443\"]\nresolvers = [\"{}\", \"{}\"]\nca_file = \"{}\"\n[domain.\"example.com\"]\nmode = \
             \"auto\"\n{domain}\n",
            hosting.resolver(),
            second.address,
            hosting.path("roots.pem").display()
        );
        hosting.settings(&settings);
        let site = Self {
            servers: ["8.8.8.2", SECOND].map(MxServer::start),
            hosting,
            records,
            settings,
        };
        site.certify(&[EXCHANGE], |_| {});
        site
    }

    fn certify(&self, names: &[&str], change: impl Fn(&mut rcgen::CertificateParams)) {
        let host = pki::host(names, self.hosting.authority(), change);
        self.servers.iter().for_each(|server| server.has(Some(&host)));
    }

    /// Everything is as it must be.
    fn repair(&self) {
        self.certify(&[EXCHANGE], |_| {});
        self.records
            .iter()
            .for_each(|records| *records.lock().unwrap() = Records::good());
    }

    fn change(&self, which: usize, change: impl Fn(&mut Records)) {
        change(&mut self.records[which].lock().unwrap());
    }

    /// One step by hand: whether it is done, and what is said.
    fn step(&self, more: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["set-mode", "example.com", "enforce"], more].concat();
        let output = self.hosting.command(&arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn status(&self) -> Value {
        let output = self.hosting.command(&["status", "--json"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{text}: {error}"))["domains"][0].take()
    }

    fn serves(&self, what: &str) {
        let end = std::time::Instant::now() + Duration::from_secs(120);
        while !self.hosting.fetch("example.com").is_ok_and(|text| text.contains(what)) {
            assert!(
                std::time::Instant::now() < end,
                "{what} does not come: {}",
                self.hosting.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn in_days(days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::days(days)
}

#[test]
fn a_step_that_would_cost_mail_is_refused() {
    let mut site = Site::new(&format!("mx = [\"{EXCHANGE}\"]\nreserve = [\"reserve.example.com\"]"));
    site.hosting.start();
    site.serves("mode: testing");

    type Break = fn(&Site);
    let cases: [(&str, Break); 25] = [
        ("mx.example.com [8.8.8.3]: does not offer STARTTLS", |site| {
            site.servers[1].has(None)
        }),
        ("mx.example.com [8.8.8.3]: does not offer STARTTLS", |site| {
            site.servers[1].refuses()
        }),
        ("mx.example.com [8.8.8.2]: the TLS handshake fails", |site| {
            site.servers[0].has_no_certificate()
        }),
        ("mx.example.com [8.8.8.2]: cannot be judged from here: ", |site| {
            site.servers[0].wants_other_tls()
        }),
        ("mx.example.com [8.8.8.4]: does not answer at port 25", |site| {
            add_address("8.8.8.4");
            site.change(0, |records| records.addresses.push("8.8.8.4"));
        }),
        ("mx.example.com [8.8.8.3]: the certificate is not good", |site| {
            let other = pki::root("Other Root");
            site.servers[1].has(Some(&pki::host(&[EXCHANGE], &other, |_| {})));
        }),
        (
            "mx.example.com [8.8.8.2]: the certificate is not good: the certificate expired",
            |site| {
                site.certify(&[EXCHANGE], |params| params.not_after = in_days(-1));
            },
        ),
        ("mx.example.com [8.8.8.2]: the certificate has another name", |site| {
            site.certify(&["www.example.com"], |_| {});
        }),
        ("renew the certificate first", |site| {
            site.certify(&[EXCHANGE], |params| params.not_after = in_days(13));
        }),
        ("mx3.example.com: is an MX host in DNS, and not in the policy", |site| {
            site.change(0, |records| records.mx = Ok(vec![EXCHANGE, "mx3.example.com"]));
        }),
        ("mx.example.com: is in the policy, and no MX host in DNS", |site| {
            site.change(0, |records| records.mx = Ok(vec!["reserve.example.com"]));
        }),
        ("MX: the domain takes no mail", |site| {
            site.change(0, |records| records.mx = Ok(vec!["."]))
        }),
        ("MX: the MX records cannot be looked up", |site| {
            site.change(0, |records| records.mx = Err(ResponseCode::ServFail));
        }),
        ("MX: the MX records cannot be looked up", |site| {
            site.change(0, |records| records.mx = Err(ResponseCode::NXDomain));
        }),
        ("mx.example.com: has no address", |site| {
            site.change(0, |records| records.addresses.clear())
        }),
        ("mx.example.com: its addresses cannot be looked up", |site| {
            site.change(0, |records| records.addresses = vec!["servfail"]);
        }),
        (
            "mx.example.com [2606:4700::1111]: this host has no route to it",
            |site| {
                site.change(0, |records| records.addresses = vec!["2606:4700::1111"]);
            },
        ),
        ("MX: DNS has more than 16 MX hosts", |site| {
            site.change(0, |records| {
                let names = (0..1000).map(|n| &*format!("mx{n}.example.com").leak());
                records.mx = Ok(names.collect());
            });
        }),
        ("has more than 8 addresses", |site| {
            site.change(0, |records| {
                records.addresses = (2..11).map(|n| &*format!("8.8.8.{n}").leak()).collect()
            });
        }),
        ("cannot be judged from here: it is a loopback address", |site| {
            site.change(0, |records| records.addresses.push("127.0.0.1"));
        }),
        ("a\\010b.example.com: is not the name of a host", |site| {
            site.change(0, |records| records.mx = Ok(vec![EXCHANGE, "a\u{8}b.example.com"]));
        }),
        ("has the id 1, which is not that of the text", |site| {
            site.change(1, |records| records.id = Some("1"))
        }),
        ("there is no record at _mta-sts", |site| {
            site.change(1, |records| records.id = Some(""))
        }),
        ("there is no record at _mta-sts", |site| {
            site.change(0, |records| records.id = Some("nodata"))
        }),
        ("the record at _mta-sts cannot be looked up", |site| {
            site.change(1, |records| records.id = Some("servfail"))
        }),
    ];
    // Nothing listens for a stranger who leads us to ourselves.
    let own = MxServer::start("127.0.0.1");
    for (expected, damage) in cases {
        damage(&site);
        let (status, said) = site.step(&[]);
        assert_eq!(status, Some(1), "{expected}: {said}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(said.contains("example.com stays at testing, max_age 86400"), "{said}");
        assert!(said.is_ascii() && !said.contains('\u{8}'), "{said:?}");
        site.repair();
    }
    assert_eq!(own.connections(), 0);
    // It is on its way to another MX host.
    for (change, expected) in [
        ("+new.example.com", "new.example.com: is on its way in"),
        ("-new.example.com", "new.example.com: is on its way out"),
    ] {
        site.hosting.ask(&["mx", "example.com", change]);
        let (status, said) = site.step(&[]);
        assert!(status == Some(1) && said.contains(expected), "{expected}: {said}");
    }
    let ledger = rusqlite::Connection::open(site.hosting.path("ledger/ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(5)).unwrap();
    ledger.execute_batch("DELETE FROM exchange").unwrap();
    site.hosting.reload("settings reloaded");
    site.serves("mx: mx.example.com\r\nmx: reserve.example.com\r\nmax_age");
    // Another host serves nothing for the domain, or another text.
    add_address(OTHER);
    let certificate = pki::host(&["mta-sts.example.com"], site.hosting.authority(), |_| {});
    let other = PolicyServer::start(OTHER, &certificate, |stream| {
        let text = "version: STSv1\nmode: none\nmax_age: 86400\n";
        let length = text.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        let _ = stream.write_all(&[head.as_bytes(), text.as_bytes()].concat());
    });
    for (place, expected) in [
        ("8.8.8.2", "mta-sts.example.com: the policy cannot be fetched"),
        (OTHER, "mta-sts.example.com: a fetch gets another text"),
    ] {
        site.change(0, |records| records.policy_host = place);
        let (status, said) = site.step(&[]);
        assert!(status == Some(1) && said.contains(expected), "{expected}: {said}");
        site.repair();
    }
    drop(other);
    // An MX host whose other addresses are good may have one to which this host has no way.
    site.change(0, |records| records.addresses.push("2606:4700::1111"));

    // All is good, and one that runs follows by itself.
    let (status, said) = site.step(&[]);
    assert_eq!(
        (status, said.as_str()),
        (Some(0), "example.com: enforce, max_age 86400\n")
    );
    site.serves("mode: enforce\r\nmx: mx.example.com\r\nmx: reserve.example.com\r\nmax_age: 86400\r\n");

    // By force, for a reason that is kept; and back by hand.
    site.servers[1].has(None);
    let (status, said) = site.step(&["--force", "the second address is going away\u{1b}[2J"]);
    assert!(status == Some(0) && said.contains("does not offer STARTTLS"), "{said}");
    site.serves("max_age: 604800");
    let stands = site.status();
    assert_eq!(stands["forced"], "the second address is going away [2J");
    assert_eq!(
        (&stands["mode"], &stands["max_age"]),
        (&"enforce".into(), &604_800.into())
    );
    assert_eq!(stands["next"]["max_age"], 1_209_600);
    site.hosting.ask(&["set-mode", "example.com", "testing"]);
    site.serves("mode: testing");
    for bad in [&["--force", ""][..], &["--force", &"x".repeat(201)]] {
        assert_eq!(site.step(bad).0, Some(2));
    }
    // What a file says is not changed by a command.
    site.hosting
        .settings(&site.settings.replace("\"auto\"", "\"testing\"\nmax_age = 86400"));
    let (status, said) = site.step(&[]);
    assert!(
        status == Some(1) && said.contains("is set in a file (host.toml)"),
        "{said}"
    );
    site.hosting.stop();
}

#[test]
fn the_steps_go_by_themselves_and_never_back() {
    let mut site = Site::new(&format!(
        "mx = [\"{EXCHANGE}\"]\nmax_age = 31557600\nwaits = [\"1s\", \"1s\", \"1s\", \"1s\"]"
    ));
    site.servers[1].has(None);
    site.hosting.start();
    let refused = "example.com gets no next step: mx.example.com [8.8.8.3]: does not offer STARTTLS";
    until("a refusal", || site.hosting.log().contains(refused));
    until("its place", || site.status()["refused"]["reasons"][0].is_string());
    assert_eq!(site.status()["mode"], "testing");
    // It is said once, and looked at again in an hour or when the operator says so.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(site.hosting.log().matches("gets no next step").count(), 1);
    let page = site.hosting.command(&["status"]).output().unwrap();
    let text = String::from_utf8(page.stdout).unwrap();
    assert!(
        page.status.code() == Some(1) && text.contains("does not offer STARTTLS"),
        "{text}"
    );
    site.repair();
    site.hosting.reload("settings reloaded");
    site.serves("max_age: 31557600");
    let log = site.hosting.log();
    for step in [
        "enforce, max_age 86400, after",
        "enforce, max_age 604800, after",
        "enforce, max_age 1209600, after",
        "enforce, max_age 31557600, after",
    ] {
        assert_eq!(log.matches(step).count(), 1, "{step}: {log}");
    }
    assert_eq!(
        (&site.status()["next"], &site.status()["refused"]),
        (&Value::Null, &Value::Null)
    );

    // A restart and a broken MX host: nothing goes back.
    site.servers[0].has(None);
    site.hosting.stop();
    site.hosting.start();
    site.serves("max_age: 31557600");
    // The file sets a mode, and then auto again: it goes on where the file has left it.
    let slow = site
        .settings
        .replace("\"1s\"", "\"7d\"")
        .replace("max_age = 31557600\n", "");
    let by_file = |mode: &str| {
        site.hosting.settings(&slow.replace("mode = \"auto\"\n", mode));
        site.hosting.reload("settings reloaded");
    };
    for (mode, max_age) in [("testing", 86_400), ("enforce", 604_800)] {
        let served = format!("mode: {mode}\r\nmx: {EXCHANGE}\r\nmax_age: {max_age}\r\n");
        by_file(&format!("mode = \"{mode}\"\nmax_age = {max_age}\n"));
        site.serves(&served);
        by_file("mode = \"auto\"\n");
        site.serves(&served);
    }
    site.hosting.stop();
}
