//! `mtasts check`: domains as a sender sees them that enforces MTA-STS.

mod json;
mod name;
mod show;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rustls_pki_types::UnixTime;

use super::doctor::fleet_warnings;
use super::{Found, Trouble, input, output};
use mtasts::network::roots::Roots;
use mtasts::protocol::names::Domain;
use mtasts::sender::resolver::leave_root;
use mtasts::sender::settings::Settings;
use mtasts::sys::identity::NOBODY;
use mtasts_survey::judge::Outcome;
use mtasts_survey::{ca_file, judge, survey};

/// The longest list of domains that is read from stdin.
const MAX_LIST: usize = 1024 * 1024;

/// Check domains: the record, the policy, and each of the MX hosts.
///
/// Asks DNS, the policy host and the MX hosts as a sending mail server does that enforces MTA-STS, sends no mail, and
/// says what such a server would do with each host and with the mail, and what to put right. The cache is neither read
/// nor written. Name servers, roots, allowed addresses and the timeout are those of the settings file,
/// /etc/mtasts/mtasts.toml. Started by root, it asks the network as the owner of the cache directory or as nobody. If the
/// settings name the server of a fleet and something is wrong with it, a line on stderr says so: it changes no result.
///
/// An address of an MX host that cannot be reached from outside is advice and not a problem: this machine may reach it.
///
/// Exit status: 0 all is good, 1 something is to be put right, 3 something could not be determined from here, 4 the domain
/// has no MTA-STS. Of several domains the first of 1, 3, 4 that is any of theirs.
#[derive(Args)]
pub(super) struct Check {
    /// A domain, as in a recipient's address; an address or a URL is understood too. "-" reads a list from stdin.
    #[arg(required = true)]
    domain: Vec<String>,
    /// Leave the MX hosts alone: check the record, the policy and the MX records.
    #[arg(long)]
    no_smtp: bool,
    /// The longest time for one domain, such as 20s [default: that of the settings].
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Print one JSON object for each domain, on a line of its own.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let domains = self.domains()?;
        let mut settings = Settings::of_process().map_err(|error| Trouble(error.to_string()))?;
        if let Some(time) = &self.timeout {
            let set = settings.set("timeout", time);
            set.map_err(|error| Trouble(format!("--timeout: {}", error.reason)))?;
        }
        // Root never talks to the network, and this process has nothing to do as root.
        leave_root(&settings, Some(NOBODY)).map_err(|error| Trouble(error.to_string()))?;
        let roots = Arc::new(super::roots(settings.ca_file.as_deref())?);
        for warning in fleet_warnings(&settings) {
            output::tell(&format!("about this host: {warning}"));
        }
        let mut worst = Outcome::Good;
        for (index, domain) in domains.into_iter().enumerate() {
            if index > 0 && !self.json {
                output::print("\n")?;
            }
            worst = worst.max(self.one(domain, &settings, &roots)?);
        }
        Ok(match worst {
            Outcome::Good => Found::Good,
            Outcome::NoPolicy => Found::Nothing,
            Outcome::Unknown => Found::Unknown,
            Outcome::Bad => Found::Bad,
        })
    }

    /// All domains that are meant, or what is wrong with the first that is none.
    fn domains(&self) -> Result<Vec<Domain>, Trouble> {
        let mut domains = Vec::new();
        for text in &self.domain {
            if text == "-" {
                let list = input::read(Path::new("-"), MAX_LIST)?;
                let list = String::from_utf8_lossy(&list).into_owned();
                for line in list.lines().filter(|line| !line.trim().is_empty()) {
                    domains.push(name::read(line)?);
                }
            } else {
                domains.push(name::read(text)?);
            }
        }
        Ok(domains)
    }

    fn one(&self, domain: Domain, settings: &Settings, roots: &Arc<Roots>) -> Result<Outcome, Trouble> {
        let progress = Progress::new(&domain);
        let watch = |what: &str, begins: bool| progress.told(what, begins);
        let survey = survey::survey(domain, settings, roots, !self.no_smtp, &watch);
        let now = UnixTime::now();
        let mut judgement = judge::judge(&survey, &settings.addresses(), roots, now);
        if let (Some(file), Ok(system)) = (&settings.ca_file, Roots::system()) {
            ca_file::compare(&survey, &mut judgement, (file, roots), &system, now);
        }
        progress.spinner.finish_and_clear();
        if self.json {
            output::print_json(&json::object(&survey, &judgement))?;
        } else {
            show::show(&survey, &judgement).print()?;
        }
        Ok(judgement.outcome())
    }
}

/// Shows what is waited for and since when, if stderr is a terminal.
struct Progress {
    spinner: ProgressBar,
    about: String,
    waiting: Mutex<BTreeSet<String>>,
}

impl Progress {
    fn new(domain: &Domain) -> Self {
        let about = format!("asking about {domain}");
        let spinner = if io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            let spinner = ProgressBar::new_spinner().with_style(style).with_message(about.clone());
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        } else {
            ProgressBar::hidden()
        };
        Self {
            spinner,
            about,
            waiting: Mutex::default(),
        }
    }

    fn told(&self, what: &str, begins: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Names of MX hosts come from a stranger.
        let what = mtasts::protocol::text::one_line(what, 60);
        match begins {
            true => waiting.insert(what),
            false => waiting.remove(&what),
        };
        let list: Vec<&str> = waiting.iter().map(String::as_str).collect();
        self.spinner
            .set_message(format!("{}: waiting for {}", self.about, list.join(", ")));
    }
}
