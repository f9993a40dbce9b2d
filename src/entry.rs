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
//! Times are Unix seconds. Behind the blank line stands the policy text as it came, so that what we enforce is always
//! what the parser makes of the domain's own words. A file that does not read back whole is as good as none.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::names::Domain;
use crate::policy::{MAX_POLICY, Policy};
use crate::result::ResultType;

/// The format's version. A reader that meets another one leaves the file alone and asks the network.
const FORMAT: &str = "mtasts 1 ";
/// The longest file in octets: the policy, and a head that is far smaller.
pub(crate) const MAX_FILE: usize = MAX_POLICY + 8192;
/// The longest detail of a failure that is kept, in octets.
const MAX_DETAIL: usize = 500;
/// How exactly it is noted when an entry was used, in seconds: a busy mail server must not write for each mail.
const USE_NOTED: u64 = 86_400;

/// What we know of one policy domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The policy domain.
    pub domain: Domain,
    /// The policy that we hold, whether or not it has expired.
    pub held: Option<Arc<Held>>,
    /// When the TXT record was last asked for, and when it is due again.
    pub txt: Option<TxtSeen>,
    /// The last fetch that failed (RFC 8461 3.3: no other for the same id within five minutes).
    pub failed: Option<FailedFetch>,
    /// Since when DNS has been broken for a domain of which we know nothing (D-02).
    pub unlearned_since: Option<u64>,
    /// Since when there has been a policy of the mode that we hold, without a gap.
    pub mode_since: Option<u64>,
    /// When the policy was taken over from another server's cache; nothing once it has been fetched here.
    pub imported: Option<u64>,
    /// Until when the policy is the operator's own, which no fetch replaces.
    pub pinned_until: Option<u64>,
    /// When a lookup last asked for the domain, to a day.
    pub used: Option<u64>,
    /// Since when each refresh has found that there is nothing to keep here.
    pub idle_since: Option<u64>,
}

/// A fetched policy.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    /// The id of the TXT record that announced it.
    pub id: String,
    /// When it was fetched, in Unix seconds. Its lifetime counts from here and from nothing else (D-13).
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
pub struct FailedFetch {
    /// The id that was to be fetched.
    pub id: String,
    /// When, in Unix seconds.
    pub at: u64,
    /// What it is called in a report.
    pub result: ResultType,
    /// What happened, in plain words.
    pub detail: String,
}

/// Why a file does not hold an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// The first line is not ours, or of another version of the format.
    Format,
    /// The digest does not fit: the file was cut, garbled or edited.
    Digest,
    /// A line of the head cannot be read.
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
            Self::Digest => f.write_str("the digest does not fit: the file was cut or changed"),
            Self::Head(line) => write!(f, "cannot read the line {line:?}"),
            Self::OtherDomain => f.write_str("the file is about another domain"),
            Self::Policy(e) => write!(f, "the stored policy is not valid: {e}"),
        }
    }
}

impl std::error::Error for EntryError {}

