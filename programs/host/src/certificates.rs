//! The certificates of the policy hosts, one for each: from the ledger, or from files in the layout of certbot and dehydrated.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtasts::Domain;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider, sign::any_supported_type};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::ledger::{Certificate, Ledger as _};
use crate::seal::Seal;
use crate::sqlite::Sqlite;

/// How often the files of a host are looked at, if somebody asks for it.
const LOOK: Duration = Duration::from_secs(60);
/// The longest file, in octets.
const MAX_FILE: u64 = 64 << 10;
/// The longest chain.
const MAX_CHAIN: usize = 16;

/// How many certificates are one generation. Two of them are in memory; the others are read again when somebody asks.
const GENERATION: usize = 512;

/// The certificates that were asked for lately.
pub(crate) struct Certificates {
    directory: Option<PathBuf>,
    ledger: Option<Rc<RefCell<Sqlite>>>,
    seal: Rc<Seal>,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    known: RefCell<Generations>,
}

/// Certificates by their hosts. When a generation is full a new one begins, and what nobody asked for since the last one
/// began is forgotten: ten thousand hosts take as much memory as a thousand.
#[derive(Default)]
struct Generations {
    young: HashMap<String, Known>,
    old: HashMap<String, Known>,
}

impl Generations {
    /// What is known of a host, which counts as young from now on.
    fn get(&mut self, host: &str) -> Option<&mut Known> {
        if let Some(known) = self.old.remove(host) {
            self.put(host, known);
        }
        self.young.get_mut(host)
    }

    fn put(&mut self, host: &str, known: Known) {
        if self.young.len() >= GENERATION && !self.young.contains_key(host) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(host.to_owned(), known);
    }

    fn forget(&mut self, host: &str) {
        self.young.remove(host);
        self.old.remove(host);
    }
}

struct Known {
    config: Arc<ServerConfig>,
    version: Version,
    looked: Instant,
}

/// Which certificate it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// That of the ledger, which came at this time, in Unix seconds.
    Issued(u64),
    /// That of the files.
    Files(Files),
}

/// How both files looked: a certificate that was renewed is another file, or has another time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Files([(u64, u64, i64, i64); 2]);

/// What came of a look at the files.
pub(crate) enum Found {
    /// The certificate to use.
    Good(Arc<ServerConfig>),
    /// The one that was read before, because the files are bad now.
    Old(Arc<ServerConfig>, String),
    /// None: a sentence.
    Bad(String),
}

