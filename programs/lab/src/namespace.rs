//! Private namespaces for the calling thread, and the care for processes started in them.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

fn result(value: libc::c_int) -> io::Result<()> {
    if value == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes room for datagrams that come while nobody reads. Root may have more than `net.core.rmem_max`, others have that much.
pub(crate) fn receive_much(socket: &impl AsRawFd) {
    let octets: libc::c_int = 8 << 20;
    let length = libc::socklen_t::try_from(size_of_val(&octets)).unwrap_or_default();
    for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
        // SAFETY: the pointer is to a live integer whose size is given.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const octets).cast(),
                length,
            );
        }
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Puts the calling thread into a fresh network namespace and a copy of its mount namespace, cut off from the original:
/// mounts made here are seen by this thread, and by the threads and processes it starts, alone.
pub(crate) fn separate() -> io::Result<()> {
    // SAFETY: no pointers; CLONE_NEWNS implies CLONE_FS, which only ends the sharing of the working directory.
    result(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")
}

/// mount(2).
pub(crate) fn mount(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let source = CString::new(source.unwrap_or("none"))?;
    let target = c_string(target)?;
    let kind = CString::new(kind.unwrap_or("none"))?;
    let data = CString::new(data)?;
    // SAFETY: all pointers are to C strings that live until the call returns.
    result(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    })
}

/// Takes a mount out of sight; what still uses it keeps it.
pub(crate) fn detach(target: &Path) -> io::Result<()> {
    let target = c_string(target)?;
    // SAFETY: the pointer is to a C string that lives until the call returns.
    result(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })
}

/// Is the process root?
pub(crate) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Allows at least so many open descriptors, as far as the hard limit goes.
pub(crate) fn allow_descriptors(wanted: libc::rlim_t) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit.
    result(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur >= wanted {
        return Ok(());
    }
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: the pointer is to a live rlimit.
    result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })
}

/// Makes this process the parent of every descendant that loses its own, instead of process 1.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes one integer.
    result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong) })
}

/// The command will be killed when the thread that starts it ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe, and nothing else happens between fork and exec.
    unsafe {
        command.pre_exec(|| result(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)));
    }
}

/// Kills and buries every child of this process, and the children these leave behind.
pub(crate) fn end_children() -> io::Result<()> {
    loop {
        let children = children()?;
        if children.is_empty() {
            return Ok(());
        }
        for child in children {
            // SAFETY: no pointers. The process is a child of ours that nobody else waits for, so its number is not reused.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, ptr::null_mut(), 0);
            }
        }
    }
}

/// The processes whose parent we are.
fn children() -> io::Result<Vec<libc::pid_t>> {
    let me = std::process::id().to_string();
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // `PID (NAME) STATE PARENT ...`, and the name may contain anything.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent == Some(me.as_str()) {
            children.push(pid);
        }
    }
    Ok(children)
}
