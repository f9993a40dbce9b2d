//! `make test` runs every part, whatever becomes of one of them, and says so at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_part_that_fails_keeps_no_other_from_running() {
    let here = std::env::temp_dir().join(format!("mtasts-runner-{}", std::process::id()));
    let place = here.join("tests/run");
    fs::create_dir_all(&place).unwrap();
    for file in ["ready.sh", "as-root.sh"] {
        let from = format!("{}/tests/run/{file}", env!("CARGO_MANIFEST_DIR"));
        fs::copy(from, place.join(file)).unwrap();
    }
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        here.join("Cargo.toml"),
    )
    .unwrap();
    // The parts take an hour: these take their place, in the script as it is.
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run/run.sh")).unwrap();
    let parts = "ready() { :; }\npart_rust() { echo \"panicked at a.rs:1:\nwhy\"; seq 99; false; echo NOT REACHED; }\n\
                 part_node() { sleep 30 & echo node runs; }\n";
    let start = script.find("command=${1").expect("where the script begins to work");
    let runner = place.join("run.sh");
    fs::write(&runner, format!("{}{parts}{}", &script[..start], &script[start..])).unwrap();
    fs::set_permissions(&runner, PermissionsExt::from_mode(0o755)).unwrap();
    for jobs in ["1", "2"] {
        let run = |parts: &[&str]| {
            let mut bash = Command::new("bash");
            bash.arg(&runner).arg("test").args(parts).env("JOBS", jobs);
            let output = bash.output().unwrap();
            (String::from_utf8(output.stdout).unwrap(), output.status.code())
        };
        // The part `node` leaves a process behind that has its output.
        let begun = Instant::now();
        let (said, status) = run(&["rust", "node"]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{said}");
        let row = |part: &str, result: &str| {
            said.lines()
                .any(|line| line.split_whitespace().take(2).eq([part, result]))
        };
        assert!(!said.contains("NOT REACHED") && said.contains("node runs"), "{said}");
        let summary = said.split("== rust failed:").nth(1).unwrap_or_default();
        assert!(summary.contains("panicked at a.rs:1:\nwhy\n"), "{said}");
        assert!(
            row("rust", "FAILED") && row("node", "passed") && row("all", "FAILED"),
            "{said}"
        );
        assert_eq!(status, Some(1), "{said}");
        assert_eq!(run(&["node"]).1, Some(0));
        assert_eq!(run(&["nosuch"]).1, Some(1));
    }
    fs::remove_dir_all(&here).unwrap();
}

/// Where a variable is not set, `$(CHECK) --all` is the command `--all`: make takes the hyphen for its own sign that the
/// command may fail.
#[test]
fn no_target_uses_a_variable_that_is_not_set() {
    let targets = "all install uninstall test demo ready lint deny msrv release deb reproducible packages-test pages exim-versions fresh bench soak";
    let mut make = Command::new("make");
    make.args(["-n", "--warn-undefined-variables"])
        .args(targets.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs(["CARGO_TARGET_DIR", "PARTS", "SEED"].map(|name| (name, "target")))
        .env("DESTDIR", "");
    let output = make.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("undefined variable"), "{said}");
}

/// A program that says this.
fn program(path: &Path, says: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\necho {says}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// On Ubuntu 24.04 the Rust that is new enough is not on PATH, and one on PATH is too old. README and pages call each of these.
#[test]
fn each_makefile_finds_a_rust_that_is_new_enough() {
    let here = std::env::temp_dir().join(format!("mtasts-rust-{}", std::process::id()));
    let program = |path: &str, says: &str| program(&here.join(path), says);
    for (folder, version) in [("old", "1.75.0"), ("home/bin", "1.99.0")] {
        program(&format!("{folder}/cargo"), &format!("cargo {version}"));
        program(&format!("{folder}/rustc"), &format!("rustc {version}"));
    }
    for makefile in [".", "bindings/node", "bindings/python"] {
        let output = Command::new("make")
            .args([
                "--silent",
                "-C",
                makefile,
                "--eval=version: ; @cargo --version",
                "version",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("CARGO")
            .env("CARGO_HOME", here.join("home"))
            .env("PATH", format!("{}:/usr/bin:/bin", here.join("old").display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("cargo 1.99.0\n"), "{makefile}: {said}");
    }
    fs::remove_dir_all(&here).unwrap();
}

#[test]
fn what_brings_node_along_brings_no_other_rust_to_the_front() {
    let here = std::env::temp_dir().join(format!("mtasts-path-{}", std::process::id()));
    let program = |path: &str, says: &str| program(&here.join(path), says);
    program("rust/cargo", "cargo 1.99.0");
    program("rust/rustc", "rustc 1.99.0");
    // As in a /usr/bin with Node.js and the distribution's Rust.
    program("system/cargo", "cargo 1.98.0");
    program("system/rustc", "rustc 1.98.0");
    program("system/node", "v99.0.0");
    program("system/npm", "99.0.0");
    let path = ["rust", "system"].map(|folder| here.join(folder).display().to_string());
    let mut bash = Command::new("bash");
    bash.args(["-euc", ". tests/run/ready.sh; find_rust; find_node; rustc; node"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("CARGO")
        .env("PATH", format!("{}:{}", path.join(":"), std::env::var("PATH").unwrap()));
    let output = bash.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "rustc 1.99.0\nv99.0.0\n");
    fs::remove_dir_all(&here).unwrap();
}
