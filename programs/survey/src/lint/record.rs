//! The TXT records at `_mta-sts.DOMAIN` (RFC 8461 3.1).

use super::{QUOTES, is_odd_space, near, plain_spaces};
use crate::finding::{Code, Finding, Level};
use mtasts::protocol::calendar::date_time;
use mtasts::protocol::record::{MAX_ID, Record, RecordError};

/// Records that were looked at.
pub struct Linted {
    /// What senders make of them.
    pub found: Result<Record, RecordError>,
    /// All that was found; the line is the number of the record if there are several.
    pub findings: Vec<Finding>,
    /// The record that was probably meant.
    pub corrected: Option<String>,
}

/// Looks at the records at one name. `now` is the time in Unix seconds: a new id is made of it.
#[must_use]
pub fn lint<R: AsRef<[u8]>>(records: &[R], now: u64) -> Linted {
    let found = Record::find(records);
    let mut findings = Vec::new();
    let mut corrected = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let text = String::from_utf8_lossy(record.as_ref());
        // Other TXT records at this name do no harm beside one that is good.
        if records.len() > 1 && !is_meant(&text) {
            continue;
        }
        let mut repair = Repair::default();
        let meant = repair.record(&text, now);
        let valid = Record::parse(record.as_ref());
        let codes = match &valid {
            // Its form is right. What is left is what it says.
            Ok(_) => repair
                .codes
                .into_iter()
                .filter(|code| code.level() < Level::Error)
                .collect(),
            Err(error) if repair.codes.is_empty() || meant.is_none() && !is_meant(&text) => vec![code_of(error)],
            Err(_) => repair.codes,
        };
        let last = codes.len().saturating_sub(1);
        findings.extend(codes.into_iter().enumerate().map(|(position, code)| Finding {
            line: if records.len() > 1 { index + 1 } else { 0 },
            text: Some(text.clone().into_owned()),
            meant: meant.clone().map(|meant| vec![meant]).filter(|_| position == last),
            ..Finding::new(code, "")
        }));
        corrected.extend(meant);
    }
    match &found {
        Err(RecordError::Multiple(_)) => findings.insert(0, Finding::new(Code::RecordSeveral, "")),
        Err(_) if findings.iter().all(|finding| finding.code.level() < Level::Error) => {
            findings.insert(0, Finding::new(Code::RecordNone, ""));
        }
        _ => {}
    }
    let corrected = match corrected.len() {
        1 => corrected.pop(),
        // Which of several is meant only the operator knows.
        _ => None,
    };
    Linted {
        found,
        findings,
        corrected,
    }
}

/// Whether a record was meant for MTA-STS: it says so, or it has an id.
fn is_meant(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("sts") || text.contains("id=")
}

fn code_of(error: &RecordError) -> Code {
    match error {
        RecordError::NoRecord => Code::RecordNone,
        RecordError::Multiple(_) => Code::RecordSeveral,
        RecordError::Version | RecordError::VersionNotFirst => Code::RecordVersion,
        RecordError::MissingId => Code::RecordMissingId,
        _ => Code::RecordField,
    }
}

#[derive(Default)]
struct Repair {
    codes: Vec<Code>,
}

impl Repair {
    fn add(&mut self, code: Code) {
        if !self.codes.contains(&code) {
            self.codes.push(code);
        }
    }

    /// The record that was probably meant, if it was meant to be one of MTA-STS.
    fn record(&mut self, record: &str, now: u64) -> Option<String> {
        if !is_meant(record) {
            return None;
        }
        let mut text = plain_spaces(record);
        if record.contains(is_odd_space) {
            self.add(Code::RecordSpace);
        }
        if text.contains(QUOTES) {
            self.add(Code::RecordQuotes);
            // The strings of a zone file are one text.
            text = text.replace("\" \"", "").replace(QUOTES, "");
        }
        if text.contains('\\') {
            self.add(Code::RecordBackslash);
            text = text.replace('\\', "");
        }
        if text.trim() != text {
            self.add(Code::RecordSpace);
        }
        let fields = self.fields(text.trim());
        let (mut version, mut id, mut extensions) = (false, None, Vec::new());
        for (index, (name, value)) in fields.iter().enumerate() {
            match &*name.to_lowercase() {
                "v" | "version" if !version => {
                    version = true;
                    if index > 0 || name != "v" || value != "STSv1" {
                        self.add(Code::RecordVersion);
                    }
                }
                "id" if id.is_none() => {
                    if name != "id" {
                        self.add(Code::RecordField);
                    }
                    id = Some(self.id(value));
                }
                // A second one is an extension to senders; it says nothing.
                "v" | "id" => {}
                _ if near(name).is_some() => self.add(Code::RecordPolicyField),
                _ => {
                    let field = format!("{name}={value}");
                    match Record::parse(format!("v=STSv1; id=1; {field};").as_bytes()) {
                        Ok(_) => extensions.push(field),
                        Err(_) => self.add(Code::RecordField),
                    }
                }
            }
        }
        if !version {
            self.add(Code::RecordVersion);
        }
        let id = id.unwrap_or_else(|| {
            self.add(Code::RecordMissingId);
            String::new()
        });
        let id = match id.is_empty() {
            true => date_time(now).chars().filter(char::is_ascii_digit).collect(),
            false => id,
        };
        let fields: String = extensions.iter().map(|field| format!(" {field};")).collect();
        let meant = format!("v=STSv1; id={id};{fields}");
        Record::parse(meant.as_bytes()).is_ok().then_some(meant)
    }

    /// Its fields, whatever separates them.
    fn fields(&mut self, text: &str) -> Vec<(String, String)> {
        let by_semicolon: Vec<&str> = text.split(';').map(str::trim).collect();
        let empty = by_semicolon.iter().rev().skip(1).any(|part| part.is_empty());
        if empty {
            self.add(Code::RecordEmptyField);
        }
        let mut fields = Vec::new();
        for part in by_semicolon.into_iter().filter(|part| !part.is_empty()) {
            // Several fields between two semicolons: a comma or a space separates them.
            let several = part.matches('=').count() > 1 || part.contains(" id") || part.contains(", ");
            let parts: Vec<&str> = match several && !part.contains(" =") && !part.contains("= ") {
                true => {
                    self.add(Code::RecordSeparator);
                    part.split([' ', ',']).filter(|part| !part.is_empty()).collect()
                }
                false => vec![part],
            };
            for part in parts {
                let Some((name, value)) = part.split_once(['=', ':']) else {
                    self.add(Code::RecordField);
                    continue;
                };
                if !part[name.len()..].starts_with('=') {
                    self.add(Code::RecordSeparator);
                }
                if name.trim() != name || value.trim() != value {
                    self.add(Code::RecordSpace);
                }
                fields.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        fields
    }

    fn id(&mut self, value: &str) -> String {
        let id: String = value.chars().filter(char::is_ascii_alphanumeric).take(MAX_ID).collect();
        if id != value || id.is_empty() {
            self.add(Code::RecordId);
        }
        id
    }
}
