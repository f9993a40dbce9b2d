//! The name server and all policy hosts: one thread, certificates made before the start, and a pause before each answer.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

use crate::{DELAY, domain, used};

const POLICY: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 115\r\nConnection: close\r\n\r\n\
                      version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n\
                      mx: backupmx.example.com\r\nmax_age: 604800\r\n";

/// Serves until stdin ends, and then prints how many seconds of the processor that took.
pub(crate) fn serve(dir: &Path, domains: usize) {
    let certificates = Arc::new(Certificates::new(dir, domains));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let socket = runtime.block_on(UdpSocket::bind("127.0.0.1:53")).unwrap();
    // Hundreds of questions come at once, and none is to be lost.
    let octets: libc::c_int = 8 << 20;
    // SAFETY: an open socket, and a pointer to an int with its size.
    let set = unsafe {
        let (value, size) = ((&raw const octets).cast(), size_of_val(&octets) as u32);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value, size)
    };
    assert_eq!(set, 0, "needs root");
    runtime.spawn(dns(socket));
    let listener = runtime.block_on(TcpListener::bind("0.0.0.0:443")).unwrap();
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    runtime.spawn(https(listener, TlsAcceptor::from(Arc::new(config))));
    let (before, _) = used(libc::RUSAGE_SELF);
    print!(".");
    std::io::stdout().flush().unwrap();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        println!("{}", used(libc::RUSAGE_SELF).0 - before);
        std::process::exit(0);
    });
    runtime.block_on(std::future::pending())
}

/// Answers each question: a record for `_mta-sts.`, an address of 127/8 for the policy host.
async fn dns(socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut packet = [0; 512];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        let end = 12 + packet[12..length].iter().position(|octet| *octet == 0).unwrap() + 5;
        let mut answer = packet[..end].to_vec();
        let data: &[u8] = match (packet[end - 3], packet[13]) {
            (16, b'_') => b"\x0dv=STSv1; id=1",
            (1, _) => &[127, 0, 0, packet[end - 15] % 200 + 1],
            _ => &[],
        };
        // An answer, recursion available, no error.
        (answer[2], answer[3]) = (0x81, 0x80);
        answer[6..12].copy_from_slice(&[0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
        if !data.is_empty() {
            let (kind, length) = (packet[end - 3], u8::try_from(data.len()).unwrap());
            answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 14, 16, 0, length]);
            answer.extend(data);
        }
        let socket = socket.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            let _ = socket.send_to(&answer, from).await;
        });
    }
}

async fn https(listener: TcpListener, tls: TlsAcceptor) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, tls.clone()));
        }
    }
}

async fn answer(stream: TcpStream, tls: TlsAcceptor) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = tls.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    tokio::time::sleep(DELAY).await;
    stream.write_all(POLICY.as_bytes()).await?;
    stream.shutdown().await
}

/// A certificate for each policy host, under a root of our own.
#[derive(Debug)]
struct Certificates(HashMap<String, Arc<CertifiedKey>>);

impl Certificates {
    fn new(dir: &Path, domains: usize) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(dir.join("ca.pem"), root.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(root, key);
        let key = KeyPair::generate().unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signer: Arc<dyn SigningKey> = rustls::crypto::ring::sign::any_ecdsa_type(&private).unwrap();
        let one = |number| {
            let host = format!("mta-sts.{}", domain(number));
            let params = CertificateParams::new(vec![host.clone()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            let chain = vec![CertificateDer::from(certificate)];
            (host, Arc::new(CertifiedKey::new(chain, signer.clone())))
        };
        Self((0..domains).map(one).collect())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(hello.server_name()?).cloned()
    }
}
