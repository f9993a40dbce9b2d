//! The MX hosts of a next hop, and those that its policy lists.
//!
//! Postfix and Sendmail take a list of names and let the certificate of any of them pass at any host. So a list has names
//! of hosts that the domain has now, and no pattern.

use std::collections::HashMap;

use crate::network::dns::{DnsError, Mx};
use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::protocol::policy::Policy;

/// How many hosts a list names, the most preferred first. Postfix tries five addresses
/// (`smtp_mx_address_limit`), and 100 of the longest names leave room in its longest reply.
const MOST: usize = 100;

/// Where mail for a next hop goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// To these, the most preferred first.
    Known(Vec<Domain>),
    /// DNS says that the domain does not exist or takes no mail, which a policy in enforce contradicts.
    Denied,
    /// DNS does not say.
    Unknown,
}

impl Hosts {
    /// What DNS answered for the MX records of a domain. Without any the domain is its own host (RFC 5321 5.1). What is
    /// not a host name, no policy can list (RFC 8461 3.2).
    #[must_use]
    pub fn of_dns(domain: &Domain, answer: Result<&[Mx], &DnsError>) -> Self {
        match answer {
            Ok([only]) if only.exchange == "." => Self::Denied,
            Ok(records) => {
                let name = |mx: &Mx| MxName::from_mx(&mx.exchange).host().ok().cloned();
                Self::Known(records.iter().filter_map(name).collect())
            }
            Err(DnsError::NoData) => Self::Known(vec![domain.clone()]),
            Err(DnsError::NxDomain) => Self::Denied,
            Err(_) => Self::Unknown,
        }
    }
}

/// Those of the hosts that the policy lists, each once, in the order of the policy's text, and the indexes of the
/// patterns that list them.
pub(super) fn listed<'a>(policy: &Policy, hosts: &'a [Domain]) -> (Vec<&'a Domain>, Vec<usize>) {
    // A stranger chooses how many patterns and how many hosts there are: no product of the two.
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, pattern) in policy.mx().enumerate() {
        places.entry(pattern.as_str()).or_insert(place);
    }
    let place = |host: &Domain| {
        let name = host.as_str();
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let by_star = wildcard.and_then(|pattern| places.get(&*pattern));
        places.get(name).into_iter().chain(by_star).min().copied()
    };
    let mut found: Vec<(usize, &Domain)> = Vec::new();
    let mut known: HashMap<&Domain, ()> = HashMap::new();
    for host in hosts {
        if let Some(place) = place(host)
            && found.len() < MOST
            && known.insert(host, ()).is_none()
        {
            found.push((place, host));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    let mut patterns: Vec<usize> = found.iter().map(|(place, _)| *place).collect();
    patterns.dedup();
    (found.into_iter().map(|(_, host)| host).collect(), patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Domain> {
        names.iter().map(|name| Domain::parse(name).unwrap()).collect()
    }

    fn mx(names: &[&str]) -> Vec<Mx> {
        let mx = |(preference, name): (u16, &&str)| Mx {
            preference,
            exchange: (*name).to_owned(),
        };
        (0..).zip(names).map(mx).collect()
    }

    #[test]
    fn what_dns_says_of_a_domain() {
        let domain = Domain::parse("ok.test").unwrap();
        let of = |answer: Result<&[&str], DnsError>| match answer {
            Ok(list) => Hosts::of_dns(&domain, Ok(&mx(list))),
            Err(error) => Hosts::of_dns(&domain, Err(&error)),
        };
        for (answer, hosts) in [
            (
                Ok(&["b.ok.test", "a.ok.test"][..]),
                Hosts::Known(names(&["b.ok.test", "a.ok.test"])),
            ),
            (
                Ok(&["a_b.ok.test", "192.0.2.1", "x match=evil.test", "a.ok.test"]),
                Hosts::Known(names(&["a.ok.test"])),
            ),
            (Ok(&["."]), Hosts::Denied),
            (Ok(&[".", "a.ok.test"]), Hosts::Known(names(&["a.ok.test"]))),
            (Err(DnsError::NoData), Hosts::Known(names(&["ok.test"]))),
            (Err(DnsError::NxDomain), Hosts::Denied),
            (Err(DnsError::ServFail), Hosts::Unknown),
            (Err(DnsError::Timeout), Hosts::Unknown),
            (Err(DnsError::Own("no descriptor".into())), Hosts::Unknown),
        ] {
            assert_eq!(of(answer.clone()), hosts, "{answer:?}");
        }
    }

    #[test]
    fn hosts_that_the_policy_lists_in_its_order() {
        let policy = |patterns: &[&str]| Policy::new(crate::Mode::Enforce, 1, patterns.iter().copied()).unwrap();
        for (patterns, hosts, found, used) in [
            (
                &["b.ok.test", "*.w.test", "a.ok.test"][..],
                &["a.ok.test", "x.w.test", "evil.test", "y.w.test", "b.ok.test"][..],
                &["b.ok.test", "x.w.test", "y.w.test", "a.ok.test"][..],
                &[0, 1, 2][..],
            ),
            // A star stands for one label.
            (
                &["*.w.test"],
                &["w.test", "a.b.w.test", "b.w.test"],
                &["b.w.test"],
                &[0],
            ),
            // A host is named once, and its first pattern counts.
            (
                &["*.w.test", "a.w.test"],
                &["a.w.test", "a.w.test"],
                &["a.w.test"],
                &[0],
            ),
            (&["a.ok.test"], &["evil.test"], &[], &[]),
            (&["a.ok.test"], &[], &[], &[]),
        ] {
            let (policy, hosts) = (policy(patterns), names(hosts));
            let (listed, patterns) = listed(&policy, &hosts);
            let listed: Vec<&str> = listed.into_iter().map(Domain::as_str).collect();
            assert_eq!((&listed[..], &patterns[..]), (found, used));
        }
    }

    #[test]
    fn of_thousands_of_hosts_and_patterns_the_most_preferred() {
        let all: Vec<String> = (0..3600).map(|n| format!("h{n}.ok.test")).collect();
        let policy = Policy::new(crate::Mode::Enforce, 1, all.iter().rev().map(String::as_str)).unwrap();
        let hosts = names(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let begun = std::time::Instant::now();
        let (listed, patterns) = listed(&policy, &hosts);
        // The first hundred of DNS, in the order of the policy.
        assert_eq!(
            (listed.len(), listed[0].as_str(), listed[99].as_str()),
            (100, "h99.ok.test", "h0.ok.test")
        );
        assert_eq!((patterns[0], patterns[99]), (3500, 3599));
        assert!(begun.elapsed().as_millis() < 1000, "{:?}", begun.elapsed());
    }
}
