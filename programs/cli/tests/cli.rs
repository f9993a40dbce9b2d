//! The `mtasts` command as people and programs run it: the real binary, its output and its exit status.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use mtasts_kit::{Ran, USER};

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
    without_settings(Command::new(env!("CARGO_BIN_EXE_mtasts")), arguments)
}

/// The same as the ordinary user, whom Debian 13 does not let into the home where the checkout is: the program comes as stdin.
fn command_of_user(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/fd/0");
    command.stdin(program()).uid(USER).gid(USER);
    without_settings(command, arguments)
}

fn program() -> File {
    File::open(env!("CARGO_BIN_EXE_mtasts")).unwrap()
}

fn without_settings(mut command: Command, arguments: &[&str]) -> Command {
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
