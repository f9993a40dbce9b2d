//! The verdict: what the policy says, what the MTA saw, hence what it must do (RFC 8461 4, 5).
//!
//! One pure function that every face asks. It says what to do with one MX host, what the failure is called in a
//! report (RFC 8460 4.3), and a sentence for the log that tells the operator what is wrong and what to do.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::protocol::calendar;
use crate::protocol::certificate::CertificateFailure;
use crate::protocol::mx;
use crate::protocol::mx_name::MxName;
use crate::protocol::policy::{Mode, Policy};
use crate::protocol::text::{ascii_line, one_line};
pub use crate::protocol::words::{Action, NoHost, SeenKind};
use crate::protocol::words::{ResultType, Source};
use crate::sender::answer::Answer;
use crate::sender::notice::{self, Token};

/// The failure-reason-code of an MX host that the policy does not list: RFC 8460 has no result type of its own for
/// it (D-16).
pub const MX_NOT_IN_POLICY: &str = "mx-host-not-in-policy";
/// The failure-reason-code of an MX record that names something other than a host: no policy can list it (RFC 8461
/// 3.2).
pub const MX_NOT_A_HOST_NAME: &str = "mx-not-a-host-name";
/// How many names a sentence lists before it counts the rest.
const LISTED: usize = 5;
/// After how many octets of names a sentence lists no further one.
const LISTED_OCTETS: usize = 300;
/// How much of a reason follows the name of a host, in octets.
const REASON: usize = 120;

impl Action {
    /// Whether mail may go to this host.
    #[must_use]
    pub const fn delivers(self) -> bool {
        matches!(self, Self::Deliver | Self::DeliverAndReport)
    }

    /// Whether the mail waits: no other host of the domain is to be tried now.
    #[must_use]
    pub const fn defers(self) -> bool {
        matches!(self, Self::Defer)
    }
}

/// What the MTA saw at an MX host so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing yet: only the name of the host is known.
    Name,
    /// The host's EHLO reply does not offer STARTTLS.
    StarttlsNotOffered,
    /// The host answered the STARTTLS command with an error, whatever its code.
    StarttlsRefused,
    /// The TLS handshake failed, but not because of the certificate: an alert, a protocol version, a closed connection.
    HandshakeFailed(String),
    /// The certificate was checked, by this library or by the MTA's own TLS library, for the name of this MX host.
    Certificate(Result<(), CertificateFailure>),
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
        }
    }
}

/// The verdict on one MX host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// What the failure is called in a report, or `None` if there is none to report.
    pub result: Option<ResultType>,
    /// The failure-reason-code for the report (RFC 8460 4.4), free of anything personal; empty if there is none. It
    /// begins with a token of the log (`docs/log.md`), up to the first colon.
    pub reason_code: String,
    /// One line for the log: what is wrong, with which host, and what to do about it.
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

/// Decides about one MX host, from one sight alone. [`Attempt`](crate::Attempt) decides about all that was seen of a
/// host. `host` is the name in the MX record, before any CNAME; if the domain has no MX record it is the domain itself
/// (D-14).
#[must_use]
pub fn verdict(answer: &Answer, host: &MxName, seen: &Seen) -> Verdict {
    if let Some(until) = answer.defer_until() {
        return waiting(answer, until);
    }
    let Some(policy) = answer.policy().filter(|_| answer.applies()) else {
        return unprotected(answer);
    };
    match fault(policy, answer, host, seen) {
        None => passed(answer, host, seen),
        Some(fault) => failed(
            answer,
            policy,
            fault,
            (Action::SkipHost, "no mail is sent to this host"),
        ),
    }
}

/// Whether the sight is a failure of the host itself, under a policy that applies; a policy that could not be fetched
/// or renewed is not one.
pub(super) fn is_host_failure(answer: &Answer, host: &MxName, seen: &Seen) -> bool {
    let policy = answer.policy().filter(|_| answer.applies());
    policy.is_some_and(|policy| fault(policy, answer, host, seen).is_some())
}

