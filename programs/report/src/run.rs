//! Sending the reports of yesterday: what is due now is sent, and the ledger knows of it. Whatever ends a run, the next one goes
//! on where it was.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::store::Store;
use mtasts::network::dns::{Dns, StubResolver};
use mtasts::network::https::RootSource;
use mtasts::network::https::post::{Begins, PostError, ReportHost};
use mtasts::network::roots::Roots;
use mtasts::protocol::calendar;
use mtasts::protocol::names::Domain;
use mtasts::protocol::report_record::PREFIX;
use mtasts::report::{Destination, ReportRecord};
use mtasts::sender::resolver::unix_now;

use crate::bounces;
use crate::check;
use crate::journals::{octets, sessions};
use crate::ledger::{End, Ledger};
use crate::mail::{self, About, Ready};
use crate::report::{Day, Sessions};
use crate::settings::Settings;
use crate::spread;

/// A day in seconds.
const DAY: u64 = 86_400;
/// How much of the journals is counted at a time, in octets: that bounds the memory.
const PART: u64 = 32 << 20;
/// How many domains are reported to at the same time.
const WORKERS: usize = 8;
/// How long DNS may take with a record.
const RECORD_TIME: Duration = Duration::from_secs(10);
/// How long a host that takes reports may take.
const POST_TIME: Duration = Duration::from_secs(60);
/// What is posted (RFC 8460 6.4).
const MEDIA_TYPE: &str = "application/tlsrpt+gzip";

/// What a run has done.
#[derive(Debug, Default)]
pub struct Done {
    /// Reports that were taken.
    pub sent: AtomicU64,
    /// Reports that were not taken, or of which that is not known.
    pub failed: AtomicU64,
    /// Domains that want no reports, of those that were asked for their record now.
    pub unwanted: AtomicU64,
    /// Domains for whose record DNS gave no answer.
    pub unknown: AtomicU64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |of: &AtomicU64| of.load(Relaxed);
        write!(f, "{} sent, {} failed", count(&self.sent), count(&self.failed))?;
        write!(f, ", {} domains want none", count(&self.unwanted))?;
        write!(f, ", of {} DNS does not say", count(&self.unknown))
    }
}

