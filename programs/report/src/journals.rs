//! The journals of a day, line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use mtasts::cache::CacheError;
use mtasts::cache::store::Store;
use mtasts::protocol::datagram::LONGEST_LINE;
use mtasts::report::Loss;

use crate::session::Session;

/// What was in the journals of a day besides sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How many lines were none of a session.
    pub unreadable: u64,
    /// How many results were lost, by the name of the reason.
    pub lost: BTreeMap<&'static str, u64>,
    /// The journals that were not read, or not to their end, each with the reason.
    pub ignored: Vec<String>,
}

impl Rest {
    /// Whether each result of the day was there.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Gives each session of the journals of a day in the directory, a day as `2026-12-31`, to `each`.
///
/// # Errors
/// A [`CacheError`] if the directory cannot be used.
pub fn sessions(store: &Store, day: &str, mut each: impl FnMut(Session)) -> Result<Rest, CacheError> {
    let mut rest = Rest::default();
    for journal in store.journals()?.iter().filter(|journal| journal.day == day) {
        match store.results(journal) {
            Ok(Some(file)) => lines(file, &mut rest, &mut each),
            Ok(None) => {}
            Err(error) => rest.ignored.push(error.to_string()),
        }
        match store.losses(journal) {
            Ok(Some(file)) => losses(file, &mut rest),
            Ok(None) => {}
            Err(error) => rest.ignored.push(error.to_string()),
        }
    }
    Ok(rest)
}

fn lines(file: impl Read, rest: &mut Rest, each: &mut impl FnMut(Session)) {
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
                rest.ignored
                    .push(format!("a journal could not be read to its end: {error}"));
                return;
            }
        }
        match line.strip_suffix(b"\n").unwrap_or(&line) {
            [] => {}
            line => match Session::read(line) {
                Some(session) => each(session),
                None => rest.unreadable += 1,
            },
        }
    }
}

fn losses(file: impl Read, rest: &mut Rest) {
    for letter in BufReader::new(file).bytes().map_while(Result::ok) {
        // A letter that another version wrote is a loss, too.
        let name = Loss::of(letter.into(), "").map_or("other", |loss| loss.name());
        *rest.lost.entry(name).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_is_counted_and_takes_no_other_line_with_it() {
        let line = |domain: &str| format!("\n{{\"dpv\":\"1\",\"d\":\"{domain}\",\"policies\":[]}}\n");
        let text = [
            line("a.example"),
            "\n{\"dpv\":\"1\",\"d".to_owned(),
            line("b.example"),
            format!("\n{}\n", "x".repeat(20_000)),
            line("c.example"),
        ]
        .concat();
        let (mut rest, mut found) = (Rest::default(), Vec::new());
        lines(text.as_bytes(), &mut rest, &mut |session: Session| {
            found.push(session.domain.to_string());
        });
        assert_eq!(found, ["a.example", "b.example", "c.example"]);
        assert_eq!(rest.unreadable, 4, "one was cut, and one is as long as three");
        losses(&b"qqc?"[..], &mut rest);
        let lost: Vec<(&str, u64)> = rest.lost.into_iter().collect();
        assert_eq!(lost, [("no-collector", 1), ("other", 1), ("queue-full", 2)]);
    }
}
