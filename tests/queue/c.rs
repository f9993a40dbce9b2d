//! The queue from C: bare, under valgrind and under helgrind.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mtasts_kit::command::library;
use mtasts_kit::{Internet, USER, on_the_internet};
use mtasts_lab::{Change, Https};

/// Compiles a program without mercy, in a place where the ordinary user can run it.
fn compile(internet: &Internet, source: &str) -> PathBuf {
    let place = internet.lab.directory();
    std::fs::copy(library(), place.join("libmtasts.so.1")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = place.join(Path::new(source).file_stem().unwrap());
    let output = Command::new("gcc")
        .args([
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-O1",
            "-g",
            "-pthread",
            "-I",
        ])
        .args([&root.join("include"), Path::new("-o"), &program, &root.join(source)])
        .arg(place.join("libmtasts.so.1"))
        .arg("-Wl,-rpath,$ORIGIN")
        .output()
        .expect("gcc is missing: apt-get install gcc libc6-dev");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    program
}

/// Runs a program as the ordinary user, bare or under one of valgrind's tools, and gives what it prints. It has to end
/// well and to complain of nothing.
fn run_program(internet: &Internet, tool: Option<&[&str]>, program: &Path, arguments: &[&str], input: &str) -> String {
    let place = internet.lab.directory();
    std::fs::write(place.join("input"), input).unwrap();
    let mut command = match tool {
        None => Command::new(program),
        Some(tool) => {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--error-exitcode=99", "--fair-sched=yes"]);
            valgrind.args(tool);
            if tool == HELGRIND {
                // A copy: Debian 13 lets nobody else into the home where the checkout is.
                let known = place.join("helgrind.supp");
                std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/helgrind.supp"), &known).unwrap();
                valgrind.arg(format!("--suppressions={}", known.display()));
            }
            valgrind.arg(program);
            valgrind
        }
    };
    let output = command
        .args(arguments)
        .uid(USER)
        .gid(USER)
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(std::fs::File::open(place.join("input")).unwrap())
        .output()
        .expect("valgrind is missing: apt-get install valgrind");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{command:?}: {}\n{complaints}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Without uninitialised values: valgrind takes the tag of AES-GCM for one, which ring computes in assembly.
const MEMCHECK: &[&str] = &[
    "--leak-check=full",
    "--undef-value-errors=no",
    "--show-leak-kinds=definite",
    "--errors-for-leak-kinds=definite",
];
const HELGRIND: &[&str] = &["--tool=helgrind"];

#[test]
fn a_c_program_meets_the_queue() {
    on_the_internet("c", |internet| {
        internet
            .lab
            .set("downfirst.test", Change::https(Https::BlackHole))
            .unwrap();
        let program = compile(internet, "tests/c/queue.c");
        let cache = internet.cache.to_str().unwrap();
        for tool in [None, Some(MEMCHECK), Some(HELGRIND)] {
            internet.empty_cache();
            assert_eq!(run_program(internet, tool, &program, &[cache], ""), "");
        }
    });
}

#[test]
fn the_example_in_c_looks_many_domains_up_at_once() {
    on_the_internet("example", |internet| {
        internet
            .lab
            .set("downfirst.test", Change::https(Https::BlackHole))
            .unwrap();
        let program = compile(internet, "examples/c/poll.c");
        // Under helgrind a lookup takes seconds, and on a busy machine many.
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/c/poll.c");
        let text = std::fs::read_to_string(example).unwrap();
        let patient = internet.lab.directory().join("patient.c");
        std::fs::write(&patient, text.replace("TIME_LIMIT_MS = 10000", "TIME_LIMIT_MS = 40000")).unwrap();
        let patient = compile(internet, patient.to_str().unwrap());
        for (tool, program) in [(None, &program), (Some(MEMCHECK), &program), (Some(HELGRIND), &patient)] {
            internet.empty_cache();
            let input = "downfirst.test\ngood.test\nGOOD.test.\n192.0.2.1\na..b\nnopolicy.test\n";
            let said = run_program(internet, tool, program, &[], input);
            let mut lines: Vec<&str> = said.lines().collect();
            assert_eq!(lines.len(), 6, "{said}");
            assert!(lines[5].starts_with("mail 1: "), "the slow one comes last:\n{said}");
            assert!(lines[5].contains("cannot tell whether downfirst.test"), "{said}");
            lines.sort_unstable();
            assert!(lines[1].contains("good.test") && lines[1].contains("enforce"), "{said}");
            assert!(lines[2].contains("good.test") && lines[2].contains("enforce"), "{said}");
            assert!(
                lines[3].contains("no policy is possible: \"192.0.2.1\" is not"),
                "{said}"
            );
        }
    });
}
