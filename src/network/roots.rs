//! The certificates of the authorities that we trust: the system's bundle, or the file that the operator names.
#![forbid(unsafe_code)]

pub mod pem;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls_pki_types::{CertificateDer, TrustAnchor};

use pem::PemError;

/// The places in which systems keep their one bundle, the most common first.
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
    /// What could not be used.
    skipped: Vec<PemError>,
    file: Option<PathBuf>,
}

impl Roots {
    /// Reads the certificates of a PEM text. Each of them must be usable, and what looks like a certificate must be
    /// one: an authority that the operator names does not vanish without a word.
    ///
    /// # Errors
    /// [`RootsError::Pem`] with the line, or [`RootsError::NoCertificate`]: an empty list would silently distrust every
    /// host.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut roots = Self::usable(pem, None)?;
        if roots.skipped.is_empty() {
            return Ok(roots);
        }
        let PemError { line, reason } = roots.skipped.swap_remove(0);
        Err(RootsError::Pem {
            file: None,
            line,
            reason,
        })
    }

    /// Reads a PEM file, as [`Roots::from_pem`] does.
    ///
    /// # Errors
    /// [`RootsError::Read`] if the file cannot be read, or an error of [`Roots::from_pem`]; each names the file.
    pub fn from_file(file: &Path) -> Result<Self, RootsError> {
        Self::from_pem(&read_bundle(file)?).map_err(|error| error.in_file(file))
    }

    /// The usable certificates of a PEM text; the others are set aside.
    fn usable(pem: &[u8], file: Option<&Path>) -> Result<Self, RootsError> {
        let mut roots = Self {
            anchors: Vec::new(),
            certificates: Vec::new(),
            skipped: Vec::new(),
            file: file.map(Path::to_owned),
        };
        let sections = pem::certificates(pem).map_err(|PemError { line, reason }| RootsError::Pem {
            file: None,
            line,
            reason,
        })?;
        for pem::Section { line, der } in sections {
            let certificate = CertificateDer::from(der);
            match webpki::anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned()) {
                Ok(anchor) => {
                    roots.anchors.push(anchor);
                    roots.certificates.push(certificate);
                }
                Err(_) => roots.skipped.push(PemError {
                    line,
                    reason: "the certificate cannot be read as a trust anchor".to_owned(),
                }),
            }
        }
        if roots.anchors.is_empty() && roots.skipped.is_empty() {
            return Err(RootsError::NoCertificate { file: None });
        }
        Ok(roots)
    }

    /// Reads the bundle of the system: the first of the usual places that exists. It costs a
    /// millisecond, so ask only when a certificate is to be checked.
    ///
    /// One odd authority does not take the others away: a certificate that cannot be used is skipped, and
    /// [`Roots::warning`] says so.
    ///
    /// # Errors
    /// [`RootsError::NoBundle`] names the places if there is none; a bundle that exists must be good PEM.
    pub fn system() -> Result<Self, RootsError> {
        Self::from_first_of(&SYSTEM_BUNDLES)
    }

    fn from_first_of(files: &[&str]) -> Result<Self, RootsError> {
        for file in files.iter().map(Path::new) {
            let pem = match read_bundle(file) {
                Err(RootsError::Read { error, .. }) if is_absent(&error) => continue,
                read => read?,
            };
            let roots = Self::usable(&pem, Some(file)).map_err(|error| error.in_file(file))?;
            return match (roots.anchors.is_empty(), roots.skipped.first()) {
                (true, Some(PemError { line, reason })) => Err(RootsError::Pem {
                    file: Some(file.to_owned()),
                    line: *line,
                    reason: reason.clone(),
                }),
                _ => Ok(roots),
            };
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

    /// The file of the system's bundle, if it is that.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What the administrator should know of the system's bundle: the certificates that could not be used, on one line.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let PemError { line, reason } = self.skipped.first()?;
        let file = self
            .file
            .as_deref()
            .unwrap_or_else(|| Path::new("the CA bundle"))
            .display();
        let more = match self.skipped.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more like it)"),
        };
        Some(format!(
            "{file}: line {line}: {reason}{more}. The certificate is skipped, and hosts with certificates of that CA fail."
        ))
    }
}

