//! An answer on its way from the helper process to its parent: lines of text, and the policy as it stands on disk.

use std::sync::Arc;

use crate::answer::{Answer, Failure, Source};
use crate::entry::{Entry, one_line};
use crate::exceptions::Exception;
use crate::names::Domain;
use crate::result::ResultType;

/// The longest text that a line carries, in octets.
const MAX_LINE: usize = 1000;
/// The longest message in octets: a file of the cache, and a few lines.
pub(crate) const MAX_MESSAGE: usize = crate::entry::MAX_FILE + 8192;

/// The answer as text, with the time until which it may be repeated; or why there is none.
pub(crate) fn write(known: Result<(&Answer, u64), &String>) -> String {
    let (answer, good_until) = match known {
        Ok(known) => known,
        Err(error) => return format!("error: {}\n\n", one_line(error, MAX_LINE)),
    };
    let mut text = format!("source: {}\ngood-until: {good_until}\n", answer.source().name());
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name}: {}\n", one_line(value, MAX_LINE)));
    if let Some(failure) = answer.failure() {
        line("result", failure.result.map_or("", ResultType::name));
        line("detail", &failure.detail);
    }
    if let Some(until) = answer.defer_until_by_rule() {
        line("defer-until", &until.to_string());
    }
    if let Some(warning) = answer.warning() {
        line("warning", warning);
    }
    if let Some(alert) = answer.alert() {
        line("alert", alert);
    }
    if let Some(until) = answer.pinned_until() {
        line("pinned-until", &until.to_string());
    }
    if let Some(exception) = answer.exception() {
        line("exception-until", &exception.until.to_string());
        line("exception-reason", &exception.reason);
    }
    text.push('\n');
    if let Some(held) = answer.held_shared() {
        let mut entry = Entry::new(answer.domain().clone());
        entry.held = Some(held.clone());
        text.push_str(&entry.to_file());
    }
    text
}

/// Reads what [`write`] wrote, or nothing where it is not whole.
pub(crate) fn read(domain: &Domain, text: &[u8]) -> Option<Result<(Answer, u64), String>> {
    let (head, file) = std::str::from_utf8(text).ok()?.split_once("\n\n")?;
    let field = |name: &str| {
        head.lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    if let Some(error) = field("error") {
        return Some(Err(error));
    }
    let source = Source::ALL
        .into_iter()
        .find(|s| Some(s.name()) == field("source").as_deref())?;
    let failure = field("detail").map(|detail| Failure {
        result: field("result").and_then(|name| ResultType::from_name(&name)),
        detail,
    });
    let good_until = field("good-until")?.parse().ok()?;
    let time = |name: &str| field(name).map(|text| text.parse::<u64>()).transpose().ok();
    let (defer_until, pinned_until) = (time("defer-until")?, time("pinned-until")?);
    let exception = match time("exception-until")? {
        Some(until) => Some(Arc::new(Exception {
            domain: domain.clone(),
            until,
            reason: field("exception-reason")?,
        })),
        None => None,
    };
    let answer = match source {
        Source::NoPolicy => Answer::none(domain.clone(), failure?),
        Source::CouldNotLearn => Answer::unlearned(domain.clone(), failure?, defer_until),
        _ => {
            let held = Entry::from_file(domain, file.as_bytes()).ok()?.held?;
            Answer::policy_held(domain.clone(), source, held, failure)
        }
    };
    let answer = answer.with_warning(field("warning")).with_alert(field("alert"));
    Some(Ok((
        answer.with_pin(pinned_until).with_exception(exception),
        good_until,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Held;
    use crate::policy::Policy;

    #[test]
    fn every_answer_arrives_as_it_was_sent() {
        let domain = Domain::parse("example.com").unwrap();
        let text = "version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 5\n\n";
        let (policy, _) = Policy::parse(text.as_bytes()).unwrap();
        let held = Arc::new(Held {
            id: "a1".into(),
            fetched: 3,
            text: text.into(),
            policy,
        });
        let failure = |result| Failure {
            result,
            detail: "it: failed".into(),
        };
        let exception = || {
            Some(Arc::new(Exception {
                domain: domain.clone(),
                until: 1_798_761_599,
                reason: "ticket 4711: they move".into(),
            }))
        };
        for answer in [
            Answer::policy_held(domain.clone(), Source::Cached, held.clone(), None).with_pin(Some(77)),
            Answer::policy_held(domain.clone(), Source::Cached, held.clone(), None).with_exception(exception()),
            Answer::unlearned(domain.clone(), failure(None), Some(99)).with_exception(exception()),
            Answer::policy_held(domain.clone(), Source::Fresh, held.clone(), None).with_alert(Some("weaker".into())),
            Answer::policy_held(
                domain.clone(),
                Source::CachedAfterFailure,
                held,
                Some(failure(ResultType::from_code(303))),
            )
            .with_warning(Some("disk full".into())),
            Answer::none(domain.clone(), failure(None)),
            Answer::unlearned(domain.clone(), failure(None), Some(99)),
        ] {
            let sent = write(Ok((&answer, 7)));
            assert_eq!(read(&domain, sent.as_bytes()), Some(Ok((answer, 7))));
            for cut in 0..sent.find("\n\n").unwrap() {
                assert_eq!(read(&domain, &sent.as_bytes()[..cut]), None);
            }
        }
        let error = write(Err(&"no thread".into()));
        assert_eq!(read(&domain, error.as_bytes()), Some(Err("no thread".into())));
    }
}
