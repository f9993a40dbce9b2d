//! What others on the host do meanwhile: processes that are stopped in the midst of a fetch, a root's helper that never
//! goes on, and somebody who holds every lock of the cache.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Random, USER};

/// A neighbour comes this often.
const EVERY: Duration = Duration::from_millis(1500);

pub(crate) struct Neighbours {
    random: Random,
    next: Instant,
    /// Stopped processes, and when they go on.
    stopped: Vec<(Instant, i32)>,
}

impl Neighbours {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            next: Instant::now() + EVERY,
            stopped: Vec::new(),
        }
    }

    /// Does something, where it is time to, and says in words what. The first of the workers is root's.
    pub(crate) fn act(&mut self, workers: &[i32], cache: &Path) -> Option<&'static str> {
        self.stopped.retain(|(until, process)| {
            let goes_on = Instant::now() >= *until;
            if goes_on {
                signal(*process, libc::SIGCONT);
            }
            !goes_on
        });
        if Instant::now() < self.next {
            return None;
        }
        self.next = Instant::now() + EVERY;
        match self.random.below(4) {
            0 | 1 => {
                let process = workers[self.random.below(workers.len())];
                signal(process, libc::SIGSTOP);
                let time = Duration::from_millis(200 + self.random.next() % 3000);
                self.stopped.push((Instant::now() + time, process));
                Some("a worker is stopped")
            }
            2 => {
                // It is never told to go on: its parent has to get over it.
                let helpers = helpers(workers[0]);
                let helper = helpers.get(self.random.below(helpers.len().max(1)))?;
                signal(*helper, libc::SIGSTOP);
                Some("a helper of root is stopped for good")
            }
            _ => {
                let (time, lock) = (
                    Duration::from_millis(100 + self.random.next() % 2400),
                    cache.join(".lock"),
                );
                thread::spawn(move || hold_all(&lock, time));
                Some("somebody holds every lock of the cache")
            }
        }
    }

    /// Who was stopped goes on.
    pub(crate) fn leave(&self) {
        self.stopped
            .iter()
            .for_each(|(_, process)| signal(*process, libc::SIGCONT));
    }
}

fn signal(process: i32, signal: i32) {
    // SAFETY: a plain system call. A worker is a child that only this thread waits for; a helper may be gone, and its
    // number is not another's so soon.
    unsafe { libc::kill(process, signal) };
}

/// The children of a process that have become the owner of the cache.
fn helpers(parent: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<i32> = children
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    let is_helper = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
        uid == Some(USER)
    };
    children.into_iter().filter(is_helper).collect()
}

/// Holds all octets of the file of locks, as who may write in the directory can.
fn hold_all(lock: &Path, time: Duration) {
    let Ok(file) = File::options().read(true).write(true).open(lock) else {
        return;
    };
    assert!(
        file.metadata().is_ok_and(|about| about.mode() & 0o007 == 0),
        "{}",
        lock.display()
    );
    // SAFETY: a flock is plain memory for which all zeros is a valid value: from the first octet to the end.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    let end = Instant::now() + time;
    while Instant::now() < end {
        // SAFETY: an open descriptor of ours, and a structure that the kernel only reads.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } == 0 {
            thread::sleep(end.saturating_duration_since(Instant::now()));
            return;
        }
        thread::sleep(Duration::from_micros(200));
    }
}
