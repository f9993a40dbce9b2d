//! What becomes of the events that a TLS report counts (RFC 8460): they go to the journal in the cache directory (setting
//! `tlsrpt_journal`) and to a collector on this host (`tlsrpt_socket`). Both are off by default.
//!
//! Nothing here delays or harms a mail: a result that cannot be handed over at once is lost, and counted.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock, TryLockError};
use std::time::{Duration, Instant};

use super::helper::HELPER_GRACE;
use super::{Resolver, Shared, unix_now};
use crate::cache::store::Store;
use crate::network::collector;
use crate::network::dns::{Dns, DnsError, StubResolver};
use crate::protocol::datagram::{LONGEST_DATAGRAM, LONGEST_LINE, datagram};
use crate::protocol::names::Domain;
use crate::protocol::report::{Loss, ReportEvent};
use crate::protocol::report_record::{PREFIX, ReportRecord};
use crate::protocol::text::Line;
use crate::sender::notice::{Notice, Token};
use crate::sender::settings::Settings;
use crate::sender::user::whom_root_becomes;
use crate::sys::process;
use crate::sys::quiet::quietly;
use crate::sys::thread::{on_own_thread, start};

/// How long the question for a record may take at most. It is asked while the mail server waits.
const RECORD_TIME: Duration = Duration::from_secs(5);
/// For how long it is remembered that a domain has no record.
const ABSENCE_LIFE: Duration = Duration::from_secs(600);
/// For how long it is remembered that DNS did not answer.
const FAILURE_LIFE: Duration = Duration::from_secs(60);
/// How many domains are remembered.
const MEMORY_SIZE: usize = 1000;
/// The longest message of root's helper.
const LONGEST_MESSAGE: usize = 8192;
/// A helper that says something else than this library writes.
const HELPER_FAILED: &str = "the helper process failed";

/// What DNS says of a domain's reports.
type Known = Result<Option<Arc<ReportRecord>>, RecordUnknown>;

/// DNS did not say whether a domain wants reports, or was not asked: why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordUnknown(Line);

impl fmt::Display for RecordUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RecordUnknown {}

/// The records that are remembered, each until its time. The lock is only tried, as that of the answers.
#[derive(Default)]
pub(super) struct Records(RwLock<HashMap<Domain, (Known, Instant)>>);

impl Records {
    fn get(&self, domain: &Domain) -> Option<Known> {
        let memory = self.0.try_read().ok()?;
        let (known, until) = memory.get(domain)?;
        (Instant::now() < *until).then(|| known.clone())
    }

    fn put(&self, domain: &Domain, known: &Known, life: Duration) {
        let mut memory = match self.0.try_write() {
            Ok(memory) => memory,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let now = Instant::now();
        if memory.len() >= MEMORY_SIZE {
            memory.retain(|_, (_, until)| now < *until);
        }
        if memory.len() >= MEMORY_SIZE {
            memory.clear();
        }
        memory.insert(domain.clone(), (known.clone(), now + life));
    }
}

impl Resolver {
    /// The record by which a domain asks for TLS reports (`_smtp._tls`, RFC 8460 3), or `None` if it asks for none. DNS is
    /// asked within `patience`, and five seconds at most; the answer is remembered for the TTL of the record within
    /// `txt_life_min` and `txt_life_max`. In a process of root a child that has become another user asks.
    ///
    /// # Errors
    /// [`RecordUnknown`]: DNS did not say, or this host refused what the question needs.
    pub fn report_record(
        &self,
        domain: &Domain,
        patience: Duration,
    ) -> Result<Option<Arc<ReportRecord>>, RecordUnknown> {
        let shared = &self.shared;
        if let Some(known) = shared.records.get(domain) {
            return known;
        }
        let deadline = Instant::now() + patience.min(RECORD_TIME).min(shared.settings.timeout);
        let (known, life) = if process::is_root() {
            shared.record_by_helper(domain, deadline)
        } else {
            shared.ask_for_record(domain, deadline)
        };
        shared.records.put(domain, &known, life);
        known
    }

