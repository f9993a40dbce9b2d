//! The facts about a domain, from DNS, its policy host and its MX hosts. Nothing is judged here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use std::{mem, thread};

use crate::dane::{self, Dane};
use crate::smtp::{self, Session};
use crate::surroundings::{self, Surroundings};
use mtasts::cache::entry::Entry;
use mtasts::network::addresses::Rule;
use mtasts::network::dns::{Answered, Dns, DnsError, StubResolver};
use mtasts::network::https::{FetchError, PolicyHost};
use mtasts::network::roots::Roots;
use mtasts::protocol::mx_name::MxName;
use mtasts::protocol::names::Domain;
use mtasts::protocol::words::Source;
use mtasts::sender::answer::{Answer, Decision};
use mtasts::sender::lookup::{Ask, Lookup, NotAsked};
use mtasts::sender::outcome::{Failure, Observed, Outcome};
use mtasts::sender::resolver::unix_now;
use mtasts::sender::settings::Settings;

/// How far MX hosts are asked. A domain can have any number of them; senders try a handful.
pub struct Reach<'a> {
    /// Whether they are connected to.
    pub smtp: bool,
    /// Which addresses are not: a domain's owner chooses them, and could lead a service into its own network (SSRF). An
    /// operator who asks by hand may ask any.
    pub refused: Option<&'a Rule>,
    /// How many hosts are asked.
    pub hosts: usize,
    /// How many addresses of each are connected to.
    pub addresses: usize,
}

/// What was found.
pub struct Survey {
    /// The domain that was asked for.
    pub domain: Domain,
    /// The TXT records at `_mta-sts`.
    pub txt: Result<Vec<Vec<u8>>, DnsError>,
    /// The text of the policy, or nothing where the record announces none.
    pub body: Option<Result<Vec<u8>, FetchError>>,
    /// What the lookup makes of both.
    pub answer: Arc<Answer>,
    /// Where its mail goes.
    pub route: Route,
    /// In order of preference.
    pub hosts: Vec<Host>,
    /// How many more MX hosts there are, which were not asked.
    pub unasked: usize,
    /// What else DNS says.
    pub surroundings: Surroundings,
    /// What DNSSEC says.
    pub dane: Dane,
}

/// How the MX hosts were found (RFC 5321 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// From MX records.
    Records,
    /// There is none: the domain is its own MX host.
    Implicit,
    /// RFC 7505: the domain takes no mail.
    NullMx,
    /// Not at all.
    Unknown(DnsError),
}

/// An MX host.
pub struct Host {
    /// As in the MX record.
    pub name: MxName,
    /// That of the MX record; `None` for the domain itself (RFC 5321 5.1).
    pub preference: Option<u16>,
    /// The sessions with it, one for each address.
    pub sessions: Result<Vec<(IpAddr, Session)>, DnsError>,
    /// How many more addresses it has, which were not asked.
    pub unasked: usize,
}

impl Host {
    /// Its addresses, as far as they were asked.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.sessions.iter().flatten().map(|(address, _)| *address)
    }
}

/// Shows progress. It gets the name of a step, with `true` when the step begins and `false` when it ends.
pub type Watch<'a> = dyn Fn(&str, bool) + Sync + 'a;

fn waiting<T>(watch: &Watch<'_>, what: &str, ask: impl FnOnce() -> T) -> T {
    watch(what, true);
    let answer = ask();
    watch(what, false);
    answer
}

/// Asks everybody there is to ask, the MX hosts themselves only if `smtp` says so. The policy and the MX hosts are asked
/// at the same time, each within the setting `timeout`. The cache is neither read nor written: the operator wants to know
/// how it is now.
pub fn survey(domain: Domain, settings: &Settings, roots: &Arc<Roots>, smtp: bool, watch: &Watch<'_>) -> Survey {
    let dns = match &*settings.nameservers {
        [] => StubResolver::system(),
        servers => StubResolver::with_servers(servers),
    };
    let deadline = Instant::now() + settings.timeout;
    let (mut outcome, (route, hosts, unasked)) = thread::scope(|scope| {
        let policy = scope.spawn(|| waiting(watch, "the policy", || policy(&domain, &dns, settings, roots, deadline)));
        let reach = Reach {
            smtp,
            refused: None,
            hosts: 16,
            addresses: 4,
        };
        let hosts = mx_hosts(&domain, &dns, &reach, deadline, watch);
        (
            policy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            hosts,
        )
    });
    let Observed { txt, body } = mem::take(&mut outcome.seen);
    let answer = outcome.into_answer(Decision::default());
    let answer = answer.expect("a lookup does not contradict itself");
    let mx: Vec<&Domain> = hosts.iter().filter_map(|host| host.name.host().ok()).collect();
    let named: Vec<Domain> = mx.iter().copied().cloned().collect();
    let (surroundings, dane) = thread::scope(|scope| {
        let dane = scope.spawn(|| waiting(watch, "DNSSEC", || dane::look(&domain, &named, settings, deadline)));
        let surroundings = waiting(watch, "DNS", || {
            surroundings::look(&domain, answer.policy(), &mx, &dns, deadline)
        });
        (surroundings, joined(dane))
    });
    Survey {
        surroundings,
        dane,
        domain,
        txt: txt.unwrap_or(Err(DnsError::Timeout)),
        body,
        answer: Arc::new(answer),
        route,
        hosts,
        unasked,
    }
}

