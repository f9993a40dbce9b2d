//! Hosts that are slow, and answers without an end.

use std::io::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mtasts::ResultType;
use mtasts_kit::policy_server::{BlackHole, PolicyServer, Stream};

use super::world::{POLICY, World, until_closed};

/// A host that never stops sending is stopped, wherever in an answer it goes on and on.
#[test]
fn endless_answers_end() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (begin, repeated, words) in [
        ("HTTP/1.1 200 OK\r\nX: ".to_owned(), "x".repeat(1000), "header"),
        ("HTTP/1.1 200 OK\r\n".to_owned(), "X: y\r\n".repeat(100), ""),
        (
            String::new(),
            "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(100),
            "",
        ),
        (
            head.to_owned(),
            format!("3e8\r\n{}\r\n", "x".repeat(1000)),
            "longer than 64 KiB",
        ),
        (format!("{head}1;"), "x".repeat(1000), ""),
        (format!("{head}0\r\n"), "X: y\r\n".repeat(100), ""),
        (
            String::from_utf8(until_closed("")).expect("ASCII"),
            "x".repeat(1000),
            "longer than 64 KiB",
        ),
    ] {
        let world = World::new(&["8.8.8.1"]);
        let shown = format!("{begin}{}", &repeated[..20]);
        let _server = PolicyServer::start("8.8.8.1", &world.certificate(), move |stream| {
            let _ = stream.write_all(begin.as_bytes());
            while stream.write_all(repeated.as_bytes()).is_ok() {}
        });
        let start = Instant::now();
        let error = world.fetch_error(words);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{shown:?}: {:?}",
            start.elapsed()
        );
        assert!(!is_late(error.detail()), "{shown:?}: {error}");
    }
}

/// Whether the sentence says that there was too little time.
fn is_late(sentence: &str) -> bool {
    ["timed out", "in time"].iter().any(|words| sentence.contains(words))
}

/// One deadline for all: whatever the host is slow at, and with each step well inside any limit of its own.
#[test]
fn the_deadline_holds() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    // The first part at once, the rest octet by octet.
    let drip = |at_once: String, rest: String| {
        move |stream: &mut Stream| {
            let _ = stream.write_all(at_once.as_bytes()).and_then(|()| stream.flush());
            for octet in rest.as_bytes() {
                sleep(Duration::from_millis(50));
                if stream.write_all(&[*octet]).and_then(|()| stream.flush()).is_err() {
                    return;
                }
            }
        }
    };
    let length = format!("{head}Content-Length: {}\r\n\r\n", POLICY.len());
    let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk_by_chunk = "1\r\nx\r\n".repeat(100);
    type Start<'a> = Box<dyn Fn(&World) -> Box<dyn std::any::Any> + 'a>;
    let slow: [(&str, Start<'_>); 8] = [
        ("connect", Box::new(|_| Box::new(BlackHole::start("8.8.8.1")))),
        (
            "silent",
            Box::new(|_| Box::new(PolicyServer::raw("8.8.8.1", |_socket| sleep(Duration::from_secs(5))))),
        ),
        (
            "handshake",
            Box::new(|_| {
                Box::new(PolicyServer::raw("8.8.8.1", |mut socket| {
                    // A record of a handshake that comes octet by octet.
                    for octet in [&[22, 3, 3, 0x10, 0, 2, 0, 0x0f, 0xfc][..], &[0; 200]].concat() {
                        sleep(Duration::from_millis(50));
                        if socket.write_all(&[octet]).is_err() {
                            return;
                        }
                    }
                }))
            }),
        ),
        (
            "answer",
            Box::new(|world| {
                Box::new(PolicyServer::start("8.8.8.1", &world.certificate(), |_| {
                    sleep(Duration::from_secs(5))
                }))
            }),
        ),
        (
            "header",
            Box::new(|world| {
                Box::new(PolicyServer::start(
                    "8.8.8.1",
                    &world.certificate(),
                    drip(String::new(), length.clone()),
                ))
            }),
        ),
        (
            "body",
            Box::new(|world| {
                Box::new(PolicyServer::start(
                    "8.8.8.1",
                    &world.certificate(),
                    drip(length.clone(), POLICY.to_owned()),
                ))
            }),
        ),
        (
            "chunks",
            Box::new(|world| {
                Box::new(PolicyServer::start(
                    "8.8.8.1",
                    &world.certificate(),
                    drip(chunks.clone(), chunk_by_chunk.clone()),
                ))
            }),
        ),
        (
            "the record of the body",
            Box::new(|world| {
                let length = length.clone();
                Box::new(PolicyServer::start("8.8.8.1", &world.certificate(), move |stream| {
                    let _ = stream.write_all(length.as_bytes()).and_then(|()| stream.flush());
                    for octet in [&[23, 3, 3, 0x10, 0][..], &[0; 200]].concat() {
                        sleep(Duration::from_millis(50));
                        if stream.sock.write_all(&[octet]).is_err() {
                            return;
                        }
                    }
                }))
            }),
        ),
    ];
    for (what, start) in slow {
        let world = World::new(&["8.8.8.1"]);
        let _server = start(&world);
        let time = Duration::from_millis(1200);
        let begin = Instant::now();
        let error = world.get_within(time).expect_err(what);
        assert_eq!(error.result(), Some(ResultType::StsPolicyFetchError), "{what}: {error}");
        assert!(is_late(error.detail()), "{what}: {error}");
        assert!(
            begin.elapsed() >= time - Duration::from_millis(20),
            "{what}: {:?}",
            begin.elapsed()
        );
        // The grace of the thread is a second; it must not have been needed.
        assert!(
            begin.elapsed() < time + Duration::from_millis(800),
            "{what}: {:?}",
            begin.elapsed()
        );
    }
}
