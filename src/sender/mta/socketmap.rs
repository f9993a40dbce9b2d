//! A lookup of a TLS policy in a socketmap (socketmap_table(5)): which words of which MTA the map's name asks for, whose
//! policy the key means, and the reply.
//!
//! A reply is `OK words`, `NOTFOUND `, `TEMP why` or `PERM why`; the space is always there. With `NOTFOUND ` the MTA
//! delivers as it would without MTA-STS, and with `TEMP` the mail waits.

use std::fmt;

use super::dane::Level;
use super::hosts::Hosts;
use super::{postfix, sendmail};
use crate::protocol::names::Domain;
use crate::protocol::text;
use crate::sender::answer::Answer;

/// The longest sentence in a reply, in characters: the MTA logs it.
const SENTENCE: usize = 200;
/// A host name that no certificate can have (RFC 6761 6.4). If the policy lists none of the MX hosts, every host must
/// fail; the patterns of the policy would let some pass.
pub(super) const NO_HOST: &str = "no-mx-host-is-in-the-mta-sts-policy.invalid";

/// The words that the name of a map asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Postfix 3.4 and newer.
    Postfix,
    /// Postfix 3.10 and newer: with the attributes of the policy for a TLS report, and for the check of the MX hosts.
    PostfixWithAttributes,
    /// Sendmail 8.17 and newer, by its `FEATURE(sts)`.
    Sendmail,
}

impl Dialect {
    /// The names of maps, the aliases behind them. `QUERY` and `QUERYwithTLSRPT` are those of postfix-tlspol.
    const NAMES: [(&'static str, Self); 6] = [
        ("postfix", Self::Postfix),
        ("postfix-3.10", Self::PostfixWithAttributes),
        ("sts", Self::Sendmail),
        ("sendmail", Self::Sendmail),
        ("QUERY", Self::Postfix),
        ("QUERYwithTLSRPT", Self::PostfixWithAttributes),
    ];

    /// The dialect of a map.
    #[must_use]
    pub fn of_map(name: &[u8]) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| known.as_bytes() == name)?;
        Some(known.1)
    }

    /// The first name of its map.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, dialect)| *dialect == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether the MTA has words for DANE. Sendmail has none: if it is built with DANE it looks at TLSA records itself, and
    /// what the policy asks comes on top.
    #[must_use]
    pub fn knows_dane(self) -> bool {
        self != Self::Sendmail
    }

    /// The reply for a policy that is enforced at these hosts, if DANE has nothing to say. If it is not enforced, they do not
    /// matter.
    #[must_use]
    pub fn reply(self, answer: &Answer, hosts: &Hosts) -> Reply {
        if let Some(reply) = Reply::without_hosts(answer, &Level::Policy) {
            return reply;
        }
        let Some(cached) = answer.cached() else {
            return Reply::NotFound;
        };
        let domain = answer.domain_name();
        let hosts = match hosts {
            Hosts::Known(hosts) => hosts,
            Hosts::Denied => {
                return Reply::temp(&format!(
                    "DNS says that {domain} does not exist or takes no mail, which its MTA-STS policy contradicts"
                ));
            }
            Hosts::Unknown => {
                return Reply::temp(&format!(
                    "the MX hosts of {domain}, which has an MTA-STS policy, cannot be looked up now"
                ));
            }
        };
        match self {
            Self::Postfix => Reply::Ok(postfix::secure(&cached.policy, hosts)),
            Self::PostfixWithAttributes => Reply::Ok(postfix::with_attributes(domain, cached, hosts)),
            Self::Sendmail => sendmail::secure(&cached.policy, hosts).map_or_else(
                || {
                    Reply::temp(&format!(
                        "the MTA-STS policy of {domain} lists more MX hosts than Sendmail can check"
                    ))
                },
                Reply::Ok,
            ),
        }
    }
}

/// Whose policy a key means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The policy domain.
    pub domain: Domain,
    /// Mail goes to the host of this name, and not to the MX hosts of the domain.
    pub is_host: bool,
}

impl NextHop {
    /// Reads a next hop as an MTA writes it: `example.com`, `[relay.example.com]`, with or without `:port`. Nothing if it
    /// cannot have a policy: an address, a parent domain (`.example.com`, which Postfix asks for too), any other text.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let (name, is_host) = match key.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                (port.is_empty() || port.starts_with(':')).then_some((name, true))?
            }
            None => match key.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, false),
                _ => (key, false),
            },
        };
        let domain = Domain::parse(name).ok()?;
        Some(Self { domain, is_host })
    }
}

/// The reply to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The words of the policy.
    Ok(String),
    /// Nothing is asked for this next hop.
    NotFound,
    /// Mail waits; why.
    Temp(String),
    /// The map does not exist; why.
    Perm(String),
}

impl Reply {
    /// The reply for which the MX hosts do not matter; nothing if the policy is enforced and DANE has nothing to say. Where
    /// TLSA records decide, nothing of the policy is said: Postfix takes no `match=` and no attribute of a policy there.
    #[must_use]
    pub fn without_hosts(answer: &Answer, dane: &Level) -> Option<Self> {
        if answer.defer_until().is_some() {
            return Some(Self::unavailable(answer.domain_name()));
        }
        match dane {
            Level::Dane => Some(Self::Ok("dane".into())),
            Level::DaneOnly => Some(Self::Ok("dane-only".into())),
            Level::Wait(why) => Some(Self::temp(&format!(
                "the MX hosts of {} cannot be looked up for DANE now: {why}",
                answer.domain_name()
            ))),
            Level::Policy => (!answer.enforces()).then_some(Self::NotFound),
        }
    }

    /// This host could not find out whether the domain has a policy.
    #[must_use]
    pub fn unavailable(domain: &str) -> Self {
        Self::temp(&format!("the MTA-STS policy of {domain} cannot be looked up now"))
    }

    /// There is no map of this name.
    #[must_use]
    pub fn no_such_map() -> Self {
        let names: Vec<&str> = Dialect::NAMES.iter().map(|(name, _)| *name).collect();
        Self::Perm(format!("no map of this name; there are {}", names.join(", ")))
    }

    fn temp(why: &str) -> Self {
        Self::Temp(text::ascii_line(why, SENTENCE))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(words) => write!(f, "OK {words}"),
            Self::NotFound => f.write_str("NOTFOUND "),
            Self::Temp(why) => write!(f, "TEMP {why}"),
            Self::Perm(why) => write!(f, "PERM {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