/// Decides about a mail for which there is no MX host.
///
/// If every host was passed over and the policy is enforced, the mail waits (RFC 8461 5: a policy failure is never
/// permanent). If DNS denies the MX hosts that an enforced policy lists, one of the two is wrong, and the answer of DNS
/// is the one that can be forged: the mail waits too, and the sentence says which contradicts which. NODATA is no
/// contradiction if the policy lists the domain itself, since the domain is then its own MX host (D-31). In all other
/// cases the action is [`Action::Deliver`] or [`Action::DeliverAndReport`]: the MTA does what it does without MTA-STS,
/// such as to bounce mail to a domain that does not exist.
///
/// If DANE has refused a host (its `reason_code` begins with `dane` or `dnssec-invalid`), the mail waits also without a
/// policy: that host may take it later.
///
/// `hosts` are the MX hosts that DNS gave, each with the `reason_code` of the verdict that refused it, or an empty
/// text. The sentence names them, since a bounce may be all that its reader sees. The list is empty if they are not
/// known.
///
/// Nothing of this is an event for a report, because there was no session; `result` and `reason_code` are for the log.
#[must_use]
pub fn verdict_without_host(answer: &Answer, why: NoHost, hosts: &[(MxName, String)]) -> Verdict {
    if let Some(until) = answer.defer_until() {
        return waiting(answer, until);
    }
    if why == NoHost::Left && !answer.enforces() && hosts.iter().any(|(_, reason)| is_refusal_of_dane(reason)) {
        return waiting_for_dane(answer, hosts);
    }
    let Some(policy) = answer.policy().filter(|_| answer.applies()) else {
        return unprotected(answer);
    };
    let domain = answer.domain_name();
    let is_listed = |host: &MxName| host.host().is_ok_and(|host| policy.allows_mx(host));
    let why = match why {
        // Then DNS and the policy agree, and the host failed otherwise.
        NoHost::NotListed if hosts.iter().any(|(host, _)| is_listed(host)) => NoHost::Left,
        why => why,
    };
    let denied = match why {
        NoHost::Left => {
            let left = Fault {
                result: ResultType::ValidationFailure,
                reason_code: "no-mx-host-left".into(),
                wrong: format!("no MX host of {domain} meets its MTA-STS policy"),
                given: given(hosts),
                remedy: MOVED.into(),
            };
            return failed(answer, policy, left, WAITS);
        }
        NoHost::NoData if answer.domain().is_some_and(|domain| policy.allows_mx(domain)) => None,
        NoHost::NxDomain => Some((
            "mx-lookup-nxdomain",
            "DNS says that the domain does not exist (NXDOMAIN), and the policy lists its MX hosts",
        )),
        NoHost::NoData => Some((
            "mx-lookup-nodata",
            "DNS says that the domain has no MX record (NODATA), and the policy lists other MX hosts than the domain itself",
        )),
        NoHost::NullMx => Some((
            "null-mx",
            "DNS says that the domain takes no mail (null MX, RFC 7505), and the policy lists its MX hosts",
        )),
        NoHost::NotListed => Some(("no-mx-host-in-policy", "DNS gives no MX host that the policy lists")),
    };
    match denied.filter(|_| answer.enforces()) {
        Some((reason_code, says)) => {
            let fault = Fault {
                result: ResultType::ValidationFailure,
                reason_code: reason_code.into(),
                wrong: format!("DNS contradicts the MTA-STS policy of {domain}: {says}"),
                given: given(hosts),
                remedy: "Compare with another resolver; if the domain has given up mail, its administrator must withdraw the policy."
                    .into(),
            };
            failed(answer, policy, fault, WAITS)
        }
        None => plain(format!(
            "{domain} has no MX host ({}); its MTA-STS policy does not apply to that ({})",
            why.name(),
            short(answer)
        )),
    }
}

/// Whether DANE has refused a host, by the `reason_code` of that verdict.
fn is_refusal_of_dane(reason_code: &str) -> bool {
    let token = reason_code.split(':').next().unwrap_or_default();
    [Token::Dane, Token::DnssecInvalid]
        .iter()
        .any(|dane| dane.name() == token)
}

/// A mail that DANE alone leaves no host: it waits, as under a policy (RFC 7672 2.2).
fn waiting_for_dane(answer: &Answer, hosts: &[(MxName, String)]) -> Verdict {
    let sentence = format!(
        "no MX host of {} is left that DANE allows{}; {}. If DNSSEC or the TLSA records of the domain are wrong, its \
         administrator must correct them.",
        answer.domain_name(),
        given(hosts),
        WAITS.1
    );
    Verdict {
        action: WAITS.0,
        result: Some(ResultType::ValidationFailure),
        reason_code: "no-mx-host-left".into(),
        sentence,
    }
}

/// What to do about a host that the policy does not list.
const MOVED: &str = "If the domain's mail has moved, its administrator must update the policy.";

