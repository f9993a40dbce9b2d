//! The test before an order: what an authority will find at a name. What fails here costs no order, and says what to do.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use mtasts::Domain;
use mtasts::network::dns::{Dns as _, DnsError, StubResolver};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Challenge;
use super::caa::permits;
use super::challenges::{ALPN, Challenges, proof};

/// How long DNS may take, and each connection.
pub(super) const TIME: Duration = Duration::from_secs(10);

/// Looks at a policy host as the authority will, which answers to these names in CAA records.
///
/// # Errors
/// What is wrong and what to do, in a sentence.
pub(crate) async fn test(
    host: &str,
    dns: &StubResolver,
    ours: &[IpAddr],
    authorities: &[String],
    challenge: Challenge,
    challenges: &Rc<Challenges>,
) -> Result<(), String> {
    let addresses = addresses(host, dns).await?;
    if let Some(other) = addresses
        .iter()
        .find(|address| !ours.is_empty() && !ours.contains(address))
    {
        return Err(format!(
            "{host} leads to {other}, which is not in the setting addresses; correct the record, or the setting"
        ));
    }
    caa(host, dns, authorities).await?;
    let mut octets = [0; 24];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| "the system gives no random octets")?;
    let nonce = BASE64URL_NOPAD.encode(&octets);
    let _ready = match challenge {
        Challenge::TlsAlpn => challenges.show(host, &nonce)?,
        Challenge::Http => challenges.put(&nonce, &nonce),
    };
    for address in addresses {
        let tried = async {
            match challenge {
                Challenge::TlsAlpn => handshake(host, address, &nonce).await,
                Challenge::Http => file(host, address, &nonce).await,
            }
        };
        let found = timeout(TIME, tried)
            .await
            .unwrap_or_else(|_| Err("no answer in time".into()));
        found.map_err(|why| {
            let port = if challenge == Challenge::TlsAlpn { 443 } else { 80 };
            format!("{host} does not lead to this server at port {port} of {address}: {why}; check firewall and proxy, or set flight_test = false if this host cannot reach itself")
        })?;
    }
    Ok(())
}

async fn addresses(host: &str, dns: &StubResolver) -> Result<Vec<IpAddr>, String> {
    let (name, asked) = (host.to_owned(), dns.clone());
    let found = spawn_blocking(move || asked.addresses(&name, Instant::now() + TIME)).await;
    let found = found.unwrap_or_else(|error| Err(DnsError::Own(error.to_string())));
    match found {
        Ok(found) => Ok(found.data),
        Err(error) if error.is_absence() => Err(format!("{host} has no address: {error}; publish its records")),
        Err(error) => Err(format!("the addresses of {host} cannot be looked up: {error}")),
    }
}

/// The records of the nearest name that has some (RFC 8659 3).
async fn caa(host: &str, dns: &StubResolver, authorities: &[String]) -> Result<(), String> {
    let mut name = Some(host);
    while let Some(here) = name.filter(|_| !authorities.is_empty()) {
        let Ok(domain) = Domain::parse(here) else { break };
        let asked = dns.clone();
        let question = move || asked.together(Instant::now() + TIME, async |servers| servers.caa(&domain).await);
        let found = spawn_blocking(question).await;
        match found.unwrap_or_else(|error| Err(DnsError::Own(error.to_string()))) {
            Ok(records) => return permits(&records.data, authorities).map_err(|why| format!("{here}: {why}")),
            Err(error) if error.is_absence() => {}
            Err(error) => return Err(format!("the CAA records of {here} cannot be looked up: {error}")),
        }
        name = here.split_once('.').map(|(_, above)| above);
    }
    Ok(())
}

async fn handshake(host: &str, address: IpAddr, nonce: &str) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(SocketAddr::new(address, 443)).await;
    let stream = stream.map_err(|error| said(&error))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| said(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Expects(proof(nonce))))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(|error| said(&error))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    stream.map(|_| ()).map_err(|error| said(&error))
}

/// Takes the certificate that has this proof, and no other. Only this process knows it, which is all that is asked: the TLS library
/// would not look at a signature of a certificate with the critical extension of RFC 8737.
#[derive(Debug)]
struct Expects([u8; 32]);

impl ServerCertVerifier for Expects {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match leaf.windows(self.0.len()).any(|octets| octets == self.0) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("another server answers".into())),
        }
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Signature {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Signature {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

type Signature = Result<HandshakeSignatureValid, rustls::Error>;

async fn file(host: &str, address: IpAddr, nonce: &str) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(SocketAddr::new(address, 80)).await.map_err(said)?;
    let request =
        format!("GET /.well-known/acme-challenge/{nonce} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await.map_err(said)?;
    let answer = String::from_utf8_lossy(&answer);
    let is_ours = answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("\r\n\r\n{nonce}"));
    is_ours.then_some(()).ok_or_else(|| "another server answers".into())
}
