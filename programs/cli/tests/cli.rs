//! The `mtasts` command as people and programs run it: the real binary, its output and its exit status.

use std::io::Write;
use std::process::{Command, Output, Stdio};

#[path = "cli/certificate.rs"]
mod certificate;
#[cfg(feature = "lab")]
#[path = "cli/check.rs"]
mod check;
#[path = "cli/lint.rs"]
mod lint;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../../../tests/pki/mod.rs"]
mod pki;
#[cfg(feature = "lab")]
#[path = "cli/surroundings.rs"]
mod surroundings;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/usage.rs"]
mod usage;

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    /// The one JSON object on stdout, and nothing else there.
    fn json(&self) -> serde_json::Value {
        let line = self.out.strip_suffix('\n').unwrap_or_else(|| panic!("{self:?}"));
        assert!(!line.contains('\n') && line.is_ascii(), "{self:?}");
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert!(value.is_object(), "{self:?}");
        value
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            status: output.status.code().expect("an exit status"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// The command, without whatever the environment of the tests says about colours and settings.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtasts"));
    command.args(arguments);
    for variable in ["NO_COLOR", "MTASTS_CONFIG", "MTASTS_CACHE_DIR"] {
        command.env_remove(variable);
    }
    command
}

fn mtasts(arguments: &[&str]) -> Ran {
    command(arguments).output().expect("the command").into()
}

fn mtasts_with_input(arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command");
    // It may have read enough before the end.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("the command").into()
}

fn vectors(kind: &str) -> Vec<serde_json::Value> {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/rfc8461.json")).expect("JSON");
    let list = all[kind].as_array().expect("a list").clone();
    assert!(!list.is_empty());
    list
}

fn texts(value: &serde_json::Value) -> Vec<&str> {
    let list = value.as_array().expect("a list");
    list.iter().map(|text| text.as_str().expect("a text")).collect()
}
