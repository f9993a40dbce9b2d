//! What DANE asks of Postfix for a next hop: one level for all of its MX hosts (RFC 7672 2.2, RFC 8461 2).
//!
//! Postfix has no word for "TLSA records where there are any, and the policy elsewhere". At `dane` it takes a host without
//! TLSA records without any check, at `dane-only` it takes no such host, and at `secure` it looks at no TLSA record. So a
//! domain whose policy is enforced loses hosts, and never a check.

use crate::protocol::text;
use crate::sender::dane::{Facts, HostRecords, Routing};
use crate::sender::hosts::Hosts;
use crate::sender::validator::Worth;

/// The longest reason that is kept, in octets.
const REASON: usize = 120;

/// What DANE asks of all MX hosts of a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing: the policy decides.
    Policy,
    /// `dane`: the TLSA records of hosts that have any, and no check of others.
    Dane,
    /// `dane-only`: no host without usable TLSA records.
    DaneOnly,
    /// Mail waits, because nothing is known of any host, for this reason.
    Wait(String),
}

/// The levels of a next hop: under a policy that is enforced, and otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    enforced: Level,
    otherwise: Level,
}

impl Levels {
    /// What was learnt of the hosts. `is_host`: mail goes to the host of this name, which no MX record has led to.
    #[must_use]
    pub fn new(hosts: &Hosts, is_host: bool) -> Self {
        match (hosts.worth(), hosts.facts()) {
            (Worth::Off | Worth::Absent(_) | Worth::Unfit(_), _) => Self::same(Level::Policy),
            (Worth::Unknown(why), _) => Self::waits(why),
            (Worth::Trusted | Worth::Validates, None) => Self::waits("they were not looked up"),
            (Worth::Trusted | Worth::Validates, Some(facts)) => Self::of(facts, is_host),
        }
    }

    /// This host could not ask.
    #[must_use]
    pub fn waits(why: &str) -> Self {
        Self::same(Level::Wait(text::ascii_line(why, REASON)))
    }

    /// The level under a policy that is enforced, or another one.
    #[must_use]
    pub const fn level(&self, enforced: bool) -> &Level {
        if enforced { &self.enforced } else { &self.otherwise }
    }

    fn same(level: Level) -> Self {
        Self {
            enforced: level.clone(),
            otherwise: level,
        }
    }

