//! Whom a process of root becomes, for good: an ordinary user with no right of root's left.
//!
//! A change of user takes most of root's rights away, unless the host has told the kernel otherwise (`PR_SET_KEEPCAPS`,
//! securebits, ambient capabilities). So each right is given up explicitly, and at the end the kernel is asked what is
//! left.

use std::io;

/// The user and the group that a process becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
}

/// Whom root becomes if nothing names another user.
pub const NOBODY: Identity = Identity {
    uid: 65_534,
    gid: 65_534,
};

/// Capabilities in the kernel's third version: two structures of 32 each, with what is effective, permitted and
/// inheritable.
type Capabilities = [[u32; 3]; 2];
const VERSION: u32 = 0x2008_0522;
/// More capabilities than any kernel has: they are 64 bits.
const ALL: libc::c_ulong = 64;

/// What the securebits are and stay: root's number means nothing, and no capability outlives a change of user.
const SECUREBITS: libc::c_int = libc::SECBIT_NOROOT
    | libc::SECBIT_NOROOT_LOCKED
    | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
    | libc::SECBIT_KEEP_CAPS_LOCKED
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

/// Gives up every right but those of `identity`, and makes sure that there is no way back: no other group, no
/// capability in any set, none by a set-uid program, and no look into the memory from outside. The user and the group
/// of root are refused.
///
/// # Errors
/// What the system says. The process is then neither who it was nor who it should be, and must do nothing more.
pub fn become_identity(identity: Identity) -> io::Result<()> {
    let Identity { uid, gid } = identity;
    if uid == 0 || gid == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // These need rights that the process may not have, though it is root (a container, a unit of systemd). What they
    // are for is made sure below in any case: nothing is permitted, and nothing is gained any more.
    let _ = set(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong);
    let _ = set(libc::PR_SET_SECUREBITS, SECUREBITS as libc::c_ulong);
    let _ = set(libc::PR_SET_KEEPCAPS, 0);
    for capability in 0..ALL {
        if set(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    // SAFETY: plain system calls on values; setgroups gets one valid group.
    unsafe {
        if libc::setgroups(1, &raw const gid) != 0
            || libc::setresgid(gid, gid, gid) != 0
            || libc::setresuid(uid, uid, uid) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    no_capabilities()?;
    set(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // What the process remembers of root's is not for others of the user.
    set(libc::PR_SET_DUMPABLE, 0)?;
    if is(identity) && has_nothing()? {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Whether the process has no identity but this one, and cannot get another one.
fn is(Identity { uid, gid }: Identity) -> bool {
    let (mut uids, mut gids, mut groups) = ([0; 3], [0; 3], [0; 2]);
    // SAFETY: plain system calls; the results have the room that is passed.
    unsafe {
        libc::getresuid(&raw mut uids[0], &raw mut uids[1], &raw mut uids[2]) == 0
            && libc::getresgid(&raw mut gids[0], &raw mut gids[1], &raw mut gids[2]) == 0
            && libc::getgroups(2, groups.as_mut_ptr()) == 1
            && (uids, gids, groups[0]) == ([uid; 3], [gid; 3], gid)
            && libc::setuid(0) != 0
            && libc::setgid(0) != 0
    }
}

/// Whether no set of capabilities has anything, but the bounding set, from which nothing is gained any more.
fn has_nothing() -> io::Result<bool> {
    let (header, mut sets) = ([VERSION, 0], Capabilities::default());
    // SAFETY: a header and two structures as the kernel has them.
    if unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // What is neither permitted nor inheritable cannot be ambient (capabilities(7)).
    Ok(sets == Capabilities::default() && prctl(libc::PR_GET_NO_NEW_PRIVS, 0)? == 1)
}

fn no_capabilities() -> io::Result<()> {
    let (header, sets) = ([VERSION, 0], Capabilities::default());
    // SAFETY: a header and two structures as the kernel has them. To have less is always allowed.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(what: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    prctl(what, value).map(drop)
}

fn prctl(what: libc::c_int, value: libc::c_ulong) -> io::Result<libc::c_int> {
    let none: libc::c_ulong = 0;
    // SAFETY: none of the operations above takes an address; the arguments that they do not use are to be zero.
    match unsafe { libc::prctl(what, value, none, none, none) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}
