//! The least that fetches a policy: two questions over UDP, TLS by rustls, and a request by hand. No timeouts, no second
//! name server, no cache, and nothing is checked but the certificate.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mtasts::Domain;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) fn fetch(dir: &Path, domains: &[Domain], threads: usize) {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            let work = || {
                while let Some(domain) = domains.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(domain, config.clone());
                }
            };
            thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn_scoped(scope, work)
                .unwrap();
        }
    });
}

fn one(domain: &Domain, config: Arc<ClientConfig>) {
    let txt = question(&format!("_mta-sts.{domain}"), 16);
    assert!(txt.windows(8).any(|window| window == b"v=STSv1;"));
    let host = format!("mta-sts.{domain}");
    let address = question(&host, 1);
    let address: [u8; 4] = address[address.len() - 4..].try_into().unwrap();
    let tcp = TcpStream::connect((Ipv4Addr::from(address), 443)).unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(host.clone()).unwrap();
    let mut tls = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp);
    let request = format!("GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.windows(13).any(|window| window == b"mode: enforce"));
}

/// Asks for records of one type; the answer as it came.
fn question(name: &str, kind: u8) -> Vec<u8> {
    let mut packet = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, kind, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:53").unwrap();
    socket.send(&packet).unwrap();
    let mut answer = vec![0; 512];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}
