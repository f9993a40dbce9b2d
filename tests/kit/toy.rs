//! A toy mail server with MTA-STS, as a driver: it reads lines `send DOMAIN` and says what became of a mail to each.
//! This file has all that a mail server needs of the library. Its own part, MX hosts and SMTP, is in `walk.rs`.

use std::time::Duration;

use mtasts::report::{Channel, Peer, PolicyType};
use mtasts::{Attempt, Domain, MxName, Resolver, Seen, Settings, UnixTime, verdict_without_host};
use mtasts_kit::walk::{self, Saw};
use mtasts_kit::{drivers, give_up_root};
use mtasts_lab::judge::{End, Fate};

/// How long a mail waits for its policy.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    // Root does not use the network itself: each lookup would be a helper process. A mail server has a user for its
    // deliveries.
    give_up_root();
    let settings = Settings::of_host(|_| None).expect("the settings of this host");
    let resolver = Resolver::with_log(settings, |line| eprintln!("toy: {line}"));
    drivers::serve(|domain| send(&resolver, domain));
}

/// One mail: a lookup, an attempt for each host, a verdict on each thing that is seen of it.
fn send(resolver: &Resolver, domain: &str) -> Fate {
    let answer = match resolver.lookup(domain, PATIENCE) {
        Ok(answer) => answer,
        // An error of this host says nothing about the domain: the mail waits.
        Err(error) => {
            let words = error.to_string();
            return Fate {
                words,
                ..Fate::new(domain, End::Deferred, None)
            };
        }
    };
    let mut words = answer.explain();
    let mut attempts: Vec<(Attempt, Channel)> = Vec::new();
    let fate = walk::send(domain, |host, saw| {
        let (seen, channel) = match saw {
            Saw::NoMx(why) => {
                let verdict = verdict_without_host(&answer, why, &[]);
                words = verdict.sentence;
                return verdict.action.delivers().then_some(End::Bounced);
            }
            Saw::Certificates(chain) => (certificate(resolver, host, &chain)?, Channel::Tls),
            Saw::Host(Seen::Name) => {
                attempts.push((Attempt::new(&answer, MxName::from_mx(host)), Channel::None));
                (Seen::Name, Channel::None)
            }
            Saw::Host(no_tls) => (no_tls, Channel::Clear),
        };
        let (attempt, reached) = attempts.last_mut().expect("the name of a host is seen first");
        *reached = channel;
        let verdict = attempt.saw(seen);
        words = verdict.sentence;
        if !verdict.action.delivers() {
            None
        } else if channel == Channel::Tls && answer.applies() && verdict.result.is_none() {
            Some(End::Verified)
        } else {
            Some(End::Delivered)
        }
    });
    let results = attempts.into_iter().filter_map(|(mut attempt, channel)| {
        let event = attempt.finish(Peer {
            channel,
            ..Peer::default()
        })?;
        event.result.filter(|_| event.policy_type == PolicyType::Sts)
    });
    let results: Vec<_> = results.map(|result| result.name().to_owned()).collect();
    Fate { results, words, ..fate }
}

/// A certificate as the library judges it. If there are no trust anchors, it judges nothing, and the host is skipped.
fn certificate(resolver: &Resolver, host: &str, chain: &[Vec<u8>]) -> Option<Seen> {
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let checked = resolver.verify_certificate(&Domain::parse(host).ok()?, &chain, UnixTime::now());
    checked.ok().map(Seen::Certificate)
}
