//! The journals of a day, line by line.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use mtasts::cache::CacheError;
use mtasts::cache::store::Store;
use mtasts::protocol::datagram::LONGEST_LINE;
use mtasts::report::Loss;

use crate::session::Session;

/// How much of a journal is read at a time, in octets.
const BUFFER: usize = 64 * 1024;

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

/// Gives each session of the journals of a day in the directory, a day as `2026-12-31`, to `each`, if its domain is wanted.
///
/// # Errors
/// A [`CacheError`] if the directory cannot be used.
pub fn sessions(
    store: &Store,
    day: &str,
    wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(Session),
) -> Result<Rest, CacheError> {
    let mut rest = Rest::default();
    for journal in store.journals()?.iter().filter(|journal| journal.day == day) {
        match store.results(journal) {
            Ok(Some(file)) => lines(file, &mut rest, &wanted, &mut each),
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

/// How many octets the journals of a day have. One that cannot be read has none.
///
/// # Errors
/// As [`sessions`].
pub fn octets(store: &Store, day: &str) -> Result<u64, CacheError> {
    let journals = store.journals()?;
    let journals = journals.iter().filter(|journal| journal.day == day);
    let files = journals.filter_map(|journal| store.results(journal).ok()?);
    Ok(files
        .map(|mut file| io::copy(&mut file, &mut io::sink()).unwrap_or(0))
        .sum())
}

/// The domain of a line as this library writes it, without reading the rest. `None` if it has another spelling or form.
fn domain(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"dpv\":\"1\",\"d\":\"")?;
    let end = rest.iter().position(|octet| *octet == b'"')?;
    let is_plain = |octet: &u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || matches!(octet, b'.' | b'-');
    let domain = rest[..end].iter().all(is_plain).then_some(&rest[..end])?;
    std::str::from_utf8(domain).ok()
}

fn lines(file: impl Read, rest: &mut Rest, wanted: &impl Fn(&str) -> bool, each: &mut impl FnMut(Session)) {
    let mut file = BufReader::with_capacity(BUFFER, file);
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
            line if domain(line).is_some_and(|domain| !wanted(domain)) => {}
            line => match Session::read(line) {
                Some(session) if wanted(session.domain.as_str()) => each(session),
                Some(_) => {}
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
        let all = |_: &str| true;
        lines(text.as_bytes(), &mut rest, &all, &mut |session: Session| {
            found.push(session.domain.to_string());
        });
        assert_eq!(found, ["a.example", "b.example", "c.example"]);
        assert_eq!(rest.unreadable, 4, "one was cut, and one is as long as three");
        // A line in another spelling is of the same domain.
        let (text, mut found) = (text.replace("a.example", "A.example"), 0);
        let one = |domain: &str| domain == "a.example";
        lines(text.as_bytes(), &mut Rest::default(), &one, &mut |_| found += 1);
        assert_eq!(found, 1);
        losses(&b"qqc?"[..], &mut rest);
        let lost: Vec<(&str, u64)> = rest.lost.into_iter().collect();
        assert_eq!(lost, [("no-collector", 1), ("other", 1), ("queue-full", 2)]);
    }
}
