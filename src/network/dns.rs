//! What a lookup asks of DNS: TXT records, addresses and MX records.
//!
//! hickory-resolver speaks the protocol (ids, ports, retransmission, EDNS, TCP after truncation). What an answer
//! *means* is decided here, because the difference between "there is no record" and "cannot tell" decides
//! whether a missing policy may be an attack: aliases are followed and counted, a referral does not prove absence, and
//! after a name server that fails the next one is asked.
#![forbid(unsafe_code)]

mod questions;
mod server;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::protocol::names::Domain;

/// How long a name server may be silent before the next one is asked as well. The first is still listened to.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one name server may take to answer. If it has no answer by then, it never will, whatever time
/// the caller has left.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long the addresses of one family wait for the other, when that one's name server is silent.
const FAMILY_PATIENCE: Duration = Duration::from_secs(1);
/// The longest chain of aliases that is followed if the answers contain it. Resolvers follow as many.
const MAX_ALIASES: usize = 16;
/// How many aliases cost another question, because the answer ends with them.
const MAX_QUESTIONS: usize = 8;
/// How many name servers of `/etc/resolv.conf` are used, as in the C library (MAXNS).
const MAX_SYSTEM_SERVERS: usize = 3;

/// A way to ask DNS. Each question is complete: aliases are followed, and all name servers tried, until the deadline.
pub trait Dns: Send + Sync {
    /// The TXT records of a name, given without the root dot. The character-strings of one record are joined with
    /// nothing between them (RFC 8461 3.1); records are never joined. The bytes are the domain owner's and can be
    /// anything.
    ///
    /// # Errors
    /// A [`DnsError`]; `Ok` has at least one record.
    fn txt(&self, name: &str, deadline: Instant) -> Result<Answered<Vec<Vec<u8>>>, DnsError>;

    /// The IPv6 and IPv4 addresses of a host, the IPv6 ones first. One family is enough if the other one fails.
    ///
    /// # Errors
    /// A [`DnsError`]; `Ok` has at least one address.
    fn addresses(&self, host: &str, deadline: Instant) -> Result<Answered<Vec<IpAddr>>, DnsError>;

    /// The MX records of a domain, the most preferred first.
    ///
    /// # Errors
    /// A [`DnsError`]; `Ok` has at least one record.
    fn mx(&self, domain: &Domain, deadline: Instant) -> Result<Answered<Vec<Mx>>, DnsError>;
}

/// What DNS answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// The records.
    pub data: T,
    /// How long the answer may be kept: the smallest TTL of the records and of the aliases that led to them.
    pub ttl: Duration,
    /// Whether the name servers say of every answer of the chain that they have validated it with DNSSEC (the AD bit,
    /// RFC 4035 3.2.3). It is as trustworthy as the path to them: this library does not validate.
    pub authenticated: bool,
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// The smaller, the sooner to be tried (RFC 5321 5.1).
    pub preference: u16,
    /// The host: ASCII in lower case without the root dot; other octets are escaped as in a zone file. `.` alone
    /// says that the domain takes no mail (RFC 7505).
    pub exchange: String,
}

/// A CAA record (RFC 8659 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caa {
    /// 128 if it is critical.
    pub flags: u8,
    /// Which property it is, in lower case.
    pub tag: String,
    /// What it says.
    pub value: Vec<u8>,
}

/// Why DNS gave no records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsError {
    /// The name does not exist (NXDOMAIN).
    NxDomain,
    /// The name exists, but not with records of this type.
    NoData,
    /// The name servers failed to find out (SERVFAIL).
    ServFail,
    /// The name servers do not answer us (REFUSED).
    Refused,
    /// No answer came in time.
    Timeout,
    /// Anything else that the network or the name servers did, in words.
    Other(String),
    /// An error of this host, in words: no thread, no descriptor, no name server to ask. The question was not asked, so
    /// this says nothing of the domain.
    Own(String),
}

