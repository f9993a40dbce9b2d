//! The name server of the provider's zone: it answers from what is served, so that no record announces another text.

mod answered;
mod sockets;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use mtasts::Domain;
use mtasts::sender::resolver::unix_now;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;

use self::answered::Answered;
pub(crate) use self::sockets::{open, serve};
use crate::records::{Data, TTL};
use crate::service::Service;
use crate::state::State;
use crate::tsig::{Asked, Key, asked};

/// The largest answer over UDP, in octets: it passes every network (RFC 9715).
const PAYLOAD: u16 = 1232;
/// The largest answer over UDP to who says nothing of that (RFC 1035 4.2.1).
const SMALL: u16 = 512;
/// How long resolvers keep it that a name is not there, in seconds: a new domain is there a minute later.
const NEGATIVE: u32 = 60;
/// How many records are in one message of a transfer: they are below its 64 KiB.
const TOGETHER: usize = 50;

/// The zone as it is now, which is replaced as a whole, and the key of its secondaries with the requests that they have signed.
#[derive(Clone)]
pub(crate) struct Zone {
    table: Rc<RefCell<Rc<Table>>>,
    key: Option<Rc<Key>>,
    answered: Rc<RefCell<Answered>>,
}

#[derive(Default)]
struct Table {
    /// The apex, in lower case without the root dot.
    origin: String,
    serial: u32,
    soa: Option<Record>,
    /// Everything but the SOA.
    names: BTreeMap<String, Vec<Record>>,
    /// The names that are only above others (RFC 8020).
    above: BTreeSet<String>,
    secondaries: Vec<IpAddr>,
}

impl Zone {
    /// An empty one, with the key of the settings.
    ///
    /// # Errors
    /// A sentence: the secret cannot be read.
    pub(crate) fn new(service: &Service) -> Result<Self, String> {
        let key = service.transfer.as_ref().map(|key| key.open().map(Rc::new));
        Ok(Self {
            table: Rc::default(),
            key: key.transpose().map_err(|why| format!("transfer: {why}"))?,
            answered: Rc::new(RefCell::new(Answered::new(unix_now()))),
        })
    }

    fn table(&self) -> Rc<Table> {
        Rc::clone(&self.table.borrow())
    }

    /// Takes the records of a state, and tells the secondaries if they have changed. What they announce is served already.
    pub(crate) fn take(&self, state: &State, service: &Service, now: u64) {
        let (Some(zone), before) = (&service.zone, self.table()) else {
            return;
        };
        // It grows with the time, and never goes back (RFC 1982).
        let serial = (now as u32).max(before.serial.wrapping_add(1));
        let table = Table::new(zone, state, service, serial);
        if table.names == before.names {
            return;
        }
        let notify = table.notify();
        self.table.replace(Rc::new(table));
        if let (Some(message), true) = (notify, !before.names.is_empty()) {
            let message = match &self.key {
                Some(key) => key.sign(&message, &[], now).0,
                None => message,
            };
            let secondaries = service.secondaries.clone();
            spawn_local(async move {
                for secondary in secondaries {
                    let from: SocketAddr = match secondary {
                        IpAddr::V4(_) => ([0; 4], 0).into(),
                        IpAddr::V6(_) => ([0; 16], 0).into(),
                    };
                    // One that is lost is made up for by its refresh.
                    if let Ok(socket) = UdpSocket::bind(from).await {
                        let _ = socket.send_to(&message, (secondary, 53)).await;
                    }
                }
            });
        }
    }
}

