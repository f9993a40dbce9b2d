//! Policy hosts on real sockets, on port 443 of a network that nobody else has.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::Host;

/// Gives the calling thread, and those that it starts from now on, a network of their own: a loopback interface with
/// these addresses besides its usual ones, all ports free, and no way out.
pub fn isolate(addresses: &[&str]) {
    // SAFETY: no memory is involved; the call concerns the calling thread alone.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(
        result,
        0,
        "a network namespace (root is needed): {}",
        std::io::Error::last_os_error()
    );
    ip(&["link", "set", "lo", "up"]);
    for address in addresses {
        add_address(address);
    }
}

/// Gives the loopback interface of this network one more address.
pub fn add_address(address: &str) {
    if !address.contains(':') {
        return ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
    }
    ip(&["addr", "add", &format!("{address}/128"), "dev", "lo", "nodad"]);
    // The kernel makes the route to an IPv6 address a moment later. It is there when a port is refused.
    let start = Instant::now();
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    while !TcpStream::connect((address, 9)).is_err_and(|error| refused(&error)) {
        assert!(start.elapsed() < Duration::from_secs(60), "no route to {address}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip (apt-get install iproute2)");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub type Stream = StreamOwned<ServerConnection, TcpStream>;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub sni: Option<String>,
    pub head: String,
    pub resumed: bool,
}

/// Runs until the test binary ends.
pub struct PolicyServer {
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<usize>>,
}

impl PolicyServer {
    /// Answers each request on `ip` with what `answer` writes; then TLS is closed as it should be.
    pub fn start(ip: &str, certificate: &Host, answer: impl Fn(&mut Stream) + Send + Sync + 'static) -> Self {
        let config = config(certificate);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&requests);
        let connections = serve(ip, move |socket| {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, socket);
            let Some(head) = read_head(&mut stream) else { return };
            recorded.lock().expect("no panic while recording").push(Request {
                sni: stream.conn.server_name().map(ToOwned::to_owned),
                head,
                resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            });
            answer(&mut stream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        });
        Self { requests, connections }
    }

    /// The same answer, octet by octet, for each request.
    pub fn says(ip: &str, certificate: &Host, answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(ip, certificate, move |stream| {
            let _ = stream.write_all(&answer);
        })
    }

    /// Does with each connection to `ip` what `talk` does; no TLS.
    pub fn raw(ip: &str, talk: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self {
            requests: Arc::default(),
            connections: serve(ip, talk),
        }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic while recording").clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("no panic while counting")
    }
}

fn serve(ip: &str, talk: impl Fn(TcpStream) + Send + Sync + 'static) -> Arc<Mutex<usize>> {
    let listener = TcpListener::bind(address(ip)).unwrap_or_else(|error| panic!("{ip}: {error}"));
    let connections = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&connections);
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            *counted.lock().expect("no panic while counting") += 1;
            let talk = Arc::clone(&talk);
            thread::spawn(move || talk(socket));
        }
    });
    connections
}

fn address(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect(ip), 443)
}

fn config(host: &Host) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(host.key_pem.as_bytes()).expect("a key");
    let chain = vec![CertificateDer::from(host.der.clone())];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    Arc::new(config)
}

fn read_head(stream: &mut Stream) -> Option<String> {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).ok()?;
        head.push(octet[0]);
    }
    String::from_utf8(head).ok()
}

/// A port 443 at which connections are not accepted and not refused either: its queue is full.
pub struct BlackHole {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    pub fn start(ip: &str) -> Self {
        let listener = TcpListener::bind(address(ip)).unwrap_or_else(|error| panic!("{ip}: {error}"));
        // SAFETY: the descriptor is open; listening again only shortens the queue.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut queue = Vec::new();
        while let Ok(socket) = TcpStream::connect_timeout(&address(ip), Duration::from_millis(300)) {
            queue.push(socket);
            assert!(queue.len() < 100, "the queue never fills");
        }
        Self {
            _listener: listener,
            _queue: queue,
        }
    }
}
