//! `mtasts host mx`: a domain goes to other MX hosts, and no sender notices.

use clap::{ArgAction, Args};

use super::Files;
use crate::output;
use crate::{Found, Trouble};
use mtasts::Domain;
use mtasts::Mode;
use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;
use mtasts_host::exchanges::{self, Exchange, MOST, Stage};
use mtasts_host::ledger::{Ledger as _, Served};
use mtasts_host::published::check_pattern;
use mtasts_host::settings::Moving;

/// Move a domain to other MX hosts: +NEW and -OLD.
///
/// The policy lists the new ones and the old ones at once. When no sender has an older policy any more, that is said by mtasts host status,
/// and the MX records can be changed. When no MX record has had an old one for a day, the server drops it. Change the file then.
///
/// Options come before the domain. Exit status: 0 done, 1 refused.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Mx {
    /// The domain.
    domain: Domain,
    /// An MX host or a pattern that comes (+mx2.example.com), or one that goes (-mx1.example.com).
    #[arg(required = true, allow_hyphen_values = true, value_name = "CHANGE")]
    changes: Vec<String>,
    /// Print help.
    // Without the short form: the name of a host may begin with it.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    files: Files,
}

impl Mx {
    pub(crate) fn run(self) -> Result<Found, Trouble> {
        let (mut come, mut go) = (Vec::new(), Vec::new());
        for change in &self.changes {
            let (to, pattern) = match (change.strip_prefix('+'), change.strip_prefix('-')) {
                (Some(pattern), _) => (&mut come, pattern),
                (None, Some(pattern)) => (&mut go, pattern),
                (None, None) => return Err(Trouble(format!("{change:?}: a change begins with + or -"))),
            };
            check_pattern(pattern).map_err(|refused| Trouble(refused.to_string()))?;
            to.push(pattern.to_ascii_lowercase());
        }
        if let Some(both) = come.iter().find(|pattern| go.contains(pattern)) {
            return Err(Trouble(format!("{both} cannot come and go")));
        }
        let (settings, mut ledger) = self.files.all()?;
        let domain = &self.domain;
        let Some(hosted) = settings.domains.get(domain) else {
            return Ok(super::in_no_file(domain));
        };
        let refuse = |why: String| {
            output::tell(&why);
            Ok(Found::Bad)
        };
        if hosted.is_imported {
            return refuse(format!(
                "{domain} has the policy of another host; use mtasts host import {domain} --finish first"
            ));
        }
        if hosted.is_from_dns() && !go.is_empty() {
            return refuse(format!(
                "the MX hosts of {domain} are those of DNS: remove the MX record, and a day later the policy drops the host"
            ));
        }
        if hosted.rollout.is_none() && hosted.published.policy().mode() == Mode::None {
            return refuse(format!("{domain} has mode none, which lists no MX host"));
        }
        if !ledger.claims()?.contains_key(domain) {
            return refuse(format!("{domain} is not claimed yet: use mtasts host add {domain}"));
        }
        let before = hosted.moving.as_ref().map_or(&[][..], |moving| &moving.moves);
        let file = hosted.file_mx();
        let listed = exchanges::patterns(&file, before);
        let lists = |pattern: &String| listed.iter().any(|known| known.eq_ignore_ascii_case(pattern));
        if let Some(unknown) = go.iter().find(|pattern| !lists(pattern)) {
            return refuse(format!("{unknown} is not in the policy of {domain}"));
        }
        let moves = exchanges::with(before, &come, &go, unix_now());
        let union = exchanges::patterns(&file, &moves);
        let is_going =
            |pattern: &String| exchanges::find(&moves, pattern).is_some_and(|known| known.stage == Stage::Going);
        if union.iter().all(is_going) {
            return refuse(format!("{domain} would have no MX host left"));
        }
        if moves.len() > MOST {
            return refuse(format!("more than {MOST} MX hosts of {domain} would move at a time"));
        }
        if let Err(refused) = hosted.has_room(&union) {
            return refuse(refused.to_string());
        }
        ledger.exchange(domain, &moves)?;
        let history = ledger.history(domain)?;
        let from_dns = hosted.is_from_dns();
        let moving = Moving { file, moves, from_dns };
        for sentence in sentences(&moving, &history) {
            output::print_line(&format!("{domain}: {sentence}"))?;
        }
        Ok(Found::Good)
    }
}

/// How far the moves of a domain are, a line for each.
pub(crate) fn sentences(moving: &Moving, history: &[Served]) -> Vec<String> {
    let now = unix_now();
    let held = exchanges::held(&moving.file, &moving.moves, history, now);
    let wait = match held {
        None => "no sender refuses it any more".to_owned(),
        Some(u64::MAX) => "it is not served yet; no MX record before mtasts host status says so".to_owned(),
        Some(until) => format!("no MX record before {}", calendar::date_time(until)),
    };
    let say = |Exchange { pattern, stage, since }: &Exchange| match (stage, since) {
        (Stage::Added, _) if moving.from_dns => format!("{pattern} is added: {wait}"),
        (Stage::Adopted, _) => format!("{pattern} is in the policy because DNS has it"),
        (Stage::Proposed, None) => format!(
            "{pattern} is in DNS and not in the policy: it is adopted when two resolvers have it for an hour (or DNSSEC says so), and it \
             answers with a good certificate"
        ),
        (Stage::Proposed, Some(since)) => {
            let at = calendar::date_time(since.saturating_add(exchanges::AGREED));
            format!("{pattern} is in DNS and not in the policy; it is adopted on {at}")
        }
        (Stage::Added, _) => format!("{pattern} is added: {wait}. Put it into the file"),
        (Stage::Going, None) => {
            format!("{pattern} is in the policy until no MX record has had it for a day, and no sender an older policy")
        }
        (Stage::Going, Some(_)) if held == Some(u64::MAX) => format!("{pattern} is in the policy until the others are"),
        (Stage::Going, Some(since)) => {
            let until = since.saturating_add(exchanges::UNUSED).max(held.unwrap_or_default());
            let until = calendar::date_time(until);
            format!("no MX record has {pattern}; it is in the policy until {until}")
        }
        (Stage::Dropped, _) => format!("{pattern} is dropped. Take it out of the file"),
    };
    moving.moves.iter().map(say).collect()
}
