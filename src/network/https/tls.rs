//! How a policy host proves who it is: TLS 1.2 or later, and the same certificate check that MX hosts get.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::network::roots::Roots;
use crate::protocol::certificate::{CertificateFailure, check_chain};
use crate::protocol::names::Domain;

/// The configuration for one fetch from one host. Nothing of it outlives the fetch: policy hosts are asked days apart,
/// so that resuming a session would never help (and would carry keys across a fork).
pub(super) fn config(host: Domain, roots: Arc<Roots>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let check = Check {
        host,
        roots,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(check))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What our own check found wrong with the certificate, if that is what made the handshake fail.
pub(super) fn certificate_failure(error: &Error) -> Option<String> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
            let failure = error.downcast_ref::<CertificateFailure>();
            Some(failure.map_or_else(|| error.to_string(), |failure| failure.reason.clone()))
        }
        Error::InvalidCertificate(error) => Some(error.to_string()),
        Error::NoCertificatesPresented => Some("the host sent no certificate".into()),
        _ => None,
    }
}

/// The certificate check of this library in rustls's place for one. rustls has the same library underneath (webpki),
/// but there is to be one set of rules, one bound on hostile chains and one set of words for both kinds of hosts.
#[derive(Debug)]
struct Check {
    host: Domain,
    roots: Arc<Roots>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Check {
    /// The reference identity is the name of the policy host and nothing that DNS said on the way to its address
    /// (RFC 8461 3.3, RFC 9525 6.1.1), so the name that rustls holds is not looked at.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(others).map(AsRef::as_ref).collect();
        match check_chain(&chain, &self.host, &self.roots, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(failure) => Err(CertificateError::Other(OtherError(Arc::new(failure))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
