//! What we know of one policy domain, and the readable file that holds it.
//!
//! ```text
//! mtasts 1 <SHA-256 of all that follows this line, in hex>
//! domain: example.com
//! policy-id: 20160831085700Z
//! fetched: 1790000000
//! mode-since: 1780000000
//! txt-seen: 1790000000
//! txt-next: 1790003600
//! used: 1790000000
//!
//! version: STSv1
//! mode: enforce
//! ...
//! ```
//!
//! Times are Unix seconds. After the blank line is the policy text as it came, so that what we enforce is always what
//! the parser reads in the domain's own words. A file that is not exactly as it was written is ignored.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::protocol::names::Domain;
use crate::protocol::policy::{MAX_MAX_AGE, MAX_POLICY, Policy, PolicyError};
use crate::protocol::record::PolicyId;
use crate::protocol::text::{Line, one_line};
use crate::protocol::words::ResultType;

/// The format's version. A reader that meets another one leaves the file alone and looks the policy up.
const FORMAT: &str = "mtasts 1 ";
/// The longest file in octets: the policy, and a header that is far smaller.
pub const MAX_FILE: usize = MAX_POLICY + 8192;
/// The longest detail of a failure that is kept, in octets.
const MAX_DETAIL: usize = 500;
/// How far the clock of a host may be ahead of that of the file server on which its cache is, in seconds.
const CLOCKS_DIFFER: u64 = 300;
/// The precision of the time of the last use, in seconds: a busy mail server must not write for each mail.
const USE_NOTED: u64 = 86_400;

/// What we know of one policy domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The policy domain.
    pub domain: Domain,
    /// The cached policy, whether or not it has expired.
    pub cached: Option<Arc<CachedPolicy>>,
    /// When the TXT record was last asked for, and when it is due again.
    pub txt: Option<TxtSeen>,
    /// The last fetch that failed (RFC 8461 3.3: no other for the same id within five minutes).
    pub failed: Option<FailedFetch>,
    /// Since when DNS has been broken for a domain of which we know nothing (D-02).
    pub unlearned_since: Option<u64>,
    /// Since when there has been a policy of the cached policy's mode, without a gap.
    pub mode_since: Option<u64>,
    /// When the policy was taken over from another server's cache; `None` once it has been fetched here.
    pub imported: Option<u64>,
    /// Until when the policy is the operator's own, which no fetch replaces.
    pub pinned_until: Option<u64>,
    /// When a lookup last asked for the domain, to a day.
    pub used: Option<u64>,
    /// Since when each refresh has found nothing worth keeping here.
    pub idle_since: Option<u64>,
}

/// A fetched policy. [`CachedPolicy::new`] makes it of its text, so that the two never differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedPolicy {
    /// The id of the TXT record that announced it.
    pub id: PolicyId,
    /// When it was fetched, in Unix seconds. Its lifetime begins here, and nothing else extends it (D-13).
    pub fetched: u64,
    /// The policy text as it came.
    pub text: String,
    /// What the text says.
    pub policy: Policy,
}

/// The state of the TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxtSeen {
    /// When DNS was asked, in Unix seconds.
    pub at: u64,
    /// Until when it need not be asked again, in Unix seconds.
    pub next: u64,
}

/// A fetch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedFetch {
    /// The id that was to be fetched.
    pub id: PolicyId,
    /// When, in Unix seconds.
    pub at: u64,
    /// What it is called in a report.
    pub result: ResultType,
    /// What happened, in plain words: at most 500 octets.
    pub detail: Line,
}

impl FailedFetch {
    /// A fetch of the policy of this id that failed at this time. The detail is cut if it is too long.
    #[must_use]
    pub fn new(id: PolicyId, at: u64, result: ResultType, detail: &str) -> Self {
        let detail = Line::cut(detail, MAX_DETAIL);
        Self { id, at, result, detail }
    }
}

/// Why a file does not hold an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// The first line is not ours, or of another version of the format.
    Format,
    /// The digest does not match: the file was truncated, damaged or edited.
    Digest,
    /// A line of the header cannot be read.
    Head(String),
    /// The entry is of another domain.
    OtherDomain,
    /// The policy text is not valid.
    Policy(String),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("not a file of this version of mtasts"),
            Self::Digest => f.write_str("the checksum does not match: the file was truncated or changed"),
            Self::Head(line) => write!(f, "cannot read the line {line:?}"),
            Self::OtherDomain => f.write_str("the file is for another domain"),
            Self::Policy(e) => write!(f, "the stored policy is not valid: {e}"),
        }
    }
}

