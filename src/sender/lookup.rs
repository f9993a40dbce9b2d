//! The lookup: the one place that knows the order of things (RFC 8461 3, 5.1).
//!
//! What is known of a domain goes in, an outcome and what is known now come out. The cache on disk is the caller's:
//! here is only what the RFC says, so that it can be tested second by second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::entry::{CachedPolicy, Entry, FailedFetch, TxtSeen};
use crate::network::dns::{Dns, DnsError};
use crate::network::https::{FetchError, Https};
use crate::protocol::calendar;
use crate::protocol::names::Domain;
use crate::protocol::policy::{Mode, Policy};
use crate::protocol::record::{PolicyId, Record};
use crate::protocol::text::Line;
use crate::protocol::words::{ResultType, Source};
use crate::sender::notice::{Notice, Token};
use crate::sender::outcome::{Failure, Observed, Outcome};
use crate::sender::settings::Settings;

/// After a failed fetch there is no other for the same id within this time, in seconds (RFC 8461 3.3: "five minutes").
pub const FETCH_PAUSE: u64 = 300;
/// In seconds.
const DAY: u64 = 86_400;
/// A policy host that had less time than this when the caller's ended is not known to have failed. Otherwise one impatient
/// caller would keep all others, for five minutes, from a policy that they could have had.
const FAIR: Duration = Duration::from_secs(5);
/// How much time a stranger must have had before its silence is its failure.
pub(crate) fn fair_time(settings: &Settings) -> Duration {
    FAIR.min(settings.timeout / 2)
}

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// What a delivery needs: the cache, DNS where the TXT record is due, HTTPS where its id is new.
    Delivery,
    /// DNS is asked whether or not it is due: "is there a newer policy?", before a mail is bounced (RFC 8461 5).
    Recheck,
    /// The policy is fetched whatever DNS says, as a refresh before it expires (RFC 8461 10.2).
    Refresh,
}

/// One fetch at a time for each domain, among all who share a cache.
pub trait SingleFlight {
    /// Waits until nobody else fetches the policy of this domain, or for so long that most of the time until the deadline
    /// is left to fetch it, and gives what is known then: another one may have fetched it meanwhile. Nothing where there
    /// is nothing to share, or nothing new.
    fn lease(&self, domain: &Domain, deadline: Instant) -> Option<Entry>;

    /// What the other hosts of a fleet know of this domain. It is asked for where DNS would be asked next.
    fn hint(&self, _domain: &Domain, _now: u64) -> Option<Entry> {
        None
    }

    /// Waits until no other host of a fleet fetches the policy of this id, or for so long that most of the time is left to
    /// fetch it, and gives what another one has learnt of the domain.
    fn turn(&self, _domain: &Domain, _id: PolicyId, _deadline: Instant) -> Option<Entry> {
        None
    }

    /// The policy of this id is fetched now. `entry` is what is known by then.
    fn fetch_begins(&self, _entry: &Entry, _id: PolicyId) {}
}

/// Who shares nothing fetches alone.
impl SingleFlight for () {
    fn lease(&self, _: &Domain, _: Instant) -> Option<Entry> {
        None
    }
}

/// Nobody was asked, because of trouble of our own, and nothing is known of the domain: its mail must wait. What this host
/// cannot do is never taken for what a domain does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAsked {
    /// The trouble, in words.
    pub why: String,
    /// What the network said before.
    pub seen: Observed,
}

impl From<String> for NotAsked {
    fn from(why: String) -> Self {
        let seen = Observed::default();
        Self { why, seen }
    }
}

/// A lookup over DNS and HTTPS.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// The TXT records.
    pub dns: &'a dyn Dns,
    /// The policy hosts.
    pub https: &'a dyn Https,
    /// Who else fetches.
    pub flight: &'a dyn SingleFlight,
    /// The TXT record's bounds, and `first_contact_defer`.
    pub settings: &'a Settings,
}

