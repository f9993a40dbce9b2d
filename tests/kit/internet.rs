//! A host on a test Internet: one for each test, in a directory and in namespaces of its own.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mtasts::cache::Cache as _;
use mtasts::cache::entry::Entry;
use mtasts::cache::store::Store;
use mtasts::{Answer, Domain, Resolver, Settings};
use mtasts_lab::{self as lab, Lab};

/// The longest that a mail of these tests waits for its answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The settings file of the host, in its private `/etc`.
const SETTINGS_FILE: &str = "/etc/mtasts/mtasts.toml";

/// The host: its Internet, its cache, which belongs to [`crate::USER`], and its settings.
pub struct Internet {
    /// The test Internet around the host.
    pub lab: Lab,
    /// The cache directory.
    pub cache: PathBuf,
    more: Vec<(&'static str, &'static str)>,
}

/// Runs a test on a test Internet of its own.
///
/// # Panics
/// As the test does, and without root.
pub fn on_the_internet(name: &str, test: impl FnOnce(&Internet) + Send + 'static) {
    on_the_internet_with(name, &[], test);
}

/// The same, with these settings besides the lab's.
///
/// # Panics
/// As the test does, and without root.
pub fn on_the_internet_with(
    name: &str,
    more: &[(&'static str, &'static str)],
    test: impl FnOnce(&Internet) + Send + 'static,
) {
    run(name, 0, more, test);
}

/// The same, with so many ordinary domains besides the lab's: `many0.test` and so on.
///
/// # Panics
/// As the test does, and without root.
pub fn on_the_internet_with_crowd(name: &str, crowd: u16, test: impl FnOnce(&Internet) + Send + 'static) {
    run(name, crowd, &[], test);
}

fn run(name: &str, crowd: u16, more: &[(&'static str, &'static str)], test: impl FnOnce(&Internet) + Send + 'static) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("mtasts-{}-{number}-{name}", std::process::id()));
    let (at, more) = (directory.clone(), more.to_vec());
    // A thread of its own, because its namespaces are for good. Processes that it starts are in them too.
    let run = move || {
        let mut internet = Internet::with_crowd(&at, crowd);
        for (key, value) in &more {
            internet.set(&format!("{key} = \"{value}\""));
        }
        internet.more = more;
        test(&internet);
    };
    let passed = thread::spawn(run).join();
    let _ = fs::remove_dir_all(&directory);
    passed.unwrap_or_else(|panic| resume_unwind(panic));
}

/// The settings of a program on the test Internet that reads no file.
pub fn settings(cache: &Path, more: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    settings.set("cache_dir", cache.to_str().unwrap()).unwrap();
    settings.set("allow_addresses", "198.18.0.0/15 2001:2::/48").unwrap();
    // tests/fleet/again.sh runs tests once more with one. Each cache has keys of its own there.
    if let (Ok(address), Ok(key)) = (
        std::env::var("MTASTS_TEST_FLEET"),
        std::env::var("MTASTS_TEST_FLEET_KEY"),
    ) {
        let mut hash = DefaultHasher::new();
        cache.hash(&mut hash);
        settings.set("fleet_prefix", &format!("{:x}:", hash.finish())).unwrap();
        settings.set("fleet_key_file", &key).unwrap();
        settings.set("fleet", &address).unwrap();
    }
    for (key, value) in more {
        settings.set(key, value).unwrap();
    }
    settings
}

/// The same for a test that loses what is on the disk and counts on a fetch: if tests/fleet/again.sh runs it, the fleet has
/// nothing under the keys of these settings.
pub fn settings_of_new_fleet(cache: &Path, more: &[(&str, &str)]) -> Settings {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut settings = settings(cache, more);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("{}{}:{number}:", settings.fleet_prefix, std::process::id());
    settings.set("fleet_prefix", &prefix).unwrap();
    settings
}

/// A domain whose name is known to be good.
pub fn name(domain: &str) -> Domain {
    Domain::parse(domain).unwrap()
}

