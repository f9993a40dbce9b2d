//! Zones below `test` that are signed or not, the server that has them, and one that validates: both are unbound.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mtasts::network::dns::{Dns as _, StubResolver};

use crate::pki::{Directory, command};

/// A server that is ended with the test.
struct Unbound(Child);

impl Drop for Unbound {
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
    _servers: [Unbound; 2],
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

    /// Puts `test` and the root above, and starts both servers.
    pub fn start(mut self) -> Running {
        let below = std::mem::take(&mut self.above);
        self.zone("test", &format!("ns A 127.0.0.1\n{below}"), Some(&["ECDSAP256SHA256"]));
        let below = std::mem::take(&mut self.above);
        self.zone(
            "",
            &format!("ns.test. A 127.0.0.1\n{below}"),
            Some(&["ECDSAP256SHA256"]),
        );
        let zones: String = self
            .zones
            .iter()
            .map(|zone| format!("auth-zone:\n name: \"{zone}.\"\n zonefile: {zone}.zone\n for-upstream: no\n"))
            .collect();
        let (first, authority) = self.unbound(&format!(" module-config: \"iterator\"\n{zones}"));
        // A validator that finds nobody there does not ask again for a while.
        answers(&StubResolver::with_servers(&[authority]));
        let stubs: String = [".", "test"]
            .map(|zone| {
                let (ip, port) = (authority.ip(), authority.port());
                format!("stub-zone:\n name: \"{zone}\"\n stub-addr: {ip}@{port}\n")
            })
            .concat();
        let (second, validator) = self.unbound(&format!(
            " do-not-query-localhost: no\n trust-anchor-file: anchor\n{stubs}"
        ));
        answers(&StubResolver::validating(validator));
        Running {
            authority,
            validator,
            _servers: [first, second],
            _directory: self.directory,
        }
    }

    fn unbound(&self, configuration: &str) -> (Unbound, SocketAddr) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = socket.local_addr().expect("an address");
        drop(socket);
        let file = format!("{}.conf", address.port());
        let text = format!(
            "server:\n chroot: \"\"\n username: \"\"\n do-daemonize: no\n use-syslog: no\n interface: 127.0.0.1\n \
             port: {}\n pidfile: \"\"\n directory: \"{}\"\n local-zone: test nodefault\n{configuration}\
             remote-control:\n control-enable: no\n",
            address.port(),
            self.directory.root().display()
        );
        self.directory.write(&file, text);
        let child = command("unbound", "unbound", self.directory.root())
            .args(["-c", &file])
            .stderr(Stdio::null())
            .spawn()
            .expect("unbound");
        (Unbound(child), address)
    }
}

/// Waits until a server is up.
fn answers(server: &StubResolver) {
    let begun = Instant::now();
    while server
        .addresses("ns.test", Instant::now() + Duration::from_secs(2))
        .is_err()
    {
        assert!(begun.elapsed() < Duration::from_secs(20), "unbound does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}
