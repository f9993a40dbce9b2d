//! `mtasts doctor`: what on this host makes mail wait, or leaves it unprotected.
//!
//! It looks and changes nothing, asks no network but the name servers and the server of a fleet, and no part of it takes long. What only root may
//! read is read first. Then a process of root becomes the user of the cache, for good, and sees the rest as that user does.

mod cache;
mod exim;
mod finding;
mod fleet;
mod haraka;
mod library;
mod policies;
mod program;
mod resolver;
mod roots;
mod server;
mod settings;
mod timer;
mod users;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::{self, Mark, Page};
use super::{Found, Trouble};
use finding::{Finding, Level};
pub(super) use fleet::warnings as fleet_warnings;
use mtasts::sender::resolver::leave_root;
use mtasts::sys::identity::NOBODY;

/// Look for what on this host makes mail wait, or leaves it unprotected.
///
/// Looks at the settings, the cache and its users, the trust anchors, the name servers, the server of the fleet, the clock, the refresh, the library,
/// the configurations of Exim and Haraka, and the server. Each line is a level, a code and a sentence with what to do. Nothing is changed, and only
/// the name servers and that server are asked. As root it sees everything; another user is told what this user may not read.
///
/// Exit status: 0 all is right (there may be warnings), 1 something is to be repaired, 3 something could not be determined.
#[derive(Args)]
pub(super) struct Doctor {
    /// The directory of Haraka, in which config is [default: that of a running Haraka, or /etc/haraka].
    #[arg(long, value_name = "DIRECTORY")]
    haraka: Option<PathBuf>,
    /// Print one JSON object: {"outcome":..,"findings":[{"level":..,"code":..,"sentence":..}]}.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let found = self.look();
        let worst = found.iter().map(|finding| finding.code.level()).max();
        let (outcome, result) = match worst {
            Some(Level::Error) => ("bad", Found::Bad),
            Some(Level::Unknown) => ("unknown", Found::Unknown),
            _ => ("good", Found::Good),
        };
        if self.json {
            let findings = found.iter().map(|finding| {
                json!({
                    "level": finding.code.level().name(),
                    "code": finding.code.name(),
                    "sentence": finding.sentence,
                })
            });
            output::print_json(&json!({ "outcome": outcome, "findings": findings.collect::<Vec<_>>() }))?;
        } else {
            let mut page = Page::new();
            for finding in &found {
                let mark = match finding.code.level() {
                    Level::Ok => Mark::Good,
                    Level::Warning => Mark::Warning,
                    Level::Unknown => Mark::Unknown,
                    Level::Error => Mark::Bad,
                };
                let text = format!("{}: {}", finding.code.name(), finding.sentence);
                page.row(mark, finding.code.level().name(), &text);
            }
            page.print()?;
        }
        Ok(result)
    }

    fn look(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let exim = exim::ask();
        let settings = settings::look(&mut found);
        cache::look(&settings, &mut found);
        let (mut users, mut more) = (users::Users::default(), Vec::new());
        timer::look(&mut users, &mut more);
        library::look(&mut more);
        exim.look(&mut more);
        haraka::look(self.haraka.as_deref(), &mut users, &mut more);
        server::look(&mut more);
        users.look(&settings, &mut found);
        // Root never talks to the network, and reads nothing in the cache.
        if let Err(error) = leave_root(&settings, Some(NOBODY)) {
            found.push(Finding::new(finding::Code::ResolverUnknown, error.to_string()));
            found.append(&mut more);
            return found;
        }
        // What root's user cannot read is said already.
        if !found.iter().any(|finding| finding.code == finding::Code::CacheRoot) {
            policies::look(&settings, &mut found);
        }
        roots::look(&settings, &mut found);
        resolver::look(&settings, &mut found);
        resolver::look_for_dane(&settings, &mut found);
        fleet::look(&settings, &mut found);
        cache::clock(&settings, &mut found);
        found.append(&mut more);
        found
    }
}
