//! Programs of this workspace, as cargo makes them beside the running test. They are packages of their own, so a test of
//! the library has them made first.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

use serde_json::Value;

use crate::{Internet, USER};

/// Where the command `mtasts` is, with the test Internet in it.
pub fn mtasts() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        built("mtasts-cli", "mtasts", &["--features", "lab"])
            .to_str()
            .unwrap()
            .to_owned()
    })
}

/// Cargo, as the one who builds.
pub fn cargo() -> Command {
    builder(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program that writes below `target/`. A test runs as root, and what it has built there belongs to the user who started it:
/// so that this user can build again (see tests/run/as-root.sh).
pub fn builder(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let builder = std::env::var("MTASTS_BUILDER").unwrap_or_default();
    if let [user, group, home] = builder.splitn(3, ':').collect::<Vec<_>>()[..] {
        command.uid(user.parse().unwrap()).gid(group.parse().unwrap());
        command.env("HOME", home);
    }
    command
}

/// The home of the one who builds.
pub fn builders_home() -> String {
    let home = builder("true").get_envs().find_map(|(name, home)| {
        let home = home.filter(|_| name == "HOME")?;
        Some(home.to_str().unwrap().to_owned())
    });
    home.unwrap_or_else(|| std::env::var("HOME").unwrap())
}

/// Has cargo make a program of a package of the workspace, and says where it is.
pub fn built(package: &str, program: &str, more: &[&str]) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let folder = here.parent().and_then(|deps| deps.parent()).expect("target/debug/deps");
    let made = cargo()
        .args(["build", "--quiet", "--package", package, "--bin", program])
        .args(more)
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .current_dir(crate::repository())
        .status();
    let made = made.is_ok_and(|status| status.success());
    assert!(made, "cargo cannot build {program} of {package}");
    folder.join(program)
}

/// `libmtasts.so` with the C interface, as it is installed but for its profile. In the target directory another cargo may
/// replace it by one without: so cargo is asked for it, and it is copied.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let output = cargo()
            .current_dir(crate::repository())
            .args([
                "rustc",
                "--quiet",
                "--package",
                "mtasts",
                "--lib",
                "--features",
                "capi,fleet",
            ])
            .args(["--crate-type", "cdylib", "--message-format", "json-render-diagnostics"])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        let messages = String::from_utf8(output.stdout).unwrap();
        let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
        let files: Vec<PathBuf> = messages
            .flat_map(|message: Value| message["filenames"].as_array().cloned().unwrap_or_default())
            .filter_map(|file| file.as_str().map(PathBuf::from))
            .collect();
        let made = files.iter().find(|file| file.ends_with("libmtasts.so"));
        let made = made.expect("cargo has made it");
        let kept = made.with_file_name(format!("libmtasts-{}.so", std::process::id()));
        std::fs::copy(made, &kept).unwrap();
        kept
    })
}

/// How a run of a command ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    /// The exit status.
    pub status: i32,
    /// What it said on stdout.
    pub out: String,
    /// What it said on stderr.
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    /// The one JSON object on stdout, and nothing else there.
    pub fn json(&self) -> Value {
        let [object] = &self.lines()[..] else {
            panic!("{self:?}")
        };
        assert!(object.is_object(), "{self:?}");
        object.clone()
    }

    /// The JSON objects on stdout, one a line.
    pub fn lines(&self) -> Vec<Value> {
        assert!(self.out.is_ascii(), "{self:?}");
        assert!(self.out.is_empty() || self.out.ends_with('\n'), "{self:?}");
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}")))
            .collect()
    }
}

/// `mtasts cache ARGUMENTS`, without what the environment of the tests says.
pub fn cache(program: &Path, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("cache").args(arguments.split_whitespace()).current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for variable in ["NO_COLOR", "MTASTS_CONFIG", "MTASTS_CACHE_DIR"] {
        command.env_remove(variable);
    }
    command
}

impl Internet {
    /// `mtasts cache ...`, as root.
    pub fn cache(&self, arguments: &str) -> Ran {
        cache(Path::new(mtasts()), arguments).output().unwrap().into()
    }

    /// The same with something on stdin.
    pub fn cache_with_input(&self, arguments: &str, input: &str) -> Ran {
        let mut command = cache(Path::new(mtasts()), arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = thread::spawn(move || pipe.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        // It may have read enough before the end.
        let _ = writer.join().unwrap();
        output.into()
    }

    /// The same as another user, in the group of the cache. The sources may lie where that user cannot read.
    pub fn cache_as(&self, user: u32, arguments: &str) -> Ran {
        let copy = self.cache.with_file_name("mtasts");
        if !copy.exists() {
            // By another process: a child of ours that has it open for writing would keep it from being started.
            let copied = Command::new("cp").arg(mtasts()).arg(&copy).status().unwrap();
            assert!(copied.success());
        }
        cache(&copy, arguments).uid(user).gid(USER).output().unwrap().into()
    }
}
