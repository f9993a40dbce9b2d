//! One authority: the way to it, and our account there. What has happened is in the ledger before the next request: a restart registers no
//! second account.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use instant_acme::{Account, ExternalAccountKey, Key, NewAccount};
use mtasts::network::roots::Roots;
use mtasts::protocol::text::one_line;
use mtasts::sender::resolver::unix_now;
use mtasts_serve::Log;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Mutex;

use super::Acme;
use super::manager::Stop;
use super::order::said;
use super::wire::Wire;
use crate::ledger::Ledger as _;
use crate::seal::Seal;
use crate::sqlite::Sqlite;

/// An authority.
pub(super) struct Authority {
    pub(super) acme: Acme,
    pub(super) wire: Wire,
    known: Mutex<Option<Known>>,
    ledger: Rc<RefCell<Sqlite>>,
    seal: Rc<Seal>,
    log: Log,
    /// Until when it is not told that an order replaces a certificate: it does not take that.
    pub(super) plain: Cell<u64>,
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
            ledger: Rc::clone(ledger),
            seal: Rc::clone(seal),
            log,
            plain: Cell::new(0),
        })
    }

    /// The authority, and our account there: the one of the ledger, or a new one.
    pub(super) async fn known(&self) -> Result<Known, Stop> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let directory = &self.acme.directory;
        let names = names(&self.wire.get(directory).await.map_err(Stop::unreached)?);
        let stored = self.account(None)?;
        let is_new = stored.is_none();
        let account = match (stored, &self.acme.eab) {
            (None, Some((kid, file))) => self.bound_account(kid, file).await?,
            (stored, _) => self.account_of(stored).await?,
        };
        if is_new {
            self.log.info(&format!("registered at {directory}."));
        }
        let found = Known { account, names };
        *known = Some(found.clone());
        Ok(found)
    }

    /// The account of a key, which is a new one if there is none.
    async fn account_of(&self, stored: Option<Vec<u8>>) -> Result<Account, Stop> {
        let directory = &self.acme.directory;
        let key = match stored {
            Some(key) => PrivatePkcs8KeyDer::from(key),
            None => {
                let (_, key) = Key::generate_pkcs8().map_err(|error| Stop::unreached(said(&error)))?;
                // Before the authority knows it: the same key registers no second account (RFC 8555 7.3.1).
                self.account(Some(key.secret_pkcs8_der()))?;
                key
            }
        };
        let signer = Key::from_pkcs8_der(key.clone_key()).map_err(|error| Stop::unreached(said(&error)))?;
        let registered = Account::builder_with_http(Box::new(self.wire.clone()))
            .create_from_key((signer, PrivateKeyDer::Pkcs8(key)), directory.clone())
            .await;
        let (account, _) = registered.map_err(|error| Stop::unreached(said(&error)))?;
        if !self.acme.contact.is_empty() {
            let contact: Vec<&str> = self.acme.contact.iter().map(String::as_str).collect();
            if let Err(error) = account.update_contacts(&contact).await {
                let sentence = format!("the authority does not take the contact: {}", said(&error));
                self.log.warning(&one_line(&sentence, 1000));
            }
        }
        Ok(account)
    }

    /// A new account that is bound to a customer of the authority.
    async fn bound_account(&self, kid: &str, file: &Path) -> Result<Account, Stop> {
        let wrong = |why: &dyn std::fmt::Display| Stop::unreached(format!("eab_key_file: {}: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let secret = BASE64URL_NOPAD.decode(text.trim().trim_end_matches('=').as_bytes());
        let secret = secret.map_err(|_| wrong(&"is not a key in base64url"))?;
        let contact: Vec<&str> = self.acme.contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let key = ExternalAccountKey::new(kid.to_owned(), &secret);
        let registered = Account::builder_with_http(Box::new(self.wire.clone()))
            .create(&wanted, self.acme.directory.clone(), Some(&key))
            .await;
        let (account, credentials) = registered.map_err(|error| Stop::unreached(said(&error)))?;
        self.account(Some(credentials.private_key().secret_pkcs8_der()))?;
        Ok(account)
    }

    /// The private key of our account, or this one from now on if there is none.
    fn account(&self, new: Option<&[u8]>) -> Result<Option<Vec<u8>>, Stop> {
        let directory = &self.acme.directory;
        let place = format!("account at {directory}");
        let new = new
            .map(|key| self.seal.seal(&place, key))
            .transpose()
            .map_err(Stop::Tested)?;
        let stored = self.ledger.borrow_mut().account(directory, new.as_deref(), unix_now());
        let stored = stored.map_err(Stop::ledger)?;
        let key = stored.map(|stored| self.seal.open(&place, &stored));
        key.transpose().map_err(Stop::Tested)
    }
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
