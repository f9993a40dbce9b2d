//! Fetching policies from policy hosts on real sockets: the `fetch` vectors, and what hosts do besides.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::network::addresses::Rule;
use mtasts::network::dns::StubResolver;
use mtasts::network::https::{FetchError, Https, PolicyHost};
use mtasts::network::roots::Roots;
use mtasts::protocol::policy::MAX_POLICY;
use mtasts::{Domain, ResultType};
use mtasts_kit::dns_server::{DnsServer, Reply, address, cname};
use mtasts_kit::pki::{self, Authority, Host, host, root, roots, self_signed_host};
use mtasts_kit::policy_server::{BlackHole, PolicyServer, Stream, add_address, isolate};
use rcgen::{DnType, date_time_ymd};
use serde_json::Value;

const POLICY: &str = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
const HOST: &str = "mta-sts.example.com";

/// A small Internet: one authority, and `mta-sts.example.com` at these addresses.
struct World {
    authority: Authority,
    dns: DnsServer,
}

impl World {
    fn new(addresses: &'static [&'static str]) -> Self {
        isolate(&["8.8.8.1", "8.8.8.2", "8.8.8.3", "2600::1"]);
        let dns = DnsServer::start(move |asked| {
            let records: Vec<_> = addresses.iter().map(|ip| address(&asked.name, ip)).collect();
            let records: Vec<_> = records.into_iter().filter(|r| r.record_type() == asked.kind).collect();
            match (asked.name.as_str(), records.is_empty()) {
                (HOST, false) => Reply::answers(records),
                (HOST, true) if !addresses.is_empty() => Reply::nodata(),
                _ => Reply::nxdomain(),
            }
        });
        Self {
            authority: root("Test Root"),
            dns,
        }
    }

    fn certificate(&self) -> Host {
        host(&[HOST], &self.authority, |_| {})
    }

    fn policy_host(&self, allowed: &[&str]) -> PolicyHost {
        let allowed = allowed.iter().map(|network| network.parse().expect(network)).collect();
        self.policy_host_by(Rule {
            allowed,
            ..Rule::default()
        })
    }

    fn policy_host_by(&self, addresses: Rule) -> PolicyHost {
        let roots: Arc<Roots> = Arc::new(roots(&[&self.authority]));
        let dns = StubResolver::with_servers(&[self.dns.address]);
        PolicyHost::new(Arc::new(dns), Arc::new(move || Ok(Arc::clone(&roots))), addresses)
    }

    fn get_within(&self, time: Duration) -> Result<String, FetchError> {
        let body = self.policy_host(&[]).get(&domain(), Instant::now() + time)?;
        Ok(String::from_utf8(body).expect("UTF-8"))
    }

    fn get(&self) -> Result<String, FetchError> {
        self.get_within(Duration::from_secs(20))
    }

    /// The error of a fetch that has to fail, with a part of its words.
    fn refused(&self, result: ResultType, words: &str) -> FetchError {
        let error = self.get().expect_err(words);
        assert_eq!(error.result(), Some(result), "{error}");
        assert!(error.detail().contains(words), "expected {words:?} in: {error}");
        error
    }

    fn fetch_error(&self, words: &str) -> FetchError {
        self.refused(ResultType::StsPolicyFetchError, words)
    }
}

fn domain() -> Domain {
    Domain::parse("example.com").expect("a domain")
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn policy_answer() -> String {
    answer("200 OK", "Content-Type: text/plain\r\n", POLICY)
}

/// What a world with one host gives for an answer.
fn get_of(answer: impl Into<Vec<u8>>) -> Result<String, FetchError> {
    let world = World::new(&["8.8.8.1"]);
    let _server = PolicyServer::says("8.8.8.1", &world.certificate(), answer);
    world.get()
}

fn is_fetch_error(result: &Result<String, FetchError>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.result() == Some(ResultType::StsPolicyFetchError))
}

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
fn proxies_of_the_environment_are_not_used() {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "a_policy_is_fetched"]);
    for name in [
        "https_proxy",
        "HTTPS_PROXY",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env(name, "http://127.0.0.1:9");
    }
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Each `fetch` vector. `sts-policy-invalid` is the parser's word: here the body has to arrive as it is.
#[test]
fn vectors() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/rfc8461.json")).expect("JSON");
    let vectors = vectors["fetch"].as_array().expect("an array");
    assert!(vectors.len() >= 18);
    for vector in vectors {
        let (name, response, expected) = (&vector["name"], &vector["response"], &vector["expected"]);
        let result = fetch_vector(response);
        let said = match &result {
            Ok(_) => None,
            Err(error) => error.result().map(ResultType::name),
        };
        match expected["result_type"].as_str() {
            Some("sts-policy-invalid") | None => {
                assert_eq!(
                    result.as_deref(),
                    Ok(response["body"].as_str().expect("a body")),
                    "{name}"
                );
            }
            result_type => assert_eq!(said, result_type, "{name}: {result:?}"),
        }
    }
}

