//! Attempts at hosts with TLSA records, with real certificates.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Attempt, Channel, Peer};
use super::*;
use crate::protocol::der;
use crate::protocol::report::{PolicyType, ReportEvent};
use crate::sender::answer::Answer;
use crate::sender::dane::{Facts, HostRecords, Routing};
use crate::sender::hosts::Hosts;
use crate::sender::resolver::Resolver;
use crate::sender::settings::Settings;
use crate::sender::validator::Worth;
use crate::sender::verdict::tests::answers;

/// A certificate that no trust anchor of a host vouches for.
fn self_signed() -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["nobody.example.org".to_owned()]).unwrap();
    made.cert.der().to_vec()
}

/// The record DANE-EE with the whole key.
fn record_of(certificate: &[u8]) -> Vec<u8> {
    [&[3, 1, 0], der::public_key(certificate).unwrap()].concat()
}

fn hosts(mx: &str, secure: bool, records: HostRecords, strict_both: bool) -> Hosts {
    let mx = Domain::parse(mx).unwrap();
    let listed = vec![mx.clone()];
    let facts = Facts {
        domain: Domain::parse("example.com").unwrap(),
        routing: if secure {
            Routing::Secure(listed)
        } else {
            Routing::Insecure(listed)
        },
        hosts: vec![(mx, records)],
        life: Duration::from_secs(60),
    };
    Hosts::new(Worth::Validates, facts, strict_both)
}

fn with(mx: &str, rdata: &[Vec<u8>]) -> HostRecords {
    HostRecords::Records {
        base: Domain::parse(mx).unwrap(),
        records: TlsaSet::read(rdata.iter().map(Vec::as_slice)),
    }
}

fn answer(name: &str) -> Arc<Answer> {
    let found = answers().into_iter().find(|(known, _)| *known == name);
    Arc::new(found.unwrap_or_else(|| panic!("{name}")).1)
}

/// The names of the answers that have a policy in force in a mode.
fn in_mode(mode: &str) -> String {
    let all = answers();
    let names = all.iter().map(|(name, _)| (*name).to_owned());
    names.into_iter().find(|name| name.starts_with(mode)).unwrap()
}

fn resolver() -> Resolver {
    Resolver::new(Settings {
        cache_dir: None,
        ..Settings::default()
    })
}

fn ended(attempt: &mut Attempt) -> Vec<ReportEvent> {
    let peer = Peer {
        channel: Channel::Tls,
        ..Peer::default()
    };
    std::iter::from_fn(|| attempt.finish(peer)).collect()
}

const LISTED: &str = "mx.example.com";
const OTHER: &str = "mx.example.org";

/// The whole session with a host; the last verdict, and what a report counts.
fn session(answer: &Arc<Answer>, mx: &str, hosts: &Hosts, chain: &[&[u8]]) -> (Verdict, Vec<ReportEvent>) {
    session_of(&resolver(), answer, mx, hosts, chain)
}

fn session_of(
    resolver: &Resolver,
    answer: &Arc<Answer>,
    mx: &str,
    hosts: &Hosts,
    chain: &[&[u8]],
) -> (Verdict, Vec<ReportEvent>) {
    let mut attempt = Attempt::with_hosts(answer, MxName::from_mx(mx), hosts);
    let mut verdict = attempt.saw(Seen::Name);
    if verdict.action.delivers() {
        verdict = attempt.saw_chain(resolver, chain, UnixTime::now()).unwrap();
    }
    (verdict, ended(&mut attempt))
}

