//! The settings file in force: every error with its line, and who may change it.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::{Code, Finding};
use super::users::me;
use mtasts::sender::exceptions;
use mtasts::sender::settings::{FILE, Settings, SettingsError};
use mtasts::sender::user::{name_of, name_of_group};
use mtasts::sys::process;

/// More errors than these are not worth a line each.
const MOST: usize = 20;

/// What the settings are, as far as they can be read.
pub(super) fn look(found: &mut Vec<Finding>) -> Settings {
    let environment = |name| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|_| !process::is_privileged())
    };
    let named = environment("MTASTS_CONFIG");
    let file = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
    let about = match fs::metadata(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
            found.push(Finding::new(
                Code::Settings,
                format!("there is no {FILE}: the defaults apply"),
            ));
            None
        }
        about => Some(about),
    };
    let is_hidden = |error: &std::io::Error| error.kind() == ErrorKind::PermissionDenied;
    let hidden = match &about {
        Some(Err(error)) => is_hidden(error),
        Some(Ok(_)) => fs::File::open(&file).is_err_and(|error| is_hidden(&error)),
        None => false,
    };
    if hidden {
        let path = file.display();
        found.push(Finding::new(
            Code::SettingsUnreadable,
            format!(
                "{path}: this user may not read it, so the defaults are looked at here. Run mtasts doctor as root."
            ),
        ));
        return Settings::default();
    }
    let settings = match Settings::of_process() {
        Ok(settings) => {
            if about.is_some() {
                found.push(Finding::new(Code::Settings, format!("{} is in force", file.display())));
            }
            settings
        }
        Err(error) => {
            let mut settings = every_fault(&file, &error, found);
            if let Some(dir) = environment("MTASTS_CACHE_DIR") {
                settings.cache_dir = Some(dir);
            }
            settings
        }
    };
    if about.is_some() {
        found.extend(who_may_change(&file));
    }
    exceptions_of(&settings, found);
    settings
}

/// All errors of the file, and the settings without them.
fn every_fault(file: &Path, first: &SettingsError, found: &mut Vec<Finding>) -> Settings {
    let mut settings = Settings::default();
    let text = fs::read_to_string(file);
    let mut text = text.unwrap_or_default();
    let mut named = false;
    for _ in 0..MOST {
        let Err(error) = settings.read(&text) else { break };
        named = true;
        let is_of_exceptions = error.file.is_some();
        let key = error
            .key
            .as_deref()
            .or_else(|| is_of_exceptions.then_some("exceptions"));
        let lines = key.and_then(|key| lines_of(&text, key));
        let (code, next) = if is_of_exceptions {
            (Code::ExceptionsInvalid, "Correct it: mail waits until then.")
        } else {
            (Code::SettingsInvalid, "Correct or remove it: mail waits until then.")
        };
        let place = match (&lines, is_of_exceptions) {
            (Some(lines), false) => format!("{}: line {}: ", file.display(), lines.start + 1),
            (_, false) => format!("{}: ", file.display()),
            (_, true) => String::new(),
        };
        let reason = error.to_string();
        found.push(Finding::new(
            code,
            format!("{place}{}. {next}", reason.trim_end_matches('.')),
        ));
        let Some(lines) = lines else { break };
        let without = |(index, line)| if lines.contains(&index) { "" } else { line };
        text = text
            .lines()
            .enumerate()
            .map(without)
            .map(|line| format!("{line}\n"))
            .collect();
    }
    if !named {
        // The file itself, or the file of exceptions that no setting names.
        let code = match first.file.as_deref() == Some(Path::new(exceptions::FILE)) {
            true => Code::ExceptionsInvalid,
            false => Code::SettingsInvalid,
        };
        found.push(Finding::new(
            code,
            format!("{first}. Correct it: mail waits until then."),
        ));
    }
    settings
}

/// The lines of a key, with those of its value that follow.
fn lines_of(text: &str, key: &str) -> Option<std::ops::Range<usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let name = |line: &str| {
        let line = line.trim_start();
        let (name, _) = line
            .split_once('=')
            .or_else(|| line.strip_prefix('[')?.split_once(']'))?;
        let name = name.trim().trim_matches(['"', '\'']);
        (!name.is_empty() && !name.starts_with('#') && !name.contains([',', ' '])).then(|| name.to_owned())
    };
    let first = lines.iter().position(|line| name(line).as_deref() == Some(key))?;
    let is_table = lines[first].trim_start().starts_with('[');
    let more = lines[first + 1..]
        .iter()
        .position(|line| !is_table && name(line).is_some());
    Some(first..more.map_or(lines.len(), |more| first + 1 + more))
}

/// Who but root may change a file, by its own mode or by a directory above it.
fn who_may_change(file: &Path) -> Option<Finding> {
    for path in file.ancestors() {
        let Ok(about) = fs::metadata(path) else { continue };
        let is_sticky = about.is_dir() && about.mode() & 0o1000 != 0;
        if about.mode() & 0o002 != 0 && !is_sticky {
            let path = path.display();
            let sentence =
                format!("every user may write to {path}, and so decide whom mail servers trust: chmod o-w {path}");
            return Some(Finding::new(Code::SettingsWritable, sentence));
        }
        if let Some(who) = another(&about).filter(|_| !is_sticky) {
            return Some(Finding::new(
                Code::SettingsOwner,
                format!(
                    "{who} may write to {path}, and so decide whom mail servers trust. If that is not meant: chown root:root {path}",
                    path = path.display()
                ),
            ));
        }
    }
    None
}

/// Another user than root, and than the one who asks, who may write.
fn another(about: &Metadata) -> Option<String> {
    let group_writes = about.mode() & 0o020 != 0 && about.gid() != 0;
    if about.uid() != 0 && about.uid() != me() {
        Some(format!("the user {}", name_of(about.uid())))
    } else if group_writes && about.uid() != me() {
        Some(format!("the group {}", name_of_group(about.gid())))
    } else {
        None
    }
}

/// The exceptions are the first thing to know if mail flows that should not.
fn exceptions_of(settings: &Settings, found: &mut Vec<Finding>) {
    let now = mtasts::sender::resolver::unix_now();
    let all = settings.exceptions.iter();
    let (live, over): (Vec<_>, Vec<_>) = all.partition(|exception| exception.is_live(now));
    if live.is_empty() && over.is_empty() {
        return;
    }
    let file = settings
        .exceptions
        .file()
        .unwrap_or_else(|| Path::new(exceptions::FILE));
    let names: Vec<&str> = live.iter().take(5).map(|exception| exception.domain.as_str()).collect();
    let mut sentence = format!("{}: enforcement is off for {} domains", file.display(), live.len());
    if !names.is_empty() {
        let more = if live.len() > names.len() { ", ..." } else { "" };
        sentence += &format!(" ({}{more})", names.join(", "));
    }
    if !over.is_empty() {
        sentence += &format!("; {} exceptions are over and can be removed", over.len());
    }
    found.push(Finding::new(Code::Exceptions, sentence));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_have_several_lines() {
        let text = "# a = 1\ntimeout = 1\n  nameservers = [\n  '192.0.2.1',\n]\n\n\"user\" = 'x'\n[table]\na = 1\n";
        assert_eq!(lines_of(text, "timeout"), Some(1..2));
        assert_eq!(lines_of(text, "nameservers"), Some(2..6));
        assert_eq!(lines_of(text, "user"), Some(6..7));
        assert_eq!(lines_of(text, "table"), Some(7..9));
        assert_eq!(lines_of(text, "absent"), None);
    }
}
