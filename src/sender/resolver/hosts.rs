//! The MX hosts of a domain for DANE: what is remembered of them, and the question to the name server of `dane_resolver`.
//! Nothing of it is on disk, for DNSSEC has no memory beyond a TTL.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, TryLockError};
use std::time::{Duration, Instant};

use super::helper::HELPER_GRACE;
use super::{Resolver, Shared, Unavailable};
use crate::network::dns::{DnsError, Servers, StubResolver};
use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::sender::dane::{Facts, learn};
use crate::sender::hosts::Hosts;
use crate::sender::notice::{Notice, Token};
use crate::sender::settings::Settings;
use crate::sender::user::whom_root_becomes;
use crate::sender::validator::{Worth, examine, tested};
use crate::sys::process::{self, HelperError};
use crate::sys::quiet::quietly;
use crate::sys::thread::{on_own_thread, start};

/// How many domains are remembered.
const MEMORY_SIZE: usize = 2000;
/// The most hosts of a domain that are remembered; most domains have five or fewer.
const MEMORY_HOSTS: usize = 32;
/// The longest TLSA records of a domain that are remembered, in octets.
const MEMORY_OCTETS: usize = 16 << 10;
/// The longest text that a helper may give: a thousand hosts, and some with sets as long as DNS can send.
const MAX_TEXT: usize = 16 << 20;

/// What is remembered. The lock is only tried, as that of the answers.
#[derive(Default)]
pub(super) struct HostMemory(RwLock<HashMap<Domain, (Arc<Hosts>, Instant)>>);

impl HostMemory {
    fn get(&self, domain: &Domain, names: &[Domain]) -> Option<Arc<Hosts>> {
        let memory = self.0.try_read().ok()?;
        let (hosts, until) = memory.get(domain)?;
        let facts = hosts.facts()?;
        let has_all = names.iter().all(|name| facts.host(name).is_some());
        (Instant::now() < *until && has_all).then(|| hosts.clone())
    }

    fn put(&self, domain: &Domain, hosts: &Arc<Hosts>) {
        let Some(facts) = hosts.facts().filter(|_| !hosts.life().is_zero()) else {
            return;
        };
        if facts.hosts.len() > MEMORY_HOSTS || hosts.octets() > MEMORY_OCTETS {
            return;
        }
        let mut memory = match self.0.try_write() {
            Ok(memory) => memory,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let now = Instant::now();
        if memory.len() >= MEMORY_SIZE {
            memory.retain(|_, (_, until)| now < *until);
        }
        // The name server of this host remembers the rest.
        if memory.len() >= MEMORY_SIZE {
            memory.clear();
        }
        memory.insert(domain.clone(), (hosts.clone(), now + hosts.life()));
    }
}

impl Resolver {
    /// What DANE says of the MX hosts of a domain (RFC 7672), within `patience` or the setting `timeout`. `hosts` are those
    /// that the mail server has found, the first ones first; without any it is those of the MX records.
    ///
    /// With `dane = off` nothing is asked, and MTA-STS alone decides. In a process of root the work is done by a child that
    /// has become another user, as for [`Resolver::lookup`].
    ///
    /// A host of which nothing can be learnt is skipped by its [`Attempt`](crate::Attempt), and is not an error.
    ///
    /// # Errors
    /// A [`Unavailable`]: this host refused what the questions need, and the mail waits.
    pub fn hosts(&self, domain: &Domain, hosts: &[MxName], patience: Duration) -> Result<Arc<Hosts>, Unavailable> {
        match self.hosts_at_hand(domain, hosts) {
            Some(hosts) => Ok(hosts),
            None => self.ask_for_hosts(domain, hosts, patience),
        }
    }

    /// The same for a caller that must not wait: if the answer is not at hand, `done` gets it later, on a thread of ours.
    ///
    /// # Errors
    /// A [`Unavailable`] if there is no such thread: the mail waits.
    pub fn hosts_later(
        &self,
        domain: &Domain,
        hosts: &[MxName],
        patience: Duration,
        done: impl FnOnce(Result<Arc<Hosts>, Unavailable>) + Send + 'static,
    ) -> Result<Option<Arc<Hosts>>, Unavailable> {
        if let Some(hosts) = self.hosts_at_hand(domain, hosts) {
            return Ok(Some(hosts));
        }
        let (resolver, domain, hosts) = (self.clone(), domain.clone(), hosts.to_vec());
        let ask = move || {
            let asked = quietly(|| resolver.ask_for_hosts(&domain, &hosts, patience));
            done(asked.unwrap_or_else(|| Err(Unavailable::Thread("a defect of libmtasts (a panic)".into()))));
        };
        match start(ask) {
            Ok(()) => Ok(None),
            Err(error) => Err(Unavailable::Thread(format!("cannot start a thread: {error}"))),
        }
    }

    /// What [`Resolver::hosts`] would give without a question: DANE is not used, or the hosts are remembered.
    #[must_use]
    pub fn hosts_at_hand(&self, domain: &Domain, hosts: &[MxName]) -> Option<Arc<Hosts>> {
        let shared = &self.shared;
        match Worth::untested(&shared.settings) {
            Some(worth @ (Worth::Off | Worth::Unfit(_))) => {
                if worth != Worth::Off && !shared.tests.is_known(&worth) {
                    self.tell_worth(&worth);
                }
                return Some(Arc::new(Hosts::without(worth)));
            }
            Some(_) => {}
            None => match shared.tests.last() {
                (_, true) | (None, _) => return None,
                (Some(worth @ (Worth::Absent(_) | Worth::Unfit(_))), _) => {
                    return Some(Arc::new(Hosts::without(worth)));
                }
                (Some(_), _) => {}
            },
        }
        shared.hosts.get(domain, &names(hosts))
    }