impl std::error::Error for EntryError {}

impl CachedPolicy {
    /// A policy of this text, announced under this id and fetched at this time.
    ///
    /// # Errors
    /// A [`PolicyError`]: the text is not a valid policy.
    pub fn new(id: PolicyId, fetched: u64, text: impl Into<Vec<u8>>) -> Result<Self, PolicyError> {
        let text = text.into();
        let (policy, _) = Policy::parse(&text)?;
        let text = String::from_utf8(text).map_err(|_| PolicyError::not_utf8())?;
        Ok(Self {
            id,
            fetched,
            text,
            policy,
        })
    }

    /// The last second, in Unix time, at which the policy is in force (RFC 8461 5.1: "has not exceeded max_age").
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.fetched.saturating_add(u64::from(self.policy.max_age()))
    }

    /// Whether the policy is in force at this time. A fetch in the future means that the clock went back, and the
    /// policy is treated as fetched now (D-21).
    #[must_use]
    pub fn is_live(&self, now: u64) -> bool {
        now <= self.expires()
    }
}

impl Entry {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new(domain: Domain) -> Self {
        Self {
            domain,
            cached: None,
            txt: None,
            failed: None,
            unlearned_since: None,
            mode_since: None,
            imported: None,
            pinned_until: None,
            used: None,
            idle_since: None,
        }
    }