/// What a run needs.
pub struct Run<'a> {
    store: &'a Store,
    settings: &'a Settings,
    dns: StubResolver,
    https: ReportHost,
    /// Is told what the operator should know, one line at a time.
    tell: &'a (dyn Fn(&str) + Sync),
    /// Whether the spread over the day is left out.
    at_once: bool,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<'a> Run<'a> {
    /// A run with the settings of the reporter and of this host.
    #[must_use]
    pub fn new(
        store: &'a Store,
        settings: &'a Settings,
        host: &mtasts::Settings,
        at_once: bool,
        tell: &'a (dyn Fn(&str) + Sync),
    ) -> Self {
        let dns = match &*host.nameservers {
            [] => StubResolver::system(),
            servers => StubResolver::with_servers(servers),
        };
        let roots = settings.https_certificates.then(|| roots(host.ca_file.clone()));
        Self {
            https: ReportHost::new(Arc::new(dns.clone()), roots, host.addresses()),
            store,
            settings,
            dns,
            tell,
            at_once,
        }
    }

    /// Sends the reports of the day before `now`, in Unix seconds, as far as they are due. `None` if another process does.
    ///
    /// # Errors
    /// A sentence: the journals or the ledger cannot be used. Nothing is sent that cannot be noted.
    pub fn run(&self, now: u64) -> Result<Option<Done>, String> {
        if !check::is_noted(self.store, self.settings) {
            return Err("nothing is sent before a check of these settings was good: mtasts report check".into());
        }
        let midnight = now / DAY * DAY;
        let day = calendar::date(midnight - DAY);
        self.close(&calendar::date(midnight - 2 * DAY))?;
        let Some(ledger) = Ledger::open(self.store, &day)? else {
            return Ok(None);
        };
        let about = Yesterday {
            begin: midnight - DAY,
            day: &day,
            now,
            ledger: Arc::new(Mutex::new(ledger)),
            bounced: bounces::recent(self.store, now)?,
            broken: Mutex::new(None),
            done: Done::default(),
        };
        let parts = parts(self.store, &day)?;
        for part in 0..parts {
            let is_due = |name: &str| self.at_once || now >= midnight + spread::delay(name);
            let is_new = |name: &str| !about.ledger().is_idle(name, now);
            let wanted = |name: &str| spread::hash(name) % parts == part && is_due(name) && is_new(name);
            let mut counted = Day::default();
            let rest = sessions(self.store, &day, wanted, |session| counted.add(session));
            let rest = rest.map_err(|error| error.to_string())?;
            if part == 0 {
                rest.ignored.iter().for_each(|why| (self.tell)(why));
            }
            self.report(counted, &about);
            if let Some(broken) = lock(&about.broken).take() {
                return Err(broken);
            }
        }
        Ok(Some(about.done))
    }

    /// Tells what was not sent of an earlier day, once.
    fn close(&self, day: &str) -> Result<(), String> {
        let begun = self.store.dir().join(format!(".report-{day}.sent"));
        if !begun.exists() {
            return Ok(());
        }
        let Some(mut ledger) = Ledger::open(self.store, day)?.filter(|ledger| !ledger.is_over()) else {
            return Ok(());
        };
        for (domain, to, fate) in ledger.unsent() {
            let (uri, why) = (to.uri(), fate.why());
            let perhaps = if fate.is_unclear() { " for certain" } else { "" };
            (self.tell)(&format!(
                "the report of {day} to {domain} at {uri} was not sent{perhaps}, and is given up: {why}"
            ));
        }
        ledger.note_over()
    }

    fn report(&self, counted: Day, about: &Yesterday<'_>) {
        let domains = Mutex::new(counted.into_domains());
        let work = || {
            let next = || lock(&domains).next();
            while let Some((domain, sessions)) = next() {
                if let Err(broken) = self.report_to(&domain, &sessions, about) {
                    *lock(&about.broken) = Some(broken);
                }
                if lock(&about.broken).is_some() {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(work);
            }
        });
    }

    fn report_to(&self, domain: &Domain, sessions: &Sessions, about: &Yesterday<'_>) -> Result<(), String> {
        let known = about.ledger().wants(domain);
        let wants = match known {
            Some(wants) => wants,
            None => match self.ask(domain, about)? {
                Some(to) => to.into_iter().map(|to| (to, Default::default())).collect(),
                None => return Ok(()),
            },
        };
        let report = sessions.report(about.day, &self.settings.sender);
        let compressed = OnceCell::new();
        for (to, fate) in wants.iter().filter(|(_, fate)| fate.is_due(about.now)) {
            let compressed = compressed.get_or_init(|| report.compressed());
            if fate.is_unclear() {
                let (day, uri, why) = (about.day, to.uri(), fate.why());
                (self.tell)(&format!(
                    "the report of {day} to {domain} at {uri} is sent again, and may arrive twice: {why}"
                ));
            }
            // What takes time comes before the note: a crash between the two says that the report may have been sent.
            let end = match self.prepare(domain, to, report.id(), compressed, about) {
                Ok(Prepared::Mail(mail)) => {
                    about.ledger().note_begun(domain, to, mail.file())?;
                    mail.submit(&self.settings.sendmail, &self.settings.sender)
                }
                Ok(Prepared::Https(url)) => self.post(url, compressed, (domain, to), about)?,
                Err(why) => End::NotBegun(why),
            };
            about.ledger().note_end(domain, to, &end, unix_now())?;
            match end {
                End::Sent => about.done.sent.fetch_add(1, Relaxed),
                End::Failed(why) | End::NotBegun(why) | End::Unclear(why) => {
                    let (day, uri) = (about.day, to.uri());
                    (self.tell)(&format!(
                        "the report of {day} to {domain} at {uri} is not known to be sent: {why}"
                    ));
                    about.done.failed.fetch_add(1, Relaxed)
                }
            };
        }
        Ok(())
    }

    /// Asks DNS where a domain wants its reports, and notes it. `None` if DNS does not say: the next run asks again.
    fn ask(&self, domain: &Domain, about: &Yesterday<'_>) -> Result<Option<Vec<Destination>>, String> {
        let answer = self.dns.txt(&format!("{PREFIX}{domain}"), Instant::now() + RECORD_TIME);
        let record = match answer {
            Ok(answer) => ReportRecord::find(&answer.data).ok(),
            Err(error) if error.is_absence() => None,
            Err(_) => {
                about.done.unknown.fetch_add(1, Relaxed);
                return Ok(None);
            }
        };
        let all = record.as_ref().map_or(&[][..], ReportRecord::destinations);
        let mut to: Vec<Destination> = all.iter().filter(|to| !self.is_own(to)).cloned().collect();
        let left_out = record.as_ref().map_or(0, ReportRecord::left_out) + all.len() - to.len();
        if left_out > 0 {
            (self.tell)(&format!(
                "{left_out} of the places where {domain} wants reports are not used (D-36, D-38)"
            ));
        }
        to.retain(|to| match to {
            Destination::Mail { address, .. } => match about.bounced.get(&address.to_ascii_lowercase()) {
                None => true,
                Some(since) => {
                    (self.tell)(&format!(
                        "{domain} gets no report at {}: mail to it came back ({since})",
                        to.uri()
                    ));
                    false
                }
            },
            _ => true,
        });
        if to.is_empty() {
            about.done.unwanted.fetch_add(1, Relaxed);
        }
        about.ledger().note_wants(domain, &to)?;
        Ok(Some(to))
    }

    /// Whether a report would go to the address that sends it. Whoever writes a record can name it.
    fn is_own(&self, to: &Destination) -> bool {
        let sender = &self.settings.sender;
        let own = [&sender.address, &sender.contact];
        matches!(to, Destination::Mail { address, .. } if own.iter().any(|own| own.eq_ignore_ascii_case(address)))
    }

    fn prepare<'d>(
        &self,
        domain: &Domain,
        to: &'d Destination,
        id: &str,
        report: &[u8],
        about: &Yesterday<'_>,
    ) -> Result<Prepared<'d>, String> {
        match to {
            Destination::Mail { address, .. } => {
                let now = unix_now();
                let of = About {
                    domain: domain.as_str(),
                    day: about.day,
                    begin: about.begin,
                    id,
                };
                let mail = mail::message(&of, &self.settings.sender, address, report, now);
                let mail = mail::signed(mail, self.settings, now)?;
                Ready::new(self.store.dir(), about.day, &mail).map(Prepared::Mail)
            }
            Destination::Https { uri } => Ok(Prepared::Https(uri)),
            other => Err(format!("{} cannot be sent to", other.uri())),
        }
    }

    /// # Errors
    /// A sentence: the ledger cannot be written, and nothing was sent.
    fn post(
        &self,
        url: &str,
        report: &[u8],
        (domain, to): (&Domain, &Destination),
        about: &Yesterday<'_>,
    ) -> Result<End, String> {
        let (ledger, of, at) = (Arc::clone(&about.ledger), domain.clone(), to.clone());
        let begins: Begins = Arc::new(move || lock(&ledger).note_begun(&of, &at, None));
        let deadline = Instant::now() + POST_TIME;
        match self.https.post(url, MEDIA_TYPE, report, deadline, &begins) {
            Ok(()) => Ok(End::Sent),
            Err(PostError::Unclear(why)) => Ok(End::Unclear(why)),
            Err(PostError::NotNoted(why)) => Err(why),
            Err(PostError::Refused(why)) => Ok(End::Failed(why)),
            Err(PostError::NotSent(why)) => Ok(End::NotBegun(why)),
        }
    }
}

