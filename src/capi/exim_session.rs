//! A session of Exim with an MX host: what its events show, and at the end the verdict on a host that failed a policy that
//! is not enforced, and what a TLS report counts.
//!
//! Exim raises the events of a session in one process, one after the other, from `tcp:connect` to `tcp:close`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::protocol::certificate::{CertificateFailure, check_name};
use crate::protocol::dane;
use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::protocol::tlsa::Usage;
use crate::protocol::words::{Channel, ResultType};
use crate::sender::attempt::{Attempt, Peer};
use crate::sender::mta::exim::Facts;
use crate::sender::notice::Notice;
use crate::sender::precedence::{Asserted, Way};
use crate::sender::resolver::Resolver;
use crate::sender::verdict::{Seen, Verdict};

/// The longest chain that is kept.
const CERTIFICATES: usize = 10;
/// How many MX names a host may be the target of, and how many MX hosts that are passed over are counted.
const NAMES: usize = 20;

thread_local! {
    static SESSION: RefCell<Session> = RefCell::default();
    /// The message that is routed, and the domains of it whose MX hosts were counted.
    static ROUTED: RefCell<(String, HashSet<String>)> = RefCell::default();
}

/// What was seen so far.
#[derive(Default)]
struct Session {
    /// Whether the host's answer to EHLO offers STARTTLS, if there was one.
    starttls: Option<bool>,
    /// The host's own certificate first.
    chain: Vec<Vec<u8>>,
    /// Exim says that DANE has failed.
    has_dane_failed: bool,
    /// The address with which a handshake has failed. Exim connects to it again without TLS if it may.
    failed: Option<String>,
    /// This is that second session.
    is_second: bool,
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
        "tcp:connect" => {
            session = Session {
                is_second: session.failed.as_deref() == Some(address),
                ..Session::default()
            }
        }
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
        // The TLSA records of the host cannot be looked up: there is no session.
        "dane:fail" if data == "dnssec-invalid" => {
            let way = Way::SkipHost("the mail server could not look up the TLSA records".into());
            return ended(resolver, domain, (host, ""), (&Session::default(), &way), facts);
        }
        // `dane-required` is a wish of the operator's: he has DANE asked of hosts that have none.
        "dane:fail" if data != "dane-required" => session.has_dane_failed = true,
        "tcp:close" => {
            // With OpenSSL a certificate that Exim has refused was in no event of its own.
            let own = facts.certificate().filter(|own| !session.chain.contains(own));
            session.chain.splice(0..0, own);
            if has_failed(&session, facts) {
                let failed = Some(address.to_owned());
                SESSION.set(Session {
                    failed,
                    ..Session::default()
                });
            }
            // That there is no TLS was Exim's choice, after the failure that was counted.
            if session.is_second && facts.get("cipher").is_none() && facts.has_no_handshake() {
                return Ok(None);
            }
            let way = way(host, domain, &session, facts);
            return ended(resolver, domain, (host, address), (&session, &way), facts);
        }
        _ => {}
    }
    SESSION.set(session);
    Ok(None)
}

/// Counts the MX hosts that Exim passes over because an enforced policy does not list them: those before the first that it
/// lists. Exim says nothing of them. It routes each recipient, and a message has one delivery to a domain.
pub(super) fn routed(resolver: &Resolver, domain: &str, facts: &Facts<'_>) -> Result<(), Notice> {
    let answer = resolver.lookup_cached(domain).map_err(|e| e.notice())?;
    let Some(name) = answer.domain().filter(|_| answer.enforces()) else {
        return Ok(());
    };
    let message = facts.get("message").unwrap_or_default();
    let is_new = ROUTED.with_borrow_mut(|(last, domains)| {
        if last != message {
            message.clone_into(last);
            domains.clear();
        }
        domains.insert(domain.to_owned())
    });
    if !is_new {
        return Ok(());
    }
    let mut listed = None;
    let judged = facts.mx_hosts().into_iter().filter_map(|(preference, host)| {
        let mut attempt = Attempt::new(&answer, MxName::from_mx(&host));
        match attempt.saw(Seen::Name).action.delivers() {
            true => {
                listed.get_or_insert(preference);
                None
            }
            false => Some((preference, attempt)),
        }
    });
    let judged: Vec<(u16, Attempt)> = judged.collect();
    // Of two with one preference either may be tried first.
    let passed_over = judged
        .into_iter()
        .filter(|(preference, _)| listed.is_none_or(|listed| *preference < listed));
    let events = passed_over.take(NAMES).filter_map(|(_, mut attempt)| {
        attempt.carries(resolver, &facts.text("from"), &facts.text("tlsreq"));
        attempt.finish(Peer::default())
    });
    let events: Vec<_> = events.collect();
    let _ = resolver.report(name, &events, Duration::MAX);
    Ok(())
}

