//! `mtasts cache setup`: the one layout of the cache directory, made or restored.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;
use std::process::Command;

use clap::Args;

use super::super::{Found, Trouble, output};
use super::settings;
use mtasts::sys::process::is_root;

/// The user and the group that own the cache.
const OWNER: &str = "mtasts";
/// Every member of the group writes, and what is made in the directory belongs to the group.
const SHARED: u32 = 0o2770;
/// The group only reads. The operator's choice, which is kept.
const READ: u32 = 0o2750;

/// Make the cache directory for the mail servers of this host, as root.
///
/// It belongs to the user and the group "mtasts", which are made if they do not exist, and has mode 2770; a
/// mode of 2750 is kept. A directory that has another owner or mode is given to them with the files in it. Each step is
/// printed. A mail server that is in the group reads and writes the policies; one that runs as root, such as Exim, becomes
/// the owner.
#[derive(Args)]
pub(crate) struct Setup {
    /// A mail server's user, who joins the group; restart that server afterwards. Can be given several times.
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
}

impl Setup {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        if !is_root() {
            return Err(Trouble(
                "only root can set the cache up: sudo mtasts cache setup".to_owned(),
            ));
        }
        let Some(dir) = settings()?.cache_dir else {
            return Err(Trouble(
                "cache_dir is empty: policies are kept in memory alone".to_owned(),
            ));
        };
        for user in &self.user {
            id(&["-u", user])?;
        }
        let mut steps = Vec::new();
        if id(&["-u", OWNER]).is_err() {
            let home = dir.to_string_lossy();
            let shell = ["--shell", "/usr/sbin/nologin", "--comment", "MTA-STS policies"];
            let arguments = [
                "--system",
                "--user-group",
                "--no-create-home",
                "--no-log-init",
                "--home-dir",
                &home,
            ];
            run("useradd", &[&arguments[..], &shell, &[OWNER]].concat())?;
            steps.push(format!("the user and the group {OWNER} were made"));
        }
        let (uid, gid) = (id(&["-u", OWNER])?, group()?);
        directory(&dir, uid, gid, &mut steps).map_err(|error| Trouble(format!("{}: {error}", dir.display())))?;
        for user in &self.user {
            let groups = said("id", &["-Gn", user])?;
            if !groups.split_whitespace().any(|group| group == OWNER) {
                run("usermod", &["--append", "--groups", OWNER, user])?;
                steps.push(format!(
                    "{user} has joined the group {OWNER}: restart what runs as {user}"
                ));
            }
        }
        if steps.is_empty() {
            steps.push(format!("{} is as it should be: nothing was changed", dir.display()));
        }
        output::print(&(steps.join("\n") + "\n"))?;
        Ok(Found::Good)
    }
}

/// Makes the directory, or gives it and its files to this user and group.
fn directory(dir: &Path, uid: u32, gid: u32, steps: &mut Vec<String>) -> io::Result<()> {
    let path = dir.display();
    let mut mode = SHARED;
    match fs::symlink_metadata(dir) {
        Ok(about) if !about.is_dir() => return Err(io::Error::other("is not a directory")),
        Ok(about) => {
            if about.mode() & 0o7777 == READ {
                mode = READ;
            }
            let before = (about.uid(), about.gid(), about.mode() & 0o7777);
            if before == (uid, gid, mode) && !foreign(dir, gid)? {
                return Ok(());
            }
            steps.push(format!(
                "{path} had owner {}, group {} and mode {:o}; now {OWNER}, {OWNER} and {mode:o}",
                before.0, before.1, before.2
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dir)?;
            steps.push(format!("{path} was made for {OWNER}, with mode {mode:o}"));
        }
        Err(error) => return Err(error),
    }
    // While root changes the files, no other user can put a link in place of one.
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    chown(dir, Some(0), Some(0))?;
    let (mut given, mut left) = (0, 0);
    for file in fs::read_dir(dir)? {
        let file = file?.path();
        let about = fs::symlink_metadata(&file)?;
        // Another name of the file may be anywhere on this disk.
        if !about.is_file() || about.nlink() != 1 {
            left += 1;
            continue;
        }
        if (about.uid(), about.gid()) != (uid, gid) {
            given += 1;
        }
        lchown(&file, Some(uid), Some(gid))?;
        fs::set_permissions(&file, Permissions::from_mode(mode & 0o660))?;
    }
    chown(dir, Some(uid), Some(gid))?;
    // Last, because a change of the owner takes the set-group-id bit.
    fs::set_permissions(dir, Permissions::from_mode(mode))?;
    if given > 0 {
        steps.push(format!("files given to {OWNER}: {given}"));
    }
    if left > 0 {
        steps.push(format!("left alone, because they are not files of the cache: {left}"));
    }
    Ok(())
}

/// Whether a file of the directory belongs to another group. A member of the group makes its files in the directory's.
fn foreign(dir: &Path, gid: u32) -> io::Result<bool> {
    for file in fs::read_dir(dir)? {
        let about = file?.metadata()?;
        if about.is_file() && about.gid() != gid {
            return Ok(true);
        }
    }
    Ok(false)
}

fn id(arguments: &[&str]) -> Result<u32, Trouble> {
    let number = said("id", arguments)?;
    number
        .trim()
        .parse()
        .map_err(|_| Trouble(format!("id {arguments:?} said {number:?}")))
}

/// The number of the group, which need not be the user's primary one.
fn group() -> Result<u32, Trouble> {
    let line = said("getent", &["group", OWNER])?;
    let number = line.split(':').nth(2).and_then(|number| number.parse().ok());
    number.ok_or_else(|| Trouble(format!("getent group {OWNER} said {line:?}")))
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Trouble> {
    said(program, arguments).map(drop)
}

/// What a program of the system prints. Its complaint is the error.
fn said(program: &str, arguments: &[&str]) -> Result<String, Trouble> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| Trouble(format!("{program}: {error}")))?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(Trouble(format!(
            "{program} {}: {}",
            arguments.join(" "),
            text(&output.stderr)
        )))
    }
}
