//! One authority: the way to it, and our account there. What has happened is in the ledger before the next request: a restart registers no
//! second account.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use instant_acme::{Account, Error, ExternalAccountKey, Key, NewAccount, Problem};
use mtasts::network::roots::Roots;
use mtasts::protocol::text::one_line;
use mtasts::sender::resolver::unix_now;
use mtasts_serve::Log;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Mutex;

use super::Acme;
use super::manager::{Stop, TEST_AGAIN};
use super::order::said;
use super::wire::Wire;
use crate::ledger::{Ledger as _, Note};
use crate::seal::Seal;
use crate::sqlite::Sqlite;

/// An authority.
pub(super) struct Authority {
    pub(super) acme: Acme,
    pub(super) wire: Wire,
    known: Mutex<Option<Known>>,
    /// Until when it is not asked for an account again, and why.
    failed: RefCell<Option<(u64, String)>>,
    ledger: Rc<RefCell<Sqlite>>,
    seal: Rc<Seal>,
    log: Log,
    /// Until when it is not told that an order replaces a certificate, as the ledger has it.
    plain: Cell<u64>,
}

/// What is known of an authority that was reached.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) account: Account,
    /// By which names it is in CAA records.
    pub(super) names: Vec<String>,
}

impl Authority {
    /// That of these settings.
    ///
    /// # Errors
    /// A sentence, if the trust anchors cannot be read.
    pub(super) fn new(acme: &Acme, ledger: &Rc<RefCell<Sqlite>>, seal: &Rc<Seal>, log: Log) -> Result<Self, String> {
        let roots = match &acme.ca_file {
            Some(file) => Roots::from_file(file),
            None => Roots::system(),
        };
        let roots = roots.map_err(|error| error.to_string())?;
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.certificates().iter().cloned());
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self {
            acme: acme.clone(),
            wire: Wire::new(Arc::new(tls)),
            known: Mutex::default(),
            failed: RefCell::default(),
            ledger: Rc::clone(ledger),
            seal: Rc::clone(seal),
            log,
            plain: Cell::new(0),
        })
    }

    /// Whether it is told that an order replaces a certificate.
    pub(super) fn takes_replacements(&self, now: u64) -> bool {
        now >= self.plain.get()
    }

    /// The authority, and our account there: the one of the ledger, or a new one. What fails is not tried again for each domain.
    pub(super) async fn known(&self) -> Result<Known, Stop> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let now = unix_now();
        if let Some((until, why)) = &*self.failed.borrow()
            && now < *until
        {
            return Err(Stop::Tested(why.clone()));
        }
        let found = self.reach().await;
        match &found {
            Ok(found) => *known = Some(found.clone()),
            Err(Stop::Tested(why)) => *self.failed.borrow_mut() = Some((now + TEST_AGAIN, why.clone())),
            Err(_) => {}
        }
        found
    }

    /// It is asked again.
    pub(super) fn try_again(&self) {
        self.failed.take();
    }

    async fn reach(&self) -> Result<Known, Stop> {
        let directory = &self.acme.directory;
        let names = names(&self.wire.get(directory).await.map_err(Stop::unreached)?);
        let stored = self.note(None)?;
        self.plain.set(stored.as_ref().map_or(0, |account| account.plain));
        let key = match stored {
            Some(account) => Some(self.seal.open(&self.place(), &account.key).map_err(Stop::Tested)?),
            None => None,
        };
        let existing = match &key {
            Some(key) => self.existing(key).await?,
            None => None,
        };
        let account = match existing {
            Some(account) => account,
            None => {
                let account = self.register(key).await?;
                self.log.info(&format!("registered at {directory}."));
                account
            }
        };
        Ok(Known { account, names })
    }

    /// Notes that the authority does not take it that an order replaces a certificate.
    pub(super) fn wants_plain_orders(&self, until: u64) -> Result<(), Stop> {
        self.plain.set(until);
        self.note(Some(Note::Plain(until))).map(|_| ())
    }

    /// The account of a key, if the authority knows it. It is not asked for a new one (RFC 8555 7.3.1): for that it may want to know its
    /// customer again.
    async fn existing(&self, key: &[u8]) -> Result<Option<Account>, Stop> {
        let builder = Account::builder_with_http(Box::new(self.wire.clone()));
        let found = builder.from_key(pair(key)?, self.acme.directory.clone()).await;
        let account = match found {
            Ok((account, _)) => account,
            Err(Error::Api(problem)) if is(&problem, &[":accountDoesNotExist"]) => return Ok(None),
            Err(error) => return Err(Stop::unreached(said(&error))),
        };
        self.update_contacts(&account).await;
        Ok(Some(account))
    }

    /// A new account, for this key if there is one that the authority does not know yet.
    async fn register(&self, key: Option<Vec<u8>>) -> Result<Account, Stop> {
        if let Some((kid, file)) = &self.acme.eab {
            return self.create(Some(&customer(kid, file)?)).await;
        }
        let key = match key {
            Some(key) => key,
            None => {
                let (_, key) = Key::generate_pkcs8().map_err(|error| Stop::unreached(said(&error)))?;
                // Before the authority knows it: the same key registers no second account (RFC 8555 7.3.1).
                self.keep(key.secret_pkcs8_der())?;
                key.secret_pkcs8_der().to_vec()
            }
        };
        let has_contact = !self.acme.contact.is_empty();
        let builder = Account::builder_with_http(Box::new(self.wire.clone()));
        match builder.create_from_key(pair(&key)?, self.acme.directory.clone()).await {
            Ok((account, _)) => {
                self.update_contacts(&account).await;
                Ok(account)
            }
            // It wants the contact with the request, which the library does not send with a key of ours. It has registered none.
            Err(Error::Api(problem)) if is(&problem, &[":malformed", ":invalidContact"]) && has_contact => {
                self.create(None).await
            }
            Err(error) => Err(Stop::unreached(said(&error))),
        }
    }

    /// A new account of a new key, with the contact, and for a customer of the authority if there is one.
    async fn create(&self, customer: Option<&ExternalAccountKey>) -> Result<Account, Stop> {
        let contact: Vec<&str> = self.acme.contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(Box::new(self.wire.clone()));
        let registered = builder.create(&wanted, self.acme.directory.clone(), customer).await;
        let (account, credentials) = registered.map_err(|error| Stop::unreached(said(&error)))?;
        self.keep(credentials.private_key().secret_pkcs8_der())?;
        Ok(account)
    }

    async fn update_contacts(&self, account: &Account) {
        if self.acme.contact.is_empty() {
            return;
        }
        let contact: Vec<&str> = self.acme.contact.iter().map(String::as_str).collect();
        if let Err(error) = account.update_contacts(&contact).await {
            let sentence = format!("the authority does not take the contact: {}", said(&error));
            self.log.warning(&one_line(&sentence, 1000));
        }
    }

    /// Where our key is in the ledger, in the words of the seal.
    fn place(&self) -> String {
        format!("account at {}", self.acme.directory)
    }

    /// Keeps the private key of our account, in place of one that the authority does not know.
    fn keep(&self, key: &[u8]) -> Result<(), Stop> {
        let sealed = self.seal.seal(&self.place(), key).map_err(Stop::Tested)?;
        self.note(Some(Note::Key(&sealed))).map(|_| ())
    }

    fn note(&self, note: Option<Note<'_>>) -> Result<Option<crate::ledger::Account>, Stop> {
        let mut ledger = self.ledger.borrow_mut();
        let stored = ledger.account(&self.acme.directory, note, unix_now());
        stored.map_err(Stop::ledger)
    }
}

