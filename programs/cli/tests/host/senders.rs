//! What senders get, and what changes and restarts do to it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::protocol::policy::Policy;
use mtasts_kit::dns_server::{Reply, txt};
use mtasts_kit::process::uid;
use mtasts_kit::{USER, repository, until};

use super::hosting::{HOST, Hosting, PATH, exchange, mode, policy};

const HTTPS: &str = "https = [\"8.8.8.1:443\"]\n";

#[test]
fn senders_fetch_what_the_records_announce() {
    let mut hosting = Hosting::new(&["example.com", "example.org"]);
    hosting.settings(&format!(
        "{HTTPS}{}{}",
        policy("example.com", 86_400),
        policy("example.org", 604_800)
    ));
    hosting.start();
    // Root has opened the sockets, and is gone.
    assert_eq!(uid(hosting.pid()), Some(USER));
    assert_eq!(mode(&hosting.path("ledger/ledger.db")), 0o600);

    for (domain, max_age) in [("example.com", 86_400), ("example.org", 604_800)] {
        let text = hosting.fetch(domain).unwrap();
        let (policy, warnings) = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!((policy.max_age(), warnings.len()), (max_age, 0));
        assert_eq!(text, hosting.ask(&["policy", domain]));
        // The record has the hash of what was fetched.
        let id = mtasts_host::published::Published::of_text(&text)
            .unwrap()
            .id()
            .to_owned();
        let records = hosting.ask(&["records", domain, "--direct"]);
        assert!(records.contains(&format!("\"v=STSv1; id={id};\"")), "{records}");
        let delegation = hosting.ask(&["records", domain]);
        let (_, target) = delegation.lines().next().unwrap().rsplit_once(' ').unwrap();
        let zone = hosting.ask(&["zone"]);
        assert!(zone.contains(&format!("{target} 300 IN A {HOST}\n")), "{zone}");
        assert!(
            zone.contains(&format!("_mta-sts.{target} 300 IN TXT \"v=STSv1; id={id};\"\n")),
            "{zone}"
        );
    }

    let url = format!("https://mta-sts.example.com{PATH}");
    let text = hosting.ask(&["policy", "example.com"]);
    for version in ["--http1.1", "--http2"] {
        for tls in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            let output = hosting.curl(&[&["-D", "head", version], tls, &[url.as_str()]].concat());
            assert_eq!(
                String::from_utf8(output.stdout).unwrap(),
                text,
                "{version} {tls:?}: {:?}",
                output.stderr
            );
            let head = fs::read_to_string(hosting.path("head")).unwrap().to_ascii_lowercase();
            let status = if version == "--http2" {
                "http/2 200"
            } else {
                "http/1.1 200 ok"
            };
            assert!(head.starts_with(status), "{head}");
            assert!(head.contains("content-type: text/plain; charset=utf-8\r\n"), "{head}");
            assert!(head.contains("cache-control: max-age=60\r\n"), "{head}");
            assert!(!head.contains("server:") && !head.contains("location:"), "{head}");
        }
        let output = hosting.curl(&["-I", version, &url]);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(&format!("ontent-length: {}", text.len())),
            "{output:?}"
        );
    }
    hosting.stop();
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let mut hosting = Hosting::new(&["example.com", "anna.example"]);
    let resolvers = format!("resolvers = [\"{}\"]\n", hosting.resolver());
    let main = format!("{HTTPS}{resolvers}{}", policy("example.com", 86_400));
    hosting.settings(&main);
    hosting.write("host.d/anna.toml", &policy("anna.example", 86_400));
    let direct = hosting.ask(&["add", "anna.example", "--direct"]);
    let text = direct
        .split("\"mtasts-host=")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let text = format!("mtasts-host={text}");
    hosting.says(move |asked| {
        let is_asked = (asked.name.as_str(), asked.kind) == ("mta-sts.anna.example", RecordType::TXT);
        is_asked.then(|| Reply::answers(vec![txt(&asked.name, 60, &[text.as_bytes()])]))
    });
    hosting.start();
    until("the proof", || hosting.fetch("anna.example").is_ok());
    let max_age = |domain: &str| {
        let text = hosting.fetch(domain).unwrap();
        Policy::parse(text.as_bytes()).unwrap().0.max_age()
    };
    assert_eq!((max_age("example.com"), max_age("anna.example")), (86_400, 86_400));

    hosting.settings(&main.replace("86400", "86400\nmx_host = 1"));
    hosting.reload("Nothing is changed");
    assert!(
        hosting
            .log()
            .contains("line 11: domain.\"example.com\".mx_host: unknown key"),
        "{}",
        hosting.log()
    );
    assert_eq!(max_age("example.com"), 86_400);

    // A tenant's file that is wrong stops no other; nor does one that names the operator's domain, or another's.
    hosting.settings(&main.replace("86400", "86401"));
    hosting.write("host.d/anna.toml", "domain = 1");
    let strange = ["anna.example", "example.com"].map(|domain| policy(domain, 99_999));
    hosting.write("host.d/bert.toml", &strange.concat());
    hosting.write("host.d/carl.toml", &strange[0]);
    hosting.reload("settings reloaded");
    assert!(
        hosting.log().contains("anna.toml: line 1: domain: must be a table"),
        "{}",
        hosting.log()
    );
    assert!(
        hosting
            .log()
            .contains("bert.toml: line 5: domain.\"example.com\": the domain is the operator's"),
        "{}",
        hosting.log()
    );
    assert_eq!((max_age("example.com"), max_age("anna.example")), (86_401, 86_400));
    fs::remove_file(hosting.path("host.d/carl.toml")).unwrap();
    hosting.reload("settings reloaded");
    let before = hosting.ask(&["zone"]);

    // Also after a new start, and if the domain is in no file at all.
    hosting.stop();
    hosting.start();
    let text = hosting.fetch("anna.example").unwrap();
    assert!(text.contains("max_age: 86400"), "{text}");
    for name in ["anna", "bert"] {
        fs::remove_file(hosting.path(&format!("host.d/{name}.toml"))).unwrap();
    }
    hosting.reload("anna.example is in no file any more");
    assert_eq!(hosting.fetch("anna.example").unwrap(), text);
    assert_eq!(hosting.ask(&["zone"]), before);

    // By force it is forgotten at once.
    hosting.ask(&["remove", "anna.example", "--force"]);
    hosting.reload("settings reloaded. 1 policies");
    assert!(hosting.fetch("anna.example").is_err());
    hosting.stop();
}

