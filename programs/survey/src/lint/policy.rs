//! The text of a policy (RFC 8461 3.2).

use super::{FIELDS, MAX_AGE, near, text, value};
use crate::advice;
use crate::finding::{Code, Finding, Level};
use mtasts::protocol::policy::{Field, MAX_MAX_AGE, Policy, PolicyError, Reason, Warning, WarningKind};

/// The longest line of which it is guessed what was meant, in octets. Nobody writes a longer one.
const MAX_LINE: usize = 2000;

/// A policy that was looked at.
pub struct Linted {
    /// What senders make of it.
    pub parsed: Result<(Policy, Vec<Warning>), PolicyError>,
    /// All that was found, in the order of the lines. One of them is an error if and only if the policy is not valid.
    pub findings: Vec<Finding>,
    /// The text that was probably meant: valid, and without anything that senders would warn of. Nothing if it cannot be
    /// guessed; the findings without a `meant` say why.
    pub corrected: Option<String>,
}

/// Looks at the text of a policy.
#[must_use]
pub fn lint(body: &[u8]) -> Linted {
    let parsed = Policy::parse(body);
    let mut reader = Reader::default();
    match &parsed {
        Err(PolicyError {
            reason: Reason::TooLarge,
            ..
        }) => {
            let findings = vec![Finding::new(Code::TooLarge, "")];
            return Linted {
                parsed,
                findings,
                corrected: None,
            };
        }
        // What a valid policy says is meant as it is, whatever it looks like.
        Ok(_) => reader.lines(&String::from_utf8_lossy(body)),
        Err(_) => {
            let (text, findings) = text::read(body);
            reader.findings = findings;
            if reader.findings.iter().any(|finding| finding.code == Code::WebPage) {
                let findings = reader.findings;
                return Linted {
                    parsed,
                    findings,
                    corrected: None,
                };
            }
            reader.lines(&text);
        }
    }
    reader.missing();
    let corrected = reader.corrected();
    let mut findings = reader.findings;
    if let Ok((policy, _)) = &parsed {
        findings.extend(advice::on_policy(policy, body));
    }
    Linted {
        parsed,
        findings,
        corrected,
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    findings: Vec<Finding>,
    /// The lines of the corrected text.
    good: Vec<String>,
    /// The fields that the text has, well-formed or not.
    seen: Vec<&'static str>,
    /// Lines whose field has nearly the name of a known one: the line, the text, and that field.
    nearly: Vec<(usize, String, &'static str)>,
    mode_is_none: bool,
    /// Of something that is wrong it could not be guessed what was meant.
    unknown: bool,
}

impl Reader {
    fn lines(&mut self, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let lines: Vec<&str> = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line))
            .collect();
        let front_matter = front_matter(&lines);
        if let Some(first) = front_matter.clone().next() {
            self.found(
                first + 1,
                lines[first],
                Code::FrontMatter,
                String::new(),
                Some(Vec::new()),
            );
        }
        for (index, line) in lines
            .iter()
            .enumerate()
            .filter(|(index, _)| !front_matter.contains(index))
        {
            self.line(index + 1, line);
        }
    }

    fn found(&mut self, line: usize, text: &str, code: Code, about: String, meant: Option<Vec<String>>) {
        // Each warning once, at its first line, as the parser gives them.
        let once = code.level() == Level::Warning && code != Code::LostPattern;
        if !(once && self.findings.iter().any(|finding| finding.code == code)) {
            self.findings.push(Finding {
                line,
                text: Some(text.to_owned()),
                meant,
                ..Finding::new(code, about)
            });
        }
    }

    fn line(&mut self, number: usize, line: &str) {
        if line.bytes().all(|c| matches!(c, b' ' | b'\t')) {
            self.found(number, line, Code::BlankLine, String::new(), Some(Vec::new()));
            return;
        }
        match probe(line, &self.seen) {
            Ok(warning) => self.good_line(number, line, warning),
            Err(error) => self.bad_line(number, line, &error),
        }
    }

    /// A line that senders take as it is.
    fn good_line(&mut self, number: usize, line: &str, warning: Option<WarningKind>) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim_matches([' ', '\t']);
        let Some(field) = FIELDS.into_iter().find(|field| *field == name) else {
            match near(name) {
                Some(field) => self.nearly.push((number, line.to_owned(), field)),
                // An extension means nothing, and is kept if it can do no harm on a terminal.
                None if line.is_ascii() => self.good.push(line.to_owned()),
                None => {}
            }
            return;
        };
        let code = match warning {
            Some(WarningKind::MaxAgeClamped) => Code::MaxAgeClamped,
            Some(WarningKind::MxTrailingDot) => Code::MxTrailingDot,
            Some(WarningKind::MxIpLiteral) => Code::MxIpLiteral,
            _ if field != "mx" && self.seen.contains(&field) => Code::DuplicateField,
            _ => return self.take(vec![format!("{name}: {value}")]),
        };
        let meant = match code {
            Code::DuplicateField => Vec::new(),
            _ => without_warning(format!("{name}: {value}")).into_iter().collect(),
        };
        self.found(number, line, code, String::new(), Some(meant.clone()));
        self.take(meant);
        self.see(field);
    }

    fn see(&mut self, field: &'static str) {
        if !self.seen.contains(&field) {
            self.seen.push(field);
        }
    }

    /// A line for which senders reject the policy.
    fn bad_line(&mut self, number: usize, line: &str, error: &PolicyError) {
        let (codes, meant) = Repair::of(line);
        // The parser has the last word: what it would still reject is no correction.
        let meant = meant.filter(|lines| lines.iter().all(|line| probe(line, &[]).is_ok()));
        let codes = if codes.is_empty() { vec![code_of(error)] } else { codes };
        let last = codes.len() - 1;
        for (index, code) in codes.into_iter().enumerate() {
            let about = match (&error.reason, code) {
                (Reason::Mx(why), Code::Mx) => why.to_string(),
                _ => String::new(),
            };
            self.found(number, line, code, about, meant.clone().filter(|_| index == last));
        }
        match meant {
            Some(lines) => self.take(lines),
            // The field is there, if not in a form that can be understood.
            None => {
                self.unknown = true;
                near(line.split(':').next().unwrap_or_default())
                    .into_iter()
                    .for_each(|field| self.see(field));
            }
        }
    }

    /// Lines of the corrected text.
    fn take(&mut self, lines: Vec<String>) {
        for line in lines.into_iter().filter_map(without_warning) {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            if let Some(field) = FIELDS.into_iter().find(|field| *field == name) {
                let again = field != "mx" && self.seen.contains(&field);
                self.see(field);
                if again || self.good.iter().any(|good| good.eq_ignore_ascii_case(&line)) {
                    continue;
                }
                self.mode_is_none |= field == "mode" && value.trim() == "none";
                // RFC 8461 3.2 shows the version first; not every sender reads it elsewhere.
                if field == "version" {
                    self.good.insert(0, line);
                    continue;
                }
            }
            self.good.push(line);
        }
    }

    /// The fields that are not there, and those that are under another name.
    fn missing(&mut self) {
        for (number, line, field) in std::mem::take(&mut self.nearly) {
            let value = line.split_once(':').map_or("", |(_, value)| value).trim();
            let meant = format!("{field}: {value}");
            let usable = probe(&meant, &[]).is_ok();
            let absent = !self.seen.contains(&field);
            let (code, about) = match field {
                "mx" if !usable => continue,
                "mx" if !absent => (Code::LostPattern, value.to_owned()),
                _ if absent && usable => (missing(field), String::new()),
                _ => (Code::NearField, String::new()),
            };
            let keep = code != Code::NearField;
            let lines = if keep { vec![meant] } else { Vec::new() };
            self.found(number, &line, code, about, Some(lines.clone()));
            self.take(lines);
        }
        self.findings.sort_by_key(|finding| finding.line);
        if self.seen.is_empty() {
            self.unknown = true;
            let nothing = self.findings.iter().all(|finding| finding.code == Code::BlankLine);
            if nothing {
                self.findings.clear();
            }
            let code = if nothing && self.good.is_empty() {
                Code::Empty
            } else {
                Code::NotAPolicy
            };
            self.findings.push(Finding::new(code, ""));
            return;
        }
        let mut absent = Vec::new();
        for field in FIELDS {
            if self.seen.contains(&field) || field == "mx" && (self.mode_is_none || !self.seen.contains(&"mode")) {
                continue;
            }
            let meant = match field {
                "version" => Some(vec!["version: STSv1".to_owned()]),
                "max_age" => Some(vec![format!("max_age: {MAX_AGE}")]),
                _ => None,
            };
            self.unknown |= meant.is_none();
            let finding = Finding::new(missing(field), "");
            self.findings.push(Finding {
                meant: meant.clone(),
                ..finding
            });
            absent.extend(meant.unwrap_or_default());
        }
        self.take(absent);
    }

    fn corrected(&self) -> Option<String> {
        let text: String = self.good.iter().map(|line| format!("{line}\n")).collect();
        (!self.unknown && Policy::parse(text.as_bytes()).is_ok()).then_some(text)
    }
}