impl DnsError {
    /// Whether there surely are no such records, as far as DNS can tell. Of all other errors, [`DnsError::Own`] says
    /// that no server was asked, and the rest that the answer is unknown.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NxDomain | Self::NoData)
    }

    /// Of several servers' failures the most specific one is reported: an answer before no answer. An error of this
    /// host comes first: a server that we could not ask might have answered.
    fn rank(&self) -> u8 {
        match self {
            Self::Own(_) => 5,
            Self::NxDomain | Self::NoData => 4,
            Self::ServFail => 3,
            Self::Refused => 2,
            Self::Other(_) => 1,
            Self::Timeout => 0,
        }
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NxDomain => "the name does not exist (NXDOMAIN)",
            Self::NoData => "the name has no record of this type (NODATA)",
            Self::ServFail => "the name servers failed to answer (SERVFAIL)",
            Self::Refused => "the name servers refused to answer (REFUSED)",
            Self::Timeout => "no name server answered in time",
            Self::Other(words) | Self::Own(words) => words,
        })
    }
}

impl std::error::Error for DnsError {}

/// Asks recursive name servers, as any program of the host does.
///
/// Creating one does nothing. Each question runs on the calling thread, which must not be one of an asynchronous
/// runtime, and leaves nothing behind: no descriptor, no cache. `/etc/hosts` and search domains are not consulted: mail
/// is routed by DNS, and names here are absolute. Answers are not validated with DNSSEC; what the name servers say of
/// that is passed on.
#[derive(Clone, Debug, Default)]
pub struct StubResolver {
    servers: Option<Arc<[SocketAddr]>>,
    /// Whether questions ask for DNSSEC (the DO bit, RFC 3225).
    dnssec: bool,
}

impl StubResolver {
    /// The name servers of `/etc/resolv.conf`, read anew for each question; without any, the one on this host (as
    /// resolv.conf(5) says).
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// These name servers, in this order.
    #[must_use]
    pub fn with_servers(servers: &[SocketAddr]) -> Self {
        Self {
            servers: Some(servers.into()),
            dnssec: false,
        }
    }

    /// The one name server that is trusted to validate. Questions have the DO bit: without it some servers do not say
    /// what they have validated.
    #[must_use]
    pub fn validating(server: SocketAddr) -> Self {
        Self {
            servers: Some([server].into()),
            dnssec: true,
        }
    }

    /// Asks any number of questions, also at the same time, before the deadline. Each is a method of the [`Servers`].
    ///
    /// # Errors
    /// That of `questions`; [`DnsError::Timeout`] if they are not over at the deadline, [`DnsError::Own`] if this host
    /// refused what they need.
    pub fn together<T>(
        &self,
        deadline: Instant,
        questions: impl AsyncFnOnce(Servers) -> Result<T, DnsError>,
    ) -> Result<T, DnsError> {
        let list = match &self.servers {
            Some(list) => list.clone(),
            None => system_servers()?,
        };
        let servers = Servers {
            list,
            deadline,
            dnssec: self.dnssec,
        };
        // Not `enable_all`: the runtime does not handle signals.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| DnsError::Own(format!("cannot create a descriptor: {error}")))?;
        runtime.block_on(async {
            timeout_at(deadline.into(), questions(servers))
                .await
                .unwrap_or(Err(DnsError::Timeout))
        })
    }
}

impl Dns for StubResolver {
    fn txt(&self, name: &str, deadline: Instant) -> Result<Answered<Vec<Vec<u8>>>, DnsError> {
        let name = absolute(name)?;
        self.together(deadline, async |servers: Servers| {
            servers.resolve(name, RecordType::TXT).await.map(txt_of)
        })
    }

    fn addresses(&self, host: &str, deadline: Instant) -> Result<Answered<Vec<IpAddr>>, DnsError> {
        let name = absolute(host)?;
        self.together(deadline, async |servers: Servers| {
            servers.addresses(name).await.map(addresses_of)
        })
    }

