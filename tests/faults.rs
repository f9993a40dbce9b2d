//! The cache under faults: killed writers, full disks, files that are none, wrong clocks, other users. Whatever
//! happens, a lookup answers, the fault is told, and nothing that is stored is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::Cache as _;
use mtasts::cache::store::Store;
use mtasts::{Answer, Context, Domain, Entry, Settings};
use mtasts_lab::{self as lab, Lab};

#[path = "faults/clock.rs"]
mod clock;
#[path = "kit/command.rs"]
mod command;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/leader.rs"]
mod leader;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/place.rs"]
mod place;
#[path = "faults/sharing.rs"]
mod sharing;

/// The owner of the cache, and his group.
const USER: u32 = 65534;
/// So long an answer is repeated from memory, and a little longer.
const MEMORY: Duration = Duration::from_millis(6100);

/// A host on the test Internet, with a cache.
struct Ground {
    lab: Lab,
    cache: PathBuf,
}

/// Runs a test on a test Internet of its own, in a directory and in namespaces of its own.
fn on_the_internet(name: &str, test: impl FnOnce(&Ground) + Send + 'static) {
    let dir = std::env::temp_dir().join(format!("mtasts-faults-{}-{name}", std::process::id()));
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

fn settings(cache: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.set("cache_dir", cache.to_str().unwrap()).unwrap();
    settings.set("allow_addresses", "198.18.0.0/15 2001:2::/48").unwrap();
    settings.set("timeout", "20s").unwrap();
    // No record is due in the middle of a test, however slow the machine is.
    settings.set("txt_life_min", "1h").unwrap();
    settings
}

impl Ground {
    fn settings(&self) -> Settings {
        settings(&self.cache)
    }

    /// A context as a new process has it: nothing in memory.
    fn context(&self) -> Context {
        Context::new(self.settings())
    }

    /// A mail from a new process.
    fn asks(&self, domain: &str) -> Arc<Answer> {
        ask(&self.context(), domain)
    }

    fn store(&self) -> Store {
        Store::new(self.cache.clone())
    }

    fn entry(&self, domain: &str) -> Entry {
        self.store().load(&name(domain)).unwrap().unwrap()
    }

    fn file(&self, domain: &str) -> PathBuf {
        self.cache.join(domain)
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(&self.cache, Permissions::from_mode(mode)).unwrap();
    }

    fn own(&self, uid: u32, gid: u32) {
        chown(&self.cache, Some(uid), Some(gid)).unwrap();
    }

    /// All that is in the directory, but for the lock.
    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(&self.cache).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
        names.sort_unstable();
        names
    }

    /// How often the policy host of a domain was asked.
    fn fetches(&self, domain: &str) -> u64 {
        let counters = self.lab.counters();
        counters.https.get(&format!("mta-sts.{domain}")).copied().unwrap_or(0)
    }

    /// How often the TXT record of a domain was asked for.
    fn questions(&self, domain: &str) -> u64 {
        let counters = self.lab.counters();
        counters
            .dns
            .get(&format!("_mta-sts.{domain} TXT"))
            .copied()
            .unwrap_or(0)
    }
}

fn name(domain: &str) -> Domain {
    Domain::parse(domain).unwrap()
}

fn ask(context: &Context, domain: &str) -> Arc<Answer> {
    context
        .lookup(&name(domain), Duration::from_secs(20))
        .unwrap_or_else(|e| panic!("{domain}: {e}"))
}

fn warns(answer: &Answer, of: &str) {
    assert!(answer.warning().is_some_and(|w| w.contains(of)), "{of:?}: {answer}");
}

/// Runs a command that must succeed. A mount is seen by this test alone.
fn run(command: &str, arguments: &[&str], last: &Path) {
    let status = Command::new(command).args(arguments).arg(last).status().unwrap();
    assert!(status.success(), "{command} {arguments:?} {}", last.display());
}

/// Becomes another user, who has a group of his own number and is in one more: the calling thread alone, and those that
/// it starts. The system call knows threads, and only the C library's function of this name makes one of all.
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

/// A child of this process. It is killed if it is forgotten.
struct Child(i32);

impl Child {
    /// Forks. A panic in the child is its failure; it never returns to the test harness.
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

    /// kill -9, and it is gone.
    fn kill(self) {
        drop(self);
    }

    fn ends_well(self, patience: Duration) {
        let (end, mut status) = (Instant::now() + patience, 0);
        // SAFETY: our own child and a valid place for its status.
        while unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) } == 0 {
            assert!(Instant::now() < end, "the child hangs");
            thread::sleep(Duration::from_millis(2));
        }
        std::mem::forget(self);
        assert_eq!(status, 0, "the child failed");
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
