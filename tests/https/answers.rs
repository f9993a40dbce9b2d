//! What a policy host answers: what is a policy, what is none, and where it ends.

use std::io::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mtasts::protocol::policy::MAX_POLICY;
use mtasts_kit::policy_server::PolicyServer;

use super::world::{
    HOST, POLICY, World, answer, chunked, get_of, is_fetch_error, policy_answer, until_closed, with_length,
};

#[test]
fn a_policy_is_fetched() {
    let world = World::new(&["8.8.8.1"]);
    let server = PolicyServer::says("8.8.8.1", &world.certificate(), policy_answer());
    assert_eq!(world.get().as_deref(), Ok(POLICY));
    // Again: a whole handshake and a plain request, whatever the first answer said.
    assert_eq!(world.get().as_deref(), Ok(POLICY));
    let requests = server.requests();
    assert_eq!((requests.len(), server.connections()), (2, 2));
    for request in requests {
        assert_eq!(request.sni.as_deref(), Some(HOST));
        assert!(!request.resumed);
        let mut lines: Vec<&str> = request.head.trim_end().split("\r\n").collect();
        assert_eq!(lines.remove(0), "GET /.well-known/mta-sts.txt HTTP/1.1");
        lines.sort_unstable();
        let agent = format!("user-agent: libmtasts/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            lines,
            [
                "accept-encoding: identity",
                "accept: */*",
                &format!("host: {HOST}"),
                &agent
            ]
        );
    }
}

#[test]
fn media_types() {
    for (header, good) in [
        ("Content-Type: TEXT/PLAIN\r\n", true),
        ("content-type:text/plain\r\n", true),
        ("Content-Type: text/plain ; charset=UTF-8\r\n", true),
        ("Content-Type: text/plain;\r\n", true),
        ("Content-Type: text/plain+\r\n", false),
        ("Content-Type: text/plainer\r\n", false),
        ("Content-Type: text/html\r\n", false),
        ("Content-Type: text/html; text/plain\r\n", false),
        ("Content-Type: \r\n", false),
        ("Content-Type: text/plain\r\nContent-Type: text/html\r\n", false),
        ("Content-Type: text/pl\u{e4}in\r\n", false),
        ("", false),
    ] {
        let result = get_of(answer("200 OK", header, POLICY));
        assert_eq!(result.is_ok(), good, "{header}: {result:?}");
        assert!(good || is_fetch_error(&result));
    }
}

#[test]
fn only_status_200_is_a_policy() {
    for status in [
        "201", "202", "203", "206", "300", "400", "404", "410", "500", "503", "999",
    ] {
        let result = get_of(answer(status, "Content-Type: text/plain\r\n", POLICY));
        assert!(is_fetch_error(&result), "{status}: {result:?}");
        assert!(result.is_err_and(|e| e.detail().contains(&format!("the HTTP status is {status}"))));
    }
}

#[test]
fn redirects_are_not_followed() {
    for location in [
        "https://mta-sts.example.com/elsewhere",
        "https://mta-sts.example.com/.well-known/mta-sts.txt",
        "http://mta-sts.example.com/.well-known/mta-sts.txt",
        "https://8.8.8.2/policy",
        "/x",
        "\u{1b}[31m",
    ] {
        for status in ["301", "302", "303", "307", "308"] {
            let world = World::new(&["8.8.8.1"]);
            let header = format!("Content-Type: text/plain\r\nLocation: {location}\r\n");
            let server = PolicyServer::says("8.8.8.1", &world.certificate(), answer(status, &header, POLICY));
            let other = PolicyServer::says("8.8.8.2", &world.certificate(), policy_answer());
            let result = world.get();
            assert!(is_fetch_error(&result), "{status} {location}: {result:?}");
            assert_eq!(
                (server.connections(), other.connections()),
                (1, 0),
                "{status} {location}"
            );
        }
    }
}

#[test]
fn what_speaks_of_caches_changes_nothing() {
    let world = World::new(&["8.8.8.1"]);
    let headers = "Content-Type: text/plain\r\nCache-Control: max-age=31536000, immutable\r\nETag: \"a\"\r\nAge: 7\r\n\
                   Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nExpires: 0\r\nVary: *\r\nSet-Cookie: a=b\r\n\
                   Strict-Transport-Security: max-age=1\r\nAlt-Svc: h3=\":443\"\r\n";
    let server = PolicyServer::says("8.8.8.1", &world.certificate(), answer("200 OK", headers, POLICY));
    for _ in 0..2 {
        assert_eq!(world.get().as_deref(), Ok(POLICY));
    }
    for request in server.requests() {
        let head = request.head.to_ascii_lowercase();
        assert!(
            !head.contains("if-") && !head.contains("cookie") && !head.contains("cache"),
            "{head}"
        );
    }
}

