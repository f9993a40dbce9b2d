//! Blocking clients for the three services, as plain as possible: they share no code with the lab.

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mtasts::NoHost;
use mtasts_lab::{DNS_ADDRESS, Lab};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, StreamOwned,
};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Enough for everything that answers at all.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How to ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Plainly,
    WithAd,
    WithDo,
}

fn question(name: &str, kind: RecordType, ask: Ask) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = ask == Ask::WithAd;
    if ask == Ask::WithDo {
        let mut edns = Edns::new();
        edns.set_max_payload(1232).set_dnssec_ok(true);
        message.edns = Some(edns);
    }
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// One question over UDP.
pub fn ask_udp(name: &str, kind: RecordType, ask: Ask) -> io::Result<Message> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&question(name, kind, ask), (DNS_ADDRESS, 53))?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    Message::from_vec(&answer[..length]).map_err(io::Error::other)
}

/// One question over TCP.
pub fn ask_tcp(name: &str, kind: RecordType) -> io::Result<Message> {
    let mut stream = TcpStream::connect((DNS_ADDRESS, 53))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = question(name, kind, Ask::Plainly);
    stream.write_all(&u16::try_from(question.len()).unwrap().to_be_bytes())?;
    stream.write_all(&question)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

/// The data of one type, in order; over TCP if it must be.
pub fn records(name: &str, kind: RecordType) -> io::Result<Vec<RData>> {
    let mut message = ask_udp(name, kind, Ask::Plainly)?;
    if message.metadata.truncation {
        message = ask_tcp(name, kind)?;
    }
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(io::Error::other(code.to_string())),
    }
    Ok(message
        .answers
        .iter()
        .filter(|record| record.record_type() == kind)
        .map(|record| record.data.clone())
        .collect())
}

/// The texts of the TXT records of a name, strings joined.
pub fn texts(name: &str) -> io::Result<Vec<Vec<u8>>> {
    let join = |data: &RData| match data {
        RData::TXT(txt) => txt.txt_data.concat(),
        _ => vec![],
    };
    Ok(records(name, RecordType::TXT)?.iter().map(join).collect())
}

/// IPv6 first, as most would.
pub fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut all = records(name, RecordType::AAAA)?;
    all.extend(records(name, RecordType::A)?);
    let address = |data: RData| match data {
        RData::A(v4) => IpAddr::from(v4.0),
        RData::AAAA(v6) => IpAddr::from(v6.0),
        other => panic!("{other:?} is no address"),
    };
    Ok(all.into_iter().map(address).collect())
}

/// The MX hosts of a domain in order of preference, the domain itself if it has an address and no MX record
/// (RFC 5321 5.1); or why there is none.
pub fn mx_hosts(domain: &str) -> io::Result<Result<Vec<String>, NoHost>> {
    let mut hosts: Vec<_> = records(domain, RecordType::MX)?
        .into_iter()
        .filter_map(|data| match data {
            RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii().trim_end_matches('.').to_owned())),
            _ => None,
        })
        .collect();
    if hosts.is_empty() {
        let code = ask_udp(domain, RecordType::MX, Ask::Plainly)?.metadata.response_code;
        return Ok(match code {
            ResponseCode::NXDomain => Err(NoHost::NxDomain),
            _ if addresses(domain)?.is_empty() => Err(NoHost::NoData),
            _ => Ok(vec![domain.to_owned()]),
        });
    }
    hosts.sort();
    let names = hosts.into_iter().map(|(_, name)| name);
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    Ok(if names.is_empty() {
        Err(NoHost::NullMx)
    } else {
        Ok(names)
    })
}

/// The first of the addresses that accepts a connection.
pub fn connect(name: &str, port: u16) -> io::Result<TcpStream> {
    connect_within(PATIENCE, name, port)
}

