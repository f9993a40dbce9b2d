//! What has to be changed so that our parts are there, or are not; and the proof, before anything is changed, that Exim takes
//! the configuration.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::block::{self, State};
use super::change::Change;
use super::configuration::{Configuration, DEBIAN, Kind, TEMPLATE, drop_in, sentence};
use super::plain;

/// The files of /etc/exim4 that update-exim4.conf reads.
const SOURCES: [&str; 4] = [
    "conf.d",
    "update-exim4.conf.conf",
    "exim4.conf.template",
    "exim4.conf.localmacros",
];

/// The changes that put our parts into the configuration.
pub(super) fn install(configuration: &Configuration) -> Result<Vec<Change>, String> {
    // A part that was copied from the examples is as good as one with a seal.
    if configuration.parts.iter().all(|part| part.state == State::Current) {
        return Ok(Vec::new());
    }
    match configuration.kind {
        Kind::DebianSplit => drop_ins(|shipped| Some(block::sealed(shipped))),
        Kind::DebianUnsplit => {
            let text = read(Path::new(TEMPLATE))?;
            let bare = bare_template(&text);
            let placed = DEBIAN
                .iter()
                .try_fold(bare, |text, (name, shipped)| into_template(&text, name, shipped))?;
            Ok(one(Path::new(TEMPLATE), text, placed))
        }
        Kind::DebianOverride | Kind::Plain => {
            let text = read(&configuration.file)?;
            let placed = plain::with(&plain::without(&text))?;
            Ok(one(&configuration.file, text, placed))
        }
    }
}

/// The changes that take our parts out of it.
pub(super) fn remove(configuration: &Configuration) -> Result<Vec<Change>, String> {
    match configuration.kind {
        Kind::DebianSplit => drop_ins(|_| None),
        Kind::DebianUnsplit => {
            let text = read(Path::new(TEMPLATE))?;
            let bare = bare_template(&text);
            Ok(one(Path::new(TEMPLATE), text, bare))
        }
        Kind::DebianOverride | Kind::Plain => {
            let text = read(&configuration.file)?;
            let bare = plain::without(&text);
            Ok(one(&configuration.file, text, bare))
        }
    }
}

/// The drop-ins of Debian's split configuration, with the text that each shall have.
fn drop_ins(after: impl Fn(&str) -> Option<String>) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for (name, shipped) in DEBIAN {
        let file = drop_in(name);
        let before = file.exists().then(|| read(&file)).transpose()?;
        let after = after(shipped);
        if before != after {
            changes.push(Change { file, before, after });
        }
    }
    Ok(changes)
}

fn one(file: &Path, before: String, after: String) -> Vec<Change> {
    let change = (before != after).then(|| Change {
        file: file.to_owned(),
        before: Some(before),
        after: Some(after),
    });
    change.into_iter().collect()
}

fn bare_template(text: &str) -> String {
    DEBIAN
        .iter()
        .fold(text.to_owned(), |text, (name, _)| block::without(&text, name))
}

/// The template with a part where update-exim4.conf.template would put it: the files of a section come by their names.
fn into_template(text: &str, name: &str, shipped: &str) -> Result<String, String> {
    let section = name.split('/').next().unwrap_or_default();
    let names = block::names(text);
    let inside = || names.iter().filter(|other| other.split('/').next() == Some(section));
    let next = inside()
        .find(|other| **other > name)
        .and_then(|other| block::find(text, other));
    let last = inside().next_back().and_then(|other| block::find(text, other));
    let place = next
        .map(|block| block.range.start)
        .or_else(|| last.map(|block| block.range.end));
    let place = place.ok_or_else(|| {
        format!("{TEMPLATE} has no line \"### {section}/...\", by which the place of {name} could be found")
    })?;
    let (before, after) = text.split_at(place);
    Ok(format!("{before}{}{after}", block::of(name, &block::sealed(shipped))))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Has the real Exim read the configuration as it would be. `parts` says whether it must be able to load the library.
pub(super) fn check(configuration: &Configuration, changes: &[Change], parts: bool) -> Result<(), String> {
    let folder = Folder::new()?;
    let file = match configuration.kind.is_generated() {
        true => generate(&folder.0, changes)?,
        false => {
            let file = folder.0.join("exim.conf");
            let after = changes
                .first()
                .and_then(|change| change.after.as_deref())
                .unwrap_or_default();
            fs::write(&file, after).map_err(|error| format!("{}: {error}", file.display()))?;
            file
        }
    };
    let exim = &configuration.exim.program;
    run(Command::new(exim).arg("-C").arg(&file).arg("-bV"))?;
    if !parts {
        return Ok(());
    }
    let library = run(Command::new(exim)
        .arg("-C")
        .arg(&file)
        .args(["-bP", "macro", "MTASTS_LIB"]))?;
    let library = library.trim().trim_start_matches("MTASTS_LIB=");
    let call = format!("${{dlfunc{{{library}}}{{mtasts_exim_version}}}}");
    let said = run(Command::new(exim).arg("-C").arg(&file).args(["-be", &call]))?;
    match said.trim().strip_prefix("Failed: ") {
        Some(why) => Err(format!(
            "Exim cannot load the library: {why}. Install it (make install, then ldconfig), or set the macro MTASTS_LIB"
        )),
        None => Ok(()),
    }
}

/// Has update-exim4.conf generate a configuration of a copy of /etc/exim4 with the changes.
fn generate(folder: &Path, changes: &[Change]) -> Result<PathBuf, String> {
    let etc = Path::new(TEMPLATE).parent().unwrap_or_else(|| Path::new("/"));
    let sources = SOURCES.iter().map(|name| etc.join(name)).filter(|path| path.exists());
    run(Command::new("cp").arg("-a").args(sources).arg(folder))?;
    for change in changes {
        let file = change.file.strip_prefix(etc).unwrap_or(&change.file);
        let file = folder.join(file);
        let done = match &change.after {
            // The copy of a link would lead to the file itself.
            Some(text) => {
                let _ = fs::remove_file(&file);
                fs::write(&file, text)
            }
            None => fs::remove_file(&file),
        };
        done.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let generated = folder.join("config.autogenerated");
    run(Command::new("update-exim4.conf")
        .arg("-d")
        .arg(folder)
        .arg("-o")
        .arg(&generated))?;
    Ok(generated)
}

/// What a program prints. The error is what it says of its failure.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{name} says: {}", sentence(&text(&output.stderr))))
}

/// A directory of this process alone, which goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let mut tried = 0;
        loop {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_nanos());
            let path = std::env::temp_dir().join(format!("mtasts-exim-{}-{now}", process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                // Everybody may make directories there.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && tried < 100 => tried += 1,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
