//! `mtasts cache list`.

use clap::Args;

use super::super::output::json_line;
use super::super::{Found, Trouble};
use super::describe::Described;
use super::{Lines, open};
use mtasts::cache::Cache as _;
use mtasts::protocol::names::Domain;
use mtasts::protocol::text::for_terminal;
use mtasts::sender::resolver::unix_now;

/// The widest column of names; a longer name shifts its own line.
const WIDEST: usize = 40;

/// List all entries of the cache.
///
/// Exit status: 0, or 1 if a file cannot be used, or 3 if this user may not read one.
#[derive(Args)]
pub(crate) struct List {
    /// Print one JSON object on each line; times are Unix seconds.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let (settings, store) = open()?;
        let domains = store.domains().map_err(|error| Trouble(error.to_string()))?;
        let width = domains.iter().map(|domain| domain.as_str().len()).max().unwrap_or(0);
        let width = width.clamp("DOMAIN".len(), WIDEST);
        let now = unix_now();
        let (mut lines, mut found, mut hidden) = (Lines::new(), Found::Good, false);
        if !self.json && !domains.is_empty() {
            lines.push(&row(
                width,
                ["DOMAIN", "MODE", "FETCHED", "EXPIRES", "REFRESH", "NOTES"],
            ))?;
        }
        for described in domains
            .iter()
            .filter_map(|domain| Described::read(&store, &settings, domain, now))
        {
            match &described.entry {
                Err(error) if described.is_hidden(error) => hidden = true,
                Err(_) => found = Found::Bad,
                Ok(_) => {}
            }
            if self.json {
                lines.push(&json_line(&described.json()))?;
            } else {
                lines.push(&human(width, described.domain, &described))?;
            }
        }
        lines.flush()?;
        Ok(match found {
            Found::Good if hidden => Found::Unknown,
            found => found,
        })
    }
}

fn human(width: usize, domain: &Domain, described: &Described<'_>) -> String {
    let entry = described.entry.as_ref().ok();
    let cached = entry.and_then(|entry| entry.cached.as_ref());
    let time = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), |time| described.distance(time));
    let columns = [
        domain.as_str(),
        cached.map_or("-", |cached| cached.policy.mode().name()),
        &time(cached.map(|cached| cached.fetched)),
        &time(cached.map(|cached| cached.expires())),
        &time(entry.and_then(|entry| described.next_refresh(entry))),
        &described.notes().join(", "),
    ];
    row(width, columns)
}

fn row(width: usize, columns: [&str; 6]) -> String {
    let [domain, mode, fetched, expires, refresh, notes] = columns.map(for_terminal);
    let line = format!("{domain:width$}  {mode:7}  {fetched:15}  {expires:15}  {refresh:15}  {notes}");
    format!("{}\n", line.trim_end())
}
