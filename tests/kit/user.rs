//! Users without rights.

use std::panic::resume_unwind;
use std::thread;

/// The ordinary user, and the group of the same number: nobody, and nogroup. The cache of the test Internet is theirs.
pub const USER: u32 = 65_534;

/// Becomes another user, with a group of the same number and in one more group: the calling thread alone, and the threads
/// that it starts. The system calls know threads; only the C library's functions of these names change all of a process.
pub fn become_user(uid: u32, group: u32) {
    // SAFETY: plain system calls on values of ours; the thread gives up being root.
    unsafe {
        let groups = [group];
        assert_eq!(libc::syscall(libc::SYS_setgroups, 1, groups.as_ptr()), 0, "needs root");
        assert_eq!(libc::syscall(libc::SYS_setresgid, uid, uid, uid), 0);
        assert_eq!(libc::syscall(libc::SYS_setresuid, uid, uid, uid), 0);
    }
}

/// Does something as another user, on a thread of its own.
pub fn as_user<T: Send>(uid: u32, group: u32, work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        become_user(uid, group);
        work()
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// The whole process becomes the ordinary user, in no other group.
pub fn give_up_root() {
    // SAFETY: plain calls on values of ours; glibc changes all threads of the process.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0, "needs root");
        assert_eq!(libc::setresgid(USER, USER, USER), 0);
        assert_eq!(libc::setresuid(USER, USER, USER), 0);
    }
}
