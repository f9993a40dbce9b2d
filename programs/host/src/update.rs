//! The records in a zone of another name server, by dynamic updates (RFC 2136): what has changed, and a look whether it is there.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use mtasts::Domain;
use mtasts::sender::resolver::unix_now;
use mtasts_serve::Log;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::ledger::{Ledger, LedgerError};
use crate::records::{Data, TTL, target_names};
use crate::service::Service;
use crate::source::{Problem, Value};
use crate::sqlite::Sqlite;
use crate::state::State;
use crate::token::Token;
use crate::tsig::{Key, KeyFile, wire};

/// How long a message and its answer may take.
const TIME: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again, in seconds.
const AGAIN: u64 = 60;
/// How many names are in one update: it is far below the 64 KiB of a message.
const TOGETHER: usize = 50;

/// The table `update` of the operator's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `server`: the primary name server of the zone.
    pub server: SocketAddr,
    /// `key`, `secret_file`: the key that it knows, for HMAC-SHA256.
    pub key: KeyFile,
}

impl Settings {
    /// Reads the table.
    pub(crate) fn read(table: &Value<'_, '_>) -> Result<Self, Problem> {
        let (server, key) = read(table, true)?;
        Ok(Self {
            server: server.ok_or_else(|| table.problem("server is missing"))?,
            key,
        })
    }
}

/// Reads a table that names a key, and a name server if `has_server`.
pub(crate) fn read(table: &Value<'_, '_>, has_server: bool) -> Result<(Option<SocketAddr>, KeyFile), Problem> {
    let (mut server, mut key, mut secret_file) = (None, None, None);
    for (name, value) in table.entries()? {
        match name.get_ref().as_ref() {
            "server" if has_server => {
                let text = value.text()?;
                let with_port = text.parse::<SocketAddr>();
                let address = with_port.or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
                server = Some(address.map_err(|_| value.problem("is not the IP address of a name server"))?);
            }
            "key" => key = Some(Domain::parse(value.text()?).map_err(|error| value.problem(error.to_string()))?),
            "secret_file" => secret_file = Some(value.path()?),
            _ if has_server => return Err(value.problem("unknown key; there are server, key and secret_file")),
            _ => return Err(value.problem("unknown key; there are key and secret_file")),
        }
    }
    let missing = |name| move || table.problem(format!("{name} is missing"));
    let key = KeyFile {
        key: key.ok_or_else(missing("key"))?,
        secret_file: secret_file.ok_or_else(missing("secret_file"))?,
    };
    Ok((server, key))
}

type Records = BTreeMap<String, Vec<Data>>;

/// What is to be in the zone, and what is known to be.
pub(crate) struct Updater {
    server: SocketAddr,
    key: Key,
    zone: Domain,
    wanted: RefCell<Records>,
    /// What is not known to be right is without data.
    done: RefCell<Records>,
    /// The tokens that are nobody's any more.
    gone: RefCell<Vec<Token>>,
    ledger: Rc<RefCell<Sqlite>>,
    is_busy: Cell<bool>,
    next: Cell<u64>,
    log: Log,
}

impl Updater {
    /// For this zone.
    ///
    /// # Errors
    /// A sentence: the secret cannot be read.
    pub(crate) fn new(
        settings: &Settings,
        zone: &Domain,
        ledger: &Rc<RefCell<Sqlite>>,
        log: Log,
    ) -> Result<Self, String> {
        Ok(Self {
            server: settings.server,
            key: settings.key.open().map_err(|why| format!("update: {why}"))?,
            zone: zone.clone(),
            wanted: RefCell::default(),
            done: RefCell::default(),
            gone: RefCell::default(),
            ledger: Rc::clone(ledger),
            is_busy: Cell::new(false),
            next: Cell::new(0),
            log,
        })
    }

    /// Takes the records of a state. What they announce is served already. What was at the names of its tokens before, or of those that
    /// have left while this process did not run, is not known: all of it is sent, or deleted.
    ///
    /// # Errors
    /// If the ledger fails. The records of those that have left stay then.
    pub(crate) fn take(&self, state: &State, service: &Service, ledger: &mut dyn Ledger) -> Result<(), LedgerError> {
        let mut wanted = Records::new();
        for record in state.targets(&self.zone, service) {
            wanted.entry(record.name).or_default().push(record.data);
        }
        let is_first = self.wanted.replace(wanted).is_empty();
        let gone = ledger.gone(&[])?;
        let mut done = self.done.borrow_mut();
        let known = state.claims.values().filter(|_| is_first);
        let known = known.flat_map(|claim| [claim].into_iter().chain(&claim.rivals));
        let known = known.map(|claim| &claim.token);
        for name in known.chain(&gone).flat_map(|token| target_names(token, &self.zone)) {
            done.entry(name).or_default();
        }
        self.gone.replace(gone);
        Ok(())
    }

    /// Begins what is to be done.
    pub(crate) fn look(self: &Rc<Self>, now: u64) {
        if self.is_busy.get() || now < self.next.get() || *self.wanted.borrow() == *self.done.borrow() {
            return;
        }
        self.is_busy.set(true);
        let updater = Rc::clone(self);
        spawn_local(async move {
            if let Err(why) = updater.update().await {
                updater.next.set(unix_now() + AGAIN);
                let sentence = format!(
                    "the zone {} is not updated at {}: {why}; it is tried again",
                    updater.zone, updater.server
                );
                updater.log.warning(&sentence);
            }
            updater.is_busy.set(false);
        });
    }

