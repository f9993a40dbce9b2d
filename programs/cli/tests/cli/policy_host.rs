//! `mtasts check`: what is wrong with a policy host, and what to do, each from a real server.

use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use mtasts_lab::{Change, Https};

use crate::check::{check, on_the_internet};
use crate::mtasts;

/// A domain, what its policy host is made to do, the code, a part of the sentence, and the exit status.
const CASES: &[(&str, Option<Https>, &str, &str, i32)] = &[
    (
        "https-301.test",
        None,
        "policy-redirect",
        "(Location: /moved/mta-sts.txt): the policy host redirects, and senders must not follow",
        1,
    ),
    (
        "https-elsewhere.test",
        None,
        "policy-redirect",
        "(Location: https://mta-sts.good.test/.well-known/mta-sts.txt)",
        1,
    ),
    (
        "good.test",
        Some(Https::Status403),
        "policy-forbidden",
        "allow clients that are not browsers",
        1,
    ),
    (
        "https-404.test",
        None,
        "policy-not-found",
        "https://mta-sts.https-404.test/.well-known/mta-sts.txt: ",
        1,
    ),
    ("https-500.test", None, "policy-status", "the HTTP status is 500", 1),
    (
        "https-html.test",
        None,
        "policy-content-type",
        "the Content-Type is text/html; charset=utf-8",
        1,
    ),
    ("https-notype.test", None, "policy-content-type", "set the type", 1),
    ("https-gzip.test", None, "policy-encoding", "switch that off", 1),
    ("https-65k.test", None, "policy-too-long", "", 1),
    ("https-garbage.test", None, "policy-not-http", "", 1),
    ("https-short.test", None, "policy-incomplete", "", 1),
    (
        "https-nxdomain.test",
        None,
        "policy-host-missing",
        "add A and AAAA records",
        1,
    ),
    ("https-nodata.test", None, "policy-host-missing", "", 1),
    ("https-servfail.test", None, "policy-host-dns", "", 3),
    ("ssrf-private.test", None, "policy-host-private", "10.0.0.1", 1),
    ("https-refused.test", None, "policy-host-down", "", 1),
    ("https-silent.test", None, "policy-host-silent", "", 1),
    ("https-plain.test", None, "policy-host-not-tls", "enable HTTPS", 1),
    (
        "https-tls11.test",
        None,
        "policy-host-tls-version",
        "protocol_version (70)",
        1,
    ),
    (
        "good.test",
        Some(Https::Alert112),
        "policy-host-tls-name",
        "unrecognized_name (112): the server seems to have no certificate",
        1,
    ),
    (
        "good.test",
        Some(Https::Alert80),
        "policy-host-tls-name",
        "internal_error (80)",
        1,
    ),
    (
        "good.test",
        Some(Https::Alert40),
        "policy-host-tls-unsupported",
        "libmtasts does not support",
        3,
    ),
    ("https-expired.test", None, "policy-certificate-expired", "renew it", 1),
    (
        "https-wrongname.test",
        None,
        "policy-certificate-name",
        "mx.elsewhere.test",
        1,
    ),
    (
        "https-nointermediate.test",
        None,
        "policy-certificate-issuer",
        "CN=mtasts lab intermediate",
        1,
    ),
    ("https-selfsigned.test", None, "policy-certificate-issuer", "", 1),
    (
        "https-clientonly.test",
        None,
        "policy-certificate",
        "is not for servers",
        1,
    ),
];

/// OpenSSL with what libmtasts has not: CBC suites, RSA key exchange, a key on P-521. It is our limit and not the host's.
#[test]
fn tls_of_others() {
    on_the_internet("policy-host-tls", |lab, cache| {
        lab.set("good.test", Change::https(Https::Refused)).expect("a change");
        let told = check("good.test").1;
        let detail = told["policy"]["detail"].as_str().expect("a sentence");
        let address = detail.split(['[', ']']).nth(1).expect("an address");
        let directory = cache.parent().expect("a directory");
        let openssl = |arguments: &str| {
            let mut command = mtasts_kit::pki::command("openssl", "openssl", Path::new("/"));
            command.args(arguments.split(' ')).current_dir(directory);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        for (key, server) in [
            ("rsa:2048", "-tls1_2 -cipher ECDHE-RSA-AES256-SHA384"),
            ("rsa:2048", "-tls1_2 -cipher AES256-GCM-SHA384"),
            ("ec -pkeyopt ec_paramgen_curve:P-521", "-tls1_2"),
        ] {
            let made = format!("req -x509 -newkey {key} -nodes -keyout key.pem -out chain.pem -subj /CN=x -days 9");
            assert!(openssl(&made).status().expect("openssl").success());
            let served = format!("s_server -accept {address}:443 -cert chain.pem -key key.pem -www {server}");
            let mut child = openssl(&served).spawn().expect("openssl");
            let up = || TcpStream::connect((address, 443)).is_ok();
            assert!(
                (0..100).any(|_| up() || {
                    thread::sleep(Duration::from_millis(50));
                    false
                }),
                "{server}"
            );
            let (status, told) = check("good.test");
            child.kill().and_then(|()| child.wait()).expect("the server");
            assert_eq!(
                (status, &told["findings"][0]["code"]),
                (3, &"policy-host-tls-unsupported".into()),
                "{server}: {told}"
            );
        }
        // A certificate that a CA on P-521 has signed: of a root that this host trusts.
        for made in [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -keyout ca.key -out ca.pem -subj /CN=P521 -days 9",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem -subj /CN=x \
             -addext subjectAltName=DNS:mta-sts.good.test",
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy -days 9 -out chain.pem",
        ] {
            assert!(openssl(made).status().expect("openssl").success(), "{made}");
        }
        std::fs::copy(directory.join("ca.pem"), "/etc/mtasts/ca.pem").expect("the private /etc");
        let settings = std::fs::read_to_string("/etc/mtasts/mtasts.toml").expect("the settings");
        let others = settings.lines().filter(|line| !line.starts_with("ca_file"));
        let settings: String = others.map(|line| format!("{line}\n")).collect();
        std::fs::write("/etc/mtasts/mtasts.toml", settings + "ca_file = '/etc/mtasts/ca.pem'\n")
            .expect("the private /etc");
        let served = format!("s_server -accept {address}:443 -cert chain.pem -key key.pem -www");
        let mut child = openssl(&served).spawn().expect("openssl");
        let up = || TcpStream::connect((address, 443)).is_ok();
        assert!((0..100).any(|_| up() || {
            thread::sleep(Duration::from_millis(50));
            false
        }));
        let told = mtasts(&["check", "good.test", "--no-smtp", "--json"]).json();
        child.kill().and_then(|()| child.wait()).expect("the server");
        assert_eq!(told["findings"][0]["code"], "policy-certificate-unsupported", "{told}");
    });
}

#[test]
fn each_error_has_a_code_and_a_next_step() {
    on_the_internet("policy-host", |lab, _| {
        for (domain, behaviour, code, part, status) in CASES {
            if let Some(https) = behaviour {
                lab.set(domain, Change::https(*https)).expect("a change");
            }
            let (ended, told) = check(domain);
            let findings = told["findings"].as_array().expect("a list");
            let found: Vec<&str> = findings
                .iter()
                .map(|finding| finding["code"].as_str().expect("a code"))
                .collect();
            assert_eq!(found, [*code], "{domain}: {told}");
            let sentence = findings[0]["sentence"].as_str().expect("a sentence");
            assert!(sentence.contains(part), "{domain}: {sentence}");
            assert_eq!(ended, *status, "{domain}: {told}");
        }
    });
}