#[test]
fn a_coding_that_was_not_asked_for_is_refused() {
    for coding in [
        "gzip",
        "br",
        "deflate",
        "x-unknown",
        "identity, gzip",
        "gzip\r\nContent-Encoding: identity",
    ] {
        let header = format!("Content-Type: text/plain\r\nContent-Encoding: {coding}\r\n");
        assert!(is_fetch_error(&get_of(answer("200 OK", &header, POLICY))), "{coding}");
    }
    let header = "Content-Type: text/plain\r\nContent-Encoding: identity\r\n";
    assert_eq!(get_of(answer("200 OK", header, POLICY)).as_deref(), Ok(POLICY));
}

#[test]
fn a_policy_has_64_kib_at_most_and_is_never_cut_to_fit() {
    let framings: [fn(&str) -> Vec<u8>; 4] = [with_length, |b| chunked(b, 4096), |b| chunked(b, 7), until_closed];
    for (number, framing) in framings.into_iter().enumerate() {
        let whole = "x".repeat(MAX_POLICY);
        assert_eq!(
            get_of(framing(&whole)).map(|body| body.len()),
            Ok(MAX_POLICY),
            "framing {number}"
        );
        for longer in [MAX_POLICY + 1, MAX_POLICY + 20_000] {
            let result = get_of(framing(&"x".repeat(longer)));
            assert!(is_fetch_error(&result), "framing {number}, {longer}");
            assert!(
                result.is_err_and(|e| e.detail().contains("longer than 64 KiB")),
                "framing {number}"
            );
        }
        assert_eq!(get_of(framing("")).as_deref(), Ok(""), "framing {number}");
    }
}

#[test]
fn a_length_that_is_too_long_is_refused_before_the_body() {
    for length in ["65537", "131193", "18446744073709551615"] {
        let world = World::new(&["8.8.8.1"]);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        let _server = PolicyServer::start("8.8.8.1", &world.certificate(), move |stream| {
            let _ = stream.write_all(head.as_bytes());
            sleep(Duration::from_secs(5));
        });
        let start = Instant::now();
        world.fetch_error("longer than 64 KiB");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[test]
fn half_a_policy_is_none() {
    let half = &POLICY[..30];
    let length = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{half}",
        POLICY.len()
    );
    let mut chunks = chunked(half, 10);
    chunks.truncate(chunks.len() - 5);
    let closed = until_closed(half);
    // Whether TLS ends as it should (true) or the connection is cut.
    for (answer, close, good) in [
        (length.clone().into_bytes(), true, false),
        (length.into_bytes(), false, false),
        (chunks.clone(), true, false),
        (chunks, false, false),
        (closed.clone(), false, false),
        (closed, true, true),
        (with_length(POLICY), false, true),
        (chunked(POLICY, 10), false, true),
        (b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec(), true, false),
        (b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec(), false, false),
        (b"".to_vec(), true, false),
        (b"".to_vec(), false, false),
    ] {
        let world = World::new(&["8.8.8.1"]);
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let _server = PolicyServer::start("8.8.8.1", &world.certificate(), move |stream| {
            let _ = stream.write_all(&answer);
            if !close {
                let _ = stream.sock.shutdown(std::net::Shutdown::Both);
            }
        });
        let result = world.get();
        assert_eq!(result.is_ok(), good, "{shown:?}, closed {close}: {result:?}");
        assert!(good || is_fetch_error(&result), "{result:?}");
    }
}

#[test]
fn what_is_not_http_is_refused() {
    for answer in [
        "hello\r\n\r\n",
        "HTTP/2 200\r\nContent-Type: text/plain\r\n\r\n",
        "HTTP/1.1 xyz OK\r\n\r\n",
        "\u{0}\u{1}\u{2}",
        "220 mx.example.com ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: -1\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ] {
        let result = get_of(answer);
        assert!(is_fetch_error(&result), "{answer:?}: {result:?}");
    }
}

#[test]
fn strangers_texts_are_quoted_safely() {
    let world = World::new(&["8.8.8.1"]);
    let header = format!(
        "Content-Type: text/{}\u{1b}[31m\u{7f}\u{202e}{}\r\n",
        "x",
        "y".repeat(5000)
    );
    let _server = PolicyServer::says("8.8.8.1", &world.certificate(), answer("200 OK", &header, POLICY));
    let error = world.get().expect_err("not text/plain");
    assert!(error.detail().bytes().all(|b| matches!(b, b' '..=b'~')), "{error}");
    assert!(error.detail().len() < 400, "{error}");
}
