//! C programs, run: as root and as an ordinary user, bare and under valgrind.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use mtasts::entry::{Held, TxtSeen};
use mtasts::store::Store;
use mtasts::{Domain, Entry, Policy};

use crate::pki::{Directory, command};

/// The ordinary user and his group: nobody and nogroup.
pub(crate) const USER: u32 = 65_534;

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

/// What watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Nothing,
    Valgrind,
}

/// A place for programs and their caches, gone at the end of the test.
pub(crate) struct Bench {
    directory: Directory,
}

impl Bench {
    pub(crate) fn new(name: &str) -> Self {
        let process = fs::metadata("/proc/self").unwrap();
        assert_eq!(process.uid(), 0, "these tests run programs as root and as nobody: sudo");
        let directory = Directory::new(name);
        fs::set_permissions(directory.root(), Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.root()
    }

    /// An empty directory of the ordinary user.
    pub(crate) fn of_user(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.directory.path(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A cache that knows the policy of enforced.example.
    pub(crate) fn cache(&self, name: &str) -> PathBuf {
        let path = self.of_user(name, 0o2770);
        let domain = Domain::parse("enforced.example").unwrap();
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mx.enforced.example\r\nmx: *.backup.example\r\n\
                    max_age: 604800\r\n";
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut entry = Entry::new(domain.clone());
        entry.txt = Some(TxtSeen {
            at: now,
            next: now + 3600,
        });
        entry.held = Some(
            Held {
                id: "20260101".into(),
                fetched: now,
                text: text.into(),
                policy: Policy::parse(text.as_bytes()).unwrap().0,
            }
            .into(),
        );
        Store::new(path.clone()).save(&entry).unwrap();
        chown(path.join(domain.as_str()), Some(USER), Some(USER)).unwrap();
        path
    }

    /// Runs a program, and gives what it says on stdout. It has to end well and to say nothing on stderr, and what
    /// watches it has to be content.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str], who: Who, watch: Watch) -> String {
        let notes = self.of_user("notes", 0o777);
        let mut command = match watch {
            Watch::Nothing => Command::new(program),
            Watch::Valgrind => {
                let mut valgrind = command("valgrind", "valgrind", self.root());
                valgrind
                    .args([
                        "--quiet",
                        "--error-exitcode=99",
                        "--leak-check=full",
                        "--fair-sched=yes",
                    ])
                    // A file for each process: children have their own.
                    .arg(format!("--log-file={}/%p", notes.display()))
                    .arg(program);
                valgrind
            }
        };
        command.args(arguments).current_dir(self.root()).env_clear();
        if who == Who::User {
            command.uid(USER).gid(USER);
        }
        let output = command.output().unwrap();
        let mut found = String::new();
        for note in fs::read_dir(&notes).unwrap() {
            found += &fs::read_to_string(note.unwrap().path()).unwrap();
        }
        assert!(found.is_empty(), "{program:?} {arguments:?} as {who:?}:\n{found}");
        content(&format!("{program:?} {arguments:?} as {who:?}"), output)
    }
}

fn content(what: &str, output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{errors}", output.status);
    assert!(errors.is_empty(), "{what} says on stderr: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
