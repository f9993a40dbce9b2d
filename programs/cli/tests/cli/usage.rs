//! What is asked wrongly: exit status 2, a sentence on stderr, nothing on stdout.

use std::fs::File;
use std::process::Stdio;

use crate::{Ran, command, mtasts, mtasts_with_input};
use mtasts_kit::pki::{self, Directory};

#[test]
fn wrong_usage() {
    let directory = Directory::new("cli-usage");
    let roots = directory.write("roots.pem", pki::root("Root").pem());
    let roots = roots.to_str().expect("a path");
    let empty = directory.write("empty.pem", "");
    let empty = empty.to_str().expect("a path");
    for (arguments, words) in [
        (&[][..], "Usage: mtasts"),
        (&["chek", "example.com"], "unrecognized subcommand"),
        (&["lint"], "Usage: mtasts lint"),
        (&["lint", "record"], "<TXT>"),
        (&["lint", "record", "--jason", "x"], "--jason"),
        (&["lint", "policy"], "<FILE>"),
        (
            &["lint", "policy", "/no/such/file"],
            "mtasts: /no/such/file: No such file or directory",
        ),
        (
            &["lint", "policy", "--json", "/no/such/file"],
            "mtasts: /no/such/file: No such file or directory",
        ),
        (&["lint", "policy", "/"], "mtasts: /: Is a directory"),
        (&["match", "mx.example.com"], "<PATTERN>"),
        (&["certificate", "mx.example.com"], "<CHAIN>"),
        (
            &["certificate", "mx.example.com", "/no/such/file", "--roots", roots],
            "/no/such/file: No such file",
        ),
        (
            &["certificate", "mx.example.com", roots, "--roots", "/no/such/file"],
            "/no/such/file",
        ),
        (&["certificate", "mx.example.com", roots, "--roots", empty], empty),
        (&["certificate", "mx.example.com", roots, "--at", "today"], "--at"),
        (&["check"], "<DOMAIN>"),
        (&["check", "[192.0.2.1]"], "an IP address has no MTA-STS policy"),
        (
            &["check", "a b"],
            "\"a b\" is not a domain: the character ' ' cannot be part of a host name",
        ),
        (
            &["check", "example.com", "--timeout", "soon"],
            "--timeout: \"soon\" is not a duration such as 30s",
        ),
        (&["match", "a", "b", "--color", "red"], "--color"),
        (&["lint", "policy", "-", "--json", "--fix"], "cannot be used with"),
        (&["completions", "cmd"], "<SHELL>"),
    ] {
        let ran = mtasts(arguments);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
    }
}

/// The settings file that the environment names, by an ordinary user.
#[test]
fn settings_that_cannot_be_read() {
    let directory = Directory::new("cli-settings");
    std::fs::set_permissions(directory.root(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own");
    let settings = directory.write("mtasts.toml", "timeout = 'soon'\n");
    let binary = directory.path("mtasts");
    // A copy that everybody can reach; made by another process, because a descriptor to write that a test's child
    // inherits meanwhile would keep it from running ("Text file busy").
    let mut copy = std::process::Command::new("cp");
    assert!(
        copy.arg(env!("CARGO_BIN_EXE_mtasts"))
            .arg(&binary)
            .status()
            .expect("cp")
            .success()
    );
    let as_nobody = |settings: &std::path::Path| {
        let mut command = std::process::Command::new(&binary);
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        command.args(["check", "example.com"]).env("MTASTS_CONFIG", settings);
        Ran::from(command.output().expect("the command; this test needs root"))
    };
    let ran = as_nobody(&settings);
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    assert_eq!(
        ran.err,
        format!(
            "mtasts: {}: timeout: \"soon\" is not a duration such as 30s, 5m, 1h or 1d\n",
            settings.display()
        )
    );
    let no_roots = directory.write("no-roots.toml", "ca_file = '/no/such/file'\n");
    let ran = as_nobody(&no_roots);
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("/no/such/file"), "{ran:?}");
}

#[test]
fn help_and_version() {
    let version = mtasts(&["--version"]);
    assert_eq!(
        (version.status, version.out),
        (0, format!("mtasts {}\n", env!("CARGO_PKG_VERSION")))
    );
    for (arguments, words) in [
        (&["--help"][..], "Exit status: 0 good, 1 bad, 2 usage"),
        (&["help", "check"], "The cache is neither read nor written"),
        (&["check", "--help"], "<DOMAIN>"),
        (
            &["lint", "record", "--help"],
            "{\"outcome\":\"valid\",\"id\":..} or {\"outcome\":\"none\",\"reason\":..}",
        ),
        (&["lint", "policy", "--help"], "\"-\" reads the policy from stdin"),
        (&["match", "--help"], "exactly one label"),
        (&["certificate", "--help"], "[default: those of the system]"),
    ] {
        let help = mtasts(arguments);
        assert_eq!((help.status, help.err.as_str()), (0, ""), "{arguments:?}");
        assert!(help.out.contains(words), "{arguments:?}: {}", help.out);
        assert!(help.out.lines().all(|line| line.len() <= 120), "{}", help.out);
    }
}

/// `mtasts lint policy - | head -0` says nothing more, and keeps its exit status.
#[test]
fn a_reader_that_leaves() {
    for (policy, status) in [(&b"version: STSv1\nmode: none\nmax_age: 1\n"[..], 0), (b"x", 1)] {
        let mut command = command(&["lint", "policy", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command");
        drop(child.stdout.take());
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), policy).expect("a reader");
        let ran = Ran::from(child.wait_with_output().expect("the command"));
        assert_eq!(
            ran,
            Ran {
                status,
                out: String::new(),
                err: String::new()
            }
        );
    }
}

#[test]
fn output_that_is_lost() {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let ran = command(&["match", "a.example", "a.example", "--json"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn();
    let ran = Ran::from(ran.expect("the command").wait_with_output().expect("the command"));
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (2, "mtasts: stdout: No space left on device (os error 28)\n")
    );
    // No stdout at all: there is nobody to tell, but the exit status.
    for (record, status) in [("v=STSv1; id=a", 0), ("x", 1)] {
        let mut shell = std::process::Command::new("sh");
        shell.args([
            "-c",
            "exec \"$0\" lint record \"$1\" >&- 2>&-",
            env!("CARGO_BIN_EXE_mtasts"),
            record,
        ]);
        assert_eq!(shell.status().expect("sh").code(), Some(status));
    }
}

#[test]
fn a_policy_without_end() {
    // Three times the longest policy: it is refused after the first octet too many.
    let ran = mtasts_with_input(&["lint", "policy", "-", "--json"], &vec![b'a'; 3 * 65_536]);
    assert_eq!((ran.status, ran.json()["reason"].as_str()), (1, Some("too-large")));
    let ran = mtasts(&["lint", "policy", "/dev/zero", "--json"]);
    assert_eq!((ran.status, ran.json()["reason"].as_str()), (1, Some("too-large")));
}
