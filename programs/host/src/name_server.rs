//! The name server of the provider's zone: it answers from what is served, so that no record announces another text.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, TXT};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use mtasts::Domain;
use tokio::net::{TcpListener, UdpSocket};

use crate::records::{Data, TTL};
use crate::service::Service;
use crate::state::State;

/// How long a secondary may be silent in a connection.
const IDLE: Duration = Duration::from_secs(10);
/// How long resolvers keep it that a name is not there, in seconds: a new domain is there a minute later.
const NEGATIVE: u32 = 60;
/// How many records are in one message of a transfer.
const TOGETHER: usize = 100;

/// The zone as it is now. What is shared is replaced as a whole.
#[derive(Clone, Default)]
pub(crate) struct Zone(Arc<RwLock<Arc<Table>>>);

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
    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
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
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        if let (Some(message), true) = (notify, !before.names.is_empty()) {
            let secondaries = service.secondaries.clone();
            tokio::spawn(async move {
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

/// Sockets for UDP and TCP at these addresses.
///
/// # Errors
/// A sentence.
pub(crate) fn open(addresses: &[SocketAddr]) -> Result<Vec<(std::net::UdpSocket, std::net::TcpListener)>, String> {
    let open = |address: &SocketAddr| -> io::Result<_> {
        let (udp, tcp) = (
            std::net::UdpSocket::bind(address)?,
            std::net::TcpListener::bind(address)?,
        );
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok((udp, tcp))
    };
    let opened = addresses
        .iter()
        .map(|address| open(address).map_err(|error| format!("cannot listen at {address} for DNS: {error}")));
    opened.collect()
}

/// Answers at these sockets from then on, as long as what it returns is kept.
pub(crate) fn serve(
    sockets: Vec<(std::net::UdpSocket, std::net::TcpListener)>,
    zone: Zone,
) -> io::Result<Server<impl RequestHandler>> {
    let mut server = Server::new(Answerer(zone));
    for (udp, tcp) in sockets {
        server.register_socket(UdpSocket::from_std(udp)?);
        server.register_listener(TcpListener::from_std(tcp)?, IDLE, TOGETHER);
    }
    Ok(server)
}

struct Answerer(Zone);

#[async_trait::async_trait]
impl RequestHandler for Answerer {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = false;
        let silence = ResponseInfo::from(Header {
            metadata,
            counts: HeaderCounts::default(),
        });
        let Ok(question) = request.request_info() else {
            return silence;
        };
        let (query, table) = (&question.query, self.0.table());
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let edns = request.edns.as_ref().map(|_| {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            edns
        });
        let builder = || MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let found = match (request.metadata.op_code, query.query_class(), query.query_type()) {
            (OpCode::Query, DNSClass::IN, RecordType::AXFR) => {
                let is_secondary = table.secondaries.contains(&question.src.ip().to_canonical());
                if name != table.origin || !is_secondary || question.protocol != Protocol::Tcp {
                    Err(ResponseCode::Refused)
                } else {
                    // RFC 5936 2.2: the SOA is first and last.
                    let all: Vec<&Record> = table
                        .soa
                        .iter()
                        .chain(table.names.values().flatten())
                        .chain(&table.soa)
                        .collect();
                    let mut sent = silence;
                    for records in all.chunks(TOGETHER) {
                        let message = builder().build(metadata, records.iter().copied(), &[], &[], &[]);
                        match reply.send_response(message).await {
                            Ok(info) => sent = info,
                            Err(_) => break,
                        }
                    }
                    return sent;
                }
            }
            (OpCode::Query, DNSClass::IN, kind) => table.find(&name, kind),
            (OpCode::Query, _, _) => Err(ResponseCode::Refused),
            _ => Err(ResponseCode::NotImp),
        };
        let (records, code) = match found {
            Ok(records) => (records, ResponseCode::NoError),
            Err(code) => (Vec::new(), code),
        };
        metadata.response_code = code;
        metadata.authoritative = !matches!(code, ResponseCode::Refused | ResponseCode::NotImp);
        // RFC 2308 2: with what is not there comes how long to remember it.
        let is_negative = records.is_empty() && metadata.authoritative;
        let soa: Vec<&Record> = table.soa.iter().filter(|_| is_negative).collect();
        let message = builder().build(metadata, records, &[], soa, &[]);
        reply.send_response(message).await.unwrap_or(silence)
    }
}
