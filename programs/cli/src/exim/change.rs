//! Changes of configuration files: all of them or none. A new file is renamed into the place of the old one, with its owner
//! and mode.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file as it is and as it shall be; `None` if there is none.
pub(super) struct Change {
    pub(super) file: PathBuf,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Change {
    /// What diff(1) says.
    pub(super) fn difference(&self) -> Result<String, String> {
        let name = self.file.display().to_string();
        let before = match self.before {
            Some(_) => self.file.as_path(),
            None => Path::new("/dev/null"),
        };
        let trouble = |error: io::Error| format!("diff: {error}");
        let mut diff = Command::new("diff")
            .args(["-u", "--label", &name, "--label", &name])
            .arg(before)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(trouble)?;
        if let Some(mut stdin) = diff.stdin.take() {
            // It is written by another thread, so that neither waits for the other.
            let after = self.after.clone().unwrap_or_default();
            std::thread::spawn(move || stdin.write_all(after.as_bytes()));
        }
        let output = diff.wait_with_output().map_err(trouble)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn apply(&self) -> Result<(), String> {
        put(&self.file, self.after.as_deref()).map_err(|error| format!("{}: {error}", self.file.display()))
    }

    fn undo(&self) {
        if let Err(error) = put(&self.file, self.before.as_deref()) {
            let name = self.file.display();
            super::super::output::tell(&format!("{name} could not be put back as it was: {error}"));
        }
    }
}

/// Makes all the changes and then does `and_then`. If anything fails, every file is as it was.
pub(super) fn apply(changes: &[Change], and_then: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut done = Vec::new();
    let mut result = Ok(());
    for change in changes {
        result = change.apply();
        if result.is_err() {
            break;
        }
        done.push(change);
    }
    let result = result.and_then(|()| and_then());
    if result.is_err() {
        done.iter().rev().for_each(|change| change.undo());
    }
    result
}

fn put(file: &Path, text: Option<&str>) -> io::Result<()> {
    // The file that a link leads to is replaced, and not the link.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let Some(text) = text else {
        return fs::remove_file(file);
    };
    // A name that neither Exim nor update-exim4.conf reads.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.mtasts-new"));
    let _ = fs::remove_file(&new);
    let result = write(&new, text, fs::metadata(file).ok()).and_then(|()| fs::rename(&new, file));
    if result.is_err() {
        let _ = fs::remove_file(&new);
    }
    result
}

fn write(new: &Path, text: &str, old: Option<fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text.as_bytes())?;
    let mode = match old {
        Some(old) => {
            chown(new, Some(old.uid()), Some(old.gid()))?;
            old.mode() & 0o7777
        }
        None => 0o644,
    };
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}
