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

/// What DNS says at a policy host.
pub struct Named {
    host: String,
    /// The name to which it leads, and the token there if it is in the zone.
    end: String,
    token: Option<Token>,
    /// The texts of its TXT records. They are not read if it leads to a token.
    texts: Result<Vec<Vec<u8>>, String>,
}

impl Named {
    /// Asks this resolver, before the deadline. `zone` is that of the targets.
    ///
    /// # Errors
    /// A [`Doubt`]: it names no token, or it is not known which.
    pub fn look(dns: &StubResolver, domain: &Domain, zone: Option<&Domain>, deadline: Instant) -> Result<Self, Doubt> {
        let host = format!("mta-sts.{domain}");
        let name = Domain::parse(&host).map_err(|error| Doubt::Denied(format!("{host}: {error}")))?;
        let end = match dns.together(deadline, async |servers: Servers| servers.locate(&name).await) {
            Ok(found) => found.data.unwrap_or_default(),
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
        let label = zone.and_then(|zone| end.strip_suffix(zone.as_str())?.strip_suffix('.'));
        let token = label.and_then(Token::parse);
        let texts = match token {
            Some(_) => Ok(Vec::new()),
            None => match dns.txt(&host, deadline) {
                Ok(found) => Ok(found.data),
                Err(error) if error.is_absence() => Ok(Vec::new()),
                Err(error) => Err(format!("the TXT records of {host} cannot be looked up: {error}")),
            },
        };
        Ok(Self {
            host,
            end,
            token,
            texts,
        })
    }

    /// Whether that is the token of this claim.
    ///
    /// # Errors
    /// A [`Doubt`].
    pub fn is_of(&self, claim: &Claim, zone: Option<&Domain>) -> Result<(), Doubt> {
        let Self { host, end, .. } = self;
        let target = zone.map(|zone| format!("{}.{zone}", claim.token));
        if let (Some(token), Some(target)) = (&self.token, &target) {
            return match *token == claim.token {
                true => Ok(()),
                false => Err(Doubt::Denied(format!(
                    "{host} leads to the token of another claim, {end}; it must lead to {target}"
                ))),
            };
        }
        if claim.is_operators() {
            return Ok(());
        }
        let wanted = text(&claim.token);
        match &self.texts {
            Ok(texts) if texts.iter().any(|text| text == wanted.as_bytes()) => Ok(()),
            Err(why) => Err(Doubt::Unknown(why.clone())),
            Ok(_) => {
                let alias = target.map_or_else(String::new, |target| format!("make it a CNAME to {target}, or "));
                Err(Doubt::Denied(format!(
                    "DNS does not say that {host} is for this tenant: {alias}publish the TXT record \"{wanted}\" there"
                )))
            }
        }
    }
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
    Named::look(dns, domain, zone, deadline)?.is_of(claim, zone)
}

/// How long DNS must have named no token of a proven claim before the domain can be a rival's, in seconds: one wrong answer of a name
/// server does not cost a customer.
pub const AWAY: u64 = 3600;

/// The rival of a claim to which the domain goes. `said` is what each of the resolvers says, in the order of the settings; `now` is in
/// Unix seconds.
#[must_use]
pub fn winner<'a>(
    claim: &Claim,
    rivals: &'a [Claim],
    said: &[Result<Named, Doubt>],
    zone: Option<&Domain>,
    now: u64,
) -> Option<&'a Claim> {
    let says = |named: &Result<Named, Doubt>, claim: &Claim| match named {
        Ok(named) => named.is_of(claim, zone),
        Err(doubt) => Err(doubt.clone()),
    };
    let is_gone = |named| matches!(says(named, claim), Err(Doubt::Denied(_)));
    let is_away = claim.lost.is_some_and(|since| since.saturating_add(AWAY) <= now);
    // The tenant has given up one that is leaving.
    let is_free = !claim.is_proven() || claim.leaving.is_some() || is_away;
    let is_named = |rival: &&Claim| said.iter().all(|named| says(named, rival).is_ok());
    let all_agree = !claim.is_operators() && !said.is_empty() && said.iter().all(is_gone);
    rivals.iter().filter(|_| is_free && all_agree).find(is_named)
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
            rivals: Vec::new(),
        }
    }

    fn served(max_age: u32, until: Option<u64>) -> Served {
        Served {
            published: Arc::new(Published::new(Mode::Enforce, max_age, &["mx.example.com".into()]).unwrap()),
            from: 0,
            until,
        }
    }

    fn named(end: &str, texts: &[&str]) -> Result<Named, Doubt> {
        let label = end.strip_suffix(".sts.example.net");
        Ok(Named {
            host: "mta-sts.example.com".into(),
            end: end.to_owned(),
            token: label.and_then(Token::parse),
            texts: Ok(texts.iter().map(|text| text.as_bytes().to_vec()).collect()),
        })
    }

    #[test]
    fn a_domain_goes_to_the_rival_whose_token_all_resolvers_have() {
        let zone = Domain::parse("sts.example.net").unwrap();
        let token = |c: &str| Token::parse(&c.repeat(16)).unwrap();
        let rival = |c: &str| Claim {
            tenant: Tenant::new(c).unwrap(),
            token: token(c),
            ..claim(None, None)
        };
        let rivals = [rival("b"), rival("c")];
        let ours = "abcdefghijklmnop.sts.example.net";
        let bs = format!("{}.sts.example.net", token("b"));
        let bs = bs.as_str();
        let (own_text, cs_text) = (text(&claim(None, None).token), text(&token("c")));
        let (new, known, away) = (claim(None, None), claim(Some(1), None), claim(Some(1), Some(1000)));
        let leaving = Claim {
            leaving: Some(5),
            ..known.clone()
        };
        let unknown = || Err(Doubt::Unknown("later".into()));
        let absent = || Err(Doubt::Denied("nothing".into()));
        for (claim, said, now, expected) in [
            (&new, vec![named(bs, &[])], 9, Some("b")),
            (&new, vec![named("", &[&cs_text])], 9, Some("c")),
            (&new, vec![named(bs, &[]), named(bs, &[])], 9, Some("b")),
            // One resolver has something else, or does not say.
            (&new, vec![named(bs, &[]), named(ours, &[])], 9, None),
            (&new, vec![named(bs, &[]), named("", &[&cs_text])], 9, None),
            (&new, vec![named(bs, &[]), unknown()], 9, None),
            (&new, vec![named(bs, &[]), absent()], 9, None),
            (&new, vec![], 9, None),
            // The tenant who has it is named too; or nobody is.
            (&new, vec![named("", &[&cs_text, &own_text])], 9, None),
            (&new, vec![named("", &[])], 9, None),
            (&new, vec![named("cccccccccccccccc.elsewhere.example", &[])], 9, None),
            // What was proven is so for an hour.
            (&known, vec![named(bs, &[])], 9999, None),
            (&away, vec![named(bs, &[])], 1000 + AWAY - 1, None),
            (&away, vec![named(bs, &[])], 1000 + AWAY, Some("b")),
            (&away, vec![named(ours, &[])], 1000 + AWAY, None),
            (&leaving, vec![named(bs, &[])], 9, Some("b")),
            (&leaving, vec![named(ours, &[])], 9, None),
        ] {
            let found = winner(claim, &rivals, &said, Some(&zone), now);
            assert_eq!(found.map(|rival| rival.tenant.name()), expected, "{claim:?} {now}");
        }
        let own = Claim {
            tenant: Tenant::operator(),
            ..new
        };
        assert_eq!(winner(&own, &rivals, &[named(bs, &[])], Some(&zone), 9), None);
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
