//! The verdict: what the policy says, what the MTA saw, hence what it must do (RFC 8461 4, 5).
//!
//! One pure function that every face asks. It says what to do with one MX host, what the failure is called in a
//! report (RFC 8460 4.3), and a sentence for the log that tells the operator what is wrong and what to do.

use std::fmt::Write as _;

use crate::protocol::calendar;
use crate::protocol::certificate::CertificateFailure;
use crate::protocol::names::Domain;
use crate::protocol::policy::{Mode, Policy};
use crate::protocol::result_type::ResultType;
use crate::protocol::text::one_line;
use crate::sender::answer::{Answer, Failure, Source};
use crate::sender::notice::{self, Token};

/// The failure-reason-code of an MX host that the policy does not list: RFC 8460 has no result type of its own for
/// it (D-16).
pub const MX_NOT_IN_POLICY: &str = "mx-host-not-in-policy";
/// How many patterns a sentence lists before it counts the rest.
const LISTED: usize = 5;

/// What an MTA must do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Action {
    /// Deliver to this host (or go on with it), by whatever other rules the MTA has.
    Deliver = 1,
    /// Deliver to this host, and report the failure.
    DeliverAndReport = 2,
    /// Send nothing to this host; try the next one, and where none is left defer the mail (RFC 8461 5).
    SkipHost = 3,
    /// Keep the mail in the queue and try again later. Never a bounce.
    Defer = 4,
}

impl Action {
    /// A short stable name, the same in every output of ours.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::DeliverAndReport => "deliver-and-report",
            Self::SkipHost => "skip-host",
            Self::Defer => "defer",
        }
    }
}

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

/// The verdict on one MX host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// What the failure is called in a report, or nothing where there is none to report.
    pub result: Option<ResultType>,
    /// The failure-reason-code for the report (RFC 8460 4.4), free of anything personal; empty where there is none. It is
    /// a token of the log (`docs/log.md`), and may go on with a colon and the details.
    pub reason_code: String,
    /// One line for the log: what is wrong, where, and what to do about it.
    pub sentence: String,
}

impl Verdict {
    /// The word by which a log watcher knows the verdict: what `reason_code` begins with, or the action if it is empty.
    #[must_use]
    pub fn token(&self) -> &str {
        match self.reason_code.split(':').next() {
            None | Some("") => self.action.name(),
            Some(token) => token,
        }
    }

    /// The verdict as a line of the log.
    #[must_use]
    pub fn log_line(&self) -> String {
        notice::line(self.token(), &self.sentence)
    }
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
        (Mode::Enforce, Seen::NoHostLeft, _) => (Action::Defer, "no mail can be delivered now"),
        (Mode::Enforce, _, _) => (Action::SkipHost, "no mail is sent to this host"),
        (_, _, Some(exception)) => (
            Action::DeliverAndReport,
            &*format!("the mail is delivered anyway: {exception}"),
        ),
        (_, _, None) => (
            Action::DeliverAndReport,
            "the mail is delivered anyway: the policy is in testing",
        ),
    };
    let sentence = format!("{wrong} ({}); {so}. {remedy}", about(answer, policy));
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
    let sentence = format!("{}; mail is delivered as usual", answer.explain());
    with_policy_failure(failure, sentence)
}

fn waiting(answer: &Answer, until: u64) -> Verdict {
    let sentence = format!(
        "{}; mail is deferred until that is known, at the latest until {} (first_contact_defer). Check the resolver, the \
         domain's name servers and the connection to https://mta-sts.{}",
        answer.explain(),
        calendar::date_time(until),
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
            format!("{sentence}; the policy could not be renewed: {}", failure.detail),
        ),
        None => with_policy_failure(None, sentence),
    }
}

fn with_policy_failure(failure: Option<&Failure>, sentence: String) -> Verdict {
    match failure.and_then(|f| f.result.map(|r| (r, f))) {
        Some((result, failure)) => Verdict {
            action: Action::DeliverAndReport,
            result: Some(result),
            reason_code: format!("{}: {}", policy_token(result).name(), failure.detail),
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
            "If the domain's mail has moved, its administrator must update the policy.",
        ));
    }
    // The name comes first: a host that the policy does not list is wrong however good its certificate is.
    if !policy.allows(host) {
        return Some((
            ResultType::ValidationFailure,
            MX_NOT_IN_POLICY.into(),
            format!("{host} is not in the MTA-STS policy of {domain}"),
            "If the domain's mail has moved, its administrator must update the policy.",
        ));
    }
    match seen {
        Seen::Name | Seen::NoHostLeft | Seen::Certificate(Ok(())) => None,
        Seen::StarttlsNotOffered => Some((
            ResultType::StarttlsNotSupported,
            "starttls-not-offered".into(),
            format!("the EHLO reply of {host} does not offer STARTTLS, which the MTA-STS policy of {domain} requires"),
            "The host's administrator must enable STARTTLS; if it is enabled, something on the path is stripping it.",
        )),
        Seen::StarttlsRefused => Some((
            ResultType::StarttlsNotSupported,
            "starttls-refused".into(),
            format!("{host} rejects the STARTTLS command, which the MTA-STS policy of {domain} requires"),
            "The host's administrator must repair TLS.",
        )),
        Seen::HandshakeFailed(reason) => {
            let reason = one_line(reason, 200);
            Some((
                ResultType::ValidationFailure,
                format!("tls-handshake-failed: {reason}"),
                format!("the TLS handshake with {host}, an MX host of {domain}, failed: {reason}"),
                "The host's administrator must repair TLS (TLS 1.2 or newer).",
            ))
        }
        Seen::Certificate(Err(failure)) => {
            let reason = one_line(&failure.reason, 300);
            Some((
                failure.result,
                format!("{}: {reason}", certificate_token(failure.result).name()),
                format!("{host} sent a certificate that the MTA-STS policy of {domain} does not accept: {reason}"),
                certificate_remedy(failure.result),
            ))
        }
    }
}

const fn certificate_token(result: ResultType) -> Token {
    match result {
        ResultType::CertificateExpired => Token::CertificateExpired,
        ResultType::CertificateHostMismatch => Token::CertificateHostMismatch,
        ResultType::CertificateNotTrusted => Token::CertificateNotTrusted,
        _ => Token::CertificateCheckFailed,
    }
}

const fn policy_token(result: ResultType) -> Token {
    match result {
        ResultType::StsPolicyInvalid => Token::PolicyInvalid,
        ResultType::StsWebpkiInvalid => Token::PolicyHostCertificate,
        _ => Token::PolicyFetchError,
    }
}

const fn certificate_remedy(result: ResultType) -> &'static str {
    match result {
        ResultType::CertificateExpired => "The host's administrator must renew the certificate.",
        ResultType::CertificateHostMismatch => {
            "The host's administrator must install a certificate that has the host's name as a DNS name in its subjectAltName."
        }
        ResultType::CertificateNotTrusted => {
            "The host's administrator must install a certificate of a public CA, with its intermediates."
        }
        _ => "The host's administrator must repair TLS.",
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
        (Source::CachedAfterFailure, _) => ", cached",
        _ => "",
    };
    let mode = answer.policy().map_or(Mode::None, Policy::mode);
    format!("mode {mode}, id {id}{source}")
}

#[cfg(test)]
mod tests;
