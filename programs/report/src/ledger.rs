//! The ledger of a day: who gets a report, and what became of each. It is a file of lines in the cache directory, of which one
//! is on the disk before a report is sent and one after, so that a reporter that died in between can be told from one that
//! did not get there.
//!
//! A report by https begins when the connection is up: the line is written between the handshake and the request.
//! A mail is in a file whose name changes when the program for mails begins with it, and when it has taken it
//! ([`Ready`](crate::mail::Ready)). After a crash of the reporter alone that says what the ledger does not.
//!
//! A line that a crash has cut is not a line: each ends with a full stop of its own.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Write};

use mtasts::cache::store::Store;
use mtasts::protocol::names::Domain;
use mtasts::protocol::text::ascii_line;
use mtasts::report::Destination;

use crate::mail;

/// How often a report may be sent if it is not known whether it has arrived: after a crash, or without an answer.
const MOST_UNCLEAR: u32 = 2;
/// The first pause after a failure, in seconds. Each further one is twice as long.
const FIRST_PAUSE: u64 = 600;
/// The longest pause, in seconds.
const LONGEST_PAUSE: u64 = 4 * 3600;
/// How much of a reason is kept.
const LONGEST_REASON: usize = 200;
/// What is put behind the name of the file of a mail that is taken back.
const BACK: &str = ".back";

/// What became of a report to one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    sent: bool,
    /// How often it was sent without a known end.
    unclear: u32,
    /// The file of the mail that was sent last, if its end is not known.
    file: String,
    /// How often it has failed, when the last time, and why.
    failures: u32,
    last: u64,
    why: String,
}

impl Fate {
    /// Whether it is sent at this time, in Unix seconds.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        // A clock that was ahead when it failed must not hold it up.
        let pause = (FIRST_PAUSE << self.failures.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
        let is_over = self.failures == 0 || now < self.last || now >= self.last + pause;
        !self.is_over() && is_over
    }

    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.sent || self.unclear >= MOST_UNCLEAR
    }

    /// Whether it was sent, and the end is known.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether it may have arrived although that is not known.
    #[must_use]
    pub fn is_unclear(&self) -> bool {
        self.unclear > 0
    }

    /// Why it was not sent, if that is known.
    #[must_use]
    pub fn why(&self) -> &str {
        match &*self.why {
            "" if self.unclear > 0 => "the reporter ended while it was sent",
            why => why,
        }
    }
}

/// What is known of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// It wants no reports.
    Nothing,
    /// Where it wants them, as its record said when it was asked.
    Wants(Vec<(Destination, Fate)>),
}

/// The ledger of a day, in this process alone.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    domains: HashMap<Domain, Known>,
    is_over: bool,
}

/// How a report ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was taken.
    Sent,
    /// It was not taken.
    Failed(String),
    /// It was not even begun with, so that there is no note of its beginning.
    NotBegun(String),
    /// It may have been taken.
    Unclear(String),
}

