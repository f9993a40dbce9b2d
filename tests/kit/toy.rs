//! A toy mail server with MTA-STS, as a driver: it reads lines `send DOMAIN` and says what became of a mail to each.
//! What a real server needs of the library is all here; its own part, MX records and SMTP, is in `walk`.

use std::time::Duration;

use mtasts::{Action, Answer, Context, Domain, Mode, MxName, NoHost, Seen, Settings, Verdict};
use mtasts::{verdict, verdict_without_host};
use mtasts_kit::give_up_root;
use mtasts_kit::walk::{self, May, Saw};
use mtasts_lab::judge::{End, Fate};
use rustls_pki_types::UnixTime;

/// How long a mail waits for its policy.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    // Root asks no network itself: each lookup would be a helper process. A mail server has a user for its deliveries.
    give_up_root();
    let settings = Settings::of_host(|_| None).expect("the settings of this host");
    let context = Context::with_log(settings, |line| eprintln!("toy: {line}"));
    walk::drive(|domain| send(&context, domain));
}

/// One mail: a lookup, and a verdict on each thing that is seen of each host.
fn send(context: &Context, domain: &str) -> Fate {
    let known = Domain::parse(domain).map_err(|error| error.to_string());
    let known = known.and_then(|name| context.lookup(&name, PATIENCE).map_err(|error| error.to_string()));
    let answer = match known {
        Ok(answer) => answer,
        // Our own trouble is never the domain's: the mail waits.
        Err(words) => return waits(domain, words),
    };
    let mut results = Vec::new();
    let mut words = answer.explain();
    let mut fate = walk::send(domain, |host, saw| {
        let verified = matches!(saw, Saw::Certificates(_)) && answer.mode() == Mode::Enforce;
        let (action, result, sentence) = judge(context, &answer, host, saw);
        results.extend(result);
        words = sentence;
        match action {
            Action::Deliver if verified => May::Verified,
            Action::Deliver | Action::DeliverAndReport => May::GoOn,
            Action::SkipHost | Action::Defer => May::Not,
        }
    });
    // A policy that could not be fetched is reported where no host was judged, too (RFC 8461 6).
    results.extend(
        answer
            .failure()
            .and_then(|failure| failure.result)
            .map(|result| result.name().to_owned()),
    );
    fate.results = results;
    fate.words = words;
    fate
}

fn judge(context: &Context, answer: &Answer, host: &str, saw: Saw) -> (Action, Option<String>, String) {
    let seen = match saw {
        // A policy in force lists hosts, the DNS denies them: one of the two may be forged.
        Saw::NoMx => return told(verdict_without_host(answer, NoHost::NxDomain)),
        Saw::Name => Seen::Name,
        Saw::NoStarttls => Seen::StarttlsNotOffered,
        Saw::StarttlsRefused => Seen::StarttlsRefused,
        Saw::NoTls(error) => Seen::HandshakeFailed(error),
        Saw::Certificates(chain) => {
            let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
            let checked = Domain::parse(host).map_err(|error| error.to_string()).and_then(|host| {
                let checked = context.check_certificate(&chain, &host, UnixTime::now());
                checked.map_err(|error| error.to_string())
            });
            match checked {
                Ok(checked) => Seen::Certificate(checked),
                Err(words) => return (Action::Defer, None, words),
            }
        }
    };
    told(verdict(answer, &MxName::from_mx(host), &seen))
}

fn told(verdict: Verdict) -> (Action, Option<String>, String) {
    let result = verdict.result.map(|result| result.name().to_owned());
    (verdict.action, result, verdict.sentence)
}

fn waits(domain: &str, words: String) -> Fate {
    Fate {
        domain: domain.to_owned(),
        end: End::Deferred,
        host: None,
        results: Vec::new(),
        words,
    }
}
