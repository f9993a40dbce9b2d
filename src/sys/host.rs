//! What the kernel says of this host: of its clock, and of the disk below a directory.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether something keeps the clock right (NTP), as the kernel was told; `None` if it does not say.
#[must_use]
pub fn clock_is_synchronised() -> Option<bool> {
    // SAFETY: zeros are a valid `timex`, which asks and changes nothing.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: a valid place that lives during the call.
    match unsafe { libc::adjtimex(&raw mut clock) } {
        -1 => None,
        _ => Some(clock.status & libc::STA_UNSYNC == 0),
    }
}

/// The disk below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// It is mounted so that nothing can be written.
    pub read_only: bool,
    /// The free octets that an ordinary user may have.
    pub free: u64,
    /// The free files that an ordinary user may have; `None` if the file system does not count them.
    pub free_files: Option<u64>,
}

/// The disk below this directory.
///
/// # Errors
/// What the system says.
pub fn disk(directory: &Path) -> io::Result<Disk> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: zeros are a valid `statvfs`.
    let mut about: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated text and a valid place that live during the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut about) } != 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(clippy::useless_conversion, reason = "32 bits on some machines")]
    let (blocks, size) = (u64::from(about.f_bavail), u64::from(about.f_frsize));
    #[allow(clippy::useless_conversion, reason = "32 bits on some machines")]
    let (files, free_files) = (u64::from(about.f_files), u64::from(about.f_favail));
    Ok(Disk {
        read_only: about.f_flag & libc::ST_RDONLY != 0,
        free: blocks.saturating_mul(size),
        free_files: (files > 0).then_some(free_files),
    })
}

/// The name of this host, as uname(2) has it; empty if it has none.
#[must_use]
pub fn name() -> String {
    // SAFETY: zeros are a valid `utsname`.
    let mut about: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: a valid place that lives during the call.
    if unsafe { libc::uname(&raw mut about) } != 0 {
        return String::new();
    }
    let name = about.nodename.iter().take_while(|c| **c != 0);
    let name: Vec<u8> = name.map(|c| c.to_ne_bytes()[0]).collect();
    String::from_utf8_lossy(&name).into_owned()
}

/// The longest file that this process may write. A write beyond it would be a signal to the process (SIGXFSZ).
#[must_use]
pub fn longest_file() -> u64 {
    // SAFETY: zeros are a valid `rlimit`.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: a valid place that lives during the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } != 0 {
        return u64::MAX;
    }
    #[allow(clippy::useless_conversion, reason = "32 bits on some machines")]
    let limit = u64::from(limit.rlim_cur);
    limit
}
