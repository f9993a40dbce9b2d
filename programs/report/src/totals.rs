//! What the journals of a day hold: sessions by domain, kind of policy and result type, and what was lost.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use mtasts::cache::CacheError;
use mtasts::cache::store::Store;
use mtasts::protocol::datagram::LONGEST_LINE;
use mtasts::protocol::names::Domain;
use mtasts::protocol::words::{PolicyType, ResultType};
use mtasts::report::Loss;

use crate::session::Session;

/// The sessions of a domain under one kind of policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The sessions that met the policy (`total-successful-session-count`).
    pub successful: u64,
    /// Those that did not (`total-failure-session-count`).
    pub failed: u64,
    /// What failed how often.
    pub failures: BTreeMap<&'static str, u64>,
}

/// What all journals of a day hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By domain and name of the kind of policy.
    pub domains: BTreeMap<Domain, BTreeMap<&'static str, Counts>>,
    /// How many lines were none of a session.
    pub unreadable: u64,
    /// How many results were lost, by the name of the reason.
    pub lost: BTreeMap<&'static str, u64>,
    /// The journals that were not read, each with the reason.
    pub ignored: Vec<String>,
}

impl Totals {
    /// Counts what the journals of this day in the directory hold, a day as `2026-12-31`.
    ///
    /// # Errors
    /// A [`CacheError`] if the directory cannot be used.
    pub fn of_day(store: &Store, day: &str) -> Result<Self, CacheError> {
        let mut totals = Self::default();
        for journal in store.journals()?.iter().filter(|journal| journal.day == day) {
            match store.results(journal) {
                Ok(Some(file)) => totals.results(file),
                Ok(None) => {}
                Err(error) => totals.ignored.push(error.to_string()),
            }
            match store.losses(journal) {
                Ok(Some(file)) => totals.losses(file),
                Ok(None) => {}
                Err(error) => totals.ignored.push(error.to_string()),
            }
        }
        Ok(totals)
    }

    fn results(&mut self, file: impl Read) {
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            // Longer than any line of ours, so that the rest of it is another one that cannot be read.
            let bounded = (&mut file).take(2 * LONGEST_LINE as u64).read_until(b'\n', &mut line);
            match bounded {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    self.ignored
                        .push(format!("a journal could not be read to its end: {error}"));
                    return;
                }
            }
            match line.strip_suffix(b"\n").unwrap_or(&line) {
                [] => {}
                line => match Session::read(line) {
                    Some(session) => self.add(&session),
                    None => self.unreadable += 1,
                },
            }
        }
    }

    fn add(&mut self, session: &Session) {
        if !self.domains.contains_key(&session.domain) {
            self.domains.insert(session.domain.clone(), BTreeMap::new());
        }
        let Some(domain) = self.domains.get_mut(&session.domain) else {
            return;
        };
        for counted in &session.policies {
            let counts = domain.entry(PolicyType::name(counted.kind)).or_default();
            if counted.failed {
                counts.failed += 1;
            } else {
                counts.successful += 1;
            }
            for failure in &counted.failures {
                *counts.failures.entry(ResultType::name(*failure)).or_default() += 1;
            }
        }
    }

    fn losses(&mut self, file: impl Read) {
        for letter in BufReader::new(file).bytes() {
            let loss = letter.ok().and_then(|letter| Loss::of(letter.into(), ""));
            // A letter that another version wrote is a loss, too.
            *self.lost.entry(loss.map_or("other", |loss| loss.name())).or_default() += 1;
        }
    }

    /// How many sessions there are, a session under each policy.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        let counts = self.domains.values().flat_map(BTreeMap::values);
        counts.map(|counts| counts.successful + counts.failed).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_rubbish_is_too() {
        let line = |domain: &str, f: u8, details: &str| {
            format!(
                "\n{{\"dpv\":\"1\",\"d\":\"{domain}\",\"policies\":[{{\"policy-type\":2{details},\"t\":{f},\"f\":{f}}}]}}\n"
            )
        };
        let expired = ",\"failure-details\":[{\"c\":204}]";
        let text = [
            line("a.example", 0, ""),
            line("a.example", 1, expired),
            "\n{\"dpv\":\"1\",\"d".to_owned(),
            line("b.example", 1, expired),
            format!("\n{}\n", "x".repeat(20_000)),
            line("A.example", 1, expired),
        ]
        .concat();
        let mut totals = Totals::default();
        totals.results(text.as_bytes());
        let a = &totals.domains[&Domain::parse("a.example").unwrap()]["sts"];
        assert_eq!((a.successful, a.failed, a.failures["certificate-expired"]), (1, 2, 2));
        assert_eq!((totals.sessions(), totals.domains.len()), (4, 2));
        assert_eq!(totals.unreadable, 4, "one was cut, and one is as long as three");
        totals.losses(&b"qqc?"[..]);
        let lost: Vec<(&str, u64)> = totals.lost.into_iter().collect();
        assert_eq!(lost, [("no-collector", 1), ("other", 1), ("queue-full", 2)]);
    }
}
