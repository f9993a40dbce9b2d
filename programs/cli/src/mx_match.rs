//! `mtasts match`: whether MX patterns allow a host.

use clap::Args;
use serde_json::json;

use super::output::{self, Mark, Page};
use super::{Found, Trouble, lint};
use mtasts::protocol::mx::{self, MxPattern};
use mtasts::protocol::names::Domain;
use mtasts_survey::finding::{Code, Finding};

/// Tell whether one of the patterns of a policy allows an MX host (RFC 8461 4.1).
///
/// A pattern is the value of an mx field: a host name, or "*." and one ("*" is exactly one label). What is not a host
/// name, or not a pattern, never matches, and is reported on stderr. Exit status: 0 it matches, 1 it does not.
#[derive(Args)]
pub(super) struct Match {
    /// The host, as in the MX record.
    host: String,
    /// The patterns, as in the policy.
    #[arg(required = true)]
    pattern: Vec<String>,
    /// Print {"match":true,..} or {"match":false,..}, with the findings.
    #[arg(long)]
    json: bool,
}

impl Match {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let matching = self.matching();
        let near = if matching.is_none() { self.near() } else { Vec::new() };
        if self.json {
            output::print_json(&json!({ "match": matching.is_some(), "findings": lint::as_json(&near) }))?;
        } else {
            let (mark, how) = match matching {
                Some(_) => (Mark::Good, "matches"),
                None => (Mark::Bad, "does not match"),
            };
            let what = matching.map_or_else(|| self.pattern.join(", "), str::to_owned);
            let mut page = Page::new();
            page.line(mark, &format!("{} {how} {what}", self.host));
            lint::show_findings(&mut page, &near, |_| None);
            page.print()?;
        }
        Ok(if matching.is_some() { Found::Good } else { Found::Bad })
    }

    /// What would have to be different.
    fn near(&self) -> Vec<Finding> {
        let Ok(host) = Domain::parse(&self.host) else {
            return Vec::new();
        };
        let near = |text: &String| {
            let (name, _) = mx::normalise(text).ok()?;
            let better = mx::near_miss(MxPattern::parse(&name).ok()?, &host)?;
            Some(Finding {
                meant: Some(vec![better]),
                ..Finding::new(Code::StarOneLabel, name)
            })
        };
        self.pattern.iter().filter_map(near).collect()
    }

    /// The first pattern that allows the host.
    fn matching(&self) -> Option<&str> {
        let host = Domain::parse(&self.host)
            .map_err(|error| output::tell(&format!("{:?} is not an MX host name: {error}", self.host)))
            .ok();
        let mut first = None;
        for pattern in &self.pattern {
            match mx::normalise(pattern) {
                Ok((name, _)) => {
                    let allows = |host| MxPattern::parse(&name).is_ok_and(|pattern| pattern.matches(host));
                    if first.is_none() && host.as_ref().is_some_and(allows) {
                        first = Some(pattern.as_str());
                    }
                }
                Err(error) => output::tell(&format!("{pattern:?} is not a pattern: {error}")),
            }
        }
        first
    }
}