    async fn update(&self) -> Result<(), String> {
        loop {
            // Some names at a time: what was done stays done.
            let changes: Records = {
                let (wanted, done) = (self.wanted.borrow(), self.done.borrow());
                let changed = wanted.iter().filter(|(name, data)| done.get(*name) != Some(data));
                let gone = done.keys().filter(|name| !wanted.contains_key(*name));
                let changed = changed.map(|(name, data)| (name.clone(), data.clone()));
                changed
                    .chain(gone.map(|name| (name.clone(), Vec::new())))
                    .take(TOGETHER)
                    .collect()
            };
            if changes.is_empty() {
                let gone = self.gone.take();
                let noted = self.ledger.borrow_mut().gone(&gone);
                return noted.map(|_| ()).map_err(|error| error.to_string());
            }
            self.send(&changes).await?;
            let mut done = self.done.borrow_mut();
            for (name, data) in changes {
                match data.is_empty() {
                    true => done.remove(&name),
                    false => done.insert(name, data),
                };
            }
        }
    }

    async fn send(&self, changes: &Records) -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        let connected = in_time(TcpStream::connect(self.server)).await;
        let mut stream = connected.map_err(said)?;
        let (message, mac) = self.key.sign(&update(&self.zone, changes)?, &[], unix_now());
        let answer = exchange(&mut stream, &message).await.map_err(said)?;
        if answer.len() < 12 || answer[..2] != message[..2] {
            return Err("the name server answers something else".into());
        }
        let code = ResponseCode::from(0, answer[3] & 0x0f);
        let checked = self.key.check(&answer, &mac, unix_now());
        if code != ResponseCode::NoError {
            let why = checked.err().map_or_else(String::new, |why| format!("; {why}"));
            return Err(format!("the name server refuses: {code}{why}"));
        }
        checked?;
        // One may say so and do nothing.
        for (name, data) in changes {
            let wanted: BTreeSet<Data> = data.iter().cloned().collect();
            if self.there(&mut stream, name, &wanted).await? != wanted {
                return Err(format!(
                    "the name server has taken the update, and {name} has not changed there"
                ));
            }
        }
        Ok(())
    }

    /// What the server has at a name: of the kinds that are wanted, or of all if nothing is.
    async fn there(
        &self,
        stream: &mut TcpStream,
        name: &str,
        wanted: &BTreeSet<Data>,
    ) -> Result<BTreeSet<Data>, String> {
        let mut there = BTreeSet::new();
        for kind in [RecordType::TXT, RecordType::A, RecordType::AAAA, RecordType::CNAME] {
            if !wanted.is_empty() && !wanted.iter().any(|data| data.kind() == kind.to_string()) {
                continue;
            }
            let head = [&id()?[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
            let question = [&head[..], &wire(name), &u16::from(kind).to_be_bytes(), &[0, 1]].concat();
            let answer = exchange(stream, &question).await.map_err(|error| error.to_string())?;
            let answer = Message::from_vec(&answer).map_err(|error| error.to_string())?;
            if answer.metadata.response_code == ResponseCode::NXDomain {
                break;
            }
            let own = answer.answers.iter().filter(|record| record.record_type() == kind);
            there.extend(own.filter_map(|record| data(&record.data)));
        }
        Ok(there)
    }
}

/// What a record of another name server says.
fn data(data: &RData) -> Option<Data> {
    Some(match data {
        RData::A(address) => Data::Address(IpAddr::V4(address.0)),
        RData::AAAA(address) => Data::Address(IpAddr::V6(address.0)),
        RData::CNAME(target) => {
            let target = target.0.to_ascii().to_ascii_lowercase();
            Data::Cname(target.trim_end_matches('.').to_owned())
        }
        RData::TXT(txt) => Data::Txt(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => return None,
    })
}

fn id() -> Result<[u8; 2], String> {
    let mut id = [0; 2];
    SystemRandom::new()
        .fill(&mut id)
        .map_err(|_| "the system gives no random octets")?;
    Ok(id)
}

/// A message over TCP and its answer (RFC 1035 4.2.2).
async fn exchange(stream: &mut TcpStream, message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    in_time(async {
        stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    })
    .await
}

async fn in_time<T>(done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = timeout(TIME, done).await;
    done.unwrap_or_else(|_| Err(io::Error::other("the name server does not answer in time")))
}

/// What is at each name is replaced (RFC 2136 2.5).
fn update(zone: &Domain, changes: &Records) -> Result<Vec<u8>, String> {
    let mut records = Vec::new();
    let mut count = 0_u16;
    let mut add = |name: &str, kind: u16, class: u16, ttl: u32, data: &[u8]| {
        records.extend(wire(name));
        records.extend(kind.to_be_bytes());
        records.extend(class.to_be_bytes());
        records.extend(ttl.to_be_bytes());
        records.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
        records.extend(data);
        count += 1;
    };
    for (name, all) in changes {
        // RFC 2136 2.5.3: all records of the name.
        add(name, 255, 255, 0, &[]);
        for data in all {
            match data {
                Data::Address(IpAddr::V4(address)) => add(name, 1, 1, TTL, &address.octets()),
                Data::Address(IpAddr::V6(address)) => add(name, 28, 1, TTL, &address.octets()),
                Data::Cname(target) => add(name, 5, 1, TTL, &wire(target)),
                Data::Txt(text) => {
                    let strings = text.as_bytes().chunks(255);
                    let strings = strings.flat_map(|string| [&[string.len() as u8], string].concat());
                    add(name, 16, 1, TTL, &strings.collect::<Vec<u8>>());
                }
            }
        }
    }
    let head = [&id()?[..], &[0x28, 0, 0, 1, 0, 0], &count.to_be_bytes(), &[0, 0]].concat();
    Ok([&head[..], &wire(zone.as_str()), &[0, 6, 0, 1], &records].concat())
}