/// A report that can be sent at once.
enum Prepared<'a> {
    Mail(Ready),
    Https(&'a str),
}

/// In how many parts the journals of a day are counted, so that the memory is bounded.
///
/// # Errors
/// A sentence: the journals cannot be used.
pub fn parts(store: &Store, day: &str) -> Result<u64, String> {
    let octets = octets(store, day).map_err(|error| error.to_string())?;
    Ok(octets / PART + 1)
}

/// The day that is reported on, and what a run knows of it.
struct Yesterday<'a> {
    day: &'a str,
    begin: u64,
    now: u64,
    ledger: Arc<Mutex<Ledger>>,
    /// Addresses from which a mail came back, and when.
    bounced: BTreeMap<String, String>,
    /// Why the ledger cannot be written any more.
    broken: Mutex<Option<String>>,
    done: Done,
}

impl Yesterday<'_> {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The trust anchors, read when the first certificate is to be checked.
fn roots(file: Option<PathBuf>) -> RootSource {
    let read = OnceLock::new();
    Arc::new(move || {
        let roots = read.get_or_init(|| {
            let roots = match &file {
                Some(file) => Roots::from_file(file),
                None => Roots::system(),
            };
            roots.map(Arc::new).map_err(|error| error.to_string())
        });
        roots.clone()
    })
}
