//! Child processes, and what `/proc` tells of a process.

use std::fs;
use std::io::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// A child of this process. It is killed when it is forgotten.
pub struct Child(pub i32);

impl Child {
    /// Forks. A panic in the child is reported and is its failure; it never returns to the test harness.
    pub fn start(work: impl FnOnce()) -> Self {
        // SAFETY: the child uses the library, which is made for that, and leaves by _exit.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", Error::last_os_error()),
            0 => {
                let done = catch_unwind(AssertUnwindSafe(work));
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

    /// Waits until it has ended, without a failure, within this time.
    pub fn ends_well(self, patience: Duration) {
        let (end, mut status) = (Instant::now() + patience, 0);
        // SAFETY: our own child and a valid place for its status.
        while unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) } == 0 {
            assert!(Instant::now() < end, "the child hangs");
            thread::sleep(Duration::from_millis(1));
        }
        std::mem::forget(self);
        assert_eq!(status, 0, "the child failed");
    }

    /// The helper of root that this child has forked, once it has become the ordinary user.
    pub fn helper(&self) -> i32 {
        let mut helper = None;
        until("a helper", || {
            helper = children(self.0)
                .into_iter()
                .find(|pid| uid(*pid).is_some_and(|uid| uid != 0));
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

/// Sends a signal to a process of this test that is there.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: a process of this test, which nobody has waited for.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "{}", Error::last_os_error());
}

/// Waits for something that must come soon; the machine may be busy, and what we try again after a minute may be it.
pub fn until(what: &str, mut comes: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !comes() {
        assert!(Instant::now() < end, "{what}: it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}

fn at(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// A line of its status.
pub fn status(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(at(pid, "status")).ok()?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Its real user.
pub fn uid(pid: i32) -> Option<u32> {
    status(pid, "Uid")?.split(' ').next()?.parse().ok()
}

/// A field of its `stat`, by its number in proc(5).
fn stat(pid: i32, number: usize) -> Option<String> {
    let stat = fs::read_to_string(at(pid, "stat")).ok()?;
    // The name in parentheses, the second field, may have anything in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number - 3).map(str::to_owned)
}

/// `T` for one that is stopped.
pub fn state(pid: i32) -> Option<String> {
    stat(pid, 3)
}

/// All processes, as they are now.
fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The children of a process.
pub fn children(parent: i32) -> Vec<i32> {
    let parent = parent.to_string();
    let mut all = all();
    all.retain(|pid| stat(*pid, 4).as_ref() == Some(&parent));
    all
}

/// The processes of a group.
pub fn group(leader: i32) -> Vec<i32> {
    let leader = leader.to_string();
    let mut all = all();
    all.retain(|pid| stat(*pid, 5).as_ref() == Some(&leader));
    all
}

/// All that root's helper must be, and must not have of its parent.
pub fn is_bare(pid: i32, uid: u32, gid: u32) {
    // For a moment, while it begins its thread, it holds all signals back.
    until("a helper that gets signals", || {
        status(pid, "SigBlk").as_deref() == Some("0000000000000000")
    });
    let told = fs::read_to_string(at(pid, "status")).unwrap();
    let four = |id: u32| [id.to_string(), id.to_string(), id.to_string(), id.to_string()].join(" ");
    let is = |name: &str, value: &str| assert_eq!(status(pid, name).as_deref(), Some(value), "{name}:\n{told}");
    is("Uid", &four(uid));
    is("Gid", &four(gid));
    is("Groups", &gid.to_string());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        is(set, "0000000000000000");
    }
    is("NoNewPrivs", "1");
    // But for the two signals that the C library has for itself, 32 and 33.
    let signals = |name: &str| u64::from_str_radix(&status(pid, name).unwrap(), 16).unwrap() & !0x1_8000_0000;
    assert_eq!(signals("SigCgt"), 0, "{told}");
    // A write that fails is an error and no signal: SIGPIPE, SIGXFSZ.
    assert_eq!(signals("SigIgn"), 0x0100_1000, "{told}");
    let own = pid.to_string();
    // A process group and a session of its own, and no terminal.
    for (field, what) in [(5, "process group"), (6, "session")] {
        assert_eq!(stat(pid, field).as_ref(), Some(&own), "{what}");
    }
    assert_eq!(stat(pid, 7).as_deref(), Some("0"), "terminal");
    assert_eq!(fs::read_link(at(pid, "cwd")).unwrap().to_str(), Some("/"));
    // Not dumpable: the kernel gives its files in /proc to root, and nobody of its user may look into it.
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&at(pid, "environ").metadata().unwrap()),
        0
    );

    let mut pipes = 0;
    for descriptor in fs::read_dir(at(pid, "fd")).unwrap() {
        let path = descriptor.unwrap().path();
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // It is working: what it has opened a moment ago may be closed again.
        let Ok(target) = fs::read_link(&path) else { continue };
        let target = target.to_str().unwrap().to_owned();
        if number < 3 {
            assert_eq!(target, "/dev/null", "descriptor {number}");
        } else if target.starts_with("pipe:") {
            pipes += 1;
        } else {
            // What it has opened itself: connections, the means to wait for them, and the lock of its fetch.
            let own = ["socket:", "anon_inode:[event"]
                .iter()
                .any(|kind| target.starts_with(kind))
                || target.ends_with("/.lock");
            assert!(own, "descriptor {number} is {target}");
        }
    }
    assert_eq!(pipes, 1, "the way back to its parent");
}
