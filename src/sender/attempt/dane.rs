//! What DANE says of the host of an attempt, beside what the policy says: the two are counted apart (RFC 8460 4).

use std::fmt::Write as _;

use rustls_pki_types::UnixTime;

use crate::protocol::certificate::CertificateFailure;
use crate::protocol::dane::check;
use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::protocol::text::one_line;
use crate::protocol::tlsa::{Tlsa, TlsaSet};
use crate::protocol::words::{Action, Channel, ResultType};
use crate::sender::notice::Token;
use crate::sender::precedence::{Asserted, Way};
use crate::sender::verdict::{Seen, Verdict, found};

/// The part of DANE in an attempt.
#[derive(Clone, Debug)]
pub(super) struct Side {
    way: Way,
    /// The refusal that stays.
    refusal: Option<Verdict>,
    /// Whether the certificate has passed.
    passed: bool,
}

/// What a report counts under the TLSA records.
pub(super) struct Counted {
    pub(super) result: Option<(ResultType, String)>,
    pub(super) base: Option<Domain>,
    pub(super) lines: Vec<String>,
}

impl Side {
    /// Nothing if the policy alone decides.
    pub(super) fn new(way: Way) -> Option<Self> {
        (way != Way::Sts).then_some(Self {
            way,
            refusal: None,
            passed: false,
        })
    }

    pub(super) const fn way(&self) -> &Way {
        &self.way
    }

    pub(super) const fn asserted(&self) -> Option<&Asserted> {
        match &self.way {
            Way::Dane(asserted) | Way::Both(asserted) => Some(asserted),
            Way::Sts | Way::TlsWithoutName(_) | Way::SkipHost(_) => None,
        }
    }

    /// Checks a chain against the records, where these decide.
    pub(super) fn check(&self, chain: &[&[u8]], at: UnixTime) -> Option<Result<(), CertificateFailure>> {
        let Asserted { names, records, .. } = self.asserted()?;
        Some(check(names, chain, records, at).map(|_| ()))
    }

    /// The refusal of this sight and of all before it, or nothing if DANE has none.
    pub(super) fn saw(&mut self, host: &MxName, domain: &str, seen: &Seen) -> Option<Verdict> {
        if self.refusal.is_none() {
            self.refusal = self.refuses(host, domain, seen);
            self.passed |= matches!(seen, Seen::Certificate(Ok(())));
        }
        self.refusal.clone()
    }

    fn refuses(&self, host: &MxName, domain: &str, seen: &Seen) -> Option<Verdict> {
        if let Way::SkipHost(why) = &self.way {
            return Some(Verdict {
                action: Action::SkipHost,
                result: Some(ResultType::DnssecInvalid),
                reason_code: format!("{}: {}", Token::DnssecInvalid.name(), one_line(why, 200)),
                sentence: format!(
                    "{host}, an MX host of {domain}, cannot be used now: {}; no mail is sent to this host. If this affects \
                     many domains, check the name server of dane_resolver; else the domain's administrator must repair \
                     DNSSEC.",
                    one_line(why, 300)
                ),
            });
        }
        // Its certificate is nothing to DANE where no record is usable.
        if matches!((&self.way, seen), (Way::TlsWithoutName(_), Seen::Certificate(_))) {
            return None;
        }
        let (result, code) = found(seen)?;
        let wrong = match seen {
            Seen::Name | Seen::Certificate(Ok(())) => return None,
            Seen::StarttlsNotOffered => "does not offer STARTTLS".to_owned(),
            Seen::StarttlsRefused => "rejects the STARTTLS command".to_owned(),
            Seen::HandshakeFailed(why) => format!("fails the TLS handshake ({})", one_line(why, 200)),
            Seen::Certificate(Err(failure)) => format!("sent a wrong certificate ({})", one_line(&failure.reason, 300)),
        };
        let remedy = match seen {
            Seen::Certificate(_) => "The host's administrator must correct the TLSA records or the certificate.",
            _ => "The host's administrator must repair TLS.",
        };
        Some(Verdict {
            action: Action::SkipHost,
            result: Some(result),
            reason_code: format!("{}: {code}", Token::Dane.name()),
            sentence: format!(
                "{host}, an MX host of {domain} with TLSA records, {wrong}; no mail is sent to this host. {remedy}"
            ),
        })
    }

    /// What to say of a host whose records are of no use, where the policy has nothing to say.
    pub(super) fn unusable(&self, host: &MxName, domain: &str) -> Option<Verdict> {
        matches!(self.way, Way::TlsWithoutName(_)).then(|| Verdict {
            action: Action::DeliverAndReport,
            result: Some(ResultType::TlsaInvalid),
            reason_code: NONE_USABLE.to_owned(),
            sentence: format!(
                "{host}, an MX host of {domain}, has TLSA records and none of them is usable; mail is sent to it over TLS \
                 without a check of its certificate. The host's administrator must publish usable TLSA records."
            ),
        })
    }

    /// What a report counts of the session.
    pub(super) fn counts(&self, channel: Channel, has_tls: bool) -> Option<Counted> {
        let result = match (&self.refusal, &self.way) {
            (Some(refusal), _) => Some((refusal.result?, refusal.reason_code.clone())),
            (None, Way::Dane(_) | Way::Both(_)) if self.passed => None,
            (None, Way::TlsWithoutName(_)) if has_tls || channel == Channel::Tls => {
                Some((ResultType::TlsaInvalid, NONE_USABLE.to_owned()))
            }
            (None, _) => return None,
        };
        Some(Counted {
            result,
            base: match &self.way {
                Way::TlsWithoutName(base) => Some(base.clone()),
                _ => self.asserted().map(|asserted| asserted.base.clone()),
            },
            lines: self
                .asserted()
                .map_or_else(Vec::new, |asserted| lines(&asserted.records)),
        })
    }
}

/// The reason code of records of which none is usable.
const NONE_USABLE: &str = "tlsa-invalid: none of the TLSA records is usable";

/// The records as in a zone file (RFC 8460 4.5).
pub(super) fn lines(records: &TlsaSet) -> Vec<String> {
    let line = |record: &Tlsa| {
        let (usage, selector, matching) = record.numbers();
        let mut line = format!("{usage} {selector} {matching} ");
        for octet in &record.data {
            let _ = write!(line, "{octet:02x}");
        }
        line
    };
    records.used().iter().map(line).collect()
}

#[cfg(test)]
mod tests;
