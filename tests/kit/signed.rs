//! Zones below `test` that are signed or not, the server that has them, which is unbound, and one that validates: unbound or
//! BIND.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use mtasts::network::dns::{Dns as _, StubResolver};

use crate::dns_server::DnsServer;
use crate::pki::{Directory, command};

/// A server that is ended with the test.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Zones that are to be served.
pub struct Signed {
    pub directory: Directory,
    /// The DS records and the delegations of the zone above.
    above: String,
    zones: Vec<String>,
}

/// The servers. They end when this is forgotten.
pub struct Running {
    /// It has the zones.
    pub authority: SocketAddr,
    /// It asks that one, and validates.
    pub validator: SocketAddr,
    _servers: [Server; 2],
    _directory: Directory,
}

impl Signed {
    pub fn new(name: &str) -> Self {
        Self {
            directory: Directory::new(name),
            above: String::new(),
            zones: Vec::new(),
        }
    }

    /// Adds a zone with these records. `signing` is the algorithm, and options of ldns-signzone(1).
    pub fn zone(&mut self, name: &str, records: &str, signing: Option<&[&str]>) {
        let origin = if name.is_empty() {
            ".".to_owned()
        } else {
            format!("{name}.")
        };
        let text =
            format!("$ORIGIN {origin}\n$TTL 300\n@ SOA ns.test. h.test. 1 3600 600 86400 60\n@ NS ns.test.\n{records}");
        self.directory.write(&format!("{name}.zone"), text);
        self.zones.push(name.to_owned());
        let _ = writeln!(self.above, "{origin} NS ns.test.");
        let Some([algorithm, options @ ..]) = signing else {
            return;
        };
        let key = |kind: &[&str]| {
            let output = command("ldns-keygen", "ldnsutils", self.directory.root())
                .args(kind)
                .args([
                    "-a",
                    algorithm,
                    "-b",
                    if algorithm.starts_with("RSA") { "2048" } else { "256" },
                    &origin,
                ])
                .output()
                .expect("ldns-keygen");
            String::from_utf8(output.stdout)
                .expect("a name of a file")
                .trim()
                .to_owned()
        };
        let (ksk, zsk) = (key(&["-k"]), key(&[]));
        let file = format!("{name}.zone");
        let signed = command("ldns-signzone", "ldnsutils", self.directory.root())
            .args(options)
            .args(["-f", "signed", &file, &ksk, &zsk])
            .status()
            .expect("ldns-signzone");
        assert!(signed.success(), "{name}");
        fs::rename(self.directory.path("signed"), self.directory.path(&file)).expect("a signed zone");
        self.above += &self.directory.read(&format!("{ksk}.ds"));
        fs::copy(
            self.directory.path(&format!("{ksk}.key")),
            self.directory.path("anchor"),
        )
        .expect("an anchor");
    }

    /// Puts `test` and the root above. After the last zone.
    pub fn put_above(&mut self) {
        let below = std::mem::take(&mut self.above);
        self.zone("test", &format!("ns A 127.0.0.1\n{below}"), Some(&["ECDSAP256SHA256"]));
        let below = std::mem::take(&mut self.above);
        self.zone(
            "",
            &format!("ns.test. A 127.0.0.1\n{below}"),
            Some(&["ECDSAP256SHA256"]),
        );
    }

    /// Puts `test` and the root above, and starts both servers.
    pub fn start(mut self) -> Running {
        self.put_above();
        let (first, authority) = self.authority();
        let (second, validator) = self.unbound(authority, "");
        answers(&StubResolver::validating(validator));
        Running {
            authority,
            validator,
            _servers: [first, second],
            _directory: self.directory,
        }
    }

    /// The server that has the zones.
    pub fn authority(&self) -> (Server, SocketAddr) {
        let zones: String = self
            .zones
            .iter()
            .map(|zone| format!("auth-zone:\n name: \"{zone}.\"\n zonefile: {zone}.zone\n for-upstream: no\n"))
            .collect();
        let (server, authority) = self.start_unbound(&format!(" module-config: \"iterator\"\n{zones}"));
        // A validator that finds nobody there does not ask again for a while.
        answers(&StubResolver::with_servers(&[authority]));
        (server, authority)
    }

    /// unbound as a validator that asks that server, with an option of unbound.conf(5).
    pub fn unbound(&self, authority: SocketAddr, option: &str) -> (Server, SocketAddr) {
        let stubs: String = [".", "test"]
            .map(|zone| {
                let (ip, port) = (authority.ip(), authority.port());
                format!("stub-zone:\n name: \"{zone}\"\n stub-addr: {ip}@{port}\n")
            })
            .concat();
        self.start_unbound(&format!(
            " do-not-query-localhost: no\n {option}\n trust-anchor-file: anchor\n{stubs}"
        ))
    }

