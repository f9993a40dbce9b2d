//! What attackers get.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use mtasts_kit::process::status;

use super::hosting::{HOST, Hosting, PATH, exchange, policy, tcp};

const BOTH: &str = "https = [\"8.8.8.1:443\"]\nhttp = [\"8.8.8.1:80\"]\n";

/// A host with two domains, of which the second one has no certificate.
fn hosting() -> Hosting {
    let mut hosting = Hosting::new(&["example.com", "example.net"]);
    let domains = policy("example.com", 86_400) + &policy("example.net", 86_400) + &policy("bare.example", 86_400);
    hosting.settings(&format!("{BOTH}{domains}"));
    hosting.start();
    hosting
}

#[test]
fn a_stranger_gets_an_alert_and_no_certificate() {
    let mut hosting = hosting();
    for name in [
        "mta-sts.example.org",
        "example.com",
        "www.example.com",
        "mta-sts.bare.example",
    ] {
        let error = hosting.connect(name).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("Unrecogni"), "{name}: {error}");
    }
    // An address sends no name.
    let error = hosting.connect(HOST).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("Unrecogni"), "{error}");
    let log = hosting.log();
    assert_eq!(
        log.matches("there is no certificate for mta-sts.bare.example").count(),
        1,
        "{log}"
    );
    assert!(!log.contains("example.org"), "names of strangers are not logged: {log}");

    // The certificate of one customer opens nothing of another's.
    let mut stream = hosting.connect("mta-sts.example.com").unwrap();
    let (head, _) = exchange(&mut stream, "mta-sts.example.net").unwrap();
    assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
    let (head, _) = exchange(&mut stream, "mta-sts.example.com").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    hosting.stop();
}

#[test]
fn port_80_has_the_challenges_and_nothing_more() {
    let mut hosting = hosting();
    let directory = hosting.path("webroot/.well-known/acme-challenge");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("token"), "token.thumbprint").unwrap();
    let get = |path: &str| {
        let output = hosting.curl(&[
            "--path-as-is",
            "-w",
            " %{http_code}",
            &format!("http://mta-sts.example.com{path}"),
        ]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(get("/.well-known/acme-challenge/token"), "token.thumbprint 200");
    for path in [
        "/",
        PATH,
        "/.well-known/acme-challenge/../../../host.toml",
        "/.well-known/acme-challenge/other",
    ] {
        assert_eq!(get(path), " 404", "{path}");
    }
    hosting.stop();
}

/// What is sent behind a request is not taken for another one.
#[test]
fn a_request_hides_no_other() {
    let mut hosting = hosting();
    for fields in [
        "Content-Length: 60\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 60\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        " folded: x\r\n",
    ] {
        let mut stream = hosting.connect("mta-sts.example.com").unwrap();
        let host = "Host: mta-sts.example.com\r\n";
        write!(
            stream,
            "GET {PATH} HTTP/1.1\r\n{host}{fields}\r\n0\r\n\r\nGET {PATH} HTTP/1.1\r\n{host}\r\n"
        )
        .unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        assert!(text.starts_with("HTTP/1.1 400 "), "{fields:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {text}");
    }
    hosting.stop();
}

/// How long a connection stays open on which this was sent.
fn holds(mut stream: TcpStream, sent: &[u8]) -> Duration {
    let begun = Instant::now();
    stream.write_all(sent).unwrap();
    // Tickets and answers come before the end.
    let _ = stream.read_to_end(&mut Vec::new());
    begun.elapsed()
}

#[test]
fn who_is_slow_is_cut_off() {
    let mut hosting = hosting();
    let kept = hosting.connect("mta-sts.example.com").unwrap();
    let (conn, sock) = kept.into_parts();
    let hellos: [&[u8]; 3] = [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    std::thread::scope(|scope| {
        let slow: Vec<_> = hellos
            .map(|sent| scope.spawn(move || holds(tcp(443), sent)))
            .into_iter()
            .collect();
        // After the handshake no request comes; and half a request.
        let idle = scope.spawn(move || holds(sock, b""));
        let half = scope.spawn(|| holds(tcp(80), b"GET / HTTP/1.1\r\nHost: a\r\nX: "));
        let times: Vec<Duration> = slow.into_iter().map(|slow| slow.join().unwrap()).collect();
        let limit = Duration::from_secs(9)..Duration::from_secs(14);
        assert!(limit.contains(&times[0]) && limit.contains(&times[1]), "{times:?}");
        assert!(
            times[2] < Duration::from_secs(1),
            "what is not TLS gets an alert at once: {times:?}"
        );
        for slow in [idle, half] {
            let time = slow.join().unwrap();
            assert!(limit.contains(&time), "{time:?}");
        }
    });
    drop(conn);
    hosting.stop();
}

/// Many more connections than there are places: a sender is served anyway, and the memory is bounded.
#[test]
fn a_crowd_that_does_nothing_is_bounded() {
    // Descriptors for this process, and for the server that it starts.
    let limit = Command::new("prlimit")
        .args(["--nofile=8192:8192", "--pid"])
        .arg(std::process::id().to_string())
        .status();
    assert!(limit.unwrap().success(), "prlimit (util-linux)");
    let mut hosting = hosting();
    let mut idle = Vec::new();
    for _ in 0..5000 {
        idle.push(tcp(443));
        if idle.len() % 100 == 0 {
            hosting.fetch("example.com").unwrap();
        }
    }
    let memory: u32 = status(hosting.pid(), "VmRSS")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(memory < 60_000, "{memory} KiB");
    hosting.stop();
}