impl Certificates {
    /// Those of a directory, and before them those of a ledger.
    pub(crate) fn new(
        directory: Option<&Path>,
        ledger: Option<&Rc<RefCell<Sqlite>>>,
        seal: &Rc<Seal>,
    ) -> Result<Self, String> {
        if let Some(directory) = directory {
            let about = fs::metadata(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            if !about.is_dir() {
                return Err(format!("{} is not a directory", directory.display()));
            }
        }
        Ok(Self {
            directory: directory.map(Path::to_owned),
            ledger: ledger.cloned(),
            seal: Rc::clone(seal),
            provider: Arc::new(default_provider()),
            tickets: Ticketer::new().map_err(|error| error.to_string())?,
            known: RefCell::default(),
        })
    }

    /// The TLS of a policy host, whose name is a domain name. The files are read again if they have changed.
    pub(crate) fn of(&self, host: &str) -> Found {
        let mut known = self.known.borrow_mut();
        let before = known.get(host);
        if let Some(before) = before.as_ref().filter(|before| before.looked.elapsed() < LOOK) {
            return Found::Good(before.config.clone());
        }
        let read = self.look(host).and_then(|(version, own)| match &before {
            Some(before) if before.version == version => Ok((before.config.clone(), version)),
            _ => match own {
                Some(own) => Ok((self.own(host, &own)?, version)),
                None => Ok((self.read(host)?, version)),
            },
        });
        match (read, before) {
            (Ok((config, version)), _) => {
                let now = Known {
                    config: config.clone(),
                    version,
                    looked: Instant::now(),
                };
                known.put(host, now);
                Found::Good(config)
            }
            (Err(why), Some(before)) => {
                before.looked = Instant::now();
                Found::Old(before.config.clone(), why)
            }
            (Err(why), None) => Found::Bad(why),
        }
    }

    /// Has the certificate of a host looked at again: there is another one.
    pub(crate) fn forget(&self, host: &str) {
        self.known.borrow_mut().forget(host);
    }

    fn paths(&self, host: &str) -> [PathBuf; 2] {
        let directory = self.directory.clone().unwrap_or_default().join(host);
        [directory.join("fullchain.pem"), directory.join("privkey.pem")]
    }

    /// Which certificate there is now, and itself if it is in the ledger.
    fn look(&self, host: &str) -> Result<(Version, Option<Certificate>), String> {
        let domain = host.strip_prefix("mta-sts.").and_then(|name| Domain::parse(name).ok());
        if let Some((ledger, domain)) = self.ledger.as_ref().zip(domain) {
            let own = ledger
                .borrow()
                .certificate(&domain)
                .map_err(|error| error.to_string())?;
            match own {
                Some(own) => return Ok((Version::Issued(own.life.issued), Some(own))),
                None if self.directory.is_none() => return Err("it was not issued yet".into()),
                None => {}
            }
        }
        self.look_at_files(host).map(|files| (Version::Files(files), None))
    }

    fn look_at_files(&self, host: &str) -> Result<Files, String> {
        let mut files = [(0, 0, 0, 0); 2];
        for (path, file) in self.paths(host).iter().zip(&mut files) {
            let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
            let about = fs::metadata(path).map_err(|error| wrong(&error))?;
            if !about.is_file() || about.len() > MAX_FILE {
                return Err(wrong(&"is not a regular file of at most 64 KiB"));
            }
            *file = (about.ino(), about.len(), about.mtime(), about.mtime_nsec());
        }
        Ok(Files(files))
    }

    fn read(&self, host: &str) -> Result<Arc<ServerConfig>, String> {
        let [chain_file, key_file] = self.paths(host);
        let at = |path: &Path| {
            let path = path.display().to_string();
            move |error: &dyn std::fmt::Display| format!("{path}: {error}")
        };
        let (in_chain, in_key) = (at(&chain_file), at(&key_file));
        let chain = fs::read(&chain_file).map_err(|error| in_chain(&error))?;
        let key = fs::read(&key_file).map_err(|error| in_key(&error))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| in_key(&error))?;
        let chain = CertificateDer::pem_slice_iter(&chain);
        let certified = certified(chain, &key, host).map_err(|why| in_chain(&why))?;
        Ok(Arc::new(self.tls(certified)))
    }

    fn own(&self, host: &str, own: &Certificate) -> Result<Arc<ServerConfig>, String> {
        let place = format!("certificate of {}", host.strip_prefix("mta-sts.").unwrap_or(host));
        let key = self.seal.open(&place, own.key.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| error.to_string())?;
        let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
        Ok(Arc::new(self.tls(certified(chain, &key, host)?)))
    }

    fn tls(&self, certified: CertifiedKey) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring has suites for both")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sessions are in their clients' tickets: the memory does not grow with them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.tickets.clone();
        config.send_tls13_tickets = 1;
        config
    }
}

/// A chain with its key, if the first certificate of it is one for this host.
///
/// # Errors
/// What is wrong with the chain, in a sentence.
pub(crate) fn certified(
    chain: impl Iterator<Item = Result<CertificateDer<'static>, rustls_pki_types::pem::Error>>,
    key: &PrivateKeyDer<'_>,
    host: &str,
) -> Result<CertifiedKey, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let chain: Vec<_> = chain
        .take(MAX_CHAIN)
        .collect::<Result<_, _>>()
        .map_err(|error| said(&error))?;
    let leaf = chain.first().ok_or("has no certificate")?;
    let name = ServerName::try_from(host).map_err(|error| said(&error))?;
    ParsedCertificate::try_from(leaf)
        .and_then(|leaf| verify_server_name(&leaf, &name))
        .map_err(|error| format!("is not for {host}: {error}"))?;
    let key = any_supported_type(key).map_err(|error| said(&error))?;
    let certified = CertifiedKey::new(chain, key);
    let matches = certified.keys_match();
    matches.map_err(|_| "the key beside it is not the key of the certificate")?;
    Ok(certified)
}

#[cfg(test)]
mod tests {
    use mtasts_kit::pki::{Host, host, root};
    use tempfile::TempDir;

    use super::*;

    const NAME: &str = "mta-sts.example.com";