/// What becomes of a mail for which an enforced policy leaves no host.
const WAITS: (Action, &str) = (Action::Defer, "no mail can be delivered now");

/// What is wrong.
struct Fault {
    result: ResultType,
    reason_code: String,
    wrong: String,
    /// The MX hosts that DNS gave, for the sentence about a mail.
    given: String,
    remedy: Cow<'static, str>,
}

/// The verdict on a fault; `enforced` is what happens if the policy is enforced.
fn failed(answer: &Answer, policy: &Policy, fault: Fault, enforced: (Action, &str)) -> Verdict {
    let so = match answer.exception() {
        _ if answer.enforces() => return concluded(answer, policy, fault, enforced.0, enforced.1),
        Some(exception) => format!("this does not prevent delivery: {exception}"),
        None => "this does not prevent delivery: the policy is in testing".into(),
    };
    concluded(answer, policy, fault, Action::DeliverAndReport, &so)
}

/// The verdict on a fault of a host that the policy does not decide about: `by` decides, and the fault is only reported.
pub(super) fn overruled(answer: &Answer, host: &MxName, by: &str) -> Option<Verdict> {
    let policy = answer.policy().filter(|_| answer.applies())?;
    let fault = fault(policy, answer, host, &Seen::Name)?;
    let so = format!("this does not prevent delivery: {by}");
    Some(concluded(answer, policy, fault, Action::DeliverAndReport, &so))
}

fn concluded(answer: &Answer, policy: &Policy, fault: Fault, action: Action, so: &str) -> Verdict {
    let (wrong, remedy) = (fault.wrong, fault.remedy);
    Verdict {
        action,
        result: Some(fault.result),
        reason_code: fault.reason_code,
        sentence: format!("{wrong} ({}{}); {so}. {remedy}", about(answer, policy), fault.given),
    }
}

/// Nothing is wrong, and nothing is to be reported.
const fn plain(sentence: String) -> Verdict {
    Verdict {
        action: Action::Deliver,
        result: None,
        reason_code: String::new(),
        sentence,
    }
}

/// A domain that asks for nothing, or of which nothing is known.
fn unprotected(answer: &Answer) -> Verdict {
    with_policy_failure(answer, format!("{}; mail is delivered as usual", answer.explain()))
}

fn waiting(answer: &Answer, until: u64) -> Verdict {
    let sentence = format!(
        "{}; mail is deferred until that is known, at the latest until {} (first_contact_defer). Check the resolver, the \
         domain's name servers and the connection to https://mta-sts.{}",
        answer.explain(),
        calendar::date_time(until),
        answer.domain_name()
    );
    Verdict {
        action: Action::Defer,
        result: None,
        reason_code: String::new(),
        sentence,
    }
}

/// A host that meets the policy, as far as it was seen. An exception changes nothing for it.
fn passed(answer: &Answer, host: &MxName, seen: &Seen) -> Verdict {
    let domain = answer.domain_name();
    let sentence = match seen {
        Seen::Name => format!("{host} is in the MTA-STS policy of {domain} ({})", short(answer)),
        _ => format!("{host} meets the MTA-STS policy of {domain} ({})", short(answer)),
    };
    let sentence = match answer.failure() {
        // Mail flows under the old policy while its refresh fails: the operator should know (RFC 8461 3.3, 6).
        Some(failure) => format!("{sentence}; the policy could not be renewed: {}", failure.detail),
        None => sentence,
    };
    with_policy_failure(answer, sentence)
}

fn with_policy_failure(answer: &Answer, sentence: String) -> Verdict {
    match answer.policy_failure() {
        Some((result, detail)) => Verdict {
            action: Action::DeliverAndReport,
            result: Some(result),
            reason_code: format!("{}: {detail}", policy_token(result).name()),
            sentence,
        },
        None => plain(sentence),
    }
}

