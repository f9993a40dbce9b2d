//! One name server: an exchange with it, and what its failures are called.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError as HickoryError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use super::DnsError;
use crate::network::is_exhausted;

/// Asks one server: UDP with EDNS, retransmission, TCP after truncation.
pub(super) async fn ask(
    server: SocketAddr,
    query: Query,
    dnssec: bool,
    deadline: Instant,
) -> Result<DnsResponse, DnsError> {
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    options.edns_set_dnssec_ok = dnssec;
    match exchange(server, &query, options, deadline).await {
        // A server from before EDNS (RFC 6891 7).
        Err(NetError::Dns(HickoryError::ResponseCode(
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS,
        ))) => {
            options.use_edns = false;
            options.edns_set_dnssec_ok = false;
            exchange(server, &query, options, deadline).await
        }
        result => result,
    }
    .map_err(|error| in_our_words(&error, server))
}

async fn exchange(
    server: SocketAddr,
    query: &Query,
    request: DnsRequestOptions,
    deadline: Instant,
) -> Result<DnsResponse, NetError> {
    let mut options = ResolverOpts::default();
    options.timeout = deadline.saturating_duration_since(Instant::now());
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    (udp.port, tcp.port) = (server.port(), server.port());
    let config = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
    let resolver = PoolContext::new(options, TlsConfig::new()?);
    let pool = NameServerPool::from_config([config], Arc::new(resolver), TokioRuntimeProvider::default());
    pool.lookup(query.clone(), request).first_answer().await
}

fn in_our_words(error: &NetError, server: SocketAddr) -> DnsError {
    match error {
        NetError::Dns(HickoryError::NoRecordsFound(NoRecords {
            response_code, ns, soa, ..
        })) => match response_code {
            ResponseCode::NXDomain => DnsError::NxDomain,
            // A referral says nothing of the name (RFC 2308 2.2): this server does not resolve for us.
            ResponseCode::NoError if ns.is_some() && soa.is_none() => DnsError::Other(format!(
                "the name server {server} only refers to other name servers; a recursive resolver is needed"
            )),
            ResponseCode::NoError => DnsError::NoData,
            code => refusal(*code),
        },
        NetError::Dns(HickoryError::ResponseCode(code)) => refusal(*code),
        NetError::Timeout => DnsError::Timeout,
        NetError::Io(error) if is_exhausted(error) => DnsError::Own(format!("cannot create a socket: {error}")),
        // hickory hides the system's error. If we get no socket either, that was the error.
        NetError::Io(_) | NetError::NoConnections => match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) {
            Err(error) if is_exhausted(&error) => DnsError::Own(format!("cannot create a socket: {error}")),
            _ => DnsError::Other(format!("the name server {server} cannot be reached")),
        },
        NetError::Truncated => DnsError::Other(format!(
            "the name server {server} truncates its answer and does not answer over TCP"
        )),
        // The text of the other errors may quote names of strangers.
        error => DnsError::Other(format!(
            "no usable answer from the name server {server} ({})",
            error.as_metrics_label()
        )),
    }
}

pub(super) fn refusal(code: ResponseCode) -> DnsError {
    match code {
        ResponseCode::ServFail => DnsError::ServFail,
        ResponseCode::Refused => DnsError::Refused,
        code => DnsError::Other(format!(
            "the name server answered with error {} ({code})",
            u16::from(code)
        )),
    }
}
