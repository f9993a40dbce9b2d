//! The lookup: the one place that knows the order of things (RFC 8461 3, 5.1).
//!
//! What is known of a domain goes in, an answer and what is known now come out. The cache on disk is the caller's:
//! here is only what the RFC says, so that it can be tested second by second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::entry::{CachedPolicy, Entry, FailedFetch, TxtSeen};
use crate::network::dns::{Dns, DnsError};
use crate::network::https::{FetchError, Https};
use crate::protocol::calendar;
use crate::protocol::names::Domain;
use crate::protocol::policy::Mode;
use crate::protocol::record::{PolicyId, Record};
use crate::protocol::text::Line;
use crate::protocol::words::ResultType;
use crate::sender::answer::{Answer, Failure, Source};
use crate::sender::notice::{Notice, Token};
use crate::sender::settings::Settings;

/// After a failed fetch there is no other for the same id within this time, in seconds (RFC 8461 3.3: "five minutes").
pub const FETCH_PAUSE: u64 = 300;
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

    /// The policy of this id is fetched now. `entry` is what is known by then.
    fn fetch_begins(&self, _entry: &Entry, _id: PolicyId) {}
}

/// Who shares nothing fetches alone.
impl SingleFlight for () {
    fn lease(&self, _: &Domain, _: Instant) -> Option<Entry> {
        None
    }
}

