//! `mtasts cache export` and `import`: the policies of one server for the start of another.
//!
//! The stream has a JSON object on each line: the domain, and the file of its entry as it is in the cache, with its
//! digest.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::super::output::{self, json_line};
use super::super::{Found, Trouble};
use super::{Lines, open};
use mtasts::cache::contract::{Cache, CacheError, WRITE_TURN};
use mtasts::cache::entry::{Entry, MAX_FILE};
use mtasts::cache::store::Store;
use mtasts::protocol::names::Domain;
use mtasts::sender::resolver::unix_now;

/// The longest line of a stream, in octets: in JSON an octet of a file takes six at most.
const MAX_LINE: u64 = 6 * MAX_FILE as u64 + 1024;

/// Write all policies of the cache to stdout, for `mtasts cache import` on another server.
///
/// One JSON object on each line: {"domain":..,"entry":..}. Exit status: 0, or 1 if a file cannot be used and is left
/// out.
#[derive(Args)]
pub(crate) struct Export {}

/// Take over policies that another server has exported.
///
/// Each entry is read as strictly as a file of the cache. It is in force no longer than it would be there, DNS is
/// asked at the next mail, and the next refresh fetches the policy. What was fetched here later stays, expired or not,
/// and so does each policy that is in force and was fetched or pinned here.
///
/// Exit status: 0, or 1 if a line cannot be used.
#[derive(Args)]
pub(crate) struct Import {
    /// The file; "-" reads stdin.
    file: PathBuf,
    /// Print {"imported":..,"kept":..,"left_out":..,"bad":..}.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    domain: String,
    entry: String,
}

impl Export {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let (_, store) = open()?;
        let domains = store.domains().map_err(|error| Trouble(error.to_string()))?;
        let (mut lines, mut found) = (Lines::new(), Found::Good);
        for domain in &domains {
            match store.load(domain) {
                Ok(Some(entry)) if entry.cached.is_some() => {
                    lines.push(&json_line(
                        &json!({ "domain": domain.as_str(), "entry": entry.to_file() }),
                    ))?;
                }
                Ok(_) => {}
                Err(error) => {
                    output::tell(&error.to_string());
                    found = Found::Bad;
                }
            }
        }
        lines.flush()?;
        Ok(found)
    }
}

#[derive(Default)]
struct Counts {
    imported: usize,
    kept: usize,
    left_out: usize,
    bad: usize,
}

impl Import {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        // Before root is given up: the file may be root's alone.
        let (name, mut source) = source(&self.file)?;
        let (_, store) = open()?;
        let mut counts = Counts::default();
        for number in 1.. {
            let mut line = Vec::new();
            let read = source.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            if read.map_err(|error| Trouble(format!("{name}: {error}")))? == 0 {
                break;
            }
            if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
                return Err(Trouble(format!("{name}: line {number} is too long for an export")));
            }
            match read_line(&line) {
                Err(reason) => {
                    output::tell(&format!("{name}: line {number} is skipped: {reason}"));
                    counts.bad += 1;
                }
                Ok(entry) => counts.take(&store, entry).map_err(|error| Trouble(error.to_string()))?,
            }
        }
        let Counts {
            imported,
            kept,
            left_out,
            bad,
        } = counts;
        if self.json {
            output::print_json(&json!({
                "imported": imported, "kept": kept, "left_out": left_out, "bad": bad,
            }))?;
        } else {
            output::print(&format!(
                "{imported} imported, {kept} kept as they are here, {left_out} skipped (expired, or pinned there), {bad} \
                 not readable\n"
            ))?;
        }
        Ok(if bad == 0 { Found::Good } else { Found::Bad })
    }
}

fn source(file: &Path) -> Result<(String, Box<dyn BufRead>), Trouble> {
    if file == Path::new("-") {
        return Ok(("stdin".to_owned(), Box::new(BufReader::new(io::stdin()))));
    }
    let name = file.to_string_lossy().into_owned();
    match File::open(file) {
        Ok(file) => Ok((name, Box::new(BufReader::new(file)))),
        Err(error) => Err(Trouble(format!("{name}: {error}"))),
    }
}

/// An entry of another server. What it says to be in our future is now: their clock may be ahead of ours.
fn read_line(line: &[u8]) -> Result<Entry, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| format!("not a line from an export: {error}"))?;
    let domain = Domain::parse(&line.domain).map_err(|error| error.to_string())?;
    Entry::from_file(&domain, line.entry.as_bytes(), unix_now()).map_err(|error| format!("{domain}: {error}"))
}

impl Counts {
    fn take(&mut self, store: &Store, theirs: Entry) -> Result<(), CacheError> {
        let now = unix_now();
        let pinned = theirs.pinned(now).is_some();
        let Some(entry) = adopted(theirs, now).filter(|_| !pinned) else {
            self.left_out += 1;
            return Ok(());
        };
        let (domain, mut written) = (entry.domain.clone(), false);
        store.change(&domain, Instant::now() + WRITE_TURN, &mut |stored| {
            let ours = stored.ok().flatten();
            let fetched = |entry: &Entry| entry.cached.as_ref().map(|cached| cached.fetched);
            let keep = ours.as_ref().is_some_and(|ours| {
                let fetched_here = ours.imported.is_none() && ours.live(now).is_some();
                fetched_here || fetched(ours) >= fetched(&entry)
            });
            written = !keep;
            written.then(|| entry.clone())
        })?;
        if written {
            self.imported += 1;
        } else {
            self.kept += 1;
        }
        Ok(())
    }
}

/// Their entry as it may be here: its policy alone, if it is still in force. Their questions and failures are not ours,
/// so DNS and the policy host are due at once.
fn adopted(theirs: Entry, now: u64) -> Option<Entry> {
    let mut entry = Entry::new(theirs.domain);
    (entry.cached, entry.mode_since, entry.used) = (theirs.cached, theirs.mode_since, theirs.used);
    entry.imported = Some(now);
    entry.live(now).is_some().then_some(entry)
}
