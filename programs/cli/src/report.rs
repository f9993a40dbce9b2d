//! `mtasts report`: the results for TLS reports (RFC 8460) that the mail servers of this host have left.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::cache::open;
use super::output::{json_line, json_text, print, tell};
use super::{Found, Trouble};
use mtasts::protocol::calendar;
use mtasts::protocol::names::Domain;
use mtasts::protocol::text::for_terminal;
use mtasts::sender::resolver::unix_now;
use mtasts_report::journals::{Rest, sessions};
use mtasts_report::report::{Sender, Sessions};
use mtasts_report::totals::Totals;

#[derive(Subcommand)]
pub(super) enum Report {
    Status(Status),
    Show(Show),
}

impl Report {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::Status(arguments) => arguments.run(),
            Self::Show(arguments) => arguments.run(),
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
        let rest = sessions(&store, &day, |session| totals.add(session));
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
/// Exit status: 0, or 1 if there was no session with the domain.
#[derive(Args)]
pub(super) struct Show {
    /// The mail domain.
    domain: String,
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
        let name =
            |text: &str| Domain::parse(text).map_err(|error| Trouble(format!("{:?}: {error}", for_terminal(text))));
        let domain = name(&self.domain)?;
        let submitter = self.contact.rsplit_once('@').map_or("", |(_, domain)| domain);
        let sender = Sender {
            domain: name(submitter)?,
            organization: self.organization.unwrap_or_else(|| submitter.to_owned()),
            contact: self.contact,
        };
        let (_, store) = open()?;
        let mut found = Sessions::of(domain);
        let rest = sessions(&store, &day, |session| found.add(session));
        rest.map_err(|error| Trouble(error.to_string()))?
            .ignored
            .iter()
            .for_each(|why| tell(why));
        if found.is_empty() {
            tell(&format!("the journals of {day} have no session with {}", self.domain));
            return Ok(Found::Bad);
        }
        let report = serde_json::to_string_pretty(&found.report(&day, &sender));
        let report = report.map_err(|error| Trouble(error.to_string()))?;
        print(&(json_text(&report) + "\n")).map(|()| Found::Good)
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
