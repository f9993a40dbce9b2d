//! One case list for every MTA: the table. What an MTA did with a mail to each domain is one line, and here are the rules
//! that say whether it is right. `tests/kit/README.md` has the protocol.

use super::behaviour::{Fault, Https};
use super::entry::{At, Entry, Expect, Host, Policy};
use super::log::Mail;
use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A host took it over TLS, and the MTA had verified the host's certificate.
    Verified,
    /// A host took it.
    Delivered,
    /// It waits for another try.
    Deferred,
    /// The MTA gave up.
    Bounced,
}

impl End {
    const ALL: [(&'static str, Self); 4] = [
        ("verified", Self::Verified),
        ("delivered", Self::Delivered),
        ("deferred", Self::Deferred),
        ("bounced", Self::Bounced),
    ];
}

impl FromStr for End {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(known, _)| *known == word);
        known
            .map(|(_, end)| *end)
            .ok_or_else(|| format!("{word:?} is not verified, delivered, deferred or bounced"))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            Self::ALL
                .iter()
                .find(|(_, end)| end == self)
                .map_or("", |(word, _)| word),
        )
    }
}

/// What an MTA did with one mail: a line of its driver, `DOMAIN END HOST [RESULT...]`, and behind a tab its own words.
#[derive(Clone, Debug)]
pub struct Fate {
    /// The recipient's domain.
    pub domain: String,
    /// What became of the mail.
    pub end: End,
    /// The MX host that took it.
    pub host: Option<String>,
    /// The RFC 8460 result types that the MTA has for its report.
    pub results: Vec<String>,
    /// What the MTA itself says of it.
    pub words: String,
}

impl Fate {
    /// Without results and words.
    #[must_use]
    pub fn new(domain: &str, end: End, host: Option<String>) -> Self {
        Self {
            domain: domain.to_owned(),
            end,
            host,
            results: Vec::new(),
            words: String::new(),
        }
    }
}

impl FromStr for Fate {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (fields, words) = line.split_once('\t').unwrap_or((line, ""));
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [domain, end, host, results @ ..] = &fields[..] else {
            return Err(format!("{line:?} is not DOMAIN FATE HOST [RESULT...]"));
        };
        let host = (*host != "-").then(|| (*host).to_owned());
        Ok(Self {
            results: results.iter().map(|result| (*result).to_owned()).collect(),
            words: words.to_owned(),
            ..Self::new(domain, end.parse().map_err(|error| format!("{line:?}: {error}"))?, host)
        })
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}",
            self.domain,
            self.end,
            self.host.as_deref().unwrap_or("-")
        )?;
        self.results.iter().try_for_each(|result| write!(f, " {result}"))?;
        if self.words.is_empty() {
            return Ok(());
        }
        write!(f, "\t{}", self.words)
    }
}

/// What is asked of an MTA besides the table.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// It does DANE.
    pub dane: bool,
    /// It has result types for a report.
    pub results: bool,
    /// Domains where it is known not to follow the table, and what it does instead. One that is gone is an error.
    pub differs: Vec<(String, End)>,
}

impl Rules {
    /// What is wrong with what an MTA did with a mail to the domain of `entry`; `mail` is all that the lab received.
    pub fn wrong(&self, entry: &Entry, fate: &Fate, mail: &[Mail]) -> Option<String> {
        let mail: Vec<&Mail> = mail.iter().filter(|mail| mail.domain == entry.name).collect();
        let expect = entry
            .expect_dane
            .as_ref()
            .filter(|_| self.dane)
            .unwrap_or(&entry.expect);
        let right = does(entry, expect, fate, &mail);
        let why = match self.differs.iter().find(|(name, _)| *name == entry.name) {
            Some((_, end)) if right => format!("no longer differs from the table ({end})"),
            Some((_, end)) if *end != fate.end || stray(fate.end, &mail) => format!("is to differ: {end}"),
            None if !right => format!("is to {expect}"),
            _ if self.results => self.unreported(entry, fate)?,
            _ => return None,
        };
        let taken: Vec<_> = mail.iter().map(|mail| (&mail.host, &mail.tls)).collect();
        Some(format!(
            "{} ({}): {why}\n  {fate}\n  received: {taken:?}",
            entry.name, entry.wrong
        ))
    }

