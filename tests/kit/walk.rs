//! A mail server as small as can be: it asks for the MX records and tries their hosts in order, one mail in real SMTP.
//! At each step it asks what it may do (RFC 8461 5); who answers is the driver's affair.

use std::io;
use std::sync::Arc;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use mtasts::NoHost;
use mtasts_lab::judge::{End, Fate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::client::{Ask, addresses, ask_udp, command, connect, encrypt, mail, records, reply};

/// What the server has seen of a host.
pub enum Saw {
    /// The DNS denies that there is any.
    NoMx(NoHost),
    /// The name in the MX record.
    Name,
    /// No STARTTLS in the answer to EHLO.
    NoStarttls,
    /// An error as the answer to STARTTLS.
    StarttlsRefused,
    /// A handshake that failed.
    NoTls(String),
    /// The certificates, the host's own first.
    Certificates(Vec<Vec<u8>>),
}

/// What it may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Not go on with this host, nor bounce the mail.
    Not,
    /// Go on.
    GoOn,
    /// Go on, and the certificate was verified.
    Verified,
}

/// Sends one mail to a domain.
pub fn send(domain: &str, mut may: impl FnMut(&str, Saw) -> May) -> Fate {
    let (end, host) = match hosts(domain) {
        Ok(Err(why)) => match may(domain, Saw::NoMx(why)) {
            May::Not => (End::Deferred, None),
            _ => (End::Bounced, None),
        },
        Ok(Ok(hosts)) => hosts
            .into_iter()
            .find_map(|host| Some((try_host(domain, &host, &mut may)?, Some(host))))
            .unwrap_or((End::Deferred, None)),
        Err(_) => (End::Deferred, None),
    };
    Fate {
        domain: domain.to_owned(),
        end,
        host,
        results: Vec::new(),
        words: String::new(),
    }
}

/// The MX hosts in order; the domain itself where it has an address and no record (RFC 5321 5.1).
fn hosts(domain: &str) -> io::Result<Result<Vec<String>, NoHost>> {
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
    let names: Vec<_> = hosts
        .into_iter()
        .map(|(_, name)| name)
        .filter(|name| !name.is_empty())
        .collect();
    Ok(if names.is_empty() {
        Err(NoHost::NullMx)
    } else {
        Ok(names)
    })
}

fn try_host(domain: &str, host: &str, may: &mut impl FnMut(&str, Saw) -> May) -> Option<End> {
    if may(host, Saw::Name) == May::Not {
        return None;
    }
    let to = format!("someone@{domain}");
    let greet = || -> io::Result<_> {
        let mut stream = connect(host, 25)?;
        if reply(&mut stream)?.code != 220 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let lines = command(&mut stream, "EHLO sender.test")?.lines;
        Ok((stream, lines.iter().any(|line| line.ends_with("STARTTLS"))))
    };
    let (mut stream, offered) = greet().ok()?;
    let saw = if !offered {
        Saw::NoStarttls
    } else if command(&mut stream, "STARTTLS").ok()?.code != 220 {
        Saw::StarttlsRefused
    } else {
        match encrypt(&any_certificate(), host, stream) {
            Err(error) => Saw::NoTls(error.to_string()),
            Ok(mut stream) => {
                let chain = stream.conn.peer_certificates().unwrap_or_default();
                let end = match may(host, Saw::Certificates(chain.iter().map(|one| one.to_vec()).collect())) {
                    May::Not => return None,
                    May::GoOn => End::Delivered,
                    May::Verified => End::Verified,
                };
                command(&mut stream, "EHLO sender.test").ok()?;
                return mail(&mut stream, &to).is_ok().then_some(end);
            }
        }
    };
    if may(host, saw) == May::Not {
        return None;
    }
    // In clear, over a new connection: the old one may be in the midst of something.
    let (mut stream, _) = greet().ok()?;
    mail(&mut stream, &to).is_ok().then_some(End::Delivered)
}

/// Sends a mail to each of the domains that a driver is asked for on stdin, some at a time, and prints what became of it.
pub fn drive(send: impl Fn(&str) -> Fate + Sync) {
    let work = || {
        let mut line = String::new();
        while io::stdin().read_line(&mut line).unwrap() > 0 {
            println!("{}", send(line.trim().strip_prefix("send ").expect("send DOMAIN")));
            line.clear();
        }
    };
    std::thread::scope(|scope| (0..32).for_each(|_| drop(scope.spawn(work))));
}

/// TLS that takes whatever certificate comes: what it is worth is asked afterwards.
fn any_certificate() -> Arc<ClientConfig> {
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
