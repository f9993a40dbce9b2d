//! Fetching a policy: `https://mta-sts.<domain>/.well-known/mta-sts.txt`, and nothing else (RFC 8461 3.2, 3.3).
//!
//! The host is a stranger. It is asked at public addresses only, gets one deadline for everything and a bound on
//! everything it sends, and its redirects, cache headers and encodings are not followed: a policy is a complete answer
//! with status 200 and the type `text/plain`.
#![forbid(unsafe_code)]

#[cfg(feature = "inside")]
mod canned;
#[cfg(feature = "inside")]
pub mod post;
mod transport;

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use ureq::config::Config;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, HeaderName, Response, StatusCode, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout, TcpConnector};
use ureq::{Agent, Body, Error, Timeout};

use crate::network::addresses::Rule;
use crate::network::dns::{Answered, Dns, DnsError};
use crate::network::is_exhausted;
use crate::network::roots::Roots;
use crate::network::tls;
use crate::protocol::certificate::check_chain;
use crate::protocol::names::Domain;
use crate::protocol::policy::MAX_POLICY;
use crate::protocol::text::ascii_line;
use crate::protocol::words::ResultType;
use transport::{Meter, Stopped, Tls};

/// The longest that a fetch may take, whatever time the caller has (RFC 8461 3.3: one minute).
pub const MAX_TIME: Duration = Duration::from_secs(60);
/// The longest header of an answer.
const MAX_HEADER: usize = 16 * 1024;
/// Of ureq's four buffers. The input has to hold more than the longest header, or a longer one cannot be recognised.
const BUFFER: usize = MAX_HEADER + 1024;
/// How many addresses of a host are tried.
const MAX_ADDRESSES: usize = 8;
/// How long one address may take to connect, and then to begin its answer, while there are others.
const ADDRESS_TIME: Duration = Duration::from_secs(10);
/// How much of a detail is a stranger's text.
const MAX_QUOTE: usize = 200;

/// A way to fetch the text of a policy.
pub trait Https: Send + Sync {
    /// The bytes of the policy of a domain, as the policy host sent them: at most [`MAX_POLICY`], not parsed yet.
    ///
    /// # Errors
    /// A [`FetchError`] if the policy host gave no policy, or could not prove that it is the policy host.
    fn get(&self, domain: &Domain, deadline: Instant) -> Result<Vec<u8>, FetchError>;
}

/// Why there is no policy text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The policy host, or the network on the path to it, gave no policy.
    Host {
        /// `sts-webpki-invalid` if the certificate of the policy host is at fault, otherwise `sts-policy-fetch-error`
        /// (RFC 8460 4.3.2.2).
        result: ResultType,
        /// The same in plain words: one line of printable ASCII, bounded.
        detail: String,
    },
    /// An error of this host, in plain words: no thread, no descriptor, no roots to check a certificate with. The
    /// policy host was not asked, or could not be believed, so this says nothing of it.
    Own(String),
}

impl FetchError {
    fn fetch(detail: impl Into<String>) -> Self {
        Self::Host {
            result: ResultType::StsPolicyFetchError,
            detail: detail.into(),
        }
    }

    /// What the failure is called in a report; `None` if the error is this host's own.
    #[must_use]
    pub const fn result(&self) -> Option<ResultType> {
        match self {
            Self::Host { result, .. } => Some(*result),
            Self::Own(_) => None,
        }
    }

    /// What happened, in plain words.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Host { detail, .. } | Self::Own(detail) => detail,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { result, detail } => write!(f, "{result}: {detail}"),
            Self::Own(detail) => write!(f, "error on this host: {detail}"),
        }
    }
}

impl std::error::Error for FetchError {}

/// Gives the roots when they are needed, or says in words why there are none.
pub type RootSource = Arc<dyn Fn() -> Result<Arc<Roots>, String> + Send + Sync>;

/// The policy hosts of the Internet. Creating one does nothing; each fetch leaves nothing behind.
#[derive(Clone)]
pub struct PolicyHost {
    dns: Arc<dyn Dns>,
    roots: RootSource,
    addresses: Arc<Rule>,
    limits: Option<Limits>,
}

/// The limits of one fetch, if they are narrower than its deadline.
#[derive(Clone, Debug)]
pub struct Limits {
    /// By when a policy host must have proved its name.
    pub heard: Instant,
    /// By when a policy host that has proved it must have answered.
    pub answered: Instant,
    /// The error of a fetch that these limits end, if it is this host's ([`FetchError::Own`]) and not the policy
    /// host's.
    pub own: Option<String>,
}

