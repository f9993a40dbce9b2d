//! Every sequence of sights over every answer and host, against rules that were written from RFC 8461 5 and RFC 8460 4,
//! and not from the code.

use super::*;
use crate::protocol::certificate::CertificateFailure;
use crate::sender::verdict::Action;
use crate::sender::verdict::tests::{HOSTS, answers, exempt, fits, outcomes, sights};

const ANYWHERE: Peer = Peer {
    channel: Channel::None,
    address: None,
    local_address: None,
};

fn ended(channel: Channel) -> Peer {
    Peer { channel, ..ANYWHERE }
}

/// All sequences of at most three sights, the empty one among them.
fn sequences() -> Vec<Vec<(&'static str, Seen)>> {
    let mut all: Vec<Vec<(&'static str, Seen)>> = vec![Vec::new()];
    for length in 0..3 {
        let shorter: Vec<_> = all.iter().filter(|s| s.len() == length).cloned().collect();
        for sequence in shorter {
            all.extend(sights().into_iter().map(|sight| [&sequence[..], &[sight]].concat()));
        }
    }
    all
}

/// What a sight alone is for a host that the policy lists: a failure of the host has a result type.
fn failure(seen: &str) -> Option<ResultType> {
    use ResultType::*;
    match seen {
        "no-starttls" | "starttls-refused" => Some(StarttlsNotSupported),
        "handshake" | "no-certificate" => Some(ValidationFailure),
        "mismatch" => Some(CertificateHostMismatch),
        "untrusted" => Some(CertificateNotTrusted),
        "expired" => Some(CertificateExpired),
        _ => None,
    }
}

const CERTIFICATES: [&str; 5] = ["good", "mismatch", "untrusted", "expired", "no-certificate"];

/// The verdicts and the event that must come out.
fn expected(
    answer: &str,
    host: &str,
    sequence: &[&str],
    channel: Channel,
) -> (Vec<Action>, Option<Option<ResultType>>) {
    let policy_failure = match answer {
        "fetch-error" => Some(ResultType::StsPolicyFetchError),
        "policy-invalid" => Some(ResultType::StsPolicyInvalid),
        "webpki-invalid" | "enforce/stale" | "testing/stale" => Some(ResultType::StsWebpkiInvalid),
        _ => None,
    };
    let (enforced, tested) = (fits("enforce/", answer), fits("testing/", answer));
    let listed = matches!(host, "listed" | "wildcard");
    let fails = |seen: &&&str| !listed || failure(seen).is_some();
    let first = sequence
        .iter()
        .position(|seen| fails(&seen))
        .filter(|_| enforced || tested);
    let passes = match policy_failure {
        Some(_) => Action::DeliverAndReport,
        None => Action::Deliver,
    };
    let action = |at: usize| match first {
        _ if answer == "first-contact" => Action::Defer,
        // After a refusal there is nothing else; in testing the first failure stays.
        Some(first) if first <= at && enforced => Action::SkipHost,
        Some(first) if first <= at => Action::DeliverAndReport,
        _ => passes,
    };
    let actions = (0..sequence.len()).map(action).collect();

    let result = |seen: &str| match listed {
        true => failure(seen),
        false => Some(ResultType::ValidationFailure),
    };
    let certificate = sequence.iter().any(|seen| CERTIFICATES.contains(seen));
    let no_tls = sequence
        .iter()
        .find(|s| ["no-starttls", "starttls-refused", "handshake"].contains(s));
    let session = certificate || no_tls.is_some() || channel != Channel::None;
    let event = if let Some(first) = first {
        Some(result(sequence[first]))
    } else if answer == "first-contact" && !sequence.is_empty() {
        // The mail waits: there is no session.
        None
    } else if policy_failure.is_some() {
        session.then_some(policy_failure)
    } else if enforced || tested {
        sequence.contains(&"good").then_some(None)
    } else if let Some(no_tls) = no_tls {
        Some(failure(no_tls))
    } else {
        (certificate || channel == Channel::Tls).then_some(None)
    };
    (actions, event)
}

#[test]
fn every_sequence() {
    let sequences = sequences();
    for (answer_name, answer) in answers() {
        let answer = Arc::new(answer);
        for (host_name, host) in HOSTS {
            for sequence in &sequences {
                let names: Vec<&str> = sequence.iter().map(|(name, _)| *name).collect();
                let mut attempt = Attempt::new(&answer, MxName::from_mx(host));
                let actions: Vec<Action> = sequence
                    .iter()
                    .map(|(_, seen)| {
                        let verdict = attempt.saw(seen.clone());
                        assert_eq!(verdict.result.is_some(), !verdict.reason_code.is_empty());
                        verdict.action
                    })
                    .collect();
                for channel in [Channel::None, Channel::Clear, Channel::Tls] {
                    let at = format!("{answer_name}, {host_name}, {names:?}, {channel:?}");
                    let (want, counted) = expected(answer_name, host_name, &names, channel);
                    assert_eq!(actions, want, "{at}");
                    let mut attempt = attempt.clone();
                    let event = attempt.finish(ended(channel));
                    assert_eq!(event.as_ref().map(|event| event.result), counted, "{at}");
                    assert!(
                        event.is_none_or(|e| e.result.is_some() != e.reason_code.is_empty()),
                        "{at}"
                    );
                    assert_eq!(attempt.finish(ended(channel)), None, "{at}: counted twice");
                }
            }
        }
    }
}

fn answer(name: &str) -> Arc<Answer> {
    let found = answers().into_iter().find(|(n, _)| *n == name).unwrap();
    Arc::new(found.1)
}

#[test]
fn a_refusal_is_final_and_says_the_same_again() {
    let mut attempt = Attempt::new(&answer("enforce/fresh"), MxName::from_mx("mx.example.org"));
    let refusal = attempt.saw(Seen::Name);
    assert_eq!(refusal.action, Action::SkipHost);
    assert_eq!(attempt.saw(Seen::Certificate(Ok(()))), refusal);
    assert_eq!(attempt.saw(Seen::StarttlsNotOffered), refusal);
    let event = attempt.finish(ANYWHERE).unwrap();
    assert_eq!(event.reason_code, "mx-host-not-in-policy");
}

#[test]
fn in_testing_the_first_failure_is_reported_and_each_has_its_sentence() {
    let mut attempt = Attempt::new(&answer("testing/stale"), MxName::from_mx("mx.example.com"));
    attempt.saw(Seen::Name);
    let expired = CertificateFailure::new(ResultType::CertificateExpired, "it expired on 2026-01-02");
    let first = attempt.saw(Seen::Certificate(Err(expired)));
    assert_eq!(
        first.result,
        Some(ResultType::CertificateExpired),
        "and not that of the policy"
    );
    let second = attempt.saw(Seen::StarttlsNotOffered);
    assert!(
        second.sentence.contains("does not offer STARTTLS"),
        "{}",
        second.sentence
    );
    assert_eq!(attempt.saw(Seen::Certificate(Ok(()))), first);
    let event = attempt.finish(ended(Channel::Tls)).unwrap();
    assert_eq!(
        (event.result, &*event.reason_code),
        (first.result, "certificate-expired: it expired on 2026-01-02")
    );
}

#[test]
fn an_exception_delivers_and_reports() {
    let (_, outcome) = outcomes()
        .into_iter()
        .find(|(name, _)| *name == "enforce/fresh")
        .unwrap();
    let mut attempt = Attempt::new(&Arc::new(exempt(&outcome)), MxName::from_mx("m_x.example.org"));
    assert_eq!(attempt.saw(Seen::Name).action, Action::DeliverAndReport);
    assert_eq!(attempt.saw(Seen::Certificate(Ok(()))).action, Action::DeliverAndReport);
    let event = attempt.finish(ended(Channel::Tls)).unwrap();
    assert_eq!(
        (event.policy_type, &*event.reason_code),
        (PolicyType::Sts, "mx-not-a-host-name")
    );
}

#[test]
fn an_event_is_of_the_policy_that_was_applied() {
    let event = |name: &str| {
        let mut attempt = Attempt::new(&answer(name), MxName::from_mx("MX.example.com."));
        attempt.saw(Seen::Certificate(Ok(())));
        let address = "192.0.2.1".parse().unwrap();
        attempt
            .finish(Peer {
                address: Some(address),
                ..ended(Channel::Tls)
            })
            .unwrap()
    };
    let sts = event("enforce/cached");
    assert_eq!(
        (sts.policy_type, sts.result, &*sts.reason_code),
        (PolicyType::Sts, None, "")
    );
    assert_eq!(sts.policy_lines[..2], ["version: STSv1", "mode: enforce"]);
    assert_eq!(
        (sts.policy_lines.len(), sts.patterns),
        (5, vec!["mx.example.com".into(), "*.example.net".into()])
    );
    assert_eq!(
        (sts.host.as_str(), sts.address.unwrap().to_string()),
        ("mx.example.com", "192.0.2.1".into())
    );
    for name in ["no-policy", "dns-broken", "none/fresh", "none/stale"] {
        let none = event(name);
        assert_eq!(
            (none.policy_type, none.result),
            (PolicyType::NoPolicyFound, None),
            "{name}"
        );
        assert!(none.policy_lines.is_empty() && none.patterns.is_empty());
    }
    // D-24: the domain announces a policy that could not be had.
    let unfetched = event("fetch-error");
    assert_eq!(
        (unfetched.policy_type, unfetched.result),
        (PolicyType::Sts, Some(ResultType::StsPolicyFetchError))
    );
    assert!(unfetched.policy_lines.is_empty());
}

/// A report about a report would cause the next one (D-39).
#[test]
fn a_session_with_a_report_has_no_event() {
    let mut settings = crate::sender::settings::Settings::default();
    settings.set("tlsrpt_sender", "tlsrpt@sender.test").unwrap();
    let resolver = Resolver::new(settings);
    let mut counted = 0;
    for (_, answer) in answers() {
        let answer = Arc::new(answer);
        for (sender, tls_required, is_reported) in [
            ("user@sender.test", "", true),
            ("TLSRPT@sender.test", "", false),
            ("", "no", false),
        ] {
            let mut attempt = Attempt::new(&answer, MxName::from_mx("mx.example.com"));
            attempt.carries(&resolver, sender, tls_required);
            attempt.saw(Seen::Certificate(Ok(())));
            let event = attempt.finish(ended(Channel::Tls));
            counted += usize::from(event.is_some());
            assert!(
                is_reported || (event.is_none() && attempt.finish(ANYWHERE).is_none()),
                "{event:?}"
            );
        }
    }
    assert!(counted > 3, "{counted}");
}
