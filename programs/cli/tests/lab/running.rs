//! The lab while it runs: changes, sessions, many at once, and its end.

use super::in_lab;
use mtasts_kit::client::{command, connect, encrypt, get, get_within, mail, reply, texts, trusting};
use mtasts_lab::{self as lab, Certificate, Change, Https, Lab, Mx, policy_text};
use std::fs;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

const PATH: &str = "/.well-known/mta-sts.txt";

#[test]
fn a_domain_changes_and_comes_back() {
    in_lab(|lab| {
        let config = trusting(lab);
        let status = || get(&config, "mta-sts.good.test", PATH, "").map(|answer| answer.status);
        let before = texts("_mta-sts.good.test").unwrap();
        assert_eq!(status().unwrap(), 200);

        let policy = policy_text("none", &[], 600);
        lab.set("good.test", Change::publish("2", policy.clone())).unwrap();
        assert_eq!(texts("_mta-sts.good.test").unwrap(), [b"v=STSv1; id=2;"]);
        assert_eq!(
            get(&config, "mta-sts.good.test", PATH, "").unwrap().body,
            policy.as_bytes()
        );

        lab.set("good.test", Change::https(Https::Status404)).unwrap();
        assert_eq!(status().unwrap(), 404);
        lab.set("good.test", Change::https(Https::Refused)).unwrap();
        assert_eq!(status().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        lab.set("good.test", Change::https(Https::Unreachable)).unwrap();
        assert_eq!(status().unwrap_err().kind(), ErrorKind::HostUnreachable);
        lab.set(
            "good.test",
            Change {
                https_certificate: Some(Certificate::Expired),
                ..Change::https(Https::Ok)
            },
        )
        .unwrap();
        assert!(status().unwrap_err().to_string().contains("expired"));
        lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        assert!(texts("_mta-sts.good.test").is_err());

        lab.set("good.test", Change::mx(Mx::Refused)).unwrap();
        assert_eq!(
            connect("mx.good.test", 25).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let moved = Change {
            hosts: Some(vec!["new.good.test".to_owned()]),
            ..Change::mx(Mx::Ok)
        };
        lab.set("good.test", moved).unwrap();
        assert_eq!(
            reply(&mut connect("new.good.test", 25).unwrap()).unwrap().lines,
            ["220 new.good.test ESMTP"]
        );

        lab.reset().unwrap();
        assert_eq!(texts("_mta-sts.good.test").unwrap(), before);
        assert_eq!(status().unwrap(), 200);
        assert!(connect("new.good.test", 25).is_err());
        assert_eq!(lab.counters().https["mta-sts.good.test"], 1, "since the reset");

        assert!(lab.set("nowhere.test", Change::mx(Mx::Ok)).is_err());
        let no_such_host = Change {
            host: Some("mx9.good.test".to_owned()),
            ..Change::mx(Mx::Refused)
        };
        assert!(lab.set("good.test", no_such_host).is_err());
        assert!(connect("mx.good.test", 25).is_ok(), "what fails changes nothing");
    });
}

#[test]
fn a_session_is_on_record() {
    in_lab(|lab| {
        let config = trusting(lab);
        let mut stream = connect("mx.hub.test", 25).unwrap();
        reply(&mut stream).unwrap();
        command(&mut stream, "EHLO one.test").unwrap();
        assert_eq!(command(&mut stream, "RCPT TO:<a@hub.test>").unwrap().code, 503);
        // RFC 3207 4.2: what a client (or someone between) says before TLS must not be heard inside.
        stream
            .write_all(b"STARTTLS\r\nMAIL FROM:<injected@sender.test>\r\n")
            .unwrap();
        assert_eq!(reply(&mut stream).unwrap().code, 220);
        let mut stream = encrypt(&config, "mx.hub.test", stream).unwrap();
        assert_eq!(
            command(&mut stream, "MAIL FROM:<a@sender.test>").unwrap().code,
            503,
            "a new EHLO is due"
        );
        assert!(
            !command(&mut stream, "EHLO two.test")
                .unwrap()
                .lines
                .join(" ")
                .contains("STARTTLS")
        );
        mail(&mut stream, "a@hub.test").unwrap();
        mail(&mut stream, "b@hub-nopolicy.test").unwrap();
        command(&mut stream, "MAIL FROM:<a@sender.test>").unwrap();
        assert_eq!(command(&mut stream, "RCPT TO:<a@good.test>").unwrap().code, 550);
        assert_eq!(command(&mut stream, "QUIT").unwrap().code, 221);

        let mails = lab.mail();
        assert_eq!(mails.len(), 2);
        assert_eq!(mails[0].session, mails[1].session);
        assert_eq!(
            (mails[1].domain.as_str(), mails[1].host.as_str()),
            ("hub-nopolicy.test", "mx.hub.test")
        );
        assert_eq!(mails[1].recipients, ["b@hub-nopolicy.test"]);
        assert_eq!(
            (mails[0].sender.as_str(), mails[0].helo.as_str()),
            ("sender@sender.test", "two.test")
        );
        let tls = mails[0].tls.as_ref().unwrap();
        assert_eq!(
            (tls.sni.as_deref(), tls.version.as_str()),
            (Some("mx.hub.test"), "TLSv1_3")
        );
        let session = &lab.sessions()[mails[0].session];
        assert_eq!((session.delivered, session.host.as_str()), (2, "mx.hub.test"));
        assert_eq!(
            session.commands[..3],
            ["EHLO one.test", "RCPT TO:<a@hub.test>", "STARTTLS"]
        );
        assert!(session.commands.contains(&"tls: EHLO two.test".to_owned()));
        assert!(!session.commands.iter().any(|command| command.contains("injected")));
    });
}

#[test]
fn tls_sessions_can_be_resumed() {
    in_lab(|lab| {
        let config = trusting(lab);
        for _ in 0..2 {
            let mut stream = connect("mx.good.test", 25).unwrap();
            reply(&mut stream).unwrap();
            command(&mut stream, "EHLO sender.test").unwrap();
            command(&mut stream, "STARTTLS").unwrap();
            let mut stream = encrypt(&config, "mx.good.test", stream).unwrap();
            command(&mut stream, "EHLO sender.test").unwrap();
            mail(&mut stream, "a@good.test").unwrap();
        }
        let resumed: Vec<_> = lab
            .mail()
            .iter()
            .map(|mail| mail.tls.as_ref().unwrap().resumed)
            .collect();
        assert_eq!(resumed, [false, true]);
    });
}

#[test]
fn requests_are_on_record_word_for_word() {
    in_lab(|lab| {
        let config = trusting(lab);
        let host = "mta-sts.https-cache.test";
        assert_eq!(get(&config, host, PATH, "").unwrap().header("ETag"), Some("\"1\""));
        assert_eq!(
            get(&config, host, PATH, "If-None-Match: \"1\"\r\n").unwrap().status,
            304
        );
        let requests = lab.requests();
        assert_eq!(requests[1].line, format!("GET {PATH} HTTP/1.1"));
        assert!(
            requests[1]
                .headers
                .contains(&("if-none-match".to_owned(), "\"1\"".to_owned()))
        );
        assert_eq!(
            (requests[0].host.as_str(), requests[0].sni.as_deref()),
            (host, Some(host))
        );
        assert_eq!(
            get(&config, "mta-sts.https-301.test", "/moved/mta-sts.txt", "")
                .unwrap()
                .status,
            200
        );
        let zipped = get(&config, "mta-sts.https-gzip.test", PATH, "")
            .unwrap()
            .complete_body()
            .unwrap();
        fs::write(lab.directory().join("body.gz"), zipped).unwrap();
        let gunzip = std::process::Command::new("gzip")
            .arg("-dc")
            .arg(lab.directory().join("body.gz"))
            .output()
            .unwrap();
        assert!(gunzip.stdout.starts_with(b"version: STSv1\r\n"), "{gunzip:?}");
    });
}

/// Two hundred handshakes in a debug build, on a machine that may have other things to do.
const PATIENT: Duration = Duration::from_secs(120);

#[test]
fn two_hundred_at_once_are_served_in_seconds() {
    in_lab(|lab| {
        let config = trusting(lab);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| {
                    assert_eq!(texts("_mta-sts.good.test").unwrap().len(), 1);
                    let answer = get_within(PATIENT, &config, "mta-sts.good.test", PATH, "");
                    assert_eq!(answer.unwrap().status, 200);
                });
            }
        });
        assert!(begin.elapsed() < PATIENT, "{:?}", begin.elapsed());
        assert_eq!(lab.counters().https["mta-sts.good.test"], 200);
    });
}

#[test]
fn a_lab_starts_fast_and_ends_with_all_its_threads() {
    std::thread::spawn(|| {
        let directory = std::env::temp_dir().join(format!("mtasts-lab-{}", std::process::id()));
        lab::isolate(&directory).unwrap();
        let begin = Instant::now();
        let lab = Lab::start(&directory).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        let mut stream = connect("mx.blackhole.test", 25).unwrap();
        stream.write_all(b"anybody there?\r\n").unwrap();
        assert!(threads_here() > 1);
        drop(lab);
        // One that has been waited for may still be on its way out of the kernel.
        mtasts_kit::until("the end of all but this one", || threads_here() == 1);
        let again = Lab::start(&directory).expect("all addresses are free again");
        drop(again);
        fs::remove_dir_all(&directory).unwrap();
    })
    .join()
    .unwrap();
}

/// The threads of this process in the network namespace of this thread.
fn threads_here() -> usize {
    let here = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter(|task| fs::read_link(task.path().join("ns/net")).is_ok_and(|net| net == here))
        .count()
}
