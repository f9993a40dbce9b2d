//! The explainable answer of a lookup: the policy or its absence, where it came from, and what went wrong.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::cache::entry::CachedPolicy;
use crate::protocol::calendar;
use crate::protocol::names::{Domain, NameError};
use crate::protocol::policy::{Mode, Policy};
use crate::protocol::text::{Line, one_line};
use crate::protocol::words::{ResultType, Source};
use crate::sender::exception::Exception;
use crate::sender::notice::Notice;
use crate::sender::outcome::{Failure, Outcome};

/// The answer of a lookup. It never changes; clones are cheap where it stands behind an [`Arc`].
///
/// Thousands are kept in memory, so what a cached lookup reads stands together at the front, in one line of the
/// processor's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// Until when memory may repeat it, in Unix seconds.
    good_until: u64,
    /// The policy's, or what an exception makes of it: the most frequent question needs no look at them.
    mode: Mode,
    source: Source,
    trouble: Option<Box<Trouble>>,
    /// Nothing if the mail domain is not a domain name.
    domain: Option<Domain>,
    cached: Option<Arc<CachedPolicy>>,
}

/// What most answers do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trouble {
    failure: Option<Failure>,
    defer_until: Option<u64>,
    warning: Option<Notice>,
    alert: Option<Notice>,
    pinned_until: Option<u64>,
    exception: Option<Arc<Exception>>,
    /// What is told with it, and is no part of it.
    beside: Option<Notice>,
}

/// What the process that asked decides about an outcome, and no helper of it: what is the operator's, and how long the
/// answer is repeated.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Until when the policy is pinned by the operator, in Unix seconds.
    pub pinned_until: Option<u64>,
    /// The operator's exception for the domain.
    pub exception: Option<Arc<Exception>>,
    /// Until when memory may repeat the answer, in Unix seconds.
    pub good_until: u64,
    /// What is to be told now of what this answer does not depend on: the fleet.
    pub beside: Option<Notice>,
}

impl Outcome {
    /// The answer. There is no other way to make one for a domain name, so this is true of every such answer: if its source is a policy it has
    /// one, and otherwise it has none; if the policy is not current, or there is none, it says why; and mail waits only if
    /// nothing could be learnt.
    ///
    /// Nothing if the outcome contradicts that: root's helper sent it, and lies, or it is a defect.
    #[must_use]
    pub fn into_answer(self, decision: Decision) -> Option<Answer> {
        let (has_policy, has_failure) = match self.source {
            Source::Fresh | Source::Cached => (true, false),
            Source::CachedAfterFailure => (true, true),
            Source::NoPolicy | Source::CouldNotLearn => (false, true),
        };
        let may_wait = self.source == Source::CouldNotLearn;
        if (self.cached.is_some(), self.failure.is_some()) != (has_policy, has_failure)
            || (self.defer_until.is_some() && !may_wait)
        {
            return None;
        }
        let mode = self.cached.as_ref().map_or(Mode::None, |cached| cached.policy.mode());
        // An exception switches off enforcement, and a wait with it; elsewhere it changes nothing.
        let exception = decision
            .exception
            .filter(|_| mode == Mode::Enforce || self.defer_until.is_some());
        let trouble = Trouble {
            failure: self.failure,
            defer_until: self.defer_until.filter(|_| exception.is_none()),
            warning: self.warning,
            alert: self.alert,
            pinned_until: decision.pinned_until.filter(|_| has_policy),
            exception,
            beside: decision.beside,
        };
        Some(Answer {
            good_until: decision.good_until,
            mode: match mode {
                Mode::Enforce if trouble.exception.is_some() => Mode::Testing,
                mode => mode,
            },
            source: self.source,
            trouble: (trouble != Trouble::default()).then(|| Box::new(trouble)),
            domain: Some(self.domain),
            cached: self.cached,
        })
    }
}

impl Answer {
    /// The answer for a mail domain that is not a domain name (D-32). It can have no record `_mta-sts` and no policy
    /// host, so it has no policy (RFC 8461 3.4), and mail is delivered as usual. The owner of a mailbox chooses what its
    /// domain is called, and not an attacker.
    pub(crate) fn impossible(mail_domain: &str, why: NameError) -> Self {
        let detail = format!("{:?} is not a domain name ({why})", one_line(mail_domain, 100));
        Self {
            good_until: 0,
            mode: Mode::None,
            source: Source::NoPolicy,
            trouble: Some(Box::new(Trouble {
                failure: Some(Failure {
                    result: None,
                    detail: detail.into(),
                }),
                ..Trouble::default()
            })),
            domain: None,
            cached: None,
        }
    }

    pub(crate) const fn good_until(&self) -> u64 {
        self.good_until
    }

    /// The policy domain, in A-labels; nothing if the mail domain is not a domain name and so cannot have a policy.
    #[must_use]
    pub const fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// The policy domain for a sentence; empty if there is none.
    pub(crate) fn domain_name(&self) -> &str {
        self.domain().map_or("", Domain::as_str)
    }

