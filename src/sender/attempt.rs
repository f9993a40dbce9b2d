//! One attempt to deliver to one MX host: what was seen there in the order in which it was seen, what the MTA must do
//! after each sight, and the one event that a report counts (RFC 8460 4).
//!
//! Every MTA and every language feeds this object, so all of them count alike.

use std::net::IpAddr;
use std::sync::Arc;

use crate::protocol::mx_name::MxName;
use crate::protocol::report::{PolicyType, ReportEvent};
use crate::protocol::text::Line;
pub use crate::protocol::words::Channel;
use crate::protocol::words::ResultType;
use crate::sender::answer::Answer;
use crate::sender::verdict::{Seen, Verdict, found, is_host_failure, verdict};

/// The other side of the session, for the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How far the session came. Under a policy only the sights matter; without one, this says whether TLS was
    /// negotiated.
    pub channel: Channel,
    /// The address of the host.
    pub address: Option<IpAddr>,
    /// The address that the connection came from.
    pub local_address: Option<IpAddr>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            channel: Channel::None,
            address: None,
            local_address: None,
        }
    }
}

/// One MX host in one attempt to deliver.
///
/// Make one for each host of the domain, show it each sight when there is one, obey each verdict, and finish it when
/// the session is over. An MTA that goes on to another address of the same host with a new session makes a new one.
///
/// What was seen is not forgotten:
/// * After a refusal (skip the host, or defer) every further verdict is that refusal. A good certificate does not allow
///   a host that the policy does not list, and a second connection does not allow one that failed in the first.
/// * If a policy is in testing, or the operator has made an exception, mail is delivered whatever fails, and the first
///   failure is the one that is reported. A later sight that is good repeats the verdict on it.
///
/// [`Attempt::finish`] gives at most one event (RFC 8460 4.4 counts sessions):
/// * under a policy (`sts`), a failure if the host failed it, even if no connection was made because of its name; a
///   success if its certificate was good; nothing if neither was seen, such as for a host that did not answer
///   (RFC 8460 4.3.4);
/// * a host that passes while the policy could not be renewed, and every session with a domain whose policy could not
///   be fetched, is a failure of the policy (`sts-policy-fetch-error` and the like; RFC 8461 6, D-24);
/// * without a policy or under one of mode none (`no-policy-found`), a success if TLS was negotiated, whatever the
///   certificate; a failure if STARTTLS was not offered or refused or the handshake failed (RFC 8460 4.3.1), which
///   refuses nothing;
/// * nothing if the mail domain is not a domain name: it can have no address for reports.
#[derive(Clone, Debug)]
pub struct Attempt {
    answer: Arc<Answer>,
    host: MxName,
    /// The refusal that stays.
    refusal: Option<Verdict>,
    /// The first verdict on a failure of the host.
    failed: Option<Verdict>,
    /// The first failure to negotiate TLS, whether or not there is a policy.
    no_tls: Option<(ResultType, String)>,
    /// A certificate was seen, and whether the last one was good.
    certificate: Option<bool>,
    finished: bool,
}

impl Attempt {
    /// Begins an attempt. The attempt keeps the answer alive.
    #[must_use]
    pub fn new(answer: &Arc<Answer>, host: MxName) -> Self {
        Self {
            answer: Arc::clone(answer),
            host,
            refusal: None,
            failed: None,
            no_tls: None,
            certificate: None,
            finished: false,
        }
    }

    /// The MX host.
    #[must_use]
    pub const fn host(&self) -> &MxName {
        &self.host
    }

    /// Says what the MTA must do after this sight and all before it: first [`Seen::Name`], before it connects, then
    /// what EHLO, STARTTLS or the TLS handshake showed.
    pub fn saw(&mut self, seen: Seen) -> Verdict {
        if let Some(refusal) = &self.refusal {
            return refusal.clone();
        }
        let verdict = verdict(&self.answer, &self.host, &seen);
        if !verdict.action.delivers() {
            self.refusal = Some(verdict.clone());
        }
        match &seen {
            Seen::Name => {}
            Seen::Certificate(checked) => self.certificate = Some(checked.is_ok()),
            other => self.no_tls = self.no_tls.take().or_else(|| found(other)),
        }
        if is_host_failure(&self.answer, &self.host, &seen) {
            self.failed.get_or_insert_with(|| verdict.clone());
            return verdict;
        }
        self.failed.clone().unwrap_or(verdict)
    }

    /// The verdict on the first failure of the host, if there was one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Verdict> {
        self.failed.as_ref()
    }

    /// Ends the attempt: what a report counts of it, or `None`. A second call returns `None`.
    pub fn finish(&mut self, peer: Peer) -> Option<ReportEvent> {
        if std::mem::replace(&mut self.finished, true) {
            return None;
        }
        let domain = self.answer.domain()?.clone();
        let failure = self.counts(peer.channel)?;
        let cached = self.answer.cached().filter(|_| self.answer.applies());
        let announced = cached.is_some() || self.answer.policy_failure().is_some();
        let (result, reason_code) = failure.unzip();
        Some(ReportEvent {
            policy_type: if announced {
                PolicyType::Sts
            } else {
                PolicyType::NoPolicyFound
            },
            domain,
            policy_lines: cached.map_or_else(Vec::new, |cached| {
                cached.text.lines().filter(|l| !l.is_empty()).map(Into::into).collect()
            }),
            patterns: cached.map_or_else(Vec::new, |cached| cached.policy.mx().map(|mx| mx.to_string()).collect()),
            host: self.host.clone(),
            address: peer.address,
            local_address: peer.local_address,
            result,
            reason_code: reason_code.unwrap_or_default(),
        })
    }

    /// Whether a report counts this attempt, and as which failure; an inner `None` is a success.
    fn counts(&self, channel: Channel) -> Option<Option<(ResultType, Line)>> {
        if let Some(Verdict {
            result: Some(result),
            reason_code,
            ..
        }) = &self.failed
        {
            return Some(Some((*result, reason_code.as_str().into())));
        }
        // The mail waits until something is known of the domain.
        if self.refusal.is_some() {
            return None;
        }
        let tls = channel == Channel::Tls || self.certificate.is_some();
        let session = tls || channel == Channel::Clear || self.no_tls.is_some();
        if let Some((result, why)) = self.answer.policy_failure().filter(|_| session) {
            return Some(Some((result, why.clone())));
        }
        if self.answer.applies() {
            return (self.certificate == Some(true)).then_some(None);
        }
        match &self.no_tls {
            Some((result, why)) => Some(Some((*result, why.as_str().into()))),
            None => tls.then_some(None),
        }
    }
}

#[cfg(test)]
mod tests;