/// Nobody was asked, because of trouble of our own (in words), and nothing is known of the domain: its mail must wait. What
/// this host cannot do is never taken for what a domain does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAsked(pub String);

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
    /// Answers from what is known alone; no network is touched. An empty answer says that nothing could be learnt.
    #[must_use]
    pub fn from_cache(entry: &Entry, now: u64) -> Answer {
        match entry.live(now) {
            Some(cached) => Answer::of_policy(entry.domain.clone(), Source::Cached, cached.clone(), None)
                .with_pin(entry.pinned(now)),
            None => {
                let why = match &entry.cached {
                    Some(_) => "the cached policy has expired",
                    None => "no policy is cached",
                };
                let failure = Failure {
                    result: None,
                    detail: format!("{why}, and the network was not asked").into(),
                };
                Answer::unlearned(entry.domain.clone(), failure, None)
            }
        }
    }

    /// Answers from what is known where the network had no time to, and notes that as a failure of DNS: the next one to
    /// ask, whoever that is, goes on from here.
    #[must_use]
    pub fn unanswered(entry: &mut Entry, settings: &Settings, now: u64) -> Answer {
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
    pub fn unfetched(entry: &mut Entry, id: PolicyId, settings: &Settings, now: u64) -> Answer {
        let result = ResultType::StsPolicyFetchError;
        let failed = FailedFetch::new(id, now, result, "the policy host did not answer in time");
        let detail = failed.detail.clone();
        entry.failed = Some(failed);
        unfetched(entry, settings, Some(result), detail, now)
    }

    /// The answer where no network is needed: the policy counts, and its TXT record is not due.
    #[must_use]
    pub fn hit(entry: &Entry, settings: &Settings, now: u64) -> Option<Answer> {
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
            _ => Answer::of_policy(entry.domain.clone(), Source::Cached, cached.clone(), None),
        })
    }

    /// Answers where the caller's time is over and the network has not answered. A policy that counts is kept. Whether
    /// the domain is at fault is not known yet, so nothing is reported, and the mail of a domain of which nothing is
    /// known waits where `first_contact_defer` asks for that: `entry` then says since when.
    #[must_use]
    pub fn out_of_time(entry: &mut Entry, settings: &Settings, now: u64) -> Answer {
        let failure = Failure {
            result: None,
            detail: "the lookup timed out".into(),
        };
        match entry.live(now) {
            Some(cached) => {
                let domain = entry.domain.clone();
                Answer::of_policy(domain, Source::CachedAfterFailure, cached.clone(), Some(failure))
            }
            None => first_contact(entry, settings, failure, now),
        }
    }

    /// Answers, and brings `entry` up to date. `now` is in Unix seconds; the deadline bounds the network's part.
    ///
    /// # Errors
    /// [`NotAsked`]: trouble of our own, and no policy counts.
    pub fn run(&self, entry: &mut Entry, ask: Ask, now: u64, deadline: Instant) -> Result<Answer, NotAsked> {
        if ask == Ask::Delivery
            && let Some(answer) = Self::hit(entry, self.settings, now)
        {
            return Ok(answer);
        }
        if entry.pinned(now).is_some() {
            return Ok(Self::from_cache(entry, now));
        }
        if Instant::now() >= deadline {
            return Self::not_asked(entry, "the time ran out before DNS was asked".to_owned(), now);
        }
        let (txt, begun) = (entry.txt.clone(), Instant::now());
        let answer = match self.ask_dns(entry, now, deadline) {
            record if ask == Ask::Refresh => self.refresh(entry, record, (now, begun), deadline),
            Ok(record) => self.announced(entry, record, (now, begun), deadline),
            Err(why) => self.unannounced(entry, why, now),
        };
        answer.or_else(|NotAsked(why)| {
            // The next one to ask begins where this one did.
            entry.txt = txt;
            Self::not_asked(entry, why, now)
        })
    }

    /// Answers where nobody was asked because of trouble of our own. Nothing is noted: it is not the domain's failure.
    ///
    /// # Errors
    /// [`NotAsked`]: no policy counts.
    pub fn not_asked(entry: &Entry, why: String, now: u64) -> Result<Answer, NotAsked> {
        match entry.live(now) {
            Some(cached) => {
                let failure = Failure {
                    result: None,
                    detail: why.into(),
                };
                Ok(kept(entry, cached.clone(), failure))
            }
            None => Err(NotAsked(why)),
        }
    }

    /// Asks for the record, and notes when it is due again.
    fn ask_dns(&self, entry: &mut Entry, now: u64, deadline: Instant) -> Result<Record, NoRecord> {
        let (shortest, longest) = (
            self.settings.txt_life_min.as_secs(),
            self.settings.txt_life_max.as_secs(),
        );
        let answer = self.dns.txt(&format!("_mta-sts.{}", entry.domain), deadline);
        let life = answer
            .as_ref()
            .map_or(shortest, |txt| txt.ttl.as_secs().min(longest).max(shortest));
        entry.txt = Some(TxtSeen {
            at: now,
            next: now.saturating_add(life),
        });
        match answer {
            Ok(txt) => Record::find(&txt.data).map_err(|e| NoRecord::Absent(e.to_string())),
            Err(e) if e.is_absence() => Err(NoRecord::Absent(format!("no TXT record: {e}"))),
            Err(DnsError::Own(why)) => Err(NoRecord::Own(why)),
            Err(e) => Err(NoRecord::Unlearned(e)),
        }
    }

    /// A valid record: its id decides whether to fetch (RFC 8461 3.3, 5.1). The lookup began at the time `now`, which was
    /// `begun` by the clock that nobody sets.
    fn announced(
        &self,
        entry: &mut Entry,
        record: Record,
        (now, begun): (u64, Instant),
        deadline: Instant,
    ) -> Result<Answer, NotAsked> {
        if let Some(answer) = self.without_fetch(entry, &record, now) {
            return Ok(answer);
        }
        if let Some(known) = self.flight.lease(&entry.domain, deadline) {
            // Another one may have been in the air, and what it brought is fresher than what we knew.
            entry.join(&known);
            if entry.pinned(now).is_some() {
                return Ok(Self::from_cache(entry, now));
            }
            if let Some(answer) = self.without_fetch(entry, &record, now) {
                return Ok(answer);
            }
        }
        self.fetch(entry, record.id, now + begun.elapsed().as_secs(), deadline)
    }

    /// No valid record. That takes nothing away from a policy that counts (RFC 8461 3.1), because whoever controls
    /// DNS could take it away otherwise.
    fn unannounced(&self, entry: &mut Entry, why: NoRecord, now: u64) -> Result<Answer, NotAsked> {
        if let NoRecord::Own(why) = why {
            return Err(NotAsked(why));
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
                Answer::none(entry.domain.clone(), failure)
            }
            _ => first_contact(entry, self.settings, failure, now),
        })
    }

    /// RFC 8461 10.2: a refresh goes to the policy host whatever DNS says, under the id that is known.
    fn refresh(
        &self,
        entry: &mut Entry,
        record: Result<Record, NoRecord>,
        (now, begun): (u64, Instant),
        deadline: Instant,
    ) -> Result<Answer, NotAsked> {
        let id = match (record, entry.live(now)) {
            (Ok(record), _) => record.id,
            (Err(_), Some(cached)) => cached.id,
            (Err(why), None) => return self.unannounced(entry, why, now),
        };
        self.fetch(entry, id, now + begun.elapsed().as_secs(), deadline)
    }

    fn fetch(&self, entry: &mut Entry, id: PolicyId, now: u64, deadline: Instant) -> Result<Answer, NotAsked> {
        let begun = Instant::now();
        self.flight.fetch_begins(entry, id);
        let got = match self.https.get(&entry.domain, deadline) {
            Ok(body) => Ok(body),
            Err(FetchError::Host { result, detail }) => Err((result, detail)),
            Err(FetchError::Own(why)) => return Err(NotAsked(why)),
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
                Answer::of_policy(entry.domain.clone(), Source::Fresh, cached, None).with_alert(alert)
            }
            Err((result, detail)) => {
                let failed = FailedFetch::new(id, now, result, &detail);
                let detail = failed.detail.clone();
                let cut_short = Instant::now() >= deadline && deadline < begun + fair_time(self.settings);
                if !cut_short {
                    entry.failed = Some(failed);
                }
                // What the host did not do in a time that was too short is nothing to report.
                let result = (!cut_short).then_some(result);
                unfetched(entry, self.settings, result, detail, now)
            }
        })
    }

    /// The answer where the announced id needs no fetch: it is the one that we hold, or it could not be fetched just now.
    fn without_fetch(&self, entry: &mut Entry, record: &Record, now: u64) -> Option<Answer> {
        if entry.live(now).is_some() {
            entry.unlearned_since = None;
        }
        if let Some(cached) = entry.live(now).filter(|cached| cached.id == record.id).cloned() {
            // A fetch of another id is not wanted any more. One of this id failed in a refresh, and the next refresh minds
            // it.
            entry.failed = entry.failed.take().filter(|failed| failed.id == record.id);
            return Some(Answer::of_policy(entry.domain.clone(), Source::Cached, cached, None));
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

/// The answer after a fetch that failed.
fn unfetched(entry: &mut Entry, settings: &Settings, result: Option<ResultType>, detail: Line, now: u64) -> Answer {
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
fn first_contact(entry: &mut Entry, settings: &Settings, failure: Failure, now: u64) -> Answer {
    let wait = settings.first_contact_defer.as_secs();
    let since = entry.unlearned_since.filter(|since| *since <= now).unwrap_or(now);
    // Only where it is of use: without the setting a broken name server leaves no trace on the disk.
    entry.unlearned_since = (wait > 0).then_some(since);
    let until = since.saturating_add(wait);
    Answer::unlearned(entry.domain.clone(), failure, (now < until).then_some(until))
}

/// The id that DNS announces could not be fetched, and the pause is on.
fn still_failed(entry: &Entry, cached: Arc<CachedPolicy>, failed: &FailedFetch) -> Answer {
    let mut failure = paused(failed);
    failure.result = reportable(&cached, failed.result);
    Answer::of_policy(entry.domain.clone(), Source::CachedAfterFailure, cached, Some(failure))
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
fn kept(entry: &Entry, cached: Arc<CachedPolicy>, failure: Failure) -> Answer {
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
    Answer::of_policy(domain.clone(), Source::CachedAfterFailure, cached, Some(failure)).with_alert(alert)
}
