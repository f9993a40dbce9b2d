//! The fleet in one lookup: what the other hosts know, what they are told, and which of them fetches.
//!
//! A connection is made when it is needed, on the thread of the lookup, and ends with it; a worker of a queue keeps it for
//! its next lookup ([`link`]). All of it together may take [`BUDGET`]; the first thing that goes wrong ends it, and the lookup
//! goes on alone.

pub(crate) mod link;

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

use super::unix_now;
use crate::cache::entry::Entry;
use crate::cache::sealed::{self, CLOCKS_DIFFER, MAX_SEALED, Secrets};
use crate::network::dns::StubResolver;
use crate::network::https::RootSource;
use crate::network::valkey::address::Address;
use crate::network::valkey::{Command, Connection, Reply};
use crate::protocol::names::Domain;
use crate::protocol::record::PolicyId;
use crate::sender::fleet::counts::{Counts, Event};
use crate::sender::fleet::{BUDGET, BUILT, Door, Setup};
use crate::sender::lookup::FETCH_PAUSE;
use crate::sender::notice::Notice;
use crate::sender::settings::Settings;
use link::Link;

/// Stores an entry unless one that was learnt as late, or later, is there. That one is kept only if it may be from now: a
/// time in the future, and a value that a host could not read (`ARGV[5]`), are replaced. `ARGV`: the entry, its time, how
/// long it lives in seconds, the latest time that there can be, the unreadable value.
const SET_IF_LATER: &str = "\
local old = redis.call('GET', KEYS[1])
if old and old ~= ARGV[5] then
  local at = tonumber(string.match(old, '^mtasts%-fleet 1 (%d+) '))
  if at and at >= tonumber(ARGV[2]) and at <= tonumber(ARGV[4]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1";

/// Removes a lock if it is still ours.
const UNLOCK: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";
/// How long a lock lasts whose holder does not remove it, in milliseconds: a fetch takes a minute at most.
const LOCK: &str = "65000";
/// How long a host waits for another one that fetches, at most a quarter of its time: less than its own processes wait for it
/// (`LEASE_WAIT`). If the other host is gone, each domain is late by that once.
const TURN: Duration = Duration::from_millis(1500);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// The other hosts that share what they fetch, as a resolver knows them.
#[derive(Clone)]
pub(super) struct Fleet {
    /// An error if the settings name a server that cannot be used.
    setup: Result<Option<Setup>, String>,
    door: Arc<Door>,
    counts: Arc<Counts>,
}

impl Fleet {
    /// Those of these settings.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            setup: settings.fleet_setup().map_err(|e| e.to_string()),
            door: Arc::default(),
            counts: Arc::default(),
        }
    }

    /// What came of asking the server.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A session that has said nothing yet, if there are others and the door is open.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn session(&self, dns: &StubResolver, roots: &RootSource) -> Result<Option<Session>, String> {
        let Some(setup) = self.setup.clone()?.filter(|_| BUILT) else {
            return Ok(None);
        };
        if !self.door.is_open() {
            self.counts.note(Event::Skipped);
            return Ok(None);
        }
        Ok(Some(Session {
            setup,
            door: self.door.clone(),
            counts: self.counts.clone(),
            // Its silence is not a stranger's.
            dns: dns.clone(),
            roots: roots.clone(),
            secrets: OnceCell::new(),
            links: link::kept().map(RefCell::new),
            left: Cell::new(u64::try_from(BUDGET.as_micros()).unwrap_or(0)),
            trouble: RefCell::default(),
            seen: RefCell::default(),
            lock: RefCell::default(),
        }))
    }

    /// A lookup had trouble with the fleet: shuts the door, and returns what is to be told now. For the process that asks: a
    /// helper of root ends with what it knows.
    pub(super) fn failed(&self, why: &str) -> Option<Notice> {
        self.door.failed(why)
    }
}

/// The fleet for the time of one lookup.
pub(super) struct Session {
    setup: Setup,
    door: Arc<Door>,
    dns: StubResolver,
    roots: RootSource,
    counts: Arc<Counts>,
    secrets: OnceCell<Secrets>,
    links: [RefCell<Option<Link>>; 2],
    /// What the budget has left, in microseconds.
    left: Cell<u64>,
    trouble: RefCell<Option<String>>,
    /// What the fleet has of the policy: the time of its fetch, or a value that is no entry.
    seen: RefCell<Seen>,
    /// The key and the token of the lock that this host has.
    lock: RefCell<Option<(String, String)>>,
}

