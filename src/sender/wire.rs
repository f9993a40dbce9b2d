//! An outcome on its way from the helper process to its parent: lines of text, and what is known of the domain as it
//! stands on disk.
//!
//! The parent is root, and the helper is not: it has spoken with strangers, and runs as a user who can write the cache.
//! So nothing that it says is more than that user could say with a file of the cache. Texts are cleaned here, times are
//! bounded here, an outcome that contradicts itself becomes no answer ([`Outcome::into_answer`]), and what root alone
//! decides (how long the answer is repeated, an exception, a pin) is not in the message. Nor is what the network said.

use crate::cache::entry::{Entry, MAX_FILE};
use crate::protocol::names::Domain;
use crate::protocol::text::{Line, one_line};
use crate::protocol::words::{ResultType, Source};
use crate::sender::notice::{Notice, Token};
use crate::sender::outcome::{Failure, Outcome};

/// The longest message in octets: a file of the cache, and a few lines.
pub(crate) const MAX_MESSAGE: usize = MAX_FILE + 8192;

/// What a helper says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// What its lookup has found.
    pub(crate) outcome: Outcome,
    /// What is known of the domain.
    pub(crate) entry: Entry,
}

/// The outcome and what is known of the domain, or why there is none, as text.
pub(crate) fn write(known: Result<(&Outcome, &Entry), &String>) -> String {
    let (outcome, entry) = match known {
        Ok(known) => known,
        Err(error) => return format!("error: {}\n\n", one_line(error, Line::LONGEST)),
    };
    let mut text = format!("source: {}\n", outcome.source.name());
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\n"));
    if let Some(failure) = &outcome.failure {
        line("result", failure.result.map_or("", ResultType::name));
        line("detail", &failure.detail);
    }
    if let Some(until) = outcome.defer_until {
        line("defer-until", &until.to_string());
    }
    for (name, notice) in [("warning", &outcome.warning), ("alert", &outcome.alert)] {
        if let Some(Notice { token, sentence }) = notice {
            line(name, &format!("{} {sentence}", token.name()));
        }
    }
    if let Some(why) = &outcome.fleet {
        line("fleet", why);
    }
    text.push('\n');
    text.push_str(&entry.to_file());
    text
}

