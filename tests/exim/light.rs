//! An Exim without `dlfunc`, Debian's exim4-daemon-light, that asks `mtasts serve` as `examples/exim/light` has it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::host::{self, Config, Fate, Host, Outcome, Tls};
use super::{World, evidence, table};
use mtasts_kit::dns_server::DnsServer;
use mtasts_kit::{mtasts, repository, signal, until};
use mtasts_lab::DNS_ADDRESS;

/// Where the example asks.
const SOCKET: &str = "/run/mtasts/socketmap";

fn example() -> String {
    fs::read_to_string(repository().join("examples/exim/light/exim.conf")).unwrap()
}

/// A host with this Exim, and without the library.
fn host_with(world: &World, exim: &Path, configuration: String) -> Host {
    let host = world.host(Tls::Gnu, &Config::Text(configuration));
    host.uninstall();
    host::run(
        host.command("install")
            .args(["-m", "4755"])
            .arg(exim)
            .arg("/usr/sbin/exim4"),
    );
    host
}

/// The server on the host, with a second socket in the folder of the test. Its first child is in the host's process namespace.
struct Server(Child);

impl Server {
    fn start(host: &Host, folder: &Path) -> Self {
        host::run(host.command("mkdir").args(["-p", "/run/mtasts"]));
        let log = folder.join("serve.log");
        let mut serve = host.command(mtasts());
        serve
            .args(["serve", "--listen", SOCKET, "--listen"])
            .arg(folder.join("real"));
        serve.stdin(Stdio::null());
        let child = serve.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        until("the server", || fs::read_to_string(&log).unwrap().contains("ready"));
        Self(child)
    }

    /// Kills it as the kernel does if there is no memory left.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        for child in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            signal(child.parse().unwrap(), libc::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn every_domain(world: &World, exim: &Path) {
    let host = host_with(world, exim, example());
    let _server = Server::start(&host, world.folder());
    table::every_domain_from(world, &host, Tls::Gnu, &[]);
}

/// An MX host that only Exim sees, with a certificate that is valid for its own name: the attacker has spoofed the answer that
/// Exim got, and not the one that the server got.
pub(crate) fn spoofed(world: &World, exim: &Path) {
    let host = host_with(world, exim, example());
    let settings = host.etc("mtasts/mtasts.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(settings, format!("{text}nameservers = \"{DNS_ADDRESS}\"\n")).unwrap();
    let _server = Server::start(&host, world.folder());
    let liar = DnsServer::spoofs("127.0.0.99", "mx.hub.test");
    let file = host.etc("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.99\n").unwrap();
    host::run(host.command("mount").arg("--bind").arg(&file).arg("/etc/resolv.conf"));
    let outcome = host.send(&["a@good.test", "a@wild.test", "a@hub.test"]);
    for (to, fate) in [
        ("a@good.test", Fate::Deferred),
        ("a@wild.test", Fate::Deferred),
        ("a@hub.test", Fate::Delivered),
    ] {
        let (is, line) = outcome.of(to);
        assert_eq!(is, fate, "{line}");
        evidence("light, spoofed", line);
    }
    assert_eq!(world.lab.mail().len(), 1, "{:?}", world.lab.mail());
    assert!(liar.asked().iter().any(|asked| asked.name == "good.test"));
}

/// Without the server mail waits, whether its domain has a policy or not; with it again, the same mail goes out.
pub(crate) fn without_the_server(world: &World, exim: &Path) {
    let host = host_with(world, exim, example());
    let recipients = ["a@good.test", "a@nopolicy.test"];
    let all = |outcome: &Outcome, fate: Fate| {
        for to in recipients {
            let (is, line) = outcome.of(to);
            assert_eq!(is, fate, "{line}");
            evidence("light", line);
        }
    };
    is_as_the_check_wants_it(&host);
    all(&host.send(&recipients), Fate::Deferred);
    let server = Server::start(&host, world.folder());
    all(&host.run_queue("-qff"), Fate::Delivered);
    server.kill();
    all(&host.send(&recipients), Fate::Deferred);
    assert_eq!(world.lab.mail().len(), 2);
}

