//! Certificates for tests: authorities, the certificates they issue, and what only `openssl` is willing to make.

pub mod worst;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtasts::network::roots::Roots;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate of a host with its key.
pub struct Host {
    pub der: Vec<u8>,
    pub key_pem: String,
}

/// A root.
pub fn root(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_params(name), key()).expect("a root")
}

/// An intermediate CA, after `change`.
pub fn intermediate(name: &str, issuer: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Authority {
    intermediate_with_key(name, key(), issuer, change)
}

pub fn intermediate_with_key(
    name: &str,
    key: KeyPair,
    issuer: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> Authority {
    let mut params = authority_params(name);
    change(&mut params);
    CertifiedIssuer::signed_by(params, key, issuer).expect("an intermediate")
}

/// A host's certificate for DNS names, after `change`.
pub fn host(names: &[&str], issuer: &Issuer<'_, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Host {
    let mut params = host_params(names);
    change(&mut params);
    let key = key();
    let der = params.signed_by(&key, issuer).expect("a certificate").der().to_vec();
    Host {
        der,
        key_pem: key.serialize_pem(),
    }
}

/// The length of a DER element, in the one form that DER allows (X.690 10.1).
fn der_length(length: usize) -> Vec<u8> {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=0x7f), _) => vec![short],
        (Ok(medium), _) => vec![0x81, medium],
        (_, Ok(long)) => [&[0x82], &long.to_be_bytes()[..]].concat(),
        _ => panic!("too long for a certificate"),
    }
}

/// The DNS names of a certificate, as the bytes they are: rcgen would not write all of them.
pub fn host_with_names(
    issuer: &Authority,
    names: &[&[u8]],
    addresses: &[IpAddr],
    common_name: Option<&str>,
) -> Vec<u8> {
    let mut content = Vec::new();
    for name in names {
        content.push(0x82);
        content.extend(der_length(name.len()));
        content.extend_from_slice(name);
    }
    for address in addresses {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        content.extend([0x87, octets.len() as u8]);
        content.extend(octets);
    }
    host(&[], issuer, |params| {
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        if !content.is_empty() {
            let sequence = [&[0x30], &der_length(content.len())[..], &content].concat();
            let alternative_names = CustomExtension::from_oid_content(&[2, 5, 29, 17], sequence);
            params.custom_extensions.push(alternative_names);
        }
    })
    .der
}

/// A host's certificate that nobody else has signed.
pub fn self_signed_host(names: &[&str]) -> Host {
    let key = key();
    let der = host_params(names)
        .self_signed(&key)
        .expect("a certificate")
        .der()
        .to_vec();
    Host {
        der,
        key_pem: key.serialize_pem(),
    }
}

pub fn authority_params(name: &str) -> CertificateParams {
    let mut params = host_params(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = Vec::new();
    params
}

/// Valid from 2000 to 2100, without a common name.
pub fn host_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

pub fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

pub fn roots(authorities: &[&Authority]) -> Roots {
    let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
    Roots::from_pem(pem.as_bytes()).expect("roots")
}

/// A directory of its own for a test, gone at its end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        // Two tests of a binary may give theirs the same name.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mtasts-pki-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a new file");
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    /// The certificates of a PEM file, in DER.
    pub fn read_der(&self, name: &str) -> Vec<u8> {
        let pem = rustls_pki_types::pem::PemObject::from_pem_file(self.path(name));
        let der: rustls_pki_types::CertificateDer<'_> = pem.expect("a certificate");
        der.to_vec()
    }

    /// Runs `openssl` here.
    pub fn openssl(&self, arguments: &[&str]) {
        let output = command("openssl", "openssl", &self.0)
            .args(arguments)
            .output()
            .expect("openssl");
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// An RSA key, which rcgen does not make.
    pub fn rsa_key(&self, bits: u32) -> KeyPair {
        let name = format!("rsa-{bits}.key");
        self.openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            &format!("rsa_keygen_bits:{bits}"),
            "-out",
            &name,
        ]);
        KeyPair::from_pem_and_sign_algo(&self.read(&name), &rcgen::PKCS_RSA_SHA256).expect("an RSA key")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A program that a test cannot do without.
pub fn command(program: &str, debian_package: &str, directory: &Path) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()));
    assert!(found, "{program} is missing: apt-get install {debian_package}");
    let mut command = Command::new(program);
    command.current_dir(directory);
    command
}
