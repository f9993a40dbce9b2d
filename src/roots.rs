//! The certificates of the authorities that we trust: the system's bundle, or the file that the operator names.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

/// Where systems keep their one bundle, the most common first.
///
/// Only these: the directory of single certificates beside the bundle holds the same ones and costs three times as
/// much to read, and `SSL_CERT_FILE` would let any local user choose the roots of a set-uid mail server.
const SYSTEM_BUNDLES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL and its kin
    "/etc/pki/tls/certs/ca-bundle.crt",   // the same, before 2024
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/ssl/cert.pem",                  // OpenBSD, FreeBSD, macOS
    "/usr/local/share/certs/ca-root-nss.crt", // FreeBSD's ports
    "/etc/openssl/certs/ca-certificates.crt", // NetBSD
];

/// A bundle of 150 authorities has 220 KiB: a file larger than this is not a bundle (and `/dev/zero` has an end).
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

/// The authorities whose word we take, for MX hosts and policy hosts alike (RFC 8461 3.3, 4.2).
#[derive(Clone)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<CertificateDer<'static>>,
    skipped: usize,
}

impl Roots {
    /// Reads the `CERTIFICATE` sections of a PEM text. Sections that hold no usable certificate are skipped and
    /// counted ([`Roots::skipped`]): one odd authority in a bundle must not take the others away.
    ///
    /// # Errors
    /// [`RootsError::NoCertificate`] if not one is usable: an empty list would distrust everybody, silently.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut roots = Self {
            anchors: Vec::new(),
            certificates: Vec::new(),
            skipped: 0,
        };
        for certificate in CertificateDer::pem_slice_iter(pem) {
            if !certificate.is_ok_and(|certificate| roots.add(certificate)) {
                roots.skipped += 1;
            }
        }
        if roots.anchors.is_empty() {
            return Err(RootsError::NoCertificate {
                file: None,
                skipped: roots.skipped,
            });
        }
        Ok(roots)
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`RootsError::Read`] if the file cannot be read, or [`RootsError::NoCertificate`]; both name the file.
    pub fn from_file(file: &Path) -> Result<Self, RootsError> {
        let pem = read_bundle(file).map_err(|error| RootsError::Read {
            file: file.to_owned(),
            error,
        })?;
        Self::from_pem(&pem).map_err(|error| match error {
            RootsError::NoCertificate { skipped, .. } => RootsError::NoCertificate {
                file: Some(file.to_owned()),
                skipped,
            },
            other => other,
        })
    }

    /// Reads the bundle of the system: the first that exists of the places where systems keep it. It costs a
    /// millisecond, so ask only when a certificate is to be checked.
    ///
    /// # Errors
    /// [`RootsError::NoBundle`] names the places if there is none; a bundle that exists must be good.
    pub fn system() -> Result<Self, RootsError> {
        Self::from_first_of(&SYSTEM_BUNDLES)
    }

    fn from_first_of(files: &[&str]) -> Result<Self, RootsError> {
        for file in files {
            match Self::from_file(Path::new(file)) {
                Err(RootsError::Read { error, .. }) if is_absent(&error) => {}
                found => return found,
            }
        }
        Err(RootsError::NoBundle {
            looked_for: files.iter().map(PathBuf::from).collect(),
        })
    }

    /// The authorities as rustls and webpki ask for them.
    #[must_use]
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The certificates of the authorities, in the order of the bundle.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// How many sections of the bundle held no usable certificate.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    fn add(&mut self, certificate: CertificateDer<'static>) -> bool {
        let Ok(anchor) = webpki::anchor_from_trusted_cert(&certificate) else {
            return false;
        };
        self.anchors.push(anchor.to_owned());
        self.certificates.push(certificate);
        true
    }
}

fn read_bundle(file: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(file)?.take(MAX_BUNDLE + 1).read_to_end(&mut pem)?;
    if pem.len() as u64 > MAX_BUNDLE {
        return Err(io::Error::other(format!("larger than {} MiB", MAX_BUNDLE >> 20)));
    }
    Ok(pem)
}

/// A name that leads nowhere, in whichever way.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Roots({} certificates, {} skipped)",
            self.certificates.len(),
            self.skipped
        )
    }
}

