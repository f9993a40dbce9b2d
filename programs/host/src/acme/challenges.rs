//! What this host shows an authority that looks whether a name is its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The protocol of RFC 8737 in a handshake.
pub(crate) const ALPN: &[u8] = b"acme-tls/1";

/// The answers that are ready now: one for each name that is looked at.
#[derive(Default)]
pub(crate) struct Challenges {
    handshakes: RefCell<HashMap<String, Arc<ServerConfig>>>,
    files: RefCell<HashMap<String, Bytes>>,
}

/// An answer, which is gone when this is dropped.
pub(crate) struct Ready {
    challenges: Rc<Challenges>,
    host: Option<String>,
    token: Option<String>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(host) = &self.host {
            self.challenges.handshakes.borrow_mut().remove(host);
        }
        if let Some(token) = &self.token {
            self.challenges.files.borrow_mut().remove(token);
        }
    }
}

impl Challenges {
    /// The TLS for an authority that looks at this host.
    pub(crate) fn handshake(&self, host: &str) -> Option<Arc<ServerConfig>> {
        self.handshakes.borrow().get(host).cloned()
    }

    /// The content of the file of this name.
    pub(crate) fn file(&self, token: &str) -> Option<Bytes> {
        self.files.borrow().get(token).cloned()
    }

    /// Has a certificate in a handshake that proves the key authorization (RFC 8737 3).
    pub(crate) fn show(self: &Rc<Self>, host: &str, key_authorization: &str) -> Result<Ready, String> {
        let config = config(host, &proof(key_authorization)).map_err(|error| error.to_string())?;
        self.handshakes.borrow_mut().insert(host.to_owned(), Arc::new(config));
        Ok(Ready {
            challenges: Rc::clone(self),
            host: Some(host.to_owned()),
            token: None,
        })
    }

    /// Has a file with the key authorization (RFC 8555 8.3).
    pub(crate) fn put(self: &Rc<Self>, token: &str, key_authorization: &str) -> Ready {
        let content = Bytes::copy_from_slice(key_authorization.as_bytes());
        self.files.borrow_mut().insert(token.to_owned(), content);
        Ready {
            challenges: Rc::clone(self),
            host: None,
            token: Some(token.to_owned()),
        }
    }
}

/// What is in the certificate.
pub(crate) fn proof(key_authorization: &str) -> [u8; 32] {
    let mut proof = [0; 32];
    proof.copy_from_slice(digest(&SHA256, key_authorization.as_bytes()).as_ref());
    proof
}

fn config(host: &str, proof: &[u8]) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let mut params = rcgen::CertificateParams::new([host.to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(proof)];
    let key = rcgen::KeyPair::generate()?;
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certified = CertifiedKey::new(chain, any_supported_type(&key)?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