/// A mail for a domain.
pub fn ask(resolver: &Resolver, domain: &str) -> Arc<Answer> {
    let patience = PATIENCE.min(resolver.settings().timeout);
    resolver
        .lookup(&name(domain), patience)
        .unwrap_or_else(|error| panic!("{domain}: {error}"))
}

impl Internet {
    /// Puts the calling thread on a test Internet for good, with its files in `directory`, which every user may look into.
    pub fn at(directory: &Path) -> Self {
        Self::with_crowd(directory, 0)
    }

    fn with_crowd(directory: &Path, crowd: u16) -> Self {
        lab::isolate(directory).expect("a test Internet: root, and ip from iproute2");
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        Self {
            lab: Lab::start_with_crowd(directory, crowd).expect("a test Internet"),
            cache: directory.join("cache"),
            more: Vec::new(),
        }
    }

    /// Adds lines to the settings file of the host.
    pub fn set(&self, lines: &str) {
        let text = fs::read_to_string(SETTINGS_FILE).unwrap();
        fs::write(SETTINGS_FILE, format!("{text}{lines}\n")).unwrap();
    }

    /// The settings with which the test began.
    pub fn settings(&self) -> Settings {
        settings(&self.cache, &self.more)
    }

    /// A context as a new process has it: nothing in memory.
    pub fn resolver(&self) -> Resolver {
        Resolver::new(self.settings())
    }

    /// The same where the test counts on a fetch of what the cache has lost (see [`settings_of_new_fleet`]).
    pub fn resolver_of_new_fleet(&self) -> Resolver {
        Resolver::new(settings_of_new_fleet(&self.cache, &self.more))
    }

    /// A mail from a new process.
    pub fn asks(&self, domain: &str) -> Arc<Answer> {
        ask(&self.resolver(), domain)
    }

    /// A mail from a new process that reads the settings file of the host.
    pub fn lookup(&self, domain: &str) -> Arc<Answer> {
        ask(&Resolver::new(Settings::of_host(|_| None).unwrap()), domain)
    }

    /// The cache directory belongs to this user and this group.
    pub fn own(&self, user: u32, group: u32) {
        chown(&self.cache, Some(user), Some(group)).unwrap();
    }

    /// The cache directory has this mode.
    pub fn mode(&self, mode: u32) {
        fs::set_permissions(&self.cache, Permissions::from_mode(mode)).unwrap();
    }

    /// Empties the cache, which is [`crate::USER`]'s again.
    pub fn empty_cache(&self) {
        let _ = fs::remove_dir_all(&self.cache);
        fs::create_dir(&self.cache).unwrap();
        self.own(crate::USER, crate::USER);
        self.mode(0o2770);
    }

    /// The directory as the library sees it.
    pub fn store(&self) -> Store {
        Store::new(self.cache.clone())
    }

    /// The file of a domain.
    pub fn file(&self, domain: &str) -> PathBuf {
        self.cache.join(domain)
    }

    /// What the cache holds for a domain.
    pub fn entry(&self, domain: &str) -> Option<Entry> {
        self.store().load(&name(domain)).unwrap()
    }

    /// Changes what the cache holds for a domain: time, as a rule.
    pub fn change(&self, domain: &str, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.entry(domain).unwrap();
        change(&mut entry);
        self.store().save(&entry).unwrap();
        chown(self.file(domain), Some(crate::USER), Some(crate::USER)).unwrap();
    }

    /// How often the policy host of a domain was asked.
    pub fn fetches(&self, domain: &str) -> u64 {
        count(&self.lab.counters().https, &format!("mta-sts.{domain}"))
    }

    /// How often the TXT record of a domain was asked for.
    pub fn questions(&self, domain: &str) -> u64 {
        count(&self.lab.counters().dns, &format!("_mta-sts.{domain} TXT"))
    }
}

fn count(counters: &BTreeMap<String, u64>, name: &str) -> u64 {
    counters.get(name).copied().unwrap_or(0)
}
