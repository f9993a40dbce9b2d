//! The `mtasts` command as people and programs run it: the real binary, its output and its exit status.

use std::io::Write;
use std::process::{Command, Stdio};

use mtasts_kit::Ran;

#[path = "cli/certificate.rs"]
mod certificate;
#[cfg(feature = "lab")]
#[path = "cli/check.rs"]
mod check;
#[cfg(feature = "lab")]
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/host.rs"]
mod host;
#[path = "cli/lint.rs"]
mod lint;
#[path = "cli/mistakes.rs"]
mod mistakes;
#[cfg(feature = "lab")]
#[path = "cli/monitoring.rs"]
mod monitoring;
#[cfg(feature = "lab")]
#[path = "cli/policy_host.rs"]
mod policy_host;
#[cfg(feature = "lab")]
#[path = "cli/receiver.rs"]
mod receiver;
#[path = "cli/report.rs"]
mod report;
#[path = "cli/reporter.rs"]
mod reporter;
#[cfg(feature = "lab")]
#[path = "cli/surroundings.rs"]
mod surroundings;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/usage.rs"]
mod usage;
#[cfg(feature = "lab")]
#[path = "cli/visit.rs"]
mod visit;

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
