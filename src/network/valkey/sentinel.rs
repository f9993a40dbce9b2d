//! Which of several servers is the one to write to now: Sentinel knows, and says another one after a failover.
//!
//! What it says is followed only to a host that the operator has named as well. Otherwise a stranger who answers in its place
//! would get the password.

use std::net::IpAddr;
use std::time::Instant;

use super::address::{Address, Host, Sentinel, Way};
use super::{Connection, Reply};
use crate::network::dns::Dns;
use crate::network::https::RootSource;
use crate::protocol::text::one_line;

impl Sentinel {
    /// The way to the server that is the master by the word of the first Sentinel that answers.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) fn master(&self, dns: &dyn Dns, roots: &RootSource, by: Instant) -> Result<Way, String> {
        let mut last = String::new();
        for (tried, (host, port)) in self.hosts.iter().enumerate() {
            // One that is gone leaves time for the others, and for the way to the master.
            let others = u32::try_from(self.hosts.len() - tried).unwrap_or(1);
            let share = by.saturating_duration_since(Instant::now()) / (others + 1);
            let sentinel = Address {
                way: self.way(host.clone(), *port),
                user: None,
                database: 0,
            };
            match self.ask(&sentinel, dns, roots, Instant::now() + share) {
                Ok((name, port)) => return self.named(&name, port, dns, by),
                Err(why) => last = format!("Sentinel at {sentinel}: {why}"),
            }
        }
        Err(last)
    }

    fn ask(&self, at: &Address, dns: &dyn Dns, roots: &RootSource, by: Instant) -> Result<(String, u16), String> {
        let mut connection = Connection::open(at, None, dns, roots, by)?;
        let command: &[&[u8]] = &[b"SENTINEL", b"get-master-addr-by-name", self.name.as_bytes()];
        let text = |reply: &Reply| match reply {
            Reply::Bulk(text) => String::from_utf8(text.clone()).ok(),
            _ => None,
        };
        match connection.ask(&[command], by)?.as_slice() {
            [Reply::List(place)] => match place.as_slice() {
                [name, port] => text(name).zip(text(port).and_then(|port| port.parse().ok())),
                _ => None,
            }
            .ok_or_else(|| "an answer of another kind than was asked for".to_owned()),
            _ => Err(format!("it knows no {}", self.name)),
        }
    }

    /// The host of the setting that has this name or address.
    fn named(&self, place: &str, port: u16, dns: &dyn Dns, by: Instant) -> Result<Way, String> {
        let ip: Option<IpAddr> = place.parse().ok();
        let is_it = |host: &Host| match (host, ip) {
            (Host::Ip(own), Some(ip)) => *own == ip,
            (Host::Name(name), None) => name.as_str().eq_ignore_ascii_case(place.trim_end_matches('.')),
            (Host::Name(name), Some(ip)) => dns
                .addresses(name.as_str(), by)
                .is_ok_and(|found| found.data.contains(&ip)),
            (Host::Ip(_), None) => false,
        };
        let host = self.hosts.iter().map(|(host, _)| host).find(|host| is_it(host));
        host.map(|host| self.way(host.clone(), port)).ok_or_else(|| {
            let place = one_line(place, 80);
            format!(
                "Sentinel says that the master of {} is {place}, which the setting does not name",
                self.name
            )
        })
    }

    fn way(&self, host: Host, port: u16) -> Way {
        match host {
            Host::Name(name) if self.tls => Way::Tls(name, port),
            host => Way::Plain(host, port),
        }
    }
}
