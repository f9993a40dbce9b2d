//! What DNS has for DANE at the MX hosts of a domain, asked for in the order of RFC 7672 2.1-2.2.
//!
//! What cannot be learnt of a host is not an absence, and that host waits: an attacker who could turn a failure into "no
//! records" would have switched DANE off (RFC 7672 2.1.2). It waits alone: mail goes to another host meanwhile.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn};
use tokio::time::timeout_at;

use crate::network::dns::{Answered, DnsError, Mx, Servers};
use crate::protocol::names::Domain;
use crate::protocol::tlsa::TlsaSet;

/// How many MX hosts are looked up, the first ones. An MTA tries fewer.
const MAX_HOSTS: usize = 32;
/// How many of them at the same time.
const AT_ONCE: usize = 8;
/// How long the other hosts have when one is known, so that a silent one does not hold mail up.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an absence is kept. A name server of this host keeps it as long as its zone says.
const ABSENCE_LIFE: Duration = Duration::from_secs(60);
/// How long a failure is kept, as a resolver does.
const FAILURE_LIFE: Duration = Duration::from_secs(5);
/// How long anything is kept.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// What DNS says of the MX records of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// DNSSEC vouches for them. These hosts are in them, the most preferred first.
    Secure(Vec<Domain>),
    /// Nothing vouches for them.
    Insecure(Vec<Domain>),
    /// There are none, so that the domain is its own host (RFC 5321 5.1).
    Absent,
    /// That is not known, for this reason.
    Unknown(String),
}

/// What DNS has for DANE at one MX host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRecords {
    /// Nothing vouches for the host's addresses. TLSA records were not asked for: name servers of unsigned zones that fail
    /// at those would hold mail up for nothing (RFC 7672 2.1.1).
    Insecure,
    /// DNSSEC vouches for its addresses, and for no TLSA records.
    Absent,
    /// TLSA records for which DNSSEC vouches.
    Records {
        /// The TLSA base domain: the name for SNI, and the first name of a certificate (RFC 7672 2.2.3).
        base: Domain,
        /// Usable or not.
        records: TlsaSet,
    },
    /// It has no address, so that no mail can go there.
    NoAddress,
    /// That is not known, for this reason.
    Unknown(String),
}

/// What was learnt of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The mail domain.
    pub domain: Domain,
    /// Its MX records.
    pub routing: Routing,
    /// Each host that was asked about.
    pub hosts: Vec<(Domain, HostRecords)>,
    /// How long all of that may be kept.
    pub life: Duration,
}

impl Facts {
    /// Nothing could be learnt, for this reason.
    #[must_use]
    pub fn unknown(domain: &Domain, why: String) -> Self {
        Self {
            domain: domain.clone(),
            routing: Routing::Unknown(why),
            hosts: Vec::new(),
            life: Duration::ZERO,
        }
    }

    /// What was learnt of a host.
    #[must_use]
    pub fn host(&self, name: &Domain) -> Option<&HostRecords> {
        self.hosts
            .iter()
            .find(|(host, _)| host == name)
            .map(|(_, records)| records)
    }
}

/// Learns of the hosts that the mail server has found, and of the domain's MX records, at the same time. Without hosts it
/// is those of the MX records. `servers` is the one whose word on DNSSEC is believed.
///
/// # Errors
/// [`DnsError::Own`]: this host refused what the questions need.
pub async fn learn(servers: &Servers, domain: &Domain, given: &[Domain]) -> Result<Facts, DnsError> {
    let (there, asked) = (servers.clone(), domain.clone());
    let mx = spawn(async move { there.mx(&asked).await });
    let early = match given {
        [] => None,
        given => Some(hosts(servers, given).await?),
    };
    let mx = mx.await.unwrap_or_else(|_| Err(defect()));
    let (routing, mut life) = routed(mx)?;
    let hosts = match (early, &routing) {
        (Some(early), _) => early,
        (None, Routing::Secure(listed) | Routing::Insecure(listed)) => hosts(servers, listed).await?,
        (None, Routing::Absent) => hosts(servers, std::slice::from_ref(domain)).await?,
        (None, Routing::Unknown(_)) => Vec::new(),
    };
    for (_, learnt) in &hosts {
        life = life.min(learnt.ttl);
    }
    Ok(Facts {
        domain: domain.clone(),
        routing,
        hosts: hosts.into_iter().map(|(host, learnt)| (host, learnt.data)).collect(),
        life: life.min(LONGEST_LIFE),
    })
}

