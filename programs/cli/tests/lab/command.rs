//! `mtasts lab` as an operator meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const MTASTS: &str = env!("CARGO_BIN_EXE_mtasts");

fn lab_run(script: &str) -> Output {
    Command::new(MTASTS)
        .args(["lab", "run", "--", "sh", "-c", script])
        .env("MTASTS", MTASTS)
        .output()
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn the_command_sees_the_lab_and_the_host_stays_as_it_is() {
    let state = || {
        let files = [
            "/etc/resolv.conf",
            "/etc/nsswitch.conf",
            "/etc/ssl/certs/ca-certificates.crt",
            "/proc/self/mounts",
        ];
        let files = files.map(|file| fs::read(file).ok());
        (
            files,
            Path::new("/etc/mtasts").exists(),
            fs::read_link("/proc/self/ns/net").unwrap(),
        )
    };
    let before = state();
    let output = lab_run(
        "cat /etc/resolv.conf /etc/mtasts/mtasts.toml; grep hosts: /etc/nsswitch.conf; cat /etc/ssl/certs/*
         cmp $MTASTS_LAB_CA /etc/ssl/certs/ca-certificates.crt && echo same; ls -d $MTASTS_LAB_DIR/cache
         getent ahostsv4 mx.good.test; echo x > /etc/mtasts-was-here; exit 7",
    );
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let out = text(&output.stdout);
    assert!(
        out.contains("nameserver 198.18.0.53\noptions trust-ad timeout:2 attempts:1\n"),
        "{out}"
    );
    assert!(
        out.contains("allow_addresses = [\"198.18.0.0/15\", \"2001:2::/48\"]"),
        "{out}"
    );
    assert!(out.contains("hosts: files dns\n") && out.contains("\nsame\n"), "{out}");
    // The bundle, and the same certificate under its hash.
    assert_eq!(out.matches("BEGIN CERTIFICATE").count(), 2, "{out}");
    assert!(out.contains("198.18.2."), "{out}");
    let directory = out.lines().find_map(|line| line.strip_suffix("/cache")).unwrap();
    assert!(!Path::new(directory).exists(), "{directory}");
    assert!(!Path::new("/etc/mtasts-was-here").exists());
    assert_eq!(state(), before);
}

#[test]
fn a_symbolic_link_does_not_lead_out_of_the_private_etc() {
    // A lab inside of a lab: the outer one plays the host, whose resolv.conf is managed by somebody.
    let output = lab_run(
        "set -e; managed=$MTASTS_LAB_DIR/managed; echo kept > $managed; ln -sf $managed /etc/resolv.conf
         $MTASTS lab run -- cat /etc/resolv.conf; cat $managed; readlink /etc/resolv.conf",
    );
    let out = text(&output.stdout);
    assert!(
        output.status.success() && out.starts_with("nameserver 198.18.0.53\n"),
        "{output:?}"
    );
    assert!(out.contains("\nkept\n") && out.ends_with("/managed\n"), "{out}");
}

#[test]
fn openssl_finds_the_root_by_its_hash() {
    let output = lab_run("openssl verify -no-CAfile -CApath /etc/ssl/certs $MTASTS_LAB_CA");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_control_commands_reach_the_lab_around() {
    let output = lab_run(
        "set -e
         $MTASTS lab set txt-two.test txt='v=STSv1; id=a;' txt='v=STSv1; id=b;' policy='version: STSv1\\nmode: none\\nmax_age: 60\\n'
         $MTASTS lab set good.test mx=refused hosts=mx.good.test,mx2.good.test host=mx2.good.test
         $MTASTS lab counters --json; $MTASTS lab mail --json; $MTASTS lab reset
         ! $MTASTS lab set good.test mx=nonsense; ! $MTASTS lab set nowhere.test mx=ok; ! $MTASTS lab set good.test colour=red",
    );
    assert!(output.status.success(), "{output:?}");
    let errors = text(&output.stderr);
    assert!(
        errors.contains("\"nonsense\" is not one of: ok,") && errors.contains("nowhere.test"),
        "{errors}"
    );
    assert!(errors.contains("unknown field `colour`"), "{errors}");
    assert!(text(&output.stdout).contains("\"sessions\": []"), "{output:?}");
    let outside = Command::new(MTASTS)
        .args(["lab", "reset"])
        .env_remove("MTASTS_LAB")
        .output()
        .unwrap();
    assert!(
        !outside.status.success() && text(&outside.stderr).contains("MTASTS_LAB"),
        "{outside:?}"
    );
}

#[test]
fn no_process_survives() {
    let mark = format!("86400.{}", std::process::id());
    // Their output goes nowhere: a survivor must not keep us waiting at its pipe.
    let output = lab_run(&format!(
        "exec >/dev/null 2>&1; sleep {mark} & setsid sleep {mark} & (setsid sh -c 'sleep {mark} & sleep {mark}' &) ; exit 0"
    ));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn an_order_to_end_ends_all() {
    let mark = format!("86401.{}", std::process::id());
    let script = format!("setsid sleep {mark} >/dev/null & echo $MTASTS_LAB_DIR; exec sleep {mark} >/dev/null");
    let mut lab = Command::new(MTASTS)
        .args(["lab", "run", "--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| processes_with(&mark) == 2);
    // The shell's: a small system has no other.
    let kill = Command::new("sh")
        .args(["-c", &format!("kill {}", lab.id())])
        .status()
        .unwrap();
    assert!(kill.success());
    let status = lab.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 9), "the command was killed");
    assert_eq!(processes_with(&mark), 0);
    let mut directory = String::new();
    std::io::Read::read_to_string(&mut lab.stdout.take().unwrap(), &mut directory).unwrap();
    assert!(
        directory.starts_with('/') && !Path::new(directory.trim()).exists(),
        "{directory}"
    );
}

#[test]
fn a_command_that_does_not_exist_and_a_user_who_is_not_root_are_clear_errors() {
    let output = Command::new(MTASTS)
        .args(["lab", "run", "--", "/nonexistent"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("/nonexistent: No such file"),
        "{output:?}"
    );
    use std::os::unix::process::CommandExt;
    // The program may lie where only root may look: nobody gets a copy.
    let copy = std::env::temp_dir().join(format!("mtasts-nobody.{}", std::process::id()));
    // By another process: a child of ours that has it open for writing would keep it from being started.
    assert!(Command::new("cp").arg(MTASTS).arg(&copy).status().unwrap().success());
    let output = Command::new(&copy)
        .args(["lab", "run", "--", "true"])
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    fs::remove_file(&copy).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "mtasts lab: needs root: network namespaces\n");
}

#[test]
fn the_list_tells_people_and_programs_the_same() {
    let list = |arguments: &[&str]| {
        let output = Command::new(MTASTS)
            .args(["lab", "list"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success());
        text(&output.stdout)
    };
    let entries: serde_json::Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let entries = entries.as_array().unwrap();
    let find = |name: &str| entries.iter().find(|entry| entry["name"] == name).unwrap().clone();
    assert_eq!(find("expired.test")["result"], "certificate-expired");
    assert_eq!(
        find("mixed.test")["expect"]["deliver-verified"]["hosts"][0],
        "mx2.mixed.test"
    );
    let people = list(&[]);
    for entry in entries {
        let name = entry["name"].as_str().unwrap();
        let wrong = entry["wrong"].as_str().unwrap();
        assert!(
            people
                .lines()
                .any(|line| line.starts_with(name) && line.ends_with(wrong)),
            "{name}"
        );
    }
}

fn processes_with(mark: &str) -> usize {
    let sleeps = |entry: &fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\0") && text(&line).contains(mark)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(sleeps).count()
}

fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it never happened");
        std::thread::sleep(Duration::from_millis(20));
    }
}
