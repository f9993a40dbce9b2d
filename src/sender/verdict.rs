//! The verdict: what the policy says, what the MTA saw, hence what it must do (RFC 8461 4, 5).
//!
//! One pure function that every face asks. It says what to do with one MX host, what the failure is called in a
//! report (RFC 8460 4.3), and a sentence for the log that tells the operator what is wrong and what to do.

use std::fmt::Write as _;

use crate::protocol::certificate::CertificateFailure;
use crate::protocol::names::Domain;
use crate::protocol::policy::{Mode, Policy};
use crate::protocol::text::one_line;
use crate::protocol::words::ResultType;
pub use crate::protocol::words::{Action, SeenKind};
use crate::sender::answer::{Answer, Failure, Source};

/// The failure-reason-code of an MX host that the policy does not list: RFC 8460 has no result type of its own for
/// it (D-16).
pub const MX_NOT_IN_POLICY: &str = "mx-host-not-in-policy";
/// How many patterns a sentence lists before it counts the rest.
const LISTED: usize = 5;

/// What the MTA saw at an MX host so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing yet: only the name of the host is known.
    Name,
    /// STARTTLS stands not in the host's answer to EHLO.
    StarttlsNotOffered,
    /// The host answered the STARTTLS command with an error, whatever its code.
    StarttlsRefused,
    /// The TLS handshake failed, but not over the certificate: an alert, a protocol version, a closed connection.
    HandshakeFailed(String),
    /// The certificate was checked, by this library or by the MTA's own TLS library, for the name of this MX host.
    Certificate(Result<(), CertificateFailure>),
    /// Every host was tried or skipped and none is left.
    NoHostLeft,
}

impl Seen {
    /// What it is called in every language.
    #[must_use]
    pub const fn kind(&self) -> SeenKind {
        match self {
            Self::Name => SeenKind::Name,
            Self::StarttlsNotOffered => SeenKind::StarttlsNotOffered,
            Self::StarttlsRefused => SeenKind::StarttlsRefused,
            Self::HandshakeFailed(_) => SeenKind::HandshakeFailed,
            Self::Certificate(_) => SeenKind::Certificate,
            Self::NoHostLeft => SeenKind::NoHostLeft,
        }
    }
}

/// The verdict on one MX host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// What the failure is called in a report, or nothing where there is none to report.
    pub result: Option<ResultType>,
    /// The failure-reason-code for the report (RFC 8460 4.4), free of anything personal; empty where there is none.
    pub reason_code: String,
    /// One line for the log: what is wrong, where, and what to do about it.
    pub sentence: String,
}

/// Decides about one MX host. `host` is the name in the MX record, before any CNAME; where the domain has no MX record
/// it is the domain itself (D-14).
#[must_use]
pub fn verdict(answer: &Answer, host: &Domain, seen: &Seen) -> Verdict {
    if let Some(until) = answer.defer_until() {
        return waiting(answer, until);
    }
    let Some(policy) = answer.policy().filter(|_| answer.mode() != Mode::None) else {
        return unprotected(answer);
    };
    let Some((result, reason_code, wrong, remedy)) = fault(policy, answer, host, seen) else {
        return passed(answer, host, seen);
    };
    let (action, so) = match (answer.mode(), seen, answer.exception()) {
        (Mode::Enforce, Seen::NoHostLeft, _) => (Action::Defer, "the mail waits in the queue"),
        (Mode::Enforce, _, _) => (Action::SkipHost, "nothing is sent to this host"),
        (_, _, Some(exception)) => (
            Action::DeliverAndReport,
            &*format!("the mail is delivered all the same: {exception}"),
        ),
        (_, _, None) => (
            Action::DeliverAndReport,
            "the mail is delivered all the same: the policy is in testing",
        ),
    };
    let sentence = format!("{wrong} ({}); {so}; {remedy}", about(answer, policy));
    Verdict {
        action,
        result: Some(result),
        reason_code,
        sentence,
    }
}

/// A domain that asks for nothing, or of which nothing is known.
fn unprotected(answer: &Answer) -> Verdict {
    // RFC 8461 6: a policy host that cannot be reached is reported although there is no policy to apply; a domain
    // that has opted out is not reported.
    let failure = answer.failure().filter(|_| answer.source() == Source::CouldNotLearn);
    let sentence = format!("{}; no host is refused", answer.explain());
    with_policy_failure(failure, sentence)
}

fn waiting(answer: &Answer, until: u64) -> Verdict {
    let sentence = format!(
        "{}; by first_contact_defer the mail waits until that can be learnt, and no longer than until Unix time {until}; \
         check the resolver, the domain's name servers and the way to https://mta-sts.{}",
        answer.explain(),
        answer.domain()
    );
    Verdict {
        action: Action::Defer,
        result: None,
        reason_code: String::new(),
        sentence,
    }
}