    fn mx(&self, domain: &Domain, deadline: Instant) -> Result<Answered<Vec<Mx>>, DnsError> {
        let name = absolute(domain.as_str())?;
        self.together(deadline, async |servers: Servers| {
            servers.resolve(name, RecordType::MX).await.map(mx_of)
        })
    }
}

/// A name as DNS has it. One that is too long for DNS does not exist there: that is an answer, not a failure.
fn absolute(name: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(name).map_err(|_| DnsError::NxDomain)?;
    name.set_fqdn(true);
    // hickory counts without the root label; with it there are 255 octets at most (RFC 1035 2.3.4).
    if name.len() + 1 > 255 {
        Err(DnsError::NxDomain)
    } else {
        Ok(name)
    }
}

fn printed(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    match text.strip_suffix('.') {
        Some(host) if !host.is_empty() => host.to_owned(),
        _ => text,
    }
}

/// The name servers of `/etc/resolv.conf`. Of its lines only `nameserver` matters here.
///
/// # Errors
/// [`DnsError::Own`] if the file exists and cannot be read.
pub fn system_servers() -> Result<Arc<[SocketAddr]>, DnsError> {
    const FILE: &str = "/etc/resolv.conf";
    let text = match std::fs::read(FILE) {
        Ok(text) => text,
        // resolv.conf(5): no file means the name server on this host.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        // No descriptor, no right to read it: to ask some other server would not be what the administrator wants.
        Err(error) => return Err(DnsError::Own(format!("cannot read {FILE}: {error}"))),
    };
    Ok(name_servers(&String::from_utf8_lossy(&text)).into())
}

fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == "nameserver").then_some(())?;
            let ip: IpAddr = words.next()?.parse().ok()?;
            Some(SocketAddr::new(ip, 53))
        })
        .take(MAX_SYSTEM_SERVERS)
        .collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
    }
    servers
}

/// The name servers for the questions of one call.
#[derive(Clone)]
pub struct Servers {
    list: Arc<[SocketAddr]>,
    deadline: Instant,
    dnssec: bool,
}

/// Records of the type that was asked for, at least one.
struct Found {
    records: Vec<RData>,
    ttl: Duration,
    authenticated: bool,
    /// Where the aliases led, if there were any.
    end: Option<Name>,
}

impl Servers {
    /// Both families at once.
    async fn addresses(self, name: Name) -> Result<Found, DnsError> {
        let mut lookups = JoinSet::new();
        for family in [RecordType::AAAA, RecordType::A] {
            let (servers, name) = (self.clone(), name.clone());
            lookups.spawn(async move { servers.resolve(name, family).await });
        }
        let mut all: Option<Found> = None;
        let mut failures: Vec<DnsError> = Vec::new();
        let mut until = self.deadline;
        while let Ok(Some(lookup)) = timeout_at(until.into(), lookups.join_next()).await {
            match lookup.unwrap_or_else(|_| Err(DnsError::Own("the resolver failed".into()))) {
                Ok(found) => {
                    match &mut all {
                        Some(all) => {
                            all.records.extend(found.records);
                            all.ttl = all.ttl.min(found.ttl);
                            all.authenticated &= found.authenticated;
                        }
                        none => *none = Some(found),
                    }
                    // Some name servers never answer for AAAA: what we have is enough.
                    until = until.min(Instant::now() + FAMILY_PATIENCE);
                }
                Err(error) => failures.push(error),
            }
        }
        if let Some(all) = all {
            return Ok(all);
        }
        // Absence needs the answer for both types; NXDOMAIN is an answer for all types.
        if failures.len() < 2 && !failures.contains(&DnsError::NxDomain) {
            return Err(DnsError::Timeout);
        }
        Err(failures
            .into_iter()
            .min_by_key(|e| (e.is_absence(), *e != DnsError::NxDomain, !matches!(e, DnsError::Own(_))))
            .unwrap_or(DnsError::Timeout))
    }

