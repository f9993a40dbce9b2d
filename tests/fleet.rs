//! One cache for a fleet: hosts on the test Internet that share what they fetch by a real Valkey or Redis server, and what
//! becomes of them without it.
//!
//! Debian packages: redis-server.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use mtasts::cache::Cache as _;
use mtasts::cache::entry::Entry;
use mtasts::cache::store::Store;
use mtasts::{Answer, Resolver};
use mtasts_kit::valkey::{Valkey, key_file};
use mtasts_kit::{Internet, USER, name, on_the_internet_with_crowd, settings};

#[path = "fleet/command.rs"]
mod command;
#[path = "fleet/forged.rs"]
mod forged;
#[path = "fleet/kept.rs"]
mod kept;
#[path = "fleet/proof.rs"]
mod proof;
#[path = "fleet/server.rs"]
mod server;
#[path = "fleet/shared.rs"]
mod shared;
#[path = "fleet/weather.rs"]
mod weather;

const KEY: &str = "key aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n";

/// Runs a test on a test Internet with so many domains more. The server has 150 ms for a lookup: if this machine was too busy
/// for that, the test is run once more. A proof at its full size (`make fleet`) has one run.
fn on_a_fleet(name: &str, crowd: u16, test: impl Fn(&Internet) + Send + Sync + 'static) {
    let test = Arc::new(test);
    for attempt in 1.. {
        let (before, again) = (late(), test.clone());
        let run = || on_the_internet_with_crowd(name, crowd, move |internet| again(internet));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(()) => return,
            Err(panic) if late() == before || attempt == 5 || is_large() => resume_unwind(panic),
            Err(_) => println!("{name}: once more, the server was late"),
        }
    }
}

/// Where all processes of this test note that the server was late: a file without a name, which a fork has too.
fn late_file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("mtasts-fleet-late-{}", std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file
    })
}

/// Notes that the server was late, if a line of a log says so.
fn note_late(line: &str) {
    if line.contains(" in time") {
        let mut late = late_file();
        late.write_all(b"x").unwrap();
    }
}

fn late() -> u64 {
    late_file().metadata().unwrap().len()
}

/// The hosts of a fleet: each has a disk of its own, and all have one server.
struct Fleet {
    directory: PathBuf,
    address: String,
    key: PathBuf,
    /// What the log of each host has.
    told: Arc<Mutex<Vec<String>>>,
}

impl Fleet {
    fn at(internet: &Internet, address: String) -> Self {
        let directory = internet.lab.directory().join("hosts");
        fs::create_dir_all(&directory).unwrap();
        let key = directory.join("key");
        key_file(&key, KEY);
        Self {
            directory,
            address,
            key,
            told: Arc::default(),
        }
    }

    /// A server, and hosts that know it.
    fn with_server(internet: &Internet) -> (Valkey, Self) {
        let server = Valkey::start(&internet.lab.directory().join("valkey"), &[]);
        let address = server.address();
        (server, Self::at(internet, address))
    }

    fn disk(&self, host: &str) -> PathBuf {
        let disk = self.directory.join(host);
        if !disk.exists() {
            fs::create_dir(&disk).unwrap();
            std::os::unix::fs::chown(&disk, Some(USER), Some(USER)).unwrap();
        }
        disk
    }

    /// A new process of a host.
    fn host(&self, host: &str) -> Resolver {
        self.host_with(host, &[])
    }

    fn host_with(&self, host: &str, settings_too: &[(&str, &str)]) -> Resolver {
        let more = [
            ("fleet", self.address.as_str()),
            ("fleet_key_file", self.key.to_str().unwrap()),
            ("txt_life_min", "0s"),
            ("txt_life_max", "0s"),
        ];
        let more = [&more, settings_too].concat();
        let told = self.told.clone();
        Resolver::with_log(settings(&self.disk(host), &more), move |line| {
            note_late(line);
            told.lock().unwrap().push(line.to_owned());
        })
    }

    fn entry(&self, host: &str, domain: &str) -> Option<Entry> {
        Store::new(self.disk(host)).load(&name(domain)).unwrap()
    }

    /// What was told of the fleet since the last time, and not of a domain.
    fn told(&self) -> Vec<String> {
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.retain(|line| !line.contains("[policy-"));
        told
    }
}

fn id(answer: &Answer) -> Option<&str> {
    answer.cached().map(|cached| cached.id.as_str())
}

/// How large a proof is: as the environment says, or short.
fn size(name: &str, short: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(short, |number| number.parse().expect(name))
}

fn is_large() -> bool {
    std::env::var_os("FLEET_HOSTS").is_some()
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}
