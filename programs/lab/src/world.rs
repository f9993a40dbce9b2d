//! The state of the test Internet: who behaves how, at which address, and what changes while it runs.

use super::behaviour::{Certificate, Fault, Https, Mx};
use super::certificate::{Authority, Subject};
use super::change::{Change, invalid};
use super::entry::{At, Entry, Host, MxRecords, Setup};
use super::log::Log;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

/// Where the DNS of the lab answers.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);
/// Nobody ever listens here.
const DEAD_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 66);
/// These have no route; `isolate` sees to it.
const NO_ROUTE_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 1);
const NO_ROUTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0xdead, 0, 0, 0, 1);

const HTTPS_PORT: u16 = 443;
const SMTP_PORT: u16 = 25;

/// The address part of an answer.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Addresses(Vec<IpAddr>),
    Alias(String),
    Fault(Fault),
}

/// A policy host as a connection sees it.
pub(super) struct PolicyHost {
    pub(super) subject: Subject,
    pub(super) https: Https,
    pub(super) certificate: Certificate,
    pub(super) every_name: bool,
    pub(super) body: Vec<u8>,
}

/// An MX host as a connection sees it.
#[derive(Clone)]
pub(super) struct MxHost {
    pub(super) subject: Subject,
    pub(super) mx: Mx,
    pub(super) certificate: Certificate,
}

pub(super) struct World {
    pub(super) authority: Authority,
    pub(super) log: Mutex<Log>,
    table: Vec<Entry>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    domains: BTreeMap<String, Arc<Setup>>,
    /// Each host keeps its addresses for ever, whatever happens to it.
    addresses: HashMap<String, (Ipv4Addr, Ipv6Addr)>,
    policy_hosts: HashMap<IpAddr, Vec<String>>,
    mx_hosts: HashMap<IpAddr, (String, Host)>,
    listening: BTreeSet<SocketAddr>,
}

impl World {
    pub(super) fn new(authority: Authority, table: Vec<Entry>) -> Self {
        let world = Self {
            authority,
            log: Mutex::default(),
            table,
            state: Mutex::default(),
        };
        world.reset();
        world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Every domain as the table has it; counters and mail are forgotten.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        state.domains = self
            .table
            .iter()
            .map(|entry| (entry.name.clone(), Arc::new(entry.setup.clone())))
            .collect();
        state.settle();
        *self.log() = Log::default();
    }

    /// Changes one domain. An unknown domain, host or word is an error, and nothing is changed.
    pub(super) fn change(&self, domain: &str, change: Change) -> io::Result<()> {
        let mut state = self.state();
        let setup = state
            .domains
            .get(domain)
            .ok_or_else(|| invalid(format!("no domain {domain} in the lab")))?;
        let mut setup = Setup::clone(setup);
        setup.apply(domain, change)?;
        state.domains.insert(domain.to_owned(), Arc::new(setup));
        state.settle();
        Ok(())
    }

    /// Where somebody must listen for the hosts that are up.
    pub(super) fn listening(&self) -> BTreeSet<SocketAddr> {
        self.state().listening.clone()
    }

    /// Is this a port for policy hosts (or for MX hosts)?
    pub(super) fn is_https(address: SocketAddr) -> bool {
        address.port() == HTTPS_PORT
    }

    /// The policy hosts at an address: mostly one; the caller tells several apart by SNI.
    pub(super) fn policy_hosts(&self, address: IpAddr) -> Vec<PolicyHost> {
        let state = self.state();
        let domains = state.policy_hosts.get(&address.to_canonical());
        let host = |domain: &String| {
            let setup = state.domains.get(domain)?;
            Some(PolicyHost {
                subject: Subject {
                    host: format!("mta-sts.{domain}"),
                    domain: domain.clone(),
                },
                https: setup.https,
                certificate: setup.https_certificate,
                every_name: setup.every_name,
                body: setup.body.clone(),
            })
        };
        domains.into_iter().flatten().filter_map(host).collect()
    }

    /// The MX host at an address.
    pub(super) fn mx_host(&self, address: IpAddr) -> Option<MxHost> {
        let state = self.state();
        let (domain, host) = state.mx_hosts.get(&address.to_canonical())?;
        let subject = Subject {
            host: host.name.clone(),
            domain: domain.clone(),
        };
        Some(MxHost {
            subject,
            mx: host.mx,
            certificate: host.certificate,
        })
    }

    /// Is the MX host at this address one of the domain's?
    pub(super) fn takes_mail(&self, address: IpAddr, domain: &str) -> bool {
        let state = self.state();
        let Some(setup) = state.domains.get(domain) else {
            return false;
        };
        let names: Vec<&str> = match &setup.mx {
            MxRecords::Hosts(hosts) => hosts.iter().map(|(_, name)| name.as_str()).collect(),
            MxRecords::Fault(_) => vec![domain],
        };
        names.into_iter().any(|name| state.is_at(name, address.to_canonical()))
    }

