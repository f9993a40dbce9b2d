//! `mtasts cache` and what stands behind it: the real binary on the test Internet, as root and as an ordinary user.

use command::mtasts;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::sender::context::unix_now;
use mtasts::{Context, Domain, Entry, Settings};
use mtasts_lab::{self as lab, Lab};
use serde_json::Value;

#[path = "kit/command.rs"]
mod command;
#[path = "cache/exceptions.rs"]
mod exceptions;
#[path = "cache/look.rs"]
mod look;
#[path = "cache/many.rs"]
mod many;
#[path = "cache/pin.rs"]
mod pin;
#[path = "cache/refresh.rs"]
mod refresh;
#[path = "cache/transfer.rs"]
mod transfer;

/// The owner of the cache.
const USER: u32 = 65534;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A host on the test Internet, with a cache.
struct Host {
    lab: Lab,
    cache: PathBuf,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    /// The one JSON object on stdout.
    fn json(&self) -> Value {
        let [object] = &self.lines()[..] else {
            panic!("{self:?}")
        };
        object.clone()
    }

    /// The JSON objects on stdout, one a line.
    fn lines(&self) -> Vec<Value> {
        assert!(self.out.is_ascii(), "{self:?}");
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}")))
            .collect()
    }
}

/// Runs a test on a test Internet of its own, in a directory of its own.
fn on_the_internet(name: &str, test: impl FnOnce(&Host) + Send + 'static) {
    let dir = std::env::temp_dir().join(format!("mtasts-cache-{}-{name}", std::process::id()));
    let at = dir.clone();
    // A thread of its own, because its namespaces are for good.
    let run = move || {
        lab::isolate(&at).unwrap();
        let host = Host {
            lab: Lab::start(&at).unwrap(),
            cache: at.join("cache"),
        };
        host.own(&host.cache);
        host.mode(0o2770);
        test(&host);
    };
    thread::spawn(run).join().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
}

impl Host {
    fn own(&self, path: &Path) {
        chown(path, Some(USER), Some(USER)).unwrap();
    }

    fn mode(&self, mode: u32) {
        std::fs::set_permissions(&self.cache, PermissionsExt::from_mode(mode)).unwrap();
    }

    /// Adds lines to the settings of the host.
    fn set(&self, lines: &str) {
        let file = Path::new("/etc/mtasts/mtasts.toml");
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, format!("{text}{lines}\n")).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings::of_host(|_| None).unwrap()
    }

    /// A mail for the domain, from a new process.
    fn lookup(&self, domain: &str) -> std::sync::Arc<mtasts::Answer> {
        Context::new(self.settings())
            .lookup(&Domain::parse(domain).unwrap(), Duration::from_secs(12))
            .unwrap()
    }

    fn entry(&self, domain: &str) -> Option<Entry> {
        let domain = Domain::parse(domain).unwrap();
        Store::new(self.cache.clone()).load(&domain).unwrap()
    }

    /// Changes what the cache holds for a domain: time, as a rule.
    fn change(&self, domain: &str, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.entry(domain).unwrap();
        change(&mut entry);
        Store::new(self.cache.clone()).save(&entry).unwrap();
        self.own(&self.cache.join(domain));
    }

    /// The policy was fetched so many seconds ago.
    fn age(&self, domain: &str, seconds: u64) {
        self.change(domain, |entry| {
            let held = entry.held.as_ref().unwrap();
            let held = mtasts::cache::entry::Held::new(held.id, unix_now() - seconds, held.text.as_str());
            entry.held = Some(held.unwrap().into());
        });
    }

    fn fetched(&self, domain: &str) -> u64 {
        self.entry(domain).unwrap().held.unwrap().fetched
    }

    fn asked(&self, domain: &str) -> u64 {
        let counters = self.lab.counters();
        counters.https.get(&format!("mta-sts.{domain}")).copied().unwrap_or(0)
    }

    /// `mtasts cache ...`, as root.
    fn cache(&self, arguments: &str) -> Ran {
        command(Path::new(mtasts()), arguments).output().unwrap().into()
    }

    fn cache_with_input(&self, arguments: &str, input: &str) -> Ran {
        let mut command = command(Path::new(mtasts()), arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = thread::spawn(move || std::io::Write::write_all(&mut pipe, input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        // It may have read enough before the end.
        let _ = writer.join().unwrap();
        output.into()
    }

    /// `mtasts cache ...`, as another user, in the group of the cache. The sources may lie where he cannot read.
    fn cache_as(&self, user: u32, arguments: &str) -> Ran {
        let copy = self.cache.with_file_name("mtasts");
        if !copy.exists() {
            // By another process: a child of ours that has it open for writing would keep it from being started.
            let copied = Command::new("cp").arg(mtasts()).arg(&copy).status().unwrap();
            assert!(copied.success());
        }
        command(&copy, arguments).uid(user).gid(USER).output().unwrap().into()
    }
}

fn command(program: &Path, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("cache").args(arguments.split_whitespace()).current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for variable in ["NO_COLOR", "MTASTS_CONFIG", "MTASTS_CACHE_DIR"] {
        command.env_remove(variable);
    }
    command
}