    /// Where the answer came from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The policy that counts, or nothing.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.cached.as_ref().map(|h| &h.policy)
    }

    /// The policy with its id, its times and its text, or nothing.
    #[must_use]
    pub fn cached(&self) -> Option<&CachedPolicy> {
        self.cached.as_deref()
    }

    pub(crate) const fn cached_shared(&self) -> Option<&Arc<CachedPolicy>> {
        self.cached.as_ref()
    }

    /// The mode that the MTA has to mind; [`Mode::None`] where there is no policy: both mean that the domain asks nothing.
    ///
    /// It is that of the policy, but for one case: while the operator has made an exception for the domain, a policy of
    /// mode enforce is treated as one of mode testing. Nothing is refused, and what fails is reported.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a host that fails the policy gets no mail, so that a session with one needs verified TLS: the mode is
    /// enforce, and the operator has made no exception.
    #[must_use]
    pub const fn enforces(&self) -> bool {
        matches!(self.mode, Mode::Enforce)
    }

    /// Whether a policy asks anything of the MX hosts: the mode is enforce or testing. If not, no host is judged.
    #[must_use]
    pub const fn applies(&self) -> bool {
        !matches!(self.mode, Mode::None)
    }

    /// Whether another answer, such as that of a recheck, says the same: the mode that the MTA has to mind, the id and
    /// the MX patterns. When the policy was fetched does not count, because a refresh changes that each day. If the
    /// answers differ, mail that was refused under one of them deserves another attempt (RFC 8461 5).
    #[must_use]
    pub fn is_same_policy(&self, other: &Self) -> bool {
        self.policy_key() == other.policy_key()
    }

    /// What [`Answer::is_same_policy`] compares, as one line for a queue on disk: two answers have the same policy if and
    /// only if their keys are equal.
    #[must_use]
    pub fn policy_key(&self) -> String {
        let mut key = self.mode.name().to_owned();
        if let Some(cached) = self.cached() {
            let _ = write!(key, " {}", cached.id);
            cached.policy.mx().for_each(|pattern| {
                let _ = write!(key, " {pattern}");
            });
        }
        key
    }

    /// The operator's exception that switches enforcement off, where there is something to switch off.
    #[must_use]
    pub fn exception(&self) -> Option<&Exception> {
        self.trouble.as_ref()?.exception.as_deref()
    }

    /// Until when the policy is the operator's own, pinned by him, in Unix seconds; nothing where it was fetched.
    #[must_use]
    pub fn pinned_until(&self) -> Option<u64> {
        self.trouble.as_ref()?.pinned_until
    }

    /// What stood in the way of a current policy; where there is no policy, why there is none.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.trouble.as_ref()?.failure.as_ref()
    }

    /// What stood in the way of a current policy, if a report counts it: mail flows under an older policy that applies, or
    /// without one that the domain announces (RFC 8461 3.3, 6). A domain that has opted out is not reported.
    pub(crate) fn policy_failure(&self) -> Option<(ResultType, &Line)> {
        let failure = self.failure()?;
        let counts = self.applies() || self.source == Source::CouldNotLearn;
        failure
            .result
            .filter(|_| counts)
            .map(|result| (result, &failure.detail))
    }

    /// Until when mail must wait because nothing could be learnt, in Unix seconds (the setting `first_contact_defer`).
    #[must_use]
    pub fn defer_until(&self) -> Option<u64> {
        self.trouble.as_ref()?.defer_until
    }

    /// What is wrong on this host, where it kept us from using or writing the cache, in plain words on one line.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        Some(&self.trouble.as_ref()?.warning.as_ref()?.sentence)
    }

    /// What the administrator is to be told now: the refresh of a policy that counts has failed, or a policy has become
    /// weaker (RFC 8461 3.3, 10.2).
    #[must_use]
    pub fn alert(&self) -> Option<&str> {
        Some(&self.alert_notice()?.sentence)
    }

    pub(crate) fn alert_notice(&self) -> Option<&Notice> {
        self.trouble.as_ref()?.alert.as_ref()
    }

    /// What the administrator is to be told now, a line each.
    pub(crate) fn to_tell(&self) -> impl Iterator<Item = &Notice> {
        let trouble = self.trouble.as_deref();
        let others = trouble.map(|trouble| [&trouble.warning, &trouble.beside]);
        self.alert_notice()
            .into_iter()
            .chain(others.into_iter().flatten().flatten())
    }

    /// The answer in one sentence for a log.
    #[must_use]
    pub fn explain(&self) -> String {
        let domain = self.domain_name();
        let mut text = match (&self.cached, self.source) {
            (Some(cached), source) => {
                let how = match (source, self.pinned_until()) {
                    (_, Some(until)) => &*format!("pinned by the operator until {}", calendar::date_time(until)),
                    (Source::Fresh, _) => "fetched now",
                    (Source::CachedAfterFailure, _) => "cached, not renewed",
                    _ => "cached",
                };
                format!(
                    "{domain} has a policy in mode {}, id {} ({how})",
                    cached.policy.mode(),
                    cached.id
                )
            }
            (None, Source::CouldNotLearn) => format!("cannot tell whether {domain} has a policy"),
            (None, _) if self.domain.is_none() => "no policy is possible".to_owned(),
            (None, _) => format!("{domain} has no policy"),
        };
        if let Some(failure) = self.failure() {
            let _ = write!(text, ": {}", failure.detail);
        }
        if let Some(exception) = self.exception() {
            let _ = write!(text, "; {exception}");
        }
        if let Some(warning) = self.warning() {
            let _ = write!(text, "; {warning}");
        }
        text
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain())
    }
}
