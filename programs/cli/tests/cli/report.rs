//! `mtasts report`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;

use mtasts::cache::store::Store;
use mtasts::protocol::calendar;
use mtasts::report::Loss;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::{Ran, USER, until};
use serde_json::{Value, json};

fn status(cache: &Path, arguments: &[&str]) -> Ran {
    let mut command = super::command_of_user(&[&["report", "status"], arguments].concat());
    command.env("MTASTS_CACHE_DIR", cache);
    command.output().unwrap().into()
}

#[test]
fn status_counts_what_the_journals_of_a_day_have() {
    let cache = std::env::temp_dir().join(format!("mtasts-report-{}", std::process::id()));
    let _ = fs::remove_dir_all(&cache);
    fs::create_dir(&cache).unwrap();
    chown(&cache, Some(USER), Some(USER)).expect("this test needs root");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o2770)).unwrap();
    let now = unix_now();
    let (today, yesterday) = (calendar::date(now), calendar::date(now - 86_400));
    let empty = status(&cache, &["--day", &today]);
    let said = format!("{today}: 0 sessions with MX hosts, 0 lost\n");
    assert_eq!(
        (empty.status, empty.out.as_str(), empty.err.as_str()),
        (0, said.as_str(), "")
    );

    let store = Store::new(cache.clone());
    let line = |domain: &str, details: &str, f: u8| {
        format!(
            "{{\"dpv\":\"1\",\"d\":\"{domain}\",\"policies\":[{{\"policy-type\":2{details},\"t\":{f},\"f\":{f}}}]}}"
        )
    };
    let expired = ",\"failure-details\":[{\"c\":204,\"f\":\"x\"}]";
    for (domain, details, f) in [("a.example", "", 0), ("a.example", expired, 1), ("b.example", "", 0)] {
        store.append(&line(domain, details, f), now - 86_400).unwrap();
    }
    let ran = status(&cache, &["--json", "--day", &yesterday]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    let policies = |good: u64, bad: u64, failures| {
        json!([{"policy-type": "sts", "total-successful-session-count": good, "total-failure-session-count": bad,
                "failures": failures}])
    };
    let expected = json!({
        "day": yesterday, "sessions": 3, "unreadable": 0, "lost": {},
        "domains": [
            {"domain": "a.example", "policies": policies(1, 1, json!({"certificate-expired": 1}))},
            {"domain": "b.example", "policies": policies(1, 0, json!({}))},
        ],
    });
    assert_eq!(ran.json(), expected);

    store.append("{\"dpv\":\"1\",\"d", now - 86_400).unwrap();
    store.count_loss(&Loss::QueueFull, now - 86_400);
    let ran = status(&cache, &["--day", &yesterday]);
    let said = format!(
        "{yesterday}: 3 sessions with MX hosts, 1 lost, 1 lines that cannot be read\n  lost            1  queue-full\n\
         a.example\n  good            1  sts\n  failed          1  sts\n                  1  certificate-expired\n\
         b.example\n  good            1  sts\n"
    );
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (1, said.as_str(), ""));

    // The report to one domain, and no report to a stranger.
    let show = |domain: &str| {
        let arguments = [
            "report",
            "show",
            "--contact",
            "tlsrpt@sender.test",
            "--day",
            &yesterday,
            domain,
        ];
        let mut command = super::command_of_user(&arguments);
        command.env("MTASTS_CACHE_DIR", &cache);
        Ran::from(command.output().unwrap())
    };
    let ran = show("A.example");
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!((ran.status, &report["organization-name"]), (0, &json!("sender.test")));
    assert_eq!(report["date-range"]["end-datetime"], format!("{yesterday}T23:59:59Z"));
    let summary = json!({"total-successful-session-count": 1, "total-failure-session-count": 1});
    assert_eq!(report["policies"][0]["summary"], summary);
    assert_eq!(report["policies"][0]["failure-details"][0]["failure-reason-code"], "x");
    let none = show("c.example");
    let said = format!("mtasts: the journals of {yesterday} have no session with c.example\n");
    assert_eq!((none.status, none.out.as_str(), none.err), (1, "", said));

    // A file that another user may have written.
    let mut files = fs::read_dir(&cache).unwrap().map(|file| file.unwrap().path());
    let journal = files.find(|path| path.extension().is_none()).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o666)).unwrap();
    let ran = status(&cache, &["--day", &yesterday]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err
            .ends_with("more users may use it than the mode of the directory allows\n"),
        "{ran:?}"
    );
    assert!(ran.out.starts_with(&format!("{yesterday}: 0 sessions")), "{ran:?}");
    let wrong = status(&cache, &["--day", "yesterday"]);
    assert_eq!(
        (wrong.status, wrong.err.as_str()),
        (2, "mtasts: \"yesterday\" is not a day such as 2026-12-31\n")
    );
    fs::remove_dir_all(&cache).unwrap();
}

