//! `mtasts report visit`: what a host counts whose mail server hands no results over.
//!
//! About half of the policies are in testing: they are there to be reported on. Where the mail server says nothing of its
//! sessions, this looks at the MX hosts of those domains itself, and sends no mail.

use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rustls_pki_types::UnixTime;

use super::super::cache::open;
use super::super::output::{print, tell};
use super::super::{Found, Trouble};
use mtasts::Settings;
use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::network::addresses::Rule;
use mtasts::network::dns::StubResolver;
use mtasts::protocol::mx_name::MxName;
use mtasts::protocol::names::Domain;
use mtasts::protocol::words::{Channel, Mode};
use mtasts::sender::attempt::{Attempt, Peer};
use mtasts::sender::resolver::Resolver;
use mtasts::sender::verdict::Seen;
use mtasts_survey::judge;
use mtasts_survey::smtp::End;
use mtasts_survey::survey::{Host, Reach, mx_hosts};

/// How many domains are visited at a time.
const WORKERS: usize = 8;
/// How many MX hosts of a domain are visited, and how many addresses of each.
const HOSTS: usize = 5;
const ADDRESSES: usize = 2;
/// How long all MX hosts of a domain may take.
const TIME: Duration = Duration::from_secs(60);

/// Visit the MX hosts of each domain in the cache whose policy is in testing, and count what was seen, for TLS reports.
///
/// For a timer, once an hour, on a host whose mail server hands no results over: a Postfix before 3.10, Sendmail, an Exim that
/// asks the server. "mtasts serve --visit" does the same without a timer. No mail is sent: a visit ends after EHLO, STARTTLS and
/// the handshake. The results go where those of a mail server go (settings tlsrpt_journal and tlsrpt_socket).
///
/// Exit status: 0, or 1 if a result was lost.
#[derive(Args)]
pub(crate) struct Visit {}

impl Visit {
    pub(super) fn run(&self) -> Result<Found, Trouble> {
        let (settings, _) = open()?;
        let done = visit_all(settings, &tell).map_err(Trouble)?;
        print(&format!("{done}\n"))?;
        Ok(if done.lost.into_inner() == 0 {
            Found::Good
        } else {
            Found::Bad
        })
    }
}

/// What visits have done.
#[derive(Default)]
pub(crate) struct Done {
    domains: AtomicU64,
    lost: AtomicU64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (domains, lost) = (self.domains.load(Relaxed), self.lost.load(Relaxed));
        write!(
            f,
            "visits: {domains} domains with a policy in testing, {lost} results lost"
        )
    }
}

/// Visits all domains in the cache whose policy is in testing. `tell` gets what the operator should know.
///
/// # Errors
/// A sentence: nothing was visited.
pub(crate) fn visit_all(settings: Settings, tell: &(dyn Fn(&str) + Sync)) -> Result<Done, String> {
    if !settings.tlsrpt_journal && settings.tlsrpt_socket.is_none() {
        return Err("nobody counts what would be seen: set tlsrpt_journal or tlsrpt_socket in mtasts.toml".to_owned());
    }
    let directory = settings.cache_dir.clone();
    let store = directory
        .map(Store::new)
        .ok_or("there is no cache: set cache_dir in mtasts.toml")?;
    let dns = match &*settings.nameservers {
        [] => StubResolver::system(),
        servers => StubResolver::with_servers(servers),
    };
    let visitor = Visitor {
        rule: settings.addresses(),
        resolver: Resolver::new(settings),
        dns,
        tell,
        done: Done::default(),
    };
    let domains = store.domains().map_err(|error| error.to_string())?;
    let domains = Mutex::new(domains.into_iter());
    let next = || domains.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(domain) = next() {
                    visitor.visit(&domain);
                }
            });
        }
    });
    Ok(visitor.done)
}

/// What visits need.
struct Visitor<'a> {
    rule: Rule,
    resolver: Resolver,
    dns: StubResolver,
    tell: &'a (dyn Fn(&str) + Sync),
    done: Done,
}

impl Visitor<'_> {
    fn visit(&self, domain: &Domain) {
        let answer = match self.resolver.lookup(domain.as_str(), Duration::MAX) {
            Ok(answer) if answer.mode() == Mode::Testing => answer,
            Ok(_) => return,
            Err(error) => return (self.tell)(&error.notice().to_string()),
        };
        self.done.domains.fetch_add(1, Relaxed);
        // A domain's owner chooses the addresses of its MX hosts, and must not lead us into our own network.
        let reach = Reach {
            smtp: true,
            refused: Some(&self.rule),
            hosts: HOSTS,
            addresses: ADDRESSES,
        };
        let (_, hosts, _) = mx_hosts(domain, &self.dns, &reach, Instant::now() + TIME, &|_, _| {});
        let names: Vec<MxName> = hosts.iter().map(|host| host.name.clone()).collect();
        let known = match self.resolver.hosts(domain, &names, Duration::MAX) {
            Ok(known) => known,
            Err(error) => return (self.tell)(&error.notice().to_string()),
        };
        for host in &hosts {
            let begin = || {
                let mut attempt = Attempt::with_hosts(&answer, host.name.clone(), &known);
                attempt.saw(Seen::Name);
                attempt
            };
            let attempts = self.sessions(host, &begin);
            // A host that the policy does not list is one whether or not it was reached.
            let by_name = || vec![(begin(), Peer::default())];
            for (mut attempt, peer) in if attempts.is_empty() { by_name() } else { attempts } {
                while attempt.finish(peer).is_some() {}
                if attempt.report(&self.resolver, Duration::MAX).is_err() {
                    self.done.lost.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// The sessions that show what the host does.
    fn sessions(&self, host: &Host, begin: &dyn Fn() -> Attempt) -> Vec<(Attempt, Peer)> {
        let sessions = host.sessions.iter().flatten();
        let seen = sessions.filter_map(|(address, session)| {
            let mut attempt = begin();
            let channel = match &session.end {
                End::Tls { chain, .. } => {
                    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
                    match attempt.saw_chain(&self.resolver, &chain, UnixTime::now()) {
                        Ok(verdict) if judge::is_beyond_us(&verdict.reason_code) => return None,
                        Ok(_) => Channel::Tls,
                        Err(error) => {
                            (self.tell)(&error.to_string());
                            return None;
                        }
                    }
                }
                other => {
                    attempt.saw(judge::seen_without_tls(other)?);
                    Channel::Clear
                }
            };
            let peer = Peer {
                channel,
                address: Some(*address),
                local_address: own_address(*address),
            };
            Some((attempt, peer))
        });
        seen.collect()
    }
}

/// From which address this host sends to that one.
fn own_address(there: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match there {
        IpAddr::V4(_) => [0, 0, 0, 0].into(),
        IpAddr::V6(_) => [0_u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((there, 25)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