    fn ask_for_hosts(&self, domain: &Domain, hosts: &[MxName], patience: Duration) -> Result<Arc<Hosts>, Unavailable> {
        let (shared, names) = (&self.shared, names(hosts));
        self.test_ahead();
        let deadline = Instant::now() + patience.min(shared.settings.timeout);
        let known = Worth::untested(&shared.settings).or_else(|| match shared.tests.last() {
            (last, false) => last,
            (_, true) => None,
        });
        let (settings, asked, before) = (shared.settings.clone(), domain.clone(), known.clone());
        let told = shared.hosts_by(domain, deadline, move || {
            ask(&settings, &asked, &names, before, deadline)
        })?;
        let told = Arc::new(if known.is_some() { told } else { self.judged(told) });
        shared.hosts.put(domain, &told);
        Ok(told)
    }

    /// Tests the name server on a thread of its own before the verdict is over, so that no mail waits for it. Without a
    /// thread a later question waits.
    fn test_ahead(&self) {
        if Worth::untested(&self.shared.settings).is_some() || !self.shared.tests.begin_ahead(Instant::now()) {
            return;
        }
        let resolver = self.clone();
        let test = move || {
            let (shared, deadline) = (&resolver.shared, Instant::now() + resolver.shared.settings.timeout);
            let (settings, nothing) = (shared.settings.clone(), Domain::parse("test.invalid"));
            let examine = move || Ok(Hosts::without(examine(&settings, deadline)));
            if let Ok(Ok(told)) = nothing.map(|domain| shared.hosts_by(&domain, deadline, examine)) {
                resolver.judged(told);
            }
        };
        let _ = start(move || {
            let _ = quietly(test);
        });
    }

    /// The hosts under the verdict on the name server that stands after this test of it.
    fn judged(&self, told: Hosts) -> Hosts {
        let (worth, is_news) = self.shared.tests.note(told.worth().clone());
        if is_news && worth != Worth::Validates {
            self.tell_worth(&worth);
        }
        told.under(worth)
    }

    fn tell_worth(&self, worth: &Worth) {
        let remedy = match worth {
            Worth::Off | Worth::Trusted | Worth::Validates => return,
            Worth::Absent(_) | Worth::Unfit(_) => {
                "DANE is not used, and MTA-STS alone decides. Run a name server on this host that validates, or set dane to off."
            }
            Worth::Unknown(_) => "No host can be looked up for DANE, and mail waits. Repair that name server.",
        };
        let server = self.shared.settings.dane_resolver;
        let sentence = format!("the name server {server} of dane_resolver cannot be used for DANE: {worth}. {remedy}");
        self.tell(&Notice::new(Token::DaneResolver, sentence));
    }
}

fn names(hosts: &[MxName]) -> Vec<Domain> {
    hosts.iter().filter_map(|host| host.host().ok().cloned()).collect()
}

impl Shared {
    /// Runs a question where this process may ask: on a thread of ours, in a process of root in a child.
    fn hosts_by(
        &self,
        domain: &Domain,
        deadline: Instant,
        question: impl FnOnce() -> Result<Hosts, DnsError> + Send + 'static,
    ) -> Result<Hosts, Unavailable> {
        if !process::is_root() {
            let asked = on_own_thread(deadline, question);
            let asked = asked.unwrap_or_else(|error| Err(DnsError::Own(error.to_string())));
            return asked.map_err(|error| Unavailable::NotAsked(error.to_string()));
        }
        let user = whom_root_becomes(self.settings.cache_dir.as_deref(), self.settings.user.as_ref())?;
        let message = process::in_helper(user, deadline + HELPER_GRACE, MAX_TEXT, || {
            log::set_max_level(log::LevelFilter::Off);
            // A child that was forked from a thread of ours needs one of its own.
            match on_own_thread(deadline, question) {
                Ok(Ok(hosts)) => hosts.to_text(),
                Ok(Err(error)) => format!("-{error}"),
                Err(error) => format!("-{error}"),
            }
            .into_bytes()
        })?;
        let text = String::from_utf8(message).map_err(|_| HelperError::Died)?;
        match text.strip_prefix('-') {
            Some(error) => Err(Unavailable::NotAsked(error.to_owned())),
            None => Ok(Hosts::from_text(&text, domain, self.settings.dane.strict_both).ok_or(HelperError::Died)?),
        }
    }
}

/// Asks the name server, and tests it at the same time if its worth is not `known`.
fn ask(
    settings: &Settings,
    domain: &Domain,
    names: &[Domain],
    known: Option<Worth>,
    deadline: Instant,
) -> Result<Hosts, DnsError> {
    let untested = || Worth::Unknown("it was not tested in time".into());
    let dns = StubResolver::validating(settings.dane_resolver);
    let asked = dns.together(deadline, async |servers: Servers| {
        let test = known.is_none().then(|| {
            let (servers, bogus) = (servers.clone(), settings.dane_bogus_name.clone());
            tokio::task::spawn(async move { tested(&servers, &bogus).await })
        });
        let facts = learn(&servers, domain, names).await?;
        let worth = match test {
            Some(test) => test.await.unwrap_or_else(|_| untested()),
            None => known.clone().unwrap_or_else(untested),
        };
        Ok((worth, facts))
    });
    let (worth, facts) = match asked {
        Err(DnsError::Timeout) => (
            known.clone().unwrap_or_else(untested),
            Facts::unknown(domain, DnsError::Timeout.to_string()),
        ),
        asked => asked?,
    };
    Ok(Hosts::new(worth, facts, settings.dane.strict_both))
}
