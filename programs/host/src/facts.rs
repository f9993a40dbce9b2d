//! What the network says of a hosted domain: its MX hosts as a sender meets them, its policy as a sender fetches it, its record as
//! resolvers have it. Nothing is judged here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtasts::network::addresses::Rule;
use mtasts::network::dns::{Dns as _, DnsError, StubResolver};
use mtasts::network::https::{Https as _, PolicyHost};
use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::check_chain;
use mtasts::protocol::record::Record;
use mtasts::protocol::text::one_line;
use mtasts::protocol::words::ResultType;
use mtasts::{Domain, Mode};
use mtasts_survey::judge::ends_soon;
use mtasts_survey::smtp::{End, Session};
use mtasts_survey::survey::{Host, Reach, Route, mx_hosts};
use rustls_pki_types::UnixTime;

use crate::exchanges::{Exchange, Newcomer, Stage, find};
use crate::families;
use crate::gates::is_usable;
use crate::ledger::Claim;
use crate::proof::{self, Doubt, Named};
use crate::published::Published;
use crate::service::Service;

/// How long it may take, all together.
const TIME: Duration = Duration::from_secs(30);
/// How many MX hosts are asked, and at how many addresses: each is a connection.
const HOSTS: usize = 16;
const ADDRESSES: usize = 8;
/// The longest sentence about a stranger's host.
const SENTENCE: usize = 300;

/// All that the gates go by.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The name of the policy host.
    pub policy_host: String,
    /// The MX hosts in DNS, or why they are not known.
    pub hosts: Result<Vec<MxHost>, String>,
    /// The patterns of the policy that no MX host in DNS has, but for those in reserve; and how far the move of each is, if the domain
    /// is on its way to other MX hosts.
    pub unused: Vec<(String, Option<Stage>)>,
    /// What a sender fetches.
    pub fetched: Fetched,
    /// What each resolver has at `_mta-sts`.
    pub records: Vec<(String, Announced)>,
    /// How many sessions of the last days failed because of the policy, if there are reports (RFC 8460) to say so.
    pub failures: Option<u64>,
}

/// An MX host.
#[derive(Clone, Debug)]
pub struct MxHost {
    /// Its name, as in the MX record.
    pub name: String,
    /// Whether the policy lists it.
    pub listed: bool,
    /// Why it has no address to ask, or some were not asked.
    pub trouble: Option<String>,
    /// What was seen at each address.
    pub sights: Vec<(IpAddr, Sight)>,
}

/// What was seen at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sight {
    /// STARTTLS with a certificate that senders accept, for two weeks at least.
    Good,
    /// This host has no way to such addresses.
    NoRoute,
    /// No connection, or no SMTP in it.
    Unreached(String),
    /// STARTTLS is not offered, or refused.
    NoStarttls,
    /// The handshake fails.
    NoTls(String),
    /// No path leads from the certificate to a trust anchor at this time.
    Untrusted(String),
    /// The certificate is for another name.
    Misnamed(String),
    /// The certificate is good now, and ends within two weeks.
    EndsSoon(String),
    /// Our TLS cannot say, or the address is not one to connect to.
    Unknown(String),
}

/// What a fetch of the policy gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// The text that is served.
    Same,
    /// Another one.
    Other,
    /// Nothing.
    Failed(String),
}

/// What a resolver has at `_mta-sts`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Announced {
    /// The id of the text that is served.
    Same,
    /// Another id.
    Other(String),
    /// No record, or none that senders read.
    Absent(String),
    /// It does not say.
    Unknown(String),
}

/// How a host looks at the network.
pub struct Eyes {
    resolvers: Vec<(String, StubResolver)>,
    /// One on this host, whose word on DNSSEC nobody can change on the way.
    validating: Option<StubResolver>,
    roots: Arc<Roots>,
    rule: Rule,
}

impl Eyes {
    /// As the settings say.
    ///
    /// # Errors
    /// A sentence, if the trust anchors cannot be read.
    pub fn new(service: &Service) -> Result<Self, String> {
        let roots = match &service.ca_file {
            Some(file) => Roots::from_file(file),
            None => Roots::system(),
        };
        let mut resolvers: Vec<_> = service
            .resolvers
            .iter()
            .map(|address| (address.to_string(), StubResolver::with_servers(&[*address])))
            .collect();
        if resolvers.is_empty() {
            resolvers.push(("of the system".into(), StubResolver::system()));
        }
        let own = service.resolvers.iter().find(|address| address.ip().is_loopback());
        Ok(Self {
            resolvers,
            validating: own.map(|address| StubResolver::validating(*address)),
            roots: Arc::new(roots.map_err(|error| error.to_string())?),
            rule: Rule::default(),
        })
    }

