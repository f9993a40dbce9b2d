//! What Exim did with a message, read from its log and said as a driver says it.

use super::host::{Fate, Outcome};
use mtasts_lab::judge::{self, End};

/// What became of a message to this recipient.
pub(crate) fn fate(to: &str, outcome: &Outcome) -> judge::Fate {
    let (fate, line) = outcome.of(to);
    // Exim does DANE, and "yes" or "dane" is its word for a certificate that it has verified.
    let verified = line.contains(" CV=yes") || line.contains(" CV=dane");
    let host = line.split(' ').find_map(|field| field.strip_prefix("H="));
    let (end, words) = match fate {
        Fate::Delivered if verified => (End::Verified, line),
        Fate::Delivered => (End::Delivered, line),
        Fate::Deferred => (End::Deferred, refusal(outcome, line).unwrap_or_else(|| reason(line))),
        Fate::Bounced => (End::Bounced, reason(line)),
    };
    let domain = to.rsplit_once('@').map_or(to, |(_, domain)| domain);
    let host = host.filter(|_| fate == Fate::Delivered).map(str::to_owned);
    judge::Fate {
        words: words.to_owned(),
        ..judge::Fate::new(domain, end, host)
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