    fn write(directory: &Path, certificate: &Host, key: &Host) {
        let directory = directory.join(NAME);
        fs::create_dir_all(&directory).unwrap();
        // As a client of ACME does: another file in its place.
        let chain = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der.clone()));
        for (name, text) in [("fullchain.pem", &chain), ("privkey.pem", &key.key_pem)] {
            fs::write(directory.join("new"), text).unwrap();
            fs::rename(directory.join("new"), directory.join(name)).unwrap();
        }
    }

    fn bad(certificates: &Certificates) -> String {
        match certificates.of(NAME) {
            Found::Bad(why) => why,
            Found::Good(_) | Found::Old(..) => panic!("it is good"),
        }
    }

    fn good(certificates: &Certificates) -> Arc<ServerConfig> {
        match certificates.of(NAME) {
            Found::Good(config) => config,
            Found::Old(_, why) | Found::Bad(why) => panic!("{why}"),
        }
    }

    #[test]
    fn a_certificate_for_another_name_or_key_is_refused() {
        let directory = TempDir::new().unwrap();
        let certificates = Certificates::new(Some(directory.path()), None, &Rc::default()).unwrap();
        let authority = root("Test Root");
        let (ours, other) = (
            host(&[NAME], &authority, |_| {}),
            host(&["mta-sts.example.org"], &authority, |_| {}),
        );
        assert!(bad(&certificates).contains("No such file"));
        write(directory.path(), &other, &other);
        assert!(
            bad(&certificates).contains("is not for mta-sts.example.com"),
            "{}",
            bad(&certificates)
        );
        write(directory.path(), &ours, &other);
        assert!(
            bad(&certificates).contains("is not the key of the certificate"),
            "{}",
            bad(&certificates)
        );
        fs::write(directory.path().join(NAME).join("fullchain.pem"), "").unwrap();
        assert!(
            bad(&certificates).contains("has no certificate"),
            "{}",
            bad(&certificates)
        );
        write(directory.path(), &ours, &ours);
        good(&certificates);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let directory = TempDir::new().unwrap();
        let certificates = Certificates::new(Some(directory.path()), None, &Rc::default()).unwrap();
        let ours = host(&[NAME], &root("Test Root"), |_| {});
        write(directory.path(), &ours, &ours);
        let config = good(&certificates);
        let mut known = certificates.known.borrow_mut();
        for n in 0..10 * GENERATION {
            let version = Version::Issued(0);
            let (config, looked) = (config.clone(), Instant::now());
            known.put(
                &format!("mta-sts.d{n}.example"),
                Known {
                    config,
                    version,
                    looked,
                },
            );
            // This one is asked for all the time.
            if n % 100 == 0 {
                assert!(known.get(NAME).is_some(), "{n}");
            }
            assert!(known.young.len() <= GENERATION && known.old.len() <= GENERATION, "{n}");
        }
        assert!(known.get("mta-sts.d0.example").is_none());
        known.forget(NAME);
        assert!(known.get(NAME).is_none());
    }

    #[test]
    fn a_renewed_certificate_is_used_and_a_bad_one_is_not() {
        let directory = TempDir::new().unwrap();
        let certificates = Certificates::new(Some(directory.path()), None, &Rc::default()).unwrap();
        let authority = root("Test Root");
        let (first, second) = (host(&[NAME], &authority, |_| {}), host(&[NAME], &authority, |_| {}));
        let pass_a_minute = || {
            let mut known = certificates.known.borrow_mut();
            let known = known.get(NAME).unwrap();
            known.looked = known.looked.checked_sub(LOOK).unwrap();
        };
        write(directory.path(), &first, &first);
        let before = good(&certificates);
        write(directory.path(), &second, &second);
        assert!(
            Arc::ptr_eq(&before, &good(&certificates)),
            "it is looked at once a minute"
        );
        pass_a_minute();
        let after = good(&certificates);
        assert!(!Arc::ptr_eq(&before, &after));
        pass_a_minute();
        assert!(
            Arc::ptr_eq(&after, &good(&certificates)),
            "the same files are not read again"
        );
        write(directory.path(), &first, &second);
        pass_a_minute();
        let Found::Old(kept, why) = certificates.of(NAME) else {
            panic!("it is not told")
        };
        assert!(Arc::ptr_eq(&after, &kept) && why.contains("is not the key"), "{why}");
        // For a minute that was said once.
        assert!(Arc::ptr_eq(&after, &good(&certificates)));
    }
}