impl Ledger {
    /// The ledger of this day, such as `2026-12-31`. `None` if another process has it.
    ///
    /// # Errors
    /// A sentence: the file cannot be used.
    pub fn open(store: &Store, day: &str) -> Result<Option<Self>, String> {
        let file = store.sent(day).map_err(|error| error.to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(format!("the ledger of the reports cannot be locked: {error}"));
            }
        }
        let mut ledger = Self {
            file,
            domains: HashMap::new(),
            is_over: false,
        };
        let mut lines = BufReader::new(ledger.file.try_clone().map_err(|error| unusable(&error))?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).map_err(|error| unusable(&error))? > 0 {
            if let Some(words) = std::str::from_utf8(&line)
                .ok()
                .and_then(|line| line.strip_suffix(" .\n"))
            {
                ledger.read(words);
            }
            line.clear();
        }
        ledger.take_back(store, day)?;
        Ok(Some(ledger))
    }

    /// Goes through the mails that a reporter left when it died. Either this or the program renames the file of a mail that was
    /// ready, so that one which is taken back is not sent any more. After a crash of the whole host that is not certain: the
    /// program may have renamed it, and the disk does not know.
    fn take_back(&mut self, store: &Store, day: &str) -> Result<(), String> {
        let files = fs::read_dir(store.dir()).map_err(|error| unusable(&error))?.flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        for found in names.filter(|name| name.starts_with(&mail::name(day, ""))) {
            let states = [BACK, mail::BEGUN, mail::TAKEN];
            let ends = |state: &&str| found.ends_with(*state);
            let mut state = states.into_iter().find(ends).unwrap_or_default();
            let name = found.strip_suffix(state).unwrap_or(&found);
            let in_state = |state: &str| store.dir().join(format!("{name}{state}"));
            let mut path = in_state(state);
            if state.is_empty() {
                let back = in_state(BACK);
                if fs::rename(&path, &back).is_ok() {
                    path = back;
                } else {
                    // The program was faster.
                    let begun = [mail::BEGUN, mail::TAKEN];
                    let Some(now) = begun.into_iter().find(|state| in_state(state).exists()) else {
                        continue;
                    };
                    (state, path) = (now, in_state(now));
                }
            }
            let same_boot = mail::boot().is_some_and(|boot| name.starts_with(&mail::name(day, boot)));
            let verb = match state {
                mail::TAKEN => Some("sent"),
                mail::BEGUN => None,
                _ => same_boot.then_some("unbegun"),
            };
            let report = self.unsent().find(|(_, _, fate)| fate.file == name);
            let line = report
                .zip(verb)
                .map(|((domain, to, _), verb)| format!("{verb} {domain} {}", to.uri()));
            if let Some(line) = line {
                self.write(&line, true)?;
            }
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn read(&mut self, words: &str) -> Option<()> {
        let mut rest = words.splitn(5, ' ');
        let verb = rest.next()?;
        if verb == "over" {
            self.is_over = true;
            return Some(());
        }
        let domain = Domain::parse(rest.next()?).ok()?;
        match verb {
            "nothing" => {
                self.domains.insert(domain, Known::Nothing);
            }
            "wants" => {
                let uris = words.split(' ').skip(2).filter_map(Destination::parse);
                let wants = uris.map(|to| (to, Fate::default())).collect();
                self.domains.entry(domain).or_insert(Known::Wants(wants));
            }
            _ => {
                let uri = rest.next()?;
                let at = rest.next();
                let why = rest.next().unwrap_or_default().to_owned();
                let fate = self.fate_mut(&domain, uri)?;
                fate.file.clear();
                match verb {
                    "begun" => {
                        fate.unclear += 1;
                        fate.file.push_str(at.unwrap_or_default());
                    }
                    "unbegun" => fate.unclear = fate.unclear.saturating_sub(1),
                    "sent" => fate.sent = true,
                    "failed" | "unclear" | "refused" => {
                        fate.unclear -= u32::from(verb == "failed" && fate.unclear > 0);
                        fate.failures += 1;
                        fate.last = at?.parse().ok()?;
                        fate.why = why;
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn fate_mut(&mut self, domain: &Domain, uri: &str) -> Option<&mut Fate> {
        match self.domains.get_mut(domain)? {
            Known::Nothing => None,
            Known::Wants(to) => to.iter_mut().find(|(to, _)| to.uri() == uri).map(|(_, fate)| fate),
        }
    }

    /// Where reports to a domain go, if that is known; none for a domain that wants none.
    #[must_use]
    pub fn wants(&self, domain: &Domain) -> Option<Vec<(Destination, Fate)>> {
        self.domains.get(domain).map(|known| match known {
            Known::Nothing => Vec::new(),
            Known::Wants(to) => to.clone(),
        })
    }

    /// Whether there is nothing to be done for a domain at this time.
    #[must_use]
    pub fn is_idle(&self, domain: &str, now: u64) -> bool {
        match self.domains.get(domain) {
            None => false,
            Some(Known::Nothing) => true,
            Some(Known::Wants(to)) => !to.iter().any(|(_, fate)| fate.is_due(now)),
        }
    }

    /// The reports that are not known to be sent.
    pub fn unsent(&self) -> impl Iterator<Item = (&Domain, &Destination, &Fate)> {
        self.domains.iter().flat_map(|(domain, known)| {
            let to = match known {
                Known::Nothing => &[][..],
                Known::Wants(to) => to,
            };
            let unsent = to.iter().filter(|(_, fate)| !fate.sent);
            unsent.map(move |(to, fate)| (domain, to, fate))
        })
    }

    /// Whether what was not sent has been told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Notes where a domain wants its reports: nowhere, or at these places.
    ///
    /// # Errors
    /// A sentence: the ledger cannot be written. Then no report may be sent.
    pub fn note_wants(&mut self, domain: &Domain, to: &[Destination]) -> Result<(), String> {
        if to.is_empty() {
            return self.write(&format!("nothing {domain}"), false);
        }
        let uris: Vec<&str> = to.iter().map(Destination::uri).collect();
        self.write(&format!("wants {domain} {}", uris.join(" ")), false)
    }

    /// Notes that a report is now sent, as a mail in the file of this name, or without one.
    ///
    /// # Errors
    /// As [`Ledger::note_wants`].
    pub fn note_begun(&mut self, domain: &Domain, to: &Destination, file: Option<&str>) -> Result<(), String> {
        let file = file.map_or_else(String::new, |name| format!(" {name}"));
        self.write(&format!("begun {domain} {}{file}", to.uri()), true)
    }

    /// Notes how that has ended.
    ///
    /// # Errors
    /// As [`Ledger::note_wants`].
    pub fn note_end(&mut self, domain: &Domain, to: &Destination, end: &End, now: u64) -> Result<(), String> {
        let uri = to.uri();
        let line = match end {
            End::Sent => format!("sent {domain} {uri}"),
            End::Failed(why) => format!("failed {domain} {uri} {now} {}", ascii_line(why, LONGEST_REASON)),
            End::NotBegun(why) => format!("refused {domain} {uri} {now} {}", ascii_line(why, LONGEST_REASON)),
            End::Unclear(why) => format!("unclear {domain} {uri} {now} {}", ascii_line(why, LONGEST_REASON)),
        };
        self.write(&line, true)
    }

    /// Notes that what was not sent has been told, and that the day is over.
    ///
    /// # Errors
    /// As [`Ledger::note_wants`].
    pub fn note_over(&mut self) -> Result<(), String> {
        self.write("over", true)
    }

    fn write(&mut self, words: &str, on_disk: bool) -> Result<(), String> {
        let line = format!("\n{words} .\n");
        self.file.write_all(line.as_bytes()).map_err(|error| unusable(&error))?;
        if on_disk {
            self.file.sync_data().map_err(|error| unusable(&error))?;
        }
        self.read(words);
        Ok(())
    }
}

fn unusable(error: &std::io::Error) -> String {
    format!("the ledger of the reports cannot be used: {error}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const URI: &str = "mailto:a@b.example";

    fn store(name: &str) -> Store {
        let dir = std::env::temp_dir().join(format!("mtasts-ledger-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Store::new(dir)
    }

    #[test]
    fn what_was_noted_is_there_again_and_a_cut_line_is_none() {
        let store = store("again");
        let domain = Domain::parse("example.test").unwrap();
        let to = Destination::parse(URI).unwrap();
        let open = || Ledger::open(&store, "2026-11-27").unwrap().unwrap();
        let fate = || open().wants(&domain).unwrap()[0].1.clone();
        let mut ledger = open();
        assert!(Ledger::open(&store, "2026-11-27").unwrap().is_none(), "one at a time");
        assert!(!ledger.is_idle("example.test", 0));
        ledger.note_wants(&Domain::parse("none.test").unwrap(), &[]).unwrap();
        ledger.note_wants(&domain, std::slice::from_ref(&to)).unwrap();
        ledger.note_begun(&domain, &to, None).unwrap();
        ledger
            .note_end(&domain, &to, &End::Failed("no\r\n way .".into()), 1000)
            .unwrap();
        drop(ledger);
        let failed = fate();
        assert_eq!((failed.unclear, failed.failures, failed.last), (0, 1, 1000));
        assert!(!failed.is_due(1000 + FIRST_PAUSE - 1) && failed.is_due(1000 + FIRST_PAUSE) && failed.is_due(0));
        assert!(open().is_idle("none.test", 0));
        // What failed before it was begun leaves what is unclear as it is.
        open()
            .note_end(&domain, &to, &End::NotBegun("no address".into()), 2000)
            .unwrap();
        assert_eq!((fate().unclear, fate().failures, fate().why()), (0, 2, "no address"));
        // A crash between the two notes: once more, and never a third time.
        open().note_begun(&domain, &to, None).unwrap();
        assert!(fate().is_due(u64::MAX / 2) && fate().is_unclear());
        let whole = fs::read(store.dir().join(".report-2026-11-27.sent")).unwrap();
        open().note_begun(&domain, &to, None).unwrap();
        assert!(!fate().is_due(u64::MAX / 2) && !fate().is_sent());
        // Cut anywhere, the last line is not there, and the next one is.
        let full = fs::read(store.dir().join(".report-2026-11-27.sent")).unwrap();
        for length in whole.len()..full.len() {
            fs::write(store.dir().join(".report-2026-11-27.sent"), &full[..length]).unwrap();
            assert_eq!(fate().unclear, 1, "{length}");
            open().note_end(&domain, &to, &End::Sent, 0).unwrap();
            assert!(fate().is_sent() && !fate().is_due(u64::MAX / 2), "{length}");
        }
        fs::remove_dir_all(store.dir()).unwrap();
    }

    #[test]
    fn a_mail_that_no_program_has_taken_was_not_sent() {
        let store = store("back");
        let domain = Domain::parse("example.test").unwrap();
        let to = Destination::parse(URI).unwrap();
        let open = || Ledger::open(&store, "2026-11-27").unwrap().unwrap();
        open().note_wants(&domain, std::slice::from_ref(&to)).unwrap();
        let files = || fs::read_dir(store.dir()).unwrap().count();
        let boot = mail::boot().expect("the kernel has one");
        let mut unclear = 0;
        // The file that is there, if any; after which start of the host it was made; whether it was surely not sent.
        for (there, boot, certain) in [
            (Some("a"), boot, true),
            (Some("a.back"), boot, true),
            (Some("a"), "12345678", false),
            (Some("a.begun"), boot, false),
            (Some("other"), boot, false),
            (Some("other.taken"), boot, false),
            (None, boot, false),
            (Some("a.taken"), "12345678", false),
        ] {
            let file = |name: &str| mail::name("2026-11-27", &format!("{boot}-{name}"));
            open().note_begun(&domain, &to, Some(&file("a"))).unwrap();
            if let Some(name) = there {
                fs::write(store.dir().join(file(name)), "").unwrap();
            }
            unclear += u32::from(!certain);
            let fate = &open().wants(&domain).unwrap()[0].1;
            let is_sent = there == Some("a.taken");
            assert_eq!((fate.unclear, fate.sent), (unclear, is_sent), "{there:?} {boot}");
            assert_eq!(files(), 1, "nothing is left: {there:?}");
        }
        fs::remove_dir_all(store.dir()).unwrap();
    }

    #[test]
    fn a_record_is_the_one_that_was_read_first() {
        let store = store("first");
        let mut ledger = Ledger::open(&store, "2026-11-27").unwrap().unwrap();
        let domain = Domain::parse("example.test").unwrap();
        ledger.read("wants example.test mailto:a@b.example https://r.example/");
        ledger.read("wants example.test mailto:victim@c.example");
        ledger.read("begun example.test mailto:victim@c.example");
        let uris = ledger.wants(&domain).unwrap();
        let uris: Vec<&str> = uris.iter().map(|(to, _)| to.uri()).collect();
        assert_eq!(uris, [URI, "https://r.example/"]);
        assert_eq!(ledger.unsent().count(), 2);
        fs::remove_dir_all(store.dir()).unwrap();
    }
}
