//! Answers and verdicts.

use std::sync::Arc;

use mtasts::{Failure, MxName, NoHost, verdict_without_host};
use napi_derive::napi;

use crate::error::{Result, argument, guarded, name};

/// The answer of a lookup.
#[napi]
pub struct Answer {
    answer: Arc<mtasts::Answer>,
}

/// What the MTA must do with a host.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Verdict {
    /// What to do.
    pub action: &'static str,
    /// The result type for a report.
    pub result: Option<&'static str>,
    /// The failure-reason-code of a report.
    pub reason_code: String,
    /// One line for the log.
    pub sentence: String,
    /// Whether mail may go to the host.
    pub delivers: bool,
    /// Whether the mail waits.
    pub defers: bool,
}

impl From<mtasts::Verdict> for Verdict {
    fn from(verdict: mtasts::Verdict) -> Self {
        Self {
            action: verdict.action.name(),
            delivers: verdict.action.delivers(),
            defers: verdict.action.defers(),
            result: verdict.result.map(mtasts::ResultType::name),
            reason_code: verdict.reason_code,
            sentence: verdict.sentence,
        }
    }
}

impl From<Arc<mtasts::Answer>> for Answer {
    fn from(answer: Arc<mtasts::Answer>) -> Self {
        Self { answer }
    }
}

impl Answer {
    pub(crate) const fn inner(&self) -> &Arc<mtasts::Answer> {
        &self.answer
    }

    /// Reads something off the answer.
    fn read<T>(&self, read: impl FnOnce(&mtasts::Answer) -> T) -> Result<T> {
        guarded(|| Ok(read(&self.answer)))
    }
}

/// A time in seconds as JavaScript has it.
fn time(seconds: u64) -> f64 {
    seconds as f64 * 1000.0
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

#[napi]
impl Answer {
    /// The policy domain.
    #[napi(getter)]
    pub fn domain(&self) -> Result<Option<String>> {
        self.read(|answer| answer.domain().map(ToString::to_string))
    }

    /// The mode of the policy.
    #[napi(getter)]
    pub fn mode(&self) -> Result<&'static str> {
        self.read(|answer| answer.mode().name())
    }

    /// Where the answer came from.
    #[napi(getter)]
    pub fn source(&self) -> Result<&'static str> {
        self.read(|answer| answer.source().name())
    }

    /// The id of the policy.
    #[napi(getter)]
    pub fn id(&self) -> Result<Option<String>> {
        self.read(|answer| answer.cached().map(|cached| cached.id.as_str().to_owned()))
    }

    /// When the policy was fetched, in milliseconds.
    #[napi(getter)]
    pub fn fetched(&self) -> Result<Option<f64>> {
        self.read(|answer| answer.cached().map(|cached| time(cached.fetched)))
    }

    /// Until when the policy is in force, in milliseconds.
    #[napi(getter)]
    pub fn expires(&self) -> Result<Option<f64>> {
        self.read(|answer| answer.cached().map(|cached| time(cached.expires())))
    }

    /// Until when mail must wait, in milliseconds.
    #[napi(getter)]
    pub fn defer_until(&self) -> Result<Option<f64>> {
        self.read(|answer| answer.defer_until().map(time))
    }

    /// The MX patterns of the policy.
    #[napi(getter)]
    pub fn mx(&self) -> Result<Vec<String>> {
        let patterns = |policy: &mtasts::Policy| policy.mx().map(|pattern| pattern.to_string()).collect();
        self.read(|answer| answer.policy().map(patterns).unwrap_or_default())
    }

    /// The policy as the policy host sent it.
    #[napi(getter)]
    pub fn policy_text(&self) -> Result<Option<String>> {
        self.read(|answer| {
            answer
                .cached()
                .map(|cached| String::from_utf8_lossy(cached.text.as_ref()).into_owned())
        })
    }

    /// The result type of what prevented a current policy.
    #[napi(getter)]
    pub fn result(&self) -> Result<Option<&'static str>> {
        self.read(|answer| Some(answer.failure()?.result?.name()))
    }

    /// What prevented a current policy.
    #[napi(getter)]
    pub fn detail(&self) -> Result<String> {
        self.read(|answer| text(answer.failure().map(|Failure { detail, .. }| &**detail)))
    }

    /// What is wrong with the cache on this host.
    #[napi(getter)]
    pub fn warning(&self) -> Result<String> {
        self.read(|answer| text(answer.warning()))
    }

    /// The whole answer in one sentence.
    #[napi(getter)]
    pub fn explanation(&self) -> Result<String> {
        self.read(mtasts::Answer::explain)
    }

    /// Whether the policy lists a host. What is not a host name is not listed.
    #[napi]
    pub fn allows_mx(&self, host: String) -> Result<bool> {
        self.read(|answer| {
            let policy = answer.policy();
            policy.is_some_and(|policy| name(&host).is_ok_and(|host| policy.allows_mx(&host)))
        })
    }

    /// Whether a host that fails the policy gets no mail.
    #[napi(getter)]
    pub fn enforces(&self) -> Result<bool> {
        self.read(mtasts::Answer::enforces)
    }

    /// Whether a policy asks anything of the hosts.
    #[napi(getter)]
    pub fn applies(&self) -> Result<bool> {
        self.read(mtasts::Answer::applies)
    }

    /// Whether another answer says the same.
    #[napi]
    #[allow(clippy::use_self, reason = "napi's macro knows no `Self` among the arguments")]
    pub fn is_same_policy(&self, other: &Answer) -> Result<bool> {
        self.read(|answer| answer.is_same_policy(&other.answer))
    }

    /// What to do with a mail for which there is no host. `reasons` has an element for each of the hosts that DNS gave.
    #[napi]
    pub fn verdict_without_host(&self, why: String, hosts: Vec<String>, reasons: Vec<String>) -> Result<Verdict> {
        guarded(|| {
            let why = NoHost::from_name(&why).ok_or_else(|| argument(&why, "a reason why there is no host"))?;
            let hosts: Vec<_> = hosts.iter().map(|host| MxName::from_mx(host)).zip(reasons).collect();
            Ok(verdict_without_host(&self.answer, why, &hosts).into())
        })
    }
}
