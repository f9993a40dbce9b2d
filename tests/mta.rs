//! A real Postfix and a real Sendmail that get their TLS policies from `mtasts serve`, on the test Internet: a mail to every
//! domain. Needs root; gets both with apt and unpacks them below target/ (see tests/mta/fetch.sh).

#[path = "mta/changes.rs"]
mod changes;
#[path = "mta/host.rs"]
mod host;
#[path = "mta/hosted.rs"]
mod hosted;
#[path = "mta/postfix.rs"]
mod postfix;
#[path = "mta/reports.rs"]
mod reports;
#[path = "mta/sendmail.rs"]
mod sendmail;
#[path = "serve/server.rs"]
#[allow(dead_code, reason = "tests/serve.rs uses all of it")]
mod server;

use mtasts_kit::drivers::follow;
use mtasts_lab::judge::{End, Fate, Rules};
use mtasts_lab::{Entry, Lab};

/// Where the table is not followed, what is done instead, and why. One that is gone fails the test.
type Differs<'a> = &'a [(&'a str, End, &'a str)];

/// What became of a mail to each domain is what the table says.
fn judge(lab: &Lab, cases: &[Entry], fates: &[Fate], differs: Differs<'_>) {
    judge_with(lab, cases, fates, differs, false);
}

/// The same, of an MTA that does DANE.
fn judge_with(lab: &Lab, cases: &[Entry], fates: &[Fate], differs: Differs<'_>, dane: bool) {
    let rules = Rules {
        dane,
        differs: differs
            .iter()
            .map(|(name, end, _)| ((*name).to_owned(), *end))
            .collect(),
        ..Rules::default()
    };
    follow(lab, cases, fates, &rules);
}