fn connect_within(patience: Duration, name: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("no address");
    for address in addresses(name)? {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), patience) {
            Ok(stream) => {
                stream.set_read_timeout(Some(patience))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A TLS client that trusts the lab.
pub fn trusting(lab: &Lab) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(lab.ca_file()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A TLS client that accepts every certificate: what it is worth is decided afterwards.
pub fn accepting() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)));
    Arc::new(config.with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The handshake; the certificate is verified against `name` as `config` wants it.
pub fn encrypt(
    config: &Arc<ClientConfig>,
    name: &str,
    mut stream: TcpStream,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(config.clone(), server).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// What an HTTPS GET brings: all octets until the end of the answer or of our patience.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The body, if it is all there.
    pub fn complete_body(&self) -> Option<Vec<u8>> {
        if self.header("Transfer-Encoding") == Some("chunked") {
            return unchunk(&self.body);
        }
        match self.header("Content-Length") {
            Some(length) => (length.parse() == Ok(self.body.len())).then(|| self.body.clone()),
            None => Some(self.body.clone()),
        }
    }
}

fn unchunk(mut octets: &[u8]) -> Option<Vec<u8>> {
    let mut body = vec![];
    loop {
        let end = octets.windows(2).position(|pair| pair == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&octets[..end]).ok()?, 16).ok()?;
        octets = octets.get(end + 2..)?;
        if length == 0 {
            return Some(body);
        }
        body.extend(octets.get(..length)?);
        octets = octets.get(length + 2..)?;
    }
}

/// GET of a path from a policy host.
pub fn get(config: &Arc<ClientConfig>, host: &str, path: &str, fields: &str) -> io::Result<Answer> {
    get_within(PATIENCE, config, host, path, fields)
}

/// The same with so much patience for each step.
pub fn get_within(
    patience: Duration,
    config: &Arc<ClientConfig>,
    host: &str,
    path: &str,
    fields: &str,
) -> io::Result<Answer> {
    let mut stream = encrypt(config, host, connect_within(patience, host, 443)?)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n"
    )?;
    let begin = Instant::now();
    let mut octets = vec![];
    let mut buffer = vec![0; 65536];
    // Patience ends the answers of hosts that keep the connection open.
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        octets.extend(&buffer[..length]);
        let finished = answer(&octets).is_some_and(|answer| {
            let framed = answer
                .header("Content-Length")
                .or_else(|| answer.header("Transfer-Encoding"))
                .is_some();
            framed && answer.complete_body().is_some()
        });
        if finished || octets.len() > 1 << 20 || begin.elapsed() > 2 * patience {
            break;
        }
    }
    if octets.is_empty() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    answer(&octets).ok_or_else(|| io::Error::other("not HTTP"))
}

fn answer(octets: &[u8]) -> Option<Answer> {
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(octets[..end].to_vec()).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer {
        status,
        head,
        body: octets[end + 4..].to_vec(),
    })
}

/// A reply of an SMTP server: its code and its lines.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

/// Reads one reply, octet by octet so that nothing behind it is taken.
pub fn reply(stream: &mut impl Read) -> io::Result<Reply> {
    let mut lines = vec![];
    loop {
        let mut line = vec![];
        while !line.ends_with(b"\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet)?;
            line.push(octet[0]);
        }
        let line = String::from_utf8(line).map_err(io::Error::other)?;
        lines.push(line.trim_end().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            let code = line
                .get(..3)
                .and_then(|code| code.parse().ok())
                .ok_or(io::ErrorKind::InvalidData)?;
            return Ok(Reply { code, lines });
        }
    }
}

/// Sends a command and reads its reply.
pub fn command(stream: &mut (impl Read + Write), line: &str) -> io::Result<Reply> {
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    reply(stream)
}

/// Connects to an MX host and says EHLO. Also says whether the host offers STARTTLS.
pub fn greet(host: &str) -> io::Result<(TcpStream, bool)> {
    let mut stream = connect(host, 25)?;
    if reply(&mut stream)?.code != 220 {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let lines = command(&mut stream, "EHLO sender.test")?.lines;
    Ok((stream, lines.iter().any(|line| line.ends_with("STARTTLS"))))
}

/// Sends one mail over a session that has said EHLO.
pub fn mail(stream: &mut (impl Read + Write), recipient: &str) -> io::Result<()> {
    for (line, code) in [
        ("MAIL FROM:<sender@sender.test>", 250),
        (&format!("RCPT TO:<{recipient}>"), 250),
        ("DATA", 354),
        ("Subject: test\r\n\r\nhello\r\n..\r\n.", 250),
    ] {
        let reply = command(stream, line)?;
        if reply.code != code {
            return Err(io::Error::other(format!("{line}: {reply:?}")));
        }
    }
    Ok(())
}
