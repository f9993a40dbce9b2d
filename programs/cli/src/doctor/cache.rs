//! The cache directory: whose it is, and whether anything can be written to it. It is looked at and not touched.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Code, Finding};
use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;
use mtasts::sender::settings::Settings;
use mtasts::sender::user::{name_of, name_of_group, whom_root_becomes};
use mtasts::sys::host::{clock_is_synchronised, disk};

/// Less than this is as good as nothing: a policy has a few hundred octets, and a file system keeps some for itself.
const LEAST_FREE: u64 = 256 * 1024;
/// The file system's clock and ours differ by a moment.
const TOLERANCE: u64 = 60;

/// Looks at the directory from outside.
pub(super) fn look(settings: &Settings, found: &mut Vec<Finding>) {
    let Some(dir) = &settings.cache_dir else {
        found.push(Finding::new(
            Code::CacheMemory,
            "cache_dir is empty: each mail server process keeps its own policies and begins without any. Set cache_dir if that \
             is not meant.",
        ));
        return;
    };
    let path = dir.display();
    let about = match fs::metadata(dir) {
        Ok(about) if about.is_dir() => about,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            found.push(Finding::new(
                Code::CacheUnreadable,
                format!("{path}: this user may not look at it. Run mtasts doctor as root."),
            ));
            return;
        }
        other => {
            let why = other.map_or_else(|error| error.to_string(), |_| "not a directory".to_owned());
            found.push(Finding::new(
                Code::CacheMissing,
                format!(
                    "{path}: {why}. Create it for the user and group of the mail server: install -d -m 2770 -o USER -g GROUP \
                     {path}"
                ),
            ));
            return;
        }
    };
    let mode = about.mode() & 0o7777;
    let of = format!(
        "{path} belongs to the user {} and the group {}, mode {mode:04o}",
        name_of(about.uid()),
        name_of_group(about.gid())
    );
    if mode & 0o002 != 0 {
        found.push(Finding::new(
            Code::CacheWritable,
            format!("{of}: every user may write there, so it is not used. Run chmod o-w {path}"),
        ));
    } else if let Err(error) = whom_root_becomes(Some(dir), settings.user.as_ref()) {
        // An ordinary user's own cache needs no user for root.
        let code = match about.uid() == super::users::me() && about.uid() != 0 {
            true => Code::Cache,
            false => Code::CacheRoot,
        };
        let sentence = if code == Code::Cache { of } else { error.to_string() };
        found.push(Finding::new(code, sentence));
    } else {
        found.push(Finding::new(Code::Cache, of));
    }
    space(dir, found);
}

fn space(dir: &Path, found: &mut Vec<Finding>) {
    let path = dir.display();
    match disk(dir) {
        Ok(disk) if disk.read_only => found.push(Finding::new(
            Code::CacheReadOnly,
            format!("{path}: its disk is mounted read-only, so no policy can be kept. Mount it read-write."),
        )),
        Ok(disk) if disk.free < LEAST_FREE || disk.free_files.is_some_and(|files| files < 8) => {
            found.push(Finding::new(
                Code::CacheFull,
                format!("{path}: its disk is full, so no new policy can be kept. Make room there."),
            ));
        }
        Ok(_) => {}
        Err(error) => found.push(Finding::new(Code::CacheUnreadable, format!("{path}: {error}"))),
    }
}

/// What this host itself knows of the time.
pub(super) fn clock(settings: &Settings, found: &mut Vec<Finding>) {
    let now = unix_now();
    let dir = settings.cache_dir.as_deref();
    let files = dir
        .and_then(|dir| fs::read_dir(dir).ok())
        .into_iter()
        .flatten()
        .flatten();
    let written = |about: fs::Metadata| u64::try_from(about.mtime()).ok();
    let newest = files
        .filter_map(|file| Some((written(file.metadata().ok()?)?, file.path())))
        .max();
    let time = calendar::date_time(now);
    if let Some((newest, file)) = newest.as_ref().filter(|(newest, _)| *newest > now + TOLERANCE) {
        found.push(Finding::new(
            Code::ClockWrong,
            format!(
                "the clock says {time}, and {} was written {} later. One of the two is wrong: set the clock, and start NTP",
                file.display(),
                calendar::span(newest - now)
            ),
        ));
    } else if clock_is_synchronised() == Some(false) {
        found.push(Finding::new(
            Code::ClockFree,
            format!(
                "the clock says {time}; nothing synchronises it, as far as the kernel knows. Start NTP, such as chrony."
            ),
        ));
    } else {
        let how = match clock_is_synchronised() {
            Some(_) => "and is synchronised",
            None => "and the kernel does not say whether it is synchronised",
        };
        found.push(Finding::new(Code::Clock, format!("the clock says {time}, {how}")));
    }
}