impl Lookup<'_> {
    /// What is known already; no network is touched. Without a policy that says that nothing could be learnt.
    #[must_use]
    pub fn from_cache(entry: &Entry, now: u64) -> Outcome {
        match entry.live(now) {
            Some(cached) => Outcome::new(&entry.domain, Source::Cached, Some(cached.clone()), None),
            None => {
                let why = match &entry.cached {
                    Some(_) => "the cached policy has expired",
                    None => "no policy is cached",
                };
                let failure = Failure {
                    result: None,
                    detail: format!("{why}, and the network was not asked").into(),
                };
                Outcome::new(&entry.domain, Source::CouldNotLearn, None, Some(failure))
            }
        }
    }

    /// What is known if the network had no time to answer, and notes that as a failure of DNS: the next one to
    /// ask, whoever that is, goes on from here.
    #[must_use]
    pub fn unanswered(entry: &mut Entry, settings: &Settings, now: u64) -> Outcome {
        let detail = Line::new("neither DNS nor the policy host answered in time");
        entry.txt = Some(TxtSeen {
            at: now,
            next: now.saturating_add(settings.txt_life_min.as_secs()),
        });
        match entry.live(now) {
            Some(cached) => {
                let result = reportable(cached, ResultType::StsPolicyFetchError);
                kept(entry, cached.clone(), Failure { result, detail })
            }
            None => first_contact(entry, settings, Failure { result: None, detail }, now),
        }
    }

    /// The same where the policy of this id was being fetched: that is a failed fetch, and the next one comes after the pause.
    #[must_use]
    pub fn unfetched(entry: &mut Entry, id: PolicyId, settings: &Settings, now: u64) -> Outcome {
        let result = ResultType::StsPolicyFetchError;
        let failed = FailedFetch::new(id, now, result, "the policy host did not answer in time");
        let detail = failed.detail.clone();
        entry.failed = Some(failed);
        unfetched(entry, settings, Some(result), detail, now)
    }

    /// The outcome where no network is needed: the policy counts, and its TXT record is not due.
    #[must_use]
    pub fn hit(entry: &Entry, settings: &Settings, now: u64) -> Option<Outcome> {
        let cached = entry.live(now)?;
        if entry.pinned(now).is_some() {
            return Some(Self::from_cache(entry, now));
        }
        let txt = entry.txt.as_ref()?;
        // The process that asked may have had other settings; and a clock that went back must not silence the question
        // for a year.
        let next = txt.next.min(txt.at.saturating_add(settings.txt_life_max.as_secs()));
        if !(txt.at..next).contains(&now) {
            return None;
        }
        Some(match &entry.failed {
            // The id that DNS announced could not be fetched, and the pause is on: say so again.
            Some(failed) if failed.id != cached.id => still_failed(entry, cached.clone(), failed),
            _ => Outcome::new(&entry.domain, Source::Cached, Some(cached.clone()), None),
        })
    }

    /// The outcome if the caller's time is over before the network has answered. A policy in force stays in force. The
    /// domain may not be at fault, so nothing is reported. Without a policy the mail waits if `first_contact_defer` says
    /// so, and `entry` then says since when.
    #[must_use]
    pub fn out_of_time(entry: &mut Entry, settings: &Settings, now: u64) -> Outcome {
        let failure = Failure {
            result: None,
            detail: "the lookup timed out".into(),
        };
        match entry.live(now) {
            Some(cached) => Outcome::new(
                &entry.domain,
                Source::CachedAfterFailure,
                Some(cached.clone()),
                Some(failure),
            ),
            None => first_contact(entry, settings, failure, now),
        }
    }

    /// Looks the policy up, and brings `entry` up to date. `now` is in Unix seconds; the deadline bounds the network's part.
    ///
    /// # Errors
    /// [`NotAsked`]: trouble of our own, and no policy counts.
    pub fn run(&self, entry: &mut Entry, ask: Ask, now: u64, deadline: Instant) -> Result<Outcome, NotAsked> {
        if ask == Ask::Delivery
            && let Some(outcome) = Self::hit(entry, self.settings, now)
        {
            return Ok(outcome);
        }
        if entry.pinned(now).is_some() {
            return Ok(Self::from_cache(entry, now));
        }
        if Instant::now() >= deadline {
            return Self::not_asked(entry, "the time ran out before DNS was asked".to_owned(), now);
        }
        let (txt, ours) = (entry.txt.clone(), (entry.cached.clone(), entry.failed.clone()));
        if let Some(theirs) = self.flight.hint(&entry.domain, now) {
            entry.adopt(&theirs, now);
        }
        let mut run = Run {
            now,
            ours,
            begun: Instant::now(),
            deadline,
            seen: Observed::default(),
        };
        let outcome = match self.ask_dns(entry, &mut run) {
            record if ask == Ask::Refresh => self.refresh(entry, record, &mut run),
            Ok(record) => self.announced(entry, record, &mut run),
            Err(why) => self.unannounced(entry, why, now),
        };
        let outcome = outcome.or_else(|NotAsked { why, .. }| {
            // The next one to ask begins where this one did.
            entry.txt = txt;
            Self::not_asked(entry, why, now)
        });
        let seen = run.seen;
        match outcome {
            Ok(outcome) => Ok(Outcome { seen, ..outcome }),
            Err(NotAsked { why, .. }) => Err(NotAsked { why, seen }),
        }
    }

    /// The outcome if a failure of this host kept it from asking. Nothing is noted: it is not the domain's failure.
    ///
    /// # Errors
    /// [`NotAsked`]: no policy counts.
    pub fn not_asked(entry: &Entry, why: String, now: u64) -> Result<Outcome, NotAsked> {
        match entry.live(now) {
            Some(cached) => {
                let failure = Failure {
                    result: None,
                    detail: why.into(),
                };
                Ok(kept(entry, cached.clone(), failure))
            }
            None => Err(why.into()),
        }
    }

    /// Asks for the record, and notes when it is due again.
    fn ask_dns(&self, entry: &mut Entry, run: &mut Run) -> Result<Record, NoRecord> {
        let (shortest, longest) = (
            self.settings.txt_life_min.as_secs(),
            self.settings.txt_life_max.as_secs(),
        );
        let answer = self.dns.txt(&format!("_mta-sts.{}", entry.domain), run.deadline);
        let life = answer
            .as_ref()
            .map_or(shortest, |txt| txt.ttl.as_secs().min(longest).max(shortest));
        entry.txt = Some(TxtSeen {
            at: run.now,
            next: run.now.saturating_add(life),
        });
        match run.seen.txt.insert(answer.map(|txt| txt.data)) {
            Ok(records) => Record::find(records).map_err(|e| NoRecord::Absent(e.to_string())),
            Err(e) if e.is_absence() => Err(NoRecord::Absent(format!("no TXT record: {e}"))),
            Err(DnsError::Own(why)) => Err(NoRecord::Own(why.clone())),
            Err(e) => Err(NoRecord::Unlearned(e.clone())),
        }
    }

    /// A valid record: its id decides whether to fetch (RFC 8461 3.3, 5.1).
    fn announced(&self, entry: &mut Entry, record: Record, run: &mut Run) -> Result<Outcome, NotAsked> {
        if let Some(outcome) = self.without_fetch(entry, &record, run.now) {
            return Ok(outcome);
        }
        if let Some(known) = self.flight.lease(&entry.domain, run.deadline) {
            // Another one may have been in the air, and what it brought is fresher than what we knew.
            entry.join(&known);
            if entry.pinned(run.now).is_some() {
                return Ok(Self::from_cache(entry, run.now));
            }
            if let Some(outcome) = self.without_fetch(entry, &record, run.now) {
                return Ok(outcome);
            }
        }
        if let Some(theirs) = self.flight.turn(&entry.domain, record.id, run.deadline) {
            entry.adopt(&theirs, run.now);
            if let Some(outcome) = self.without_fetch(entry, &record, run.now) {
                return Ok(outcome);
            }
        }
        self.fetch(entry, record.id, run)
    }

    /// No valid record. That takes nothing away from a policy that counts (RFC 8461 3.1), because whoever controls
    /// DNS could take it away otherwise.
    fn unannounced(&self, entry: &mut Entry, why: NoRecord, now: u64) -> Result<Outcome, NotAsked> {
        if let NoRecord::Own(why) = why {
            return Err(why.into());
        }
        if let Some(cached) = entry.live(now) {
            let failure = Failure {
                result: reportable(cached, ResultType::StsPolicyFetchError),
                detail: why.to_string().into(),
            };
            return Ok(kept(entry, cached.clone(), failure));
        }
        let failure = Failure {
            result: None,
            detail: why.to_string().into(),
        };
        Ok(match why {
            NoRecord::Absent(_) => {
                entry.unlearned_since = None;
                Outcome::new(&entry.domain, Source::NoPolicy, None, Some(failure))
            }
            _ => first_contact(entry, self.settings, failure, now),
        })
    }

    /// RFC 8461 10.2: a refresh goes to the policy host whatever DNS says, under the id that is known.
    fn refresh(&self, entry: &mut Entry, record: Result<Record, NoRecord>, run: &mut Run) -> Result<Outcome, NotAsked> {
        let id = match (record, entry.live(run.now)) {
            (Ok(record), _) => record.id,
            (Err(_), Some(cached)) => cached.id,
            (Err(why), None) => return self.unannounced(entry, why, run.now),
        };
        if let Some(outcome) = refreshed_elsewhere(entry, id, run) {
            return Ok(outcome);
        }
        if let Some(theirs) = self.flight.turn(&entry.domain, id, run.deadline) {
            entry.adopt(&theirs, run.now);
            if let Some(outcome) = refreshed_elsewhere(entry, id, run) {
                return Ok(outcome);
            }
        }
        self.fetch(entry, id, run)
    }

    fn fetch(&self, entry: &mut Entry, id: PolicyId, run: &mut Run) -> Result<Outcome, NotAsked> {
        let (now, begun) = (run.now + run.begun.elapsed().as_secs(), Instant::now());
        self.flight.fetch_begins(entry, id);
        let body = self.https.get(&entry.domain, run.deadline);
        let got = match run.seen.body.insert(body).clone() {
            Ok(body) => Ok(body),
            Err(FetchError::Host { result, detail }) => Err((result, detail)),
            Err(FetchError::Own(why)) => return Err(why.into()),
        };
        let fetched = got.and_then(|body| {
            let invalid = |e: String| (ResultType::StsPolicyInvalid, format!("the policy is not valid: {e}"));
            CachedPolicy::new(id, now, body).map_err(|e| invalid(e.to_string()))
        });
        Ok(match fetched {
            Ok(cached) => {
                let cached = Arc::new(cached);
                let weaker = entry.live(now).is_some_and(|old| old.policy.mode() == Mode::Enforce)
                    && cached.policy.mode() != Mode::Enforce;
                let alert = weaker.then(|| {
                    let (domain, mode, id) = (&entry.domain, cached.policy.mode(), cached.id);
                    let sentence = format!("{domain}: the policy changed from enforce to {mode} (id {id})");
                    Notice::new(Token::PolicyWeakened, sentence)
                });
                entry.mode_since = Some(match entry.live(now) {
                    Some(old) if old.policy.mode() == cached.policy.mode() => entry.mode_since.unwrap_or(old.fetched),
                    _ => now,
                });
                (entry.failed, entry.imported, entry.pinned_until) = (None, None, None);
                entry.unlearned_since = None;
                entry.cached = Some(cached.clone());
                Outcome {
                    alert,
                    ..Outcome::new(&entry.domain, Source::Fresh, Some(cached), None)
                }
            }
            Err((result, detail)) => {
                let failed = FailedFetch::new(id, now, result, &detail);
                let detail = failed.detail.clone();
                let cut_short = Instant::now() >= run.deadline && run.deadline < begun + fair_time(self.settings);
                if !cut_short {
                    entry.failed = Some(failed);
                }
                // What the host did not do in a time that was too short is nothing to report.
                let result = (!cut_short).then_some(result);
                unfetched(entry, self.settings, result, detail, now)
            }
        })
    }

    /// The outcome where the announced id needs no fetch: it is the one that we hold, or it could not be fetched just now.
    fn without_fetch(&self, entry: &mut Entry, record: &Record, now: u64) -> Option<Outcome> {
        if entry.live(now).is_some() {
            entry.unlearned_since = None;
        }
        if let Some(cached) = entry.live(now).filter(|cached| cached.id == record.id).cloned() {
            // A fetch of another id is not wanted any more. One of this id failed in a refresh, and the next refresh minds
            // it.
            entry.failed = entry.failed.take().filter(|failed| failed.id == record.id);
            return Some(Outcome::new(&entry.domain, Source::Cached, Some(cached), None));
        }
        // Whoever failed may have begun after us, and the clock may have gone back: near in time is what counts.
        let pause = |failed: &&FailedFetch| failed.id == record.id && failed.at.abs_diff(now) < FETCH_PAUSE;
        let failed = entry.failed.clone().filter(|failed| pause(&failed))?;
        Some(match entry.live(now) {
            Some(cached) => still_failed(entry, cached.clone(), &failed),
            None => first_contact(entry, self.settings, paused(&failed), now),
        })
    }
}

