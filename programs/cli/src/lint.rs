//! `mtasts lint`: a record or a policy before it is published.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{self, Mark, Page, bytes_as_text};
use super::{Found, Trouble, input};
use mtasts::protocol::calendar;
use mtasts::protocol::mx::MxPattern;
use mtasts::protocol::policy::{MAX_POLICY, Policy, PolicyError, Warning};
use mtasts::protocol::record::{Record, RecordError};
use mtasts::protocol::text::for_terminal;
use mtasts_survey::advice;

#[derive(Subcommand)]
pub(super) enum Lint {
    Record(LintRecord),
    Policy(LintPolicy),
}

/// Check the TXT records at _mta-sts.DOMAIN (RFC 8461 3.1).
///
/// All TXT records of that name count, so give all of them. Exit status: 0 they announce a policy, 1 they do not.
#[derive(Args)]
pub(super) struct LintRecord {
    /// A TXT record, its strings joined, without the quotation marks of a zone file; one argument for each record.
    #[arg(required = true)]
    txt: Vec<OsString>,
    /// Print {"outcome":"valid","id":..} or {"outcome":"none","reason":..}.
    #[arg(long)]
    json: bool,
}

/// Check the text of a policy (RFC 8461 3.2).
///
/// Says what is wrong, what lenient senders accept, and what could be better. Exit status: 0 the policy is valid, 1 it
/// is not.
#[derive(Args)]
pub(super) struct LintPolicy {
    /// The file; "-" reads the policy from stdin.
    file: PathBuf,
    /// Print {"outcome":"valid","mode":..,"max_age":..,"mx":[..],"warnings":[..]} or {"outcome":"invalid","reason":..}.
    #[arg(long)]
    json: bool,
}

impl Lint {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::Record(arguments) => arguments.run(),
            Self::Policy(arguments) => arguments.run(),
        }
    }
}

impl LintRecord {
    fn run(self) -> Result<Found, Trouble> {
        let records: Vec<Vec<u8>> = self.txt.into_iter().map(OsString::into_vec).collect();
        let found = Record::find(&records);
        if self.json {
            output::print_json(&record_as_json(&found))?;
        } else {
            let mut page = Page::new();
            show_record(&mut page, &found, &records);
            page.print()?;
        }
        if records.iter().any(|record| record.starts_with(b"\"")) {
            output::tell(
                "a record begins with a quotation mark; the quotation marks of a zone file are not part of the record",
            );
        }
        Ok(if found.is_ok() { Found::Good } else { Found::Bad })
    }
}

/// The shape is fixed: `detail` is there only if there is no record.
pub(super) fn record_as_json(found: &Result<Record, RecordError>) -> Value {
    match found {
        Ok(record) => json!({ "outcome": "valid", "id": record.id.as_str() }),
        Err(error) => json!({ "outcome": "none", "reason": error.code(), "detail": error.to_string() }),
    }
}

pub(super) fn show_record(page: &mut Page, found: &Result<Record, RecordError>, records: &[Vec<u8>]) {
    match found {
        Ok(record) => page.line(Mark::Good, &format!("id {}", record.id)),
        Err(error) => page.line(Mark::Bad, &error.to_string()),
    }
    for record in records {
        page.more(&bytes_as_text(record));
    }
    // Only a single record is sure to be the one that the error speaks of.
    if let (Err(RecordError::Syntax { at, .. }), [record]) = (found, records) {
        let before = record.get(..at.saturating_sub(1)).unwrap_or(record);
        let column = for_terminal(&bytes_as_text(before)).chars().count();
        page.more(&format!("{:column$}^", ""));
    }
}

impl LintPolicy {
    fn run(self) -> Result<Found, Trouble> {
        let text = input::read(&self.file, MAX_POLICY + 1)?;
        let parsed = Policy::parse(&text);
        if self.json {
            output::print_json(&policy_as_json(&parsed))?;
        } else {
            let mut page = Page::new();
            show_policy(&mut page, &parsed, &text);
            page.print()?;
        }
        Ok(if parsed.is_ok() { Found::Good } else { Found::Bad })
    }
}

/// The shape is fixed: `detail` and `line` are there only if the policy is not valid.
pub(super) fn policy_as_json(parsed: &Result<(Policy, Vec<Warning>), PolicyError>) -> Value {
    match parsed {
        Ok((policy, warnings)) => json!({
            "outcome": "valid",
            "mode": policy.mode().name(),
            "max_age": policy.max_age(),
            "mx": policy.mx().map(MxPattern::as_str).collect::<Vec<_>>(),
            "warnings": warnings.iter().map(|warning| warning.kind.code()).collect::<Vec<_>>(),
        }),
        Err(error) => {
            let mut object = json!({ "outcome": "invalid", "reason": error.code(), "detail": error.to_string() });
            if error.line > 0 {
                object["line"] = error.line.into();
            }
            object
        }
    }
}

pub(super) fn show_policy(page: &mut Page, parsed: &Result<(Policy, Vec<Warning>), PolicyError>, text: &[u8]) {
    match parsed {
        Ok((policy, warnings)) => {
            let max_age = policy.max_age();
            page.line(
                Mark::Good,
                &format!(
                    "mode {}, max_age {max_age} ({})",
                    policy.mode(),
                    calendar::span(max_age.into())
                ),
            );
            for pattern in policy.mx() {
                page.more(&format!("mx {pattern}"));
            }
            for warning in warnings {
                page.line(Mark::Advice, &warning.to_string());
            }
            for sentence in advice::on_policy(policy, text) {
                page.line(Mark::Advice, &sentence);
            }
        }
        Err(error) => {
            page.line(Mark::Bad, &error.to_string());
            let line = error
                .line
                .checked_sub(1)
                .and_then(|index| text.split(|c| *c == b'\n').nth(index));
            if let Some(line) = line {
                page.more(&excerpt(line));
            }
        }
    }
}

/// The line that is at fault, so far as it helps.
fn excerpt(line: &[u8]) -> String {
    const LONGEST: usize = 120;
    match line.get(..LONGEST) {
        Some(beginning) => format!("{}...", bytes_as_text(beginning)),
        None => bytes_as_text(line),
    }
}