impl Table {
    fn new(zone: &Domain, state: &State, service: &Service, serial: u32) -> Self {
        let origin = zone.as_str().to_owned();
        let mut names: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        let mut add = |name: &str, data| {
            if let Some(record) = record(name, TTL, data) {
                names.entry(name.to_owned()).or_default().push(record);
            }
        };
        for server in &service.name_servers {
            if let Some(name) = full_name(server.as_str()) {
                add(&origin, RData::NS(NS(name)));
            }
            // A name server that is in the zone is this host: its address is asked for here too.
            if server.as_str().ends_with(&format!(".{origin}")) {
                let addresses = service.addresses.iter();
                addresses.for_each(|address| add(server.as_str(), of_address(*address)));
            }
        }
        for record in state.targets(zone, service) {
            let data = match record.data {
                Data::Address(address) => Some(of_address(address)),
                Data::Cname(target) => full_name(&target).map(|name| RData::CNAME(CNAME(name))),
                Data::Txt(text) => {
                    let strings = text.as_bytes().chunks(255).collect();
                    Some(RData::TXT(TXT::from_bytes(strings)))
                }
            };
            if let Some(data) = data {
                add(&record.name, data);
            }
        }
        let mut above = BTreeSet::new();
        for name in names.keys() {
            let mut name = name.as_str();
            while let Some((_, parent)) = name.split_once('.') {
                if parent == origin || !above.insert(parent.to_owned()) {
                    break;
                }
                name = parent;
            }
        }
        let first = service.name_servers.first().map_or(zone, |name| name);
        let soa = full_name(first.as_str()).zip(full_name(&format!("hostmaster.{origin}")));
        let soa = soa.map(|(mname, rname)| SOA::new(mname, rname, serial, 3600, 600, 1_209_600, NEGATIVE));
        Self {
            soa: soa.and_then(|soa| record(&origin, NEGATIVE, RData::SOA(soa))),
            origin,
            serial,
            names,
            above,
            secondaries: service.secondaries.clone(),
        }
    }

    /// What is said to secondaries when there is something new (RFC 1996).
    fn notify(&self) -> Option<Vec<u8>> {
        let mut query = Query::query(full_name(&self.origin)?, RecordType::SOA);
        query.set_query_class(DNSClass::IN);
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Notify;
        message.metadata.authoritative = true;
        message.add_query(query);
        message.to_vec().ok()
    }

    /// The records of a name and a type, or why there are none.
    fn find(&self, name: &str, kind: RecordType) -> Result<Vec<&Record>, ResponseCode> {
        let is_here = name == self.origin || name.ends_with(&format!(".{}", self.origin));
        if !is_here || self.origin.is_empty() {
            return Err(ResponseCode::Refused);
        }
        if name == self.origin && kind == RecordType::SOA {
            return Ok(self.soa.iter().collect());
        }
        let Some(all) = self.names.get(name) else {
            let exists = name == self.origin || self.above.contains(name);
            return Err(if exists {
                ResponseCode::NoError
            } else {
                ResponseCode::NXDomain
            });
        };
        // RFC 8482 4.1: of all types one is enough.
        let kind = match kind {
            RecordType::ANY => all[0].record_type(),
            kind => kind,
        };
        let found: Vec<&Record> = all.iter().filter(|record| record.record_type() == kind).collect();
        match found.is_empty() {
            true => Err(ResponseCode::NoError),
            false => Ok(found),
        }
    }
}

fn of_address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn full_name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn record(name: &str, ttl: u32, data: RData) -> Option<Record> {
    Some(Record::from_rdata(full_name(name)?, ttl, data))
}

/// Who asks, and how.
#[derive(Clone, Copy)]
struct Client {
    address: IpAddr,
    is_tcp: bool,
}