/// The header that site generators put at the front of a file and take off again: which lines it has.
fn front_matter(lines: &[&str]) -> std::ops::Range<usize> {
    let is_mark = |index: &usize| lines[*index].trim_end() == "---";
    let first = (0..lines.len())
        .find(|index| !lines[*index].trim().is_empty())
        .filter(is_mark);
    let last = first.and_then(|first| (first + 1..lines.len()).find(is_mark));
    match (first, last) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}

/// The line as it gives no warning, or nothing if it is no use.
fn without_warning(line: String) -> Option<String> {
    match probe(&line, &[]) {
        Ok(Some(WarningKind::MaxAgeClamped)) => Some(format!("max_age: {MAX_MAX_AGE}")),
        Ok(Some(WarningKind::MxTrailingDot)) => Some(line.trim_end_matches('.').to_owned()),
        Ok(Some(WarningKind::MxIpLiteral)) => None,
        _ => Some(line),
    }
}

/// What the strict parser says of a line by itself, if these fields came before it: the first of a field counts, and of
/// the later ones the form alone.
fn probe(line: &str, seen: &[&str]) -> Result<Option<WarningKind>, PolicyError> {
    const REST: &str = "version: STSv1\nmode: none\nmx: a.example\nmax_age: 1";
    let field = line.split(':').next().unwrap_or_default();
    let (text, at) = if seen.contains(&field) && field != "mx" {
        (format!("{REST}\n{line}\n"), 5)
    } else {
        (format!("{line}\n{REST}\n"), 1)
    };
    let (_, warnings) = Policy::parse(text.as_bytes())?;
    Ok(warnings
        .iter()
        .find(|warning| warning.line == at)
        .map(|warning| warning.kind))
}

