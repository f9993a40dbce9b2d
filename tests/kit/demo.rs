//! `make demo`: a real Exim with `examples/exim/exim.conf` sends one message to each of a dozen domains of the test
//! Internet, good and broken, and this prints what became of it. Needs root (for namespaces); the machine and its own
//! mail server, if it has one, are not touched.

#[path = "../exim/host.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod host;
#[path = "../exim/judge.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod judge;

use host::{Config, Host, Tls};
use judge::fate;
use mtasts_lab::judge::{End, Rules};
use mtasts_lab::{self as lab, Lab};
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs, process};

/// What most often goes wrong, and what must not be disturbed.
const DOMAINS: &[&str] = &[
    "good.test",
    "wild.test",
    "mixed.test",
    "nomatch.test",
    "expired.test",
    "selfsigned.test",
    "wrongname.test",
    "cnonly.test",
    "nostarttls.test",
    "stripped.test",
    "testing-expired.test",
    "https-404.test",
    "nopolicy-selfsigned.test",
    "plain.test",
];

fn main() -> ExitCode {
    let folder = env::temp_dir().join(format!("mtasts-demo-{}", process::id()));
    let done = fs::create_dir(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))
        .and_then(|()| demo(&folder));
    let _ = Command::new("umount").arg("--lazy").arg(&folder).status();
    let _ = fs::remove_dir_all(&folder);
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table; false if a row is wrong.
fn demo(folder: &Path) -> Result<bool, String> {
    // The download comes before the isolation, from which no network is left to reach.
    host::fetch(Tls::Gnu);
    lab::isolate(folder).map_err(|error| error.to_string())?;
    host::run(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=755", "mtasts-demo"])
            .arg(folder),
    );
    let lab = Lab::start(folder).map_err(|error| error.to_string())?;
    let exim = Host::start(folder, Tls::Gnu, &Config::Complete);
    let table = lab::table();
    let rules = Rules {
        dane: true,
        ..Rules::default()
    };

    println!("{:24} {:11} what is wrong there", "domain", "policy");
    println!("{:24} {:11} what Exim did", "", "");
    println!();
    let mut wrong = 0;
    for name in DOMAINS {
        let entry = table
            .iter()
            .find(|entry| entry.name == *name)
            .ok_or_else(|| format!("the lab has no {name}"))?;
        let to = format!("someone@{name}");
        let fate = fate(&to, &exim.send(&[&to]));
        let right = rules.wrong(entry, &fate, &lab.mail()).is_none();
        wrong += usize::from(!right);
        let host = fate.host.as_deref().unwrap_or("a host");
        let did = match fate.end {
            End::Verified => format!("delivered over verified TLS to {host}"),
            End::Delivered if fate.words.contains(" X=") => format!("delivered over unverified TLS to {host}"),
            End::Delivered => format!("delivered in clear to {host}"),
            End::Deferred | End::Bounced => format!("{}: {}", fate.end, fate.words),
        };
        println!("{:24} {:11} {}", entry.name, entry.policy, entry.wrong);
        println!("{:24} {:11} {} {did}", "", "", mark(right));
        if !right {
            println!("{:24} {:11} RFC 8461 asks: {}", "", "", entry.expect);
        }
    }
    println!();
    println!("{} of {} as RFC 8461 asks", DOMAINS.len() - wrong, DOMAINS.len());
    Ok(wrong == 0)
}

fn mark(right: bool) -> &'static str {
    match (right, stdout().is_terminal()) {
        (true, true) => "\x1b[32mOK\x1b[0m   ",
        (true, false) => "OK   ",
        (false, true) => "\x1b[31mWRONG\x1b[0m",
        (false, false) => "WRONG",
    }
}
