//! The report as one JSON object: the same facts and judgements.

use serde_json::{Value, json};

use crate::lint;
use crate::output::bytes_as_text;
use mtasts::protocol::words::ResultType;
use mtasts::sender::precedence::Way;
use mtasts::sender::verdict::Action;
use mtasts_survey::dane::HostDane;
use mtasts_survey::judge::{HostJudgement, Judgement, NoRecord, Outcome, SessionJudgement};
use mtasts_survey::smtp::{End, Session};
use mtasts_survey::survey::{Host, Route, Survey};

pub(super) fn object(survey: &Survey, judgement: &Judgement) -> Value {
    let hosts = survey.hosts.iter().zip(&judgement.hosts);
    json!({
        "domain": survey.domain.as_str(),
        "good": judgement.outcome() == Outcome::Good,
        "outcome": judgement.outcome().name(),
        "record": record(survey, judgement),
        "policy": policy(survey, judgement),
        "route": match &survey.route {
            Route::Records => "mx",
            Route::Implicit => "implicit",
            Route::NullMx => "null-mx",
            Route::Unknown(_) => "unknown",
        },
        "hosts": hosts.map(|(host, judged)| of_host(host, judged)).collect::<Vec<_>>(),
        "dane_resolver": { "worth": survey.dane.worth.name(), "reason": survey.dane.worth.to_string() },
        "action": judgement.action.map(Action::name),
        "conclusion": judgement.conclusion,
        "problems": judgement.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "findings": lint::as_json(&[&judgement.problems[..], &judgement.advice[..]].concat()),
    })
}

/// As `lint record`, with the records. `unknown` if DNS did not say.
fn record(survey: &Survey, judgement: &Judgement) -> Value {
    let mut object = match &judgement.record {
        Ok(record) => lint::record_as_json(&Ok(record.clone())),
        Err(NoRecord::Absent(error, _)) => lint::record_as_json(&Err(error.clone())),
        Err(NoRecord::Unknown(_)) => json!({ "outcome": "unknown", "reason": "dns" }),
    };
    if let Err(why) = &judgement.record {
        object["detail"] = why.to_string().into();
    }
    if let Some(linted) = &judgement.records {
        object["findings"] = lint::as_json(&linted.findings);
    }
    object["txt"] = survey
        .txt
        .iter()
        .flatten()
        .map(|record| bytes_as_text(record))
        .collect();
    object
}

/// As `lint policy`; null if none was to be fetched.
fn policy(survey: &Survey, judgement: &Judgement) -> Value {
    match (&survey.body, &judgement.policy) {
        (Some(Ok(_)), Some(linted)) => lint::policy_as_json(linted),
        (Some(Err(error)), _) => {
            json!({ "outcome": "unobtainable", "reason": error.result().map(ResultType::name), "detail": error.detail() })
        }
        _ => Value::Null,
    }
}

fn of_host(host: &Host, judged: &HostJudgement) -> Value {
    let error = match (host.name.host(), &host.sessions) {
        (Err(error), _) => Some(error.to_string()),
        (_, Err(error)) => Some(error.to_string()),
        _ => None,
    };
    let sessions = host.sessions.iter().flatten().zip(&judged.sessions);
    json!({
        "host": host.name.as_str(),
        "preference": host.preference,
        "listed": judged.listed,
        "action": judged.verdict.as_ref().map(|verdict| verdict.action.name()),
        "error": error,
        "advice": judged.advice.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "dane": judged.dane.as_ref().map(of_dane),
        "addresses": sessions.map(|((_, session), judged)| of_session(session, judged)).collect::<Vec<_>>(),
    })
}

/// `null` if no name server that validates was asked.
fn of_dane(dane: &HostDane) -> Value {
    let (way, base, why) = match &dane.way {
        Way::Sts => ("none", None, None),
        Way::SkipHost(why) => ("unknown", None, Some(why.as_str())),
        Way::TlsWithoutName(base) => ("unusable", Some(base), None),
        Way::Dane(asserted) | Way::Both(asserted) => ("records", Some(&asserted.base), None),
    };
    let records = dane
        .records
        .iter()
        .map(|record| json!({ "record": record.text, "certificate": record.matches }));
    json!({
        "tlsa": way,
        "base": base.map(|base| base.as_str()),
        "records": records.collect::<Vec<_>>(),
        "unusable": dane.unusable,
        "good": dane.result.as_ref().map(Result::is_ok),
        "reason": dane.result.as_ref().and_then(|result| result.as_ref().err().map(String::as_str)).or(why),
    })
}

fn of_session(session: &Session, judged: &SessionJudgement) -> Value {
    let (mut starttls, mut tls, mut error) = (None, None, None::<&str>);
    match &session.end {
        End::NoRoute => error = Some("no route from this machine"),
        End::NotAsked => error = Some("not contacted"),
        End::Unreached(why) | End::NoService(why) => error = Some(why.as_str()),
        End::StarttlsNotOffered => starttls = Some(false),
        End::StarttlsRefused(why) | End::HandshakeFailed(why) | End::Unsupported(why) => {
            (starttls, error) = (Some(true), Some(why.as_str()));
        }
        End::Tls { version, after, .. } => {
            (starttls, tls, error) = (Some(true), Some(version), after.as_ref().err().map(String::as_str));
        }
    }
    let certificate = judged.certificate.as_ref().map(|checked| match checked {
        Ok(()) => json!({ "result": "ok" }),
        Err(failure) => json!({ "result": failure.result.name(), "reason": failure.reason }),
    });
    let verdict = judged.verdict.as_ref();
    json!({
        "address": judged.address.to_string(),
        "starttls": starttls,
        "tls": tls,
        "certificate": certificate,
        "error": error,
        "injected": session.injected,
        "action": verdict.map(|verdict| verdict.action.name()),
        "result": verdict.and_then(|verdict| verdict.result).map(|result| result.name()),
        "sentence": verdict.map(|verdict| verdict.sentence.as_str()),
    })
}