fn code_of(error: &PolicyError) -> Code {
    match (&error.reason, error.field) {
        (Reason::NoColon, _) => Code::StrayLine,
        (Reason::FieldName, _) => Code::FieldName,
        (Reason::Version, _) => Code::Version,
        (Reason::Mode, _) => Code::Mode,
        (Reason::MaxAge, _) => Code::MaxAge,
        (Reason::Mx(_), _) => Code::Mx,
        (Reason::Missing, Some(field)) => missing(field.name()),
        _ => Code::FieldValue,
    }
}

fn missing(field: &str) -> Code {
    match field {
        name if name == Field::Mode.name() => Code::MissingMode,
        name if name == Field::Mx.name() => Code::MissingMx,
        name if name == Field::MaxAge.name() => Code::MissingMaxAge,
        _ => Code::MissingVersion,
    }
}

/// A line that was taken apart.
struct Repair {
    codes: Vec<Code>,
}

impl Repair {
    /// What was found in a line, and the lines that were probably meant in its place.
    fn of(line: &str) -> (Vec<Code>, Option<Vec<String>>) {
        let mut repair = Self { codes: Vec::new() };
        if line.len() > MAX_LINE {
            return (repair.codes, None);
        }
        let lines = repair.line(line);
        (repair.codes, lines)
    }

