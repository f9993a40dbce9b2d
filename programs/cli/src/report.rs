//! `mtasts report`: the results for TLS reports (RFC 8460) that the mail servers of this host have left, and the reports.

mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::cache::{open, settings};
use super::output::{Mark, Page, json_line, json_text, print, tell};
use super::{Found, Trouble};
use mtasts::protocol::calendar;
use mtasts::protocol::names::Domain;
use mtasts::protocol::text::for_terminal;
use mtasts::sender::resolver::unix_now;
use mtasts::sender::user::whom_root_becomes;
use mtasts::sys::process::is_root;
use mtasts_report::journals::{Rest, sessions};
use mtasts_report::report::Sessions;
use mtasts_report::settings::{FILE, Settings, sender};
use mtasts_report::totals::Totals;
use mtasts_report::{bounces, check, collect, run};
pub(super) use visit::visit_all;

#[derive(Subcommand)]
pub(super) enum Report {
    Status(Status),
    Show(Show),
    Run(Run),
    Check(Check),
    Collect(Collect),
    Visit(visit::Visit),
    Bounced(Bounced),
}

impl Report {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::Status(arguments) => arguments.run(),
            Self::Show(arguments) => arguments.run(),
            Self::Run(arguments) => arguments.run(),
            Self::Check(arguments) => arguments.run(),
            Self::Collect(arguments) => arguments.run(),
            Self::Visit(arguments) => arguments.run(),
            Self::Bounced(arguments) => arguments.run(),
        }
    }
}

/// Count the results that the journals of today have (setting `tlsrpt_journal`), by domain and result type, and what was
/// lost.
///
/// Exit status: 0, or 1 if a result was lost or a journal cannot be used.
#[derive(Args)]
pub(super) struct Status {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Another day (UTC), such as 2026-12-31.
    #[arg(long, value_name = "DAY")]
    day: Option<String>,
}

impl Status {
    fn run(self) -> Result<Found, Trouble> {
        let day = day(self.day, 0)?;
        let (_, store) = open()?;
        let mut totals = Totals::default();
        let rest = sessions(&store, &day, |_| true, |session| totals.add(session));
        let rest = rest.map_err(|error| Trouble(error.to_string()))?;
        rest.ignored.iter().for_each(|why| tell(why));
        print(&if self.json {
            json_line(&as_json(&day, &totals, &rest))
        } else {
            as_text(&day, &totals, &rest)
        })?;
        Ok(if rest.is_nothing() { Found::Good } else { Found::Bad })
    }
}

/// Print the report to a domain (RFC 8460) that the journals of yesterday give. It is not sent.
///
/// Exit status: 0, or 1 if there was no session with a domain.
#[derive(Args)]
pub(super) struct Show {
    /// The mail domain. For several the reports follow one another.
    #[arg(required = true)]
    domain: Vec<String>,
    /// The mail address of the sender of reports (contact-info).
    #[arg(long, value_name = "ADDRESS")]
    contact: String,
    /// The name of the sender. Default: the domain of the address.
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// Another day (UTC), such as 2026-12-31.
    #[arg(long, value_name = "DAY")]
    day: Option<String>,
}

impl Show {
    fn run(self) -> Result<Found, Trouble> {
        let day = day(self.day, 1)?;
        let read = |name: &String| match Domain::parse(name) {
            Ok(domain) => Ok((domain.clone(), Sessions::of(domain))),
            Err(error) => Err(Trouble(format!("{:?}: {error}", for_terminal(name)))),
        };
        let mut found = self.domain.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
        let named: BTreeSet<String> = found.keys().map(ToString::to_string).collect();
        let sender = sender(&self.contact, self.organization.as_deref()).map_err(Trouble)?;
        let (_, store) = open()?;
        let rest = sessions(
            &store,
            &day,
            |name| named.contains(name),
            |session| {
                if let Some(sessions) = found.get_mut(&session.domain) {
                    sessions.add(session);
                }
            },
        );
        rest.map_err(|error| Trouble(error.to_string()))?
            .ignored
            .iter()
            .for_each(|why| tell(why));
        let mut all = Found::Good;
        for (domain, sessions) in &found {
            if sessions.is_empty() {
                tell(&format!("the journals of {day} have no session with {domain}"));
                all = Found::Bad;
                continue;
            }
            let report = serde_json::to_string_pretty(&sessions.report(&day, &sender));
            let report = report.map_err(|error| Trouble(error.to_string()))?;
            print(&(json_text(&report) + "\n"))?;
        }
        Ok(all)
    }
}

