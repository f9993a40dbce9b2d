use std::time::Duration;

use crate::protocol::mx_name::MxName;
use crate::protocol::words::Source;
use crate::sender::answer::Answer;
use crate::sender::attempt::{Attempt, Channel, Peer};
use crate::sender::queue::{Completed, Queue};
use crate::sender::resolver::Resolver;
use crate::sender::settings::Settings;
use crate::sender::verdict::{Action, NoHost, Seen, verdict_without_host};

/// A mail domain that cannot have a policy: delivered as usual, whatever is seen, and never reported.
#[test]
fn a_mail_domain_that_is_not_a_domain_name_is_an_answer() {
    // A question about one would fail here: nothing can be made at this place, by root's helper neither.
    let settings = Settings {
        cache_dir: Some("/proc/self/none".into()),
        ..Settings::default()
    };
    let resolver = Resolver::with_log(settings, |line| panic!("told: {line}"));
    let queue = Queue::new(&resolver).unwrap();
    let (too_long, label) = (format!("{}a", "a.".repeat(127)), format!("{}.example", "a".repeat(64)));
    for (name, why) in [
        ("", "\"\" is not a domain name (the name is empty)"),
        (".", "the name is empty"),
        ("[192.0.2.1]", "an IP address has no MTA-STS policy"),
        ("[IPv6:2001:db8::1]", "an IP address has no MTA-STS policy"),
        ("192.0.2.1", "an IP address has no MTA-STS policy"),
        ("a..example", "an empty label"),
        ("a_b.example", "'_' cannot be part of a host name"),
        ("a b.example", "' ' cannot be part"),
        ("-a.example", "a hyphen"),
        ("a\r\nb.example", "\"a  b.example\" is not"),
        ("\u{fffd}.example", "no valid A-label form"),
        (&label, "longer than 63 octets"),
        (&too_long, "longer than 253 octets"),
        (&"ü".repeat(100_000), "longer than 253 octets"),
    ] {
        let is_none = |answer: &Answer| {
            assert_eq!((answer.source(), answer.domain()), (Source::NoPolicy, None), "{name:?}");
            assert!(!answer.applies() && answer.defer_until().is_none() && answer.cached().is_none());
            let failure = answer.failure().unwrap();
            assert!(
                failure.result.is_none() && failure.detail.contains(why),
                "{}",
                failure.detail
            );
            assert!(answer.explain().starts_with("no policy is possible: "), "{answer}");
        };
        let answer = resolver.lookup(name, Duration::MAX).unwrap();
        is_none(&answer);
        is_none(&resolver.lookup_cached(name).unwrap());
        is_none(&resolver.recheck(name, Duration::MAX).unwrap());
        assert!(answer.is_same_policy(&resolver.recheck(name, Duration::MAX).unwrap()));
        for id in [
            queue.submit(name, Duration::MAX, 'q'),
            queue.recheck(name, Duration::MAX, 'q'),
        ] {
            let done = queue.next().unwrap().unwrap();
            assert_eq!((done.id, done.user), (id.unwrap(), 'q'));
            match done.result {
                Completed::Answer(answer) => is_none(&answer),
                other => panic!("{name:?}: {other:?}"),
            }
        }

        let mut attempt = Attempt::new(&answer, MxName::from_mx(name));
        for seen in [Seen::Name, Seen::StarttlsNotOffered] {
            let verdict = attempt.saw(seen);
            assert_eq!((verdict.action, verdict.result), (Action::Deliver, None), "{name:?}");
            assert!(
                verdict.sentence.ends_with("mail is delivered as usual"),
                "{}",
                verdict.sentence
            );
        }
        let channel = Channel::Clear;
        assert_eq!(
            attempt.finish(Peer {
                channel,
                ..Peer::default()
            }),
            None
        );
        assert_eq!(
            verdict_without_host(&answer, NoHost::NxDomain, &[]).action,
            Action::Deliver
        );
    }
    // A single label is a domain name, and may have a policy.
    assert!(resolver.lookup_cached("localhost").is_err());
}