/// The outcome of a refresh that another host of the fleet has done: it fetched the policy within the last quarter of the
/// time between two refreshes, or could not fetch it within the pause.
fn refreshed_elsewhere(entry: &Entry, id: PolicyId, run: &Run) -> Option<Outcome> {
    let cached = entry.live(run.now)?;
    if let Some(failed) = entry.failed.as_ref().filter(|_| entry.failed != run.ours.1)
        && failed.id == id
        && failed.at.abs_diff(run.now) < FETCH_PAUSE
    {
        return Some(still_failed(entry, cached.clone(), failed));
    }
    let age = run.now.saturating_sub(cached.fetched);
    let is_theirs = entry.cached != run.ours.0 && cached.id == id && age < refresh_period(&cached.policy) / 4;
    is_theirs.then(|| Outcome::new(&entry.domain, Source::Cached, Some(cached.clone()), None))
}

/// The time between two refreshes of a policy, in seconds: a day, or half of a shorter life (RFC 8461 10.2).
#[must_use]
pub fn refresh_period(policy: &Policy) -> u64 {
    DAY.min(u64::from(policy.max_age()) / 2)
}

/// The outcome of a fetch that failed.
fn unfetched(entry: &mut Entry, settings: &Settings, result: Option<ResultType>, detail: Line, now: u64) -> Outcome {
    match entry.live(now) {
        Some(cached) => {
            let result = result.and_then(|result| reportable(cached, result));
            kept(entry, cached.clone(), Failure { result, detail })
        }
        // RFC 8461 3.3: no policy obtainable and none held: deliver as if there were none, at once or when
        // `first_contact_defer` is over. It is reported, since the record says that there should be one (RFC 8461 6).
        None => first_contact(entry, settings, Failure { result, detail }, now),
    }
}