/// The lookup itself.
fn policy(domain: &Domain, dns: &StubResolver, settings: &Settings, roots: &Arc<Roots>, deadline: Instant) -> Outcome {
    let roots = Arc::clone(roots);
    let https = PolicyHost::new(
        Arc::new(dns.clone()),
        Arc::new(move || Ok(Arc::clone(&roots))),
        settings.addresses(),
    );
    let lookup = Lookup {
        dns,
        https: &https,
        // What others on this host have learnt is not asked for.
        flight: &(),
        settings,
    };
    let outcome = lookup.run(&mut Entry::new(domain.clone()), Ask::Delivery, unix_now(), deadline);
    outcome.unwrap_or_else(|NotAsked { why, seen }| {
        let failure = Failure {
            result: None,
            detail: why.into(),
        };
        Outcome {
            seen,
            ..Outcome::new(domain, Source::CouldNotLearn, None, Some(failure))
        }
    })
}

/// The MX hosts of a domain in order of preference, the sessions with them, and how many more there are.
pub fn mx_hosts(
    domain: &Domain,
    dns: &StubResolver,
    reach: &Reach<'_>,
    deadline: Instant,
    watch: &Watch<'_>,
) -> (Route, Vec<Host>, usize) {
    let found = waiting(watch, "the MX records", || dns.mx(domain, deadline));
    let (route, mut records) = match found {
        Ok(Answered { data: records, .. }) => match &*records {
            [only] if only.exchange == "." => return (Route::NullMx, Vec::new(), 0),
            _ => (
                Route::Records,
                records
                    .into_iter()
                    .map(|mx| (mx.exchange, Some(mx.preference)))
                    .collect(),
            ),
        },
        Err(DnsError::NoData) => (Route::Implicit, vec![(domain.to_string(), None)]),
        Err(error) => return (Route::Unknown(error), Vec::new(), 0),
    };
    let mut names = std::collections::HashSet::new();
    records.retain(|(name, _)| names.insert(name.clone()));
    let unasked = records.len().saturating_sub(reach.hosts);
    records.truncate(reach.hosts);
    let hosts = thread::scope(|scope| {
        let asked: Vec<_> = records
            .into_iter()
            .map(|(name, preference)| {
                scope.spawn(move || waiting(watch, &name, || host(&name, preference, dns, reach, deadline)))
            })
            .collect();
        asked.into_iter().map(joined).collect()
    });
    (route, hosts, unasked)
}

fn host(name: &str, preference: Option<u16>, dns: &StubResolver, reach: &Reach<'_>, deadline: Instant) -> Host {
    let name = MxName::from_mx(name);
    let mut unasked = 0;
    let sessions = match name.host() {
        Ok(host) => dns.addresses(host.as_str(), deadline).map(|addresses| {
            if reach.smtp {
                unasked = addresses.data.len().saturating_sub(reach.addresses);
            }
            sessions(host, &addresses.data, reach, deadline)
        }),
        Err(_) => Ok(Vec::new()),
    };
    Host {
        name,
        preference,
        sessions,
        unasked,
    }
}

fn sessions(host: &Domain, addresses: &[IpAddr], reach: &Reach<'_>, deadline: Instant) -> Vec<(IpAddr, Session)> {
    let most = if reach.smtp { reach.addresses } else { addresses.len() };
    let is_asked = |ip: IpAddr| reach.smtp && reach.refused.is_none_or(|rule| rule.refusal(ip).is_none());
    let session = |ip: IpAddr| match is_asked(ip) {
        true => smtp::session(ip, host, deadline),
        false => Session::not_asked(),
    };
    thread::scope(|scope| {
        let asked = addresses.iter().take(most);
        let asked: Vec<_> = asked.map(|ip| scope.spawn(move || (*ip, session(*ip)))).collect();
        asked.into_iter().map(joined).collect()
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
