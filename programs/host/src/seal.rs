//! Private keys at rest. In the ledger they are sealed with a key that is not in it, so that a copy of the ledger is none of the keys.
//!
//! What is sealed is a line of text: which key has sealed it, and AES-256-GCM of the rest. Another place of the ledger does not open it.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use data_encoding::{BASE64, HEXLOWER};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What a sealed key begins with. PEM and PKCS #8 begin otherwise.
const BEGINNING: &str = "sealed 1 ";
/// How the settings name a credential of the service manager.
const CREDENTIAL: &str = "credential:";
/// The length of a sealing key, in octets.
const LENGTH: usize = 32;
/// The longest file that is read, in octets.
const LONGEST: u64 = 256;

/// Where a sealing key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A file, for its owner alone.
    File(PathBuf),
    /// A credential of the service manager (systemd.exec(5), `LoadCredential=`), by its name.
    Credential(String),
}

impl Place {
    /// As the settings have it: an absolute path, or `credential:NAME`.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix(CREDENTIAL) {
            Some(name) if !name.is_empty() && name != ".." && !name.contains(['/', '\0']) => {
                Ok(Self::Credential(name.to_owned()))
            }
            None if text.starts_with('/') => Ok(Self::File(text.into())),
            _ => Err(format!(
                "{text:?} is neither an absolute path nor \"credential:\" and a name"
            )),
        }
    }

    fn read(&self) -> Result<[u8; LENGTH], String> {
        let (path, others) = match self {
            Self::File(path) => (path.clone(), 0o077),
            Self::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| format!("credential:{name}: the service manager has given no credentials"))?;
                // The service manager lets its user read it by an ACL, which shows as a right of the group.
                (PathBuf::from(directory).join(name), 0o027)
            }
        };
        let at = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let file = fs::File::open(&path).map_err(|error| at(&error))?;
        let mode = file.metadata().map_err(|error| at(&error))?.mode();
        if mode & others != 0 {
            return Err(at(&"is not for its owner alone; use chmod 0400"));
        }
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|error| at(&error))?;
        let key = BASE64.decode(text.trim().as_bytes()).ok();
        let key = key.and_then(|key| <[u8; LENGTH]>::try_from(key).ok());
        key.ok_or_else(|| at(&"is not 32 octets in base64; make it with openssl rand -base64 32"))
    }
}

/// The sealing keys. The first one seals, and all of them open.
#[derive(Default)]
pub struct Seal(Vec<(String, LessSafeKey)>);

impl Seal {
    /// Reads the keys.
    ///
    /// # Errors
    /// A sentence: one of them cannot be read, or others can read it.
    pub fn read(places: &[Place]) -> Result<Self, String> {
        let keys = places.iter().map(|place| {
            let octets = place.read()?;
            let key = UnboundKey::new(&AES_256_GCM, &octets).map_err(|_| "a sealing key cannot be used")?;
            let id = HEXLOWER.encode(&digest(&SHA256, &octets).as_ref()[..4]);
            Ok((id, LessSafeKey::new(key)))
        });
        keys.collect::<Result<_, String>>().map(Self)
    }

    /// The private key of this place of the ledger, as it is stored. Without a sealing key that is as it is.
    ///
    /// # Errors
    /// A sentence, if the system fails.
    pub(crate) fn seal(&self, place: &str, private: &[u8]) -> Result<Vec<u8>, String> {
        let Some((id, key)) = self.0.first() else {
            return Ok(private.to_vec());
        };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| "the system gives no random octets")?;
        let mut octets = private.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.as_bytes()),
            &mut octets,
        )
        .map_err(|_| "a private key cannot be sealed")?;
        let sealed = BASE64.encode(&[&nonce[..], &octets].concat());
        Ok(format!("{BEGINNING}{id} {sealed}").into())
    }

    /// The private key of this place of the ledger.
    ///
    /// # Errors
    /// A sentence: it was sealed with another key, or for another place, or was changed.
    pub(crate) fn open(&self, place: &str, stored: &[u8]) -> Result<Vec<u8>, String> {
        let Some((id, sealed)) = sealed(stored) else {
            return Ok(stored.to_vec());
        };
        let Some((_, key)) = self.0.iter().find(|(known, _)| known == id) else {
            return Err(match self.0.is_empty() {
                true => format!("the private key of the {place} is sealed; name the key {id} in seal_keys"),
                false => {
                    format!("the private key of the {place} is sealed with the key {id}, which is not in seal_keys")
                }
            });
        };
        let broken =
            || format!("the private key of the {place} was changed, or is that of another place; restore a copy");
        let mut octets = BASE64.decode(sealed.as_bytes()).map_err(|_| broken())?;
        let nonce: [u8; NONCE_LEN] = octets
            .get(..NONCE_LEN)
            .and_then(|nonce| nonce.try_into().ok())
            .ok_or_else(broken)?;
        let private = key.open_within(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.as_bytes()),
            &mut octets,
            NONCE_LEN..,
        );
        private.map(|private| private.to_vec()).map_err(|_| broken())
    }

    /// What is to be stored in place of this, if that is not sealed with the first key.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn renew(&self, place: &str, stored: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let first = self.0.first().map(|(id, _)| id.as_str());
        let private = self.open(place, stored)?;
        match sealed(stored).map(|(id, _)| id) == first {
            true => Ok(None),
            false => self.seal(place, &private).map(Some),
        }
    }
}

