//! Handing a report over: a POST request to an https URL that a domain's TLSRPT record names (RFC 8460 5.4).
//!
//! A stranger chooses the URL. So it is contacted like a policy host: at public addresses only, within one deadline, with a
//! bound on what it may send, and its redirects are not followed. Only programs need this; it is not part of libmtasts.so.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ureq::http::Uri;
use ureq::http::header::CONTENT_TYPE;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Error};

use super::transport::{Meter, Tls};
use super::{MAX_TIME, OneAddress, RootSource, allowed, config, rustls_error, words};
use crate::network::addresses::Rule;
use crate::network::dns::Dns;
use crate::network::tls;
use crate::protocol::certificate::check_chain;
use crate::protocol::names::Domain;

/// The hosts that take reports. Creating one does nothing.
#[derive(Clone)]
pub struct ReportHost {
    dns: Arc<dyn Dns>,
    roots: Option<RootSource>,
    addresses: Rule,
}

/// Why a host is not known to have taken a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostError {
    /// It was not sent, or the host has refused it.
    NotTaken(String),
    /// It was sent, at least in part, and there is no answer.
    Unclear(String),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken(why) | Self::Unclear(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for PostError {}

impl ReportHost {
    /// Hosts that are found by `dns`, at the addresses that the rule lets pass. Without `roots` their certificates are not
    /// checked, which RFC 8460 5.4 allows.
    #[must_use]
    pub fn new(dns: Arc<dyn Dns>, roots: Option<RootSource>, addresses: Rule) -> Self {
        Self { dns, roots, addresses }
    }

    /// Sends a report of this media type to the URL. The host takes it by a status 2xx.
    ///
    /// # Errors
    /// A [`PostError`].
    pub fn post(&self, url: &str, media_type: &str, report: &[u8], deadline: Instant) -> Result<(), PostError> {
        let not_taken = |why: String| PostError::NotTaken(why);
        let deadline = deadline.min(Instant::now() + MAX_TIME);
        let url: Uri = url.parse().map_err(|_| not_taken("it is not a URL".to_owned()))?;
        let host = Domain::parse(url.host().unwrap_or_default()).map_err(|error| not_taken(error.to_string()))?;
        let tls = self.tls(&host).map_err(not_taken)?;
        let addresses = allowed(&*self.dns, &self.addresses, &host, deadline);
        let addresses = addresses.map_err(|error| not_taken(error.detail().to_owned()))?;
        let mut last = not_taken(format!("{host} has no address"));
        for (tried, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
            let remaining = deadline.saturating_duration_since(Instant::now());
            let to_connect = remaining / left / 2;
            let begun = Arc::new(AtomicBool::new(false));
            let tls = Tls {
                config: Arc::clone(&tls),
                connected_by: Instant::now() + to_connect,
                proved: Arc::clone(&begun),
            };
            let connector = ().chain(TcpConnector::default()).chain(Meter).chain(tls);
            let address = SocketAddr::new(*address, url.port_u16().unwrap_or(443));
            let agent = Agent::with_parts(config(remaining, to_connect, remaining), connector, OneAddress(address));
            let request = agent.post(url.clone()).header(CONTENT_TYPE, media_type);
            let told = |what: &str| format!("{host} [{}]: {what}", address.ip());
            let error = match request.send(report) {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    return Err(PostError::NotTaken(told(&format!("the HTTP status is {status}"))));
                }
                Err(error) => error,
            };
            let why = told(&cause(&error));
            // From then on the host may have it, and a second address would give it a second one.
            if begun.load(Ordering::Relaxed) {
                return Err(PostError::Unclear(why));
            }
            last = PostError::NotTaken(why);
        }
        Err(last)
    }

    fn tls(&self, host: &Domain) -> Result<Arc<rustls::ClientConfig>, String> {
        let config = match &self.roots {
            Some(roots) => {
                let roots = roots().map_err(|error| format!("cannot check certificates: {error}"))?;
                let host = host.clone();
                tls::config(move |chain, now| check_chain(&host, chain, roots.anchors(), now))
            }
            None => tls::config(|_, _| Ok(())),
        };
        config.map(Arc::new).map_err(|error| error.to_string())
    }
}

fn cause(error: &Error) -> String {
    let certificate = rustls_error(error).and_then(tls::certificate_failure);
    certificate.map_or_else(|| words(error), |why| super::quote(&why))
}
