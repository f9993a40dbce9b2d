//! A name server on real sockets that says whatever a test wants it to say.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// One question as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Lower case, without the root dot.
    pub name: String,
    pub kind: RecordType,
    pub tcp: bool,
    pub edns: bool,
    pub dnssec: bool,
    pub id: u16,
    pub from: SocketAddr,
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    code: Option<ResponseCode>,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    truncated: bool,
    authentic: bool,
    wrong_id: bool,
    raw: Option<Vec<u8>>,
}

impl Reply {
    pub fn silence() -> Self {
        Self::default()
    }

    pub fn code(code: ResponseCode) -> Self {
        Self {
            code: Some(code),
            ..Self::default()
        }
    }

    pub fn nxdomain() -> Self {
        Self {
            authorities: vec![soa()],
            ..Self::code(ResponseCode::NXDomain)
        }
    }

    pub fn nodata() -> Self {
        Self {
            authorities: vec![soa()],
            ..Self::code(ResponseCode::NoError)
        }
    }

    pub fn referral() -> Self {
        let ns = record("example", 60, RData::NS(NS(name("ns.example"))));
        Self {
            authorities: vec![ns],
            ..Self::code(ResponseCode::NoError)
        }
    }

    pub fn answers(answers: Vec<Record>) -> Self {
        Self {
            answers,
            ..Self::code(ResponseCode::NoError)
        }
    }

    pub fn truncated() -> Self {
        Self {
            truncated: true,
            ..Self::code(ResponseCode::NoError)
        }
    }

    pub fn bytes(raw: &[u8]) -> Self {
        Self {
            raw: Some(raw.to_vec()),
            ..Self::default()
        }
    }

    /// The records, then how the chain ends.
    pub fn after(self, answers: Vec<Record>) -> Self {
        Self { answers, ..self }
    }

    /// As a name server says it that has validated the answer.
    pub fn authentic(self) -> Self {
        Self {
            authentic: true,
            ..self
        }
    }

    pub fn with_wrong_id(self) -> Self {
        Self { wrong_id: true, ..self }
    }
}

pub fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect(text);
    name.set_fqdn(true);
    name
}

pub fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

pub fn txt(owner: &str, ttl: u32, strings: &[&[u8]]) -> Record {
    record(owner, ttl, RData::TXT(TXT::from_bytes(strings.to_vec())))
}

pub fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    record(owner, ttl, RData::CNAME(CNAME(name(target))))
}

pub fn mx(owner: &str, preference: u16, exchange: &str) -> Record {
    record(owner, 60, RData::MX(MX::new(preference, name(exchange))))
}

pub fn ptr(owner: &str, host: &str) -> Record {
    record(owner, 60, RData::PTR(PTR(name(host))))
}

pub fn address(owner: &str, ip: &str) -> Record {
    let data = match ip.parse().expect(ip) {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    record(owner, 60, data)
}

fn soa() -> Record {
    record(
        "example",
        60,
        RData::SOA(SOA::new(name("ns.example"), name("root.example"), 1, 2, 3, 4, 5)),
    )
}

/// Runs until the test binary ends.
pub struct DnsServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl DnsServer {
    /// On a port of 127.0.0.1 that is free for UDP and TCP.
    pub fn start(zone: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let (udp, tcp) = free_port();
        Self::serve(udp, tcp, zone)
    }

    /// On port 53 of this address.
    pub fn start_at(ip: &str, zone: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let udp = UdpSocket::bind((ip, 53)).expect("UDP port 53");
        Self::serve(udp, TcpListener::bind((ip, 53)).expect("TCP port 53"), zone)
    }

    /// The name server of an attacker: this honest host is the MX host of each domain.
    pub fn spoofs(ip: &str, host: &'static str) -> Self {
        let honest = (host, 25).to_socket_addrs().expect("the honest host");
        let v4 = honest
            .map(|at| at.ip().to_string())
            .find(|ip| ip.contains('.'))
            .expect("IPv4");
        Self::start_at(ip, move |asked| match asked.kind {
            RecordType::MX => Reply::answers(vec![mx(&asked.name, 10, host)]),
            RecordType::A if asked.name == host => Reply::answers(vec![address(&asked.name, &v4)]),
            _ => Reply::nodata(),
        })
    }

    fn serve(udp: UdpSocket, tcp: TcpListener, zone: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let address = udp.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let zone = Arc::new(Zone {
            answer: Box::new(zone),
            asked: Arc::clone(&asked),
        });
        let udp_zone = Arc::clone(&zone);
        thread::spawn(move || serve_udp(&udp, &udp_zone));
        thread::spawn(move || serve_tcp(&tcp, &zone));
        Self { address, asked }
    }

    /// A port of 127.0.0.1 at which nothing listens.
    pub fn closed() -> SocketAddr {
        free_port().0.local_addr().expect("an address")
    }

    /// Each question once: what is sent again, as the machine is busy, has the same id.
    pub fn asked(&self) -> Vec<Asked> {
        let mut seen = HashSet::new();
        let mut asked = self.received();
        asked.retain(|asked| seen.insert((asked.id, asked.name.clone(), asked.kind, asked.tcp, asked.edns)));
        asked
    }

    /// Every datagram, and every question over TCP.
    pub fn received(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic while recording").clone()
    }
}

/// A port of 127.0.0.1 that is free for UDP and TCP.
fn free_port() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("its address")) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

struct Zone {
    answer: Box<dyn Fn(&Asked) -> Reply + Send + Sync>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Zone {
    fn reply(&self, query: &[u8], tcp: bool, from: SocketAddr) -> Option<Vec<u8>> {
        // Shorter than a header: no message, but a look whether somebody listens.
        if query.len() < 12 {
            return None;
        }
        let query = Message::from_vec(query).expect("a well-formed query");
        let question: &Query = query.queries.first().expect("one question");
        let asked = Asked {
            name: question
                .name()
                .to_lowercase()
                .to_ascii()
                .trim_end_matches('.')
                .to_owned(),
            kind: question.query_type(),
            tcp,
            edns: query.edns.is_some(),
            dnssec: query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            id: query.metadata.id,
            from,
        };
        self.asked.lock().expect("no panic while recording").push(asked.clone());
        let reply = (self.answer)(&asked);
        if reply.raw.is_some() {
            return reply.raw;
        }
        let id = query.metadata.id ^ u16::from(reply.wrong_id);
        let mut message = Message::response(id, OpCode::Query);
        message.metadata.response_code = reply.code?;
        message.metadata.truncation = reply.truncated && !tcp;
        message.metadata.authentic_data = reply.authentic;
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(question.clone());
        message.add_answers(reply.answers);
        message.add_authorities(reply.authorities);
        Some(message.to_vec().expect("a well-formed reply"))
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Zone) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if let Some(reply) = zone.reply(&buffer[..length], false, from) {
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, zone: &Arc<Zone>) {
    for stream in listener.incoming().flatten() {
        let zone = Arc::clone(zone);
        thread::spawn(move || while serve_one(&stream, &zone).is_some() {});
    }
}

fn serve_one(mut stream: &TcpStream, zone: &Zone) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut query = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut query).ok()?;
    let Some(reply) = zone.reply(&query, true, stream.peer_addr().ok()?) else {
        // Silent, with the connection open.
        return stream.read_exact(&mut length).ok();
    };
    let length = u16::try_from(reply.len()).expect("a reply that fits");
    stream.write_all(&[&length.to_be_bytes()[..], &reply].concat()).ok()
}