fn ended(
    resolver: &Resolver,
    domain: &str,
    (host, address): (&str, &str),
    (session, way): (&Session, &Way),
    facts: &Facts<'_>,
) -> Result<Option<String>, Notice> {
    let answer = resolver.lookup_cached(domain).map_err(|e| e.notice())?;
    // An Exim that cannot say what the TLSA records are: they have decided, and nothing else was looked at.
    if facts.has_dane() && *way == Way::Sts && !answer.applies() {
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
        let mut attempt = Attempt::by_way(&answer, name.clone(), way.clone());
        attempt.saw(Seen::Name);
        let seen = match way {
            Way::Dane(asserted) => seen_by_dane(asserted, session, facts),
            _ => name.host().ok().and_then(|host| seen(resolver, host, session, facts)),
        };
        if let Some(seen) = seen {
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

/// Whether a handshake was begun in the session, and failed.
fn has_failed(session: &Session, facts: &Facts<'_>) -> bool {
    let was_begun = !session.chain.is_empty() || !facts.has_no_handshake();
    session.starttls == Some(true) && facts.get("cipher").is_none() && was_begun
}

/// What decided about the host for Exim.
fn way(host: &str, domain: &str, session: &Session, facts: &Facts<'_>) -> Way {
    let (Some(records), Ok(base)) = (facts.records(), Domain::parse(host)) else {
        return Way::Sts;
    };
    if records.used().is_empty() {
        return Way::TlsWithoutName(base);
    }
    if !facts.has_dane() && !session.has_dane_failed {
        return Way::Sts;
    }
    let mut names = vec![base.clone()];
    names.extend(Domain::parse(domain).ok().filter(|domain| *domain != base));
    Way::Dane(Asserted { base, names, records })
}

/// What the session showed of the host's TLS where Exim holds it against TLSA records.
fn seen_by_dane(asserted: &Asserted, session: &Session, facts: &Facts<'_>) -> Option<Seen> {
    // GnuTLS has a cipher also where Exim has then refused the certificate.
    if facts.get("cipher").is_some() && !session.has_dane_failed {
        return Some(Seen::Certificate(Ok(())));
    }
    if !session.starttls? {
        return Some(Seen::StarttlsNotOffered);
    }
    let chain: Vec<&[u8]> = session.chain.iter().map(Vec::as_slice).collect();
    // OpenSSL shows the host's own certificate alone: an anchor of the records is then not seen, but the name is.
    let unnamed = match &chain[..] {
        [own]
            if asserted
                .records
                .used()
                .iter()
                .all(|record| record.usage == Usage::TrustAnchor) =>
        {
            let named = asserted.names.iter().map(|name| check_name(name, own));
            named.reduce(Result::or).and_then(Result::err)
        }
        _ => None,
    };
    let checked = dane::check(&asserted.names, &chain, &asserted.records, UnixTime::now());
    let failure = unnamed.or_else(|| checked.err()).filter(|_| !chain.is_empty());
    Some(failure.map_or_else(
        || not_negotiated(session, facts),
        |failure| Seen::Certificate(Err(failure)),
    ))
}

/// STARTTLS is offered, and there is no TLS.
fn not_negotiated(session: &Session, facts: &Facts<'_>) -> Seen {
    match facts.get("ocsp") {
        Some("0") if session.chain.is_empty() => Seen::StarttlsRefused,
        Some(_) => Seen::HandshakeFailed("no TLS session came about".into()),
        None => Seen::HandshakeFailed("STARTTLS was refused, or no TLS session came about".into()),
    }
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
            None => not_negotiated(session, facts),
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