    /// The facts about a domain and the policy that is served for it. It takes half a minute at most.
    #[must_use]
    pub fn look(&self, domain: &Domain, served: &Published, reserve: &[String], moves: &[Exchange]) -> Facts {
        let deadline = Instant::now() + TIME;
        let staged = |pattern: String| {
            let stage = find(moves, &pattern).map(|known| known.stage);
            (pattern, stage)
        };
        let ((hosts, unused), fetched, records) = std::thread::scope(|scope| {
            let hosts = scope.spawn(|| self.hosts(domain, served, reserve, deadline));
            let fetched = scope.spawn(|| self.fetched(domain, served, deadline));
            let records = self.resolvers.iter();
            let records: Vec<_> = records
                .map(|(name, resolver)| (name.clone(), announced(resolver, domain, served, deadline)))
                .collect();
            let joined = "no thread of these panics";
            (hosts.join().expect(joined), fetched.join().expect(joined), records)
        });
        Facts {
            policy_host: format!("mta-sts.{domain}"),
            hosts,
            unused: unused.into_iter().map(staged).collect(),
            fetched,
            records,
            // Reports are not read yet.
            failures: None,
        }
    }

    /// The policy of a domain and its id, as they are published now.
    ///
    /// # Errors
    /// Why senders get none, in a sentence.
    pub fn published(&self, domain: &Domain) -> Result<Published, String> {
        let deadline = Instant::now() + TIME;
        let id = || match self.dns().txt(&format!("_mta-sts.{domain}"), deadline) {
            Ok(records) => Record::find(&records.data).map_err(|error| error.to_string()),
            Err(error) => Err(format!("the record at _mta-sts.{domain} cannot be looked up: {error}")),
        };
        let before = id()?;
        let text = self.fetch(domain, deadline)?;
        // An id that announces another text would hide it from senders, for as long as they keep theirs.
        if id()? != before {
            return Err("the id has changed while the policy was fetched; try again".into());
        }
        Published::taken_over(&text, before.id.as_str()).map_err(|refused| one_line(&refused.to_string(), SENTENCE))
    }

    /// Whether the name of the policy host leads to these addresses and no others.
    ///
    /// # Errors
    /// Where else it leads, in a sentence.
    pub fn leads_to(&self, domain: &Domain, ours: &[IpAddr]) -> Result<(), String> {
        let host = format!("mta-sts.{domain}");
        let found = self.dns().addresses(&host, Instant::now() + TIME);
        let found = found.map_err(|error| format!("the addresses of {host} cannot be looked up: {error}"))?;
        match found.data.iter().find(|address| !ours.contains(address)) {
            Some(other) => Err(format!(
                "{host} leads to {other}, which is not in the setting addresses"
            )),
            None => Ok(()),
        }
    }

    /// Whether DNS names the token of the claim of a domain.
    ///
    /// # Errors
    /// A [`Doubt`].
    pub fn proof(&self, domain: &Domain, claim: &Claim, zone: Option<&Domain>) -> Result<(), Doubt> {
        proof::look(self.dns(), domain, claim, zone, Instant::now() + TIME)
    }

    /// What each of the resolvers says of whose a domain is, in the order of the settings.
    #[must_use]
    pub fn named(&self, domain: &Domain, zone: Option<&Domain>) -> Vec<Result<Named, Doubt>> {
        let (resolvers, deadline) = (self.resolvers.iter(), Instant::now() + TIME);
        resolvers
            .map(|(_, resolver)| Named::look(resolver, domain, zone, deadline))
            .collect()
    }

    /// Whether the record of a domain has the id of what is served, and the policy lists its MX hosts.
    ///
    /// # Errors
    /// What is wrong and what to do, in a sentence.
    pub fn announces(&self, domain: &Domain, served: &Published) -> Result<(), String> {
        match announced(self.dns(), domain, served, Instant::now() + TIME) {
            Announced::Same => self.mx_are_listed(domain, served),
            Announced::Other(id) => Err(format!(
                "the record at _mta-sts.{domain} has the id {id}, and {} is served; publish the records",
                served.id()
            )),
            Announced::Absent(why) => Err(format!("there is no record at _mta-sts.{domain}: {why}; publish it")),
            Announced::Unknown(why) => Err(format!("the record at _mta-sts.{domain} cannot be looked up: {why}")),
        }
    }

