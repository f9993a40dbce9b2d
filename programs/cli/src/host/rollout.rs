//! `mtasts host set-mode` and `mtasts host status`: how far the policies are.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Files;
use super::exchange::sentences;
use crate::output::{self, Mark, Page};
use crate::{Found, Trouble};
use mtasts::Domain;
use mtasts::protocol::calendar;
use mtasts::protocol::text::one_line;
use mtasts::sender::resolver::unix_now;
use mtasts_host::facts::Eyes;
use mtasts_host::ledger::{Claim, Judged, Ledger, Stepped, Tls};
use mtasts_host::moving::too_early;
use mtasts_host::rollout::{Step, Verdict};
use mtasts_host::settings::Hosted;
use mtasts_host::state::rivals_of;

/// The longest reason for a step that the gates refuse, in octets.
const REASON: usize = 200;

/// Take a domain whose mode is "auto" to its next step by hand.
///
/// Exit status: 0 done, 1 refused. An MX host, a record or a policy host that senders would fail at refuses, with a line for each. A
/// server that runs has the step within a second.
#[derive(Args)]
pub(crate) struct SetMode {
    /// The domain.
    domain: Domain,
    /// What the policy asks for then.
    #[arg(value_enum)]
    mode: Wanted,
    /// Do it although it is refused. The reason is kept in the ledger.
    #[arg(long, value_name = "REASON")]
    force: Option<String>,
    #[command(flatten)]
    files: Files,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Back to the first step.
    Testing,
    /// The next step in mode enforce: the first one, or a longer life.
    Enforce,
}

/// Show where each domain is, and what it waits for.
///
/// Exit status: 0 all is good, 1 a domain gets no next step, or is in no file any more.
#[derive(Args)]
pub(crate) struct Status {
    /// These domains alone.
    domain: Vec<Domain>,
    /// Print {"domains":[{"domain":..,"tenant":..,"rollout":..,"mode":..,"max_age":..,"id":..,"since":..,"next":..,"refused":..}]}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: Files,
}

impl SetMode {
    pub(crate) fn run(self) -> Result<Found, Trouble> {
        let domain = &self.domain;
        if let Some(reason) = &self.force
            && (reason.trim().is_empty() || reason.len() > REASON)
        {
            return Err(Trouble(format!("--force: the reason has 1 to {REASON} octets")));
        }
        let (settings, mut ledger) = self.files.all()?;
        let Some(hosted) = settings.domains.get(domain) else {
            return Ok(super::in_no_file(domain));
        };
        if hosted.is_imported {
            output::tell(&format!(
                "{domain} has the policy of another host; use mtasts host import {domain} --finish first"
            ));
            return Ok(Found::Bad);
        }
        let Some(rollout) = &hosted.rollout else {
            let tenant = &hosted.tenant;
            output::tell(&format!(
                "the mode of {domain} is set in a file ({tenant}); set mode = \"auto\" there to take it by steps"
            ));
            return Ok(Found::Bad);
        };
        if !ledger.claims()?.contains_key(domain) {
            output::tell(&format!("{domain} is not claimed yet: use mtasts host add {domain}"));
            return Ok(Found::Bad);
        }
        let now = ledger
            .steps()?
            .remove(domain)
            .map_or(Step::FIRST, |stepped| stepped.step);
        let next = match (self.mode, rollout.plan.next(now)) {
            (Wanted::Testing, _) => Step::FIRST,
            (Wanted::Enforce, Some((next, _))) => next,
            (Wanted::Enforce, None) => {
                output::tell(&format!("{domain} is at its last step: {now}"));
                return Ok(Found::Bad);
            }
        };
        if self.mode == Wanted::Enforce {
            let eyes = Eyes::new(&settings.service).map_err(Trouble)?;
            let facts = eyes.look(domain, &hosted.published, &rollout.reserve, hosted.moves());
            if let Verdict::Refused(refusals) = rollout.plan.judge(now, None, &facts) {
                refusals.iter().for_each(|refusal| output::tell(&refusal.to_string()));
                if self.force.is_none() {
                    output::tell(&format!("{domain} stays at {now}; repair this, or use --force REASON"));
                    return Ok(Found::Bad);
                }
            }
        }
        let forced = self.force.as_deref().map(|reason| one_line(reason, REASON));
        ledger.step(&[(domain, next)], forced.as_deref(), unix_now())?;
        output::print_line(&format!("{domain}: {next}"))?;
        Ok(Found::Good)
    }
}

