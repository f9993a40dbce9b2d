//! Senders, ours and those of others, take what is served.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::rr::RecordType;
use mtasts::sender::settings::Settings;
use mtasts::{Mode, Resolver};
use mtasts_kit::dns_server::{Reply, address, mx, txt};
use mtasts_kit::{USER, pki, repository};
use serde_json::Value;

use super::hosting::{HOST, Hosting, PATH};
use super::mx_server::MxServer;

/// Each domain with its table.
const DOMAINS: [(&str, &str); 4] = [
    (
        "enforce.example",
        "mode = \"enforce\"\nmax_age = 604800\nmx = [\"mx.enforce.example\"]",
    ),
    (
        "testing.example",
        "mode = \"testing\"\nmax_age = 86400\nmx = [\"MX.testing.example\", \"*.example.net\"]",
    ),
    ("none.example", "mode = \"none\"\nmax_age = 31557600"),
    (
        "xn--bcher-kva.example",
        "mode = \"auto\"\nmx = [\"mx.xn--bcher-kva.example\"]\nreserve = [\"reserve.example.org\"]",
    ),
];

/// What postfix-mta-sts-resolver finds, with this name server and this way to the policy host.
const PEER: &str = r#"
import asyncio, json, socket, sys
import aiodns, aiohttp
from postfix_mta_sts_resolver.resolver import STSResolver

server, host, domain = sys.argv[1:]
name, port = server.rsplit(":", 1)
getaddrinfo = socket.getaddrinfo
socket.getaddrinfo = lambda asked, *more, **most: getaddrinfo(host, *more, **most)
aiohttp.connector.DefaultResolver = aiohttp.ThreadedResolver

async def main():
    resolver = STSResolver(timeout=10, loop=asyncio.get_running_loop())
    resolver._resolver = aiodns.DNSResolver(nameservers=[name], udp_port=int(port), tcp_port=int(port))
    result, found = await resolver.resolve(domain)
    print(json.dumps([result.name, found]))

asyncio.run(main())
"#;

/// Python with postfix-mta-sts-resolver from PyPI, which a network without a way out cannot get.
fn peer() -> PathBuf {
    let place = repository().join("target/peer");
    let python = place.join("bin/python");
    let works = |python: &PathBuf| {
        let test = Command::new(python)
            .args(["-c", "import postfix_mta_sts_resolver"])
            .output();
        test.is_ok_and(|output| output.status.success())
    };
    if !works(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&place).status();
        assert!(made.unwrap().success(), "python3-venv");
        let got = Command::new(place.join("bin/pip"))
            .args([
                "install",
                "-q",
                "--disable-pip-version-check",
                "postfix-mta-sts-resolver==1.5.1",
            ])
            .status();
        assert!(got.unwrap().success());
        assert!(works(&python));
    }
    python
}

