//! A real authority, pebble, with its name server; and a door before it that changes what it says.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use mtasts_kit::client::accepting;
use mtasts_kit::{pki, repository, until};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use serde_json::{Value, json};

use super::hosting::{HOST, Hosting};

const PEBBLE: &str = "127.0.0.1:14000";
const DOOR: &str = "127.0.0.1:14001";
const NAMES: &str = "127.0.0.1:8053";

/// Both, and what it has said. They end with the test.
pub(crate) struct Pebble {
    children: [Child; 2],
    log: PathBuf,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Where it is unpacked.
fn folder() -> PathBuf {
    repository().join("target/mta")
}

impl Pebble {
    /// Gets it, which a network without a way out cannot, and a host in such a network.
    pub(crate) fn hosting() -> Hosting {
        let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
            .arg(folder())
            .args(["pebble", "pebble"])
            .status();
        assert!(fetched.expect("fetch.sh").success());
        Hosting::new(&[])
    }

    /// In the network of this host. Every name leads to it. `sleeps` is how long a look at a name takes, in seconds.
    pub(crate) fn start(hosting: &Hosting, sleeps: u32) -> Self {
        Self::start_with(hosting, sleeps, json!({ "externalAccountBindingRequired": false }))
    }

    /// With settings of its own besides.
    pub(crate) fn start_with(hosting: &Hosting, sleeps: u32, more: Value) -> Self {
        let program = |name: &str| folder().join("pebble/usr/bin").join(name);
        let certificate = pki::host(&["127.0.0.1"], hosting.authority(), |_| {});
        hosting.write("pebble.key", &certificate.key_pem);
        let chain = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der));
        hosting.write("pebble.pem", &chain);
        let path = |name: &str| hosting.path(name).display().to_string();
        let mut settings = json!({
            "listenAddress": PEBBLE, "managementListenAddress": "127.0.0.1:15000",
            "certificate": path("pebble.pem"), "privateKey": path("pebble.key"),
            "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
        });
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let settings = json!({ "pebble": settings });
        hosting.write("pebble.json", &settings.to_string());
        let names = Command::new(program("pebble-challtestsrv"))
            .args([
                "-dns01",
                NAMES,
                "-management",
                "127.0.0.1:8055",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ])
            .args(["-defaultIPv4", HOST, "-defaultIPv6", ""])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let log = hosting.path("pebble.log");
        let mut pebble = Command::new(program("pebble"));
        match sleeps {
            0 => pebble.env("PEBBLE_VA_NOSLEEP", "1"),
            _ => pebble.env("PEBBLE_VA_SLEEPTIME", sleeps.to_string()),
        };
        let pebble = pebble
            .args(["-config", &path("pebble.json"), "-dnsserver", NAMES])
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("pebble", || {
            [PEBBLE, NAMES, "127.0.0.1:8055"]
                .iter()
                .all(|at| TcpStream::connect(at).is_ok())
        });
        Self {
            children: [names, pebble],
            log,
        }
    }

    /// The settings for it, or for the door before it.
    pub(crate) fn settings(hosting: &Hosting, is_door: bool, more: &str) -> String {
        let at = if is_door { DOOR } else { PEBBLE };
        let roots = hosting.path("roots.pem");
        format!(
            "resolvers = [\"{NAMES}\"]\n[acme]\ndirectory = \"https://{at}/dir\"\nagree_to_terms = true\nca_file = \
             \"{}\"\n{more}",
            roots.display()
        )
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

    /// Has its name server say something else, by its management interface.
    pub(crate) fn names(&self, path: &str, what: &Value) {
        let mut stream = TcpStream::connect("127.0.0.1:8055").unwrap();
        let body = what.to_string();
        let length = body.len();
        write!(
            stream,
            "POST /{path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    }

    /// The root of what it issues, which is another one at each start, is trusted from now on.
    pub(crate) fn is_trusted(&self, hosting: &Hosting) {
        let answer = ask("127.0.0.1:15000", b"GET /roots/0 HTTP/1.0\r\n\r\n").unwrap();
        let root = String::from_utf8(answer.body).unwrap();
        assert!(root.starts_with("-----BEGIN CERTIFICATE"), "{root}");
        hosting.write("roots.pem", &(hosting.authority().pem() + &root));
    }
}

/// An answer of the authority, which a door can change.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a door does: it gets the path, the body of the request and the answer.
pub(crate) type Change = Box<dyn Fn(&str, &[u8], &mut Answer) + Send>;

/// A server before pebble that ends TLS. What an authority answers is not signed.
pub(crate) struct Door {
    change: Arc<Mutex<Change>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Door {
    pub(crate) fn start(hosting: &Hosting) -> Self {
        let key = PrivateKeyDer::from_pem_file(hosting.path("pebble.key")).unwrap();
        let chain = vec![CertificateDer::from_pem_file(hosting.path("pebble.pem")).unwrap()];
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let door = Self {
            change: Arc::new(Mutex::new(Box::new(|_, _, _| ()))),
            requests: Arc::default(),
        };
        let (change, requests) = (Arc::clone(&door.change), Arc::clone(&door.requests));
        let listener = TcpListener::bind(DOOR).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, change, requests) = (Arc::clone(&config), Arc::clone(&change), Arc::clone(&requests));
                thread::spawn(move || pass(stream, config, &change, &requests));
            }
        });
        door
    }

    pub(crate) fn does(&self, change: impl Fn(&str, &[u8], &mut Answer) + Send + 'static) {
        *self.change.lock().unwrap() = Box::new(change);
    }

    /// The paths that were asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// One request and its answer.
fn pass(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    change: &Mutex<Change>,
    requests: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let (head, body) = message(&mut stream)?;
    let path = head.split(' ').nth(1)?.to_owned();
    requests.lock().unwrap().push(path.clone());
    // In the older version an answer is not in chunks, and ends with the connection.
    let request = [head.replacen("HTTP/1.1", "HTTP/1.0", 1).as_bytes(), &body].concat();
    let mut answer = ask(PEBBLE, &request)?;
    change.lock().unwrap()(&path, &body, &mut answer);
    let is_head = head.starts_with("HEAD ");
    let length = if is_head { 0 } else { answer.body.len() };
    let mut text = format!("HTTP/1.1 {} x\r\nContent-Length: {length}\r\n", answer.status);
    for field in answer
        .fields
        .iter()
        .filter(|field| !field.to_ascii_lowercase().starts_with("content-length:"))
    {
        text += &format!("{field}\r\n");
    }
    stream
        .write_all(&[text.as_bytes(), b"\r\n", &answer.body[..length]].concat())
        .ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

/// The head of a message with its end, and as much of a body as it announces.
fn message(stream: &mut impl std::io::Read) -> Option<(String, Vec<u8>)> {
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).ok()?;
        head.push(octet[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Asks pebble itself.
fn ask(at: &str, request: &[u8]) -> Option<Answer> {
    let connection = ClientConnection::new(accepting(), "pebble.test".try_into().unwrap()).ok()?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(at).ok()?);
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    Some(Answer {
        status: lines.next()?.split(' ').nth(1)?.parse().ok()?,
        fields: lines.map(str::to_owned).collect(),
        body: answer[end + 4..].to_vec(),
    })
}