    /// Whether there is nothing worth a file.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cached.is_none() && self.failed.is_none() && self.unlearned_since.is_none()
    }

    /// The policy, if it is in force at this time.
    #[must_use]
    pub fn live(&self, now: u64) -> Option<&Arc<CachedPolicy>> {
        self.cached.as_ref().filter(|cached| cached.is_live(now))
    }

    /// Until when the operator's own policy is pinned, if it is at this time.
    #[must_use]
    pub fn pinned(&self, now: u64) -> Option<u64> {
        self.pinned_until
            .filter(|until| now <= *until && self.live(now).is_some())
    }

    /// Takes over the policy of another entry of the same domain, with all that belongs to it.
    pub(crate) fn take_policy_of(&mut self, other: &Self) {
        self.cached.clone_from(&other.cached);
        self.mode_since = other.mode_since;
        self.imported = other.imported;
        self.pinned_until = other.pinned_until;
    }

    /// Takes over what another source knows better: the disk, if this process could not write to it, or the process
    /// that had the lock before. The policy that was fetched later wins, and the last answer of DNS.
    pub(crate) fn join(&mut self, other: &Self) {
        let fetched = |entry: &Self| entry.cached.as_ref().map(|cached| cached.fetched);
        let at = |entry: &Self| entry.failed.as_ref().map(|failed| failed.at);
        // What failed before a fetch that succeeded is over.
        if fetched(other) > fetched(self) || (fetched(other) == fetched(self) && at(other) > at(self)) {
            self.failed.clone_from(&other.failed);
        }
        if fetched(other) >= fetched(self) {
            self.take_policy_of(other);
        }
        if other.txt.as_ref().map(|txt| txt.at) > self.txt.as_ref().map(|txt| txt.at) {
            self.txt.clone_from(&other.txt);
            self.unlearned_since = other.unlearned_since;
        }
        self.used = self.used.max(other.used);
        self.idle_since = other.idle_since;
    }

    /// Takes over the policy that another host of the fleet has fetched, if it is in force and was fetched later than ours,
    /// expired or not; and a fetch that failed later than all that we know. What is this host's own stays: its questions to
    /// DNS, its uses.
    pub(crate) fn adopt(&mut self, theirs: &Self, now: u64) {
        let fetched = |entry: &Self| entry.cached.as_ref().map(|cached| cached.fetched);
        let failed = |entry: &Self| entry.failed.as_ref().map(|failed| failed.at);
        if theirs.live(now).is_some() && fetched(self) < fetched(theirs) {
            self.take_policy_of(theirs);
            // What failed before that fetch is over.
            self.failed = self.failed.take().filter(|failed| Some(failed.at) > fetched(theirs));
        }
        if failed(theirs) > failed(self).max(fetched(self)) {
            self.failed.clone_from(&theirs.failed);
        }
    }

    /// What is to be on disk when a lookup has changed `before` to `after` and another process has meanwhile written
    /// `stored`: each field that the lookup changed as it left it, each other field as it is stored.
    pub(crate) fn merge(before: &Self, after: &Self, stored: &Self) -> Self {
        fn pick<T: Clone + PartialEq>(before: &T, after: &T, stored: &T) -> T {
            if after == before { stored } else { after }.clone()
        }
        let mut entry = Self {
            domain: before.domain.clone(),
            cached: pick(&before.cached, &after.cached, &stored.cached),
            txt: pick(&before.txt, &after.txt, &stored.txt),
            failed: pick(&before.failed, &after.failed, &stored.failed),
            unlearned_since: pick(&before.unlearned_since, &after.unlearned_since, &stored.unlearned_since),
            mode_since: pick(&before.mode_since, &after.mode_since, &stored.mode_since),
            imported: pick(&before.imported, &after.imported, &stored.imported),
            pinned_until: pick(&before.pinned_until, &after.pinned_until, &stored.pinned_until),
            used: pick(&before.used, &after.used, &stored.used),
            idle_since: pick(&before.idle_since, &after.idle_since, &stored.idle_since),
        };
        // The operator has pinned a policy meanwhile, or another lookup, which had the lock when we had none, has
        // fetched later than we did.
        let pinned = stored.pinned_until.is_some() && stored.pinned_until != before.pinned_until;
        let fetched = |entry: &Self| entry.cached.as_ref().map(|cached| cached.fetched);
        let later = stored.cached != before.cached && fetched(stored) > fetched(after);
        if pinned || later {
            entry.take_policy_of(stored);
        }
        entry
    }

    /// Notes that a lookup asks for the domain. Returns whether there was anything to note.
    pub fn note_use(&mut self, now: u64) -> bool {
        // A time in the future means that the clock went back.
        if self.used.is_some_and(|used| used.abs_diff(now) < USE_NOTED) {
            return false;
        }
        self.used = Some(now);
        true
    }

    /// The file.
    #[must_use]
    pub fn to_file(&self) -> String {
        let mut body = format!("domain: {}\n", self.domain);
        let mut line = |name: &str, value: &dyn fmt::Display| {
            let _ = writeln!(body, "{name}: {value}");
        };
        if let Some(cached) = &self.cached {
            line("policy-id", &cached.id);
            line("fetched", &cached.fetched);
        }
        let times = [
            ("mode-since", self.mode_since),
            ("imported", self.imported),
            ("pinned-until", self.pinned_until),
        ];
        for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
            line(name, &time);
        }
        if let Some(txt) = &self.txt {
            line("txt-seen", &txt.at);
            line("txt-next", &txt.next);
        }
        if let Some(failed) = &self.failed {
            line("failed-id", &failed.id);
            line("failed-at", &failed.at);
            line("failed-result", &failed.result);
            line("failed-detail", &failed.detail);
        }
        let times = [
            ("unlearned-since", self.unlearned_since),
            ("used", self.used),
            ("idle-since", self.idle_since),
        ];
        for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
            line(name, &time);
        }
        body.push('\n');
        body.push_str(self.cached.as_ref().map_or("", |h| &h.text));
        format!("{FORMAT}{}\n{body}", digest(&body))
    }

    /// Reads the file of this domain. An attacker may have written it, so each value has to pass the checks
    /// that it would have to pass if it came from DNS or HTTPS now.
    ///
    /// `written` is the last moment at which it can have been written, in Unix seconds, by a clock that its writer does
    /// not set: the file system's for a file, ours for a message. A time after that is cut to it, so that no policy lives
    /// longer than a year from there, whatever the file says. If it is later than two clocks may differ, the file lies:
    /// its policy is due to be fetched, and DNS to be asked. Our own clock now is not such a bound for a file: while it
    /// is wrong, it would take years from good policies.
    ///
    /// # Errors
    /// An [`EntryError`]; nothing of such a file is used.
    pub fn from_file(domain: &Domain, file: &[u8], written: u64) -> Result<Self, EntryError> {
        let text = std::str::from_utf8(file).map_err(|_| EntryError::Digest)?;
        let (first, body) = text.split_once('\n').ok_or(EntryError::Format)?;
        let sum = first.strip_prefix(FORMAT).ok_or(EntryError::Format)?;
        if sum != digest(body) {
            return Err(EntryError::Digest);
        }
        let (head, policy) = body.split_once("\n\n").ok_or(EntryError::Digest)?;
        let mut lines = Lines {
            rest: head.split('\n').peekable(),
            written,
        };
        if lines.required("domain")? != domain.as_str() {
            return Err(EntryError::OtherDomain);
        }
        let mut entry = Self::new(domain.clone());
        if let Some(id) = lines.id("policy-id")? {
            let fetched = lines.time("fetched", u64::MAX)?.ok_or_else(|| missing("fetched"))?;
            // A fetch that did not happen: the policy did not come from its host, and as an imported one it is due to be
            // fetched here. A time that is only cut to the present would not say so a second later.
            entry.imported = (fetched > lines.latest()).then_some(written);
            let cached = CachedPolicy::new(id, fetched.min(written), policy);
            entry.cached = Some(Arc::new(cached.map_err(|e| EntryError::Policy(e.to_string()))?));
        } else if !policy.is_empty() {
            return Err(missing("policy-id"));
        }
        entry.mode_since = lines.past_time("mode-since")?;
        entry.imported = lines.past_time("imported")?.or(entry.imported);
        entry.pinned_until = lines.time("pinned-until", u64::from(MAX_MAX_AGE))?;
        if let Some(at) = lines.time("txt-seen", u64::MAX)? {
            let next = lines.time("txt-next", u64::from(MAX_MAX_AGE))?;
            let next = next.ok_or_else(|| missing("txt-next"))?;
            // A question that was not asked is due.
            entry.txt = (at <= lines.latest()).then_some(TxtSeen {
                at: at.min(written),
                next,
            });
        }
        if let Some(id) = lines.id("failed-id")? {
            let at = lines.past_time("failed-at")?.ok_or_else(|| missing("failed-at"))?;
            let name = lines.required("failed-result")?;
            let result = ResultType::from_name(name).ok_or_else(|| EntryError::Head(one_line(name, 80)))?;
            entry.failed = Some(FailedFetch::new(id, at, result, lines.required("failed-detail")?));
        }
        entry.unlearned_since = lines.past_time("unlearned-since")?;
        entry.used = lines.past_time("used")?;
        entry.idle_since = lines.past_time("idle-since")?;
        match lines.rest.next() {
            None => Ok(entry),
            Some(line) => Err(EntryError::Head(one_line(line, 80))),
        }
    }
}