/// What is on the server: the times, and a value under the key of the policy that is no entry.
#[derive(Default)]
struct Seen {
    fetched: Option<u64>,
    failed: Option<u64>,
    unreadable: Vec<u8>,
}

/// To which of the two servers.
#[derive(Clone, Copy)]
enum To {
    Write = 0,
    Read = 1,
}

impl Session {
    /// What went wrong.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// What another host has learnt of the domain.
    pub(super) fn hint(&self, domain: &Domain, now: u64) -> Option<Entry> {
        let (policy, failed) = (self.setup.key('p', domain), self.setup.key('f', domain));
        let commands: [Command<'_>; 2] = [&[b"GET", policy.as_bytes()], &[b"GET", failed.as_bytes()]];
        let theirs = self.read(domain, &self.ask(To::Read, &commands)?, now);
        let event = theirs.as_ref().map_or(Event::Miss, |_| Event::Hit);
        self.counts.note(event);
        theirs
    }

    /// Waits until no other host fetches the policy of this id, or has fetched it. What is waited for is not of the budget.
    pub(super) fn turn(&self, domain: &Domain, id: PolicyId, deadline: Instant) -> Option<Entry> {
        let keys = ['l', 'p', 'f'].map(|kind| self.setup.key(kind, domain));
        let [lock, policy, failed] = keys.each_ref().map(String::as_bytes);
        let token = token()?;
        let (begun, left, mut has_waited) = (Instant::now(), self.left.get(), false);
        let end = begun + TURN.min(deadline.saturating_duration_since(begun) / 4);
        loop {
            let set: Command<'_> = &[b"SET", lock, token.as_bytes(), b"NX", b"PX", LOCK.as_bytes()];
            let replies = self.ask(To::Write, &[set, &[b"GET", policy], &[b"GET", failed]])?;
            let (set, known) = replies.split_first()?;
            let is_ours = matches!(set, Reply::Status(_));
            if is_ours {
                *self.lock.borrow_mut() = Some((keys[0].clone(), token.clone()));
            }
            let theirs = self.read(domain, known, unix_now()).filter(|theirs| {
                let fetched = theirs.cached.as_ref().is_some_and(|cached| cached.id == id);
                fetched || theirs.failed.as_ref().is_some_and(|failed| failed.id == id)
            });
            if is_ours || theirs.is_some() || Instant::now() + LOOK >= end {
                return theirs;
            }
            if !has_waited {
                self.counts.note(Event::Waited);
                has_waited = true;
            }
            thread::sleep(LOOK);
            self.left.set(left);
        }
    }

    /// Lets the next host fetch.
    fn unlock(&self) {
        if let Some((key, token)) = self.lock.take() {
            self.ask(
                To::Write,
                &[&[b"EVAL", UNLOCK.as_bytes(), b"1", key.as_bytes(), token.as_bytes()]],
            );
        }
    }

    /// What two replies, of the policy and of a failed fetch, say of the domain.
    fn read(&self, domain: &Domain, replies: &[Reply], now: u64) -> Option<Entry> {
        let secrets = self.secrets()?;
        let read = |reply: Option<&Reply>| match reply {
            Some(Reply::Bulk(text)) if text.len() <= MAX_SEALED => {
                sealed::open(secrets, domain, text, now).map_err(|_| text.clone())
            }
            Some(Reply::Bulk(_)) => Err(Vec::new()),
            _ => Ok(Entry::new(domain.clone())),
        };
        let mut theirs = Entry::new(domain.clone());
        let mut seen = Seen::default();
        match read(replies.first()) {
            Ok(entry) => {
                seen.fetched = entry.cached.as_ref().map(|cached| cached.fetched);
                (theirs.cached, theirs.mode_since) = (entry.cached, entry.mode_since);
            }
            // Without a right seal it does not exist, and our own may replace it.
            Err(text) => seen.unreadable = text,
        }
        if let Ok(entry) = read(replies.get(1)) {
            theirs.failed = entry.failed.filter(|failed| now.abs_diff(failed.at) < FETCH_PAUSE);
            seen.failed = theirs.failed.as_ref().map(|failed| failed.at);
        }
        *self.seen.borrow_mut() = seen;
        Some(theirs).filter(|entry| !entry.is_empty())
    }

    /// Tells the others what this host knows by now and they do not: a policy that was fetched later, and a fetch that has
    /// failed. What was pinned or imported is this host's own.
    pub(super) fn publish(&self, entry: &Entry, now: u64) {
        self.publish_policy(entry, now);
        self.publish_failure(entry, now);
        self.unlock();
    }

    fn publish_failure(&self, entry: &Entry, now: u64) {
        let Some(failed) = &entry.failed else { return };
        let left = FETCH_PAUSE.saturating_sub(now.abs_diff(failed.at));
        if left > 0 && self.seen.borrow().failed < Some(failed.at) {
            let mut only = Entry::new(entry.domain.clone());
            only.failed = Some(failed.clone());
            self.set('f', &only, left, now);
        }
    }

    fn publish_policy(&self, entry: &Entry, now: u64) {
        let Some(cached) = entry
            .live(now)
            .filter(|_| entry.imported.is_none() && entry.pinned_until.is_none())
        else {
            return;
        };
        let life = cached.expires().saturating_sub(now);
        let is_news = self.seen.borrow().fetched < Some(cached.fetched);
        if !is_news || life == 0 || cached.fetched > now.saturating_add(CLOCKS_DIFFER) {
            return;
        }
        self.set('p', &sealed::shared(entry), life, now);
    }

    /// Stores an entry for so many seconds, unless a later one is there.
    fn set(&self, kind: char, entry: &Entry, life: u64, now: u64) {
        let Some(secrets) = self.secrets() else { return };
        let (key, value) = (self.setup.key(kind, &entry.domain), sealed::seal(secrets, entry));
        let numbers = [sealed::time(entry), life, now.saturating_add(CLOCKS_DIFFER)].map(|number| number.to_string());
        let [time, life, latest] = numbers.each_ref().map(String::as_bytes);
        let unreadable = if kind == 'p' {
            self.seen.borrow().unreadable.clone()
        } else {
            Vec::new()
        };
        let script = SET_IF_LATER.as_bytes();
        let command: Command<'_> = &[
            b"EVAL",
            script,
            b"1",
            key.as_bytes(),
            value.as_bytes(),
            time,
            life,
            latest,
            &unreadable,
        ];
        if self.ask(To::Write, &[command]) == Some(vec![Reply::Number(1)]) {
            self.counts.note(Event::Stored);
        }
    }