/// `mtasts check-mta exim` finds nothing in the example, and what an operator may have changed.
fn is_as_the_check_wants_it(host: &Host) {
    let check = || {
        let checked = host
            .command(mtasts())
            .args(["check-mta", "--json", "exim"])
            .output()
            .unwrap();
        String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap()
    };
    assert_eq!(check().split_whitespace().collect::<String>(), r#"{"problems":[]}"#);
    for (from, to, code) in [
        (
            "  tls_verify_hosts = *\n",
            "  tls_try_verify_hosts = *\n",
            "weak-transport",
        ),
        ("  event_action = MTASTS_ENFORCED_EVENT\n", "", "names-in-cn"),
        ("{exim lookup ", "{lookup ", "no-policy-lookup"),
    ] {
        let changed = example().replace(from, to);
        assert_ne!(changed, example(), "{from}");
        host.configure(&Config::Text(changed));
        let found = check();
        assert!(found.contains(code), "{code}: {found}");
    }
    host.configure(&Config::Text(example()));
}

/// What a server between Exim and the real one does with the answer to a line.
type Spoil = fn(&str, String) -> String;

fn is_certificate(line: &str) -> bool {
    line.starts_with("exim certificate ")
}

/// An answer that is cut, missing or no answer lets mail wait, at each of the two questions.
pub(crate) fn half_answers(world: &World, exim: &Path) {
    let (socket, real) = (world.folder().join("between"), world.folder().join("real"));
    let config = example().replace(SOCKET, socket.to_str().unwrap());
    assert_ne!(config, example());
    let host = host_with(world, exim, config);
    let _server = Server::start(&host, world.folder());
    let spoil: Arc<Mutex<Spoil>> = Arc::new(Mutex::new(|_, answer| answer));
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let now = spoil.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, real, now) = (client.unwrap(), real.clone(), now.clone());
            thread::spawn(move || {
                let mut line = String::new();
                BufReader::new(&client).read_line(&mut line).unwrap();
                let mut server = UnixStream::connect(real).unwrap();
                server.write_all(line.as_bytes()).unwrap();
                let mut answer = String::new();
                server.read_to_string(&mut answer).unwrap();
                let spoil = *now.lock().unwrap();
                let _ = client.write_all(spoil(&line, answer).as_bytes());
            });
        }
    });
    const NONE: &str = "the server gave no answer";
    const REFUSED: &str = "Error in the certificate";
    let spoilt: [(&str, Spoil, &str); 7] = [
        ("no answer", |_, _| String::new(), NONE),
        (
            "half an answer",
            |_, answer| answer[..answer.len() / 2].to_owned(),
            NONE,
        ),
        (
            "an answer without its end",
            |_, answer| answer.trim_end().to_owned(),
            NONE,
        ),
        ("another server's", |_, _| "HTTP/1.1 200 OK\r\n\r\n".to_owned(), NONE),
        (
            "a failure",
            |_, _| "FAIL enforce=no mode=none\n".to_owned(),
            "enforce=no mode=none",
        ),
        (
            "none about the certificate",
            |line, answer| if is_certificate(line) { String::new() } else { answer },
            REFUSED,
        ),
        (
            "half of one about it",
            |line, answer| if is_certificate(line) { "OK ".to_owned() } else { answer },
            REFUSED,
        ),
    ];
    for (what, this, why) in spoilt {
        *spoil.lock().unwrap() = this;
        let outcome = host.send(&["a@good.test"]);
        let (fate, line) = outcome.of("a@good.test");
        assert!(fate == Fate::Deferred && line.contains(why), "{what}: {line}");
        evidence(what, line);
        // The retry time after a TLS failure.
        thread::sleep(Duration::from_millis(1100));
    }
    assert!(world.lab.mail().is_empty());
    *spoil.lock().unwrap() = |_, answer| answer;
    let outcome = host.send(&["b@good.test"]);
    assert_eq!(outcome.of("b@good.test").0, Fate::Delivered, "{}", outcome.log);
}
