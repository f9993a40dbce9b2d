//! `mtasts exim install` and `mtasts exim remove`.

use std::process::Command;

use clap::Args;

use super::super::{Found, Trouble, output};
use super::block::{self, State};
use super::change::{self, Change};
use super::configuration::Configuration;
use super::status::{needed, sends};
use super::{in_force, plain, plan};
use mtasts::protocol::text::two_sentences;
use mtasts::sender::resolver::Resolver;
use mtasts::sender::settings::Settings;

/// Put MTA-STS into the Exim configuration that is in force on this host.
///
/// In Debian's split configuration that is three files in conf.d; in its unsplit one, three blocks in exim4.conf.template; in
/// a configuration in one file, three blocks in that. Exim has to accept the new configuration before anything is changed,
/// and if anything fails, nothing is. A second time it changes nothing.
///
/// Exit status: 0, or 1 if nothing was installed, with the reason on stderr.
#[derive(Args)]
pub(crate) struct Install {
    #[command(flatten)]
    how: How,
}

/// Take out of the Exim configuration what mtasts exim install has put in.
///
/// Each file is again as it was before. Exit status: 0, or 1 if nothing was removed, with the reason on stderr.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
struct How {
    /// Print the difference, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do it also if our parts were edited since. The edits are lost.
    #[arg(long)]
    discard_edits: bool,
}

impl Install {
    pub(super) fn run(&self) -> Result<Found, Trouble> {
        let configuration = in_force()?;
        if let Err(why) = may_install(&configuration) {
            return Ok(refused(&why));
        }
        let changes = match plan::install(&configuration) {
            Ok(changes) => changes,
            Err(why) => {
                by_hand()?;
                let file = configuration.file.display();
                return Ok(refused(&format!(
                    "{file}: {why}. Put the parts printed above into it by hand"
                )));
            }
        };
        if !configuration.kind.is_generated()
            && let Some(change) = changes.first()
        {
            for router in plain::exempt(&plain::without(change.before.as_deref().unwrap_or_default())) {
                output::tell(&format!(
                    "mail that the router {router} routes is not under MTA-STS: it comes before"
                ));
            }
        }
        self.how.carry_out(&configuration, &changes, true)
    }
}

impl Remove {
    pub(super) fn run(&self) -> Result<Found, Trouble> {
        let configuration = in_force()?;
        match plan::remove(&configuration) {
            Ok(changes) => self.how.carry_out(&configuration, &changes, false),
            Err(why) => Ok(refused(&why)),
        }
    }
}

impl How {
    fn carry_out(&self, configuration: &Configuration, changes: &[Change], install: bool) -> Result<Found, Trouble> {
        let edited = configuration.parts.iter().find(|part| part.state == State::Edited);
        if let Some(part) = edited.filter(|_| !self.discard_edits) {
            return Ok(refused(&format!(
                "{}: {} was edited, or copied from another version. With --discard-edits the edits are lost; --dry-run beside \
                 it shows them",
                part.file.display(),
                part.name
            )));
        }
        if changes.is_empty() && !configuration.stale {
            output::print("nothing to do\n")?;
            return Ok(Found::Good);
        }
        if let Err(why) = plan::check(configuration, changes, install) {
            return Ok(refused(&why));
        }
        if self.dry_run {
            for change in changes {
                output::print(&change.difference().map_err(Trouble)?)?;
            }
            return Ok(Found::Good);
        }
        let generated = configuration.kind.is_generated();
        let update = || match generated {
            true => plan::run(&mut Command::new("update-exim4.conf")).map(drop),
            false => Ok(()),
        };
        if let Err(why) = change::apply(changes, update) {
            return Ok(refused(&why));
        }
        let mut text = String::new();
        for change in changes {
            let what = match (&change.before, &change.after) {
                (_, None) => "removed",
                (None, _) => "written",
                _ if !install => "our parts taken out",
                _ => "our parts put in",
            };
            text += &format!("{}: {what}\n", change.file.display());
        }
        if generated {
            text += &format!("{}: made anew by update-exim4.conf\n", configuration.file.display());
        }
        text += "the daemon reads this when it is reloaded: systemctl reload exim4\n";
        output::print(&text)?;
        Ok(Found::Good)
    }
}

/// Why our parts must not be put into this configuration. With them, all mail would be deferred.
fn may_install(configuration: &Configuration) -> Result<(), String> {
    let exim = &configuration.exim;
    if !exim.dlfunc {
        return Err(format!(
            "{} cannot call a library: {}. The configuration stays as it is",
            exim.program.display(),
            needed(configuration.kind)
        ));
    }
    if let Some(kind) = configuration.config_type.as_deref().filter(|kind| !sends(kind)) {
        return Err(format!(
            "dc_eximconfig_configtype is '{kind}' in /etc/exim4/update-exim4.conf.conf, and our parts are for 'internet', \
             'smarthost' and 'satellite'"
        ));
    }
    if configuration.asks && configuration.parts.iter().all(|part| part.state == State::Absent) && !configuration.stale
    {
        return Err(format!(
            "{} asks the library already, in lines that mtasts exim install did not write. Take these out first",
            configuration.file.display()
        ));
    }
    let settings = Settings::of_process().map_err(|error| error.to_string())?;
    // It asks no network, and fails if a lookup in Exim would.
    match Resolver::new(settings).lookup_cached("example.com") {
        Err(why) => Err(format!("mail to every domain would be deferred: {why}")),
        Ok(_) => Ok(()),
    }
}

fn refused(why: &str) -> Found {
    output::tell(&two_sentences(why, "Nothing was changed."));
    Found::Bad
}

/// Prints the parts as they are shipped, for a configuration in which a person has to find the place.
fn by_hand() -> Result<(), Trouble> {
    let parts = plain::NAMES
        .into_iter()
        .map(|name| block::of(name, plain::shipped(name)));
    output::print(&parts.collect::<String>())
}
