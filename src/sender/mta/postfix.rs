//! A policy in the words of Postfix: what `smtp_tls_policy_maps` may return.
//!
//! Up to Postfix 3.9 the certificate of any name behind `match=` passes at any host, and `.example.com` is taken at any
//! depth. So the names are those of MX hosts that the domain has, each written out. From 3.10.5 on Postfix also checks
//! each MX host against the policy's own patterns, but only if `match=` and these attributes come together.

use std::fmt::Write as _;

use super::hosts::listed;
use super::socketmap::NO_HOST;
use crate::cache::entry::CachedPolicy;
use crate::protocol::names::{Domain, is_ipv4};
use crate::protocol::policy::Policy;

/// A longer reply is refused by Postfix (100,000 octets; from 3.10 on a parameter). `OK ` is in front.
const LONGEST: usize = 100_000 - 100;

/// `secure match=A:B servername=hostname`: the hosts that the policy lists.
pub(super) fn secure(policy: &Policy, hosts: &[Domain]) -> String {
    let (listed, _) = listed(policy, hosts);
    words(&listed)
}

fn words(hosts: &[&Domain]) -> String {
    format!("secure match={} servername=hostname", names(hosts))
}

/// The names with colons between them. The list is never empty: that would be an error of Postfix's configuration.
pub(super) fn names(hosts: &[&Domain]) -> String {
    match hosts {
        [] => NO_HOST.to_owned(),
        hosts => hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(":"),
    }
}

/// The same with what Postfix 3.10 wants to know of the policy. At least one `mx_host_pattern` and one `policy_string`
/// are always there: before October 2025 Postfix crashes without. There is no `policy_ttl`, which Postfix gives up, and
/// no `policy_failure`, which lets every handshake fail and blames the domain: where mail waits, it waits by `TEMP`.
pub(super) fn with_attributes(domain: &str, cached: &CachedPolicy, hosts: &[Domain]) -> String {
    let (listed, used) = listed(&cached.policy, hosts);
    let mut reply = words(&listed);
    let _ = write!(reply, " policy_type=sts policy_domain={domain}");
    // A pattern that is an address matches no host, and is none.
    let is_name = |pattern: &&str| !is_ipv4(pattern.trim_start_matches("*."));
    let patterns: Vec<&str> = cached.policy.mx().map(|mx| mx.as_str()).collect();
    let all = attributes(patterns.iter().copied().filter(is_name));
    let strings: Vec<String> = cached.text.lines().filter_map(policy_string).collect();
    let length: usize = strings.iter().map(String::len).sum();
    if reply.len() + all.len() + length <= LONGEST {
        reply.push_str(&all);
    } else {
        // Thousands of patterns: those of the hosts that there are, so that none of these is refused.
        reply.push_str(&attributes(used.iter().map(|place| patterns[*place])));
    }
    for string in strings {
        if reply.len() + string.len() > LONGEST {
            break;
        }
        reply.push_str(&string);
    }
    reply
}

/// One `mx_host_pattern` for each pattern, and at least one.
fn attributes<'a>(patterns: impl Iterator<Item = &'a str>) -> String {
    let all: String = patterns.map(|pattern| format!(" mx_host_pattern={pattern}")).collect();
    if all.is_empty() {
        format!(" mx_host_pattern={NO_HOST}")
    } else {
        all
    }
}

/// A line of the policy for the report (RFC 8460 4.4 `policy-string`). A field that we do not know may have anything in
/// its value: with a brace or a character that does not print it is left out.
fn policy_string(line: &str) -> Option<String> {
    let line = line.trim_matches([' ', '\t', '\r']);
    let plain = |octet: u8| matches!(octet, b' '..=b'~') && !matches!(octet, b'{' | b'}');
    (!line.is_empty() && line.bytes().all(plain)).then(|| format!(" {{ policy_string = {line} }}"))
}
