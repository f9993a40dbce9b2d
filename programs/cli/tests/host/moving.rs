//! A domain that leaves, and one that comes from another provider.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::rr::RecordType;
use mtasts_kit::dns_server::{Reply, address, txt};
use mtasts_kit::pki;
use mtasts_kit::policy_server::PolicyServer;
use mtasts_kit::until;

use super::hosting::{HOST, Hosting, policy};

const HTTPS: &str = "https = [\"8.8.8.1:443\"]\n";
const OTHER: &str = "8.8.8.2";

/// The time of the ledger goes on: what it knows happened so many seconds earlier.
fn pass(hosting: &Hosting, seconds: u32) {
    let change = format!("UPDATE served SET begun = begun - {seconds}, ended = ended - {seconds}");
    let ledger = rusqlite::Connection::open(hosting.path("ledger/ledger.db")).unwrap();
    ledger.execute_batch(&change).unwrap();
}

#[test]
fn a_domain_leaves_when_no_sender_holds_its_policy() {
    let mut hosting = Hosting::new(&["example.com", "example.org"]);
    let both = policy("example.com", 604_800) + &policy("example.org", 86_400);
    hosting.settings(&format!("{HTTPS}{both}"));
    hosting.start();
    let before = hosting.ask(&["zone"]);
    let one = format!("{HTTPS}{}", policy("example.org", 86_400));
    // A shorter life for a moment: the longest that was given out decides.
    hosting.settings(&format!("{HTTPS}{}", both.replace("604800", "86400")));
    hosting.reload("settings reloaded");
    let refused = hosting.command(&["remove", "example.com"]).output().unwrap();
    assert!(
        refused.status.code() == Some(1)
            && String::from_utf8_lossy(&refused.stderr).contains("take it out there first")
    );
    hosting.settings(&one);
    hosting.reload("example.com is in no file any more");
    let said = hosting.ask(&["remove", "example.com"]);
    assert!(said.contains("senders may hold its policy until 20"), "{said}");
    let none = "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n";
    until("mode none", || {
        hosting.fetch("example.com").is_ok_and(|text| text == none)
    });
    // Under a new id, so that senders fetch it.
    until("a new id", || hosting.ask(&["zone"]) != before);
    let (old, new) = (before, hosting.ask(&["zone"]));
    assert_eq!(
        old.lines().zip(new.lines()).filter(|(old, new)| old != new).count(),
        1,
        "{new}"
    );
    let status = hosting.ask(&["status", "example.com"]);
    assert!(
        status.contains("example.com: none, max_age 86400; leaving since 20"),
        "{status}"
    );

    // A restart, a second remove, and almost all of the time.
    hosting.stop();
    hosting.start();
    hosting.ask(&["remove", "example.com"]);
    pass(&hosting, 604_700);
    hosting.reload("settings reloaded. 2 policies");
    assert_eq!(hosting.fetch("example.com").unwrap(), none);
    // It is named again: it stays, with the token that it had.
    hosting.settings(&format!("{HTTPS}{both}"));
    hosting.reload("settings reloaded");
    assert!(hosting.fetch("example.com").unwrap().contains("mode: enforce"));
    let tokens = |zone: &str| {
        zone.lines()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(tokens(&hosting.ask(&["zone"])), tokens(&old));
    // And out again, for good.
    hosting.settings(&one);
    hosting.reload("example.com is in no file any more");
    hosting.ask(&["remove", "example.com"]);
    until("mode none", || {
        hosting.fetch("example.com").is_ok_and(|text| text == none)
    });
    pass(&hosting, 604_801);
    // The server learns that the ledger has changed.
    until("its end", || hosting.log().contains("example.com has left"));
    until("no policy", || hosting.fetch("example.com").is_err());
    assert!(!hosting.ask(&["status"]).contains("example.com"));
    let unknown = hosting.command(&["remove", "example.com"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    hosting.stop();
}

#[test]
fn a_domain_comes_from_another_provider_and_no_sender_notices() {
    // Line feeds, a field of its own, a short life and an id that says a time.
    const TEXT: &str = "version: STSv1\nmode: enforce\nmx: MX.example.com\nprovider: other\nmax_age: 600\n";
    let mut hosting = Hosting::new(&["example.com"]);
    let main = format!(
        "{HTTPS}resolvers = [\"{}\"]\nca_file = \"{}\"\n",
        hosting.resolver(),
        hosting.path("roots.pem").display()
    );
    let auto = "[domain.\"example.com\"]\nmode = \"auto\"\nmx = [\"mx.example.com\"]\n";
    hosting.settings(&format!("{main}{auto}"));
    let certificate = pki::host(&["mta-sts.example.com"], hosting.authority(), |_| {});
    let body = Arc::new(Mutex::new(TEXT.as_bytes().to_vec()));
    let served = Arc::clone(&body);
    let _other = PolicyServer::start(OTHER, &certificate, move |stream| {
        use std::io::Write as _;
        let body = served.lock().unwrap().clone();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    });
    let (has_moved, id) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new("20200101T000000")),
    );
    let (moved, record) = (Arc::clone(&has_moved), Arc::clone(&id));
    hosting.says(move |asked| match (asked.name.as_str(), asked.kind) {
        ("mta-sts.example.com", RecordType::A) if !moved.load(Ordering::SeqCst) => {
            Some(Reply::answers(vec![address(&asked.name, OTHER)]))
        }
        ("_mta-sts.example.com", RecordType::TXT) => {
            let text = format!("v=STSv1; id={};", record.lock().unwrap());
            Some(Reply::answers(vec![txt(&asked.name, 60, &[text.as_bytes()])]))
        }
        _ => None,
    });
    hosting.start();
    let curl = |hosting: &Hosting| {
        hosting
            .curl(&["https://mta-sts.example.com/.well-known/mta-sts.txt"])
            .stdout
    };
    let ours = curl(&hosting);
    assert!(ours.starts_with(b"version: STSv1\r\nmode: testing"));

    // What senders do not read is not taken over, and nothing changes.
    let refused = |hosting: &Hosting, more: &[&str], expected: &str| {
        let output = hosting
            .command(&[&["import", "example.com"], more].concat())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains(expected),
            "{expected}: {said}"
        );
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    };
    let long = format!("{TEXT}{}", "x: y\n".repeat(200_000));
    for (strange, expected) in [
        (&b"<html>\x1b[31m"[..], "nothing to take over from example.com: text: "),
        (
            b"version: STSv1\nmode: \xff\xfe\n",
            "nothing to take over from example.com: text: ",
        ),
        (long.as_bytes(), "nothing to take over from example.com"),
    ] {
        *body.lock().unwrap() = strange.to_vec();
        refused(&hosting, &[], expected);
    }
    *body.lock().unwrap() = TEXT.into();
    for strange in ["a b", "", "0123456789012345678901234567890123"] {
        *id.lock().unwrap() = strange;
        refused(&hosting, &[], "nothing to take over from example.com");
    }
    *id.lock().unwrap() = "20200101T000000";
    refused(
        &hosting,
        &["--finish"],
        "mta-sts.example.com leads to 8.8.8.2, which is not in the setting addresses",
    );
    assert_eq!(curl(&hosting), ours);

    let output = hosting
        .command(&["import", "example.com", "--direct"])
        .output()
        .unwrap();
    let (records, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("enforce, max_age 600, id 20200101T000000 is served from here"),
        "{said}"
    );
    let expected = format!(
        "mta-sts.example.com. 300 IN A {HOST}\n_mta-sts.example.com. 300 IN TXT \"v=STSv1; id=20200101T000000;\"\n"
    );
    assert_eq!(records, expected);
    until("the text of the other provider", || curl(&hosting) == TEXT.as_bytes());
    assert_eq!(hosting.ask(&["policy", "example.com"]), TEXT);
    assert!(hosting.ask(&["zone"]).contains("\"v=STSv1; id=20200101T000000;\""));
    let step = hosting
        .command(&["set-mode", "example.com", "enforce"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&step.stderr).contains("has the policy of another host"));

    // The name moves. No sender sees another octet, before or after a restart.
    has_moved.store(true, Ordering::SeqCst);
    assert_eq!(hosting.fetch("example.com").unwrap(), TEXT);
    hosting.stop();
    hosting.start();
    hosting.reload("settings reloaded");
    assert_eq!(hosting.fetch("example.com").unwrap(), TEXT);
    // Nothing goes back from enforce.
    hosting.ask(&["import", "example.com", "--finish"]);
    let expected = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 86400\r\n";
    until("the policy of the file", || {
        hosting.fetch("example.com").is_ok_and(|text| text == expected)
    });
    refused(&hosting, &["--finish"], "has no policy of another host");
    hosting.stop();
}
