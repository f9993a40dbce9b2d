//! A real authority, pebble, and the name server of its project, in which every name leads to the host.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use mtasts_kit::{repository, until};
use serde_json::{Value, json};

use super::door::{Behind, Door, ask, identity};
use super::hosting::{HOST, Hosting};

const PEBBLE: &str = "127.0.0.1:14000";
const DOOR: &str = "127.0.0.1:14001";
/// The directories of pebble, and of a door before it.
pub(crate) const DIRECTORY: &str = "https://127.0.0.1:14000/dir";
pub(crate) const DOOR_DIRECTORY: &str = "https://127.0.0.1:14001/dir";
/// The name server, at the port that other authorities ask too.
pub(crate) const NAMES: &str = "127.0.0.1:53";
const NAMES_MANAGEMENT: &str = "127.0.0.1:8055";

/// The name server. It ends with the test.
pub(crate) struct Names(Child);

/// Pebble with the name server, and what it has said. It ends with the test.
pub(crate) struct Pebble {
    child: Child,
    names: Names,
    log: PathBuf,
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where both are unpacked.
fn folder() -> PathBuf {
    repository().join("target/mta")
}

fn program(name: &str) -> Command {
    let mut command = Command::new(folder().join("pebble/usr/bin").join(name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Names {
    /// Gets it, which a network without a way out cannot.
    pub(crate) fn fetch() {
        let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
            .arg(folder())
            .args(["pebble", "pebble"])
            .status();
        assert!(fetched.expect("fetch.sh").success());
    }

    pub(crate) fn start() -> Self {
        let child = program("pebble-challtestsrv")
            .args(["-dns01", NAMES, "-management", NAMES_MANAGEMENT])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv4", HOST, "-defaultIPv6", ""])
            .spawn()
            .unwrap();
        until("the name server", || {
            [NAMES, NAMES_MANAGEMENT]
                .iter()
                .all(|at| TcpStream::connect(at).is_ok())
        });
        Self(child)
    }

    /// Has it say something else, by its management interface.
    pub(crate) fn say(&self, path: &str, what: &Value) {
        let body = what.to_string();
        let length = body.len();
        let mut stream = TcpStream::connect(NAMES_MANAGEMENT).unwrap();
        write!(
            stream,
            "POST /{path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    }
}

impl Pebble {
    /// Gets it, and a host in a network of its own.
    pub(crate) fn hosting() -> Hosting {
        Names::fetch();
        Hosting::new(&[])
    }

    /// In the network of this host. Every name leads to it. `sleeps` is how long a look at a name takes, in seconds.
    pub(crate) fn start(hosting: &Hosting, sleeps: u32) -> Self {
        Self::start_with(hosting, sleeps, json!({ "externalAccountBindingRequired": false }))
    }

    /// With settings of its own besides.
    pub(crate) fn start_with(hosting: &Hosting, sleeps: u32, more: Value) -> Self {
        let names = Names::start();
        let [certificate, key] = identity(hosting);
        let path = |name: &str| hosting.path(name).display().to_string();
        let mut settings = json!({
            "listenAddress": PEBBLE, "managementListenAddress": "127.0.0.1:15000",
            "certificate": certificate, "privateKey": key,
            "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
        });
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let settings = json!({ "pebble": settings });
        hosting.write("pebble.json", &settings.to_string());
        let log = hosting.path("pebble.log");
        let mut pebble = program("pebble");
        match sleeps {
            0 => pebble.env("PEBBLE_VA_NOSLEEP", "1"),
            _ => pebble.env("PEBBLE_VA_SLEEPTIME", sleeps.to_string()),
        };
        let child = pebble
            .args(["-config", &path("pebble.json"), "-dnsserver", NAMES])
            .stdout(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        until("pebble", || TcpStream::connect(PEBBLE).is_ok());
        Self { child, names, log }
    }

    /// A door before it.
    pub(crate) fn door(hosting: &Hosting) -> Door {
        Door::start(hosting, DOOR, Behind::Tls(PEBBLE))
    }

    /// How often it has said something.
    pub(crate) fn said(&self, what: &str) -> usize {
        fs::read_to_string(&self.log).unwrap().matches(what).count()
    }

    pub(crate) fn accounts(&self) -> usize {
        self.said("accounts in memory")
    }

    pub(crate) fn orders(&self) -> usize {
        self.said("orders in the db")
    }

    /// Has its name server say something else.
    pub(crate) fn names(&self, path: &str, what: &Value) {
        self.names.say(path, what);
    }

    /// The root of what it issues, which is another one at each start, is trusted from now on.
    pub(crate) fn is_trusted(&self, hosting: &Hosting) {
        let answer = ask(Behind::Tls("127.0.0.1:15000"), b"GET /roots/0 HTTP/1.0\r\n\r\n").unwrap();
        let root = String::from_utf8(answer.body).unwrap();
        assert!(root.starts_with("-----BEGIN CERTIFICATE"), "{root}");
        hosting.write("roots.pem", &(hosting.authority().pem() + &root));
    }
}