/// A lookup under way.
struct Run {
    /// When it began, in Unix seconds.
    now: u64,
    /// What this host knew then: its policy, and the fetch that had failed.
    ours: (Option<Arc<CachedPolicy>>, Option<FailedFetch>),
    /// The same by the clock that nobody sets.
    begun: Instant,
    deadline: Instant,
    seen: Observed,
}

/// Why there is no record to go by.
#[derive(Debug)]
enum NoRecord {
    /// DNS proves that there is none, or none that is valid.
    Absent(String),
    /// DNS did not say.
    Unlearned(DnsError),
    /// DNS was not asked.
    Own(String),
}

impl std::fmt::Display for NoRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent(why) | Self::Own(why) => f.write_str(why),
            Self::Unlearned(e) => write!(f, "the TXT record could not be looked up: {e}"),
        }
    }
}

/// Nothing is known of the domain and nothing could be learnt, from DNS or from the policy host that DNS announces: the
/// mail waits as long after the first failure as the setting asks for (D-02), and then flows.
fn first_contact(entry: &mut Entry, settings: &Settings, failure: Failure, now: u64) -> Outcome {
    let wait = settings.first_contact_defer.as_secs();
    let since = entry.unlearned_since.filter(|since| *since <= now).unwrap_or(now);
    // Only where it is of use: without the setting a broken name server leaves no trace on the disk.
    entry.unlearned_since = (wait > 0).then_some(since);
    let until = since.saturating_add(wait);
    Outcome {
        defer_until: (now < until).then_some(until),
        ..Outcome::new(&entry.domain, Source::CouldNotLearn, None, Some(failure))
    }
}