impl fmt::Debug for PolicyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyHost")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl PolicyHost {
    /// Policy hosts that are found by `dns` and prove themselves to `roots`, at the addresses that the rule lets pass.
    #[must_use]
    pub fn new(dns: Arc<dyn Dns>, roots: RootSource, addresses: Rule) -> Self {
        Self {
            dns,
            roots,
            addresses: Arc::new(addresses),
            limits: None,
        }
    }

    /// The same for a fetch with these limits.
    #[must_use]
    pub fn within(self, limits: Option<Limits>) -> Self {
        Self { limits, ..self }
    }

    fn fetch(&self, domain: &Domain, deadline: Instant) -> Result<Vec<u8>, FetchError> {
        let host = Domain::parse(&format!("mta-sts.{domain}"))
            .map_err(|error| FetchError::fetch(format!("cannot find the policy host of {domain}: {error}")))?;
        // First of all: without trust anchors no host is contacted, whatever DNS would say.
        let roots = (self.roots)().map_err(|error| FetchError::Own(format!("cannot check certificates: {error}")))?;
        // The reference identity is the name of the policy host and nothing that DNS said while its address was looked
        // up (RFC 8461 3.3, RFC 9525 6.1.1).
        let identity = host.clone();
        let judge = move |chain: &[&[u8]], now| check_chain(&identity, chain, roots.anchors(), now);
        let tls = tls::config(judge).map_err(|error| FetchError::Own(error.to_string()))?;
        let addresses = allowed(&*self.dns, &self.addresses, &host, deadline)?;
        let tls = Arc::new(tls);
        let limits = self.limits.clone().unwrap_or(Limits {
            heard: deadline,
            answered: deadline,
            own: None,
        });
        let proved = Arc::new(AtomicBool::new(false));
        let mut worst: Option<(ResultType, String)> = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
            let attempt = Attempt {
                host: &host,
                address: *address,
                left,
                heard_by: limits.heard.min(deadline),
                deadline: limits.answered.min(deadline),
                proved: &proved,
            };
            let (result, detail) = match attempt.run(Arc::clone(&tls)) {
                Ok(result) => return result.map_err(|detail| FetchError::fetch(attempt.told(&detail))),
                Err(FetchError::Host { result, detail }) => (result, attempt.told(&detail)),
                // This address might have answered, and so might the others.
                Err(own) => return Err(own),
            };
            // A bad certificate says more than an address that does not answer.
            if !matches!(worst, Some((ResultType::StsWebpkiInvalid, _))) {
                worst = Some((result, detail));
            }
        }
        // It had no time limit of its own. If it has answered anything, the longer limit is the one that it exceeded.
        let cut = if proved.load(Ordering::Relaxed) {
            limits.answered == limits.heard && Instant::now() >= limits.answered
        } else {
            Instant::now() >= limits.heard
        };
        if let (true, Some(why)) = (cut, limits.own) {
            return Err(FetchError::Own(why));
        }
        let (result, mut detail) =
            worst.unwrap_or_else(|| (ResultType::StsPolicyFetchError, format!("{host} has no address")));
        if addresses.len() > 1 {
            detail += &format!(" (none of its {} addresses returned a policy)", addresses.len());
        }
        Err(FetchError::Host { result, detail })
    }
}

impl Https for PolicyHost {
    fn get(&self, domain: &Domain, deadline: Instant) -> Result<Vec<u8>, FetchError> {
        let deadline = deadline.min(Instant::now() + MAX_TIME);
        self.fetch(domain, deadline)
    }
}

/// The addresses at which a host may be contacted, in the order to try.
fn allowed(dns: &dyn Dns, rule: &Rule, host: &Domain, deadline: Instant) -> Result<Vec<IpAddr>, FetchError> {
    let found = dns.addresses(host.as_str(), deadline).map_err(|error| match error {
        DnsError::Own(why) => FetchError::Own(why),
        error => FetchError::fetch(quote(&format!("{host}: {error}"))),
    })?;
    let Answered { data: found, .. } = found;
    let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(|ip| rule.refusal(*ip).is_none());
    if let (true, Some(ip)) = (good.is_empty(), bad.first()) {
        let words = rule.refusal(*ip).unwrap_or_default();
        let prefix = if ip.is_ipv4() { 32 } else { 128 };
        return Err(FetchError::fetch(format!(
            "{host} has the address {ip}, {words}, and is not contacted; \
             if this is your own host, add {ip}/{prefix} to allow_addresses"
        )));
    }
    Ok(in_turns(good))
}