    /// Hands the events of one session with an MX host ([`Attempt::finish`](crate::Attempt::finish)) over to what makes TLS
    /// reports: to the journal, the collector, or both, as the settings say. By default to neither, and nothing is done.
    ///
    /// `domain` is the mail domain of the answer: its owner gets the report. For the collector DNS is asked for the domain's
    /// record ([`Resolver::report_record`], within `patience`), and a domain that asks for no reports gets none. Nothing else
    /// is waited for. In a process of root a child that has become another user does the work.
    ///
    /// Do not call it for a session that carries a report, nor for a mail with `TLS-Required: No` (RFC 8460 3, RFC 8689): an
    /// attempt that was told of its mail ([`Attempt::carries`](crate::Attempt::carries)) has no events then.
    ///
    /// # Errors
    /// The first [`Loss`]. Each loss is counted in the cache directory, and means nothing for the mail.
    pub fn report(&self, domain: &Domain, events: &[ReportEvent], patience: Duration) -> Result<(), Loss> {
        let handed = self.hand(domain, events, patience);
        // A slow collector and a full journal are counted. What the operator has to repair is logged, once.
        if let Err(loss @ (Loss::NoCollector(_) | Loss::NotWritten(_))) = &handed
            && !self.shared.told_of_loss.swap(true, Ordering::Relaxed)
        {
            let sentence = format!("a result for TLS reports is lost: {loss}. The mail is not affected.");
            self.tell(&Notice::new(Token::ReportLost, sentence));
        }
        handed
    }

    /// The same for a caller that must not wait. If DNS has to be asked, a thread of ours does all of it later.
    ///
    /// # Errors
    /// The first [`Loss`] that is known now.
    pub fn report_later(&self, domain: &Domain, events: Vec<ReportEvent>) -> Result<(), Loss> {
        let (resolver, domain) = (self.clone(), domain.clone());
        let has_to_ask =
            resolver.shared.settings.tlsrpt_socket.is_some() && resolver.shared.records.get(&domain).is_none();
        if events.is_empty() || !has_to_ask {
            return self.report(&domain, &events, Duration::ZERO);
        }
        // What is lost there is counted.
        let work = move || drop(quietly(|| resolver.hand(&domain, &events, RECORD_TIME)));
        start(work).map_err(|_| Loss::RecordUnknown)
    }

    fn hand(&self, domain: &Domain, events: &[ReportEvent], patience: Duration) -> Result<(), Loss> {
        let settings = &self.shared.settings;
        if events.is_empty() || (settings.tlsrpt_socket.is_none() && !settings.tlsrpt_journal) {
            return Ok(());
        }
        let wanted = match &settings.tlsrpt_socket {
            Some(_) => self.report_record(domain, patience).map_err(|_| Loss::RecordUnknown),
            None => Ok(None),
        };
        if process::is_root() {
            self.shared.hand_over_by_helper(domain, events, &wanted)
        } else {
            self.shared.hand_over(domain, events, &wanted)
        }
    }
}

impl Shared {
    fn hand_over(
        &self,
        domain: &Domain,
        events: &[ReportEvent],
        wanted: &Result<Option<Arc<ReportRecord>>, Loss>,
    ) -> Result<(), Loss> {
        let settings = &self.settings;
        let store = settings.cache_dir.clone().map(Store::new);
        let now = unix_now();
        let mut first = Ok(());
        let mut count = |handed: Result<(), Loss>| {
            if let (Err(loss), Some(store)) = (&handed, &store) {
                store.count_loss(loss, now);
            }
            if first.is_ok() {
                first = handed;
            }
        };
        if settings.tlsrpt_journal {
            for event in events {
                let line = datagram(domain, None, std::slice::from_ref(event), LONGEST_LINE);
                count(line.ok_or(Loss::TooLong).and_then(|line| match &store {
                    Some(store) => store.append(&line, now),
                    None => Err(Loss::NotWritten("cache_dir is empty".to_owned())),
                }));
            }
        }
        if let Some(socket) = &settings.tlsrpt_socket {
            count(match wanted {
                Ok(None) => Ok(()),
                Ok(Some(record)) => datagram(domain, Some(record.text()), events, LONGEST_DATAGRAM)
                    .ok_or(Loss::TooLong)
                    .and_then(|datagram| collector::send(socket, datagram.as_bytes())),
                Err(loss) => Err(loss.clone()),
            });
        }
        first
    }

