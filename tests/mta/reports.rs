//! The results of a real Postfix with libtlsrpt, by `mtasts report collect` and by sys4's collector: the same reports.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use super::host::{self, Host};
use super::postfix::{example, send};
use super::server::Server;
use mtasts_kit::sys4::{Sys4, fetch_reporter};
use mtasts_kit::{mtasts, on_the_internet_with, until};
use mtasts_lab::{Change, table};
use serde_json::Value;

/// Reads the socket of Postfix, and sends each datagram to both collectors.
const TEE: &str = "
import os, socket, sys
at, others = sys.argv[1], sys.argv[2:]
os.makedirs(os.path.dirname(at), exist_ok=True)
tee = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
tee.bind(at)
os.chmod(at, 0o666)
print('ready', flush=True)
while True:
    octets = tee.recv(1 << 20)
    for other in others:
        tee.sendto(octets, other)
";

/// The policy types and result types of a domain's sessions, as the journal numbers them.
type Sessions = BTreeMap<String, Vec<(i64, i64)>>;

#[test]
fn the_results_of_postfix_give_the_reports_of_sys4() {
    let mta = host::fetch("postfix", &["postfix"]);
    if !mta.is_at_least(3, 10) {
        println!("this Postfix has no TLSRPT: make mta has the one of Debian 13");
        return;
    }
    mtasts();
    fetch_reporter();
    on_the_internet_with("postfix-reports", &[("timeout", "6s")], move |internet| {
        let cases = table();
        for entry in &cases {
            let record = format!("v=TLSRPTv1; rua=mailto:reports@{}", entry.name);
            let change = Change {
                txt_at: [("_smtp._tls".to_owned(), record)].into(),
                ..Change::default()
            };
            internet.lab.set(&entry.name, change).unwrap();
        }
        let server = Server::start(internet);
        let directory = internet.lab.directory();
        let sys4 = Sys4::start(&directory.join("sys4"), Some(10_000));
        let ours = directory.join("collect.socket");
        let (lines, _) = example(&mta);
        let [enable, socket] = [
            "smtp_tlsrpt_enable = yes",
            "smtp_tlsrpt_socket_name = run/tlsrpt/tlsrpt.sock",
        ];
        assert!(lines.contains(&format!("\n#{enable}\n#{socket}\n")), "{lines}");
        let lines = lines
            .replace(&format!("#{enable}"), enable)
            .replace(&format!("#{socket}"), socket);
        let host = Host::start("postfix.sh", directory, &mta, &lines);
        let mut collect = host
            .command(mtasts())
            .args(["report", "collect", "--socket"])
            .arg(&ours)
            .spawn()
            .unwrap();
        // It makes its socket first, and opens it to others later.
        until("our collector", || {
            fs::metadata(&ours).is_ok_and(|about| about.permissions().mode() & 0o777 == 0o666)
        });
        let mut tee = host
            .command("python3")
            .args(["-c", TEE, "/var/spool/postfix/run/tlsrpt/tlsrpt.sock"])
            .args([&ours, &sys4.socket()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(tee.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        let fates = send(&host, &cases);
        // The last datagrams are on their way.
        let mut before = 0;
        until("the last results", || {
            std::thread::sleep(Duration::from_secs(3));
            let now = sessions(internet).values().map(Vec::len).sum();
            std::mem::replace(&mut before, now) == now && now > 0
        });
        let counted = sessions(internet);
        for (domain, expected) in [
            ("good.test", (2, 0)),
            ("expired.test", (2, 204)),
            ("nopolicy.test", (9, 0)),
        ] {
            assert!(counted[domain].contains(&expected), "{domain}: {:?}", counted[domain]);
        }
        println!("{} mails, {before} results", fates.len());
        let domains = sys4.compare(&internet.cache);
        assert!(domains > 200, "{domains}");
        for child in [&mut collect, &mut tee] {
            let _ = child.kill();
            let _ = child.wait();
        }
        drop(server);
    });
}

fn sessions(internet: &mtasts_kit::Internet) -> Sessions {
    let mut found = Sessions::new();
    let files = fs::read_dir(&internet.cache).unwrap().map(Result::unwrap);
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(".report-")) {
        let text = fs::read_to_string(file.path()).unwrap();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let session: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            for policy in session["policies"].as_array().unwrap() {
                let code = policy["failure-details"][0]["c"].as_i64().unwrap_or(0);
                let row = (policy["policy-type"].as_i64().unwrap(), code);
                found
                    .entry(session["d"].as_str().unwrap().to_owned())
                    .or_default()
                    .push(row);
            }
        }
    }
    found
}