    /// Whether the policy lists all MX hosts in DNS. What DNS does not say is not held against them.
    fn mx_are_listed(&self, domain: &Domain, served: &Published) -> Result<(), String> {
        let policy = served.policy();
        let Ok(found) = self.dns().mx(domain, Instant::now() + TIME) else {
            return Ok(());
        };
        let hosts = found.data.iter().filter(|_| policy.mode() != Mode::None);
        let is_listed = |name: &str| Domain::parse(name).is_ok_and(|host| policy.allows_mx(&host));
        match hosts
            .map(|mx| mx.exchange.as_str())
            .find(|name| *name != "." && !is_listed(name))
        {
            Some(name) => Err(format!(
                "{} is an MX host of {domain} in DNS, and not in the policy: in mode enforce senders send it no mail; add it to mx, or \
                 remove its MX record",
                one_line(name, SENTENCE)
            )),
            None => Ok(()),
        }
    }

    /// The MX hosts of a domain as each of the resolvers has them; the domain itself, if there is no MX record (RFC 5321 5.1). Nothing,
    /// if one of them does not say.
    #[must_use]
    pub fn mx(&self, domain: &Domain) -> Option<Vec<Vec<Domain>>> {
        let resolvers = self.resolvers.iter();
        resolvers
            .map(|(_, resolver)| exchangers(resolver, domain).map(|(hosts, _)| hosts))
            .collect()
    }

    /// Those of them that a policy with these patterns does not list.
    #[must_use]
    pub fn newcomers(&self, domain: &Domain, served: &Published, found: &[Vec<Domain>]) -> Vec<Newcomer> {
        let mut hosts: Vec<&Domain> = found
            .iter()
            .flatten()
            .filter(|host| !served.policy().allows_mx(host))
            .collect();
        hosts.sort();
        hosts.dedup();
        if hosts.is_empty() {
            return Vec::new();
        }
        let signed = self
            .validating
            .as_ref()
            .and_then(|resolver| exchangers(resolver, domain));
        let signed = signed.filter(|(_, is_signed)| *is_signed).map(|(hosts, _)| hosts);
        let (seen, _) = self.hosts(domain, served, &[], Instant::now() + TIME);
        let seen = seen.unwrap_or_default();
        let mut newcomers: Vec<Newcomer> = Vec::new();
        for host in hosts {
            let pattern = families::pattern(host);
            let is_signed = signed.as_ref().is_some_and(|signed| signed.contains(host));
            let is_agreed = found.len() > 1 && found.iter().all(|hosts| hosts.contains(host));
            let seen = seen.iter().find(|seen| seen.name.eq_ignore_ascii_case(host.as_str()));
            let is_good = seen.is_some_and(is_usable);
            match newcomers.iter_mut().find(|known| known.pattern == pattern) {
                // One doubtful host of a kind makes the kind doubtful.
                Some(known) => {
                    known.is_signed &= is_signed;
                    known.is_agreed &= is_agreed;
                    known.is_good &= is_good;
                }
                None => newcomers.push(Newcomer {
                    pattern,
                    is_signed,
                    is_agreed,
                    is_good,
                }),
            }
        }
        newcomers
    }

    fn dns(&self) -> &StubResolver {
        &self.resolvers[0].1
    }

    fn fetched(&self, domain: &Domain, served: &Published, deadline: Instant) -> Fetched {
        match self.fetch(domain, deadline) {
            Ok(text) if text == served.text().as_bytes() => Fetched::Same,
            Ok(_) => Fetched::Other,
            Err(why) => Fetched::Failed(why),
        }
    }

    fn fetch(&self, domain: &Domain, deadline: Instant) -> Result<Vec<u8>, String> {
        let roots = Arc::clone(&self.roots);
        let dns = Arc::new(self.dns().clone());
        let host = PolicyHost::new(dns, Arc::new(move || Ok(Arc::clone(&roots))), self.rule.clone());
        let text = host.get(domain, deadline);
        text.map_err(|error| one_line(error.detail(), SENTENCE))
    }

    /// The MX hosts, and the patterns of the policy that none of them has.
    fn hosts(
        &self,
        domain: &Domain,
        served: &Published,
        reserve: &[String],
        deadline: Instant,
    ) -> (Result<Vec<MxHost>, String>, Vec<String>) {
        let reach = Reach {
            smtp: true,
            refused: Some(&self.rule),
            hosts: HOSTS,
            addresses: ADDRESSES,
        };
        let (route, hosts, unasked) = mx_hosts(domain, self.dns(), &reach, deadline, &|_, _| ());
        let why = match route {
            Route::Records | Route::Implicit if unasked > 0 => {
                format!("DNS has more than {HOSTS} MX hosts, and no more are asked")
            }
            Route::Records | Route::Implicit => {
                let named: Vec<&Domain> = hosts.iter().filter_map(|host| host.name.host().ok()).collect();
                let patterns = served.policy().mx();
                let unused = patterns
                    .filter(|pattern| !named.iter().any(|name| pattern.matches(name)))
                    .map(|pattern| pattern.as_str().to_owned())
                    .filter(|pattern| !reserve.contains(pattern));
                let unused = unused.collect();
                return (Ok(hosts.iter().map(|host| self.host(host, served)).collect()), unused);
            }
            Route::NullMx => "the domain takes no mail (null MX, RFC 7505)".to_owned(),
            Route::Unknown(error) => format!("the MX records cannot be looked up: {error}"),
        };
        (Err(why), Vec::new())
    }

