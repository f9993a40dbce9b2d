//! An MX host on a real port 25, up to the point where mail would be sent.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use mtasts_kit::pki::Host;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// The fatal alert handshake_failure (RFC 8446 6.2), in a record of its own.
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// What it does about TLS.
#[derive(Clone, Default)]
enum Tls {
    /// STARTTLS is not offered.
    #[default]
    Absent,
    /// It is offered, and refused.
    Refused,
    /// It is offered, and wants what the client does not support.
    Other,
    With(Arc<ServerConfig>),
}

/// Runs until the test ends.
pub(crate) struct MxServer {
    tls: Arc<Mutex<Tls>>,
    connections: Arc<AtomicUsize>,
}

impl MxServer {
    pub(crate) fn start(ip: &str) -> Self {
        let server = Self {
            tls: Arc::default(),
            connections: Arc::default(),
        };
        let listener = TcpListener::bind((ip, 25)).expect(ip);
        let (tls, connections) = (Arc::clone(&server.tls), Arc::clone(&server.connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let tls = tls.lock().unwrap().clone();
                thread::spawn(move || talk(stream, tls));
            }
        });
        server
    }

    /// It has this certificate; without one there is no STARTTLS.
    pub(crate) fn has(&self, host: Option<&Host>) {
        let tls = host.map(|host| {
            let key = PrivateKeyDer::from_pem_slice(host.key_pem.as_bytes()).unwrap();
            let chain = vec![CertificateDer::from(host.der.clone())];
            let config = config().with_single_cert(chain, key).unwrap();
            Tls::With(Arc::new(config))
        });
        *self.tls.lock().unwrap() = tls.unwrap_or_default();
    }

    /// It offers STARTTLS and refuses it.
    pub(crate) fn refuses(&self) {
        *self.tls.lock().unwrap() = Tls::Refused;
    }

    /// No handshake with it succeeds.
    pub(crate) fn has_no_certificate(&self) {
        let config = config().with_cert_resolver(Arc::new(NoCertificate));
        *self.tls.lock().unwrap() = Tls::With(Arc::new(config));
    }

    /// It says that the client has nothing that it supports.
    pub(crate) fn wants_other_tls(&self) {
        *self.tls.lock().unwrap() = Tls::Other;
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn config() -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert> {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn talk(mut stream: TcpStream, tls: Tls) -> Option<()> {
    stream.write_all(b"220 mx ESMTP\r\n").ok()?;
    if !answers(&mut stream, &tls) {
        return None;
    }
    let Tls::With(config) = tls else {
        let _ = stream.read(&mut [0; 4096]).ok()?;
        return stream.write_all(&HANDSHAKE_FAILURE).ok();
    };
    let connection = ServerConnection::new(config).ok()?;
    answers(&mut StreamOwned::new(connection, stream), &Tls::Absent);
    Some(())
}

/// Answers commands. Says whether TLS begins.
fn answers(stream: &mut (impl Read + Write), tls: &Tls) -> bool {
    loop {
        let mut line = String::new();
        // Nobody sends more before the answer.
        if !matches!(BufReader::with_capacity(1, &mut *stream).read_line(&mut line), Ok(1..)) {
            return false;
        }
        let (answer, begins): (&[u8], bool) = match (line.split_whitespace().next(), tls) {
            (Some("EHLO"), Tls::Absent) => (b"250 mx\r\n", false),
            (Some("EHLO"), _) => (b"250-mx\r\n250 STARTTLS\r\n", false),
            (Some("STARTTLS"), Tls::With(_) | Tls::Other) => (b"220 go\r\n", true),
            (Some("STARTTLS"), Tls::Refused) => (b"454 not now\r\n", false),
            (Some("QUIT"), _) => (b"221 bye\r\n", false),
            _ => (b"500 what?\r\n", false),
        };
        if stream.write_all(answer).and_then(|()| stream.flush()).is_err() || begins {
            return begins;
        }
    }
}
