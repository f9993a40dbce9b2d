//! `mtasts check` and what is around it: strangers, the terminal, root, the environment.

use std::os::unix::fs::chown;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use mtasts_lab::{Change, Https};
use serde_json::json;

use crate::check::on_the_internet;
use crate::terminal::on_a_terminal;
use crate::{Ran, command, mtasts};

/// The text of strangers comes through DNS, HTTPS and SMTP alike.
#[test]
fn strangers_do_not_steer_the_terminal() {
    on_the_internet("escape", |lab, _| {
        let evil = "\u{1b}]0;evil\u{7}\u{202e}";
        lab.set(
            "good.test",
            Change::publish("7", format!("version: STSv1\nmode: {evil}\n")),
        )
        .expect("a change");
        lab.set(
            "good.test",
            Change {
                txt: Some(vec!["v=STSv1; id=7;".into(), evil.into()]),
                ..Change::default()
            },
        )
        .expect("a change");
        let (status, text) = on_a_terminal("check good.test", &[]);
        assert_eq!(status, 1);
        assert!(text.contains("\\u{1b}]0;evil\\u{7}\\u{202e}\r\n"), "{text:?}");
        assert!(text.contains("mode: \\u{1b}]0;evil"), "{text:?}");
        assert!(!text.contains("\u{1b}]0") && !text.contains('\u{202e}'), "{text:?}");
        let ran = mtasts(&["check", "good.test", "--json"]);
        assert_eq!(ran.json()["record"]["txt"][1], json!(evil));
        assert!(!ran.out.contains('\u{1b}'), "{ran:?}");
    });
}

#[test]
fn something_goes_on_where_somebody_watches() {
    on_the_internet("spinner", |lab, _| {
        lab.set("good.test", Change::https(Https::Drip)).expect("a change");
        let (_, text) = on_a_terminal("check good.test", &[]);
        assert!(
            text.contains("asking about good.test: waiting for the policy (1s)"),
            "{text:?}"
        );
        let (_, text) = on_a_terminal("check good.test 2>/dev/null", &[]);
        assert!(text.contains("Result") && !text.contains("asking about"), "{text:?}");
        assert_eq!(mtasts(&["check", "good.test"]).err, "");
    });
}

/// The real, effective and saved user, while the command waits for a host that never answers.
fn users_while_it_waits() -> String {
    let mut child = command(&["check", "blackhole.test"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.as_mut().expect("the command");
    let status = format!("/proc/{}/task", child.id());
    let until = Instant::now() + Duration::from_secs(5);
    let users = loop {
        // Threads ask the network: once there are some, look at the user of each.
        let threads: Vec<_> = std::fs::read_dir(&status).expect("procfs").flatten().collect();
        if threads.len() > 1 {
            let users = threads.iter().filter_map(|thread| {
                let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
                let wanted = |line: &&str| {
                    ["Uid:", "Gid:", "Groups:", "CapEff:"]
                        .iter()
                        .any(|key| line.starts_with(key))
                };
                Some(
                    status
                        .lines()
                        .filter(wanted)
                        .collect::<Vec<_>>()
                        .join(" ")
                        .replace('\t', " "),
                )
            });
            let mut users: Vec<String> = users.collect();
            users.sort();
            users.dedup();
            break users.join(" | ");
        }
        assert!(Instant::now() < until, "no thread asks the network");
        thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(child.wait().expect("the command").code(), Some(1));
    users
}

/// Root never talks to the network (the settings are read before).
#[test]
fn root_gives_itself_up() {
    on_the_internet("root", |_, cache| {
        let of = |id: u32| {
            format!("Uid: {id} {id} {id} {id} Gid: {id} {id} {id} {id} Groups: {id}  CapEff: 0000000000000000")
        };
        // The lab's cache directory is root's.
        assert_eq!(users_while_it_waits(), of(65_534));
        chown(cache, Some(4711), Some(4711)).expect("root");
        assert_eq!(users_while_it_waits(), of(4711));
    });
}

/// In a program of root the environment is another user's.
#[test]
fn the_environment_of_root_is_ignored() {
    on_the_internet("environment", |_, cache| {
        let mut command = command(&["check", "good.test"]);
        command
            .env("MTASTS_CONFIG", "/no/such/file")
            .env("MTASTS_CACHE_DIR", cache);
        let ran = Ran::from(command.output().expect("the command"));
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    });
}