/// Which key has sealed it, and what, if it is sealed.
fn sealed(stored: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(stored).ok()?;
    text.strip_prefix(BEGINNING)?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn key(directory: &TempDir, name: &str, octet: u8) -> Place {
        let path = directory.path().join(name);
        fs::write(&path, BASE64.encode(&[octet; LENGTH]) + "\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
        Place::File(path)
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_at_its_place() {
        let directory = TempDir::new().unwrap();
        let (a, b) = (key(&directory, "a", 1), key(&directory, "b", 2));
        let old = Seal::read(std::slice::from_ref(&a)).unwrap();
        let (first, second) = (old.seal("x", b"secret").unwrap(), old.seal("x", b"secret").unwrap());
        assert_ne!(first, second);
        assert!(!first.windows(6).any(|octets| octets == b"secret"));
        assert_eq!(old.open("x", &first).unwrap(), b"secret");
        for at in 0..first.len() {
            let mut changed = first.clone();
            changed[at] ^= 1;
            assert!(
                old.open("x", &changed).map_or(true, |opened| opened != b"secret"),
                "{at}"
            );
        }
        assert!(old.open("y", &first).unwrap_err().contains("of the y was changed"));
        // Roll-over: the first one seals, both open.
        let both = Seal::read(&[b.clone(), a]).unwrap();
        assert_eq!(both.open("x", &first).unwrap(), b"secret");
        let renewed = both.renew("x", &first).unwrap().unwrap();
        let new = Seal::read(&[b]).unwrap();
        assert_eq!(new.open("x", &renewed).unwrap(), b"secret");
        assert_eq!(new.renew("x", &renewed).unwrap(), None);
        let why = new.renew("x", &first).unwrap_err();
        assert!(why.ends_with(", which is not in seal_keys"), "{why}");
        // Without any nothing is sealed, and what is sealed says by which key.
        let none = Seal::default();
        assert_eq!(none.seal("x", b"secret").unwrap(), b"secret");
        assert_eq!(none.renew("x", b"secret").unwrap(), None);
        assert!(none.open("x", &first).unwrap_err().contains("is sealed; name the key "));
        assert_eq!(
            new.renew("x", b"secret")
                .unwrap()
                .map(|stored| stored.starts_with(b"sealed 1 ")),
            Some(true)
        );
    }

    #[test]
    fn a_key_is_for_its_owner_alone() {
        let directory = TempDir::new().unwrap();
        let path = |place: &Place| match place {
            Place::File(path) => path.clone(),
            Place::Credential(_) => unreachable!(),
        };
        let place = key(&directory, "a", 1);
        for mode in [0o440, 0o404, 0o660] {
            fs::set_permissions(path(&place), PermissionsExt::from_mode(mode)).unwrap();
            let why = Seal::read(std::slice::from_ref(&place)).map(|_| ()).unwrap_err();
            assert!(why.ends_with("is not for its owner alone; use chmod 0400"), "{why}");
        }
        for text in ["", "short", "c2hvcnQ="] {
            fs::set_permissions(path(&place), PermissionsExt::from_mode(0o600)).unwrap();
            fs::write(path(&place), text).unwrap();
            let why = Seal::read(std::slice::from_ref(&place)).map(|_| ()).unwrap_err();
            assert!(why.contains("is not 32 octets in base64"), "{why}");
        }
        for bad in ["", "x", "credential:", "credential:a/b", "credential:.."] {
            assert!(Place::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            Place::parse("credential:host").unwrap(),
            Place::Credential("host".into())
        );
    }
}