#[test]
fn every_sender_takes_what_is_served() {
    let python = peer();
    let mut hosting = Hosting::new(&DOMAINS.map(|(domain, _)| domain));
    let tables: String = DOMAINS
        .iter()
        .map(|(domain, table)| format!("[domain.\"{domain}\"]\n{table}\n"))
        .collect();
    hosting.settings(&format!("https = [\"{HOST}:443\"]\n{tables}"));
    hosting.start();
    let server = MxServer::start("8.8.8.2");
    let names: Vec<String> = DOMAINS.iter().map(|(domain, _)| format!("mx.{domain}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    server.has(Some(&pki::host(&names, hosting.authority(), |_| {})));
    // The records as they are printed.
    let ids = Arc::new(Mutex::new(Vec::new()));
    for (domain, _) in DOMAINS {
        let records = hosting.ask(&["records", domain, "--direct"]);
        let text = records.lines().find(|line| line.contains("STSv1")).expect(&records);
        let text = text.split('"').nth(1).unwrap().to_owned();
        ids.lock().unwrap().push((format!("_mta-sts.{domain}"), text));
    }
    let said = Arc::clone(&ids);
    hosting.says(move |asked| {
        let said = said.lock().unwrap();
        let domain = DOMAINS.iter().find(|(domain, _)| asked.name == *domain);
        Some(match (asked.kind, domain) {
            (RecordType::MX, Some((domain, _))) => Reply::answers(vec![mx(domain, 10, &format!("mx.{domain}"))]),
            (RecordType::A, _) if asked.name.starts_with("mx.") => {
                Reply::answers(vec![address(&asked.name, "8.8.8.2")])
            }
            (RecordType::TXT, _) => {
                let (_, text) = said.iter().find(|(name, _)| *name == asked.name)?;
                Reply::answers(vec![txt(&asked.name, 60, &[text.as_bytes()])])
            }
            _ => return None,
        })
    });

    let roots = hosting.path("roots.pem").display().to_string();
    let settings = [
        ("cache_dir", hosting.path("run").display().to_string()),
        ("ca_file", roots.clone()),
        ("nameservers", hosting.resolver()),
    ];
    let file: String = settings
        .iter()
        .map(|(key, value)| format!("{key} = {:?}\n", value))
        .collect();
    hosting.write("mtasts.toml", &file);
    let mut own = Settings::default();
    settings.iter().for_each(|(key, value)| own.set(key, value).unwrap());
    let resolver = Resolver::new(own);
    for (domain, _) in DOMAINS {
        let text = hosting.ask(&["policy", domain]);
        // curl.
        let output = hosting.curl(&["--fail", &format!("https://mta-sts.{domain}{PATH}")]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "{domain}");
        // The resolver that Exim, Haraka, Python and `mtasts serve` ask.
        let answer = resolver.lookup(domain, Duration::from_secs(20)).unwrap();
        let policy = answer.policy().unwrap_or_else(|| panic!("{domain}: {answer:?}"));
        let (read, warnings) = mtasts::Policy::parse(text.as_bytes()).unwrap();
        assert!(*policy == read && warnings.is_empty(), "{domain}");
        // mtasts check, as a user whose environment counts; the program comes as stdin, because it may be in a home.
        let check = Command::new("/proc/self/fd/0")
            .stdin(fs::File::open(env!("CARGO_BIN_EXE_mtasts")).unwrap())
            .args(["check", "--json", domain])
            .uid(USER)
            .gid(USER)
            .env("MTASTS_CONFIG", hosting.path("mtasts.toml"))
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&check.stdout).unwrap_or_else(|error| panic!("{error}: {check:?}"));
        assert_eq!(found["policy"]["mode"], read.mode().name(), "{domain}: {found}");
        let problems = &found["problems"];
        assert!(
            check.status.success() || read.mode() != Mode::Enforce,
            "{domain}: {problems}"
        );
        // postfix-mta-sts-resolver, on aiodns and aiohttp.
        let mut peer = Command::new(&python);
        let peer = peer
            .args(["-c", PEER, hosting.resolver().as_str(), HOST, domain])
            .env("SSL_CERT_FILE", &roots)
            .env_remove("SSL_CERT_DIR")
            .env_remove("https_proxy")
            .env_remove("HTTPS_PROXY")
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&peer.stdout).unwrap_or_else(|error| panic!("{error}: {peer:?}"));
        assert_eq!(found[0], "VALID", "{domain}: {peer:?}");
        let (id, policy) = (&found[1][0], &found[1][1]);
        let records = ids.lock().unwrap().clone();
        assert!(
            records.iter().any(|(_, text)| text.contains(id.as_str().unwrap())),
            "{found}"
        );
        let mx: Vec<&str> = read.mx().map(|pattern| pattern.as_str()).collect();
        assert_eq!(policy["mode"], read.mode().name(), "{found}");
        assert_eq!(policy["max_age"], read.max_age(), "{found}");
        assert!(policy["mx"] == serde_json::json!(mx) || mx.is_empty(), "{found}");
    }
    hosting.stop();
}
