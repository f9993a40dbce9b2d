//! A toy mail server with MTA-STS, as a driver: it reads lines `send DOMAIN` and says what became of a mail to each.
//! What a real server needs of the library is all here; its own part, MX records and SMTP, is in `walk`.

use std::time::Duration;

use mtasts::report::{Channel, Peer, PolicyType};
use mtasts::{Attempt, Domain, MxName, Resolver, Seen, Settings, UnixTime};
use mtasts_kit::give_up_root;
use mtasts_kit::walk::{self, May, Saw};
use mtasts_lab::judge::{End, Fate};

/// How long a mail waits for its policy.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    // Root asks no network itself: each lookup would be a helper process. A mail server has a user for its deliveries.
    give_up_root();
    let settings = Settings::of_host(|_| None).expect("the settings of this host");
    let resolver = Resolver::with_log(settings, |line| eprintln!("toy: {line}"));
    walk::drive(|domain| send(&resolver, domain));
}

/// One mail: a lookup, an attempt for each host, a verdict on each thing that is seen of it.
fn send(resolver: &Resolver, domain: &str) -> Fate {
    let answer = match resolver.lookup(domain, PATIENCE) {
        Ok(answer) => answer,
        // Our own trouble is never the domain's: the mail waits.
        Err(error) => {
            return Fate {
                domain: domain.to_owned(),
                end: End::Deferred,
                host: None,
                results: Vec::new(),
                words: error.to_string(),
            };
        }
    };
    let mut words = answer.explain();
    let mut attempts: Vec<(Attempt, Channel)> = Vec::new();
    let fate = walk::send(domain, |host, saw| {
        let of_certificate = matches!(saw, Saw::Certificates(_));
        let channel = if of_certificate { Channel::Tls } else { Channel::Clear };
        let verdict = match saw {
            Saw::NoMx(why) => mtasts::verdict_without_host(&answer, why, &[]),
            Saw::Name => {
                attempts.push((Attempt::new(&answer, MxName::from_mx(host)), Channel::None));
                attempts.last_mut().unwrap().0.saw(Seen::Name)
            }
            saw => {
                let Ok(seen) = seen(resolver, host, saw) else {
                    return May::Not;
                };
                let (attempt, came) = attempts.last_mut().expect("its name was seen before");
                *came = channel;
                attempt.saw(seen)
            }
        };
        words = verdict.sentence;
        if !verdict.action.delivers() {
            May::Not
        } else if of_certificate && answer.applies() && verdict.result.is_none() {
            May::Verified
        } else {
            May::GoOn
        }
    });
    let events = attempts.into_iter().filter_map(|(mut attempt, channel)| {
        attempt.finish(Peer {
            channel,
            ..Peer::default()
        })
    });
    let failures = events
        .filter(|event| event.policy_type == PolicyType::Sts)
        .filter_map(|event| event.result);
    Fate {
        results: failures.map(|result| result.name().to_owned()).collect(),
        words,
        ..fate
    }
}

/// The same in the words of the library. Without root certificates nothing can be said of a host: that is an error.
fn seen(resolver: &Resolver, host: &str, saw: Saw) -> Result<Seen, String> {
    Ok(match saw {
        Saw::NoStarttls => Seen::StarttlsNotOffered,
        Saw::StarttlsRefused => Seen::StarttlsRefused,
        Saw::NoTls(error) => Seen::HandshakeFailed(error),
        Saw::Certificates(chain) => {
            let host = Domain::parse(host).map_err(|error| error.to_string())?;
            let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
            let checked = resolver.verify_certificate(&host, &chain, UnixTime::now());
            Seen::Certificate(checked.map_err(|error| error.to_string())?)
        }
        Saw::Name | Saw::NoMx(_) => Seen::Name,
    })
}