fn fetch_vector(response: &Value) -> Result<String, FetchError> {
    let known = [
        "status",
        "location",
        "content_type",
        "content_length",
        "content_encoding",
        "body",
        "total_seconds",
    ];
    match response
        .as_object()
        .expect("an object")
        .iter()
        .next()
        .expect("not empty")
    {
        (key, kind) if key == "tls" => return fetch_with_tls(kind.as_str().expect("a text")),
        (key, kind) if key == "dns" => {
            assert_eq!(kind, "NXDOMAIN");
            return World::new(&[]).get();
        }
        _ => {}
    }
    for key in response.as_object().expect("an object").keys() {
        assert!(known.contains(&key.as_str()), "this test does not know {key}");
    }
    let body = response["body"].as_str().unwrap_or_default().to_owned();
    let length = response["content_length"].as_u64().unwrap_or(body.len() as u64);
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", response["status"]);
    for (field, key) in [
        ("Content-Type", "content_type"),
        ("Content-Encoding", "content_encoding"),
        ("Location", "location"),
    ] {
        if let Some(value) = response[key].as_str() {
            head += &format!("{field}: {value}\r\n");
        }
    }
    if !["204", "304"].contains(&response["status"].to_string().as_str()) {
        head += &format!("Content-Length: {length}\r\n");
    }
    let world = World::new(&["8.8.8.1"]);
    let slow = response["total_seconds"].is_u64();
    let _server = PolicyServer::start("8.8.8.1", &world.certificate(), move |stream| {
        let _ = stream.write_all(format!("{head}\r\n").as_bytes());
        for octet in body.as_bytes().chunks(if slow { 1 } else { 4096 }) {
            // Sixty-odd octets, so that a minute stands for three seconds.
            sleep(Duration::from_millis(if slow { 50 } else { 0 }));
            let _ = stream.write_all(octet);
        }
    });
    world.get_within(Duration::from_secs(if slow { 1 } else { 20 }))
}

fn fetch_with_tls(kind: &str) -> Result<String, FetchError> {
    let world = World::new(&["8.8.8.1"]);
    let certificate = match kind {
        "certificate-expired" => host(&[HOST], &world.authority, |params| {
            params.not_after = date_time_ymd(2024, 2, 29)
        }),
        "host-mismatch" => host(&["www.example.com"], &world.authority, |_| {}),
        "untrusted" => self_signed_host(&[HOST]),
        "protocol-version" => {
            let _server = OldTls::start(&world, "8.8.8.1");
            return world.get();
        }
        _ => panic!("this test does not know {kind}"),
    };
    let server = PolicyServer::says("8.8.8.1", &certificate, policy_answer());
    let result = world.get();
    assert!(
        server.requests().is_empty(),
        "nothing is asked of a host that did not prove itself"
    );
    result
}

