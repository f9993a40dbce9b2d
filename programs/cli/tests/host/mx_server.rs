//! An MX host on a real port 25, up to the point where mail would be sent.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use mtasts_kit::pki::Host;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// Runs until the test ends.
pub(crate) struct MxServer {
    /// The certificate; without one there is no STARTTLS.
    certificate: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    connections: Arc<AtomicUsize>,
}

impl MxServer {
    pub(crate) fn start(ip: &str) -> Self {
        let server = Self {
            certificate: Arc::default(),
            connections: Arc::default(),
        };
        let listener = TcpListener::bind((ip, 25)).expect(ip);
        let (certificate, connections) = (Arc::clone(&server.certificate), Arc::clone(&server.connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let config = certificate.lock().unwrap().clone();
                thread::spawn(move || talk(stream, config));
            }
        });
        server
    }

    pub(crate) fn has(&self, host: Option<&Host>) {
        let config = host.map(|host| {
            let key = PrivateKeyDer::from_pem_slice(host.key_pem.as_bytes()).unwrap();
            let chain = vec![CertificateDer::from(host.der.clone())];
            let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            Arc::new(config)
        });
        *self.certificate.lock().unwrap() = config;
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn talk(mut stream: TcpStream, config: Option<Arc<ServerConfig>>) -> Option<()> {
    stream.write_all(b"220 mx ESMTP\r\n").ok()?;
    if !answers(&mut stream, config.is_some()) {
        return None;
    }
    let connection = ServerConnection::new(config?).ok()?;
    answers(&mut StreamOwned::new(connection, stream), false);
    Some(())
}

/// Answers commands. Says whether TLS begins.
fn answers(stream: &mut (impl Read + Write), starttls: bool) -> bool {
    loop {
        let mut line = String::new();
        // Nobody sends more before the answer.
        if !matches!(BufReader::with_capacity(1, &mut *stream).read_line(&mut line), Ok(1..)) {
            return false;
        }
        let (answer, begins): (&[u8], bool) = match line.split_whitespace().next() {
            Some("EHLO") if starttls => (b"250-mx\r\n250 STARTTLS\r\n", false),
            Some("STARTTLS") if starttls => (b"220 go\r\n", true),
            Some("EHLO") => (b"250 mx\r\n", false),
            Some("QUIT") => (b"221 bye\r\n", false),
            _ => (b"500 what?\r\n", false),
        };
        if stream.write_all(answer).and_then(|()| stream.flush()).is_err() || begins {
            return begins;
        }
    }
}
