//! `mtasts cache show`: one domain in sentences.

use clap::Args;
use serde_json::Value;

use super::super::output::{self, Mark, Page};
use super::super::{Found, Trouble};
use super::describe::Described;
use super::open;
use mtasts::cache::entry::Entry;
use mtasts::protocol::calendar;
use mtasts::protocol::names::Domain;
use mtasts::protocol::policy::Mode;
use mtasts::sender::refresh;
use mtasts::sender::resolver::unix_now;

/// Explain what the cache holds for a domain. The network is not asked.
///
/// Exit status: 0 a policy is in force, 1 none is, 3 this user may not read whether one is.
#[derive(Args)]
pub(crate) struct Show {
    /// The domain, as in a recipient's address.
    domain: Domain,
    /// Print one JSON object; times are Unix seconds. {"domain":..,"entry":null} if nothing is known.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let (settings, store) = open()?;
        let described = Described::read(&store, &settings, &self.domain, unix_now());
        let counts = described.as_ref().map_or(Some(false), Described::counts);
        if self.json {
            let nothing = || serde_json::json!({ "domain": self.domain.as_str(), "entry": Value::Null });
            output::print_json(&described.map_or_else(nothing, |described| described.json()))?;
        } else {
            let mut page = Page::new();
            page.heading(self.domain.as_str());
            match &described {
                None => page.line(Mark::Plain, "no entry: the next mail to the domain asks DNS"),
                Some(described) => sentences(&mut page, described),
            }
            if !store.is_writable() {
                page.line(
                    Mark::Advice,
                    &format!(
                        "this user cannot write to {}: policies that it fetches are kept in memory only",
                        store.dir().display()
                    ),
                );
            }
            page.print()?;
        }
        Ok(match counts {
            Some(true) => Found::Good,
            Some(false) => Found::Bad,
            None => Found::Unknown,
        })
    }
}

fn sentences(page: &mut Page, described: &Described<'_>) {
    match &described.entry {
        Err(error) if described.is_hidden(error) => {
            page.line(Mark::Unknown, &error.to_string());
            page.more(
                "whether a policy is in force is unknown to this user: run this as root, or as a member of the group",
            );
        }
        Err(error) => {
            page.line(Mark::Bad, &error.to_string());
            page.more("the entry is ignored; the next fetch replaces it");
        }
        Ok(entry) => {
            policy(page, described, entry);
            txt(page, described, entry);
            renewal(page, described, entry);
            using(page, described, entry);
        }
    }
    if let Some(exception) = described.exception {
        page.line(Mark::Advice, &exception.to_string());
    }
}

fn policy(page: &mut Page, described: &Described<'_>, entry: &Entry) {
    let Some(cached) = &entry.cached else {
        page.line(Mark::Plain, "no policy is cached");
        return;
    };
    let mode = match cached.policy.mode() {
        Mode::Enforce => "enforced",
        Mode::Testing => "in testing",
        Mode::None => "of mode none",
    };
    let since = entry.mode_since.unwrap_or(cached.fetched);
    let expires = cached.expires();
    if entry.live(described.now).is_some() {
        let mark = if described.enforced() { Mark::Good } else { Mark::Plain };
        page.line(mark, &format!("cached policy, {mode} since {}", described.at(since)));
    } else {
        let when = described.at(expires);
        page.line(
            Mark::Bad,
            &format!("the cached policy ({mode}) expired on {when} and is no longer in force"),
        );
    }
    for pattern in cached.policy.mx() {
        page.more(&format!("mx {pattern}"));
    }
    match entry.pinned(described.now) {
        Some(until) => {
            page.line(
                Mark::Advice,
                &format!(
                    "pinned by the operator on {} until {}; no fetch replaces it before then",
                    described.at(cached.fetched),
                    described.at(until)
                ),
            );
        }
        None => {
            let (fetched, lives) = (
                described.at(cached.fetched),
                calendar::span(u64::from(cached.policy.max_age())),
            );
            page.line(
                Mark::Plain,
                &format!(
                    "fetched {fetched}, in force for {lives}, until {}",
                    described.at(expires)
                ),
            );
        }
    }
    if let Some(at) = entry.imported {
        page.line(
            Mark::Advice,
            &format!(
                "imported {} from another server's cache, not yet fetched here",
                described.at(at)
            ),
        );
    }
}

fn txt(page: &mut Page, described: &Described<'_>, entry: &Entry) {
    let id = entry
        .cached
        .as_ref()
        .map_or_else(String::new, |cached| format!("TXT id {}, ", cached.id));
    let line = match &entry.txt {
        Some(txt) => format!(
            "{id}DNS asked {}, to be asked again from {}",
            described.at(txt.at),
            described.at(txt.next)
        ),
        None if entry.pinned(described.now).is_some() => "DNS is not asked while the policy is pinned".to_owned(),
        None => format!("{id}DNS not asked yet: the next mail does"),
    };
    page.line(Mark::Plain, &line);
}

fn renewal(page: &mut Page, described: &Described<'_>, entry: &Entry) {
    match described.next_refresh(entry) {
        Some(next) if next <= described.now => page.line(Mark::Plain, "due: the next refresh renews it"),
        Some(next) => page.line(Mark::Plain, &format!("next refresh {}", described.at(next))),
        None if entry.pinned(described.now).is_some() => {}
        None => page.line(Mark::Plain, "no refresh renews it"),
    }
    if let Some(failed) = &entry.failed {
        let (at, result, detail) = (described.at(failed.at), failed.result, &failed.detail);
        page.line(
            Mark::Bad,
            &format!("last failure {at}, for id {}: {result}: {detail}", failed.id),
        );
    }
    if let Some(since) = entry.unlearned_since {
        page.line(Mark::Bad, &format!("DNS has been broken since {}", described.at(since)));
    }
}

fn using(page: &mut Page, described: &Described<'_>, entry: &Entry) {
    match (described.unused_since(entry), entry.used) {
        (Some(since), _) => {
            let gone = described.at(since.saturating_add(refresh::UNUSED + refresh::GRACE));
            page.line(
                Mark::Advice,
                &format!(
                    "unused since {}; removed {gone} if it stays unused",
                    described.at(since)
                ),
            );
        }
        (None, Some(used)) => page.line(Mark::Plain, &format!("last used on {}", calendar::date(used))),
        (None, None) => {}
    }
    if let Some(since) = entry.idle_since {
        let gone = described.at(since.saturating_add(refresh::GRACE));
        page.line(
            Mark::Advice,
            &format!(
                "no policy worth keeping since {}: a refresh removes the entry {gone} if that does not change",
                described.at(since)
            ),
        );
    }
}