/// Send the reports of yesterday (UTC) that are due, and try again what has failed.
///
/// For a timer, every quarter of an hour: reports are spread over the first four hours of the day by the name of the domain, and
/// are tried until it ends. Each is sent once; after a crash, or without an answer, at most twice. Where reports go is what DNS
/// says; who sends them are the setting tlsrpt_sender of mtasts.toml and the file below.
///
/// Exit status: 0, or 1 if a report was not sent.
#[derive(Args)]
pub(super) struct Run {
    /// The settings of the reporter.
    #[arg(long, value_name = "FILE", default_value = FILE)]
    settings: PathBuf,
    /// Send what is due later in the day, too.
    #[arg(long)]
    at_once: bool,
}

impl Run {
    fn run(self) -> Result<Found, Trouble> {
        if let Some(found) = as_owner()? {
            return Ok(found);
        }
        let (host, store) = open()?;
        let reporter = Settings::read(&self.settings, &host).map_err(Trouble)?;
        let done = run::Run::new(&store, &reporter, &host, self.at_once, &tell).run(unix_now());
        let Some(done) = done.map_err(Trouble)? else {
            tell("another process is sending the reports");
            return Ok(Found::Good);
        };
        print(&format!("reports: {done}\n"))?;
        let failed = done.failed.load(Ordering::Relaxed);
        Ok(if failed == 0 { Found::Good } else { Found::Bad })
    }
}

/// Check whether receivers will take the reports of this host. Nothing is sent.
///
/// The domain of tlsrpt_sender has to take mail and to have an SPF record and a DKIM key that allows reports, and this host a name.
/// "mtasts report run" sends nothing until a check with the same settings was good.
///
/// Exit status: 0, or 1 if something has to be repaired.
#[derive(Args)]
pub(super) struct Check {
    /// The settings of the reporter.
    #[arg(long, value_name = "FILE", default_value = FILE)]
    settings: PathBuf,
    /// Write the mail of a report to this file.
    #[arg(long, value_name = "FILE")]
    mail: Option<PathBuf>,
}

impl Check {
    fn run(self) -> Result<Found, Trouble> {
        if let Some(found) = as_owner()? {
            return Ok(found);
        }
        let (host, store) = open()?;
        let reporter = Settings::read(&self.settings, &host).map_err(Trouble)?;
        let found = check::Check::new(&reporter, &host).run(self.mail.as_deref(), unix_now());
        let mut page = Page::new();
        for finding in &found {
            let (mark, word) = match finding.good {
                Some(true) => (Mark::Good, "ok"),
                Some(false) => (Mark::Bad, "bad"),
                None => (Mark::Unknown, "unknown"),
            };
            page.row(mark, word, &format!("{}: {}", finding.what, finding.sentence));
        }
        page.print()?;
        if found.iter().any(|finding| finding.good == Some(false)) {
            return Ok(Found::Bad);
        }
        check::note(&store, &reporter).map(|()| Found::Good).map_err(Trouble)
    }
}

/// Write to the journal what Postfix 3.10 and newer report of their TLS sessions, so that "mtasts report run" reports on them, too.
///
/// Postfix sends each result to a socket (libtlsrpt). This command reads that socket in place of tlsrpt-collectd: set
/// smtp_tlsrpt_socket_name of Postfix to the same path. It runs until it is stopped. Started as root, it opens the socket and then
/// becomes the owner of the cache directory.
#[derive(Args)]
pub(super) struct Collect {
    /// The path of the socket. Every user of the host may send to it.
    #[arg(long, value_name = "PATH", required_unless_present = "inherited")]
    socket: Option<PathBuf>,
    /// Read the socket that the service manager has opened (socket activation).
    #[arg(long, conflicts_with = "socket")]
    inherited: bool,
}

