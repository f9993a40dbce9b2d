//! `mtasts cache refresh`: for the timer and for cron.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::{Found, Trouble, output};
use super::summary::Summary;
use super::{Look, fleet, open, prometheus};
use mtasts::protocol::names::Domain;
use mtasts::sender::notice::Token;
use mtasts::sender::refresh::Idle;
use mtasts::sender::refresh::run::{Outcome, Run, RunError};
use mtasts::sender::resolver::Resolver;
use mtasts::sender::validator::examine;

/// Renew every policy that is due, and remove what has expired or is unused.
///
/// Run it every hour. Each policy is renewed once a day, those with a short life earlier. What an administrator should
/// know is logged on stderr, a line for each domain, which begins with a token (docs/log.md). If another refresh is
/// running, this one does nothing.
///
/// Exit status: 0; or 1 if a policy could not be renewed or has become weaker, if a file cannot be used, or if another
/// refresh has been running for longer than it can take.
#[derive(Args)]
pub(crate) struct Refresh {
    /// Renew every policy that is in force, whether or not it is due.
    #[arg(long)]
    all: bool,
    /// Print {"policies":..,"renewed":..,"weakened":..,"failed":..,"removed":..,"broken":..,"swept":..}.
    #[arg(long)]
    json: bool,
    /// Write metrics to this file, which is replaced as a whole: for the textfile collector of Prometheus's node_exporter.
    /// The owner of the cache directory must be able to write to the file's directory.
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) renewed: usize,
    pub(super) weakened: usize,
    pub(super) failed: usize,
    pub(super) removed: usize,
    crowded: usize,
    pub(super) broken: usize,
}

impl Refresh {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let (settings, store) = open()?;
        let begun = Instant::now();
        // What the context would tell is in the outcomes.
        let resolver = Resolver::with_log(settings, |_| {});
        let run = match Run::begin(&resolver) {
            Err(error @ RunError::Busy) => {
                output::log(Token::RefreshRunning, &error.to_string());
                return Ok(Found::Good);
            }
            Err(error @ RunError::Stuck(..)) => {
                output::log(Token::RefreshStuck, &error.to_string());
                return Ok(Found::Bad);
            }
            other => other.map_err(|error| Trouble(error.to_string()))?,
        };
        let (counts, bar) = (Mutex::new(Counts::default()), bar(run.count()));
        run.run(self.all, |domain, outcome| {
            let notice = counts.lock().map_or(None, |mut counts| counts.count(domain, outcome));
            if let Some((token, sentence)) = notice {
                bar.suspend(|| output::log(token, &sentence));
            }
            bar.inc(1);
        });
        bar.finish_and_clear();
        let counts = counts.into_inner().unwrap_or_default();
        let &Counts {
            renewed,
            weakened,
            failed,
            removed,
            crowded,
            broken,
        } = &counts;
        if crowded > 0 {
            // One line, for a stranger decides how many they are.
            let sentence =
                format!("{crowded} entries removed to keep within cache_max and cache_max_per_parent (mtasts.toml)");
            output::log(Token::CacheFull, &sentence);
        }
        let (policies, swept) = (run.count(), run.swept);
        if self.json {
            output::print_json(&json!({
                "policies": policies, "renewed": renewed, "weakened": weakened, "failed": failed, "removed": removed,
                "broken": broken, "swept": swept,
            }))?;
        } else {
            output::print(&format!(
                "{policies} entries: {renewed} renewed, {weakened} weakened, {failed} failed, {removed} removed, \
                 {broken} not usable\n"
            ))?;
        }
        if let Some(file) = &self.prometheus {
            let summary = Summary::read(&store, resolver.settings())?;
            let took = begun.elapsed();
            let settings = resolver.settings();
            let dane = examine(settings, Instant::now() + settings.timeout);
            let fleet = match fleet::look(settings) {
                Look::None => "off",
                Look::Gone(_) => "down",
                Look::There(..) => "up",
            };
            prometheus::write(file, &prometheus::page(&summary, &counts, took, &dane, fleet))?;
        }
        Ok(if weakened + failed + broken == 0 {
            Found::Good
        } else {
            Found::Bad
        })
    }
}

impl Counts {
    /// Counts an outcome, and gives what the administrator should know of it.
    fn count(&mut self, domain: &Domain, outcome: Outcome) -> Option<(Token, String)> {
        match outcome {
            Outcome::Waits | Outcome::FailedForNothing => None,
            Outcome::Renewed => {
                self.renewed += 1;
                None
            }
            Outcome::Weakened(what) => {
                self.weakened += 1;
                let what_to_do =
                    format!("If this is a surprise, ask the administrator of {domain}, and run: mtasts check {domain}");
                Some((what.token, format!("{}. {what_to_do}", what.sentence)))
            }
            Outcome::Failed(what) => {
                self.failed += 1;
                Some((what.token, format!("{}. Run: mtasts check {domain}", what.sentence)))
            }
            Outcome::Removed(why) => {
                self.removed += 1;
                let why = match why {
                    Idle::NoPolicy => "no policy is in force",
                    Idle::Unused => "not used for half a year",
                    Idle::NeverHad => return None,
                    Idle::Crowded => {
                        self.crowded += 1;
                        return None;
                    }
                };
                Some((Token::EntryRemoved, format!("{domain}: removed from the cache: {why}")))
            }
            Outcome::Broken(what) => {
                self.broken += 1;
                let what_to_do = format!("Unless a newer mtasts wrote the file, run: mtasts cache purge {domain}");
                Some((what.token, format!("{}. {what_to_do}", what.sentence)))
            }
        }
    }
}

/// Shows how far the run is, if stderr is a terminal.
fn bar(count: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}