impl Held {
    /// The last second, in Unix time, at which the policy counts (RFC 8461 5.1: "has not exceeded max_age").
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.fetched.saturating_add(u64::from(self.policy.max_age()))
    }

    /// Whether the policy counts at this time. A fetch in the future means that the clock went back, and the policy
    /// is as good as fetched now (D-21).
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
            held: None,
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
        self.held.is_none() && self.failed.is_none() && self.unlearned_since.is_none()
    }

    /// The policy, where it counts at this time.
    #[must_use]
    pub fn live(&self, now: u64) -> Option<&Arc<Held>> {
        self.held.as_ref().filter(|held| held.is_live(now))
    }

    /// Until when the operator's own policy stands here, where it does at this time.
    #[must_use]
    pub fn pinned(&self, now: u64) -> Option<u64> {
        self.pinned_until
            .filter(|until| now <= *until && self.live(now).is_some())
    }

    /// Takes over the policy of another entry of the same domain, with all that belongs to it.
    pub(crate) fn take_policy_of(&mut self, other: &Self) {
        self.held.clone_from(&other.held);
        self.mode_since = other.mode_since;
        self.imported = other.imported;
        self.pinned_until = other.pinned_until;
    }

    /// Takes over what another source knows better: the disk than a process that could not write to it, or the one who
    /// had the turn before. The policy that was fetched later counts, and the last word of DNS.
    pub(crate) fn join(&mut self, other: &Self) {
        let fetched = |entry: &Self| entry.held.as_ref().map(|held| held.fetched);
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

    /// Notes that a lookup asks for the domain. Says whether there was anything to note.
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
        if let Some(held) = &self.held {
            line("policy-id", &held.id);
            line("fetched", &held.fetched);
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
            line("failed-detail", &one_line(&failed.detail, MAX_DETAIL));
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
        body.push_str(self.held.as_ref().map_or("", |h| &h.text));
        format!("{FORMAT}{}\n{body}", digest(&body))
    }

    /// Reads the file of this domain.
    ///
    /// # Errors
    /// An [`EntryError`]; nothing of such a file is used.
    pub fn from_file(domain: &Domain, file: &[u8]) -> Result<Self, EntryError> {
        let text = std::str::from_utf8(file).map_err(|_| EntryError::Digest)?;
        let (first, body) = text.split_once('\n').ok_or(EntryError::Format)?;
        let sum = first.strip_prefix(FORMAT).ok_or(EntryError::Format)?;
        if sum != digest(body) {
            return Err(EntryError::Digest);
        }
        let (head, policy) = body.split_once("\n\n").ok_or(EntryError::Digest)?;
        let mut lines = Lines {
            rest: head.split('\n').peekable(),
        };
        if lines.required("domain")? != domain.as_str() {
            return Err(EntryError::OtherDomain);
        }
        let mut entry = Self::new(domain.clone());
        if let Some(id) = lines.optional("policy-id") {
            let fetched = lines.number("fetched")?;
            let (parsed, _) = Policy::parse(policy.as_bytes()).map_err(|e| EntryError::Policy(e.to_string()))?;
            entry.held = Some(Arc::new(Held {
                id,
                fetched,
                text: policy.to_owned(),
                policy: parsed,
            }));
        }
        entry.mode_since = lines.time("mode-since")?;
        entry.imported = lines.time("imported")?;
        entry.pinned_until = lines.time("pinned-until")?;
        if let Some(at) = lines.optional("txt-seen") {
            entry.txt = Some(TxtSeen {
                at: number(&at)?,
                next: lines.number("txt-next")?,
            });
        }
        if let Some(id) = lines.optional("failed-id") {
            let at = lines.number("failed-at")?;
            let name = lines.required("failed-result")?;
            let result = ResultType::from_name(&name).ok_or(EntryError::Head(name))?;
            entry.failed = Some(FailedFetch {
                id,
                at,
                result,
                detail: lines.required("failed-detail")?,
            });
        }
        entry.unlearned_since = lines.time("unlearned-since")?;
        entry.used = lines.time("used")?;
        entry.idle_since = lines.time("idle-since")?;
        match lines.rest.next() {
            None => Ok(entry),
            Some(line) => Err(EntryError::Head(one_line(line, 80))),
        }
    }
}

/// The lines of a head, in their one order.
struct Lines<'a, I: Iterator<Item = &'a str>> {
    rest: std::iter::Peekable<I>,
}

impl<'a, I: Iterator<Item = &'a str>> Lines<'a, I> {
    fn optional(&mut self, name: &str) -> Option<String> {
        let value = self.rest.peek()?.strip_prefix(name)?.strip_prefix(": ")?;
        self.rest.next();
        Some(value.to_owned())
    }

    fn required(&mut self, name: &str) -> Result<String, EntryError> {
        self.optional(name).ok_or_else(|| EntryError::Head(name.to_owned()))
    }

    fn number(&mut self, name: &str) -> Result<u64, EntryError> {
        number(&self.required(name)?)
    }

    fn time(&mut self, name: &str) -> Result<Option<u64>, EntryError> {
        self.optional(name).map(|text| number(&text)).transpose()
    }
}

fn number(text: &str) -> Result<u64, EntryError> {
    text.parse().map_err(|_| EntryError::Head(one_line(text, 80)))
}