fn routed(mx: Result<Answered<Vec<Mx>>, DnsError>) -> Result<(Routing, Duration), DnsError> {
    match mx {
        Ok(mx) => {
            // A name that no certificate can have is not a host of DANE.
            let listed = mx
                .data
                .iter()
                .filter_map(|mx| Domain::parse(&mx.exchange).ok())
                .collect();
            let routing = if mx.authenticated {
                Routing::Secure(listed)
            } else {
                Routing::Insecure(listed)
            };
            Ok((routing, mx.ttl))
        }
        Err(error) if error.is_absence() => Ok((Routing::Absent, ABSENCE_LIFE)),
        Err(error @ DnsError::Own(_)) => Err(error),
        Err(error) => Ok((Routing::Unknown(error.to_string()), FAILURE_LIFE)),
    }
}

fn defect() -> DnsError {
    DnsError::Own("a defect of libmtasts (a panic)".into())
}

/// What is known of one host. `authenticated` says nothing here.
type Learnt = Answered<HostRecords>;

const fn learnt(data: HostRecords, ttl: Duration) -> Learnt {
    Answered {
        data,
        ttl,
        authenticated: false,
    }
}

fn unknown(error: &DnsError) -> Learnt {
    learnt(HostRecords::Unknown(error.to_string()), FAILURE_LIFE)
}

/// All hosts, several at a time.
async fn hosts(servers: &Servers, names: &[Domain]) -> Result<Vec<(Domain, Learnt)>, DnsError> {
    let mut found: Vec<(Domain, Learnt)> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let why = if at < MAX_HOSTS {
                DnsError::Timeout
            } else {
                DnsError::Other(format!("there are more than {MAX_HOSTS} MX hosts before this one"))
            };
            (name.clone(), unknown(&why))
        })
        .collect();
    let mut waiting = names.iter().take(MAX_HOSTS).cloned().enumerate();
    let mut asked = JoinSet::new();
    let mut until = servers.deadline();
    loop {
        while asked.len() < AT_ONCE
            && let Some((at, name)) = waiting.next()
        {
            let servers = servers.clone();
            asked.spawn(async move { (at, records_of(&servers, &name).await) });
        }
        match timeout_at(until.into(), asked.join_next()).await {
            Ok(Some(Ok((at, Ok(learnt))))) => {
                found[at].1 = learnt;
                until = until.min(Instant::now() + PATIENCE);
            }
            Ok(Some(Ok((_, Err(error @ DnsError::Own(_)))))) => return Err(error),
            Ok(Some(Ok((at, Err(error))))) if error.is_absence() => {
                found[at].1 = learnt(HostRecords::NoAddress, FAILURE_LIFE);
            }
            Ok(Some(Ok((at, Err(error))))) => found[at].1 = unknown(&error),
            Ok(Some(Err(_))) => return Err(defect()),
            Ok(None) | Err(_) => return Ok(found),
        }
    }
}

/// Asks for the records of one host: first its addresses, then TLSA where its base domain may be, at once if there are two
/// such names.
///
/// # Errors
/// Any [`DnsError`] but the absence of TLSA records; the absence of addresses is one, too.
async fn records_of(servers: &Servers, host: &Domain) -> Result<Learnt, DnsError> {
    let located = servers.locate(host).await?;
    let bases = base_domains(servers, host, &located).await?;
    if bases.is_empty() {
        return Ok(learnt(HostRecords::Insecure, located.ttl));
    }
    let asked: Vec<_> = bases
        .into_iter()
        .map(|base| {
            let servers = servers.clone();
            spawn(async move { (servers.tlsa(&base).await, base) })
        })
        .collect();
    for question in asked {
        match question.await.map_err(|_| defect())? {
            (Ok(found), base) if found.authenticated => {
                let records = TlsaSet::read(found.data.iter().map(Vec::as_slice));
                return Ok(learnt(
                    HostRecords::Records { base, records },
                    found.ttl.min(located.ttl),
                ));
            }
            (Ok(_), _) => {}
            (Err(error), _) if error.is_absence() => {}
            (Err(error), _) => return Err(error),
        }
    }
    Ok(learnt(HostRecords::Absent, located.ttl.min(ABSENCE_LIFE)))
}

/// The names that can be the TLSA base domain, the first one first: where all aliases lead, if all of it is secure, then
/// the host's own name. If only the first alias is secure, the host's own name alone (RFC 7672 2.1.3, 2.2.2). The answer
/// with the addresses has the aliases; only where it is insecure is one of them asked for.
async fn base_domains(
    servers: &Servers,
    host: &Domain,
    located: &Answered<Option<String>>,
) -> Result<Vec<Domain>, DnsError> {
    let own = || vec![host.clone()];
    match (&located.data, located.authenticated) {
        (None, true) => Ok(own()),
        (None, false) => Ok(Vec::new()),
        // A name that no certificate can have is not a base domain.
        (Some(end), true) => Ok(Domain::parse(end).into_iter().chain(own()).collect()),
        (Some(_), false) => match servers.alias(host).await {
            Ok(alias) if alias.authenticated => Ok(own()),
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.is_absence() => Ok(Vec::new()),
            Err(error) => Err(error),
        },
    }
}
