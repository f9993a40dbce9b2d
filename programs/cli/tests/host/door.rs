//! A server before an authority that ends TLS and changes what it says. What an authority answers is not signed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use mtasts_kit::client::accepting;
use mtasts_kit::pki;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;

use super::hosting::Hosting;

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

/// How the authority behind it is reached.
#[derive(Clone, Copy)]
pub(crate) enum Behind {
    Tls(&'static str),
    Plain(&'static str),
}

/// Such a server.
pub(crate) struct Door {
    change: Arc<Mutex<Change>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// What was asked.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    body: Vec<u8>,
}

impl Request {
    /// What is signed in it (RFC 8555 6.2).
    pub(crate) fn payload(&self) -> Option<Value> {
        payload(&self.body)
    }
}

/// What is in the payload of a request.
pub(crate) fn payload(body: &[u8]) -> Option<Value> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(request["payload"].as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// The files of the certificate of an authority on this host, which has no other one.
pub(crate) fn identity(hosting: &Hosting) -> [String; 2] {
    let [chain, key] = ["authority.pem", "authority.key"];
    if !hosting.path(key).exists() {
        let certificate = pki::host(&["127.0.0.1"], hosting.authority(), |_| {});
        hosting.write(chain, &pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der)));
        hosting.write(key, &certificate.key_pem);
    }
    [chain, key].map(|name| hosting.path(name).display().to_string())
}

impl Door {
    /// One at this address, before that authority.
    pub(crate) fn start(hosting: &Hosting, at: &str, behind: Behind) -> Self {
        let [chain, key] = identity(hosting);
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let chain = vec![CertificateDer::from_pem_file(chain).unwrap()];
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
        let listener = TcpListener::bind(at).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, change, requests) = (Arc::clone(&config), Arc::clone(&change), Arc::clone(&requests));
                thread::spawn(move || pass(stream, config, behind, &change, &requests));
            }
        });
        door
    }

    pub(crate) fn does(&self, change: impl Fn(&str, &[u8], &mut Answer) + Send + 'static) {
        *self.change.lock().unwrap() = Box::new(change);
    }

    /// What was asked until now.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests were for paths that begin so.
    pub(crate) fn count(&self, path: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| request.path.starts_with(path)).count()
    }
}

/// One request and its answer.
fn pass(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    behind: Behind,
    change: &Mutex<Change>,
    requests: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let (head, body) = message(&mut stream)?;
    let path = head.split(' ').nth(1)?.to_owned();
    requests.lock().unwrap().push(Request {
        path: path.clone(),
        body: body.clone(),
    });
    // In the older version an answer is not in chunks, and ends with the connection.
    let head = head.replacen("HTTP/1.1\r\n", "HTTP/1.0\r\nX-Forwarded-Proto: https\r\n", 1);
    let mut answer = ask(behind, &[head.as_bytes(), &body].concat())?;
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
fn message(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
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

/// Asks the authority itself.
pub(crate) fn ask(behind: Behind, request: &[u8]) -> Option<Answer> {
    let answer = match behind {
        Behind::Plain(at) => exchange(TcpStream::connect(at).ok()?, request)?,
        Behind::Tls(at) => {
            let connection = ClientConnection::new(accepting(), "authority.test".try_into().unwrap()).ok()?;
            exchange(StreamOwned::new(connection, TcpStream::connect(at).ok()?), request)?
        }
    };
    let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    Some(Answer {
        status: lines.next()?.split(' ').nth(1)?.parse().ok()?,
        fields: lines.map(str::to_owned).collect(),
        body: answer[end + 4..].to_vec(),
    })
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Some(answer)
}
