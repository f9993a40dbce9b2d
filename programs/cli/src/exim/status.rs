//! `mtasts exim status`: which configuration is in force, and what is in it.

use clap::Args;

use super::super::output::{Mark, Page};
use super::super::{Found, Trouble};
use super::block::State;
use super::configuration::{Configuration, Kind};
use super::in_force;

/// Say which Exim configuration is in force on this host, and what of ours is in it.
///
/// Exit status: 0 if mail is under MTA-STS as this version does it, 1 if not.
#[derive(Args)]
pub(crate) struct Status {}

impl Status {
    pub(super) fn run(&self) -> Result<Found, Trouble> {
        let configuration = in_force()?;
        let mut page = Page::new();
        for (mark, line) in lines(&configuration) {
            page.line(mark, &line);
        }
        page.print()?;
        Ok(match configuration.is_current() {
            true => Found::Good,
            false => Found::Bad,
        })
    }
}

fn lines(configuration: &Configuration) -> Vec<(Mark, String)> {
    let exim = &configuration.exim;
    let mut lines = vec![match exim.dlfunc {
        true => (
            Mark::Good,
            format!("Exim {} ({})", exim.version, exim.program.display()),
        ),
        false => (
            Mark::Bad,
            format!(
                "Exim {} ({}) cannot call a library: {}",
                exim.version,
                exim.program.display(),
                needed(configuration.kind)
            ),
        ),
    }];
    lines.push((
        Mark::Good,
        format!("{}: {}", configuration.file.display(), configuration.kind.name()),
    ));
    for part in &configuration.parts {
        let (mark, what) = match &part.state {
            State::Current => (Mark::Good, "as this version ships it".to_owned()),
            State::Absent => (Mark::Bad, "is not there".to_owned()),
            State::Edited => (Mark::Warning, "was edited, or copied from another version".to_owned()),
            State::Outdated { version } if version == env!("CARGO_PKG_VERSION") => (
                Mark::Warning,
                "the configuration around it has changed since: run mtasts exim install".to_owned(),
            ),
            State::Outdated { version } => (
                Mark::Warning,
                format!("is of libmtasts {version}: run mtasts exim install"),
            ),
        };
        let place = match part.file.ends_with(part.name) {
            true => part.file.display().to_string(),
            false => format!("{}: {}", part.file.display(), part.name),
        };
        lines.push((mark, format!("{place}: {what}")));
    }
    let absent = configuration.parts.iter().all(|part| part.state == State::Absent);
    if absent {
        lines.push(match (configuration.asks, &configuration.unplaceable) {
            (true, _) => (
                Mark::Warning,
                "the library is asked in another place: somebody has written a configuration by hand".to_owned(),
            ),
            (false, Some(why)) => (
                Mark::Bad,
                format!("no mail is under MTA-STS, and mtasts exim install cannot place its parts: {why}"),
            ),
            (false, None) => (
                Mark::Bad,
                "no mail is under MTA-STS: run mtasts exim install".to_owned(),
            ),
        });
    }
    if configuration.stale {
        lines.push((
            Mark::Bad,
            format!(
                "{} was made of other parts than are there now: run update-exim4.conf",
                configuration.file.display()
            ),
        ));
    }
    if let Some(kind) = configuration.config_type.as_deref().filter(|kind| !sends(kind)) {
        lines.push((
            Mark::Warning,
            format!("dc_eximconfig_configtype is '{kind}': our parts do nothing there"),
        ));
    }
    lines
}

/// The configuration types of Debian in which mail goes to other hosts.
pub(super) fn sends(config_type: &str) -> bool {
    ["internet", "smarthost", "satellite"].contains(&config_type)
}

/// What an Exim without dlfunc needs.
pub(super) const fn needed(kind: Kind) -> &'static str {
    match kind {
        Kind::Plain => "it was built without EXPAND_DLFUNC. Install one that was built with it",
        _ => "install exim4-daemon-heavy in place of exim4-daemon-light",
    }
}