/// Why there are no roots.
#[derive(Debug)]
#[non_exhaustive]
pub enum RootsError {
    /// The file could not be read.
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no usable certificate.
    NoCertificate {
        /// The file, if it was one.
        file: Option<PathBuf>,
        /// How many sections looked like certificates but were not usable.
        skipped: usize,
    },
    /// The system has no bundle in any of the usual places.
    NoBundle {
        /// The files that do not exist.
        looked_for: Vec<PathBuf>,
    },
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, error } => write!(f, "cannot read the CA bundle {}: {error}", file.display()),
            Self::NoCertificate { file, skipped } => {
                f.write_str("no usable CA certificate")?;
                if let Some(file) = file {
                    write!(f, " in {}", file.display())?;
                }
                if *skipped > 0 {
                    write!(f, " ({skipped} unusable)")?;
                }
                Ok(())
            }
            Self::NoBundle { looked_for } => {
                f.write_str("the system has no CA bundle (looked for")?;
                for (i, file) in looked_for.iter().enumerate() {
                    write!(f, "{} {}", if i == 0 { "" } else { "," }, file.display())?;
                }
                f.write_str("); install the package ca-certificates")
            }
        }
    }
}

impl std::error::Error for RootsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    /// A directory of its own for each test, gone at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mtasts-roots-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).expect("a new directory");
            Self(path)
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
            let path = self.0.join(name);
            std::fs::write(&path, content).expect("a new file");
            path.into_os_string().into_string().expect("a plain name")
        }

        fn absent(&self, name: &str) -> String {
            self.0.join(name).into_os_string().into_string().expect("a plain name")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn skips_and_counts_what_is_unusable() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        let other = "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n";
        let text = format!(
            "# Mine\n{}{broken}{other}{no_base64}\n{}",
            authority("A"),
            authority("B").replace('\n', "\r\n")
        );
        let roots = Roots::from_pem(text.as_bytes()).expect("two are good");
        assert_eq!(
            (roots.anchors().len(), roots.certificates().len(), roots.skipped()),
            (2, 2, 2)
        );
        assert_eq!(format!("{roots:?}"), "Roots(2 certificates, 2 skipped)");
    }

    #[test]
    fn nothing_usable_is_an_error() {
        for (text, message) in [
            ("", "no usable CA certificate"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "no usable CA certificate (1 unusable)",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n",
                "no usable CA certificate (1 unusable)",
            ),
        ] {
            let error = Roots::from_pem(text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn errors_name_the_file() {
        let here = Directory::new("errors");
        let empty = here.write("empty.pem", "");
        assert_eq!(
            Roots::from_file(Path::new(&empty)).expect_err("empty").to_string(),
            format!("no usable CA certificate in {empty}")
        );
        let absent = here.absent("absent.pem");
        let error = Roots::from_file(Path::new(&absent)).expect_err("absent").to_string();
        assert!(
            error.starts_with(&format!("cannot read the CA bundle {absent}: ")),
            "{error}"
        );
        let error = Roots::from_file(&here.0).expect_err("a directory").to_string();
        assert!(error.contains("directory"), "{error}");
        let error = Roots::from_file(Path::new("/dev/zero"))
            .expect_err("no end")
            .to_string();
        assert_eq!(error, "cannot read the CA bundle /dev/zero: larger than 16 MiB");
    }

    #[test]
    fn the_first_bundle_that_exists_decides() {
        let here = Directory::new("first");
        let good = here.write("good.pem", authority("A"));
        let empty = here.write("empty.pem", "");
        let (absent, beneath_a_file) = (here.absent("absent.pem"), format!("{good}/x.pem"));
        let roots = Roots::from_first_of(&[&absent, &beneath_a_file, &good, &empty]).expect("the third");
        assert_eq!(roots.certificates().len(), 1);
        // An empty bundle is somebody's decision or mishap: going on to another would trust what was taken away.
        let error = Roots::from_first_of(&[&empty, &good]).expect_err("the first exists");
        assert_eq!(error.to_string(), format!("no usable CA certificate in {empty}"));
        let error = Roots::from_first_of(&[&absent, &beneath_a_file]).expect_err("none");
        assert_eq!(
            error.to_string(),
            format!(
                "the system has no CA bundle (looked for {absent}, {beneath_a_file}); \
                 install the package ca-certificates"
            )
        );
    }
}
