//! The report, for people.

use crate::lint;
use crate::output::{Mark, Page, bytes_as_text};
use mtasts::sender::precedence::Way;
use mtasts_survey::dane::HostDane;
use mtasts_survey::finding::Level;
use mtasts_survey::judge::{HostJudgement, Judgement, Outcome, SessionJudgement};
use mtasts_survey::smtp::{End, Session};
use mtasts_survey::survey::{Host, Route, Survey};

pub(super) fn show(survey: &Survey, judgement: &Judgement) -> Page {
    let mut page = Page::new();
    let domain = &survey.domain;
    page.heading(&format!("Record at _mta-sts.{domain}"));
    match (&judgement.record, &survey.txt) {
        (Ok(record), _) => page.line(Mark::Good, &format!("id {}", record.id)),
        (Err(error), _) => page.line(Mark::Bad, &error.to_string()),
    }
    for record in survey.txt.iter().flatten() {
        page.more(&bytes_as_text(record));
    }
    if let Some(linted) = judgement.records.as_ref().filter(|_| survey.txt.is_ok()) {
        lint::show_record_findings(&mut page, linted);
    }
    page.heading(&format!("Policy at https://mta-sts.{domain}/.well-known/mta-sts.txt"));
    match (&survey.body, &judgement.policy) {
        (Some(Ok(_)), Some(linted)) => lint::show_policy(&mut page, linted),
        (Some(Err(error)), _) => page.line(Mark::Bad, &error.to_string()),
        _ => page.line(Mark::Plain, "not fetched: no record announces it"),
    }
    page.heading("MX hosts");
    match &survey.route {
        Route::Records => {}
        Route::Implicit => page.line(Mark::Plain, "there is no MX record: the domain is its own MX host"),
        Route::NullMx => page.line(Mark::Plain, "null MX: the domain takes no mail (RFC 7505)"),
        Route::Unknown(error) => page.line(Mark::Bad, &error.to_string()),
    }
    for (host, judged) in survey.hosts.iter().zip(&judgement.hosts) {
        show_host(&mut page, host, judged);
    }
    if survey.unasked > 0 {
        page.line(
            Mark::Advice,
            &format!("{} more MX hosts were not contacted", survey.unasked),
        );
    }
    lint::show_findings(&mut page, &judgement.advice, |_| None);
    page.heading("Result");
    let mark = match judgement.outcome() {
        Outcome::Good => Mark::Good,
        Outcome::NoPolicy => Mark::Plain,
        Outcome::Unknown => Mark::Unknown,
        Outcome::Bad => Mark::Bad,
    };
    page.line(mark, &judgement.conclusion);
    if !judgement.problems.is_empty() {
        page.heading("To fix");
        for problem in &judgement.problems {
            let mark = match problem.code.level() {
                Level::Unknown => Mark::Unknown,
                _ => Mark::Plain,
            };
            page.line(mark, &problem.to_string());
        }
    }
    page
}

fn show_host(page: &mut Page, host: &Host, judged: &HostJudgement) {
    let mut text = host.name.to_string();
    if let Some(preference) = host.preference {
        text += &format!(" (preference {preference})");
    }
    text += match judged.listed {
        Some(true) => ", listed",
        Some(false) => ", not listed in the policy",
        None => "",
    };
    let (mark, what) = match &judged.verdict {
        None => match &host.sessions {
            Ok(sessions)
                if !sessions.is_empty() && sessions.iter().all(|(_, session)| session.end == End::NotAsked) =>
            {
                (Mark::Plain, "not contacted")
            }
            Ok(sessions) if sessions.iter().any(|(_, session)| is_unknown(&session.end)) => {
                (Mark::Unknown, "it could not be determined what happens to mail here")
            }
            _ => (Mark::Bad, "no mail can be sent here"),
        },
        Some(verdict) if verdict.action.defers() => (Mark::Bad, "mail waits"),
        Some(verdict) if !verdict.action.delivers() => (Mark::Bad, "no mail is sent here"),
        Some(_) if judged.listed.is_none() => (Mark::Plain, "mail is delivered here: no policy asks for more"),
        Some(verdict) if verdict.result.is_some() => {
            (Mark::Bad, "mail is delivered here anyway, and the failure is reported")
        }
        Some(_) => (Mark::Good, "mail is delivered here, over verified TLS"),
    };
    page.line(mark, &format!("{text}: {what}"));
    match (host.name.host(), &host.sessions) {
        (Err(error), _) => page.more(&error.to_string()),
        (_, Err(error)) => page.more(&error.to_string()),
        (_, Ok(sessions)) => {
            for ((_, session), judged) in sessions.iter().zip(&judged.sessions) {
                page.more(&told(session, judged));
            }
            for line in judged.dane.iter().flat_map(of_dane) {
                page.more(&line);
            }
        }
    }
}

/// The TLSA records of a host, and which of its certificates each is of.
fn of_dane(dane: &HostDane) -> Vec<String> {
    let mut lines = vec![match &dane.way {
        Way::Sts => "DANE: no TLSA records that DNSSEC vouches for".to_owned(),
        Way::SkipHost(why) => format!("DANE: {why}"),
        Way::TlsWithoutName(base) => format!("DANE: none of the TLSA records of {base} is usable"),
        Way::Dane(asserted) | Way::Both(asserted) => {
            let result = match &dane.result {
                None => "not compared",
                Some(Ok(())) => "good",
                Some(Err(why)) => why,
            };
            format!("DANE: the TLSA records of {}, secure: {result}", asserted.base)
        }
    }];
    lines.extend(dane.records.iter().map(|record| {
        let of = match record.matches {
            None if dane.result.is_none() => String::new(),
            None => ": of no certificate here".to_owned(),
            Some(0) => ": of the host's certificate".to_owned(),
            Some(place) => format!(": of certificate {place} above the host's"),
        };
        format!("  {}{of}", record.text)
    }));
    if dane.unusable > 0 && !matches!(dane.way, Way::TlsWithoutName(_)) {
        lines.push(format!("  {} more that cannot be used", dane.unusable));
    }
    lines
}

/// What says nothing of the host.
const fn is_unknown(end: &End) -> bool {
    matches!(end, End::NoRoute | End::Unreached(_) | End::Unsupported(_))
}

fn told(session: &Session, judged: &SessionJudgement) -> String {
    let what = match &session.end {
        End::NoRoute => "not contacted: this machine has no route to it".to_owned(),
        End::NotAsked => "not contacted".to_owned(),
        End::Unreached(why) => format!("no connection to port 25: {why}"),
        End::NoService(why) => format!("not reached: {why}"),
        End::StarttlsNotOffered => "STARTTLS is not offered".to_owned(),
        End::StarttlsRefused(reply) => format!("STARTTLS is refused: {reply}"),
        End::HandshakeFailed(why) => format!("STARTTLS, but the TLS handshake fails: {why}"),
        End::Unsupported(why) => format!("STARTTLS, but libmtasts does not support the TLS of this host: {why}"),
        End::Tls { version, after, .. } => {
            let certificate = match &judged.certificate {
                Some(Err(failure)) => failure.to_string(),
                _ => "good certificate".to_owned(),
            };
            let after = after
                .as_ref()
                .err()
                .map(|why| format!("; then {why}"))
                .unwrap_or_default();
            format!("STARTTLS, {version}, {certificate}{after}")
        }
    };
    let injected = match session.injected {
        0 => String::new(),
        octets => format!("; {octets} octets in cleartext after its reply to STARTTLS, ignored"),
    };
    format!("{}: {what}{injected}", judged.address)
}