    fn hand_over_by_helper(
        &self,
        domain: &Domain,
        events: &[ReportEvent],
        wanted: &Result<Option<Arc<ReportRecord>>, Loss>,
    ) -> Result<(), Loss> {
        let helped = whom_root_becomes(self.settings.cache_dir.as_deref(), self.settings.user.as_ref())
            .map_err(|e| e.to_string())
            .and_then(|user| {
                let work = || match self.hand_over(domain, events, wanted) {
                    Ok(()) => vec![b'+'],
                    Err(loss) => format!("{}{}", loss.letter(), Line::new(loss.words())).into_bytes(),
                };
                process::in_helper(user, Instant::now() + HELPER_GRACE, LONGEST_MESSAGE, work)
                    .map_err(|e| e.to_string())
            });
        let message = helped.map_err(Loss::NotWritten)?;
        let message = String::from_utf8_lossy(&message);
        let mut words = message.chars();
        match words.next() {
            Some('+') => Ok(()),
            letter => {
                let loss = letter.and_then(|letter| Loss::of(letter, &Line::new(words.as_str())));
                Err(loss.unwrap_or_else(|| Loss::NotWritten(HELPER_FAILED.to_owned())))
            }
        }
    }

    fn ask_for_record(&self, domain: &Domain, deadline: Instant) -> (Known, Duration) {
        let (settings, name) = (self.settings.clone(), format!("{PREFIX}{domain}"));
        let asked = on_own_thread(deadline, move || {
            let dns = match &*settings.nameservers {
                [] => StubResolver::system(),
                servers => StubResolver::with_servers(servers),
            };
            dns.txt(&name, deadline)
        });
        match asked.unwrap_or_else(|e| Err(DnsError::Own(e.to_string()))) {
            // A record that cannot be read is one that asks for nothing.
            Ok(answer) => (
                Ok(ReportRecord::find(&answer.data).ok().map(Arc::new)),
                life(answer.ttl, &self.settings),
            ),
            Err(error) if error.is_absence() => (Ok(None), life(ABSENCE_LIFE, &self.settings)),
            Err(error) => (Err(RecordUnknown(error.to_string().into())), FAILURE_LIFE),
        }
    }

    /// The helper says for how long its answer may be kept, and the text of the record, if there is one; or why not.
    fn record_by_helper(&self, domain: &Domain, deadline: Instant) -> (Known, Duration) {
        let helped = whom_root_becomes(self.settings.cache_dir.as_deref(), self.settings.user.as_ref())
            .map_err(|e| e.to_string())
            .and_then(|user| {
                let work = || {
                    log::set_max_level(log::LevelFilter::Off);
                    let (known, life) = self.ask_for_record(domain, deadline);
                    match known {
                        Ok(record) => {
                            format!(
                                "+{} {}",
                                life.as_secs(),
                                record.as_ref().map_or("", |record| record.text())
                            )
                        }
                        Err(why) => format!("-{why}"),
                    }
                    .into_bytes()
                };
                process::in_helper(user, deadline + HELPER_GRACE, LONGEST_MESSAGE, work).map_err(|e| e.to_string())
            });
        let unknown = |why: String| (Err(RecordUnknown(why.into())), FAILURE_LIFE);
        let message = match helped.map(String::from_utf8) {
            Ok(Ok(message)) => message,
            Ok(Err(_)) => return unknown(HELPER_FAILED.to_owned()),
            Err(why) => return unknown(why),
        };
        let told = message.strip_prefix('+').and_then(|told| told.split_once(' '));
        let Some((seconds, text)) = told else {
            return unknown(message.strip_prefix('-').unwrap_or_default().to_owned());
        };
        let seconds = seconds.parse().unwrap_or_default();
        let record = ReportRecord::parse(text.as_bytes()).ok().map(Arc::new);
        (Ok(record), life(Duration::from_secs(seconds), &self.settings))
    }
}

/// How long an answer is remembered.
fn life(ttl: Duration, settings: &Settings) -> Duration {
    ttl.max(settings.txt_life_min).min(settings.txt_life_max)
}
