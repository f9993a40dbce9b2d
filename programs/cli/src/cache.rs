//! `mtasts cache`: the policies that this host holds.
//!
//! Root works as the setting `user` or as the owner of the cache directory: nothing in it is read, parsed or written as
//! root. Only `setup` is root's work: it changes owners and modes, and opens no file.

mod describe;
mod exceptions;
mod fleet;
mod list;
mod pin;
mod prometheus;
mod purge;
mod refresh;
mod setup;
mod show;
mod status;
mod summary;
mod transfer;

use clap::Subcommand;

pub(super) use fleet::{Look, PLAIN, look};
pub(super) use status::Status;

use super::{Found, Trouble};
use mtasts::cache::store::Store;
use mtasts::sender::resolver::leave_root;
use mtasts::sender::settings::Settings;

#[derive(Subcommand)]
pub(super) enum Cache {
    List(list::List),
    Show(show::Show),
    Status(Status),
    Refresh(refresh::Refresh),
    Purge(purge::Purge),
    Pin(pin::Pin),
    Export(transfer::Export),
    Import(transfer::Import),
    Exceptions(exceptions::Exceptions),
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    Setup(setup::Setup),
}

impl Cache {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::List(arguments) => arguments.run(),
            Self::Show(arguments) => arguments.run(),
            Self::Status(arguments) => arguments.run(),
            Self::Refresh(arguments) => arguments.run(),
            Self::Purge(arguments) => arguments.run(),
            Self::Pin(arguments) => arguments.run(),
            Self::Export(arguments) => arguments.run(),
            Self::Import(arguments) => arguments.run(),
            Self::Exceptions(arguments) => arguments.run(),
            Self::Fleet(command) => command.run(),
            Self::Setup(arguments) => arguments.run(),
        }
    }
}

/// The settings of this host, and its cache. A process of root becomes the owner of the cache directory here, for good:
/// what only root may read is read before.
pub(super) fn open() -> Result<(Settings, Store), Trouble> {
    let settings = settings()?;
    let Some(dir) = settings.cache_dir.clone() else {
        return Err(Trouble(
            "policies are kept in memory alone, because cache_dir is empty: each mail server process has its own, and there \
             is no cache to look into"
                .to_owned(),
        ));
    };
    leave_root(&settings, None).map_err(|error| Trouble(error.to_string()))?;
    Ok((settings, Store::new(dir)))
}

pub(super) fn settings() -> Result<Settings, Trouble> {
    Settings::of_process().map_err(|error| Trouble(error.to_string()))
}

/// Writes in pieces: lists of any length in little memory.
struct Lines {
    text: String,
}

impl Lines {
    const PIECE: usize = 64 * 1024;

    const fn new() -> Self {
        Self { text: String::new() }
    }

    fn push(&mut self, line: &str) -> Result<(), Trouble> {
        self.text.push_str(line);
        if self.text.len() >= Self::PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        let printed = super::output::print(&self.text);
        self.text.clear();
        printed
    }
}
