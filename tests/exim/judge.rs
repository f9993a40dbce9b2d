//! Did Exim do what the lab's table says a conformant sender must do?

use super::host::{Fate, Outcome};
use mtasts_lab::{Entry, Expect, Mail};

/// What Exim did with one message, in words, and whether that was right.
pub(crate) struct Verdict {
    /// "delivered over verified TLS to mx.good.test", "deferred: no MX host of ..."
    pub(crate) did: String,
    /// As the table wants it.
    pub(crate) right: bool,
    /// Exim's log line.
    pub(crate) line: String,
}

/// Judges a message to `to` at the domain of `entry`; `mail` is what the lab received for it.
pub(crate) fn judge(entry: &Entry, to: &str, outcome: &Outcome, mail: &[Mail]) -> Verdict {
    let (fate, line) = outcome.of(to);
    // Exim does DANE, and "yes" or "dane" is its word for a certificate that it has verified.
    let verified = line.contains(" CV=yes") || line.contains(" CV=dane");
    let hosts: Vec<&str> = mail.iter().map(|mail| mail.host.as_str()).collect();
    let over_tls = mail.iter().all(|mail| mail.tls.is_some());
    // Where two MX names share an address, only Exim knows which of them it meant.
    let meant = |host: &String| hosts[0] == host || line.contains(&format!(" H={host} "));
    let only_at = |allowed: &[String]| hosts.len() == 1 && allowed.iter().any(meant);
    let safe = |allowed: &[String]| fate == Fate::Delivered && verified && over_tls && only_at(allowed);
    let waits = fate == Fate::Deferred && mail.is_empty();
    let right = match entry.expect_dane.as_ref().unwrap_or(&entry.expect) {
        Expect::DeliverVerified { hosts } => safe(hosts),
        Expect::DeliverVerifiedOrDefer { hosts } => safe(hosts) || waits,
        Expect::Deliver => fate == Fate::Delivered && hosts.len() == 1,
        Expect::Defer { .. } => waits,
        Expect::Bounce => fate == Fate::Bounced && mail.is_empty(),
    };
    let did = match fate {
        Fate::Delivered => {
            let how = match (verified, over_tls) {
                (true, true) => " over verified TLS",
                (false, true) => " over unverified TLS",
                (_, false) => " in clear",
            };
            format!("delivered{how} to {}", hosts.join(" and "))
        }
        Fate::Deferred => format!("deferred: {}", refusal(outcome, line).unwrap_or_else(|| reason(line))),
        Fate::Bounced => format!("bounced: {}", reason(line)),
    };
    Verdict {
        did,
        right,
        line: line.to_owned(),
    }
}

/// Why the event refused the certificate: Exim says so in a line of its own.
fn refusal<'a>(outcome: &'a Outcome, line: &str) -> Option<&'a str> {
    let message = line.split(' ').nth(2)?;
    let of_it = |line: &&str| line.split(' ').nth(2) == Some(message);
    let (_, denied) = outcome
        .log
        .lines()
        .filter(of_it)
        .find_map(|line| line.split_once(" verify denied by event-action: "))?;
    Some(denied.split_once(": ")?.1)
}

/// What stands behind the fields of a log line.
fn reason(line: &str) -> &str {
    let fields = line.find(" defer").or_else(|| line.find(" ** ")).unwrap_or(0);
    line[fields..].split_once(": ").map_or(line, |(_, reason)| reason)
}