/// A host that meets the policy, as far as it was seen. An exception changes nothing for it.
fn passed(answer: &Answer, host: &Domain, seen: &Seen) -> Verdict {
    let domain = answer.domain();
    let sentence = match seen {
        Seen::Name => format!("{host} is in the MTA-STS policy of {domain} ({})", short(answer)),
        _ => format!("{host} meets the MTA-STS policy of {domain} ({})", short(answer)),
    };
    match answer.failure() {
        // The mail flows under the old policy while its refresh fails: that is to be told (RFC 8461 3.3, 6).
        Some(failure) => with_policy_failure(
            Some(failure),
            format!("{sentence}; the policy could not be refreshed: {}", failure.detail),
        ),
        None => with_policy_failure(None, sentence),
    }
}

fn with_policy_failure(failure: Option<&Failure>, sentence: String) -> Verdict {
    match failure.and_then(|f| f.result.map(|r| (r, f))) {
        Some((result, failure)) => Verdict {
            action: Action::DeliverAndReport,
            result: Some(result),
            reason_code: failure.detail.to_string(),
            sentence,
        },
        None => Verdict {
            action: Action::Deliver,
            result: None,
            reason_code: String::new(),
            sentence,
        },
    }
}

/// What is wrong with the host: the result type, the reason code, the finding and the remedy.
fn fault(
    policy: &Policy,
    answer: &Answer,
    host: &Domain,
    seen: &Seen,
) -> Option<(ResultType, String, String, &'static str)> {
    let domain = answer.domain();
    if *seen == Seen::NoHostLeft {
        return Some((
            ResultType::ValidationFailure,
            "no-mx-host-left".into(),
            format!("no MX host of {domain} meets its MTA-STS policy"),
            "see the lines about each host; if the domain has moved, its policy must be updated",
        ));
    }
    // The name comes first: a host that the policy does not list is wrong however good its certificate is.
    if !policy.allows(host) {
        return Some((
            ResultType::ValidationFailure,
            MX_NOT_IN_POLICY.into(),
            format!("{host} is not in the MTA-STS policy of {domain}"),
            "if the domain has moved, its policy must be updated",
        ));
    }
    match seen {
        Seen::Name | Seen::NoHostLeft | Seen::Certificate(Ok(())) => None,
        Seen::StarttlsNotOffered => Some((
            ResultType::StarttlsNotSupported,
            "starttls-not-offered".into(),
            format!("{host} does not offer STARTTLS, which the MTA-STS policy of {domain} requires"),
            "its administrator must offer it; if he does, something on the way takes it out",
        )),
        Seen::StarttlsRefused => Some((
            ResultType::StarttlsNotSupported,
            "starttls-refused".into(),
            format!("{host} refuses the STARTTLS command, which the MTA-STS policy of {domain} requires"),
            "its administrator must repair TLS there",
        )),
        Seen::HandshakeFailed(reason) => {
            let reason = one_line(reason, 200);
            Some((
                ResultType::ValidationFailure,
                format!("tls-handshake-failed: {reason}"),
                format!("the TLS handshake with {host} for {domain} failed: {reason}"),
                "its administrator must repair TLS there (TLS 1.2 or newer)",
            ))
        }
        Seen::Certificate(Err(failure)) => {
            let reason = one_line(&failure.reason, 300);
            Some((
                failure.result,
                reason.clone(),
                format!("the certificate of {host} does not pass for {domain}: {reason}"),
                certificate_remedy(failure.result),
            ))
        }
    }
}

const fn certificate_remedy(result: ResultType) -> &'static str {
    match result {
        ResultType::CertificateExpired => "its administrator must renew it",
        ResultType::CertificateHostMismatch => "it must carry the MX host's name as a DNS name in its subjectAltName",
        ResultType::CertificateNotTrusted => "it must be issued by a public CA and be sent with its intermediates",
        _ => "its administrator must repair TLS there",
    }
}

/// `mode enforce, id A; listed: mx.example.com, *.example.net`
fn about(answer: &Answer, policy: &Policy) -> String {
    let mut text = format!("{}; listed: ", short(answer));
    for (index, pattern) in policy.mx().take(LISTED).enumerate() {
        let _ = write!(text, "{}{pattern}", if index == 0 { "" } else { ", " });
    }
    if policy.mx().len() > LISTED {
        let _ = write!(text, " and {} more", policy.mx().len() - LISTED);
    }
    text
}

fn short(answer: &Answer) -> String {
    let id = answer.held().map_or("", |h| h.id.as_str());
    let source = match (answer.source(), answer.pinned_until()) {
        (_, Some(_)) => ", pinned by the operator",
        (Source::CachedAfterFailure, _) => ", from the cache",
        _ => "",
    };
    let mode = answer.policy().map_or(Mode::None, Policy::mode);
    format!("mode {mode}, id {id}{source}")
}

#[cfg(test)]
mod tests;
