//! `mtasts cache refresh`: for the timer and for cron.

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::{Found, Trouble, output};
use super::open;
use mtasts::protocol::names::Domain;
use mtasts::sender::refresh::Idle;
use mtasts::sender::refresh::run::{Outcome, Run, RunError};
use mtasts::sender::resolver::Resolver;

/// Renew every policy that is due, and remove what has expired or is unused.
///
/// To be run every hour: each policy is renewed once a day, those with a short life earlier. What an administrator should
/// know is told on stderr, a line for each domain. Where another refresh is running this one does nothing.
///
/// Exit status: 0, or 1 where a policy could not be renewed or has become weaker, where a file cannot be used, or where
/// another refresh has been running for longer than it can take.
#[derive(Args)]
pub(crate) struct Refresh {
    /// Renew every policy that counts, whether or not it is due.
    #[arg(long)]
    all: bool,
    /// Print {"policies":..,"renewed":..,"weakened":..,"failed":..,"removed":..,"broken":..,"swept":..}.
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Counts {
    renewed: usize,
    weakened: usize,
    failed: usize,
    removed: usize,
    crowded: usize,
    broken: usize,
}

impl Refresh {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let (settings, _) = open()?;
        // What the context would tell is in the outcomes.
        let resolver = Resolver::with_log(settings, |_| {});
        let run = match Run::begin(&resolver) {
            Err(error @ RunError::Busy) => {
                output::tell(&error.to_string());
                return Ok(Found::Good);
            }
            Err(error @ RunError::Stuck(..)) => {
                output::tell(&error.to_string());
                return Ok(Found::Bad);
            }
            other => other.map_err(|error| Trouble(error.to_string()))?,
        };
        let (counts, bar) = (Mutex::new(Counts::default()), bar(run.count()));
        run.run(self.all, |domain, outcome| {
            let line = counts.lock().map_or(None, |mut counts| counts.count(domain, outcome));
            if let Some(line) = line {
                bar.suspend(|| output::tell(&line));
            }
            bar.inc(1);
        });
        bar.finish_and_clear();
        let counts = counts.into_inner().unwrap_or_default();
        let Counts {
            renewed,
            weakened,
            failed,
            removed,
            crowded,
            broken,
        } = counts;
        if crowded > 0 {
            // One line, for a stranger decides how many they are.
            output::tell(&format!(
                "{crowded} entries removed to keep within cache_max and cache_max_per_parent (mtasts.toml)"
            ));
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
        Ok(if weakened + failed + broken == 0 {
            Found::Good
        } else {
            Found::Bad
        })
    }
}

impl Counts {
    /// Counts an outcome, and gives the line that tells it where it is to be told.
    fn count(&mut self, domain: &Domain, outcome: Outcome) -> Option<String> {
        match outcome {
            Outcome::Waits | Outcome::FailedForNothing => None,
            Outcome::Renewed => {
                self.renewed += 1;
                None
            }
            Outcome::Weakened(what) => {
                self.weakened += 1;
                Some(format!(
                    "{what}. If this is a surprise, ask the administrator of {domain}, and run: mtasts check {domain}"
                ))
            }
            Outcome::Failed(what) => {
                self.failed += 1;
                Some(format!("{what}. Run: mtasts check {domain}"))
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
                Some(format!("{domain}: removed from the cache: {why}"))
            }
            Outcome::Broken(what) => {
                self.broken += 1;
                Some(format!(
                    "{what}. Unless a newer mtasts wrote the file, run: mtasts cache purge {domain}"
                ))
            }
        }
    }
}

/// Shows how far the run is, where somebody watches.
fn bar(count: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}