    fn unreported(&self, entry: &Entry, fate: &Fate) -> Option<String> {
        match (entry.policy, entry.result) {
            (Policy::None | Policy::Absent, _) if !fate.results.is_empty() => Some("has nothing to report".to_owned()),
            (Policy::None | Policy::Absent, _) if fate.end == End::Verified && !self.dane => {
                Some("has no policy to verify a host by".to_owned())
            }
            (_, Some(result)) if !entry.is_slow() && !fate.results.iter().any(|said| said == result) => {
                Some(format!("is to be reported as {result}"))
            }
            _ => None,
        }
    }
}

/// Whether an MTA did what is expected.
fn does(entry: &Entry, expect: &Expect, fate: &Fate, mail: &[&Mail]) -> bool {
    let safe = |allowed: &[String]| {
        let Some(host) = fate.host.as_ref().filter(|_| fate.end == End::Verified) else {
            return false;
        };
        let [mail] = mail else { return false };
        let host = entry.mx_name(host);
        let there = mail.host == host || entry.share_address(&mail.host, host);
        // RFC 8461 7.1: the client names the host that it wants a certificate of.
        let named = mail.tls.as_ref().and_then(|tls| tls.sni.as_deref());
        there && named.map(|sni| entry.mx_name(sni)) == Some(host) && allowed.iter().any(|allowed| allowed == host)
    };
    let waits = fate.end == End::Deferred && mail.is_empty();
    match expect {
        Expect::DeliverVerified { hosts } => safe(hosts),
        Expect::DeliverVerifiedOrDefer { hosts } => safe(hosts) || waits,
        Expect::Deliver => matches!(fate.end, End::Verified | End::Delivered) && mail.len() == 1,
        Expect::Defer { .. } => waits,
        Expect::Bounce => fate.end == End::Bounced && mail.is_empty(),
    }
}

/// Mail that arrived although it was said to wait, or the other way round.
fn stray(end: End, mail: &[&Mail]) -> bool {
    let delivered = matches!(end, End::Verified | End::Delivered);
    mail.len() != usize::from(delivered)
}

impl Entry {
    /// Some MTAs name a host by the target of its CNAME.
    fn mx_name<'a>(&'a self, host: &'a str) -> &'a str {
        let leads_there = |known: &&Host| matches!(&known.at, At::Alias(target) if target == host);
        self.setup
            .hosts
            .iter()
            .find(leads_there)
            .map_or(host, |known| &known.name)
    }

    /// Where two MX names are at one address, only the client knows which of them it meant.
    fn share_address(&self, one: &str, other: &str) -> bool {
        let at = |name: &str, with: &str| {
            let host = self.setup.hosts.iter().find(|host| host.name == name);
            host.is_some_and(|host| matches!(&host.at, At::With(shared) if shared == with))
        };
        at(one, other) || at(other, one)
    }

    /// Whether the limit of the fetch or that of the whole lookup is over first decides whether there is a result.
    fn is_slow(&self) -> bool {
        let slow = [Https::Silent, Https::BlackHole, Https::Drip, Https::HeaderFlood];
        slow.contains(&self.setup.https) || matches!(self.setup.policy_at, At::Fault(Fault::Silent))
    }
}

/// What is wrong with what an MTA did, a text for each domain.
pub fn judge(cases: &[Entry], fates: &[Fate], mail: &[Mail], rules: &Rules) -> Vec<String> {
    let judged = cases.iter().filter_map(|entry| {
        let mut said = fates.iter().filter(|fate| fate.domain == entry.name);
        match (said.next(), said.next()) {
            (Some(fate), None) => rules.wrong(entry, fate, mail),
            (None, _) => Some(format!("{}: no answer", entry.name)),
            _ => Some(format!("{}: more than one answer", entry.name)),
        }
    });
    judged.collect()
}

/// Has a driver send a mail to each of these domains: all lines at once, so that it decides how many it does at a time.
///
/// # Errors
/// The driver cannot be started, fails, or says what is not a line of the protocol.
pub fn drive(driver: &mut Command, cases: &[Entry]) -> io::Result<Vec<Fate>> {
    let mut child = driver.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let lines: String = cases.iter().map(|entry| format!("send {}\n", entry.name)).collect();
    // Less than a pipe holds: it need not be read before the driver writes.
    child
        .stdin
        .take()
        .ok_or(io::ErrorKind::BrokenPipe)?
        .write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("the driver ended with {}", output.status)));
    }
    read(&output.stdout[..])
}

