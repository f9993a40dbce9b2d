//! Handing a report over: a POST request to an https URL that a domain's TLSRPT record names (RFC 8460 5.4).
//!
//! A stranger chooses the URL. So it is contacted like a policy host: at public addresses only, within one deadline, with a
//! bound on what it may send, and its redirects are not followed. Only programs need this; it is not part of libmtasts.so.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ureq::http::Uri;
use ureq::http::header::CONTENT_TYPE;
use ureq::unversioned::transport::{ConnectionDetails, Connector, TcpConnector, Transport};
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
    /// Nothing was sent.
    NotSent(String),
    /// The host has refused it.
    Refused(String),
    /// It was sent, at least in part, and there is no answer.
    Unclear(String),
    /// Nothing was sent, because the caller could not note that it would be.
    NotNoted(String),
}

/// Is called once, when the connection is up, before the first octet of the request. After an error nothing is sent.
pub type Begins = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) | Self::Refused(why) | Self::Unclear(why) | Self::NotNoted(why) => f.write_str(why),
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

    /// Sends a report of this media type to the URL. The host takes it by a status 2xx. `begins` is called when all that comes
    /// before is done, so that a caller that dies knows afterwards whether anything can have been sent.
    ///
    /// # Errors
    /// A [`PostError`].
    pub fn post(
        &self,
        url: &str,
        media_type: &str,
        report: &[u8],
        deadline: Instant,
        begins: &Begins,
    ) -> Result<(), PostError> {
        let not_sent = |why: String| PostError::NotSent(why);
        let deadline = deadline.min(Instant::now() + MAX_TIME);
        let url: Uri = url.parse().map_err(|_| not_sent("it is not a URL".to_owned()))?;
        let host = Domain::parse(url.host().unwrap_or_default()).map_err(|error| not_sent(error.to_string()))?;
        let tls = self.tls(&host).map_err(not_sent)?;
        let addresses = allowed(&*self.dns, &self.addresses, &host, deadline);
        let addresses = addresses.map_err(|error| not_sent(error.detail().to_owned()))?;
        let mut last = not_sent(format!("{host} has no address"));
        for (tried, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
            let remaining = deadline.saturating_duration_since(Instant::now());
            let to_connect = remaining / left / 2;
            let tls = Tls {
                config: Arc::clone(&tls),
                connected_by: Instant::now() + to_connect,
                proved: Arc::default(),
            };
            let noted: Arc<OnceLock<Result<(), String>>> = Arc::default();
            let beginning = Beginning {
                begins: Arc::clone(begins),
                noted: Arc::clone(&noted),
            };
            let connector = ().chain(TcpConnector::default()).chain(Meter).chain(tls).chain(beginning);
            let address = SocketAddr::new(*address, url.port_u16().unwrap_or(443));
            let agent = Agent::with_parts(config(remaining, to_connect, remaining), connector, OneAddress(address));
            let request = agent.post(url.clone()).header(CONTENT_TYPE, media_type);
            let told = |what: &str| format!("{host} [{}]: {what}", address.ip());
            let error = match request.send(report) {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    return Err(PostError::Refused(told(&format!("the HTTP status is {status}"))));
                }
                Err(error) => error,
            };
            let why = told(&cause(&error));
            match noted.get() {
                None => last = PostError::NotSent(why),
                // From then on the host may have it, and a second address would give it a second one.
                Some(Ok(())) => return Err(PostError::Unclear(why)),
                Some(Err(why)) => return Err(PostError::NotNoted(why.clone())),
            }
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

/// The end of the chain: the connection is up, and the request follows at once.
struct Beginning {
    begins: Begins,
    noted: Arc<OnceLock<Result<(), String>>>,
}

impl<In: Transport> Connector<In> for Beginning {
    type Out = In;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<In>, Error> {
        match self.noted.get_or_init(|| (self.begins)()) {
            Ok(()) => Ok(chained),
            Err(why) => Err(Error::Io(io::Error::other(why.clone()))),
        }
    }
}

impl fmt::Debug for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beginning")
    }
}

fn cause(error: &Error) -> String {
    let certificate = rustls_error(error).and_then(tls::certificate_failure);
    certificate.map_or_else(|| words(error), |why| super::quote(&why))
}