/// While policies change and connections are kept, no fetch fails, and none sees a text that is neither the last one nor the
/// one before.
#[test]
fn no_fetch_fails_while_the_settings_change() {
    let mut hosting = Hosting::new(&["example.com"]);
    let set = |hosting: &Hosting, max_age| hosting.settings(&format!("{HTTPS}{}", policy("example.com", max_age)));
    set(&hosting, 86_400);
    hosting.start();
    let (stop, fetched) = (AtomicBool::new(false), AtomicUsize::new(0));
    let newest = AtomicUsize::new(86_400);
    thread::scope(|scope| {
        let hosting = &hosting;
        for is_kept in [true, true, false] {
            let (stop, fetched, newest) = (&stop, &fetched, &newest);
            scope.spawn(move || {
                let mut stream = hosting.connect("mta-sts.example.com").unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if !is_kept {
                        stream = hosting.connect("mta-sts.example.com").unwrap();
                    }
                    let before = newest.load(Ordering::SeqCst);
                    let (_, body) = exchange(&mut stream, "mta-sts.example.com").unwrap();
                    let after = newest.load(Ordering::SeqCst);
                    let (read, _) = Policy::parse(body.as_bytes()).unwrap();
                    let read = read.max_age() as usize;
                    assert!((before - 1..=after).contains(&read), "{before} {read} {after}");
                    fetched.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for max_age in 86_401..86_421 {
            set(hosting, max_age);
            newest.store(max_age as usize, Ordering::SeqCst);
            hosting.reload("settings reloaded");
            thread::sleep(Duration::from_millis(20));
        }
        let end = Instant::now() + Duration::from_secs(120);
        while fetched.load(Ordering::Relaxed) <= 200 && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let fetched = fetched.into_inner();
    assert!(fetched > 200, "{fetched} fetches");
    hosting.stop();
}

#[test]
fn behind_nginx() {
    let mut hosting = Hosting::new(&["example.com"]);
    let socket = hosting.path("run/socket");
    hosting.settings(&format!(
        "proxy = [\"{}\"]\n{}",
        socket.display(),
        policy("example.com", 86_400)
    ));
    hosting.start();
    let at = |name: &str| hosting.path(name).display().to_string();
    let certificates = at("certificates/mta-sts.example.com");
    let example = fs::read_to_string(repository().join("examples/host/nginx.conf")).unwrap();
    // The example of the documentation, with the places of this test.
    let site = example
        .replace("/run/mtasts-host/proxy", &socket.display().to_string())
        .replace("/etc/letsencrypt/live/mta-sts.example.com", &certificates);
    assert!(site.contains(&certificates) && site.contains("/run/socket"), "{site}");
    hosting.write(
        "nginx.conf",
        &format!(
            "user root;\ndaemon off;\npid {0}/nginx.pid;\nerror_log {0}/nginx.log;\nevents {{}}\nhttp {{\naccess_log off;\n{site}}}\n",
            at("")
        ),
    );
    let nginx = Command::new("/usr/sbin/nginx")
        .arg("-c")
        .arg(hosting.path("nginx.conf"))
        .spawn()
        .expect("nginx-light");
    serves_the_policy_alone(hosting, nginx);
}

/// What this proxy before the host serves.
fn serves_the_policy_alone(mut hosting: Hosting, mut proxy: Child) {
    until("the proxy", || std::net::TcpStream::connect((HOST, 443)).is_ok());
    let text = hosting.fetch("example.com");
    let other = hosting.curl(&[
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "https://mta-sts.example.com/other",
    ]);
    let strange = hosting.connect("mta-sts.example.net");
    // SIGTERM: nginx ends its worker too.
    mtasts_kit::signal(i32::try_from(proxy.id()).unwrap(), libc::SIGTERM);
    proxy.wait().unwrap();
    assert_eq!(
        text.unwrap_or_else(|error| panic!("{error}")),
        hosting.ask(&["policy", "example.com"])
    );
    assert_eq!(other.stdout, b"404");
    assert!(strange.is_err());
    hosting.stop();
}

#[test]
fn behind_caddy() {
    let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
        .arg(repository().join("target/mta"))
        .args(["caddy", "caddy"])
        .status();
    assert!(fetched.unwrap().success());
    let mut hosting = Hosting::new(&["example.com"]);
    let socket = hosting.path("run/socket");
    hosting.settings(&format!(
        "proxy = [\"{}\"]\n{}",
        socket.display(),
        policy("example.com", 86_400)
    ));
    hosting.start();
    // The example of the documentation, with the places of this test, and with a certificate: there is no authority here.
    let example = fs::read_to_string(repository().join("examples/host/Caddyfile")).unwrap();
    let place = hosting.path("certificates/mta-sts.example.com").display().to_string();
    let backend = "reverse_proxy unix//run/mtasts-host/proxy";
    assert!(example.contains(backend), "{example}");
    let own = format!(
        "tls {place}/fullchain.pem {place}/privkey.pem\n\treverse_proxy unix/{}",
        socket.display()
    );
    hosting.write(
        "Caddyfile",
        &format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\n{}",
            example.replace(backend, &own)
        ),
    );
    let caddy = Command::new(repository().join("target/mta/caddy/usr/bin/caddy"))
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(hosting.path("Caddyfile"))
        .env("HOME", hosting.path("run"))
        .stdin(Stdio::null())
        .stderr(fs::File::create(hosting.path("caddy.log")).unwrap())
        .spawn()
        .unwrap();
    serves_the_policy_alone(hosting, caddy);
}

#[test]
fn what_is_missing_is_said_before_anything_is_opened() {
    let hosting = Hosting::new(&[]);
    for (settings, expected) in [
        ("", "there is nowhere to listen"),
        ("x = 1", "host.toml: line 6: x: unknown key"),
        ("proxy = [\"/nowhere/socket\"]", "cannot listen at /nowhere/socket"),
    ] {
        hosting.settings(settings);
        let output = hosting.command(&["run"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && error.contains(expected),
            "{settings}: {error}"
        );
    }
    hosting.write("host.toml", "ledger = \"/x/ledger.db\"\nhttps = [\"8.8.8.1:443\"]\n");
    let output = hosting.command(&["run"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("the directory of the ledger, /x: No such file"),
        "{output:?}"
    );
    hosting.write("host.toml", "ledger = \"/ledger.db\"\nhttps = [\"8.8.8.1:443\"]\n");
    let output = hosting.command(&["run"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("belongs to root. Create it"),
        "{output:?}"
    );
}
