//! One attempt to deliver to one MX host: what was seen there in the order in which it was seen, what the MTA must do
//! after each sight, and the one event that a report counts (RFC 8460 4).
//!
//! Every MTA and every language feeds this object, so all of them count alike.

mod dane;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::network::roots::RootsError;
use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::protocol::report::{Loss, PolicyType, ReportEvent};
use crate::protocol::text::Line;
pub use crate::protocol::words::Channel;
use crate::protocol::words::{Action, Judge, ResultType};
use crate::sender::answer::Answer;
use crate::sender::hosts::Hosts;
use crate::sender::precedence::{Asserted, Way};
use crate::sender::resolver::Resolver;
use crate::sender::verdict::{Seen, Verdict, found, is_host_failure, overruled, verdict};
use dane::Side;

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
/// With [`Hosts`] DANE decides about the host where it has TLSA records: [`Attempt::saw_chain`] then checks what counts,
/// and a refusal by DANE is one whatever the policy says (RFC 8461 2).
///
/// [`Attempt::finish`] gives at most one event for each policy, and one policy is the rule (RFC 8460 4.4 counts sessions):
/// * under a policy (`sts`), a failure if the host failed it, even if no connection was made because of its name; a
///   success if its certificate was good; nothing if neither was seen, such as for a host that did not answer
///   (RFC 8460 4.3.4);
/// * a host that passes while the policy could not be renewed, and every session with a domain whose policy could not
///   be fetched, is a failure of the policy (`sts-policy-fetch-error` and the like; RFC 8461 6, D-24);
/// * without a policy or under one of mode none (`no-policy-found`), a success if TLS was negotiated, whatever the
///   certificate; a failure if STARTTLS was not offered or refused or the handshake failed (RFC 8460 4.3.1), which
///   refuses nothing;
/// * under TLSA records (`tlsa`), a failure if DANE has refused the host or none of them is usable, a success if the
///   certificate passed. It comes first. A policy that was looked at as well is another event, and `no-policy-found` is
///   none then;
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
    /// What DANE says, if it has anything to say.
    dane: Option<Side>,
    finished: Finished,
    /// The session carries a mail that no report counts.
    uncounted: bool,
    /// What was counted and not yet reported.
    counted: Vec<ReportEvent>,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finished {
    Nothing,
    Dane,
    All,
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
            dane: None,
            finished: Finished::Nothing,
            uncounted: false,
            counted: Vec::new(),
        }
    }

    /// Begins an attempt at a host of which DNS was asked for DANE ([`Resolver::hosts`]).
    #[must_use]
    pub fn with_hosts(answer: &Arc<Answer>, host: MxName, hosts: &Hosts) -> Self {
        let way = hosts.way(answer, &host);
        Self::by_way(answer, host, way)
    }

    /// Begins an attempt at a host of which the mail server has asked DNS for DANE itself.
    pub(crate) fn by_way(answer: &Arc<Answer>, host: MxName, way: Way) -> Self {
        Self {
            dane: Side::new(way),
            ..Self::new(answer, host)
        }
    }

    /// How the host proves who it is.
    #[must_use]
    pub fn way(&self) -> &Way {
        self.dane.as_ref().map_or(&Way::Sts, Side::way)
    }

    /// The name that the MTA must send in SNI, if that is not the host's choice: the TLSA base domain (RFC 7672 8.1).
    #[must_use]
    pub fn sni(&self) -> Option<&Domain> {
        self.asserted().map(|asserted| &asserted.base)
    }

    /// What decides about the certificate of the host.
    #[must_use]
    pub fn judge(&self) -> Judge {
        match self.way() {
            Way::Sts => Judge::Sts,
            Way::Dane(_) => Judge::Dane,
            Way::Both(_) => Judge::Both,
            Way::TlsWithoutName(_) => Judge::TlsWithoutName,
            Way::SkipHost(_) => Judge::SkipHost,
        }
    }

    /// Whether the host gets no mail without TLS: the policy is enforced, or the host has TLSA records.
    #[must_use]
    pub fn enforces(&self) -> bool {
        self.dane.is_some() || self.answer.enforces()
    }

    /// Whether anything is asked of the host: by a policy that applies, or by DANE. If not, it is not judged.
    #[must_use]
    pub fn applies(&self) -> bool {
        self.dane.is_some() || self.answer.applies()
    }

    /// The names that a certificate may have under DANE-TA, the TLSA base domain first; empty if TLSA records do not
    /// decide.
    #[must_use]
    pub fn names(&self) -> &[Domain] {
        self.asserted().map_or(&[], |asserted| &asserted.names)
    }

    /// The usable TLSA records, each as the octets of its RDATA; empty if they do not decide.
    #[must_use]
    pub fn records(&self) -> Vec<Vec<u8>> {
        let records = self.asserted().map(|asserted| asserted.records.rdata());
        records
            .into_iter()
            .flatten()
            .filter(|rdata| !rdata.is_empty())
            .collect()
    }

    fn asserted(&self) -> Option<&Asserted> {
        self.dane.as_ref().and_then(Side::asserted)
    }

    /// The MX host.
    #[must_use]
    pub const fn host(&self) -> &MxName {
        &self.host
    }

    /// Says what the MTA must do after this sight and all before it: first [`Seen::Name`], before it connects, then
    /// what EHLO, STARTTLS or the TLS handshake showed.
    ///
    /// Where DANE decides ([`Attempt::sni`] is a name), the certificate is for [`Attempt::saw_chain`]: what a TLS library says
    /// of it without the TLSA records decides nothing.
    pub fn saw(&mut self, seen: Seen) -> Verdict {
        let by_dane = match &mut self.dane {
            None => return self.saw_by_policy(seen),
            Some(dane) => dane.saw(&self.host, self.answer.domain_name(), &seen),
        };
        if let Some(refusal) = by_dane {
            return refusal;
        }
        if matches!(self.way(), Way::Dane(_)) {
            return self.saw_under_dane();
        }
        let verdict = self.saw_by_policy(seen);
        let unusable = self
            .dane
            .as_ref()
            .and_then(|dane| dane.unusable(&self.host, self.answer.domain_name()));
        match unusable {
            Some(unusable) if verdict.action.delivers() && verdict.result.is_none() => unusable,
            _ => verdict,
        }
    }

    /// Checks the certificate chain of the host, the host's own first, as DANE or the policy asks for, and says what the
    /// MTA must do. Without a policy and without DANE nothing is refused.
    ///
    /// # Errors
    /// A [`RootsError`] where the policy counts and the roots cannot be read: no verdict is possible, and the mail waits.
    pub fn saw_chain(&mut self, resolver: &Resolver, chain: &[&[u8]], at: UnixTime) -> Result<Verdict, RootsError> {
        let by_dane = self.dane.as_ref().and_then(|dane| dane.check(chain, at));
        if matches!(self.way(), Way::Dane(_)) || by_dane.as_ref().is_some_and(Result::is_err) {
            return Ok(self.saw(Seen::Certificate(by_dane.unwrap_or(Ok(())))));
        }
        let checked = match self.host.host() {
            Ok(host) if self.answer.applies() => resolver.verify_certificate(host, chain, at)?,
            _ => Ok(()),
        };
        if let Some(dane) = self.dane.as_mut().filter(|_| by_dane.is_some()) {
            // It has passed.
            if let Some(refusal) = dane.saw(&self.host, self.answer.domain_name(), &Seen::Certificate(Ok(()))) {
                return Ok(refusal);
            }
            return Ok(self.saw_by_policy(Seen::Certificate(checked)));
        }
        Ok(self.saw(Seen::Certificate(checked)))
    }

    /// DANE has nothing against the host. A policy that does not list it is reported.
    fn saw_under_dane(&mut self) -> Verdict {
        if self.failed.is_none() {
            self.failed = overruled(&self.answer, &self.host, "the host's TLSA records decide (DANE)");
        }
        self.failed.clone().unwrap_or_else(|| Verdict {
            action: Action::Deliver,
            result: None,
            reason_code: String::new(),
            sentence: format!(
                "{} is judged by its TLSA records (DANE), whatever the MTA-STS policy of {} says",
                self.host,
                self.answer.domain_name()
            ),
        })
    }

    fn saw_by_policy(&mut self, seen: Seen) -> Verdict {
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

    /// Says which mail the session carries: its envelope sender, and what its header field `TLS-Required` says, or nothing. If a
    /// report must not count the session, [`Attempt::finish`] gives no event: a report on the delivery of a report would cause
    /// the next one (RFC 8460 5.3), and who asks for no TLS is not reported on (RFC 8689). In a session with several mails one
    /// of these is enough.
    pub fn carries(&mut self, resolver: &Resolver, sender: &str, tls_required: &str) {
        self.uncounted |= !resolver.settings().is_reported_on(sender, tls_required);
    }

    /// Ends the attempt: what a report counts of it, or `None`. The next call gives the event of another policy that was
    /// looked at, if there was one, and then `None`.
    pub fn finish(&mut self, peer: Peer) -> Option<ReportEvent> {
        loop {
            let event = match self.finished {
                Finished::Nothing => {
                    self.finished = Finished::Dane;
                    self.event_of_dane(peer)
                }
                Finished::Dane => {
                    self.finished = Finished::All;
                    let event = self.event_of_policy(peer);
                    event.filter(|event| self.dane.is_none() || event.policy_type == PolicyType::Sts)
                }
                Finished::All => return None,
            };
            if event.is_some() && !self.uncounted {
                self.counted.extend(event.clone());
                return event;
            }
        }
    }

    /// Hands all that [`Attempt::finish`] has given over to what makes TLS reports, in one piece: see [`Resolver::report`].
    /// What was handed over, or lost, is not handed over again.
    ///
    /// # Errors
    /// A [`Loss`], which was counted and means nothing for the mail.
    pub fn report(&mut self, resolver: &Resolver, patience: Duration) -> Result<(), Loss> {
        let counted = std::mem::take(&mut self.counted);
        match self.answer.domain() {
            Some(domain) => resolver.report(domain, &counted, patience),
            // It can have no address for reports, and nothing was counted.
            None => Ok(()),
        }
    }

    /// The same for a caller that must not wait: see [`Resolver::report_later`].
    ///
    /// # Errors
    /// A [`Loss`] that is known now.
    pub fn report_later(&mut self, resolver: &Resolver) -> Result<(), Loss> {
        let counted = std::mem::take(&mut self.counted);
        let domain = self.answer.domain();
        domain.map_or(Ok(()), |domain| resolver.report_later(domain, counted))
    }

    fn event_of_dane(&self, peer: Peer) -> Option<ReportEvent> {
        let counted = self.dane.as_ref()?.counts(peer.channel, self.certificate.is_some())?;
        let (result, reason_code) = counted.result.unzip();
        Some(ReportEvent {
            policy_type: PolicyType::Tlsa,
            domain: counted.base.or_else(|| self.answer.domain().cloned())?,
            policy_lines: counted.lines,
            patterns: Vec::new(),
            host: self.host.clone(),
            address: peer.address,
            local_address: peer.local_address,
            result,
            reason_code: reason_code.unwrap_or_default().as_str().into(),
        })
    }

    fn event_of_policy(&self, peer: Peer) -> Option<ReportEvent> {
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
