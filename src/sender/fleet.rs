//! The hosts that share what they fetch, by a Valkey or Redis server: which server, with which keys, and for how long it is
//! left alone when it has failed.
//!
//! What the others have learnt is a hint, nothing more. It is asked for only where DNS or a policy host would be asked next,
//! and whatever is wrong with the server, a lookup goes on as if there were none.

pub mod counts;
#[cfg(feature = "inside")]
pub mod inspection;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cache::sealed::Secrets;
use crate::network::valkey::address::Address;
use crate::protocol::names::Domain;
use crate::protocol::text::two_sentences;
use crate::sender::notice::{Notice, Token};
use crate::sender::settings_file;

/// Whether this build has it (the feature `fleet`).
pub const BUILT: bool = cfg!(feature = "fleet");
/// How the names of all keys on the server begin, unless the operator has another prefix.
pub const PREFIX: &str = "mtasts:1:";
/// How much of a lookup's time the server may take, in all.
pub const BUDGET: Duration = Duration::from_millis(150);
/// How long a server that has failed is left alone, in milliseconds.
const CLOSED: u64 = 5000;
/// How often a failure is told, in milliseconds.
const TOLD: u64 = 60_000;

/// What a fleet needs, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The server to which all write.
    pub server: Address,
    /// The server that is read: the same, or a replica of it.
    pub reader: Address,
    /// How the names of the keys begin.
    pub prefix: String,
    /// The file of the secrets.
    pub key_file: PathBuf,
}

impl Setup {
    /// The fleet of these settings; `None` if they have none.
    ///
    /// # Errors
    /// The key of the setting that is missing or wrong, and the reason.
    pub fn of(
        servers: &[Address],
        prefix: &str,
        key_file: Option<&Path>,
        insecure: bool,
    ) -> Result<Option<Self>, (&'static str, String)> {
        let (Some(server), true) = (servers.first(), BUILT) else {
            return Ok(None);
        };
        let reader = servers.get(1).unwrap_or(server);
        let unsafe_one = [server, reader].into_iter().find(|address| !address.is_safe());
        if let (Some(address), false) = (unsafe_one, insecure) {
            let why = format!(
                "{address} would be asked without TLS, beyond this host: use rediss://, or set fleet_insecure = \"on\" if \
                 the way there is safe by other means"
            );
            return Err(("fleet", why));
        }
        let Some(key_file) = key_file else {
            return Err(("fleet_key_file", "must be set where fleet is".to_owned()));
        };
        Ok(Some(Self {
            server: server.clone(),
            reader: reader.clone(),
            prefix: prefix.to_owned(),
            key_file: key_file.to_owned(),
        }))
    }

    /// The key under which something of a domain is: `p` its policy, `f` its failed fetch, `l` the lock of its fetch.
    #[must_use]
    pub fn key(&self, kind: char, domain: &Domain) -> String {
        format!("{}{kind}:{domain}", self.prefix)
    }

    /// Reads the secrets, by the user who is to use them.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn secrets(&self) -> Result<Secrets, String> {
        read_secrets(&self.key_file).map_err(|why| format!("{}: {why}", self.key_file.display()))
    }
}

fn read_secrets(file: &Path) -> Result<Secrets, String> {
    let text = settings_file::read(file)?;
    let mode = fs::metadata(file).map_err(|e| e.to_string())?.mode();
    if mode & 0o037 != 0 {
        return Err(format!(
            "its mode is {:o}, so others may read or change it. Run chmod 640 on it.",
            mode & 0o777
        ));
    }
    Secrets::parse(&text)
}

/// Whether the server may be asked now: after a failure it is left alone for five seconds, and once a minute the
/// administrator is told. It may be shared by any number of threads; a child of a fork begins with what its parent knew.
#[derive(Debug, Default)]
pub struct Door {
    failed: AtomicU64,
    told: AtomicU64,
}

impl Door {
    /// Whether it may be asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        // A clock that was set does not keep it shut for longer.
        milliseconds().abs_diff(self.failed.load(Ordering::Relaxed)) >= CLOSED
    }

    /// It has failed just now.
    pub fn close(&self) {
        self.failed.store(milliseconds(), Ordering::Relaxed);
    }

    /// It has failed: closes it, and returns what is to be told now.
    pub fn failed(&self, why: &str) -> Option<Notice> {
        self.close();
        let now = milliseconds();
        let before = self.told.load(Ordering::Relaxed);
        let is_first = now.abs_diff(before) >= TOLD
            && self
                .told
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        let sentence = || two_sentences(&format!("the fleet is not used: {why}"), "Lookups go on without it.");
        is_first.then(|| Notice::new(Token::FleetNotUsed, sentence()))
    }
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_fleet_is_complete_or_none() {
        let of = |servers: &[&str], key: Option<&str>, insecure| {
            let servers: Vec<_> = servers.iter().map(|text| Address::parse(text).unwrap()).collect();
            Setup::of(&servers, "x:", key.map(Path::new), insecure)
        };
        let key = Some("/etc/mtasts/fleet.key");
        assert_eq!(of(&[], key, false), Ok(None));
        let setup = of(&["rediss://a.example", "unix:/run/b"], key, false).unwrap().unwrap();
        assert_eq!(setup.server.to_string(), "rediss://a.example:6379");
        assert_eq!(setup.reader.to_string(), "unix:/run/b");
        assert_eq!(
            setup.key('p', &Domain::parse("Example.com").unwrap()),
            "x:p:example.com"
        );
        let (field, why) = of(&["unix:/run/b"], None, false).unwrap_err();
        assert_eq!((field, why.as_str()), ("fleet_key_file", "must be set where fleet is"));
        for servers in [&["redis://cache.example"][..], &["unix:/run/b", "redis://192.0.2.1"]] {
            let (field, why) = of(servers, key, false).unwrap_err();
            assert!(field == "fleet" && why.contains("without TLS"), "{why}");
            assert!(of(servers, key, true).is_ok());
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_no_secret() {
        let file = std::env::temp_dir().join(format!("mtasts-fleet-key-{}", std::process::id()));
        fs::write(&file, format!("key {}\n", "a".repeat(64))).unwrap();
        for (mode, good) in [
            (0o600, true),
            (0o640, true),
            (0o400, true),
            (0o644, false),
            (0o660, false),
            (0o601, false),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_secrets(&file).is_ok(), good, "{mode:o}");
        }
        fs::remove_file(&file).unwrap();
        assert!(read_secrets(&file).unwrap_err().contains("No such file"));
    }

    #[test]
    fn a_failure_closes_the_door_and_is_told_once() {
        let door = Door::default();
        assert!(door.is_open());
        let told = door.failed("it did not answer in time").unwrap().to_string();
        assert_eq!(
            told,
            "mtasts[fleet-not-used]: the fleet is not used: it did not answer in time. Lookups go on without it."
        );
        assert!(!door.is_open() && door.failed("again").is_none());
        door.failed.fetch_sub(CLOSED, Ordering::Relaxed);
        assert!(door.is_open(), "after five seconds");
        door.told.fetch_sub(TOLD, Ordering::Relaxed);
        assert!(door.failed("again").is_some(), "after a minute");
    }
}
