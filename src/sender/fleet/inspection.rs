//! What an operator wants to know of the server of a fleet: whether it answers, what it does when its memory is full, and
//! what the hosts have stored. For programs; a lookup needs none of it.

use std::time::{Duration, Instant};

use super::Setup;
use crate::cache::entry::Entry;
use crate::cache::sealed::{self, Secrets};
use crate::network::dns::Dns;
use crate::network::https::RootSource;
use crate::network::valkey::{Connection, Reply};
use crate::protocol::names::Domain;
use crate::protocol::text::one_line;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many keys the server looks at for each command.
const KEYS: &str = "200";

/// A connection for an operator.
pub struct Inspection {
    setup: Setup,
    secrets: Secrets,
    connection: Connection,
}

/// What the server says of itself. Nothing where it does not let this user ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// How long a command takes, there and back.
    pub took: Duration,
    /// `Valkey 8.1.1` or `Redis 7.0.15`.
    pub version: Option<String>,
    /// What it does if its memory is full: `noeviction`, or how it chooses what goes.
    pub policy: Option<String>,
    /// The memory that it uses, in octets, and may use; 0 for no limit.
    pub memory: Option<(u64, u64)>,
}

impl Condition {
    /// Whether it drops entries that are in force when its memory is full. That can happen only with a limit.
    #[must_use]
    pub fn evicts(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy != "noeviction")
    }
}

impl Inspection {
    /// Connects as a lookup does, to the server that is written.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub fn open(setup: &Setup, dns: &dyn Dns, roots: &RootSource) -> Result<Self, String> {
        let (secrets, deadline) = (setup.secrets()?, Instant::now() + PATIENCE);
        let connection = Connection::open(&setup.server, secrets.password(), dns, roots, deadline);
        Ok(Self {
            setup: setup.clone(),
            secrets,
            connection: connection.map_err(|why| format!("{}: {why}", setup.server))?,
        })
    }

    /// Asks as a lookup does, and then for what the server says of itself.
    ///
    /// # Errors
    /// The server does not answer, or refuses what a lookup needs.
    pub fn condition(&mut self) -> Result<Condition, String> {
        // That no key of a domain is.
        let key = format!("{}check", self.setup.prefix);
        self.one(&[b"GET", key.as_bytes()])?;
        let begun = Instant::now();
        self.one(&[b"EVAL", b"return redis.call('GET', KEYS[1])", b"1", key.as_bytes()])?;
        let took = begun.elapsed();
        let about = |reply: Result<Reply, String>| match reply {
            Ok(Reply::Bulk(text)) => String::from_utf8_lossy(&text).into_owned(),
            _ => String::new(),
        };
        let server = about(self.one(&[b"INFO", b"server"]));
        let memory = about(self.one(&[b"INFO", b"memory"]));
        let field = |text: &str, name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(|value| one_line(value.trim(), 80))
        };
        let number = |name: &str| field(&memory, name)?.parse().ok();
        let name = |key: &str, name: &str| field(&server, key).map(|version| format!("{name} {version}"));
        Ok(Condition {
            took,
            // Valkey has both: the second says which Redis it is like.
            version: name("valkey_version", "Valkey").or_else(|| name("redis_version", "Redis")),
            policy: field(&memory, "maxmemory_policy"),
            memory: number("used_memory").zip(number("maxmemory")),
        })
    }

    /// The domains of which a policy is stored, as the server gives them: in no order, perhaps one twice, and some at a time.
    /// `seen` is called with each lot.
    ///
    /// # Errors
    /// The server does not answer, or does not let this user ask; or the error of `seen`.
    pub fn domains(
        &mut self,
        mut seen: impl FnMut(&mut Self, Vec<Domain>) -> Result<(), String>,
    ) -> Result<(), String> {
        let begins = format!("{}p:", self.setup.prefix);
        let (pattern, mut cursor) = (format!("{begins}*"), b"0".to_vec());
        loop {
            let reply = self.one(&[
                b"SCAN",
                &cursor,
                b"MATCH",
                pattern.as_bytes(),
                b"COUNT",
                KEYS.as_bytes(),
            ])?;
            let Reply::List(mut parts) = reply else {
                return Err(self.strange());
            };
            let (Some(Reply::List(keys)), Some(Reply::Bulk(next))) = (parts.pop(), parts.pop()) else {
                return Err(self.strange());
            };
            let domain = |key: Reply| {
                let Reply::Bulk(key) = key else { return None };
                let name = std::str::from_utf8(&key).ok()?.strip_prefix(&begins)?;
                Domain::parse(name).ok().filter(|domain| domain.as_str() == name)
            };
            let domains = keys.into_iter().filter_map(domain).collect();
            seen(self, domains)?;
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The entry of a domain; an inner error if what is stored is none.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn load(&mut self, domain: &Domain, now: u64) -> Result<Option<Result<Entry, String>>, String> {
        let key = self.setup.key('p', domain);
        Ok(match self.one(&[b"GET", key.as_bytes()])? {
            Reply::Bulk(text) => {
                Some(sealed::open(&self.secrets, domain, &text, now).map_err(|why| format!("{key} is ignored: {why}")))
            }
            _ => None,
        })
    }

    /// Removes what is stored of a domain: its policy, its failed fetch, and the lock of its fetch. Returns whether there
    /// was a policy.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn remove(&mut self, domain: &Domain) -> Result<bool, String> {
        let [policy, failed, lock] = ['p', 'f', 'l'].map(|kind| self.setup.key(kind, domain));
        let removed = self.one(&[b"DEL", policy.as_bytes()])? == Reply::Number(1);
        self.one(&[b"DEL", failed.as_bytes()])?;
        self.one(&[b"DEL", lock.as_bytes()])?;
        Ok(removed)
    }

    fn one(&mut self, command: &[&[u8]]) -> Result<Reply, String> {
        let replies = self.connection.ask(&[command], Instant::now() + PATIENCE);
        let mut replies = replies.map_err(|why| format!("{}: {why}", self.setup.server))?;
        replies.pop().ok_or_else(|| self.strange())
    }

    fn strange(&self) -> String {
        format!("{}: an answer of another kind than was asked for", self.setup.server)
    }
}
