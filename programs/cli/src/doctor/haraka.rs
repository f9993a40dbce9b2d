//! Haraka's configuration, where there is one: the plugin is listed, and its settings have no unknown key.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::finding::{Code, Finding};
use super::users::{Role, Users};

/// Where Haraka's directory is by the custom of its manual, if no running Haraka and no option names another.
const USUAL: &str = "/etc/haraka";
/// The settings of the plugin. bindings/haraka/lib/settings.js has the same, and refuses all others.
const KEYS: [&str; 5] = ["enabled", "lookup_timeout", "settings_file", "ca_file", "check_routes"];

pub(super) fn look(named: Option<&Path>, users: &mut Users, found: &mut Vec<Finding>) {
    let mut directories = running();
    match named {
        Some(directory) => directories = BTreeSet::from([directory.to_owned()]),
        None if Path::new(USUAL).join("config").is_dir() => drop(directories.insert(USUAL.into())),
        None => {}
    }
    for directory in directories {
        if let Err(finding) = directory_of(&directory, users, found) {
            found.push(finding);
        }
    }
}

/// The directories of the Harakas that run: `haraka -c DIRECTORY`.
fn running() -> BTreeSet<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter_map(|line| started_with(&line)).collect()
}

fn started_with(command_line: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(command_line);
    let words: Vec<&str> = text.split('\0').collect();
    let is_haraka = |word: &&str| {
        Path::new(word)
            .file_name()
            .is_some_and(|name| name == "haraka" || name == "haraka.js")
    };
    let at = words.iter().position(|word| matches!(*word, "-c" | "--configs"))?;
    words[..at].iter().find(|word| is_haraka(word))?;
    let directory = PathBuf::from(words.get(at + 1)?);
    directory.is_absolute().then_some(directory)
}

/// Reads a file of its configuration; `None` if there is none.
fn read(file: &Path) -> Result<Option<String>, Finding> {
    match fs::read(file) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Finding::new(
            Code::HarakaUnreadable,
            format!("{}: {error}. Run mtasts doctor as root.", file.display()),
        )),
    }
}

fn directory_of(directory: &Path, users: &mut Users, found: &mut Vec<Finding>) -> Result<(), Finding> {
    let config = directory.join("config");
    let path = config.display();
    let plugins = read(&config.join("plugins"))?.unwrap_or_default();
    if !plugins.lines().any(|line| line.trim() == "mta-sts") {
        found.push(Finding::new(
            Code::HarakaPlugin,
            format!("{path}/plugins does not list mta-sts, so Haraka does not look up policies: add the line mta-sts"),
        ));
        return Ok(());
    }
    let smtp = read(&config.join("smtp.ini"))?.unwrap_or_default();
    if let Some((_, _, user)) = fields(&smtp).find(|(section, key, _)| section.is_empty() && *key == "user") {
        users.add(user, "Haraka's user", Role::Reads);
    }
    let ini = read(&config.join("mta-sts.ini"))?.unwrap_or_default();
    let faults: Vec<String> = fields(&ini)
        .filter_map(|(section, key, _)| match (section, key) {
            ("" | "main", key) if KEYS.contains(&key) => None,
            ("" | "main", key) => Some(format!("{key} is not a setting")),
            (section, _) => Some(format!("[{section}] is not a section")),
        })
        .collect();
    if !faults.is_empty() {
        found.push(Finding::new(
            Code::HarakaSettings,
            format!(
                "{path}/mta-sts.ini: {}. The settings are {}",
                faults.join("; "),
                KEYS.join(", ")
            ),
        ));
        return Ok(());
    }
    let value = |wanted: &str| {
        let mut all = fields(&ini).map(|(_, key, value)| (key, value));
        all.find(|(key, value)| *key == wanted && !value.is_empty())
            .map(|(_, value)| value)
    };
    let others: Vec<String> = ["settings_file", "ca_file"]
        .iter()
        .filter_map(|key| Some(format!("{key} {}", value(key)?)))
        .collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!(", with its own {}", others.join(" and ")),
    };
    found.push(Finding::new(
        Code::Haraka,
        format!("{path}/plugins lists mta-sts{others}"),
    ));
    Ok(())
}

/// The settings of a file as Haraka reads it: the section, the key and the value.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with([';', '#']) {
            return None;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
            return None;
        }
        let (key, value) = line.split_once('=')?;
        Some((section, key.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_haraka() {
        let directory = |line: &str| started_with(line.replace(' ', "\0").as_bytes());
        let srv = Some(PathBuf::from("/srv/haraka"));
        assert_eq!(directory("node /usr/bin/haraka -c /srv/haraka"), srv);
        assert_eq!(directory("haraka --configs /srv/haraka"), srv);
        assert_eq!(directory("haraka -c srv"), None);
        assert_eq!(directory("vi -c /srv/haraka"), None);
        assert_eq!(directory("grep haraka"), None);
    }

    #[test]
    fn the_keys_are_those_of_the_plugin() {
        let plugin = include_str!("../../../../bindings/haraka/lib/settings.js");
        let (_, settings) = plugin.split_once("const SETTINGS = {").unwrap();
        let lines = settings.lines().skip(1).take_while(|line| *line != "}");
        let keys: Vec<&str> = lines.map(|line| line.trim().split(':').next().unwrap()).collect();
        assert_eq!(keys, KEYS);
    }
}