/// One address of each family in turn. IPv4 begins: without IPv4 the system says so at once, while an IPv6
/// route that leads nowhere costs time.
fn in_turns(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    let longest = v4.len().max(v6.len());
    (0..longest)
        .flat_map(|n| [v4.get(n), v6.get(n)])
        .flatten()
        .copied()
        .take(MAX_ADDRESSES)
        .collect()
}

/// One address of a policy host, asked once.
struct Attempt<'a> {
    host: &'a Domain,
    address: IpAddr,
    /// How many addresses there still are, this one included.
    left: u32,
    /// When it must have proved its name.
    heard_by: Instant,
    deadline: Instant,
    proved: &'a Arc<AtomicBool>,
}

impl Attempt<'_> {
    fn told(&self, detail: &str) -> String {
        format!("{} [{}]: {detail}", self.host, self.address)
    }

    /// An answer that is a policy, an answer that is none (in words), or no answer: then another address may have one.
    fn run(&self, tls: Arc<ClientConfig>) -> Result<Result<Vec<u8>, String>, FetchError> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        // Half of a fair share to connect, half to begin the answer; the last address may use all there is.
        let share = if self.left == 1 {
            remaining
        } else {
            (remaining / self.left / 2).min(ADDRESS_TIME)
        };
        let to_connect = share.min(self.heard_by.saturating_duration_since(Instant::now()) / self.left);
        let config = config(remaining, to_connect, share);
        let tls = Tls {
            config: tls,
            connected_by: Instant::now() + to_connect,
            proved: Arc::clone(self.proved),
        };
        let connector = ().chain(TcpConnector::default()).chain(Meter).chain(tls);
        let agent = Agent::with_parts(config, connector, OneAddress(SocketAddr::new(self.address, 443)));
        match agent
            .get(format!("https://{}/.well-known/mta-sts.txt", self.host))
            .call()
        {
            Ok(response) => Ok(policy(response)),
            Err(error) => self.judge(&error),
        }
    }

    fn judge(&self, error: &Error) -> Result<Result<Vec<u8>, String>, FetchError> {
        if let Some(detail) = rustls_error(error).and_then(tls::certificate_failure) {
            return Err(FetchError::Host {
                result: ResultType::StsWebpkiInvalid,
                detail: quote(&detail),
            });
        }
        let detail = words(error);
        match error {
            Error::Io(error) if is_exhausted(error) => Err(FetchError::Own(format!("cannot create a socket: {error}"))),
            Error::Io(_) | Error::Timeout(_) | Error::Rustls(_) | Error::Tls(_) | Error::ConnectionFailed => {
                Err(FetchError::fetch(detail))
            }
            // Something did answer.
            _ => Ok(Err(detail)),
        }
    }
}