    /// One type of records, aliases followed (RFC 8461 3.1 asks for it, RFC 1034 3.6.2 says how).
    async fn resolve(&self, name: Name, kind: RecordType) -> Result<Found, DnsError> {
        let mut chain = Chain::from(name);
        for _ in 0..=MAX_QUESTIONS {
            let response = self.query(Query::query(chain.name.clone(), kind)).await?;
            if let Some(found) = chain.follow(&response, kind) {
                return found;
            }
        }
        Err(too_many_aliases())
    }

    /// One query, answered by the first server that can. A server that fails is followed by the next at once, one that
    /// is silent after a while and without being given up.
    async fn query(&self, query: Query) -> Result<DnsResponse, DnsError> {
        let mut waiting = self.list.iter();
        let mut asked = JoinSet::new();
        let mut worst: Option<DnsError> = None;
        loop {
            let next = waiting.next();
            if let Some(server) = next {
                let deadline = self.deadline.min(Instant::now() + ANSWER_TIME);
                asked.spawn(server::ask(*server, query.clone(), self.dnssec, deadline));
            }
            let until = if waiting.len() == 0 {
                self.deadline
            } else {
                self.deadline.min(Instant::now() + PATIENCE)
            };
            match timeout_at(until.into(), asked.join_next()).await {
                Ok(Some(Ok(Ok(response)))) => return Ok(response),
                Ok(Some(Ok(Err(error)))) if error.is_absence() => return Err(error),
                Ok(Some(result)) => {
                    let error = match result {
                        Ok(Err(error)) => error,
                        _ => DnsError::Own("the resolver failed".into()),
                    };
                    if worst.as_ref().is_none_or(|known| known.rank() < error.rank()) {
                        worst = Some(error);
                    }
                }
                Ok(None) if next.is_none() => {
                    return Err(worst.unwrap_or_else(|| DnsError::Own("no name server is configured".into())));
                }
                Ok(None) => {}
                Err(_) if Instant::now() >= self.deadline => return Err(worst.unwrap_or(DnsError::Timeout)),
                Err(_) => {}
            }
        }
    }
}

/// The chain from the name that was asked for through its aliases.
struct Chain {
    /// The name that it has reached.
    name: Name,
    /// The least TTL of the chain.
    ttl: u32,
    /// Whether every answer so far was authenticated.
    authenticated: bool,
    aliases: usize,
}

impl Chain {
    const fn from(name: Name) -> Self {
        Self {
            name,
            ttl: u32::MAX,
            authenticated: true,
            aliases: 0,
        }
    }

    /// Continues with what a server has answered about the current name of the chain: to the records, to an error, or
    /// to another name, about which nothing was said.
    fn follow(&mut self, response: &DnsResponse, kind: RecordType) -> Option<Result<Found, DnsError>> {
        let asked = self.name.clone();
        self.authenticated &= response.authentic_data;
        loop {
            let at_name = |r: &&Record| r.name == self.name && r.record_type() == kind;
            let records: Vec<&Record> = response.answers.iter().filter(at_name).collect();
            if let Some(least) = records.iter().map(|r| r.ttl).min() {
                return Some(Ok(Found {
                    records: records.into_iter().map(|r| r.data.clone()).collect(),
                    ttl: Duration::from_secs(self.ttl.min(least).into()),
                    authenticated: self.authenticated,
                    end: (self.aliases > 0).then(|| self.name.clone()),
                }));
            }
            let alias = response.answers.iter().find_map(|r| match &r.data {
                RData::CNAME(target) if r.name == self.name => Some((target.0.clone(), r.ttl)),
                _ => None,
            });
            let Some((target, ttl)) = alias else { break };
            self.aliases += 1;
            if self.aliases > MAX_ALIASES {
                return Some(Err(too_many_aliases()));
            }
            self.name = target;
            self.name.set_fqdn(true);
            self.ttl = self.ttl.min(ttl);
        }
        // What the answer says of the end of the chain (RFC 6604 3), if it knows; else we ask for that name.
        match response.response_code {
            ResponseCode::NXDomain => Some(Err(DnsError::NxDomain)),
            ResponseCode::NoError if self.name == asked || response.soa().is_some() => Some(Err(DnsError::NoData)),
            ResponseCode::NoError => None,
            code => Some(Err(server::refusal(code))),
        }
    }
}

