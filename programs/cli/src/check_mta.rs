//! `mtasts check-mta`: what in a mail server's own settings makes the policies worthless.

mod exim;
mod postfix;
mod sendmail;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Found, Trouble, output};

/// Look for what makes the policies worthless in the settings of this host's mail server.
///
/// Asks the mail server for its settings, as they are in force (postconf -x, sendmail -d0.13 and its sendmail.cf, exim -bP). It
/// changes nothing.
///
/// Exit status: 0 nothing was found, 1 something is to be put right, 2 the settings cannot be read.
#[derive(Args)]
pub(super) struct CheckMta {
    /// The mail server.
    #[arg(value_enum)]
    mta: Mta,
    /// Print one JSON object with the list of what was found.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mta {
    Postfix,
    Sendmail,
    Exim,
}

/// Something to be put right.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Problem {
    /// A short stable name.
    code: &'static str,
    /// What is wrong, and what to do.
    sentence: String,
}

impl CheckMta {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let problems = match self.mta {
            Mta::Postfix => postfix::check()?,
            Mta::Sendmail => sendmail::check()?,
            Mta::Exim => exim::check()?,
        };
        if self.json {
            output::print_json(&serde_json::json!({ "problems": problems }))?;
        } else if problems.is_empty() {
            output::print("nothing was found\n")?;
        } else {
            let lines: String = problems
                .iter()
                .map(|one| format!("{}: {}\n", one.code, one.sentence))
                .collect();
            output::print(&lines)?;
        }
        Ok(if problems.is_empty() { Found::Good } else { Found::Bad })
    }
}
