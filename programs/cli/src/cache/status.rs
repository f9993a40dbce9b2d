//! `mtasts status` and `mtasts cache status`: the cache and the server in one line, as a plugin of Nagios, Icinga or Zabbix.

use clap::Args;

use super::super::daemon::{self, Daemon, Said};
use super::super::{Found, Trouble, output};
use super::open;
use super::summary::{Affected, Summary};
use mtasts::protocol::calendar;

/// The timer starts the refresh every hour. What has missed it so often is to be looked at.
const LATE: u64 = 3 * 3600;
/// Each policy is renewed once a day.
const MUCH_TOO_LATE: u64 = 86_400;

/// Say in one line how the cache and the server are, as a plugin of Nagios does, with performance data.
///
/// The network is not asked, but the servers on this host are. Exit status: 0 OK; 1 WARNING: a policy could not be renewed, a file cannot be used, a pin ends
/// within a week, no refresh has run for three hours, or the server (mtasts serve) has another version than this command; 2
/// CRITICAL: a policy that could not be renewed expires within a day or within a quarter of a shorter life, no refresh has run
/// for a day, or a server runs and does not answer; 3 UNKNOWN: the cache cannot be read. Wrong usage is
/// 2 as for every command.
#[derive(Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self) -> Result<Found, Trouble> {
        // A process of root sees all of them, and then it is root no more.
        let servers = daemon::running();
        let read = open().and_then(|(settings, store)| Summary::read(&store, &settings));
        let (found, line) = match read {
            Ok(summary) => judged(&summary, &servers.iter().map(Daemon::ask).collect::<Vec<_>>()),
            // Whoever reads a plugin reads its stdout.
            Err(Trouble(sentence)) => (
                Found::Unknown,
                format!("MTA-STS UNKNOWN: {}", sentence.replace('|', "/")),
            ),
        };
        output::print_line(&line)?;
        Ok(found)
    }
}

/// The state, and the line that says it: first what is wrong, the worst before the rest.
fn judged(summary: &Summary, servers: &[Said]) -> (Found, String) {
    let (mut critical, mut warning, mut good) = (Vec::new(), Vec::new(), Vec::new());
    for said in servers {
        match said {
            Said::Silent(what) => critical.push(what.replace('|', "/")),
            Said::Other(what) => warning.push(what.clone()),
            Said::Answers(what) | Said::NotAsked(what) => good.push(what.clone()),
        }
    }
    let affected = |affected: &Affected, sentence: &str| match affected.count {
        0 => None,
        count => Some(format!("{count} {sentence}: {}", affected.named())),
    };
    critical.extend(affected(&summary.expiring, "not renewed and soon expired"));
    warning.extend(affected(&summary.failing, "not renewed"));
    warning.extend(affected(&summary.broken, "not usable"));
    warning.extend(affected(&summary.pins_ending, "pinned for less than a week"));
    let age = summary.refresh_begun.map(|begun| summary.now.saturating_sub(begun));
    let refresh = age.map_or_else(
        || "no refresh yet".to_owned(),
        |age| format!("last refresh {} ago", calendar::span(age)),
    );
    // An empty cache needs none.
    match age {
        _ if summary.entries == 0 => {}
        Some(age) if age <= LATE => {}
        Some(age) if age > MUCH_TOO_LATE => critical.push(refresh.clone()),
        _ => warning.push(refresh.clone()),
    }
    let (found, state) = match (critical.is_empty(), warning.is_empty()) {
        (false, _) => (Found::Critical, "CRITICAL"),
        (true, false) => (Found::Bad, "WARNING"),
        (true, true) => (Found::Good, "OK"),
    };
    let (policies, enforced) = (summary.policies(), summary.enforced);
    let wrong = [critical, warning].concat();
    let mut sentences = wrong.clone();
    sentences.push(format!("{policies} policies in force, {enforced} enforced"));
    if !wrong.contains(&refresh) {
        sentences.push(refresh);
    }
    sentences.extend(good);
    let age = age.map_or_else(String::new, |age| format!(" refresh_age={age}s;{LATE};{MUCH_TOO_LATE}"));
    let (failing, expiring, broken) = (summary.failing.count, summary.expiring.count, summary.broken.count);
    let line = format!(
        "MTA-STS {state}: {} | policies={policies} enforced={enforced} not_renewed={failing};0 expiring={expiring};;0 \
         not_usable={broken};0 pins={} exceptions={}{age}",
        sentences.join("; "),
        summary.pins,
        summary.exceptions,
    );
    (found, line)
}