    /// BIND as a validator that asks that server. Its packages are unpacked below target/, and nothing is
    /// installed.
    pub fn bind(&self, authority: SocketAddr) -> (Server, SocketAddr) {
        let folder = crate::repository().join("target/mta");
        let fetched = Command::new(crate::repository().join("tests/mta/fetch.sh"))
            .arg(&folder)
            .args(["bind9", "bind9"])
            .status()
            .expect("fetch.sh");
        assert!(fetched.success());
        let tree = folder.join("bind9");
        let anchor = self.directory.read("anchor");
        let key = anchor
            .split("DNSKEY")
            .nth(1)
            .expect("a key")
            .split(';')
            .next()
            .expect("a key");
        let words: Vec<&str> = key.split_whitespace().collect();
        let [flags, protocol, algorithm, octets @ ..] = &words[..] else {
            panic!("{anchor}")
        };
        let (at, root, octets) = (authority.port(), self.directory.root().display(), octets.concat());
        self.server(("running", "address in use"), |port, file| {
            let text = format!(
                "options {{\n directory \"{root}\";\n listen-on port {port} {{ 127.0.0.1; }};\n listen-on-v6 {{ none; \
                 }};\n pid-file none;\n session-keyfile none;\n recursion yes;\n dnssec-validation yes;\n forward \
                 only;\n forwarders {{ 127.0.0.1 port {at}; }};\n empty-zones-enable no;\n}};\ncontrols {{ \
                 }};\ntrust-anchors {{ \".\" static-key {flags} {protocol} {algorithm} \"{octets}\"; }};\n"
            );
            self.directory.write(file, text);
            let mut named = Command::new(tree.join("usr/sbin/named"));
            // Nothing to say where this machine has the libraries itself.
            if let Some(libraries) = find_folder(&tree.join("usr/lib"), "libisc") {
                named.env("LD_LIBRARY_PATH", libraries);
            }
            named.args(["-g", "-c", file]).current_dir(self.directory.root());
            named
        })
    }

    fn start_unbound(&self, configuration: &str) -> (Server, SocketAddr) {
        self.server(("start of service", "could not open ports"), |port, file| {
            let text = format!(
                "server:\n chroot: \"\"\n username: \"\"\n do-daemonize: no\n use-syslog: no\n interface: \
                 127.0.0.1\n port: {port}\n pidfile: \"\"\n directory: \"{}\"\n local-zone: test \
                 nodefault\n{configuration}remote-control:\n control-enable: no\n",
                self.directory.root().display()
            );
            self.directory.write(file, text);
            let mut unbound = command("unbound", "unbound", self.directory.root());
            unbound.args(["-c", file]);
            unbound
        })
    }

    /// Starts what is given a port and the name of its file of settings, and waits until its log says that it is up. Where it
    /// says instead that somebody else has taken the port meanwhile, another port is next.
    fn server(&self, (up, taken): (&str, &str), program: impl Fn(u16, &str) -> Command) -> (Server, SocketAddr) {
        for _ in 0..5 {
            let address = DnsServer::closed();
            let file = format!("{}.conf", address.port());
            let log = self.directory.write(&format!("{file}.log"), "");
            let output = fs::File::create(&log).expect("a log");
            let child = program(address.port(), &file).stderr(output).spawn().expect("a server");
            let (server, begun) = (Server(child), Instant::now());
            loop {
                let said = fs::read_to_string(&log).expect("its log");
                if said.contains(taken) {
                    break;
                }
                if said.contains(up) {
                    return (server, address);
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "it does not start: {said}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("each port was taken");
    }
}

/// The folder at or directly below this one that has a file whose name begins so.
fn find_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    let has = |folder: &PathBuf| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|file| file.file_name().to_string_lossy().starts_with(name))
    };
    let below = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path());
    let mut all = [folder.to_owned()]
        .into_iter()
        .chain(below.filter(|path| path.is_dir()));
    all.find(has)
}

/// Waits until a server answers. A validator whose questions for the keys of the root were lost on a busy machine asks again
/// after a minute.
pub fn answers(server: &StubResolver) {
    let begun = Instant::now();
    while server
        .addresses("ns.test", Instant::now() + Duration::from_secs(2))
        .is_err()
    {
        assert!(begun.elapsed() < Duration::from_secs(100), "the server does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}