impl Zone {
    /// The messages that answer a request, at this time in Unix seconds. There is none for what is no request.
    fn answers(&self, request: &[u8], client: Client, now: u64) -> Vec<Vec<u8>> {
        let key = self.key.as_deref();
        // An answer that is answered would go to and fro.
        if request.len() < 12 || request[2] & 0x80 != 0 {
            return Vec::new();
        }
        let (plain, signature) = match asked(key, request, now) {
            Asked::Plain => (request.to_vec(), None),
            Asked::Signed(plain, mac, time) => (plain, Some((mac, time))),
            Asked::Refused(answer) => return vec![answer],
            Asked::Garbled => return vec![garbled(request)],
        };
        let Ok(message) = Message::from_vec(&plain) else {
            return vec![garbled(request)];
        };
        if let (Some(key), Some((mac, time)), true) = (key, &signature, client.is_tcp && is_of_transfer(&message))
            && !self.answered.borrow_mut().is_first(*time, mac, now)
        {
            return vec![key.late(request, mac, *time, now)];
        }
        let room = match client.is_tcp {
            true => u16::MAX,
            false => message.max_payload().clamp(SMALL, PAYLOAD),
        };
        // RFC 8945 5.3: a signature needs its room too.
        let room = usize::from(room) - key.filter(|_| signature.is_some()).map_or(0, Key::room);
        let answers = self
            .table()
            .answer(&message, client, signature.is_some() || key.is_none());
        let answers = answers.into_iter().filter_map(|answer| {
            let octets = answer.to_vec().ok()?;
            match octets.len() <= room {
                true => Some(octets),
                false => answer.truncate().to_vec().ok(),
            }
        });
        let (Some(key), Some((mut before, _))) = (key, signature) else {
            return answers.collect();
        };
        let mut is_first = true;
        let signed = answers.map(|answer| {
            let (signed, own) = match std::mem::take(&mut is_first) {
                true => key.sign(&answer, &before, now),
                false => key.sign_next(&answer, &before, now),
            };
            before = own;
            signed
        });
        signed.collect()
    }
}

/// Whether a request is for the zone. Any other one gets the same answer without a signature, and may come twice: what is lost over UDP
/// is sent again as it is.
fn is_of_transfer(request: &Message) -> bool {
    let kinds = [RecordType::AXFR, RecordType::IXFR];
    request.queries.iter().any(|query| kinds.contains(&query.query_type()))
}

/// The answer to what cannot be read.
fn garbled(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..12].to_vec();
    answer[2] = 0x80 | (request[2] & 0x79);
    answer[3] = 1;
    answer[4..].fill(0);
    answer
}

impl Table {
    /// The messages that answer a request, which is signed if it has to be.
    fn answer(&self, request: &Message, client: Client, is_signed: bool) -> Vec<Message> {
        let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
        answer.metadata.recursion_desired = request.metadata.recursion_desired;
        answer.queries.clone_from(&request.queries);
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            answer.set_edns(edns);
        }
        let [query] = &request.queries[..] else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return vec![answer];
        };
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let is_copied = name == self.origin && self.secondaries.contains(&client.address) && is_signed;
        let found = match (request.metadata.op_code, query.query_class(), query.query_type()) {
            _ if request.version() > 0 => Err(ResponseCode::BADVERS),
            // RFC 1995 4: the whole zone answers for what has changed in it.
            (OpCode::Query, DNSClass::IN, RecordType::AXFR | RecordType::IXFR) if client.is_tcp && is_copied => {
                return self.transfer(&answer);
            }
            // RFC 1995 2: over UDP the SOA says whether to come by TCP.
            (OpCode::Query, DNSClass::IN, RecordType::IXFR) if is_copied => Ok(self.soa.iter().collect()),
            (OpCode::Query, DNSClass::IN, RecordType::AXFR | RecordType::IXFR) => Err(ResponseCode::Refused),
            (OpCode::Query, DNSClass::IN, kind) => self.find(&name, kind),
            (OpCode::Query, _, _) => Err(ResponseCode::Refused),
            _ => Err(ResponseCode::NotImp),
        };
        let (records, code) = match found {
            Ok(records) => (records, ResponseCode::NoError),
            Err(code) => (Vec::new(), code),
        };
        answer.metadata.response_code = code;
        answer.metadata.authoritative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        // RFC 2308 2: with what is not there comes how long to remember it.
        if records.is_empty() && answer.metadata.authoritative {
            answer.add_authorities(self.soa.iter().cloned());
        }
        answer.add_answers(records.into_iter().cloned());
        vec![answer]
    }

    /// The whole zone: the SOA is first and last (RFC 5936 2.2).
    fn transfer(&self, head: &Message) -> Vec<Message> {
        let all = self.soa.iter().chain(self.names.values().flatten()).chain(&self.soa);
        let all: Vec<&Record> = all.collect();
        let messages = all.chunks(TOGETHER).map(|records| {
            let mut message = head.clone();
            message.metadata.authoritative = true;
            message.add_answers(records.iter().copied().cloned());
            message
        });
        messages.collect()
    }
}
