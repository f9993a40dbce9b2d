//! A session of Exim with an MX host: what its events show, and at the end the verdict on a host that failed a policy that
//! is not enforced, and what a TLS report counts.
//!
//! Exim raises the events of a session in one process, one after the other, from `tcp:connect` to `tcp:close`.

use std::cell::RefCell;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::protocol::certificate::{CertificateFailure, check_name};
use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::protocol::words::{Channel, ResultType};
use crate::sender::attempt::{Attempt, Peer};
use crate::sender::mta::exim::Facts;
use crate::sender::notice::Notice;
use crate::sender::resolver::Resolver;
use crate::sender::verdict::{Seen, Verdict};

/// The longest chain that is kept.
const CERTIFICATES: usize = 10;
/// How many MX names a host may be the target of.
const NAMES: usize = 20;

thread_local! {
    static SESSION: RefCell<Session> = RefCell::default();
}

/// What was seen so far.
#[derive(Default)]
struct Session {
    /// Whether the host's answer to EHLO offers STARTTLS, if there was one.
    starttls: Option<bool>,
    /// The host's own certificate first.
    chain: Vec<Vec<u8>>,
}

/// Notes an event. At the end of the session: the line about a host that would have failed the policy of the domain.
pub(super) fn saw(
    resolver: &Resolver,
    event: &str,
    [domain, host, address, data]: [&str; 4],
    facts: &Facts<'_>,
) -> Result<Option<String>, Notice> {
    let mut session = SESSION.take();
    match event {
        "tcp:connect" => session = Session::default(),
        // The host answers EHLO a second time when TLS is up, and then offers no STARTTLS.
        "smtp:ehlo" => {
            // Each line is a code and a keyword. The first one has the name of the host.
            let keywords = || data.lines().skip(1).filter_map(|line| line.get(4..));
            let offered = || keywords().any(|keyword| keyword.trim().eq_ignore_ascii_case("STARTTLS"));
            session.starttls.get_or_insert_with(offered);
        }
        // From the last certificate of the chain to the host's own.
        "tls:cert" => {
            session.chain.splice(0..0, facts.certificate());
            session.chain.truncate(CERTIFICATES);
        }
        "tcp:close" => {
            // With OpenSSL a certificate that Exim has refused was in no event of its own.
            let own = facts.certificate().filter(|own| !session.chain.contains(own));
            session.chain.splice(0..0, own);
            return ended(resolver, domain, (host, address), &session, facts);
        }
        _ => {}
    }
    SESSION.set(session);
    Ok(None)
}

fn ended(
    resolver: &Resolver,
    domain: &str,
    (host, address): (&str, &str),
    session: &Session,
    facts: &Facts<'_>,
) -> Result<Option<String>, Notice> {
    let answer = resolver.lookup_cached(domain).map_err(|e| e.notice())?;
    // What TLSA records say is not known here, and where they decide there is a policy.
    if facts.has_dane() && !answer.applies() {
        return Ok(None);
    }
    // Exim's name of a host is the target of its CNAME. Then it may be each of the domain's MX hosts, and the best is
    // assumed.
    let given: Vec<&str> = facts
        .get("hosts")
        .unwrap_or_default()
        .split(';')
        .filter(|name| !name.is_empty())
        .collect();
    let names = match given.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        false if !given.is_empty() => given,
        _ => vec![host],
    };
    let judged = |name| {
        let name = MxName::from_mx(name);
        let mut attempt = Attempt::new(&answer, name.clone());
        attempt.saw(Seen::Name);
        if let Some(seen) = name.host().ok().and_then(|host| seen(resolver, host, session, facts)) {
            attempt.saw(seen);
        }
        attempt
    };
    let mut judged: Vec<Attempt> = names.into_iter().take(NAMES).map(judged).collect();
    let best = judged
        .iter()
        .position(|attempt| attempt.failure().is_none())
        .unwrap_or(0);
    let Some(attempt) = judged.get_mut(best) else {
        return Ok(None);
    };
    let peer = Peer {
        channel: match (facts.get("cipher"), session.starttls) {
            (Some(_), _) => Channel::Tls,
            (None, Some(_)) => Channel::Clear,
            (None, None) => Channel::None,
        },
        address: address.parse().ok(),
        local_address: facts.get("local").and_then(|local| local.parse().ok()),
    };
    attempt.carries(resolver, &facts.text("from"), &facts.text("tlsreq"));
    while attempt.finish(peer).is_some() {}
    // What is lost is counted, and means nothing for the mail.
    let _ = attempt.report(resolver, Duration::MAX);
    // Under an enforced policy Exim says itself why the mail waits.
    let failure = attempt.failure().filter(|_| !answer.enforces());
    Ok(failure.map(Verdict::log_line))
}

/// What the session showed of the host's TLS, or nothing if it did not come so far or DANE decided about it.
fn seen(resolver: &Resolver, host: &Domain, session: &Session, facts: &Facts<'_>) -> Option<Seen> {
    if facts.has_dane() {
        return None;
    }
    let encrypted = facts.get("cipher").is_some();
    let chain: Vec<&[u8]> = session.chain.iter().map(Vec::as_slice).collect();
    let failure = || {
        resolver
            .verify_certificate(host, &chain, UnixTime::now())
            .ok()
            .and_then(Result::err)
    };
    Some(match (encrypted, session.starttls?) {
        (false, false) => Seen::StarttlsNotOffered,
        // Where Exim verifies, a certificate that is not accepted is the end of the handshake.
        (false, true) => match failure().filter(|_| !chain.is_empty()) {
            Some(failure) => Seen::Certificate(Err(failure)),
            None => Seen::HandshakeFailed("STARTTLS was refused, or no TLS session came about".into()),
        },
        // Exim's own check is for the MX name, and accepts a common name.
        (true, _) if facts.get("cv") == Some("1") => {
            let leaf = chain.first().copied();
            let named = leaf.map_or(Ok(()), |leaf| check_name(host, leaf));
            Seen::Certificate(named)
        }
        (true, _) => {
            let other =
                || CertificateFailure::new(ResultType::ValidationFailure, "Exim did not accept the certificate");
            Seen::Certificate(Err(failure().unwrap_or_else(other)))
        }
    })
}
