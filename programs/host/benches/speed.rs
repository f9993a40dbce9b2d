//! How much a host of policies can do, beside Caddy from apt in the same run: fetches on connections that are kept, full handshakes,
//! memory, and how long it takes to start. Prints a table of benches/RESULTS.md.
//!
//! The machine may be busy, and clients and server share it: what is counted is what the server does in a second of its processor time.
//! Root, and the command: `cargo build --release --package mtasts-cli`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mtasts_kit::pki::{self, Authority};
use mtasts_kit::process::status;
use mtasts_kit::{USER, repository, signal, until};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;
use tempfile::TempDir;

const DOMAINS: usize = 10_000;
const CLIENTS: usize = 4;
const TIME: Duration = Duration::from_secs(5);
const PATH: &str = "/.well-known/mta-sts.txt";

/// A server, which ends with the run.
struct Server {
    child: Child,
    port: u16,
    /// How many names it has certificates for.
    names: usize,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// The processor time that it has used, in seconds.
    fn processor(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("/proc");
        let fields: Vec<&str> = text.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks: f64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<f64>().expect("ticks"))
            .sum();
        // USER_HZ of Linux.
        ticks / 100.0
    }

    fn memory(&self) -> String {
        status(self.pid(), "VmRSS").expect("/proc")
    }

    fn connect(&self, config: &Arc<ClientConfig>, n: usize) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(name(n % self.names)).expect("a name");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let mut connection = ClientConnection::new(Arc::clone(config), name).expect("TLS");
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).expect("a handshake");
        }
        StreamOwned::new(connection, stream)
    }

    /// How often all clients together do something, in a second and in one of the server's processor time.
    fn rate(&self, client: impl Fn(usize, &AtomicBool, &AtomicUsize) + Sync) -> (f64, f64) {
        let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (begun, before) = (Instant::now(), self.processor());
        thread::scope(|scope| {
            for n in 0..CLIENTS {
                let (stop, count, client) = (&stop, &count, &client);
                scope.spawn(move || client(n, stop, count));
            }
            thread::sleep(TIME);
            stop.store(true, Ordering::Relaxed);
        });
        let (count, used) = (count.into_inner() as f64, self.processor() - before);
        (count / begun.elapsed().as_secs_f64(), count / used)
    }

    fn fetches(&self, config: &Arc<ClientConfig>) -> (f64, f64) {
        self.rate(|client, stop, count| {
            let host = name(client % self.names);
            let request = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let mut stream = self.connect(config, client);
            let mut answer = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(request.as_bytes()).expect("a request");
                let (mut length, mut whole) = (0, usize::MAX);
                while length < whole {
                    let read = stream.read(&mut answer[length..]).expect("an answer");
                    assert!(read > 0, "it is cut off");
                    length += read;
                    let text = String::from_utf8_lossy(&answer[..length]).to_ascii_lowercase();
                    if let Some((head, _)) = text.split_once("\r\n\r\n") {
                        let (_, body) = head.split_once("content-length: ").expect("a length");
                        let body: usize = body.lines().next().expect("a line").parse().expect("a length");
                        whole = head.len() + 4 + body;
                    }
                }
                assert!(answer.starts_with(b"HTTP/1.1 200"), "another answer");
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    fn handshakes(&self, config: &Arc<ClientConfig>) -> (f64, f64) {
        self.rate(|client, stop, count| {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                self.connect(config, n * CLIENTS + client);
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    }
}

fn name(n: usize) -> String {
    format!("mta-sts.d{n}.example")
}

/// Makes a certificate for each name.
fn certify(directory: &Path, authority: &Authority) {
    for n in 0..DOMAINS {
        let name = name(n);
        let certificate = pki::host(&[name.as_str()], authority, |_| {});
        let place = directory.join(&name);
        fs::create_dir(&place).expect("a directory");
        let chain = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der));
        fs::write(place.join("fullchain.pem"), chain).expect("a file");
        fs::write(place.join("privkey.pem"), certificate.key_pem).expect("a file");
    }
}

/// `mtasts host run`, and how long it took to be ready.
fn ours(place: &Path) -> (Server, Duration) {
    let log = place.join("log");
    let program = std::env::var_os("MTASTS").map_or_else(|| repository().join("target/release/mtasts"), PathBuf::from);
    let begun = Instant::now();
    let child = Command::new(program)
        .args(["host", "run", "--settings"])
        .arg(place.join("host.toml"))
        .stdin(Stdio::null())
        .stderr(File::create(&log).expect("a log"))
        .spawn()
        .expect("mtasts");
    let is_ready = || fs::read_to_string(&log).is_ok_and(|text| text.contains("ready."));
    while !is_ready() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not start");
        thread::sleep(Duration::from_millis(2));
    }
    let server = Server {
        child,
        port: 18_443,
        names: DOMAINS,
    };
    (server, begun.elapsed())
}

/// Caddy with one of the names, on one processor.
fn caddy(place: &Path) -> Server {
    let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
        .arg(repository().join("target/mta"))
        .args(["caddy", "caddy"])
        .status();
    assert!(fetched.expect("fetch.sh").success());
    let root = place.join("www/.well-known");
    fs::create_dir_all(&root).expect("a directory");
    let text = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.net\r\nmax_age: 604800\r\n";
    fs::write(root.join("mta-sts.txt"), text).expect("a file");
    let certificate = place.join("certificates").join(name(0));
    let settings = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\nhttps://{}:18444 {{\n\ttls {}/fullchain.pem {}/privkey.pem\n\troot * {}\n\tfile_server\n}}\n",
        name(0),
        certificate.display(),
        certificate.display(),
        place.join("www").display()
    );
    fs::write(place.join("Caddyfile"), settings).expect("a file");
    let child = Command::new(repository().join("target/mta/caddy/usr/bin/caddy"))
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(place.join("Caddyfile"))
        .env("GOMAXPROCS", "1")
        .env("HOME", place)
        .stdin(Stdio::null())
        .stderr(File::create(place.join("caddy.log")).expect("a log"))
        .spawn()
        .expect("caddy");
    let server = Server {
        child,
        port: 18_444,
        names: 1,
    };
    until("caddy", || TcpStream::connect(("127.0.0.1", 18_444)).is_ok());
    server
}