    fn host(&self, host: &Host, served: &Published) -> MxHost {
        let name = one_line(host.name.as_str(), SENTENCE);
        let (listed, trouble) = match host.name.host() {
            Ok(domain) => (served.policy().allows_mx(domain), trouble(host)),
            Err(error) => (false, Some(format!("is not the name of a host: {error}"))),
        };
        let asked = host.sessions.iter().flatten();
        MxHost {
            name,
            listed,
            trouble,
            sights: asked
                .map(|(address, session)| (*address, self.sight(host, *address, session)))
                .collect(),
        }
    }

    fn sight(&self, host: &Host, address: IpAddr, session: &Session) -> Sight {
        let why = |why: &str| one_line(why, SENTENCE);
        if let Some(what) = self.rule.refusal(address) {
            return Sight::Unknown(format!("it is {what}, which senders outside cannot reach"));
        }
        let chain = match &session.end {
            End::NoRoute => return Sight::NoRoute,
            End::NotAsked => return Sight::Unknown("it was not asked".into()),
            End::Unreached(error) | End::NoService(error) => return Sight::Unreached(why(error)),
            End::StarttlsNotOffered | End::StarttlsRefused(_) => return Sight::NoStarttls,
            End::HandshakeFailed(error) => return Sight::NoTls(why(error)),
            End::Unsupported(error) => return Sight::Unknown(why(error)),
            End::Tls { after: Err(error), .. } => return Sight::NoTls(why(error)),
            End::Tls { chain, .. } => chain,
        };
        let Ok(name) = host.name.host() else {
            return Sight::Unknown("it has no host name".into());
        };
        let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
        match check_chain(name, &chain, self.roots.anchors(), UnixTime::now()) {
            Err(failure) if failure.result == ResultType::CertificateHostMismatch => Sight::Misnamed(failure.reason),
            Err(failure) => Sight::Untrusted(failure.reason),
            Ok(()) => match ends_soon(&host.name, session, &self.roots, UnixTime::now()) {
                Some(when) => Sight::EndsSoon(when),
                None => Sight::Good,
            },
        }
    }
}

/// Why a host has no address to ask, or not all were asked.
fn trouble(host: &Host) -> Option<String> {
    match &host.sessions {
        Err(error) if error.is_absence() => Some(format!("has no address: {error}")),
        Err(error) => Some(format!("its addresses cannot be looked up: {error}")),
        Ok(_) if host.unasked > 0 => Some(format!("has more than {ADDRESSES} addresses, and no more are asked")),
        Ok(_) => None,
    }
}

/// The MX hosts that a resolver has, and whether it has validated that. What is no host name is no host.
fn exchangers(resolver: &StubResolver, domain: &Domain) -> Option<(Vec<Domain>, bool)> {
    match resolver.mx(domain, Instant::now() + TIME) {
        Ok(found) => {
            let hosts = found.data.iter().filter_map(|mx| Domain::parse(&mx.exchange).ok());
            Some((hosts.collect(), found.authenticated))
        }
        Err(DnsError::NoData) => Some((vec![domain.clone()], false)),
        Err(_) => None,
    }
}

fn announced(resolver: &StubResolver, domain: &Domain, served: &Published, deadline: Instant) -> Announced {
    match resolver.txt(&format!("_mta-sts.{domain}"), deadline) {
        Ok(records) => match Record::find(&records.data) {
            Ok(record) if record.id.as_str() == served.id() => Announced::Same,
            Ok(record) => Announced::Other(record.id.as_str().to_owned()),
            Err(error) => Announced::Absent(one_line(&error.to_string(), SENTENCE)),
        },
        Err(error @ (DnsError::NxDomain | DnsError::NoData)) => Announced::Absent(error.to_string()),
        Err(error) => Announced::Unknown(error.to_string()),
    }
}

#[cfg(test)]
impl Facts {
    /// Nothing is against a next step.
    pub(crate) fn good() -> Self {
        Self {
            policy_host: "mta-sts.example.com".into(),
            hosts: Ok(vec![MxHost {
                name: "mx.example.com".into(),
                listed: true,
                trouble: None,
                sights: vec![("192.0.2.1".parse().unwrap(), Sight::Good)],
            }]),
            unused: Vec::new(),
            fetched: Fetched::Same,
            records: vec![("192.0.2.53".into(), Announced::Same)],
            failures: None,
        }
    }
}