/// The lines of a driver.
///
/// # Errors
/// A line that is none of the protocol.
pub fn read(mut lines: impl Read) -> io::Result<Vec<Fate>> {
    let mut text = String::new();
    lines.read_to_string(&mut text)?;
    text.lines()
        .map(|line| line.parse().map_err(io::Error::other))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Tls;
    use crate::table;
    use std::net::Ipv4Addr;

    /// A mail at this host, over TLS if a name is given as SNI; none at a host `-`.
    fn arrived(domain: &str, host: &str, sni: Option<&str>) -> Vec<Mail> {
        let tls = sni.map(|sni| Tls {
            version: "TLSv1_3".to_owned(),
            sni: (sni != "-").then(|| sni.to_owned()),
            resumed: false,
        });
        let mail = Mail {
            domain: domain.to_owned(),
            host: host.to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            sender: String::new(),
            recipients: vec![],
            helo: String::new(),
            tls,
            body: String::new(),
            session: 0,
        };
        if host == "-" { vec![] } else { vec![mail] }
    }

    fn judged(rules: &Rules, line: &str, host: &str, sni: Option<&str>) -> Option<String> {
        let fate: Fate = line.parse().unwrap();
        let entry = table().into_iter().find(|entry| entry.name == fate.domain).unwrap();
        rules.wrong(&entry, &fate, &arrived(&fate.domain, host, sni))
    }

    #[test]
    fn what_a_driver_says_and_what_arrived_are_both_needed() {
        let rules = Rules {
            results: true,
            ..Rules::default()
        };
        let (good, other) = ("mx.good.test", "mx.expired.test");
        for (line, host, sni, wrong) in [
            ("good.test verified mx.good.test", good, Some(good), ""),
            (
                "good.test verified mx.good.test",
                good,
                Some(other),
                "is to deliver over",
            ),
            ("good.test verified mx.good.test", good, Some("-"), "is to deliver over"),
            ("good.test verified mx.good.test", good, None, "is to deliver over"),
            (
                "good.test verified mx.good.test",
                other,
                Some(good),
                "is to deliver over",
            ),
            ("good.test verified mx.good.test", "-", None, "is to deliver over"),
            (
                "good.test delivered mx.good.test",
                good,
                Some(good),
                "is to deliver over",
            ),
            ("good.test deferred -", "-", None, "is to deliver over"),
            ("expired.test deferred - certificate-expired", "-", None, ""),
            ("expired.test deferred -", "-", None, "reported as certificate-expired"),
            (
                "expired.test deferred - certificate-expired",
                other,
                Some(other),
                "is to defer",
            ),
            ("expired.test bounced - certificate-expired", "-", None, "is to defer"),
            ("plain.test delivered mx.plain.test", "mx.plain.test", None, ""),
            ("plain.test delivered mx.plain.test", "-", None, "is to deliver"),
            (
                "plain.test verified mx.plain.test",
                "mx.plain.test",
                None,
                "no policy to verify",
            ),
            (
                "plain.test delivered mx.plain.test validation-failure",
                "mx.plain.test",
                None,
                "nothing to report",
            ),
        ] {
            let found = judged(&rules, line, host, sni).unwrap_or_default();
            assert!(
                found.contains(wrong) && found.is_empty() == wrong.is_empty(),
                "{line} {host} {sni:?}: {found}"
            );
        }
    }

    #[test]
    fn a_known_difference_is_that_and_no_other() {
        let rules = Rules {
            results: true,
            differs: vec![("testing-expired.test".to_owned(), End::Deferred)],
            ..Rules::default()
        };
        let host = "mx.testing-expired.test";
        for (line, host, wrong) in [
            ("testing-expired.test deferred - certificate-expired", "-", ""),
            (
                "testing-expired.test deferred -",
                "-",
                "reported as certificate-expired",
            ),
            (
                "testing-expired.test deferred - certificate-expired",
                host,
                "is to differ",
            ),
            (
                "testing-expired.test bounced - certificate-expired",
                "-",
                "is to differ",
            ),
            (
                "testing-expired.test delivered x certificate-expired",
                host,
                "no longer differs",
            ),
        ] {
            let found = judged(&rules, line, host, Some(host)).unwrap_or_default();
            assert!(
                found.contains(wrong) && found.is_empty() == wrong.is_empty(),
                "{line} {host}: {found}"
            );
        }
    }
}
