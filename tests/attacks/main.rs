//! What was tried against a host that uses the library, and fails: by a local user, by a member of the cache's group, by
//! a neighbour that hangs, by a hostile domain, by a hostile network. Each file is one kind of it, on the test Internet; as
//! root (`cargo test --test attacks`).

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mtasts::{Answer, Context, Domain, Settings};
use mtasts_lab::{self as lab, Lab};

#[path = "../kit/command.rs"]
mod command;
#[path = "../dns_server/mod.rs"]
mod dns_server;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../pki/mod.rs"]
mod pki;
#[path = "../policy_server/mod.rs"]
mod policy_server;

mod crowds;
mod hostile_domain;
mod neighbours;
mod privileges;
mod processes;
mod roots;
mod values;

/// The owner of the cache, and his group.
const USER: u32 = 65_534;
/// The setting `timeout`, and the patience of each lookup.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host on the test Internet, with a cache.
struct Ground {
    lab: Lab,
    cache: PathBuf,
}

/// Runs a test on a test Internet of its own, in a directory and in namespaces of its own.
fn on_the_internet(name: &str, test: impl FnOnce(&Ground) + Send + 'static) {
    let dir = std::env::temp_dir().join(format!("mtasts-attacks-{}-{name}", std::process::id()));
    let at = dir.clone();
    let run = move || {
        lab::isolate(&at).unwrap();
        let ground = Ground {
            lab: Lab::start(&at).unwrap(),
            cache: at.join("cache"),
        };
        test(&ground);
    };
    thread::spawn(run).join().unwrap();
    let _ = fs::remove_dir_all(&dir);
}

impl Ground {
    /// A mail from a new process: nothing is in memory.
    fn asks(&self, domain: &str) -> Arc<Answer> {
        let mut settings = Settings::default();
        settings.set("cache_dir", self.cache.to_str().unwrap()).unwrap();
        settings.set("allow_addresses", "198.18.0.0/15 2001:2::/48").unwrap();
        settings.set("timeout", &format!("{}s", PATIENCE.as_secs())).unwrap();
        Context::new(settings)
            .lookup(&Domain::parse(domain).unwrap(), PATIENCE)
            .unwrap_or_else(|e| panic!("{domain}: {e}"))
    }

    /// The directory belongs to this user and group, and has this mode.
    fn share(&self, user: u32, group: u32, mode: u32) {
        chown(&self.cache, Some(user), Some(group)).unwrap();
        fs::set_permissions(&self.cache, Permissions::from_mode(mode)).unwrap();
    }

    fn lock(&self) -> PathBuf {
        self.cache.join(".lock")
    }

    /// How often the policy host of a domain was asked.
    fn fetches(&self, domain: &str) -> u64 {
        count(&self.lab.counters().https, &format!("mta-sts.{domain}"))
    }

    /// How often the TXT record of a domain was asked for.
    fn questions(&self, domain: &str) -> u64 {
        count(&self.lab.counters().dns, &format!("_mta-sts.{domain} TXT"))
    }
}

fn count(counters: &BTreeMap<String, u64>, name: &str) -> u64 {
    counters.get(name).copied().unwrap_or(0)
}

/// Waits for something that must come soon.
fn until(what: &str, mut comes: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !comes() {
        assert!(Instant::now() < end, "{what}: it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap().permissions().mode() & 0o777
}

/// Becomes another user, who is in one group: the calling thread alone, and those that it starts. The system call knows
/// threads, and only the C library's function of this name makes one of all.
fn become_user(uid: u32, group: u32) {
    // SAFETY: plain system calls on values of ours; the thread gives up being root.
    unsafe {
        let groups = [group];
        assert_eq!(libc::syscall(libc::SYS_setgroups, 1, groups.as_ptr()), 0, "needs root");
        assert_eq!(libc::syscall(libc::SYS_setresgid, uid, uid, uid), 0);
        assert_eq!(libc::syscall(libc::SYS_setresuid, uid, uid, uid), 0);
    }
}

/// Does something as another user.
fn as_user<T: Send>(uid: u32, group: u32, work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        become_user(uid, group);
        work()
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A child of this process. It is killed when it is forgotten.
struct Child(i32);

impl Child {
    /// Forks. A panic in the child ends it, and is told.
    fn start(work: impl FnOnce()) -> Self {
        // SAFETY: the child uses the library, which is made for that, and leaves by _exit.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                if let Err(panic) = &done {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic");
                    // SAFETY: a buffer of ours. The harness keeps what is printed in a memory that ends with us.
                    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
                }
                // SAFETY: leaves without the destructors of the parent.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            child => Self(child),
        }
    }

    /// The helper of root that this child has forked, once it has become the user.
    fn helper(&self) -> i32 {
        let mut helper = None;
        until("a helper", || {
            let children = processes::children(self.0);
            helper = children.into_iter().find(|pid| processes::uid(*pid) == Some(USER));
            helper.is_some()
        });
        helper.unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, that nobody else has waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: a process of this test, which nobody has waited for.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}