fn digest(body: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The text on one line, without characters that act or hide, and cut at a character's end: a stranger may have had a
/// hand in it, and it goes into files and logs.
#[must_use]
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    // Besides control characters: joiners, line separators, and what turns the direction of writing.
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let clean: String = text.chars().map(|c| if acts(c) { ' ' } else { c }).collect();
    let clean = clean.trim();
    let end = (0..=longest.min(clean.len()))
        .rev()
        .find(|i| clean.is_char_boundary(*i))
        .unwrap_or(0);
    clean[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Entry {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 1000\r\nx: \n\n: no";
        let text = text.replace("\r\nx: \n\n: no", "\r\n\r\nx: é\r\n");
        let (policy, _) = Policy::parse(text.as_bytes()).unwrap();
        Entry {
            domain: Domain::parse("example.com").unwrap(),
            held: Some(Arc::new(Held {
                id: "A".into(),
                fetched: 100,
                text,
                policy,
            })),
            txt: Some(TxtSeen { at: 200, next: 260 }),
            failed: Some(FailedFetch {
                id: "B".into(),
                at: 300,
                result: ResultType::StsWebpkiInvalid,
                detail: "bad\ncertificate".into(),
            }),
            unlearned_since: Some(7),
            mode_since: Some(90),
            imported: Some(95),
            pinned_until: Some(1000),
            used: Some(400),
            idle_since: Some(500),
        }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let mut entry = full();
        let read = Entry::from_file(&entry.domain, entry.to_file().as_bytes()).unwrap();
        entry.failed.as_mut().unwrap().detail = "bad certificate".into();
        assert_eq!(read, entry);
        let bare = Entry::new(entry.domain.clone());
        assert_eq!(Entry::from_file(&bare.domain, bare.to_file().as_bytes()), Ok(bare));
    }

    /// What was written before there were these times.
    #[test]
    fn reads_a_file_without_the_later_lines() {
        let file = full().to_file();
        let (_, body) = file.split_once('\n').unwrap();
        let later = ["mode-since", "imported", "pinned-until", "used", "idle-since"];
        let body: String = body
            .split_inclusive('\n')
            .filter(|line| !later.iter().any(|name| line.starts_with(&format!("{name}: "))))
            .collect();
        let old = format!("{FORMAT}{}\n{body}", digest(&body));
        let read = Entry::from_file(&full().domain, old.as_bytes()).unwrap();
        assert_eq!((read.held, read.txt), (full().held, full().txt));
        assert_eq!((read.used, read.pinned_until, read.mode_since), (None, None, None));
    }

    #[test]
    fn a_use_is_noted_once_a_day_whatever_the_clock_does() {
        let mut entry = full();
        entry.used = None;
        for (now, noted) in [
            (1_000_000, true),
            (1_000_001, false),
            (1_086_399, false),
            (1_086_400, true),
            (9_000_000, true),
            (1_000_000, true),
            (999_000, false),
        ] {
            assert_eq!(entry.note_use(now), noted, "at {now}");
        }
        assert_eq!(entry.used, Some(1_000_000));
    }

    #[test]
    fn a_pin_holds_to_its_last_second_and_needs_a_policy_that_counts() {
        let mut entry = full();
        assert_eq!((entry.pinned(1000), entry.pinned(1001)), (Some(1000), None));
        entry.pinned_until = Some(5000);
        assert_eq!((entry.pinned(1100), entry.pinned(1101)), (Some(5000), None));
    }

    #[test]
    fn one_changed_or_missing_octet_voids_the_file() {
        let file = full().to_file().into_bytes();
        let domain = full().domain;
        for cut in 0..file.len() {
            assert!(Entry::from_file(&domain, &file[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(Entry::from_file(&domain, &changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn another_domain_or_version_is_not_used() {
        let file = full().to_file();
        let other = Domain::parse("example.net").unwrap();
        assert_eq!(Entry::from_file(&other, file.as_bytes()), Err(EntryError::OtherDomain));
        let newer = file.replacen("mtasts 1 ", "mtasts 2 ", 1);
        assert_eq!(
            Entry::from_file(&full().domain, newer.as_bytes()),
            Err(EntryError::Format)
        );
    }

    #[test]
    fn a_line_is_one_line_and_shows_all_there_is() {
        assert_eq!(one_line(" a\r\nb\0c\x1b[31m ", 99), "a  b c [31m");
        assert_eq!(one_line("a\u{202e}b\u{2028}c\u{feff}", 99), "a b c");
        assert_eq!(one_line("aé", 2), "a");
        assert_eq!(one_line("", 0), "");
    }

    #[test]
    fn counts_up_to_its_last_second() {
        let entry = full();
        assert!(entry.live(1100).is_some());
        assert!(entry.live(1101).is_none());
        assert!(entry.live(0).is_some(), "the clock went back");
    }
}
