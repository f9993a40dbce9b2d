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
use mtasts::protocol::policy::MAX_POLICY;
use mtasts::protocol::record::{Record, RecordError};
use mtasts::protocol::text::for_terminal;
use mtasts::sender::resolver::unix_now;
use mtasts_survey::finding::{Code, Finding, Level};
use mtasts_survey::lint::{policy, record};

/// How many findings a page shows.
const SHOWN: usize = 20;

#[derive(Subcommand)]
pub(super) enum Lint {
    Record(LintRecord),
    Policy(LintPolicy),
}

/// Check the TXT records at _mta-sts.DOMAIN (RFC 8461 3.1).
///
/// All TXT records of that name count, so give all of them. Says each mistake, and what was probably meant. Exit status: 0
/// they announce a policy, 1 they do not; with --fix: 0 a record is printed, 1 none could be guessed.
#[derive(Args)]
pub(super) struct LintRecord {
    /// A TXT record, its strings joined, without the quotation marks of a zone file; one argument for each record.
    #[arg(required = true)]
    txt: Vec<OsString>,
    /// Print the record that was probably meant, with a new id where there is none; the mistakes go to stderr.
    #[arg(long, conflicts_with = "json")]
    fix: bool,
    /// Print {"outcome":"valid","id":..} or {"outcome":"none","reason":..}.
    #[arg(long)]
    json: bool,
}

/// Check the text of a policy (RFC 8461 3.2).
///
/// Says everything that is wrong and what was probably meant, what lenient senders accept, and what could be better. Exit
/// status: 0 the policy is valid, 1 it is not; with --fix: 0 a policy is printed, 1 none could be guessed.
#[derive(Args)]
pub(super) struct LintPolicy {
    /// The file; "-" reads the policy from stdin.
    file: PathBuf,
    /// Print the policy that was probably meant; the mistakes go to stderr.
    #[arg(long, conflicts_with = "json")]
    fix: bool,
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
        let linted = record::lint(&records, unix_now());
        if self.fix {
            return fix(linted.corrected.map(|record| record + "\n"), &linted.findings);
        }
        if self.json {
            let mut object = record_as_json(&linted.found);
            object["findings"] = as_json(&linted.findings);
            object["corrected"] = linted.corrected.into();
            output::print_json(&object)?;
        } else {
            let mut page = Page::new();
            show_record(&mut page, &linted, &records);
            page.print()?;
        }
        Ok(if linted.found.is_ok() { Found::Good } else { Found::Bad })
    }
}

/// Prints what was probably meant. The mistakes go to stderr, so that the output can become the file.
fn fix(corrected: Option<String>, findings: &[Finding]) -> Result<Found, Trouble> {
    for finding in findings.iter().take(SHOWN) {
        output::tell(&finding.to_string());
    }
    let Some(text) = corrected else {
        output::tell(&why_not(findings));
        return Ok(Found::Bad);
    };
    output::print(&text)?;
    Ok(Found::Good)
}

/// Why nothing can be printed: what of the findings has no correction.
fn why_not(findings: &[Finding]) -> String {
    let unknown = findings.iter().enumerate().filter(|(index, finding)| {
        // Of several findings about a line, the last one has the correction of all.
        let last = findings
            .get(index + 1)
            .is_none_or(|next| next.line != finding.line || finding.line == 0);
        finding.code.level() == Level::Error && finding.meant.is_none() && last
    });
    // There is no mx because the one that there was says that the domain takes no mail.
    let null = findings.iter().find(|finding| finding.code == Code::MxNull);
    let (mut lines, mut whole) = (Vec::new(), Vec::new());
    for (_, finding) in unknown {
        match (finding.line, null) {
            (0, Some(null)) if finding.code == Code::MissingMx => whole.push(null.sentence.as_str()),
            (0, _) => whole.push(finding.sentence.as_str()),
            (line, _) => lines.push(line.to_string()),
        }
    }
    let mut why = whole.join("; ");
    if !lines.is_empty() {
        let before = if why.is_empty() { "" } else { "; " };
        why += &format!("{before}what was meant by line {} cannot be guessed", lines.join(", "));
    }
    if why.is_empty() {
        why = "what was meant cannot be guessed".to_owned();
    }
    format!("nothing can be made of this: {why}. Correct it by hand.")
}

/// The shape is fixed: `detail` is there only if there is no record.
pub(super) fn record_as_json(found: &Result<Record, RecordError>) -> Value {
    match found {
        Ok(record) => json!({ "outcome": "valid", "id": record.id.as_str() }),
        Err(error) => json!({ "outcome": "none", "reason": error.code(), "detail": error.to_string() }),
    }
}