/// What is known of a domain.
struct Place<'a> {
    domain: &'a Domain,
    hosted: &'a Hosted,
    claim: Option<&'a Claim>,
    /// Whether anything is served.
    is_served: bool,
    stepped: Option<&'a Stepped>,
    judged: Option<&'a Judged>,
    tls: Option<&'a Tls>,
    /// The MX hosts that senders with an older policy refuse, and until when.
    too_early: BTreeMap<String, u64>,
    /// How far the moves to other MX hosts are.
    moves: Vec<String>,
    /// The tenants who wait for the domain.
    rivals: Vec<&'a str>,
}

/// The names of the tenants who wait for a domain.
fn names<'a>(rivals: &'a BTreeMap<Domain, Vec<Claim>>, domain: &Domain) -> Vec<&'a str> {
    let rivals = rivals.get(domain).into_iter().flatten();
    rivals.map(|claim| claim.tenant.name()).collect()
}

/// Says that they wait.
fn show_rivals(domain: &Domain, rivals: &[&str], page: &mut Page) {
    for tenant in rivals {
        page.more(&format!(
            "{tenant} names it too, and gets it when DNS names its token alone (mtasts host records {domain} --tenant {tenant})"
        ));
    }
}

impl Place<'_> {
    /// The next step, and not before when, in Unix seconds.
    fn next(&self) -> Option<(Step, u64)> {
        let (rollout, stepped) = (self.hosted.rollout.as_ref()?, self.stepped?);
        let (next, lasts) = rollout.plan.next(stepped.step)?;
        Some((next, stepped.at.saturating_add(lasts)))
    }

    fn refusals(&self) -> &[String] {
        self.judged.map_or(&[], |judged| &judged.refusals)
    }

    /// Why there is no certificate, or no new one.
    fn failure(&self) -> Option<String> {
        let why = &self.tls?.attempt.as_ref()?.why;
        (!why.is_empty()).then(|| match self.tls.and_then(|tls| tls.life) {
            Some(life) => format!(
                "no new certificate: {why}; the present one ends on {}",
                calendar::date_time(life.until)
            ),
            None => format!("no certificate: {why}"),
        })
    }

    /// Why what the file says is not served.
    fn doubt(&self) -> Option<String> {
        let claim = self.claim?;
        match (claim.is_proven(), claim.lost, self.is_served) {
            (_, Some(since), true) => {
                let since = calendar::date_time(since);
                Some(format!(
                    "DNS does not name its token since {since}: served until no sender holds its policy"
                ))
            }
            (false, _, true) => Some("what was served before is, until DNS names its token".into()),
            (false, _, false) => Some("not served until DNS names its token".into()),
            (true, ..) => None,
        }
    }

    fn is_good(&self) -> bool {
        self.refusals().is_empty() && self.failure().is_none() && self.doubt().is_none()
    }

    fn json(&self) -> Value {
        let policy = self.hosted.published.policy();
        let next = self.next().map(
            |(step, not_before)| json!({ "mode": step.mode.name(), "max_age": step.max_age, "not_before": not_before }),
        );
        let refused = self
            .judged
            .map(|judged| json!({ "time": judged.at, "reasons": judged.refusals }));
        let moves = self.hosted.moves().iter();
        let moves =
            moves.map(|known| json!({ "mx": known.pattern, "stage": known.stage.name(), "since": known.since }));
        let moves: Vec<Value> = moves.collect();
        json!({
            "domain": self.domain.as_str(), "tenant": self.hosted.tenant.name(), "rollout": self.hosted.rollout.is_some(),
            "mode": policy.mode().name(), "max_age": policy.max_age(), "id": self.hosted.published.id(),
            "since": self.stepped.map(|stepped| stepped.at), "forced": self.stepped.and_then(|stepped| stepped.forced.as_deref()),
            "certificate": self.tls.and_then(|tls| tls.life).map(|life| life.until), "failure": self.failure(),
            "proven": self.claim.is_some_and(Claim::is_proven), "lost": self.claim.and_then(|claim| claim.lost),
            "too_early": self.too_early, "moves": moves, "next": next, "refused": refused, "imported": self.hosted.is_imported, "rivals": self.rivals,
        })
    }

    fn show(&self, page: &mut Page) {
        let policy = self.hosted.published.policy();
        let mut text = format!("{}: {}, max_age {}", self.domain, policy.mode(), policy.max_age());
        if let Some(stepped) = self.stepped.filter(|_| self.hosted.rollout.is_some()) {
            text += &format!(", since {}", calendar::date_time(stepped.at));
        }
        match self.next() {
            Some((next, at)) => text += &format!("; then {next}, not before {}", calendar::date_time(at)),
            None if self.hosted.rollout.is_some() => text += "; the last step",
            None if self.hosted.is_imported => text += "; taken over from another host",
            None => text += &format!("; set in a file ({})", self.hosted.tenant),
        }
        match self.is_good() {
            true => page.row(Mark::Good, "ok", &text),
            false => page.row(Mark::Bad, "bad", &text),
        }
        if let Some(reason) = self.stepped.and_then(|stepped| stepped.forced.as_ref()) {
            page.more(&format!("forced: {reason}"));
        }
        self.doubt().iter().for_each(|doubt| page.more(doubt));
        self.refusals().iter().for_each(|reason| page.more(reason));
        self.failure().iter().for_each(|why| page.more(why));
        self.moves.iter().for_each(|sentence| page.more(sentence));
        show_rivals(self.domain, &self.rivals, page);
        for (pattern, until) in &self.too_early {
            let until = calendar::date_time(*until);
            page.more(&format!(
                "{pattern}: senders with an older policy refuse it until {until}; no MX record before"
            ));
        }
    }
}