    fn secrets(&self) -> Option<&Secrets> {
        if let Some(secrets) = self.secrets.get() {
            return Some(secrets);
        }
        match self.setup.secrets() {
            Ok(secrets) => Some(self.secrets.get_or_init(|| secrets)),
            Err(why) => {
                self.end(why);
                None
            }
        }
    }

    /// Sends commands to a server within what is left of the budget; nothing after the first trouble.
    fn ask(&self, to: To, commands: &[Command<'_>]) -> Option<Vec<Reply>> {
        if self.trouble.borrow().is_some() {
            return None;
        }
        let secrets = self.secrets()?;
        let (address, to) = match to {
            To::Read if self.setup.reader != self.setup.server => (&self.setup.reader, To::Read),
            _ => (&self.setup.server, To::Write),
        };
        let begun = Instant::now();
        let deadline = begun + Duration::from_micros(self.left.get());
        let asked = self.exchange(address, &self.links[to as usize], secrets, commands, deadline);
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.left.set(self.left.get().saturating_sub(took));
        asked.map_err(|why| self.end(format!("{address}: {why}"))).ok()
    }

    fn exchange(
        &self,
        address: &Address,
        link: &RefCell<Option<Link>>,
        secrets: &Secrets,
        commands: &[Command<'_>],
        deadline: Instant,
    ) -> Result<Vec<Reply>, String> {
        let (mut link, password) = (link.borrow_mut(), secrets.password());
        if let Some(asked) = link.as_mut().and_then(|link| link.ask(password, commands, deadline)) {
            return asked;
        }
        let mut connection = Connection::open(address, password, &self.dns, &self.roots, deadline)?;
        self.counts.note(Event::Connected);
        let asked = connection.ask(commands, deadline)?;
        *link = Some(Link::new(connection, password));
        Ok(asked)
    }

    /// The end of the fleet for this lookup, and for those that begin within five seconds.
    fn end(&self, why: String) {
        self.door.close();
        for link in &self.links {
            link.take();
        }
        let mut trouble = self.trouble.borrow_mut();
        if trouble.is_none() {
            self.counts.note(Event::Failed);
            *trouble = Some(why);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if BUILT {
            self.unlock();
            link::keep(self.links.each_ref().map(RefCell::take));
        }
    }
}

/// What no other host has: so only the holder of a lock removes it.
fn token() -> Option<String> {
    let mut octets = [0; 16];
    SystemRandom::new().fill(&mut octets).ok()?;
    Some(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}
