//! What attackers get.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use mtasts_kit::client::accepting;
use mtasts_kit::process::status;
use rustls::ClientConnection;

use super::dns_tools::from_address;
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

/// The name of the handshake is the only one that is answered, in each version of HTTP, and the path is no other than it is.
#[test]
fn the_host_is_that_of_the_handshake_and_the_path_that_of_the_policy() {
    let mut hosting = hosting();
    let url = format!("https://mta-sts.example.com{PATH}");
    let status = |arguments: &[&str]| {
        let more = ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "--path-as-is"];
        let output = hosting.curl(&[&more[..], arguments].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    for version in ["--http1.1", "--http2"] {
        // With HTTP/2 curl sends it as :authority.
        for (host, expected) in [
            ("mta-sts.example.com", "200 "),
            ("mta-sts.example.com:443", "200 "),
            ("MTA-STS.example.com", "200 "),
            ("mta-sts.example.net", "421 "),
            ("mta-sts.example.com.mta-sts.example.net", "421 "),
            ("mta-sts.bare.example", "421 "),
            ("example.com", "421 "),
        ] {
            let field = format!("Host: {host}");
            assert_eq!(status(&[version, "-H", &field, &url]), expected, "{version} {host}");
        }
        for path in [
            "/.well-known/../.well-known/mta-sts.txt",
            "/.well-known/./mta-sts.txt",
            "/.well-known//mta-sts.txt",
            "/%2ewell-known/mta-sts.txt",
            "/.well-known/mta-sts%2etxt",
            "/.well-known/mta-sts.txt%00",
            "/.well-known/mta-sts.txt/",
            "/.well-known/mta-sts.txt?x",
            "/..%2f..%2fetc/passwd",
            "/",
        ] {
            let url = format!("https://mta-sts.example.com{path}");
            assert_eq!(status(&[version, &url]), "404 ", "{version} {path}");
        }
    }
    hosting.stop();
}

/// Names that are not hosted here, by the thousand: no certificate, no line, nothing that grows.
#[test]
fn a_flood_of_unknown_names_leaves_nothing() {
    let mut hosting = hosting();
    let flood = |from: usize| {
        for n in from..from + 3000 {
            let name = format!("mta-sts.n{n}.example").try_into().unwrap();
            let mut hello = ClientConnection::new(accepting(), name).unwrap();
            let mut stream = tcp(443);
            hello.write_tls(&mut stream).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            // The alert unrecognized_name (RFC 6066 3), and no more.
            assert_eq!(answer, [21, 3, 3, 0, 2, 2, 112]);
        }
    };
    flood(0);
    let before = memory(&hosting);
    flood(3000);
    let after = memory(&hosting);
    assert!(after < before + 2000, "{before} KiB, then {after} KiB");
    let log = hosting.log();
    assert!(!log.contains("mta-sts.n") && log.lines().count() < 10, "{log}");
    let ledger = rusqlite::Connection::open(hosting.path("ledger/ledger.db")).unwrap();
    let attempts: u32 = ledger
        .query_row("SELECT count(*) FROM attempt", (), |row| row.get(0))
        .unwrap();
    assert_eq!(attempts, 0);
    assert!(hosting.fetch("example.com").is_ok());
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
        let request = format!("GET {PATH} HTTP/1.1\r\n{host}{fields}\r\n0\r\n\r\nGET {PATH} HTTP/1.1\r\n{host}\r\n");
        // At once: after the fields it may hang up.
        stream.write_all(request.as_bytes()).unwrap();
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
        let limit = Duration::from_secs(5)..Duration::from_secs(30);
        assert!(limit.contains(&times[0]) && limit.contains(&times[1]), "{times:?}");
        assert!(
            times[2] < Duration::from_secs(5),
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

/// A client that asks and asks, and reads no answer: no more is read of it, and its time ends.
#[test]
fn who_reads_nothing_is_cut_off() {
    let mut hosting = hosting();
    hosting.fetch("example.com").unwrap();
    let before = memory(&hosting);
    let begun = Instant::now();
    let mut stream = hosting.connect("mta-sts.example.com").unwrap();
    stream.sock.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = format!("GET {PATH} HTTP/1.1\r\nHost: mta-sts.example.com\r\n\r\n").repeat(100);
    let mut waits = 0;
    loop {
        match stream.write_all(requests.as_bytes()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                waits += 1;
                let memory = memory(&hosting);
                // A thread of the server that allocates for the first time may take a megabyte.
                assert!(memory < before + 4000, "{before} KiB, then {memory} KiB");
                hosting.fetch("example.net").unwrap();
            }
            Err(_) => break,
        }
    }
    let time = begun.elapsed();
    assert!(waits > 30, "the server has read all the time, {time:?}");
    // A minute for a connection, and five seconds for its last answer.
    assert!((60..75).contains(&time.as_secs()), "{time:?}");
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
    // In all, of which the server keeps 2048, and this process twice as many. Each address has so many ports.
    let most = std::env::var("CROWD").map_or(5000, |text| text.parse().unwrap());
    let mut idle = VecDeque::new();
    for n in 0..most {
        idle.push_back(from_address(&format!("127.1.{}.1", n / 10_000), 443));
        if idle.len() > 4096 {
            idle.pop_front();
        }
        if n % 100 == 0 {
            hosting.fetch("example.com").unwrap();
        }
    }
    let memory = memory(&hosting);
    println!("{most} idle connections: {memory} KiB");
    assert!(memory < 60_000, "{memory} KiB");
    hosting.stop();
}

/// The memory of the server in KiB.
fn memory(hosting: &Hosting) -> u32 {
    let text = status(hosting.pid(), "VmRSS").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
