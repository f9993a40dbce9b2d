//! The settings of the service itself: where it listens, what it keeps, what its DNS records say.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use mtasts::Domain;
use mtasts_serve::Address;

use crate::acme::Acme;
use crate::publish;
use crate::records::check_report_uri;
use crate::seal::Place;
use crate::source::{Problem, Value};
use crate::tsig::KeyFile;
use crate::update;

/// Where the ledger is if nothing else is said.
const LEDGER: &str = "/var/lib/mtasts-host/ledger.db";

/// What the operator's file says besides groups and domains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// `ledger`: the file of the ledger. Root becomes the owner of its directory.
    pub ledger: PathBuf,
    /// `seal_keys`: the keys with which private keys are sealed in the ledger. The first one seals.
    pub seal_keys: Vec<Place>,
    /// `zone`: the zone in which the CNAMEs of the domains lead to their tokens.
    pub zone: Option<Domain>,
    /// `addresses`: those of this host, as senders reach it.
    pub addresses: Vec<IpAddr>,
    /// `reports`: where senders send their TLS reports (RFC 8460), as URIs.
    pub reports: Vec<String>,
    /// `resolvers`: the name servers that are asked before a step; without any, those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// `ca_file`: the trust anchors for the certificates of MX hosts and policy hosts, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// `https`: where policies are served to senders.
    pub https: Vec<SocketAddr>,
    /// `certificates`: the directory that has `mta-sts.DOMAIN/fullchain.pem` and `mta-sts.DOMAIN/privkey.pem`.
    pub certificates: Option<PathBuf>,
    /// `acme`: the authority whose certificates are in the ledger.
    pub acme: Option<Acme>,
    /// `dns`: where the name server of the zone answers.
    pub dns: Vec<SocketAddr>,
    /// `name_servers`: the names of the zone's name servers, the first one first in its SOA.
    pub name_servers: Vec<Domain>,
    /// `secondaries`: the addresses of those that may transfer the zone.
    pub secondaries: Vec<IpAddr>,
    /// `transfer`: the key with which they sign that they are.
    pub transfer: Option<KeyFile>,
    /// `update`: the name server that gets dynamic updates of the zone.
    pub update: Option<update::Settings>,
    /// `publish`: the file with the records of the zone, and what is run when it has changed.
    pub publish: Option<publish::Settings>,
    /// `proxy`: where policies are served to a web server of this host, without TLS.
    pub proxy: Vec<Address>,
    /// `http`: where the challenges of ACME clients are served.
    pub http: Vec<SocketAddr>,
    /// `metrics`: where a monitoring system asks, on loopback as a rule.
    pub metrics: Vec<SocketAddr>,
    /// `webroot`: the directory in which an ACME client puts `.well-known/acme-challenge/`.
    pub webroot: Option<PathBuf>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            ledger: LEDGER.into(),
            seal_keys: Vec::new(),
            zone: None,
            addresses: Vec::new(),
            reports: Vec::new(),
            resolvers: Vec::new(),
            ca_file: None,
            https: Vec::new(),
            certificates: None,
            acme: None,
            dns: Vec::new(),
            name_servers: Vec::new(),
            secondaries: Vec::new(),
            transfer: None,
            update: None,
            publish: None,
            proxy: Vec::new(),
            http: Vec::new(),
            metrics: Vec::new(),
            webroot: None,
        }
    }
}

impl Service {
    /// Sets what one key of the file says. Says whether it is a key of these.
    pub(crate) fn set(&mut self, key: &str, value: &Value<'_, '_>) -> Result<bool, Problem> {
        let sockets = || {
            value.list(|text| {
                text.parse::<SocketAddr>()
                    .map_err(|_| format!("{text:?} is not an address and a port, such as 192.0.2.1:443 or [::]:443"))
            })
        };
        let address = |text: &str| text.parse().map_err(|_| format!("{text:?} is not an IP address"));
        match key {
            "ledger" => self.ledger = value.path()?,
            "seal_keys" => self.seal_keys = value.list(Place::parse)?,
            "zone" => {
                let zone = Domain::parse(value.text()?).map_err(|error| value.problem(error.to_string()))?;
                self.zone = Some(zone);
            }
            "addresses" => self.addresses = value.list(address)?,
            "dns" => self.dns = sockets()?,
            "name_servers" => {
                self.name_servers =
                    value.list(|text| Domain::parse(text).map_err(|error| format!("{text:?}: {error}")))?;
            }
            "update" => self.update = Some(update::Settings::read(value)?),
            "publish" => self.publish = Some(publish::Settings::read(value)?),
            "secondaries" => self.secondaries = value.list(address)?,
            "transfer" => self.transfer = Some(update::read(value, false)?.1),
            "reports" => {
                self.reports = value.list(|text| check_report_uri(text).map(|()| text.to_owned()))?;
            }
            "resolvers" => {
                self.resolvers = value.list(|text| {
                    let with_port = text.parse::<SocketAddr>();
                    let address = with_port.or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
                    address.map_err(|_| format!("{text:?} is not the IP address of a name server"))
                })?;
            }
            "ca_file" => self.ca_file = Some(value.path()?),
            "https" => self.https = sockets()?,
            "acme" => self.acme = Some(Acme::read(value)?),
            "certificates" => self.certificates = Some(value.path()?),
            "proxy" => self.proxy = value.list(str::parse)?,
            "http" => self.http = sockets()?,
            "metrics" => self.metrics = sockets()?,
            "webroot" => self.webroot = Some(value.path()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