/// Reads what [`write`] wrote, at the time `now`, or nothing where it is not whole. An inner error is the helper's own.
///
/// `asked` is when the helper was asked: a policy counts that did so then, for one that lives for a second serves the
/// delivery that fetched it. `longest_wait` is the longest time for which mail may have to wait, in seconds (the setting
/// `first_contact_defer`).
pub(crate) fn read(
    domain: &Domain,
    message: &[u8],
    (asked, now): (u64, u64),
    longest_wait: u64,
) -> Option<Result<Told, Line>> {
    let (head, file) = std::str::from_utf8(message).ok()?.split_once("\n\n")?;
    let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    if let Some(error) = field("error") {
        return Some(Err(Line::new(error)));
    }
    let entry = Entry::from_file(domain, file.as_bytes(), now).ok()?;
    let source = Source::from_name(field("source")?)?;
    let failure = field("detail").map(|detail| Failure {
        result: field("result").and_then(ResultType::from_name),
        detail: detail.into(),
    });
    let cached = match source {
        // A policy may be known that has expired since the helper was asked.
        Source::NoPolicy | Source::CouldNotLearn => None,
        _ => entry.live(asked.min(now)).cloned(),
    };
    let defer_until = field("defer-until").map(str::parse::<u64>).transpose().ok()?;
    let notice = |text: &str| {
        let (token, sentence) = text.split_once(' ')?;
        Some(Notice::new(Token::from_name(token)?, sentence))
    };
    let outcome = Outcome {
        defer_until: defer_until.map(|until| until.min(now.saturating_add(longest_wait))),
        warning: field("warning").and_then(notice),
        alert: field("alert").and_then(notice),
        fleet: field("fleet").map(Line::new),
        ..Outcome::new(domain, source, cached, failure)
    };
    Some(Ok(Told { outcome, entry }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::cache::entry::{CachedPolicy, FailedFetch, TxtSeen};
    use crate::network::dns::DnsError;
    use crate::sender::answer::{Answer, Decision};
    use crate::sender::outcome::Observed;

    const NOW: u64 = 1_800_000_000;
    const YEAR: u64 = 31_557_600;

    /// What the C interface says of the texts and times of an answer.
    fn keeps_its_promises(answer: &Answer) {
        let is_line = |text: &str| !text.chars().any(char::is_control) && text.len() <= Line::LONGEST;
        if let Some(cached) = answer.cached() {
            assert!((1..=32).contains(&cached.id.as_str().len()));
            assert!(cached.id.as_str().bytes().all(|c| c.is_ascii_alphanumeric()));
            assert!(cached.fetched <= NOW && (NOW..=NOW + YEAR).contains(&cached.expires()));
        }
        assert!(answer.defer_until().is_none_or(|until| until <= NOW + YEAR));
        assert!((answer.good_until(), answer.pinned_until()) == (0, None) && answer.exception().is_none());
        assert!(answer.to_tell().all(|notice| is_line(&notice.sentence)));
        assert!(answer.failure().is_none_or(|failure| is_line(&failure.detail)));
        assert!(!answer.explain().chars().any(char::is_control));
    }

    /// What root makes of what a helper has told.
    fn answer(told: Told) -> Option<Answer> {
        told.outcome.into_answer(Decision::default())
    }

    fn domain() -> Domain {
        Domain::parse("example.com").unwrap()
    }

    fn entry() -> Entry {
        let text = "version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 86400\n\n";
        let mut entry = Entry::new(domain());
        entry.cached = Some(Arc::new(
            CachedPolicy::new("a1".parse().unwrap(), NOW - 9, text).unwrap(),
        ));
        entry.txt = Some(TxtSeen {
            at: NOW - 8,
            next: NOW + 60,
        });
        entry
    }

    #[test]
    fn every_outcome_arrives_as_it_was_sent() {
        let (known, bare) = (entry(), Entry::new(domain()));
        let cached = || known.cached.clone();
        let failure = |result| Failure {
            result,
            detail: "it: failed".into(),
        };
        let outcome = |source, cached, failure| Outcome::new(&domain(), source, cached, failure);
        for (outcome, entry) in [
            (outcome(Source::Cached, cached(), None), &known),
            (
                Outcome {
                    alert: Some(Notice::new(Token::PolicyWeakened, "weaker")),
                    ..outcome(Source::Fresh, cached(), None)
                },
                &known,
            ),
            (
                Outcome {
                    fleet: Some("it did not answer in time".into()),
                    warning: Some(Notice::new(Token::CacheNotWritten, "disk full")),
                    ..outcome(
                        Source::CachedAfterFailure,
                        cached(),
                        Some(failure(ResultType::from_number(303))),
                    )
                },
                &known,
            ),
            (outcome(Source::NoPolicy, None, Some(failure(None))), &bare),
            (
                Outcome {
                    defer_until: Some(NOW + 99),
                    ..outcome(Source::CouldNotLearn, None, Some(failure(None)))
                },
                &bare,
            ),
        ] {
            // What the network said stays with the helper.
            let seen = Observed {
                txt: Some(Err(DnsError::Other("secret".into()))),
                body: Some(Ok(b"secret".to_vec())),
            };
            let sent = write(Ok((
                &Outcome {
                    seen,
                    ..outcome.clone()
                },
                entry,
            )));
            assert!(!sent.contains("secret"), "{sent}");
            let told = Told {
                outcome,
                entry: entry.clone(),
            };
            let arrived = read(&domain(), sent.as_bytes(), (NOW, NOW), 99);
            assert_eq!(arrived, Some(Ok(told)));
            assert!(answer(arrived.unwrap().unwrap()).is_some(), "{sent}");
            for cut in 0..sent.find("\n\n").unwrap() {
                assert_eq!(read(&domain(), &sent.as_bytes()[..cut], (NOW, NOW), 99), None);
            }
        }
        let error = write(Err(&"no thread".into()));
        assert_eq!(
            read(&domain(), error.as_bytes(), (NOW, NOW), 99),
            Some(Err("no thread".into()))
        );
    }

    /// A policy with a max_age of 0 serves the delivery that fetched it, also where the second is over by then.
    #[test]
    fn a_policy_counts_that_did_when_the_helper_was_asked() {
        let text = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 0\n";
        let mut entry = Entry::new(domain());
        let cached = Arc::new(CachedPolicy::new("a".parse().unwrap(), NOW - 1, text).unwrap());
        entry.cached = Some(cached.clone());
        let outcome = Outcome::new(&domain(), Source::Fresh, Some(cached), None);
        let sent = write(Ok((&outcome, &entry)));
        let read = |asked| answer(read(&domain(), sent.as_bytes(), (asked, NOW), 0).unwrap().unwrap());
        assert!(read(NOW - 2).is_some() && read(NOW - 1).is_some());
        assert_eq!(read(NOW), None, "it had expired before");
    }

    /// What a helper can say that it should not: no time is beyond its bound, and no text has more than one line.
    #[test]
    fn a_helper_that_lies_is_not_believed() {
        let mut entry = entry();
        let cached = entry.cached.clone().unwrap();
        entry.cached = Some(Arc::new(CachedPolicy {
            fetched: u64::MAX,
            ..(*cached).clone()
        }));
        entry.pinned_until = Some(u64::MAX);
        entry.txt = Some(TxtSeen {
            at: u64::MAX,
            next: u64::MAX,
        });
        let outcome = Outcome::new(&domain(), Source::Cached, Some(cached), None);
        let sent = write(Ok((&outcome, &entry)));
        let told = read(&domain(), sent.as_bytes(), (NOW, NOW), 0).unwrap().unwrap();
        assert!(told.entry.pinned_until.unwrap() <= NOW + 31_557_600);
        let believed = answer(told).unwrap();
        assert_eq!(believed.cached().unwrap().fetched, NOW);
        assert_eq!(believed.pinned_until(), None, "root looks for itself");
        let lies = format!(
            "source: could-not-learn\nresult: \ndetail: a\u{7}\u{202e}b\ndefer-until: {}\nwarning: cache-not-read c\rd\nalert: policy-weakened {}\n\
             exception-until: {}\nexception-reason: because\n\n{}",
            u64::MAX,
            "x".repeat(5000),
            u64::MAX,
            Entry::new(domain()).to_file()
        );
        let told = read(&domain(), lies.as_bytes(), (NOW, NOW), 3600).unwrap().unwrap();
        let told = answer(told).unwrap();
        assert_eq!(told.failure().unwrap().detail, "a  b");
        assert_eq!(told.defer_until(), Some(NOW + 3600));
        assert_eq!((told.warning(), told.alert().map(str::len)), (Some("c d"), Some(1000)));
        assert!(told.exception().is_none(), "root looks for itself");
        let error = read(&domain(), b"error: a\x1b[2Jb\n\n", (NOW, NOW), 0);
        assert_eq!(error, Some(Err("a [2Jb".into())));
    }

    /// What a helper says passes the constructor of what our own lookup says.
    #[test]
    fn an_outcome_that_contradicts_itself_becomes_no_answer() {
        let (known, bare) = (entry().to_file(), Entry::new(domain()).to_file());
        for (source, more, file) in [
            ("fresh", "", &bare),
            ("cached", "", &bare),
            ("cached-after-failure", "detail: gone\n", &bare),
            ("cached-after-failure", "", &known),
            ("fresh", "detail: gone\n", &known),
            ("cached", "defer-until: 1\n", &known),
            ("no-policy", "", &bare),
            ("no-policy", "detail: none\ndefer-until: 1\n", &bare),
            ("could-not-learn", "", &bare),
        ] {
            let lie = format!("source: {source}\n{more}\n{file}");
            let told = read(&domain(), lie.as_bytes(), (NOW, NOW), 3600).unwrap().unwrap();
            assert_eq!(answer(told), None, "{lie}");
        }
    }

    proptest! {
        /// Whatever a helper sends, what is read keeps the promises of the C interface.
        #[test]
        fn what_is_read_keeps_its_promises(
            head in proptest::collection::vec(("(source|result|detail|defer-until|warning|alert|error|good-until)",
                "(fresh|cached|no-policy|could-not-learn|cache-not-read \\PC{0,9}|sts-webpki-invalid|[0-9]{1,20}|\\PC{0,9}|[\\x00-\\x7f]{0,9})"), 0..8),
            id in "([A-Za-z0-9]{1,32}|[ -~]{0,40}|\\PC{0,5})",
            times in proptest::collection::vec(any::<u64>(), 4),
        ) {
            let mut entry = entry();
            entry.failed = Some(FailedFetch::new("b".parse().unwrap(), times[0], ResultType::StsPolicyFetchError, "gone"));
            entry.pinned_until = Some(times[1]);
            entry.txt = Some(TxtSeen { at: times[2], next: times[3] });
            let file = entry.to_file();
            let (_, body) = file.split_once('\n').unwrap();
            let body = body.replace("policy-id: a1", &format!("policy-id: {id}"));
            let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
            let sum: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            let head: String = head.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            let message = format!("{head}\nmtasts 1 {sum}\n{body}");
            if let Some(Ok(told)) = read(&domain(), message.as_bytes(), (NOW, NOW), 3600)
                && let Some(answer) = answer(told)
            {
                keeps_its_promises(&answer);
            }
        }
    }
}