fn main() {
    let directory = TempDir::new().expect("a directory");
    let place = directory.path();
    fs::set_permissions(place, PermissionsExt::from_mode(0o755)).expect("a mode");
    let authority = pki::root("Test Root");
    for name in ["certificates", "ledger"] {
        fs::create_dir(place.join(name)).expect("a directory");
    }
    chown(place.join("ledger"), Some(USER), Some(USER)).expect("an owner");
    certify(&place.join("certificates"), &authority);
    let domains = (0..DOMAINS).map(|n| format!("[domain.\"d{n}.example\"]\ngroup = \"mail\"\n"));
    let settings = format!(
        "ledger = \"{}\"\ncertificates = \"{}\"\nhttps = [\"127.0.0.1:18443\"]\n[group.mail]\nmode = \"enforce\"\nmax_age = 604800\nmx = \
         [\"mx.example.net\"]\n{}",
        place.join("ledger/ledger.db").display(),
        place.join("certificates").display(),
        domains.collect::<String>()
    );
    fs::write(place.join("host.toml"), settings).expect("a file");
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Each handshake is a full one.
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);

    // The first start makes the ledger.
    let (first, making) = ours(place);
    signal(first.pid(), libc::SIGTERM);
    drop(first);
    let (server, start) = ours(place);
    let (idle, other) = (server.memory(), caddy(place));
    println!("| case | mtasts host | Caddy | target |");
    println!("| --- | --- | --- | --- |");
    for (case, target, measure) in [
        (
            "fetches on kept connections",
            "20,000",
            Server::fetches as fn(&Server, &Arc<ClientConfig>) -> (f64, f64),
        ),
        ("full handshakes", "1,500", Server::handshakes),
    ] {
        let (ours, theirs) = (measure(&server, &config), measure(&other, &config));
        println!(
            "| {case} in a second of processor time | {:.0} | {:.0} | {target} |",
            ours.1, theirs.1
        );
        println!(
            "| {case} per second, with the clients beside it | {:.0} | {:.0} | |",
            ours.0, theirs.0
        );
    }
    for n in 0..DOMAINS {
        server.connect(&config, n);
    }
    println!("| memory with {DOMAINS} domains, before a certificate was used | {idle} | | |");
    println!(
        "| memory with {DOMAINS} domains, after a handshake with each | {} | | < 60 MB |",
        server.memory()
    );
    println!("| memory with one domain | | {} | |", other.memory());
    println!(
        "| start with {DOMAINS} domains, s | {:.2} | | < 1 |",
        start.as_secs_f64()
    );
    println!(
        "| the very first start, which fills the ledger, s | {:.2} | | |",
        making.as_secs_f64()
    );
}