/// The socket that Postfix is told of: what comes there is in the journal, whatever else comes.
#[test]
fn a_collector_takes_what_postfix_sends() {
    let directory = std::env::temp_dir().join(format!("mtasts-collect-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    fs::create_dir(directory.join("cache")).unwrap();
    for part in [&directory, &directory.join("cache")] {
        chown(part, Some(USER), Some(USER)).expect("this test needs root");
        fs::set_permissions(part, fs::Permissions::from_mode(0o2770)).unwrap();
    }
    let (cache, path) = (directory.join("cache"), directory.join("socket"));
    let start = || {
        let mut command = super::command_of_user(&["report", "collect", "--socket", path.to_str().unwrap()]);
        command.env("MTASTS_CACHE_DIR", &cache);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let mode = || fs::metadata(&path).map_or(0, |about| about.permissions().mode() & 0o777);
    // It is made first, and opened to all then.
    let reads = || UnixDatagram::unbound().unwrap().connect(&path).is_ok() && mode() == 0o666;
    let today = calendar::date(unix_now());
    let counted = || status(&cache, &["--json", "--day", &today]).json();
    let mut first = start();
    until("the socket", reads);
    let mut second = start();
    assert_eq!(second.wait().unwrap().code(), Some(2), "one collector at a socket");
    let socket = UnixDatagram::unbound().unwrap();
    let send = |datagram: &[u8]| socket.send_to(datagram, &path).unwrap();
    // As libtlsrpt writes it, with a policy of each kind.
    let session = r#"{"dpv": "1","d": "Example.test","pr": "v=TLSRPTv1;rua=mailto:a@example.test","policies": [{"policy-type": 2,
        "policy-domain": "example.test","policy-string": ["version: STSv1"],"mx-host": ["mx.example.test"],"failure-details":
        [{"c": 202,"s": "192.0.2.1","n": "mx.example.test","h": "mx","r": "2001:db8::1","f": "x"}],"t": 1,"f": 1},
        {"policy-type": 9,"t": 0,"f": 0}]}"#;
    for datagram in [
        b"".as_slice(),
        b"{",
        b"\xff\xfe",
        session.as_bytes(),
        b"[]",
        session.as_bytes(),
    ] {
        send(datagram);
    }
    until("the sessions", || counted()["sessions"] == 4);
    let expected = json!([
        {"policy-type": "no-policy-found", "total-successful-session-count": 2, "total-failure-session-count": 0, "failures": {}},
        {"policy-type": "sts", "total-successful-session-count": 0, "total-failure-session-count": 2,
         "failures": {"certificate-host-mismatch": 2}},
    ]);
    assert_eq!(counted()["domains"][0]["policies"], expected);
    assert_eq!(counted()["unreadable"], 0);
    first.kill().unwrap();
    let said = first.wait_with_output().unwrap().stderr;
    assert_eq!(
        String::from_utf8(said).unwrap(),
        "mtasts: a datagram is not one of libtlsrpt, and is dropped\n"
    );
    // It has left its socket, and the next one takes its place.
    let mut third = start();
    until("the socket", reads);
    send(session.as_bytes());
    until("the sessions", || counted()["sessions"] == 6);
    third.kill().unwrap();
    third.wait().unwrap();
    fs::remove_dir_all(&directory).unwrap();
}
