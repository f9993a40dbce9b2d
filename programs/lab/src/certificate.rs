//! The lab's own certificate authorities and the chains its hosts present, good and bad.

use super::behaviour::{Certificate, Tlsa};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SerialNumber,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// OpenSSL looks a CA up in a directory under this name: `openssl x509 -subject_hash` of the root below.
/// It depends on the subject alone, so it is a constant.
pub(super) const ROOT_HASH: &str = "6a5844eb.0";

/// A CA: what signs, and the certificate a chain carries.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// Leaf first.
type Chain = Arc<[CertificateDer<'static>]>;

/// The host whose certificate is wanted: who it is decides the names in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    /// The name of the host.
    pub(super) host: String,
    /// The recipient domain it works for.
    pub(super) domain: String,
}

/// Root, intermediates, an unknown CA, and every server configuration made so far.
pub(super) struct Authority {
    root_pem: String,
    intermediate: Ca,
    expired_intermediate: Ca,
    constrained: Ca,
    unknown: Ca,
    /// All leafs share one key: making keys is the slow part, and no case depends on it.
    leaf_key: KeyPair,
    serial: AtomicU64,
    provider: Arc<CryptoProvider>,
    chains: Mutex<HashMap<(Subject, Certificate), Chain>>,
    configs: Mutex<HashMap<(Subject, Certificate, bool), Arc<ServerConfig>>>,
}

impl Authority {
    /// Makes fresh keys and CA certificates.
    pub(super) fn new() -> io::Result<Self> {
        let serial = AtomicU64::new(1);
        let root = ca("mtasts lab root", (-2 * DAY, 365 * DAY), None, None)?;
        let root_pem = root.1;
        let root = root.0;
        let usual = (-DAY, 90 * DAY);
        let intermediate = ca("mtasts lab intermediate", usual, Some(&root), None)?.0;
        let expired_intermediate = ca("mtasts lab expired intermediate", (-2 * DAY, -HOUR), Some(&root), None)?.0;
        let constrained = ca(
            "mtasts lab constrained intermediate",
            usual,
            Some(&root),
            Some("example"),
        )?
        .0;
        let unknown = ca("a CA nobody knows", usual, None, None)?.0;
        Ok(Self {
            root_pem,
            intermediate,
            expired_intermediate,
            constrained,
            unknown,
            leaf_key: KeyPair::generate().map_err(io::Error::other)?,
            serial,
            provider: Arc::new(ring::default_provider()),
            chains: Mutex::default(),
            configs: Mutex::default(),
        })
    }

    /// The certificate every sender under test must trust.
    pub(super) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The chain a host presents, made at first use and the same ever after.
    fn chain(&self, subject: &Subject, kind: Certificate) -> io::Result<Chain> {
        let mut chains = self.chains.lock().unwrap();
        if let Some(chain) = chains.get(&(subject.clone(), kind)) {
            return Ok(chain.clone());
        }
        let chain: Chain = self.issue(subject, kind).map_err(io::Error::other)?.into();
        chains.insert((subject.clone(), kind), chain.clone());
        Ok(chain)
    }

    fn issue(&self, subject: &Subject, kind: Certificate) -> Result<Vec<CertificateDer<'static>>, rcgen::Error> {
        let Subject { host, domain } = subject;
        let parent = host.split_once('.').map_or(host.as_str(), |(_, parent)| parent);
        let grandparent = parent.split_once('.').map_or(parent, |(_, grandparent)| grandparent);
        let names = match kind {
            Certificate::CnOnly => vec![],
            Certificate::Wildcard => vec![format!("*.{parent}")],
            Certificate::WildcardTwoLabels => vec![format!("*.{grandparent}")],
            Certificate::PartialWildcard => vec![format!("m*.{parent}")],
            Certificate::WrongName => vec!["mx.elsewhere.test".to_owned()],
            Certificate::Sibling => vec![format!("mx2.{domain}")],
            Certificate::Siblings => vec![format!("mx1.{domain}"), format!("mx2.{domain}")],
            Certificate::Domain => vec![domain.clone()],
            Certificate::CnameTarget => vec![format!("real.{domain}")],
            _ => vec![host.clone()],
        };
        let common_name = match kind {
            Certificate::EmptySubject => None,
            Certificate::CnOnly => Some(host),
            _ => names.first(),
        };
        let mut params = CertificateParams::new(names.clone())?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.serial_number = Some(SerialNumber::from(self.serial.fetch_add(1, Ordering::Relaxed)));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match kind {
            Certificate::ClientOnly => ExtendedKeyUsagePurpose::ClientAuth,
            _ => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        let (from, until) = match kind {
            Certificate::Expired => (-2 * DAY, -HOUR),
            Certificate::EndsSoon => (-DAY, 5 * DAY),
            Certificate::NotYetValid => (DAY, 90 * DAY),
            _ => (-DAY, 90 * DAY),
        };
        valid_around_now(&mut params, from, until);
        if kind == Certificate::SelfSigned {
            return Ok(vec![params.self_signed(&self.leaf_key)?.der().clone()]);
        }
        params.use_authority_key_identifier_extension = true;
        let ca = match kind {
            Certificate::UnknownCa => &self.unknown,
            Certificate::ExpiredIntermediate => &self.expired_intermediate,
            Certificate::ConstrainedCa => &self.constrained,
            _ => &self.intermediate,
        };
        let mut chain = vec![params.signed_by(&self.leaf_key, &ca.issuer)?.der().clone()];
        if kind != Certificate::NoIntermediate {
            chain.push(ca.certificate.clone());
        }
        Ok(chain)
    }

