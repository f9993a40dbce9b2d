//! `mtasts check`: a domain as a sender sees it that enforces MTA-STS.

mod json;
mod show;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rustls_pki_types::UnixTime;

use super::{Found, Trouble, output};
use mtasts::protocol::names::Domain;
use mtasts::sender::resolver::leave_root;
use mtasts::sender::settings::Settings;
use mtasts::sys::identity::NOBODY;
use mtasts_survey::{judge, survey};

/// Check a domain: its record, its policy, and each of its MX hosts.
///
/// Asks DNS, the policy host and the MX hosts as a sending mail server does that enforces MTA-STS, sends no mail, and
/// says what such a server would do with each host and with the mail, and what to put right. The cache is neither read
/// nor written. Name servers, roots, allowed addresses and the timeout are those of the settings file,
/// /etc/mtasts/mtasts.toml. Started by root, it asks the network as the owner of the cache directory or as nobody.
///
/// An address of an MX host that cannot be reached from outside is advice and not a problem: this machine may reach it.
///
/// Exit status: 0 all is good, 1 something is to be put right.
#[derive(Args)]
pub(super) struct Check {
    /// The domain, as in a recipient's address.
    domain: Domain,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let settings = Settings::of_process().map_err(|error| Trouble(error.to_string()))?;
        // Root never talks to the network, and this process has nothing to do as root.
        leave_root(&settings, Some(NOBODY)).map_err(|error| Trouble(error.to_string()))?;
        let roots = Arc::new(super::roots(settings.ca_file.as_deref())?);
        let spinner = spinner(&self.domain);
        let survey = survey::survey(self.domain, &settings, &roots);
        let judgement = judge::judge(&survey, &settings.addresses(), &roots, UnixTime::now());
        spinner.finish_and_clear();
        if self.json {
            output::print_json(&json::object(&survey, &judgement))?;
        } else {
            show::show(&survey, &judgement).print()?;
        }
        Ok(if judgement.problems.is_empty() {
            Found::Good
        } else {
            Found::Bad
        })
    }
}

/// Shows progress, if stderr is a terminal.
fn spinner(domain: &Domain) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(format!("asking about {domain}"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
