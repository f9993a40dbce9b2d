//! The `mtasts` command: what an operator asks by hand. The library judges; the command asks and prints.
//!
//! Exit status: 0 if all is good, 1 if something is bad, 2 if nothing could be judged (wrong usage, a file that cannot be
//! read), 3 if the network did not say, 4 if there is no MTA-STS. The result is on stdout, everything else on stderr.
#![forbid(unsafe_code)]

mod cache;
mod certificate;
mod check;
mod check_mta;
mod daemon;
mod doctor;
mod exim;
mod host;
mod input;
mod lint;
mod mx_match;
mod output;
mod report;
mod serve;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use mtasts::network::roots::Roots;

/// MTA-STS (RFC 8461): check a domain as a sending mail server sees it, lint a record or a policy before it is
/// published.
#[derive(Parser)]
#[command(name = "mtasts", version, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 good, 1 bad, 2 usage or a file that cannot be read, 3 could not be determined, 4 no MTA-STS."
)]
struct Arguments {
    /// Whether the output has colours.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    color: output::Colours,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Check),
    /// Check a TXT record or a policy before it is published.
    #[command(subcommand)]
    Lint(lint::Lint),
    Match(mx_match::Match),
    Certificate(certificate::Certificate),
    /// Look at the cache of policies, and tend it.
    #[command(subcommand)]
    Cache(cache::Cache),
    Status(cache::Status),
    Doctor(doctor::Doctor),
    /// Put MTA-STS into the configuration of this host's Exim.
    #[command(subcommand)]
    Exim(exim::Exim),
    CheckMta(check_mta::CheckMta),
    /// Look at the results for TLS reports.
    #[command(subcommand)]
    Report(report::Report),
    Serve(serve::Serve),
    /// Host the MTA-STS policies of your own domains and of others.
    #[command(subcommand)]
    Host(host::Host),
    /// Print a completion script for a shell, to be sourced or installed.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    #[cfg(feature = "lab")]
    Lab(mtasts_lab::command::LabArgs),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Good,
    Bad,
    /// The network did not say.
    Unknown,
    /// The domain has no MTA-STS.
    Nothing,
    /// What `cache status` calls critical, with the number that monitoring plugins have for it.
    Critical,
}

/// Why nothing was found out: one sentence for stderr.
struct Trouble(String);

/// The roots to check certificates with: those of a file, or the system's.
fn roots(file: Option<&Path>) -> Result<Roots, Trouble> {
    let roots = match file {
        Some(file) => Roots::from_file(file),
        None => Roots::system(),
    };
    let roots = roots.map_err(|error| Trouble(error.to_string()))?;
    if let Some(warning) = roots.warning() {
        output::tell(&warning);
    }
    Ok(roots)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    output::use_colours(arguments.color);
    let found = match arguments.command {
        Command::Check(arguments) => arguments.run(),
        Command::Lint(arguments) => arguments.run(),
        Command::Match(arguments) => arguments.run(),
        Command::Certificate(arguments) => arguments.run(),
        Command::Cache(arguments) => arguments.run(),
        Command::Status(arguments) => arguments.run(),
        Command::Doctor(arguments) => arguments.run(),
        Command::Exim(arguments) => arguments.run(),
        Command::CheckMta(arguments) => arguments.run(),
        Command::Report(arguments) => arguments.run(),
        Command::Serve(arguments) => arguments.run(),
        Command::Host(arguments) => arguments.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "mtasts", &mut script);
            output::print(&String::from_utf8_lossy(&script)).map(|()| Found::Good)
        }
        #[cfg(feature = "lab")]
        Command::Lab(arguments) => return mtasts_lab::command::run(arguments),
    };
    match found {
        Ok(Found::Good) => ExitCode::SUCCESS,
        Ok(Found::Bad) => ExitCode::from(1),
        Ok(Found::Unknown) => ExitCode::from(3),
        Ok(Found::Nothing) => ExitCode::from(4),
        Ok(Found::Critical) => ExitCode::from(2),
        Err(Trouble(sentence)) => {
            output::tell(&sentence);
            ExitCode::from(2)
        }
    }
}