    /// How a host speaks TLS. The same object each time, so that sessions can be resumed.
    pub(super) fn server_config(
        &self,
        subject: &Subject,
        kind: Certificate,
        only_tls12: bool,
    ) -> io::Result<Arc<ServerConfig>> {
        let key = (subject.clone(), kind, only_tls12);
        if let Some(config) = self.configs.lock().unwrap().get(&key) {
            return Ok(config.clone());
        }
        let private = PrivateKeyDer::try_from(self.leaf_key.serialize_der()).map_err(io::Error::other)?;
        let signer = self
            .provider
            .key_provider
            .load_private_key(private)
            .map_err(io::Error::other)?;
        // Not through `with_single_cert`: it refuses certificates that are as broken as ours want to be.
        let certified = CertifiedKey::new(self.chain(subject, kind)?.to_vec(), signer);
        let versions: &[_] = if only_tls12 {
            &[&rustls::version::TLS12]
        } else {
            rustls::ALL_VERSIONS
        };
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let config = Arc::new(config);
        self.configs.lock().unwrap().insert(key, config.clone());
        Ok(config)
    }

    /// The fields of the TLSA record of a host: usage, selector, matching type, association data.
    pub(super) fn tlsa(&self, kind: Certificate, tlsa: Tlsa) -> Option<(u8, u8, u8, Vec<u8>)> {
        let ca = match kind {
            Certificate::UnknownCa => &self.unknown,
            _ => &self.intermediate,
        };
        let key_of = |key: &KeyPair| self.sha256(&key.subject_public_key_info());
        match tlsa {
            Tlsa::None | Tlsa::ServFail => None,
            Tlsa::Ee => Some((3, 1, 1, key_of(&self.leaf_key))),
            Tlsa::EeMismatch => Some((3, 1, 1, self.sha256(b"some other key"))),
            Tlsa::Ta => Some((2, 1, 1, key_of(ca.issuer.key()))),
            Tlsa::Unusable => Some((0, 1, 1, key_of(ca.issuer.key()))),
        }
    }

    fn sha256(&self, data: &[u8]) -> Vec<u8> {
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let hash = suite.tls13().expect("it is a TLS 1.3 suite").common.hash_provider;
        hash.hash(data).as_ref().to_vec()
    }
}

/// A CA certificate, signed by `parent` or by itself, valid for the given seconds around now; `only` constrains the names below it.
fn ca(name: &str, (from, until): (i64, i64), parent: Option<&Ca>, only: Option<&str>) -> io::Result<(Ca, String)> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_around_now(&mut params, from, until);
    params.name_constraints = only.map(|tree| NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(tree.to_owned())],
        excluded_subtrees: vec![],
    });
    let certificate = match parent {
        Some(parent) => {
            params.use_authority_key_identifier_extension = true;
            params.signed_by(&key, &parent.issuer)
        }
        None => params.self_signed(&key),
    }
    .map_err(io::Error::other)?;
    let pem = certificate.pem();
    Ok((
        Ca {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        },
        pem,
    ))
}

/// Sets the validity in seconds from now.
fn valid_around_now(params: &mut CertificateParams, from: i64, until: i64) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_add_signed(from));
    params.not_after = epoch + Duration::from_secs(now.saturating_add_signed(until));
}
