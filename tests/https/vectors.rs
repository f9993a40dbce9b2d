//! The `fetch` vectors.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mtasts::ResultType;
use mtasts::network::https::FetchError;
use mtasts_kit::pki::{self, host, self_signed_host};
use mtasts_kit::policy_server::PolicyServer;
use rcgen::date_time_ymd;
use serde_json::Value;

use super::world::{HOST, World, policy_answer};

/// Each `fetch` vector. `sts-policy-invalid` is the parser's word: here the body has to arrive as it is.
#[test]
fn vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/rfc8461.json")).expect("JSON");
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