/// RFC 8461 2 and RFC 7672 3.1.1, for every answer that there is.
#[test]
fn usable_records_decide_whatever_the_policy_says() {
    let (good, wrong) = (self_signed(), self_signed());
    for (name, answer) in answers() {
        let answer = Arc::new(answer);
        let listed = hosts(LISTED, true, with(LISTED, &[record_of(&good)]), false);
        let (verdict, events) = session(&answer, LISTED, &listed, &[&good]);
        assert!(verdict.action.delivers(), "{name}: {verdict:?}");
        assert_eq!(events[0].policy_type, PolicyType::Tlsa, "{name}");
        assert_eq!(
            (events[0].result, events.len()),
            (None, 1 + usize::from(events.len() > 1)),
            "{name}"
        );
        assert!(
            events[0].policy_lines[0].starts_with("3 1 0 30"),
            "{:?}",
            events[0].policy_lines
        );
        let (verdict, events) = session(&answer, LISTED, &listed, &[&wrong]);
        assert_eq!(verdict.action, Action::SkipHost, "{name}");
        assert_eq!(verdict.token(), "dane", "{name}");
        assert_eq!(events[0].result, Some(ResultType::ValidationFailure), "{name}");
        assert!(
            events
                .iter()
                .all(|event| event.policy_type != PolicyType::NoPolicyFound)
        );

        for seen in [
            Seen::StarttlsNotOffered,
            Seen::StarttlsRefused,
            Seen::HandshakeFailed("alert".into()),
        ] {
            let mut attempt = Attempt::with_hosts(&answer, MxName::from_mx(LISTED), &listed);
            assert_eq!(attempt.sni().map(Domain::as_str), Some(LISTED));
            assert_eq!(attempt.saw(seen).action, Action::SkipHost, "{name}");
            // A second connection does not allow it.
            let again = attempt.saw_chain(&resolver(), &[&good], UnixTime::now()).unwrap();
            assert_eq!(again.action, Action::SkipHost, "{name}");
        }

        // A host that the policy does not list, named by MX records for which DNSSEC vouches.
        let other = hosts(OTHER, true, with(OTHER, &[record_of(&good)]), false);
        let (verdict, events) = session(&answer, OTHER, &other, &[&good]);
        assert!(verdict.action.delivers(), "{name}: {verdict:?}");
        if answer.applies() {
            assert_eq!(verdict.token(), "mx-host-not-in-policy", "{name}");
            assert_eq!(events.len(), 2, "{name}");
            assert_eq!(events[1].policy_type, PolicyType::Sts, "{name}");
            assert_eq!(events[1].result, Some(ResultType::ValidationFailure), "{name}");
        }
        // By MX records that may be forged.
        let forged = hosts(OTHER, false, with(OTHER, &[record_of(&good)]), false);
        let (verdict, _) = session(&answer, OTHER, &forged, &[&good]);
        assert_eq!(verdict.action.delivers(), !answer.enforces(), "{name}: {verdict:?}");
    }
}

/// SERVFAIL, a forged answer, silence: this host waits, whatever the policy says, and it is not the mail that bounces.
#[test]
fn what_cannot_be_looked_up_is_skipped() {
    use crate::protocol::words::NoHost;
    use crate::sender::verdict::verdict_without_host;
    let unknown = || HostRecords::Unknown("SERVFAIL".into());
    for (name, answer) in answers() {
        let answer = Arc::new(answer);
        let hosts = hosts(LISTED, true, unknown(), false);
        let (verdict, events) = session(&answer, LISTED, &hosts, &[]);
        assert_eq!(verdict.action, Action::SkipHost, "{name}");
        assert_eq!(events[0].result, Some(ResultType::DnssecInvalid), "{name}");
        assert_eq!(verdict.token(), "dnssec-invalid");
        let given = [(MxName::from_mx(LISTED), verdict.reason_code)];
        let without = verdict_without_host(&answer, NoHost::Left, &given);
        assert_eq!(without.action, Action::Defer, "{name}: {without:?}");
    }
    // The name server could not be tested.
    let hosts = Hosts::without(Worth::Unknown("silent".into()));
    for name in ["no-policy", &in_mode("enforce")] {
        let (verdict, _) = session(&answer(name), LISTED, &hosts, &[]);
        assert_eq!(
            (verdict.action, verdict.token()),
            (Action::SkipHost, "dnssec-invalid"),
            "{name}"
        );
    }
}