impl Status {
    pub(crate) fn run(self) -> Result<Found, Trouble> {
        let (settings, ledger) = self.files.all()?;
        let (steps, judged, tls) = (ledger.steps()?, ledger.judged()?, ledger.tls()?);
        let (claims, served) = (ledger.claims()?, ledger.served()?);
        let rivals = rivals_of(&settings, &claims);
        let is_wanted = |domain: &Domain| self.domain.is_empty() || self.domain.contains(domain);
        if let Some(domain) = self
            .domain
            .iter()
            .find(|domain| !settings.domains.contains_key(*domain) && !claims.contains_key(*domain))
        {
            output::tell(&format!("{domain} is not known here"));
            return Ok(Found::Bad);
        }
        let mut places: Vec<Place<'_>> = settings
            .domains
            .iter()
            .filter(|(domain, _)| is_wanted(domain))
            .map(|(domain, hosted)| Place {
                domain,
                hosted,
                claim: claims.get(domain),
                is_served: served.contains_key(domain),
                stepped: steps.get(domain),
                judged: judged.get(domain),
                tls: tls.get(domain),
                too_early: BTreeMap::new(),
                moves: Vec::new(),
                rivals: names(&rivals, domain),
            })
            .collect();
        for place in &mut places {
            let history = ledger.history(place.domain)?;
            place.too_early = too_early(&history, unix_now());
            if let Some(moving) = &place.hosted.moving {
                place.moves = sentences(moving, &history);
            }
        }
        let kept: Vec<_> = served
            .iter()
            .filter(|(domain, _)| !settings.domains.contains_key(*domain) && is_wanted(domain))
            .collect();
        // The tenant before has named the domain, and does not any more; DNS never said that it was for that one.
        let waiting: Vec<&Domain> = rivals
            .keys()
            .filter(|domain| !settings.domains.contains_key(*domain) && !served.contains_key(*domain))
            .filter(|domain| is_wanted(domain))
            .collect();
        let leaves = |domain: &Domain| claims.get(domain).and_then(|claim| claim.leaving);
        if self.json {
            let kept = kept.iter().map(|(domain, published)| {
                let (policy, claim) = (published.policy(), claims.get(*domain));
                let (tenant, leaving) = (
                    claim.map(|claim| claim.tenant.name()),
                    claim.and_then(|claim| claim.leaving),
                );
                json!({
                    "domain": domain.as_str(), "tenant": tenant, "rollout": false, "mode": policy.mode().name(),
                    "max_age": policy.max_age(), "id": published.id(), "kept": true, "leaving": leaving,
                    "rivals": names(&rivals, domain),
                })
            });
            let waiting = waiting.iter();
            let waiting = waiting
                .map(|domain| json!({ "domain": domain.as_str(), "tenant": null, "rivals": names(&rivals, domain) }));
            let domains: Vec<Value> = places.iter().map(Place::json).chain(kept).chain(waiting).collect();
            output::print_json(&json!({ "domains": domains }))?;
        } else {
            let mut page = Page::new();
            places.iter().for_each(|place| place.show(&mut page));
            for (domain, published) in &kept {
                let policy = published.policy();
                let what = format!("{domain}: {}, max_age {}", policy.mode(), policy.max_age());
                match leaves(domain) {
                    Some(since) => {
                        let since = calendar::date_time(since);
                        page.row(Mark::Good, "ok", &format!("{what}; leaving since {since}"));
                    }
                    None => page.row(
                        Mark::Bad,
                        "bad",
                        &format!("{what}; in no file in force, and still served"),
                    ),
                }
                show_rivals(domain, &names(&rivals, domain), &mut page);
            }
            for domain in &waiting {
                page.row(Mark::Bad, "bad", &format!("{domain}: not served"));
                show_rivals(domain, &names(&rivals, domain), &mut page);
            }
            page.print()?;
        }
        let is_good = kept.iter().all(|(domain, _)| leaves(domain).is_some());
        let is_good = is_good && waiting.is_empty() && places.iter().all(Place::is_good);
        Ok(if is_good { Found::Good } else { Found::Bad })
    }
}
