//! What else DNS says around a domain: what its administrator wants to know and no sender needs. Facts alone.

use std::thread;
use std::time::Instant;

use mtasts::network::dns::{Dns, DnsError, StubResolver};
use mtasts::protocol::names::Domain;
use mtasts::protocol::policy::Policy;

/// How many hosts of a policy, and how many MX hosts, are looked up.
const MAX_HOSTS: usize = 16;

/// What DNS says.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Whether there is a TLSRPT record (RFC 8460 3), or nothing if that could not be determined.
    pub tlsrpt: Option<bool>,
    /// Whether there is an MTA-STS record at `_mta_sts`.
    pub misplaced: bool,
    /// Hosts of the policy that are no MX hosts and have no address.
    pub missing: Vec<String>,
    /// MX hosts below which the name for TLSA records exists (RFC 7672 2.2).
    pub dane: Vec<String>,
}

/// Asks about a domain, its policy and its MX hosts.
pub(crate) fn look(
    domain: &Domain,
    policy: Option<&Policy>,
    mx: &[&Domain],
    dns: &StubResolver,
    deadline: Instant,
) -> Surroundings {
    let begins = |name: String, with: &str| match dns.txt(&name, deadline) {
        Ok(records) => Some(records.data.iter().any(|record| record.starts_with(with.as_bytes()))),
        Err(error) => error.is_absence().then_some(false),
    };
    let listed = policy
        .into_iter()
        .flat_map(Policy::mx)
        .filter(|pattern| pattern.wildcard().is_none());
    let others = listed.filter(|pattern| !mx.iter().any(|host| host.as_str() == pattern.as_str()));
    let others: Vec<String> = others.take(MAX_HOSTS).map(|pattern| pattern.to_string()).collect();
    let is_missing = |host: &String| matches!(dns.addresses(host, deadline), Err(error) if error.is_absence());
    // The name has TLSA records alone: if it exists without a TXT record, it has those.
    let has_tlsa = |host: &Domain| matches!(dns.txt(&format!("_25._tcp.{host}"), deadline), Err(DnsError::NoData));
    thread::scope(|scope| {
        let tlsrpt = scope.spawn(|| begins(format!("_smtp._tls.{domain}"), "v=TLSRPTv1"));
        let misplaced = scope.spawn(|| begins(format!("_mta_sts.{domain}"), "v=STSv1"));
        let missing: Vec<_> = others
            .iter()
            .map(|host| scope.spawn(|| is_missing(host).then(|| host.clone())))
            .collect();
        let dane: Vec<_> = mx
            .iter()
            .take(MAX_HOSTS)
            .map(|host| scope.spawn(|| has_tlsa(host).then(|| host.to_string())))
            .collect();
        Surroundings {
            tlsrpt: joined(tlsrpt),
            misplaced: joined(misplaced) == Some(true),
            missing: missing.into_iter().filter_map(joined).collect(),
            dane: dane.into_iter().filter_map(joined).collect(),
        }
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