/// The id that DNS announces could not be fetched, and the pause is on.
fn still_failed(entry: &Entry, cached: Arc<CachedPolicy>, failed: &FailedFetch) -> Outcome {
    let mut failure = paused(failed);
    failure.result = reportable(&cached, failed.result);
    Outcome::new(&entry.domain, Source::CachedAfterFailure, Some(cached), Some(failure))
}

fn paused(failed: &FailedFetch) -> Failure {
    Failure {
        result: Some(failed.result),
        detail: format!("{} (the next attempt is five minutes after this one)", failed.detail).into(),
    }
}

/// RFC 8461 6: a failed refresh is reported unless the policy that we hold is of mode none.
fn reportable(cached: &CachedPolicy, result: ResultType) -> Option<ResultType> {
    (cached.policy.mode() != Mode::None).then_some(result)
}

/// The policy that we hold counts on, and the administrator is told, unless its mode is none (RFC 8461 3.3).
fn kept(entry: &Entry, cached: Arc<CachedPolicy>, failure: Failure) -> Outcome {
    let (domain, mode, id, expires) = (&entry.domain, cached.policy.mode(), &cached.id, cached.expires());
    let alert = (mode != Mode::None).then(|| {
        let why = &failure.detail;
        let until = calendar::date_time(expires);
        let sentence = format!(
            "{domain}: the policy could not be renewed, and the cached one stays in force (mode {mode}, id {id}, until \
             {until}): {why}"
        );
        Notice::new(Token::PolicyNotRenewed, sentence)
    });
    Outcome {
        alert,
        ..Outcome::new(&entry.domain, Source::CachedAfterFailure, Some(cached), Some(failure))
    }
}
