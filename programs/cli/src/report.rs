//! `mtasts report`: the results for TLS reports (RFC 8460) that the mail servers of this host have left.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::cache::open;
use super::output::{json_line, print, tell};
use super::{Found, Trouble};
use mtasts::protocol::calendar;
use mtasts::protocol::text::for_terminal;
use mtasts::sender::resolver::unix_now;
use mtasts_report::totals::Totals;

#[derive(Subcommand)]
pub(super) enum Report {
    Status(Status),
}

impl Report {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::Status(arguments) => arguments.run(),
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
        let day = self.day.unwrap_or_else(|| calendar::date(unix_now()));
        if calendar::day(&day).is_none() {
            return Err(Trouble(format!(
                "{:?} is not a day such as 2026-12-31",
                for_terminal(&day)
            )));
        }
        let (_, store) = open()?;
        let totals = Totals::of_day(&store, &day).map_err(|error| Trouble(error.to_string()))?;
        totals.ignored.iter().for_each(|why| tell(why));
        print(&if self.json {
            json_line(&as_json(&day, &totals))
        } else {
            as_text(&day, &totals)
        })?;
        let is_whole = totals.lost.is_empty() && totals.ignored.is_empty() && totals.unreadable == 0;
        Ok(if is_whole { Found::Good } else { Found::Bad })
    }
}

fn as_json(day: &str, totals: &Totals) -> Value {
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
        "unreadable": totals.unreadable,
        "lost": totals.lost,
        "domains": domains.collect::<Vec<_>>(),
    })
}

fn as_text(day: &str, totals: &Totals) -> String {
    let lost: u64 = totals.lost.values().sum();
    let mut text = format!("{day}: {} sessions with MX hosts, {lost} lost", totals.sessions());
    if totals.unreadable > 0 {
        text += &format!(", {} lines that cannot be read", totals.unreadable);
    }
    text += "\n";
    for (reason, count) in &totals.lost {
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
