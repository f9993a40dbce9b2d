//! TLS as a client speaks it: version 1.2 or later, and our certificate check in place of rustls's.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::protocol::certificate::CertificateFailure;

/// What a certificate chain is worth: DER, the server's own certificate first, at this time.
pub type Judge = dyn Fn(&[&[u8]], UnixTime) -> Result<(), CertificateFailure> + Send + Sync;

/// The configuration for one connection, on which `judge` alone says whether the server's certificate is good. Nothing
/// of it outlives the connection: servers are asked days apart, so that resuming a session would never help (and would
/// carry keys across a fork).
///
/// # Errors
/// rustls refuses the versions of TLS.
pub fn config(
    judge: impl Fn(&[&[u8]], UnixTime) -> Result<(), CertificateFailure> + Send + Sync + 'static,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let check = Check {
        judge: Box::new(judge),
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
pub(crate) fn certificate_failure(error: &Error) -> Option<String> {
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

/// What an error says, with the standard's names for alerts (RFC 8446 6) in place of rustls's.
#[must_use]
pub fn words(error: &Error) -> String {
    let Error::AlertReceived(alert) = error else {
        return error.to_string();
    };
    let mut name = String::new();
    for c in format!("{alert:?}").replace("recognised", "recognized").chars() {
        // `UnknownCA` is unknown_ca.
        if c.is_ascii_uppercase() && name.ends_with(|c: char| c.is_ascii_lowercase()) {
            name.push('_');
        }
        name.push(c);
    }
    format!("{ALERT}{} ({})", name.to_ascii_lowercase(), u8::from(*alert))
}

/// How the words for an alert begin.
const ALERT: &str = "the server ended the handshake with the TLS alert ";

/// Whether a handshake that failed with these words may have failed because of what our TLS library does not support: the
/// alert handshake_failure means that there was nothing in common, and another client may offer more.
#[must_use]
pub fn may_be_ours(words: &str) -> bool {
    words.contains(&format!("{ALERT}handshake_failure"))
}

/// Our certificate check in the place of rustls's. rustls has the same library underneath (webpki), but all kinds of
/// hosts are to have one set of rules, one bound on hostile chains and one set of words.
struct Check {
    judge: Box<Judge>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}

impl ServerCertVerifier for Check {
    /// The name that rustls has is ignored: the check knows the name that must match.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(others).map(AsRef::as_ref).collect();
        match (self.judge)(&chain, now) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_standard() {
        for (number, name) in [
            (40, "handshake_failure (40)"),
            (48, "unknown_ca (48)"),
            (70, "protocol_version (70)"),
            (80, "internal_error (80)"),
            (112, "unrecognized_name (112)"),
            (120, "no_application_protocol (120)"),
        ] {
            let words = words(&Error::AlertReceived(number.into()));
            assert_eq!(words, format!("{ALERT}{name}"));
            assert_eq!(may_be_ours(&words), number == 40);
        }
    }
}