/// What is wrong with the host, as far as it was seen.
fn fault(policy: &Policy, answer: &Answer, host: &MxName, seen: &Seen) -> Option<Fault> {
    let domain = answer.domain_name();
    let fault = |result, reason_code: &str, wrong, remedy: Cow<'static, str>| {
        Some(Fault {
            result,
            reason_code: reason_code.to_owned(),
            wrong,
            given: String::new(),
            remedy,
        })
    };
    // The name comes first: a host that the policy does not list is wrong however good its certificate is.
    let host = match host.host() {
        Ok(host) => host,
        Err(error) => {
            return fault(
                ResultType::ValidationFailure,
                MX_NOT_A_HOST_NAME,
                format!(
                    "an MX record of {domain} has {:?}, which is not a host name and so not in its MTA-STS policy: {error}",
                    host.as_str()
                ),
                "The domain's administrator must correct the MX record.".into(),
            );
        }
    };
    if !policy.allows_mx(host) {
        return fault(
            ResultType::ValidationFailure,
            MX_NOT_IN_POLICY,
            format!("{host} is not in the MTA-STS policy of {domain}"),
            match mx::near_miss_sentence(policy.mx(), host) {
                Some(near) => format!("{near} The domain's administrator must correct the policy.").into(),
                None => MOVED.into(),
            },
        );
    }
    let (result, reason_code) = found(seen)?;
    let (wrong, remedy) = match seen {
        Seen::Name | Seen::Certificate(Ok(())) => return None,
        Seen::StarttlsNotOffered => (
            format!("the EHLO reply of {host} does not offer STARTTLS, which the MTA-STS policy of {domain} requires"),
            "The host's administrator must enable STARTTLS; if it is enabled, something on the path is stripping it.",
        ),
        Seen::StarttlsRefused => (
            format!("{host} rejects the STARTTLS command, which the MTA-STS policy of {domain} requires"),
            "The host's administrator must repair TLS.",
        ),
        Seen::HandshakeFailed(reason) => (
            format!(
                "the TLS handshake with {host}, an MX host of {domain}, failed: {}",
                one_line(reason, 200)
            ),
            "The host's administrator must repair TLS (TLS 1.2 or newer).",
        ),
        Seen::Certificate(Err(failure)) => (
            format!(
                "{host} sent a certificate that the MTA-STS policy of {domain} does not accept: {}",
                one_line(&failure.reason, 300)
            ),
            certificate_remedy(result),
        ),
    };
    fault(result, &reason_code, wrong, remedy.into())
}

/// What a report calls a sight that is a failure, whatever the policy says of it (RFC 8460 4.3.1), and its
/// failure-reason-code.
pub(super) fn found(seen: &Seen) -> Option<(ResultType, String)> {
    match seen {
        Seen::Name | Seen::Certificate(Ok(())) => None,
        Seen::StarttlsNotOffered => Some((ResultType::StarttlsNotSupported, "starttls-not-offered".into())),
        Seen::StarttlsRefused => Some((ResultType::StarttlsNotSupported, "starttls-refused".into())),
        Seen::HandshakeFailed(reason) => Some((
            ResultType::ValidationFailure,
            format!("tls-handshake-failed: {}", one_line(reason, 200)),
        )),
        Seen::Certificate(Err(failure)) => {
            let token = certificate_token(failure.result).name();
            Some((failure.result, format!("{token}: {}", one_line(&failure.reason, 300))))
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
    format!("{}; listed: {}", short(answer), some_of(policy.mx()))
}

/// `; DNS gives: mx.example.org [mx-host-not-in-policy]`
fn given(hosts: &[(MxName, String)]) -> String {
    if hosts.is_empty() {
        return String::new();
    }
    let host = |(host, reason): &(MxName, String)| {
        let name = match host.host() {
            Ok(host) => host.to_string(),
            Err(_) => format!("{:?}", ascii_line(host.as_str(), REASON)),
        };
        match ascii_line(reason, REASON) {
            reason if reason.is_empty() => name,
            reason => format!("{name} [{reason}]"),
        }
    };
    format!("; DNS gives: {}", some_of(hosts.iter().map(host)))
}

/// The first names, and how many more there are.
fn some_of(mut names: impl ExactSizeIterator<Item: fmt::Display>) -> String {
    let mut text = String::new();
    for name in names.by_ref().take(LISTED) {
        let _ = write!(text, "{}{name}", if text.is_empty() { "" } else { ", " });
        if text.len() > LISTED_OCTETS {
            break;
        }
    }
    if names.len() > 0 {
        let _ = write!(text, " and {} more", names.len());
    }
    text
}

fn short(answer: &Answer) -> String {
    let id = answer.cached().map_or("", |h| h.id.as_str());
    let source = match (answer.source(), answer.pinned_until()) {
        (_, Some(_)) => ", pinned by the operator",
        (Source::CachedAfterFailure, _) => ", cached",
        _ => "",
    };
    let mode = answer.policy().map_or(Mode::None, Policy::mode);
    format!("mode {mode}, id {id}{source}")
}

#[cfg(test)]
pub(super) mod tests;
