//! The Exim daemon: whether it was started before the configuration was changed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::configuration::Configuration;

/// The daemon that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// None, or it cannot be found.
    Missing,
    Current,
    /// It has not read the configuration that is there now.
    Older,
}

/// Exim writes its file of the process number when it starts, and again after a reload. (The process itself is as old as
/// before: Exim starts anew in it.)
pub(crate) fn look(configuration: &Configuration) -> Daemon {
    let asked = Command::new(&configuration.exim.program)
        .args(["-bP", "pid_file_path", "spool_directory"])
        .stdin(Stdio::null())
        .output();
    let said = asked.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let option = |name: &str| -> &str {
        let mut values = said
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
        values.next().map_or("", str::trim)
    };
    let path = match option("pid_file_path") {
        "" => Path::new(option("spool_directory")).join("exim-daemon.pid"),
        path => path.into(),
    };
    let number = fs::read_to_string(&path).unwrap_or_default();
    let name = fs::read_to_string(format!("/proc/{}/comm", number.trim())).unwrap_or_default();
    let written = |file: &Path| fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    match (written(&path), written(&configuration.file)) {
        (Some(_), _) if !name.starts_with("exim") => Daemon::Missing,
        (Some(started), Some(changed)) if started < changed => Daemon::Older,
        (Some(_), _) => Daemon::Current,
        (None, _) => Daemon::Missing,
    }
}
