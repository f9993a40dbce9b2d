//! A reporter that dies anywhere.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;
use std::time::Duration;

use mtasts_kit::{USER, until};

use super::world::World;

/// How many mails there are for each domain. The program writes a mail under another name first.
fn copies(world: &World) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for file in fs::read_dir(world.path("mail")).unwrap() {
        let Ok(mail) = fs::read_to_string(file.unwrap().path()) else {
            continue;
        };
        let domain = mail.lines().find_map(|line| line.strip_prefix("TLS-Report-Domain: "));
        *copies.entry(domain.expect("a whole header").to_owned()).or_default() += 1;
        assert!(
            mail.ends_with("--\n") || mail.ends_with("--\n\n"),
            "a whole mail: {mail}"
        );
    }
    copies
}

/// The reporter is killed again and again: each report arrives once, or twice, and then that was said. Three hundred times with
/// KILL_POINTS=300.
#[test]
fn a_reporter_that_is_killed_sends_no_report_a_third_time() {
    const DOMAINS: usize = 30;
    let points: u64 = std::env::var("KILL_POINTS").map_or(30, |points| points.parse().unwrap());
    let names: Vec<String> = (0..DOMAINS).map(|n| format!("d{n}.test")).collect();
    let records: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "v=TLSRPTv1; rua=mailto:reports@mail.test"))
        .collect();
    let world = World::new("killed", &records);
    world.sessions(&names.iter().map(String::as_str).collect::<Vec<_>>());
    world.mailer("cat > \"$MAILS/../part.$$\" && mv \"$MAILS/../part.$$\" \"$MAILS/$$\"");
    fs::set_permissions(&world.directory, Permissions::from_mode(0o777)).unwrap();
    let (mut killed, mut rounds, mut twice) = (0, 0, 0);
    while killed < points {
        rounds += 1;
        let mut said = String::new();
        for patience in 0.. {
            let mut run = world.command();
            let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // Each time a little later, from the start of the process to its end.
            std::thread::sleep(Duration::from_micros(1500 * (1 + patience) + killed * 137 % 1500));
            let ended = run.try_wait().unwrap().is_some();
            run.kill().unwrap();
            let ran = run.wait_with_output().unwrap();
            said += &String::from_utf8_lossy(&ran.stderr);
            // A program for mails that is about to begin has the lock of the one that was killed for a moment.
            let waits = said.ends_with("another process is sending the reports\n");
            if ended && !waits {
                assert!(ran.status.success(), "{ran:?}");
                break;
            }
            killed += 1;
        }
        let is_part =
            |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().to_str().unwrap().starts_with("part.");
        until("the last mails", || {
            !fs::read_dir(&world.directory).unwrap().any(is_part)
        });
        std::thread::sleep(Duration::from_millis(100));
        let ledger = fs::read_to_string(world.ledger()).unwrap();
        let copies = copies(&world);
        for name in &names {
            let again = said.contains(&format!(
                " to {name} at mailto:reports@mail.test is sent again, and may arrive twice: "
            ));
            match copies.get(name) {
                Some(1) => {}
                Some(2) if again => twice += 1,
                other => panic!("{name} has {other:?} reports (sent again: {again})\n{said}\n{ledger}"),
            }
        }
        let left = fs::read_dir(world.path("cache"))
            .unwrap()
            .map(|file| file.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".mail-")).collect();
        assert!(left.is_empty(), "{left:?}");
        fs::remove_dir_all(world.path("mail")).unwrap();
        fs::create_dir(world.path("mail")).unwrap();
        chown(world.path("mail"), Some(USER), Some(USER)).unwrap();
        fs::remove_file(world.ledger()).unwrap();
    }
    println!("{killed} times killed, {rounds} times {DOMAINS} reports: {twice} twice");
}

/// The program for mails goes on without the reporter, and the next run knows what became of the mail.
#[test]
fn a_mail_that_was_taken_from_a_dead_reporter_is_not_sent_again() {
    let world = World::new("dead", &[("a.test", "v=TLSRPTv1; rua=mailto:r@a.test")]);
    world.sessions(&["a.test"]);
    world.mailer("cat > \"$MAILS/$$\"; until [ -e \"$MAILS/../go\" ]; do sleep 0.01; done");
    let mut run = world.command().stdout(Stdio::null()).spawn().unwrap();
    until("the mail", || fs::read_dir(world.path("mail")).unwrap().count() == 1);
    run.kill().unwrap();
    run.wait().unwrap();
    fs::write(world.path("go"), "").unwrap();
    let taken = |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().to_string_lossy().ends_with(".taken");
    until("its end", || fs::read_dir(world.path("cache")).unwrap().any(taken));
    let again = world.run();
    assert_eq!((again.status, &*again.err), (0, ""), "{again:?}");
    assert_eq!(copies(&world)["a.test"], 1);
    let ledger = fs::read_to_string(world.ledger()).unwrap();
    assert!(ledger.ends_with("\nsent a.test mailto:r@a.test .\n"), "{ledger}");
    assert!(!fs::read_dir(world.path("cache")).unwrap().any(taken));
}

/// Until the connection is up nothing is sent: a reporter that dies before sends the report once, and says nothing of it.
#[test]
fn a_reporter_that_dies_before_the_request_has_not_sent_it() {
    let world = World::new(
        "connecting",
        &[
            ("a.test", "v=TLSRPTv1; rua=https://good.test/"),
            ("good.test", "8.8.8.4"),
        ],
    );
    world.sessions(&["a.test"]);
    // It listens, and leaves the handshake unanswered.
    let silent = TcpListener::bind("8.8.8.4:443").unwrap();
    let mut run = world.command().stdout(Stdio::null()).spawn().unwrap();
    let connected = silent.accept().unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    drop((silent, connected));
    let ledger = fs::read_to_string(world.ledger()).unwrap();
    assert!(!ledger.contains("begun"), "{ledger}");
    world.publish("good.test", Some("8.8.8.1"));
    let again = world.run();
    assert_eq!((again.status, &*again.err), (0, ""), "{again:?}");
    assert_eq!(world.posted.lock().unwrap().len(), 1);
}

/// A disk that is full in the middle: the run ends there, and the next one sends the rest, each report once.
#[test]
fn a_full_disk_ends_a_run_and_doubles_nothing() {
    let names: Vec<String> = (0..60).map(|n| format!("d{n}.test")).collect();
    let records: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "v=TLSRPTv1; rua=mailto:reports@mail.test"))
        .collect();
    let world = World::new("full", &records);
    world.sessions(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let ran = world.run_within(8);
    assert!(
        ran.status == 2
            && ran
                .err
                .contains("the ledger of the reports cannot be used: File too large"),
        "{ran:?}"
    );
    let first = copies(&world).len();
    assert!((1..60).contains(&first), "{first}");
    let ran = world.run();
    assert_eq!(ran.status, 0, "{ran:?}");
    let copies = copies(&world);
    assert_eq!(copies.len(), 60);
    for (name, copies) in copies {
        let again = ran.err.contains(&format!(" to {name} at "));
        assert!(copies == 1 || (copies == 2 && again), "{name}: {copies}, {ran:?}");
    }
}
