//! C programs, run: as root and as an ordinary user, bare and under valgrind.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use mtasts::Domain;
use mtasts::cache::entry::Entry;
use mtasts::cache::entry::{CachedPolicy, TxtSeen};
use mtasts::cache::store::Store;

use crate::build::root;
use mtasts_kit::USER;
use mtasts_kit::pki::{Directory, command};

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
    /// valgrind: bad reads and writes, uninitialised values, leaks.
    Valgrind,
    /// valgrind without uninitialised values: it takes the tag of AES-GCM for one, which ring computes in assembly. A
    /// handshake of rustls with itself in memory, without any code of ours, shows the same (valgrind 3.19, ring 0.17).
    /// Nor is lost what a pointer into its middle keeps: so std keeps each thread's name.
    ValgrindOverTls,
    /// helgrind: races, and misuse of locks and threads.
    Helgrind,
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
        entry.cached = Some(
            CachedPolicy::new("20260101".parse().unwrap(), now, text)
                .unwrap()
                .into(),
        );
        Store::new(path.clone()).save(&entry).unwrap();
        chown(path.join(domain.as_str()), Some(USER), Some(USER)).unwrap();
        path
    }

    /// Runs a program, and gives what it says on stdout. It has to end well and to say nothing on stderr, and what
    /// watches it has to be content.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str], who: Who, watch: Watch) -> String {
        self.run_to(0, program, arguments, who, watch)
    }

    /// The same for a program that ends with this status.
    pub(crate) fn run_to(&self, status: i32, program: &Path, arguments: &[&str], who: Who, watch: Watch) -> String {
        let notes = self.of_user("notes", 0o777);
        let mut command = match watch {
            Watch::Nothing => Command::new(program),
            Watch::Valgrind => {
                let leaks = ["--leak-check=full", "--show-leak-kinds=definite,indirect,possible"];
                valgrind(program, &notes, &leaks)
            }
            Watch::ValgrindOverTls => {
                let leaks = ["--leak-check=full", "--show-leak-kinds=definite"];
                valgrind(program, &notes, &[&leaks[..], &["--undef-value-errors=no"]].concat())
            }
            Watch::Helgrind => {
                // A copy: Debian 13 lets nobody else into the home where the checkout is.
                let known = self.directory.path("helgrind.supp");
                fs::copy(root().join("tests/c/helgrind.supp"), &known).unwrap();
                let known = format!("--suppressions={}", known.display());
                valgrind(program, &notes, &["--tool=helgrind", &known])
            }
        };
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("{command:?} as {who:?}");
        let child = self.prepare(&mut command, who).spawn().unwrap();
        let main = child.id().to_string();
        let done = child.wait_with_output().unwrap();
        for note in fs::read_dir(&notes).unwrap() {
            let note = note.unwrap();
            let found = without_unknown_call(&fs::read_to_string(note.path()).unwrap());
            // A child that ends with _exit, in the midst of things, has lost what the threads of its parent held.
            let of_child = note.file_name() != *main;
            let faults = found
                .split("== \n")
                .filter(|fault| !(of_child && fault.contains(" lost in loss record ")));
            assert_eq!(faults.collect::<String>(), "", "{what}");
        }
        let errors = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(status), "{what}: {}\n{errors}", done.status);
        assert!(errors.is_empty(), "{what} says on stderr: {errors}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// A command that runs here, without an environment.
    pub(crate) fn prepare<'a>(&self, command: &'a mut Command, who: Who) -> &'a mut Command {
        command.current_dir(self.root()).env_clear();
        match who {
            Who::Root => command,
            Who::User => command.uid(USER).gid(USER),
        }
    }
}

/// Without what valgrind 3.19 says of pidfd_open (434), which it does not know: the library then does without.
fn without_unknown_call(notes: &str) -> String {
    let Some(from) = notes.find("WARNING: unhandled amd64-linux syscall: 434") else {
        return notes.to_owned();
    };
    // Five lines, each with the number of the process before it.
    let from = notes[..from].rfind('\n').map_or(0, |end| end + 1);
    let rest: Vec<&str> = notes[from..].split_inclusive('\n').skip(5).collect();
    without_unknown_call(&(notes[..from].to_owned() + &rest.concat()))
}

/// A program under valgrind, which writes a file for each process into `notes`.
fn valgrind(program: &Path, notes: &Path, arguments: &[&str]) -> Command {
    let mut valgrind = command("valgrind", "valgrind", notes);
    valgrind
        .args(["--quiet", "--fair-sched=yes"])
        .args(arguments)
        .arg(format!("--log-file={}/%p", notes.display()))
        .arg(program);
    valgrind
}