/// How a policy host is asked: in so much time in all, to connect, and to begin its answer.
fn config(all: Duration, to_connect: Duration, to_begin: Duration) -> Config {
    Config::builder()
        // `Config` looks at the environment for proxies when it is made; here they are taken out again.
        .proxy(None)
        .https_only(true)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("libmtasts/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(MAX_HEADER)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .timeout_global(Some(all))
        .timeout_connect(Some(to_connect))
        .timeout_recv_response(Some(to_begin))
        .build()
}

/// The body of an answer that is a policy.
fn policy(response: Response<Body>) -> Result<Vec<u8>, String> {
    // RFC 8461 3.3: only 200, and a redirect is no exception.
    if response.status() != StatusCode::OK {
        let location = response
            .headers()
            .get(LOCATION)
            .filter(|_| response.status().is_redirection());
        let location = location.map(|to| format!(" (Location: {})", quote(&String::from_utf8_lossy(to.as_bytes()))));
        let status = response.status().as_u16();
        return Err(format!(
            "the HTTP status is {status}, not 200{}",
            location.unwrap_or_default()
        ));
    }
    check_header(response.headers())?;
    let mut body = Vec::new();
    // One octet more than is good, so that "too long" is seen and never a truncation.
    let mut reader = response.into_body().into_reader().take(MAX_POLICY as u64 + 1);
    reader
        .read_to_end(&mut body)
        .map_err(|error| words(&Error::from(error)))?;
    if body.len() > MAX_POLICY {
        Err(too_long())
    } else {
        Ok(body)
    }
}

fn check_header(headers: &HeaderMap) -> Result<(), String> {
    let all = |name: HeaderName| {
        headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
    };
    // RFC 8461 3.2: the type must be text/plain, and its parameters do not matter.
    let mut types = all(CONTENT_TYPE).peekable();
    if types.peek().is_none() {
        return Err("the response has no Content-Type; it must be text/plain".into());
    }
    for value in types {
        let media_type = value.split(';').next().unwrap_or_default().trim_ascii();
        if !media_type.eq_ignore_ascii_case("text/plain") {
            return Err(format!("the Content-Type is {}, not text/plain", quote(&value)));
        }
    }
    for value in all(CONTENT_ENCODING) {
        if !value.trim_ascii().eq_ignore_ascii_case("identity") {
            return Err(format!(
                "the response has Content-Encoding {}, which was not requested",
                quote(&value)
            ));
        }
    }
    // ureq would take a body of any other transfer coding as it is, up to the end of the connection.
    for value in all(TRANSFER_ENCODING) {
        if !value.trim_ascii().eq_ignore_ascii_case("chunked") {
            return Err(format!(
                "the response has Transfer-Encoding {}, which was not requested",
                quote(&value)
            ));
        }
    }
    for value in all(CONTENT_LENGTH) {
        if value
            .trim_ascii()
            .parse::<u64>()
            .is_ok_and(|length| length > MAX_POLICY as u64)
        {
            return Err(too_long());
        }
    }
    Ok(())
}

fn too_long() -> String {
    format!("the policy is longer than {} KiB", MAX_POLICY / 1024)
}

/// Gives ureq the one address that it is to connect to.
#[derive(Debug)]
struct OneAddress(SocketAddr);

impl Resolver for OneAddress {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// The error of rustls inside an error of ureq.
fn rustls_error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::Timeout(Timeout::Connect) => "the TLS connection timed out".into(),
        Error::Timeout(Timeout::RecvResponse) => "the response timed out".into(),
        Error::Timeout(_) => "the response was not complete in time".into(),
        Error::LargeResponseHeader(..) => format!("the response header is longer than {} KiB", MAX_HEADER / 1024),
        Error::Io(error) => match error.get_ref() {
            Some(inner) if inner.is::<Stopped>() => inner.to_string(),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => "the response ends before it is complete".into(),
            _ => match rustls_error_in(error) {
                Some(error) => format!("TLS failed: {}", quote(&tls::words(error))),
                None => quote(&error.to_string()),
            },
        },
        error => quote(&error.to_string()),
    }
}

fn rustls_error_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A stranger's text, as much of it as a detail has room for.
fn quote(text: &str) -> String {
    ascii_line(text, MAX_QUOTE)
}

/// What is made of the octets that a policy host sends inside TLS.
#[cfg(feature = "inside")]
pub(crate) fn of_octets(octets: &[u8]) -> Result<Vec<u8>, String> {
    let second = Duration::from_secs(1);
    let connector = ().chain(canned::Canned(octets.to_vec())).chain(Meter);
    let address = OneAddress(SocketAddr::from(([192, 0, 2, 1], 443)));
    let agent = Agent::with_parts(config(second, second, second), connector, address);
    match agent.get("https://mta-sts.example.com/.well-known/mta-sts.txt").call() {
        Ok(response) => policy(response),
        Err(error) => Err(words(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ips = |texts: &[&str]| texts.iter().map(|t| t.parse().expect(t)).collect::<Vec<IpAddr>>();
        let turns = |texts: &[&str]| in_turns(ips(texts));
        assert_eq!(
            turns(&["2600::1", "2600::2", "2600::3", "8.8.8.8"]),
            ips(&["8.8.8.8", "2600::1", "2600::2", "2600::3"])
        );
        assert_eq!(
            turns(&["2600::1", "8.8.8.8", "8.8.4.4"]),
            ips(&["8.8.8.8", "2600::1", "8.8.4.4"])
        );
        let many: Vec<IpAddr> = (0..100).map(|n| IpAddr::from([8, 8, 8, n])).collect();
        assert_eq!(in_turns(many.clone()), many[..8]);
    }
}