/// A server that speaks TLS 1.1 at best. rustls cannot, OpenSSL can.
struct OldTls(Child, #[allow(dead_code, reason = "gone at the end")] pki::Directory);

impl OldTls {
    fn start(world: &World, ip: &str) -> Self {
        let here = pki::Directory::new("old-tls");
        let key = here.rsa_key(2048);
        let certificate = pki::host_params(&[HOST])
            .signed_by(&key, &world.authority)
            .expect("a certificate");
        let (certificate, key) = (here.write("host.pem", certificate.pem()), here.path("rsa-2048.key"));
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-tls1_1",
                "-cipher",
                "ALL:@SECLEVEL=0",
                "-accept",
                &format!("{ip}:443"),
            ])
            .args([
                "-cert".as_ref(),
                certificate.as_os_str(),
                "-key".as_ref(),
                key.as_os_str(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let server = Self(child, here);
        let speaks = |version: &str| {
            let output = Command::new("openssl")
                .args([
                    "s_client",
                    "-connect",
                    &format!("{ip}:443"),
                    version,
                    "-cipher",
                    "ALL:@SECLEVEL=0",
                ])
                .stdin(Stdio::null())
                .output();
            output.expect("openssl").status.success()
        };
        let start = Instant::now();
        while !speaks("-tls1_1") {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "openssl does not speak TLS 1.1"
            );
            sleep(Duration::from_millis(20));
        }
        assert!(!speaks("-tls1_2"));
        server
    }
}

impl Drop for OldTls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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

fn with_length(body: &str) -> Vec<u8> {
    answer("200 OK", "Content-Type: text/plain\r\n", body).into_bytes()
}

fn chunked(body: &str, size: usize) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.as_bytes().chunks(size) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend(chunk);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

fn until_closed(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{body}").into_bytes()
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

#[test]
fn the_certificate_has_to_be_good() {
    let world = World::new(&["8.8.8.1"]);
    let stranger = root("Stranger");
    let authority = &world.authority;
    let of = |names: &[&str]| host(names, authority, |_| {});
    for (certificate, words) in [
        (
            of(&["www.example.com"]),
            Some("the certificate names www.example.com, not mta-sts.example.com"),
        ),
        (of(&["example.com"]), Some("the certificate names example.com, not")),
        (
            of(&["m*.example.com"]),
            Some("the certificate names no host in its subjectAltName"),
        ),
        (
            of(&["*.com"]),
            Some("the certificate names no host in its subjectAltName"),
        ),
        (of(&["*.mta-sts.example.com"]), Some("not mta-sts.example.com")),
        (
            host(&[], authority, |p| p.distinguished_name.push(DnType::CommonName, HOST)),
            Some("the certificate names no host"),
        ),
        (
            host(&[HOST], authority, |p| p.not_after = date_time_ymd(2024, 2, 29)),
            Some("expired on 2024-02-29"),
        ),
        (
            host(&[HOST], authority, |p| p.not_before = date_time_ymd(2099, 1, 1)),
            Some("not valid before 2099-01-01"),
        ),
        (self_signed_host(&[HOST]), Some("self-signed")),
        (
            host(&[HOST], &stranger, |_| {}),
            Some("issued by an unknown CA: CN=Stranger"),
        ),
        (of(&["*.example.com"]), None),
        (of(&["other.example.net", "MTA-STS.Example.com"]), None),
    ] {
        isolate(&["8.8.8.1"]);
        let world = World {
            authority: root("unused"),
            dns: dns_of_one(),
        };
        let server = PolicyServer::says("8.8.8.1", &certificate, policy_answer());
        let roots = Arc::new(roots(&[authority]));
        let dns = Arc::new(StubResolver::with_servers(&[world.dns.address]));
        let policy_host = PolicyHost::new(dns, Arc::new(move || Ok(Arc::clone(&roots))), Rule::default());
        let result = policy_host.get(&domain(), Instant::now() + Duration::from_secs(20));
        match words {
            None => assert_eq!(result.as_deref(), Ok(POLICY.as_bytes())),
            Some(words) => {
                let error = result.expect_err(words);
                assert_eq!(error.result(), Some(ResultType::StsWebpkiInvalid), "{error}");
                assert!(error.detail().contains(words), "{words}: {error}");
                assert!(error.detail().starts_with("mta-sts.example.com [8.8.8.1]: "), "{error}");
                assert!(server.requests().is_empty());
            }
        }
    }
}

fn dns_of_one() -> DnsServer {
    DnsServer::start(|asked| match asked.kind {
        RecordType::A => Reply::answers(vec![address(&asked.name, "8.8.8.1")]),
        _ => Reply::nodata(),
    })
}

/// The name of the host that an alias leads to is nobody's proof (RFC 9525 6.1.1).
#[test]
fn an_alias_changes_no_name() {
    for (names, good) in [(&["policies.example.net"][..], false), (&[HOST], true)] {
        isolate(&["8.8.8.1"]);
        let dns = DnsServer::start(|asked| match asked.kind {
            RecordType::A => {
                let alias = cname(&asked.name, 60, "policies.example.net");
                Reply::answers(vec![alias, address("policies.example.net", "8.8.8.1")])
            }
            _ => Reply::nodata().after(vec![cname(&asked.name, 60, "policies.example.net")]),
        });
        let world = World {
            authority: root("Test Root"),
            dns,
        };
        let certificate = host(names, &world.authority, |_| {});
        let server = PolicyServer::start("8.8.8.1", &certificate, |stream: &mut Stream| {
            assert_eq!(stream.conn.server_name(), Some(HOST));
            let _ = stream.write_all(policy_answer().as_bytes());
        });
        match good {
            true => assert_eq!(world.get().as_deref(), Ok(POLICY)),
            false => drop(world.refused(ResultType::StsWebpkiInvalid, "names policies.example.net")),
        }
        assert_eq!(server.requests().len(), usize::from(good));
    }
}

#[test]
fn failures_of_dns_and_of_the_connection_are_told() {
    let error = World::new(&[]).fetch_error("mta-sts.example.com: the name does not exist (NXDOMAIN)");
    assert_eq!(error.to_string(), format!("sts-policy-fetch-error: {}", error.detail()));
    let world = World::new(&["8.8.8.1"]);
    world.fetch_error("mta-sts.example.com [8.8.8.1]: Connection refused");
    // No IPv4 address of the network leads there.
    World::new(&["1.1.1.1"]).fetch_error("unreachable");
    let world = World::new(&["8.8.8.1"]);
    let _server = PolicyServer::raw("8.8.8.1", |mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{POLICY}").as_bytes());
    });
    world.fetch_error("TLS failed");
    let world = World::new(&["8.8.8.1"]);
    let _server = PolicyServer::raw("8.8.8.1", drop);
    world.fetch_error("the connection was cut");
}

#[test]
fn without_roots_nothing_is_asked() {
    let world = World::new(&["8.8.8.1"]);
    let server = PolicyServer::says("8.8.8.1", &world.certificate(), policy_answer());
    let dns = Arc::new(StubResolver::with_servers(&[world.dns.address]));
    let policy_host = PolicyHost::new(
        dns,
        Arc::new(|| Err("cannot read the CA bundle".into())),
        Rule::default(),
    );
    let error = policy_host
        .get(&domain(), Instant::now() + Duration::from_secs(5))
        .expect_err("no roots");
    let own = FetchError::Own("cannot check certificates: cannot read the CA bundle".into());
    assert_eq!(error, own, "that is not the policy host's failure");
    assert_eq!(server.connections(), 0);
}

/// A name that leads into the private network opens no connection at all.
#[test]
fn private_addresses_are_not_asked() {
    for (ip, words) in [
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("10.0.0.1", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("fd00::1", "a private address"),
        ("2001:1::1", "an address of a protocol"),
        ("2001:1::2", "an address of a protocol"),
        ("2001:1::3", "an address of a protocol"),
        ("192.175.48.1", "an anycast address of a service (AS112)"),
    ] {
        let world = World::new(Box::leak(Box::new([ip])));
        if !["127.0.0.1", "::1"].contains(&ip) {
            add_address(ip);
        }
        let server = PolicyServer::says(ip, &world.certificate(), policy_answer());
        let error = world.fetch_error(words);
        assert!(error.detail().contains(&format!("add {ip}/")), "{error}");
        assert_eq!(server.connections(), 0, "{ip}");
        // The proof that it would have been reached.
        let open = world
            .policy_host(&[ip])
            .get(&domain(), Instant::now() + Duration::from_secs(5));
        assert_eq!(open.as_deref(), Ok(POLICY.as_bytes()), "{ip}");
        assert_eq!(server.connections(), 1, "{ip}");
    }
    for (ip, words) in [
        ("::ffff:10.0.0.1", "a private address"),
        ("64:ff9b::10.0.0.1", "a private address"),
    ] {
        World::new(Box::leak(Box::new([ip]))).fetch_error(words);
    }
}

/// The translator of the operator's own network is a way to his private addresses that he alone can know of.
#[test]
fn nobody_is_led_through_the_operators_own_translator() {
    let nat64 = ["2a00:64::/96"].map(|prefix| prefix.parse().expect(prefix)).to_vec();
    let rule = Rule {
        nat64,
        ..Rule::default()
    };
    for (ip, refused) in [("2a00:64::10.0.0.1", true), ("2a00:64::8.8.8.8", false)] {
        let world = World::new(Box::leak(Box::new([ip])));
        add_address(ip);
        let server = PolicyServer::says(ip, &world.certificate(), policy_answer());
        let get = |rule: Rule| {
            world
                .policy_host_by(rule)
                .get(&domain(), Instant::now() + Duration::from_secs(5))
        };
        match get(rule.clone()) {
            Err(error) if refused => assert!(error.detail().contains("a private address"), "{error}"),
            got => assert_eq!(got.as_deref(), Ok(POLICY.as_bytes()), "{ip}"),
        }
        assert_eq!(server.connections() == 0, refused, "{ip}");
        // The proof that it would have been reached.
        assert_eq!(get(Rule::default()).as_deref(), Ok(POLICY.as_bytes()), "{ip}");
    }
}

#[test]
fn of_public_and_private_addresses_the_public_ones_are_asked() {
    let world = World::new(&["127.0.0.1", "8.8.8.1", "::1"]);
    let private = PolicyServer::says("127.0.0.1", &world.certificate(), policy_answer());
    let private_v6 = PolicyServer::says("::1", &world.certificate(), policy_answer());
    // A public address that fails is no reason to ask the others.
    world.fetch_error("[8.8.8.1]: Connection refused");
    let _public = PolicyServer::says("8.8.8.1", &world.certificate(), policy_answer());
    assert_eq!(world.get().as_deref(), Ok(POLICY));
    assert_eq!((private.connections(), private_v6.connections()), (0, 0));
}

/// One address after the other, until one answers.
#[test]
fn the_next_address_is_tried() {
    let tried = |prepare: &dyn Fn(&World) -> Box<dyn std::any::Any>, time: Duration| {
        let world = World::new(&["8.8.8.1", "8.8.8.2"]);
        let _kept = prepare(&world);
        let good = PolicyServer::says("8.8.8.2", &world.certificate(), policy_answer());
        let start = Instant::now();
        assert_eq!(world.get_within(Duration::from_secs(6)).as_deref(), Ok(POLICY));
        assert!(start.elapsed() < time, "{:?}", start.elapsed());
        assert_eq!(good.requests().len(), 1);
    };
    let at_once = Duration::from_secs(1);
    let a_share = Duration::from_secs(5);
    tried(&|_| Box::new(()), at_once);
    tried(&|_| Box::new(PolicyServer::raw("8.8.8.1", drop)), at_once);
    tried(
        &|_| Box::new(PolicyServer::says("8.8.8.1", &self_signed_host(&[HOST]), "")),
        at_once,
    );
    tried(
        &|world| Box::new(PolicyServer::says("8.8.8.1", &world.certificate(), "")),
        at_once,
    );
    tried(&|_| Box::new(BlackHole::start("8.8.8.1")), a_share);
    tried(
        &|_| Box::new(PolicyServer::raw("8.8.8.1", |_socket| sleep(Duration::from_secs(8)))),
        a_share,
    );
    let silent = |_: &mut Stream| sleep(Duration::from_secs(8));
    tried(
        &|world| Box::new(PolicyServer::start("8.8.8.1", &world.certificate(), silent)),
        a_share,
    );
}

#[test]
fn both_families_are_tried() {
    let world = World::new(&["8.8.8.1", "2600::1"]);
    let server = PolicyServer::says("2600::1", &world.certificate(), policy_answer());
    assert_eq!(world.get().as_deref(), Ok(POLICY));
    assert_eq!(server.requests().len(), 1);
    // IPv6 does not work, and is not even reached when IPv4 does.
    let world = World::new(&["2600:2::2", "8.8.8.1"]);
    let _server = PolicyServer::says("8.8.8.1", &world.certificate(), policy_answer());
    assert_eq!(world.get().as_deref(), Ok(POLICY));
}

#[test]
fn any_answer_is_final() {
    for answer in [
        answer("404 Not Found", "", ""),
        answer("200 OK", "", POLICY),
        format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)),
    ] {
        let world = World::new(&["8.8.8.1", "8.8.8.2"]);
        let _first = PolicyServer::says("8.8.8.1", &world.certificate(), answer);
        let second = PolicyServer::says("8.8.8.2", &world.certificate(), policy_answer());
        let error = world.fetch_error("mta-sts.example.com [8.8.8.1]: ");
        assert!(!error.detail().contains("addresses"), "{error}");
        assert_eq!(second.connections(), 0);
    }
}

#[test]
fn of_several_failures_the_certificate_is_told() {
    let world = World::new(&["8.8.8.1", "8.8.8.2", "8.8.8.3"]);
    let _bad = PolicyServer::says("8.8.8.2", &self_signed_host(&[HOST]), "");
    let error = world.refused(ResultType::StsWebpkiInvalid, "[8.8.8.2]: self-signed certificate");
    assert!(
        error.detail().ends_with("(none of its 3 addresses returned a policy)"),
        "{error}"
    );
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