    /// The setup of the domain that a name belongs to, and the name of that domain.
    pub(super) fn domain_of(&self, name: &str) -> Option<(String, Arc<Setup>)> {
        let state = self.state();
        let mut rest = name;
        loop {
            if let Some(setup) = state.domains.get(rest) {
                return Some((rest.to_owned(), setup.clone()));
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// Where a host is, as the DNS tells.
    pub(super) fn place(&self, name: &str, at: &At, down: bool) -> Place {
        self.state().place(name, at, down)
    }

    /// The address behind an alias.
    pub(super) fn own_address(&self, name: &str) -> IpAddr {
        self.state().own(name).0.into()
    }
}

impl State {
    /// Brings addresses and listeners in line with the domains.
    fn settle(&mut self) {
        self.policy_hosts.clear();
        self.mx_hosts.clear();
        self.listening.clear();
        let domains = std::mem::take(&mut self.domains);
        for (domain, setup) in &domains {
            for address in self.served_at(&format!("mta-sts.{domain}"), &setup.policy_at) {
                self.policy_hosts.entry(address).or_default().push(domain.clone());
                if !matches!(setup.https, Https::Refused | Https::Unreachable) {
                    self.listening.insert((address, HTTPS_PORT).into());
                }
            }
            for host in &setup.hosts {
                for address in self.served_at(&host.name, &host.at) {
                    self.mx_hosts
                        .entry(address)
                        .or_insert_with(|| (domain.clone(), host.clone()));
                    if !matches!(host.mx, Mx::Refused | Mx::Unreachable) {
                        self.listening.insert((address, SMTP_PORT).into());
                    }
                }
            }
        }
        self.domains = domains;
    }

    /// The addresses at which a host really serves.
    fn served_at(&mut self, name: &str, at: &At) -> Vec<IpAddr> {
        let real = match at {
            At::Alias(target) => target,
            _ => name,
        };
        self.allocate(real);
        let live = |address: &IpAddr| *address != DEAD_V4 && *address != NO_ROUTE_V6;
        match self.place(name, at, false) {
            Place::Addresses(addresses) => addresses.iter().map(IpAddr::to_canonical).filter(live).collect(),
            Place::Alias(target) => vec![self.own(&target).0.into()],
            Place::Fault(_) => vec![],
        }
    }

    /// Policy hosts live at 198.18.(odd).N, all others at 198.18.(even).N; IPv6 follows IPv4.
    fn allocate(&mut self, name: &str) {
        if self.addresses.contains_key(name) {
            return;
        }
        let policy = name.starts_with("mta-sts.");
        let third = |address: &Ipv4Addr| address.octets()[2];
        let taken = self
            .addresses
            .values()
            .filter(|(v4, _)| (third(v4) % 2 == 1) == policy)
            .count() as u16;
        let third = 2 * (taken / 250) as u8 + if policy { 1 } else { 2 };
        let last = (taken % 250) as u8 + 1;
        let v6 = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, third.into(), last.into());
        self.addresses
            .insert(name.to_owned(), (Ipv4Addr::new(198, 18, third, last), v6));
    }

    fn own(&self, name: &str) -> (Ipv4Addr, Ipv6Addr) {
        self.addresses.get(name).copied().unwrap_or((DEAD_V4, NO_ROUTE_V6))
    }

    fn place(&self, name: &str, at: &At, unreachable: bool) -> Place {
        let (v4, v6) = self.own(name);
        let addresses: Vec<IpAddr> = match at {
            At::Fault(fault) => return Place::Fault(*fault),
            At::Alias(target) => return Place::Alias(target.clone()),
            _ if unreachable => vec![NO_ROUTE_V4.into()],
            At::Own => vec![v4.into()],
            At::V6 => vec![v6.into()],
            At::Both => vec![v4.into(), v6.into()],
            At::DeadV6 => vec![NO_ROUTE_V6.into(), v4.into()],
            At::DeadFirst => vec![DEAD_V4.into(), v4.into()],
            At::With(other) => vec![self.own(other).0.into()],
            At::These(addresses) => addresses.clone(),
        };
        Place::Addresses(addresses)
    }

    fn is_at(&self, name: &str, address: IpAddr) -> bool {
        let mut hosts = self.domains.values().flat_map(|setup| &setup.hosts);
        let Some(host) = hosts.find(|host| host.name == name) else {
            return false;
        };
        match self.place(&host.name, &host.at, false) {
            Place::Addresses(addresses) => addresses.contains(&address),
            Place::Alias(target) => address == self.own(&target).0,
            Place::Fault(_) => false,
        }
    }
}
