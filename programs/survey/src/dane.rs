//! What senders with DANE make of the MX hosts (RFC 7672): the records that a name server vouches for, which certificate of
//! a host each of them is of, and what the next renewal breaks.

use std::fmt::Write as _;
use std::time::Instant;

use rustls_pki_types::UnixTime;

use crate::finding::{Code, Finding};
use crate::smtp::End;
use crate::survey::Host;
use mtasts::network::dns::{Servers, StubResolver};
use mtasts::protocol::dane::check;
use mtasts::protocol::names::Domain;
use mtasts::protocol::tlsa::{Selector, Tlsa, TlsaSet, Usage};
use mtasts::sender::dane::{Facts, HostRecords, learn};
use mtasts::sender::precedence::{Asserted, Enforced, Way, way};
use mtasts::sender::settings::{Settings, Trust};
use mtasts::sender::validator::{Worth, examine};

/// What the name server says, and what that is worth.
pub struct Dane {
    /// What its word on DNSSEC is worth.
    pub worth: Worth,
    /// What it says, if it counts.
    pub facts: Option<Facts>,
    /// Whether the setting `dane` is on.
    pub is_on: bool,
}

/// Asks for the records of these MX hosts. If DANE is off, a name server of this host that validates is still asked: who
/// looks at a domain wants to know.
pub(crate) fn look(domain: &Domain, mx: &[Domain], settings: &Settings, deadline: Instant) -> Dane {
    let mut settings = settings.clone();
    let is_on = settings.dane.trust != Trust::Nothing;
    if !is_on {
        settings.dane.trust = Trust::Tested;
    }
    let worth = examine(&settings, deadline);
    let counts = matches!(worth, Worth::Trusted | Worth::Validates);
    let facts = counts.then(|| {
        let servers = StubResolver::validating(settings.dane_resolver);
        let learnt = servers.together(deadline, async |servers: Servers| learn(&servers, domain, mx).await);
        learnt.unwrap_or_else(|error| Facts::unknown(domain, error.to_string()))
    });
    Dane { worth, facts, is_on }
}

/// What is known of one host.
pub struct HostDane {
    /// How it proves who it is, whatever a policy says.
    pub way: Way,
    /// The usable records, each with the certificate of the host that it is of.
    pub records: Vec<Record>,
    /// How many others there are.
    pub unusable: usize,
    /// Whether the certificates of a session pass, or why not; nothing if none were seen or no record is usable.
    pub result: Option<Result<(), String>>,
}

/// One usable record.
pub struct Record {
    /// `3 1 1 0123456789abcdef...`.
    pub text: String,
    /// The place of the certificate that it is of, the host's own being 0.
    pub matches: Option<usize>,
}

/// Judges a host, and says what is to be put right and what could be better.
pub(crate) fn judge(dane: &Dane, host: &Host, at: UnixTime) -> Option<(HostDane, Vec<Finding>)> {
    let (facts, name) = (dane.facts.as_ref()?, host.name.host().ok()?);
    let chains: Vec<Vec<&[u8]>> = host
        .sessions
        .iter()
        .flatten()
        .filter_map(|(_, s)| chain(&s.end))
        .collect();
    let way = way(facts, name, Enforced::No, false);
    let set = match facts.host(name) {
        Some(HostRecords::Records { records, .. }) => records.clone(),
        _ => TlsaSet::read([]),
    };
    let of = |record: &Tlsa| {
        let mut chain = chains.first().into_iter().flatten().enumerate();
        let place = chain.find(|(place, certificate)| can_be(record.usage, *place) && record.is_of(certificate));
        Record {
            text: text(record),
            matches: place.map(|(place, _)| place),
        }
    };
    let mut findings = Vec::new();
    let mut result = None;
    match &way {
        Way::SkipHost(why) => findings.push(Finding::new(Code::DaneUnknown, format!("{name}: {why}"))),
        Way::TlsWithoutName(base) => findings.push(Finding::new(Code::DaneUnusable, format!("_25._tcp.{base}"))),
        Way::Dane(asserted) | Way::Both(asserted) => {
            let checked = chains
                .iter()
                .map(|chain| check(&asserted.names, chain, &set, at).map(drop));
            let failure = checked.clone().find_map(Result::err);
            if checked.len() > 0 {
                result = Some(failure.as_ref().map_or(Ok(()), |failure| Err(failure.to_string())));
            }
            match failure {
                Some(failure) => findings.push(Finding::new(
                    Code::DaneMismatch,
                    format!("_25._tcp.{}: {failure}", asserted.base),
                )),
                None => findings.extend(renewal(asserted, &set, chains.first())),
            }
        }
        Way::Sts => {}
    }
    let told = HostDane {
        records: set.used().iter().map(of).collect(),
        unusable: set.unusable(),
        way,
        result,
    };
    Some((told, findings))
}

fn chain(end: &End) -> Option<Vec<&[u8]>> {
    match end {
        End::Tls { chain, .. } => Some(chain.iter().map(Vec::as_slice).collect()),
        _ => None,
    }
}

/// DANE-EE is of the host's own certificate, DANE-TA of one above it.
const fn can_be(usage: Usage, place: usize) -> bool {
    match usage {
        Usage::EndEntity => place == 0,
        Usage::TrustAnchor => place > 0,
    }
}

/// What breaks when the certificate is renewed (RFC 7671 8): all records are of what it replaces, and none of what comes.
fn renewal(asserted: &Asserted, set: &TlsaSet, chain: Option<&Vec<&[u8]>>) -> Option<Finding> {
    let own = *chain?.first()?;
    let base = &asserted.base;
    // The next certificate has the same issuer.
    if set.used().iter().any(|record| record.usage == Usage::TrustAnchor) {
        return None;
    }
    let (of_it, others): (Vec<&Tlsa>, Vec<&Tlsa>) = set.used().iter().partition(|record| record.is_of(own));
    // That of the next key, or one that was forgotten: from outside they look alike.
    if let Some(other) = others.first() {
        return Some(Finding::new(
            Code::DaneRecordUnused,
            format!("_25._tcp.{base}, {}", text(other)),
        ));
    }
    let is_of_key = of_it.iter().any(|record| record.selector == Selector::PublicKey);
    let code = if is_of_key {
        Code::DaneRenewalKey
    } else {
        Code::DaneRenewal
    };
    Some(Finding::new(code, format!("_25._tcp.{base}")))
}

/// The record as in a zone, its data cut.
fn text(record: &Tlsa) -> String {
    const SHOWN: usize = 8;
    let (usage, selector, matching) = record.numbers();
    let mut text = format!("{usage} {selector} {matching} ");
    for octet in record.data.iter().take(SHOWN) {
        let _ = write!(text, "{octet:02x}");
    }
    if record.data.len() > SHOWN {
        text += "...";
    }
    text
}