    fn add(&mut self, code: Code) {
        if !self.codes.contains(&code) {
            self.codes.push(code);
        }
    }

    fn line(&mut self, line: &str) -> Option<Vec<String>> {
        let plain = super::plain_spaces(line);
        if plain != line {
            self.add(Code::OddSpace);
        }
        let mut text = plain.trim();
        if plain.starts_with([' ', '\t']) {
            self.add(Code::Indented);
        }
        if let Some(before) = before_comment(text) {
            self.add(Code::Comment);
            text = before.trim_end();
        }
        let bare = text.trim_end_matches(['\\', ';', ',', ' ']);
        if bare != text {
            self.add(Code::Separator);
            text = bare;
        }
        let bare = text.trim_start_matches(['-', '*', '+', '\u{2022}', '>', ' ']);
        if bare != text && bare.contains(':') {
            self.add(Code::FieldName);
            text = bare;
        }
        if text.starts_with(super::QUOTES) {
            self.add(Code::Quotes);
            text = text.trim_matches(super::QUOTES);
        }
        if text.is_empty() {
            return Some(Vec::new());
        }
        if let Some(at) = second_field(text) {
            self.add(Code::Separator);
            let (one, other) = text.split_at(at);
            let (one, other) = (
                self.part(one.trim_end_matches([' ', '\t', ',', ';', '\\']))?,
                self.part(other)?,
            );
            return Some([one, other].concat());
        }
        self.field(text)
    }

    /// One of several fields on a line, which may be good by itself.
    fn part(&mut self, text: &str) -> Option<Vec<String>> {
        match probe(text, &[]) {
            Ok(_) => Some(vec![text.to_owned()]),
            Err(_) => self.line(text),
        }
    }

    fn field(&mut self, text: &str) -> Option<Vec<String>> {
        let (name, value) = match text.split_once(':') {
            Some(parts) => parts,
            None => match text
                .split_once(['=', ' ', '\t'])
                .filter(|(name, _)| near(name).is_some())
            {
                Some(parts) => {
                    self.add(Code::Separator);
                    parts
                }
                None => {
                    self.add(Code::StrayLine);
                    return Some(Vec::new());
                }
            },
        };
        let value = value.trim_matches([' ', '\t', '=']);
        let Some(field) = near(name) else {
            let line = format!("{}: {value}", name.trim());
            if probe(&line, &[]).is_err() {
                self.add(if value.is_empty() {
                    Code::FieldValue
                } else {
                    Code::FieldName
                });
                return Some(Vec::new());
            }
            return Some(vec![line]);
        };
        if field != name {
            self.add(Code::FieldName);
        }
        let line = format!("{field}: {value}");
        if probe(&line, &[]).is_ok() {
            return Some(vec![line]);
        }
        let guess = value::of_field(field, value);
        guess.codes.into_iter().for_each(|code| self.add(code));
        let values = guess.values?;
        Some(values.into_iter().map(|value| format!("{field}: {value}")).collect())
    }
}

/// What stands before a comment.
fn before_comment(text: &str) -> Option<&str> {
    if text.starts_with(['#', ';']) || text.starts_with("//") || text.starts_with("<!--") {
        return Some("");
    }
    [" #", "\t#", " //", "\t//"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .map(|at| &text[..at])
}

/// Where a second field begins on the same line: behind a space or a separator, or where the end of a line was lost behind
/// a number.
fn second_field(text: &str) -> Option<usize> {
    FIELDS
        .into_iter()
        .flat_map(|field| text.match_indices(field))
        .filter(|(at, field)| {
            let before = text[..*at].chars().next_back();
            let lost = before.is_some_and(|c| c.is_ascii_digit()) && *field == "version";
            (lost || before.is_some_and(|c| matches!(c, ' ' | '\t' | ';' | ',')))
                && text[at + field.len()..].starts_with(':')
                && text[..*at].contains([':', '='])
        })
        .map(|(at, _)| at)
        .min()
}