/// RFC 7672 2.2: records that nobody can use ask for TLS, and for no name.
#[test]
fn unusable_records_ask_for_tls() {
    let (certificate, unusable) = (self_signed(), vec![vec![1, 1, 1, 7]]);
    for (name, answer) in answers() {
        if answer.defer_until().is_some() {
            continue;
        }
        let answer = Arc::new(answer);
        let hosts = hosts(LISTED, true, with(LISTED, &unusable), false);
        let mut attempt = Attempt::with_hosts(&answer, MxName::from_mx(LISTED), &hosts);
        assert!(attempt.sni().is_none());
        assert_eq!(attempt.saw(Seen::StarttlsNotOffered).action, Action::SkipHost, "{name}");
        let (verdict, events) = session(&answer, LISTED, &hosts, &[&certificate]);
        assert_eq!(verdict.action.delivers(), !answer.enforces(), "{name}: {verdict:?}");
        assert!(verdict.result.is_some(), "{name}");
        assert_eq!(events[0].result, Some(ResultType::TlsaInvalid), "{name}");
    }
}

/// `strict-both`: the records pass and no CA vouches, so that an enforced policy refuses, and only that.
#[test]
fn strict_both_asks_both() {
    let (good, wrong) = (self_signed(), self_signed());
    let hosts = hosts(LISTED, true, with(LISTED, &[record_of(&good)]), true);
    for (name, answer) in answers() {
        if answer.defer_until().is_some() {
            continue;
        }
        let answer = Arc::new(answer);
        let (verdict, events) = session(&answer, LISTED, &hosts, &[&good]);
        assert_eq!(verdict.action.delivers(), !answer.enforces(), "{name}: {verdict:?}");
        assert_eq!(
            (events[0].policy_type, events[0].result),
            (PolicyType::Tlsa, None),
            "{name}"
        );
        let (verdict, events) = session(&answer, LISTED, &hosts, &[&wrong]);
        assert_eq!(verdict.action, Action::SkipHost, "{name}");
        assert_eq!(events[0].result, Some(ResultType::ValidationFailure), "{name}");
    }
}

/// Without DANE an attempt is what it was.
/// The part of the policy in `strict-both` goes by the roots of the setting `ca_file`, and by no others.
#[test]
fn strict_both_goes_by_the_roots_of_ca_file() {
    let authority = |name: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
    };
    let (own, other) = (authority("Own"), authority("Other"));
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new([LISTED.to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &own).unwrap().der().to_vec();
    let both = hosts(LISTED, true, with(LISTED, &[record_of(&leaf)]), true);
    let enforced = answer(&in_mode("enforce"));
    for (root, delivers) in [(&own, true), (&other, false)] {
        let file = std::env::temp_dir().join(format!("mtasts-strict-both-{}-{delivers}.pem", std::process::id()));
        std::fs::write(&file, root.pem()).unwrap();
        let resolver = Resolver::new(Settings {
            cache_dir: None,
            ca_file: Some(file.clone()),
            ..Settings::default()
        });
        let (verdict, _) = session_of(&resolver, &enforced, LISTED, &both, &[&leaf, own.der()]);
        std::fs::remove_file(file).unwrap();
        assert_eq!(verdict.action.delivers(), delivers, "{verdict:?}");
        let result = (!delivers).then_some(ResultType::CertificateNotTrusted);
        assert_eq!(verdict.result, result, "{verdict:?}");
    }
}

#[test]
fn without_records_the_policy_decides() {
    for worth in [
        Worth::Off,
        Worth::Unfit("not here".into()),
        Worth::Absent("nobody".into()),
    ] {
        let hosts = Hosts::without(worth);
        for (name, answer) in answers() {
            let answer = Arc::new(answer);
            for mx in [LISTED, OTHER] {
                let host = || MxName::from_mx(mx);
                let mut old = Attempt::new(&answer, host());
                let mut new = Attempt::with_hosts(&answer, host(), &hosts);
                for seen in [Seen::Name, Seen::StarttlsNotOffered] {
                    assert_eq!(old.saw(seen.clone()), new.saw(seen), "{name}");
                }
                assert_eq!(ended(&mut old), ended(&mut new), "{name}");
            }
        }
    }
}