/// What TXT records say.
fn txt_of(found: Found) -> Answered<Vec<Vec<u8>>> {
    found.map(|data| match data {
        RData::TXT(txt) => Some(txt.txt_data.concat()),
        _ => None,
    })
}

/// Addresses, the IPv6 ones first.
fn addresses_of(found: Found) -> Answered<Vec<IpAddr>> {
    let mut found = found.map(|data| match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    });
    found.data.sort_by_key(IpAddr::is_ipv4);
    found
}

/// The hosts of MX records, the most preferred first.
fn mx_of(found: Found) -> Answered<Vec<Mx>> {
    let mut found = found.map(|data| match data {
        RData::MX(mx) => Some(Mx {
            preference: mx.preference,
            exchange: printed(&mx.exchange),
        }),
        _ => None,
    });
    found.data.sort();
    found
}

impl Found {
    /// The same answer, with each record converted.
    fn map<T>(self, one: impl FnMut(RData) -> Option<T>) -> Answered<Vec<T>> {
        Answered {
            data: self.records.into_iter().filter_map(one).collect(),
            ttl: self.ttl,
            authenticated: self.authenticated,
        }
    }
}

/// What is made of the octets of an answer to a question for the TXT, or the MX records of a name.
#[cfg(feature = "inside")]
pub(crate) fn of_message(message: &[u8], name: &str) -> Option<OfMessage> {
    let response = DnsResponse::from_buffer(message.to_vec()).ok()?;
    let follow = |kind| {
        let mut chain = Chain::from(absolute(name)?);
        chain.follow(&response, kind).unwrap_or(Err(DnsError::Timeout))
    };
    Some((follow(RecordType::TXT).map(txt_of), follow(RecordType::MX).map(mx_of)))
}

/// The TXT records and the MX records of a name.
#[cfg(feature = "inside")]
pub type OfMessage = (
    Result<Answered<Vec<Vec<u8>>>, DnsError>,
    Result<Answered<Vec<Mx>>, DnsError>,
);

fn too_many_aliases() -> DnsError {
    DnsError::Other(format!(
        "more than {MAX_ALIASES} aliases (CNAME) or {MAX_QUESTIONS} queries for them, or a loop"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_three_servers_at_most() {
        let text = "# nameserver 192.0.2.9\nsearch bad..domain\n  nameserver\t192.0.2.1\nnameserver 2001:db8::1 # mine\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\nnameservers 192.0.2.8\n\
                    options edns0\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let servers: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert_eq!(
            name_servers("options edns0\n"),
            ["127.0.0.1:53".parse().expect("an address")]
        );
    }

    #[test]
    fn a_name_too_long_for_dns_does_not_exist() {
        let domain = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(61)].join(".");
        assert!(absolute(&format!("_mta-sts.{domain}")).is_ok_and(|name| name.len() == 254));
        assert_eq!(absolute(&format!("_mta-sts.e{domain}")), Err(DnsError::NxDomain));
    }

    #[test]
    fn exchanges_are_printed_in_one_spelling() {
        let name = |labels: &[&[u8]]| Name::from_labels(labels.iter().copied()).expect("labels");
        assert_eq!(printed(&name(&[b"MX", b"Example", b"COM"])), "mx.example.com");
        assert_eq!(printed(&Name::root()), ".");
        assert_eq!(
            printed(&name(&[b"a b\n\xff.", b"example"])),
            "a\\040b\\012\\377\\..example"
        );
    }
}