/// The lines of a header, in their one order.
struct Lines<'a, I: Iterator<Item = &'a str>> {
    rest: std::iter::Peekable<I>,
    /// The last moment at which they can have been written.
    written: u64,
}

impl<'a, I: Iterator<Item = &'a str>> Lines<'a, I> {
    fn optional(&mut self, name: &str) -> Option<&'a str> {
        let value = self.rest.peek()?.strip_prefix(name)?.strip_prefix(": ")?;
        self.rest.next();
        Some(value)
    }

    fn required(&mut self, name: &str) -> Result<&'a str, EntryError> {
        self.optional(name).ok_or_else(|| missing(name))
    }

    fn id(&mut self, name: &str) -> Result<Option<PolicyId>, EntryError> {
        let read = |id: &str| id.parse().map_err(|_| EntryError::Head(one_line(id, 80)));
        self.optional(name).map(read).transpose()
    }

    /// A time that cannot be later than so many seconds after the file was written.
    fn time(&mut self, name: &str, later: u64) -> Result<Option<u64>, EntryError> {
        let latest = self.written.saturating_add(later);
        let read = |text: &str| match text.parse::<u64>() {
            Ok(time) => Ok(time.min(latest)),
            Err(_) => Err(EntryError::Head(one_line(text, 80))),
        };
        self.optional(name).map(read).transpose()
    }

    /// The latest time of what had happened when the file was written, by a clock that may differ from the file system's.
    const fn latest(&self) -> u64 {
        self.written.saturating_add(CLOCKS_DIFFER)
    }

    /// The time of something that had happened when the file was written.
    fn past_time(&mut self, name: &str) -> Result<Option<u64>, EntryError> {
        self.time(name, 0)
    }
}

fn missing(name: &str) -> EntryError {
    EntryError::Head(name.to_owned())
}

fn digest(body: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
