//! `mtasts exim`: puts what is in examples/exim into the configuration of this host's Exim, says what is there, and takes it
//! out again.

pub(crate) mod block;
mod change;
pub(crate) mod configuration;
mod install;
mod plain;
mod plan;
mod status;

use clap::Subcommand;

use super::{Found, Trouble};
use configuration::Configuration;

#[derive(Subcommand)]
pub(super) enum Exim {
    Install(install::Install),
    Status(status::Status),
    Remove(install::Remove),
}

impl Exim {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::Install(arguments) => arguments.run(),
            Self::Remove(arguments) => arguments.run(),
            Self::Status(arguments) => arguments.run(),
        }
    }
}

/// The configuration in force, of an Exim that has to be there.
fn in_force() -> Result<Configuration, Trouble> {
    let configuration = configuration::in_force().map_err(Trouble)?;
    configuration.ok_or_else(|| {
        Trouble(
            "there is no Exim on this host: neither exim4 nor exim is in sbin or bin of /usr and /usr/local, or in /usr/exim/bin"
                .to_owned(),
        )
    })
}
