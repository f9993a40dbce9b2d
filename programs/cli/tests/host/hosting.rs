//! A host of policies that runs, and its clients.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mtasts::Domain;
use mtasts::network::addresses::Rule;
use mtasts::network::dns::StubResolver;
use mtasts::network::https::{FetchError, Https as _, PolicyHost};
use mtasts_kit::dns_server::{Asked, DnsServer, Reply, address};
use mtasts_kit::pki::{self, Authority};
use mtasts_kit::policy_server::isolate;
use mtasts_kit::{USER, signal, until};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tempfile::TempDir;

/// The address of the host. It is public: senders do not ask a private one.
pub(crate) const HOST: &str = "8.8.8.1";
pub(crate) const PATH: &str = "/.well-known/mta-sts.txt";

/// The settings, the certificates and the server.
pub(crate) struct Hosting {
    directory: TempDir,
    authority: Authority,
    dns: DnsServer,
    zone: Zone,
    server: Option<Child>,
}

/// What the name server says besides the addresses of policy hosts: the first that has an answer.
pub(crate) type Zone = Arc<Mutex<Vec<Answer>>>;
pub(crate) type Answer = Box<dyn Fn(&Asked) -> Option<Reply> + Send>;

/// A policy of some life, by which texts are told apart.
pub(crate) fn policy(domain: &str, max_age: u32) -> String {
    format!("[domain.\"{domain}\"]\nmode = \"enforce\"\nmax_age = {max_age}\nmx = [\"mx.{domain}\"]\n")
}

impl Hosting {
    /// A network of its own for this thread, and a host with certificates for these domains that does not run yet.
    pub(crate) fn new(domains: &[&str]) -> Self {
        isolate(&[HOST, "8.8.8.2"]);
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let zone = Zone::default();
        let dns = Self::name_server(&zone);
        let hosting = Self {
            directory,
            authority: pki::root("Test Root"),
            dns,
            zone,
            server: None,
        };
        for name in ["host.d", "certificates", "ledger", "webroot", "run"] {
            fs::create_dir(hosting.path(name)).unwrap();
            chown(hosting.path(name), Some(USER), Some(USER)).unwrap();
        }
        hosting.write("roots.pem", &hosting.authority.pem());
        domains.iter().for_each(|domain| hosting.certify(domain));
        hosting
    }

    /// A name server that says what this zone says.
    pub(crate) fn name_server(zone: &Zone) -> DnsServer {
        let zone = Arc::clone(zone);
        DnsServer::start(move |asked| {
            let answers = zone.lock().unwrap();
            let answer = answers.iter().find_map(|answer| answer(asked));
            answer.unwrap_or_else(|| match asked.name.starts_with("mta-sts.") {
                true => {
                    let record = address(&asked.name, HOST);
                    if record.record_type() == asked.kind {
                        Reply::answers(vec![record])
                    } else {
                        Reply::nodata()
                    }
                }
                false => Reply::nxdomain(),
            })
        })
    }

    /// Has the name server say this too, before all else.
    pub(crate) fn says(&self, answer: impl Fn(&Asked) -> Option<Reply> + Send + 'static) {
        self.zone.lock().unwrap().insert(0, Box::new(answer));
    }

    /// The name server of this network, as the settings have it.
    pub(crate) fn resolver(&self) -> String {
        self.dns.address.to_string()
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn certify(&self, domain: &str) {
        let name = format!("mta-sts.{domain}");
        let certificate = pki::host(&[name.as_str()], &self.authority, |_| {});
        let directory = format!("certificates/{name}");
        fs::create_dir(self.path(&directory)).unwrap();
        let chain = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der));
        self.write(&format!("{directory}/fullchain.pem"), &chain);
        self.write(&format!("{directory}/privkey.pem"), &certificate.key_pem);
    }

    /// The operator's file: the places of this host, these settings, and these domains.
    pub(crate) fn settings(&self, more: &str) {
        let path = |name: &str| self.path(name).display().to_string();
        let text = format!(
            "ledger = \"{}\"\ncertificates = \"{}\"\nwebroot = \"{}\"\nzone = \"sts.example.net\"\naddresses = \
             [\"{HOST}\"]\n{more}",
            path("ledger/ledger.db"),
            path("certificates"),
            path("webroot")
        );
        self.write("host.toml", &text);
    }

    /// Another command of `mtasts host`.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
        let (verb, more) = arguments.split_at(1);
        command.arg("host").args(verb);
        command.arg("--settings").arg(self.path("host.toml")).args(more);
        command
    }

    /// Starts the server, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let log = File::create(self.path("log")).unwrap();
        let child = self.command(&["run"]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        self.server = Some(child);
        until("the server", || {
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.log().contains("ready.")
        });
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.server.as_ref().unwrap().id()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Has the settings read again, and waits until they are in force or refused.
    pub(crate) fn reload(&self, expected: &str) {
        let before = self.log().matches(expected).count();
        signal(self.pid(), libc::SIGHUP);
        until(expected, || self.log().matches(expected).count() > before);
    }

    /// Asks the server to stop, and waits for that.
    pub(crate) fn stop(&mut self) {
        signal(self.pid(), libc::SIGTERM);
        let mut status = None;
        until("its end", || {
            status = self.server.as_mut().unwrap().try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{}", self.log());
        self.server = None;
    }

    /// Kills the server, and waits until it is gone: before that its ports are in use.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// The fetch of a sender that uses this library.
    pub(crate) fn fetch(&self, domain: &str) -> Result<String, FetchError> {
        let roots = Arc::new(pki::roots(&[&self.authority]));
        let dns = Arc::new(StubResolver::with_servers(&[self.dns.address]));
        let host = PolicyHost::new(dns, Arc::new(move || Ok(Arc::clone(&roots))), Rule::default());
        let body = host.get(
            &Domain::parse(domain).unwrap(),
            Instant::now() + Duration::from_secs(10),
        )?;
        Ok(String::from_utf8(body).unwrap())
    }

    /// curl, with the address of the host and the root.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Output {
        let mut command = pki::command("curl", "curl", self.directory.path());
        command.args(["-sS", "--max-time", "10", "--cacert", "roots.pem", "--connect-to"]);
        command.arg(format!("::{HOST}:"));
        command.args(arguments).output().unwrap()
    }

    /// TLS with this name, in a connection that is kept.
    pub(crate) fn connect(&self, name: &str) -> std::io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        let pem = fs::read(self.path("roots.pem"))?;
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        let mut stream = tcp(443);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

impl Drop for Hosting {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection with the host.
pub(crate) fn tcp(port: u16) -> TcpStream {
    let address: SocketAddr = format!("{HOST}:{port}").parse().unwrap();
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// The answer to one request on a connection that is kept: its head and its body.
pub(crate) fn exchange(stream: &mut Tls, host: &str) -> std::io::Result<(String, String)> {
    // As one record: the parts of a formatted text would wait for each other on the way.
    stream.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let (mut text, mut octet) = (String::new(), [0]);
    while !text.ends_with("\r\n\r\n") {
        stream.read_exact(&mut octet)?;
        text.push(octet[0].into());
    }
    let length = text.to_ascii_lowercase();
    let length = length
        .split_once("content-length: ")
        .map_or("0", |(_, rest)| rest.lines().next().unwrap());
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    Ok((text, String::from_utf8(body).unwrap()))
}

/// The mode of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
