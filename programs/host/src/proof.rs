//! Whose a domain is. The owner of its DNS names the token of a claim, by the CNAME of the policy host or by a TXT record at it.
//! Before that a tenant's domain has no certificate and no policy here: who names the domain of somebody else in a file gets nothing.
//!
//! For the domains of the operator's file that file is the word. But no name is anybody's that leads to the token of another claim.

use std::time::Instant;

use mtasts::Domain;
use mtasts::network::dns::{Dns as _, Servers, StubResolver};

use crate::leaving::held_until;
use crate::ledger::{Claim, Served, Turn};
use crate::token::Token;

/// What a TXT record begins with that names a token.
const BEGINNING: &str = "mtasts-host=";

/// Why a claim is not proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// DNS says otherwise: a sentence that says what to do.
    Denied(String),
    /// DNS does not say: a sentence.
    Unknown(String),
}

impl Doubt {
    /// The sentence.
    #[must_use]
    pub fn why(self) -> String {
        match self {
            Self::Denied(why) | Self::Unknown(why) => why,
        }
    }
}

/// The text of the TXT record that names a token.
#[must_use]
pub fn text(token: &Token) -> String {
    format!("{BEGINNING}{token}")
}

/// Whether DNS, asked at this resolver before the deadline, names the token of a claim, whose target is in this zone.
///
/// # Errors
/// A [`Doubt`].
pub fn look(
    dns: &StubResolver,
    domain: &Domain,
    claim: &Claim,
    zone: Option<&Domain>,
    deadline: Instant,
) -> Result<(), Doubt> {
    let host = format!("mta-sts.{domain}");
    let name = Domain::parse(&host).map_err(|error| Doubt::Denied(format!("{host}: {error}")))?;
    let end = match dns.together(deadline, async |servers: Servers| servers.locate(&name).await) {
        Ok(found) => found.data,
        Err(error) if error.is_absence() => {
            return Err(Doubt::Denied(format!(
                "{host} has no address: {error}; publish its records"
            )));
        }
        Err(error) => {
            return Err(Doubt::Unknown(format!(
                "the addresses of {host} cannot be looked up: {error}"
            )));
        }
    };
    let target = zone.map(|zone| format!("{}.{zone}", claim.token));
    if let (Some(end), Some(target), Some(zone)) = (&end, &target, zone) {
        if end == target {
            return Ok(());
        }
        let label = end
            .strip_suffix(zone.as_str())
            .and_then(|label| label.strip_suffix('.'));
        if label.and_then(Token::parse).is_some() {
            return Err(Doubt::Denied(format!(
                "{host} leads to the token of another claim, {end}; it must lead to {target}"
            )));
        }
    }
    if claim.is_operators() {
        return Ok(());
    }
    let wanted = text(&claim.token);
    match dns.txt(&host, deadline) {
        Ok(found) if found.data.iter().any(|text| text == wanted.as_bytes()) => Ok(()),
        Err(error) if !error.is_absence() => Err(Doubt::Unknown(format!(
            "the TXT records of {host} cannot be looked up: {error}"
        ))),
        _ => {
            let alias = target.map_or_else(String::new, |target| format!("make it a CNAME to {target}, or "));
            Err(Doubt::Denied(format!(
                "DNS does not say that {host} is for this tenant: {alias}publish the TXT record \"{wanted}\" there"
            )))
        }
    }
}

/// What becomes of a claim when DNS was looked at. `served` is what was served for it, from the first to the last; `now` is in Unix
/// seconds. A claim that was proven stays so for as long as senders hold its policy: for those it is served on.
#[must_use]
pub fn turn(claim: &Claim, found: &Result<(), Doubt>, served: &[Served], now: u64) -> Option<Turn> {
    if claim.is_operators() || claim.leaving.is_some() {
        return None;
    }
    let token = claim.token.clone();
    match (found, claim.lost) {
        (Ok(()), None) if claim.proven.is_some() => None,
        (Ok(()), _) => Some(Turn::Proven(token)),
        (Err(Doubt::Unknown(_)), _) => None,
        (Err(Doubt::Denied(_)), None) => {
            let is_served = served.iter().any(|served| served.until.is_none());
            is_served.then_some(Turn::Lost(token))
        }
        (Err(Doubt::Denied(_)), Some(since)) => {
            // Since then nobody has found it here.
            let last = served.iter().map(|served| Served {
                until: Some(served.until.unwrap_or(since).min(since)),
                ..served.clone()
            });
            let is_held = held_until(&last.collect::<Vec<_>>(), now).is_some();
            (!is_held).then_some(Turn::Void(token))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mtasts::Mode;

    use super::*;
    use crate::published::Published;
    use crate::settings::Tenant;

    fn claim(proven: Option<u64>, lost: Option<u64>) -> Claim {
        Claim {
            tenant: Tenant::new("anna").unwrap(),
            token: Token::parse("abcdefghijklmnop").unwrap(),
            since: 1,
            leaving: None,
            proven,
            lost,
        }
    }

    fn served(max_age: u32, until: Option<u64>) -> Served {
        Served {
            published: Arc::new(Published::new(Mode::Enforce, max_age, &["mx.example.com".into()]).unwrap()),
            from: 0,
            until,
        }
    }

    #[test]
    fn what_was_proven_stays_until_no_sender_holds_a_policy() {
        let day = 86_400;
        let (good, denied) = (Ok(()), Err(Doubt::Denied("no".into())));
        let unknown = Err(Doubt::Unknown("later".into()));
        let token = Token::parse("abcdefghijklmnop").unwrap();
        let (proven, lost, void) = (
            Some(Turn::Proven(token.clone())),
            Some(Turn::Lost(token.clone())),
            Some(Turn::Void(token)),
        );
        // The older text has the longer life.
        let history = [served(604_800, Some(1000)), served(86_400, None)];
        let (new, known, away) = (claim(None, None), claim(Some(5), None), claim(Some(5), Some(10 * day)));
        for (claim, found, history, now, expected) in [
            (&new, &good, &[][..], 9, &proven),
            (&new, &denied, &[], 9, &None),
            (&new, &unknown, &[], 9, &None),
            // It was another tenant's, and its text is served.
            (&new, &denied, &history, 9, &lost),
            (&known, &good, &history, 9, &None),
            (&known, &unknown, &history, 9, &None),
            (&known, &denied, &history, 9, &lost),
            (&away, &good, &history, 11 * day, &proven),
            (&away, &unknown, &history, 99 * day, &None),
            (&away, &denied, &history, 11 * day - 1, &None),
            (&away, &denied, &history, 11 * day, &void),
            (&claim(Some(5), Some(2000)), &denied, &history, 605_799, &None),
            (&claim(Some(5), Some(2000)), &denied, &history, 605_800, &void),
        ] {
            assert_eq!(&turn(claim, found, history, now), expected, "{claim:?} {found:?} {now}");
        }
        // The operator's own, and what leaves by itself.
        let own = Claim {
            tenant: Tenant::operator(),
            ..away.clone()
        };
        let leaving = Claim {
            leaving: Some(1),
            ..away
        };
        for claim in [own, leaving] {
            assert_eq!(turn(&claim, &denied, &history, 99 * day), None);
        }
    }
}