/// Whether an answer is one of these errors (RFC 8555 6.7).
fn is(problem: &Problem, errors: &[&str]) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    errors.iter().any(|error| kind.ends_with(error))
}

/// A key as the library wants it.
fn pair(key: &[u8]) -> Result<(Key, PrivateKeyDer<'static>), Stop> {
    let key = PrivatePkcs8KeyDer::from(key.to_vec());
    let signer = Key::from_pkcs8_der(key.clone_key()).map_err(|error| Stop::unreached(said(&error)))?;
    Ok((signer, PrivateKeyDer::Pkcs8(key)))
}

/// By which key the authority knows its customer.
fn customer(kid: &str, file: &Path) -> Result<ExternalAccountKey, Stop> {
    let wrong = |why: &dyn std::fmt::Display| Stop::unreached(format!("eab_key_file: {}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let secret = BASE64URL_NOPAD.decode(text.trim().trim_end_matches('=').as_bytes());
    let secret = secret.map_err(|_| wrong(&"is not a key in base64url"))?;
    Ok(ExternalAccountKey::new(kid.to_owned(), &secret))
}

/// The names of the authority in CAA records (RFC 8555 7.1.1), as far as it says them.
fn names(directory: &[u8]) -> Vec<String> {
    let directory: serde_json::Value = serde_json::from_slice(directory).unwrap_or_default();
    let names = directory["meta"]["caaIdentities"].as_array();
    let names = names.into_iter().flatten().filter_map(|name| name.as_str());
    names
        .take(16)
        .map(|name| one_line(name, 255).to_ascii_lowercase())
        .collect()
}