    fn of(facts: &Facts, is_host: bool) -> Self {
        let is_secure = match &facts.routing {
            // The operator has named the host.
            _ if is_host => true,
            Routing::Unknown(why) => return Self::waits(why),
            Routing::Secure(_) | Routing::Absent => true,
            Routing::Insecure(_) => false,
        };
        let (mut all, mut usable, mut unusable, mut unknown) = (0, 0, 0, Vec::new());
        for (_, records) in &facts.hosts {
            all += 1;
            match records {
                // Postfix cannot go there.
                HostRecords::NoAddress => all -= 1,
                HostRecords::Insecure | HostRecords::Absent => {}
                HostRecords::Records { records, .. } if records.used().is_empty() => unusable += 1,
                HostRecords::Records { .. } => usable += 1,
                HostRecords::Unknown(why) => unknown.push(why),
            }
        }
        // Postfix asks again, host by host, and skips one of which it learns nothing.
        let has_records = usable + unknown.len();
        if let [why, ..] = unknown[..]
            && is_secure
            && unknown.len() == all
        {
            return Self::waits(why);
        }
        Self {
            enforced: match is_secure && has_records > 0 {
                true => Level::DaneOnly,
                // Nobody vouches for the names of the hosts but the policy (RFC 7672 2.2.1). Where no record is usable, the
                // certificate counts for the policy (RFC 7672 2.2).
                false => Level::Policy,
            },
            otherwise: match has_records + unusable {
                0 => Level::Policy,
                // At `dane-only` Postfix takes no host from MX records for which nothing vouches.
                _ if is_secure && has_records == all => Level::DaneOnly,
                _ => Level::Dane,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::names::Domain;
    use crate::protocol::tlsa::TlsaSet;

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    /// Hosts by letters: usable records, records of no use, none, no address, unknown.
    fn facts(routing: Routing, letters: &str) -> Facts {
        let with = |rdata: &[u8]| HostRecords::Records {
            base: name("mx.test"),
            records: TlsaSet::read([rdata]),
        };
        let records = |letter| match letter {
            'u' => with(&[&[3u8, 1, 1][..], &[7; 32]].concat()),
            'x' => with(&[1, 1, 1, 7]),
            'i' => HostRecords::Insecure,
            'a' => HostRecords::Absent,
            'n' => HostRecords::NoAddress,
            _ => HostRecords::Unknown("SERVFAIL".into()),
        };
        Facts {
            domain: name("ok.test"),
            routing,
            hosts: (0..)
                .zip(letters.chars())
                .map(|(n, letter)| (name(&format!("mx{n}.ok.test")), records(letter)))
                .collect(),
            life: Duration::ZERO,
        }
    }

    fn told(levels: &Levels) -> String {
        let word = |level: &Level| match level {
            Level::Policy => "policy",
            Level::Dane => "dane",
            Level::DaneOnly => "only",
            Level::Wait(_) => "wait",
        };
        format!("{} {}", word(levels.level(true)), word(levels.level(false)))
    }

    /// By hosts: under a policy that is enforced, and otherwise; behind secure MX records, and behind others.
    #[test]
    fn every_row() {
        for (hosts, secure, insecure) in [
            ("", "policy policy", "policy policy"),
            ("a", "policy policy", "policy policy"),
            ("ia", "policy policy", "policy policy"),
            ("n", "policy policy", "policy policy"),
            ("u", "only only", "policy dane"),
            ("uu", "only only", "policy dane"),
            ("ua", "only dane", "policy dane"),
            ("iu", "only dane", "policy dane"),
            // A host without an address has no say.
            ("un", "only only", "policy dane"),
            ("na", "policy policy", "policy policy"),
            // None usable: TLS without a check of the certificate, or the policy.
            ("x", "policy dane", "policy dane"),
            ("xa", "policy dane", "policy dane"),
            ("xu", "only dane", "policy dane"),
            // Unknown counts as usable, but not alone.
            ("?", "wait wait", "policy dane"),
            ("??", "wait wait", "policy dane"),
            ("?n", "wait wait", "policy dane"),
            ("u?", "only only", "policy dane"),
            ("a?", "only dane", "policy dane"),
            ("x?", "only dane", "policy dane"),
        ] {
            let listed = || vec![name("mx0.ok.test")];
            for (routing, expected) in [
                (Routing::Secure(listed()), secure),
                (Routing::Absent, secure),
                (Routing::Insecure(listed()), insecure),
                (Routing::Unknown("bogus".into()), "wait wait"),
            ] {
                let facts = facts(routing, hosts);
                assert_eq!(
                    told(&Levels::of(&facts, false)),
                    expected,
                    "{hosts:?} {:?}",
                    facts.routing
                );
                // A host that the operator has named: no MX record has a say.
                assert_eq!(told(&Levels::of(&facts, true)), secure, "{hosts:?} {:?}", facts.routing);
            }
        }
    }

    #[test]
    fn what_the_name_server_is_worth() {
        let why = || "no answer".to_owned();
        for (worth, expected) in [
            (Worth::Off, "policy policy"),
            (Worth::Absent(why()), "policy policy"),
            (Worth::Unfit(why()), "policy policy"),
            (Worth::Unknown(why()), "wait wait"),
            (Worth::Trusted, "only only"),
            (Worth::Validates, "only only"),
        ] {
            let facts = facts(Routing::Secure(vec![name("mx0.ok.test")]), "u");
            let hosts = Hosts::new(worth.clone(), facts, false);
            assert_eq!(told(&Levels::new(&hosts, false)), expected, "{worth:?}");
        }
        let hosts = Hosts::without(Worth::Trusted);
        assert_eq!(told(&Levels::new(&hosts, false)), "wait wait");
    }
}
