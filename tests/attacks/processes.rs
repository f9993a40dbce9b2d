//! What `/proc` tells of a process.

use std::fs;
use std::path::PathBuf;

fn at(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// A line of its status.
pub(crate) fn status(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(at(pid, "status")).ok()?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Its real user.
pub(crate) fn uid(pid: i32) -> Option<u32> {
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
pub(crate) fn state(pid: i32) -> Option<String> {
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
pub(crate) fn children(parent: i32) -> Vec<i32> {
    let parent = parent.to_string();
    let mut all = all();
    all.retain(|pid| stat(*pid, 4).as_ref() == Some(&parent));
    all
}

/// The processes of a group.
pub(crate) fn group(leader: i32) -> Vec<i32> {
    let leader = leader.to_string();
    let mut all = all();
    all.retain(|pid| stat(*pid, 5).as_ref() == Some(&leader));
    all
}

/// All that root's helper must be, and must not have of its parent.
pub(crate) fn is_bare(pid: i32, uid: u32, gid: u32) {
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
    is("SigBlk", "0000000000000000");
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