fn read_bundle(file: &Path) -> Result<Vec<u8>, RootsError> {
    let mut pem = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_BUNDLE + 1).read_to_end(&mut pem));
    let error = match read {
        Ok(_) if pem.len() as u64 > MAX_BUNDLE => io::Error::other(format!("larger than {} MiB", MAX_BUNDLE >> 20)),
        Ok(_) => return Ok(pem),
        Err(error) => error,
    };
    Err(RootsError::Read {
        file: file.to_owned(),
        error,
    })
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
            self.skipped.len()
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
    /// There is no certificate.
    NoCertificate {
        /// The file, if it was one.
        file: Option<PathBuf>,
    },
    /// What is or looks like a certificate cannot be used.
    Pem {
        /// The file, if it was one.
        file: Option<PathBuf>,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there, in plain words.
        reason: String,
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
            Self::NoCertificate { file: None } => f.write_str("no CA certificate"),
            Self::NoCertificate { file: Some(file) } => write!(f, "no CA certificate in {}", file.display()),
            Self::Pem { file, line, reason } => {
                if let Some(file) = file {
                    write!(f, "cannot use the CA bundle {}: ", file.display())?;
                }
                write!(f, "line {line}: {reason}")
            }
            Self::NoBundle { looked_for } => {
                f.write_str("the system has no CA bundle (looked for")?;
                for (i, file) in looked_for.iter().enumerate() {
                    write!(f, "{} {}", if i == 0 { "" } else { "," }, file.display())?;
                }
                f.write_str("). Install the package ca-certificates.")
            }
        }
    }
}

impl RootsError {
    fn in_file(self, path: &Path) -> Self {
        let file = Some(path.to_owned());
        match self {
            Self::NoCertificate { .. } => Self::NoCertificate { file },
            Self::Pem { line, reason, .. } => Self::Pem { file, line, reason },
            other => other,
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

    const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    /// An authority that the operator names does not vanish; one of the system's many does, with a word.
    #[test]
    fn what_is_unusable_is_refused_or_told() {
        let here = Directory::new("unusable");
        // Of a signature some octets more or less make a line.
        let good = authority("A");
        let line = good.lines().count() + 2;
        let text = format!("# Mine\n{good}{BROKEN}{}{BROKEN}", authority("B").replace('\n', "\r\n"));
        let file = here.write("roots.pem", &text);
        let reason = "the certificate cannot be read as a trust anchor";
        let error = Roots::from_file(Path::new(&file))
            .expect_err("one is broken")
            .to_string();
        assert_eq!(error, format!("cannot use the CA bundle {file}: line {line}: {reason}"));
        let roots = Roots::from_first_of(&[&file]).expect("two are good");
        assert_eq!((roots.anchors().len(), roots.certificates().len()), (2, 2));
        assert_eq!(format!("{roots:?}"), "Roots(2 certificates, 2 skipped)");
        assert_eq!(
            roots.warning(),
            Some(format!(
                "{file}: line {line}: {reason} (and 1 more like it). The certificate is skipped, and \
                 hosts with certificates of that CA fail."
            ))
        );
        let good = here.write("good.pem", authority("A"));
        assert_eq!(Roots::from_first_of(&[&good]).expect("good").warning(), None);
        // Not the system's bundle either: something is missing from it, and it is unknown what.
        let cut = here.write("cut.pem", &text[..text.len() - 10]);
        for read in [Roots::from_file(Path::new(&cut)), Roots::from_first_of(&[&cut, &good])] {
            let error = read.expect_err("no END").to_string();
            assert!(
                error.starts_with(&format!("cannot use the CA bundle {cut}: line ")),
                "{error}"
            );
        }
    }

    #[test]
    fn nothing_usable_is_an_error() {
        let here = Directory::new("nothing");
        for (text, message) in [
            ("", "no CA certificate"),
            (BROKEN, "line 1: the certificate cannot be read as a trust anchor"),
        ] {
            assert_eq!(Roots::from_pem(text.as_bytes()).expect_err(text).to_string(), message);
            let file = here.write("roots.pem", text);
            assert!(
                Roots::from_first_of(&[&file])
                    .expect_err(text)
                    .to_string()
                    .contains(message)
            );
        }
    }

    #[test]
    fn errors_name_the_file() {
        let here = Directory::new("errors");
        let empty = here.write("empty.pem", "");
        assert_eq!(
            Roots::from_file(Path::new(&empty)).expect_err("empty").to_string(),
            format!("no CA certificate in {empty}")
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
        // An empty bundle is a decision or a mishap: going on to another would trust what was taken away.
        let error = Roots::from_first_of(&[&empty, &good]).expect_err("the first exists");
        assert_eq!(error.to_string(), format!("no CA certificate in {empty}"));
        let error = Roots::from_first_of(&[&absent, &beneath_a_file]).expect_err("none");
        assert_eq!(
            error.to_string(),
            format!(
                "the system has no CA bundle (looked for {absent}, {beneath_a_file}). \
                 Install the package ca-certificates."
            )
        );
    }
}