pub(super) fn show_record(page: &mut Page, linted: &record::Linted, records: &[Vec<u8>]) {
    match &linted.found {
        Ok(record) => page.line(Mark::Good, &format!("id {}", record.id)),
        Err(error) => page.line(Mark::Bad, &error.to_string()),
    }
    for record in records {
        page.more(&bytes_as_text(record));
    }
    // Only a single record is sure to be the one that the error speaks of.
    if let (Err(RecordError::Syntax { at, .. }), [record]) = (&linted.found, records) {
        let before = record.get(..at.saturating_sub(1)).unwrap_or(record);
        let column = for_terminal(&bytes_as_text(before)).chars().count();
        page.more(&format!("{:column$}^", ""));
    }
    show_record_findings(page, linted);
}

/// What was found in the records, but for what is said of them as a whole.
pub(super) fn show_record_findings(page: &mut Page, linted: &record::Linted) {
    let whole = |finding: &&Finding| matches!(finding.code, Code::RecordNone | Code::RecordSeveral);
    let findings: Vec<Finding> = linted
        .findings
        .iter()
        .filter(|finding| !whole(finding))
        .cloned()
        .collect();
    show_findings(page, &findings, |finding| match finding.line {
        0 => None,
        // The records are shown already, and their number is not that of a line.
        number => Some(format!("record {number}: {}", finding.code.meaning())),
    });
}

impl LintPolicy {
    fn run(self) -> Result<Found, Trouble> {
        let text = input::read(&self.file, MAX_POLICY + 1)?;
        let linted = policy::lint(&text);
        if self.fix {
            return fix(linted.corrected, &linted.findings);
        }
        if self.json {
            output::print_json(&policy_as_json(&linted))?;
        } else {
            let mut page = Page::new();
            show_policy(&mut page, &linted);
            page.print()?;
        }
        Ok(if linted.parsed.is_ok() { Found::Good } else { Found::Bad })
    }
}

/// The shape is fixed: `detail` and `line` are there only if the policy is not valid.
pub(super) fn policy_as_json(linted: &policy::Linted) -> Value {
    let mut object = match &linted.parsed {
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
    };
    object["findings"] = as_json(&linted.findings);
    object["corrected"] = linted.corrected.clone().into();
    object
}

/// Findings as objects.
pub(super) fn as_json(findings: &[Finding]) -> Value {
    let object = |finding: &Finding| {
        let mut object = json!({
            "code": finding.code.name(),
            "level": finding.code.level().name(),
            "sentence": finding.to_string(),
        });
        if finding.line > 0 {
            object["line"] = finding.line.into();
        }
        if let Some(text) = &finding.text {
            object["text"] = text.as_str().into();
        }
        if let Some(meant) = &finding.meant {
            object["meant"] = meant.clone().into();
        }
        object
    };
    findings.iter().map(object).collect()
}

pub(super) fn show_policy(page: &mut Page, linted: &policy::Linted) {
    if let Ok((policy, _)) = &linted.parsed {
        let max_age = policy.max_age();
        let span = calendar::span(max_age.into());
        page.line(
            Mark::Good,
            &format!("mode {}, max_age {max_age} ({span})", policy.mode()),
        );
        for pattern in policy.mx() {
            page.more(&format!("mx {pattern}"));
        }
    }
    show_findings(page, &linted.findings, |_| None);
}

/// Each finding with the line that it is about and what that was probably meant to be; `told` can give it other words.
pub(super) fn show_findings(page: &mut Page, findings: &[Finding], told: impl Fn(&Finding) -> Option<String>) {
    let mut shown = 0;
    for finding in findings.iter().take(SHOWN) {
        let words = told(finding);
        page.line(
            finding.code.level().into(),
            &words.clone().unwrap_or_else(|| finding.to_string()),
        );
        // Several findings about one line show it once.
        if finding.line != shown
            && let Some(text) = finding.text.as_ref().filter(|text| !text.trim().is_empty())
        {
            page.more(&excerpt(text));
        }
        shown = finding.line;
        for meant in finding.meant.iter().flatten() {
            page.more(&format!("probably meant: {}", excerpt(meant)));
        }
    }
    if let Some(more @ 1..) = findings.len().checked_sub(SHOWN) {
        page.more(&format!("and {more} more"));
    }
}

/// The beginning of a line, so far as it helps.
fn excerpt(line: &str) -> String {
    const LONGEST: usize = 120;
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