impl Collect {
    fn run(self) -> Result<Found, Trouble> {
        let (socket, name) = match &self.socket {
            Some(path) => (collect::open(path), path.display().to_string()),
            None => (collect::inherited(), "the socket of the service manager".to_owned()),
        };
        let socket = socket.map_err(|error| Trouble(format!("{name}: {error}")))?;
        let (_, store) = open()?;
        Err(Trouble(format!("{name}: {}", collect::collect(&socket, &store, tell))))
    }
}

/// Send no reports to these mail addresses for a week: mail to them has bounced.
///
/// Bounces arrive at the address of tlsrpt_sender. Read them, and name the addresses that failed. Reports to https URLs are sent as
/// before.
///
/// Exit status: 0.
#[derive(Args)]
pub(super) struct Bounced {
    /// A mail address to which a report could not be delivered.
    #[arg(required = true, value_name = "ADDRESS")]
    address: Vec<String>,
}

impl Bounced {
    fn run(self) -> Result<Found, Trouble> {
        let (_, store) = open()?;
        for address in &self.address {
            bounces::note(&store, address, unix_now()).map_err(Trouble)?;
        }
        Ok(Found::Good)
    }
}

/// What a process of root does of this: it has the owner of the cache directory do it, in a process that can still start a
/// set-user-ID program. The sendmail of Exim is one, that of Postfix starts one, and what root gives up for good includes that.
fn as_owner() -> Result<Option<Found>, Trouble> {
    if !is_root() {
        return Ok(None);
    }
    let settings = settings()?;
    let owner = whom_root_becomes(settings.cache_dir.as_deref(), settings.user.as_ref());
    let owner = owner.map_err(|error| Trouble(error.to_string()))?;
    let status = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .uid(owner.uid)
        .gid(owner.gid)
        .status();
    let status = status.map_err(|error| Trouble(format!("cannot become user {}: {error}", owner.uid)))?;
    match status.code() {
        Some(0) => Ok(Some(Found::Good)),
        Some(1) => Ok(Some(Found::Bad)),
        // It has said why.
        Some(2) => Ok(Some(Found::Critical)),
        _ => Err(Trouble(format!(
            "the process of user {} has ended: {status}",
            owner.uid
        ))),
    }
}

/// The day that was asked for, or that of so many days ago.
fn day(asked: Option<String>, ago: u64) -> Result<String, Trouble> {
    let day = asked.unwrap_or_else(|| calendar::date(unix_now() - ago * 86_400));
    match calendar::day(&day) {
        Some(_) => Ok(day),
        None => Err(Trouble(format!(
            "{:?} is not a day such as 2026-12-31",
            for_terminal(&day)
        ))),
    }
}

fn as_json(day: &str, totals: &Totals, rest: &Rest) -> Value {
    let domains = totals.domains.iter().map(|(domain, kinds)| {
        let policies = kinds.iter().map(|(kind, counts)| {
            json!({
                "policy-type": kind,
                "total-successful-session-count": counts.successful,
                "total-failure-session-count": counts.failed,
                "failures": counts.failures,
            })
        });
        json!({"domain": domain.as_str(), "policies": policies.collect::<Vec<_>>()})
    });
    json!({
        "day": day,
        "sessions": totals.sessions(),
        "unreadable": rest.unreadable,
        "lost": rest.lost,
        "domains": domains.collect::<Vec<_>>(),
    })
}

fn as_text(day: &str, totals: &Totals, rest: &Rest) -> String {
    let lost: u64 = rest.lost.values().sum();
    let mut text = format!("{day}: {} sessions with MX hosts, {lost} lost", totals.sessions());
    if rest.unreadable > 0 {
        text += &format!(", {} lines that cannot be read", rest.unreadable);
    }
    text += "\n";
    for (reason, count) in &rest.lost {
        text += &format!("  lost    {count:9}  {reason}\n");
    }
    for (domain, kinds) in &totals.domains {
        text += &format!("{domain}\n");
        for (kind, counts) in kinds {
            text += &format!("  good    {:9}  {kind}\n", counts.successful);
            if counts.failed > 0 {
                text += &format!("  failed  {:9}  {kind}\n", counts.failed);
            }
            for (failure, count) in &counts.failures {
                text += &format!("          {count:9}  {failure}\n");
            }
        }
    }
    text
}
