//! The datagrams of libtlsrpt, which Postfix 3.10 sends, into the journal: in the place of sys4's tlsrpt-collectd.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use mtasts::cache::store::Store;
use mtasts::protocol::datagram::LONGEST_LINE;
use mtasts::report::Loss;
use mtasts::sender::resolver::unix_now;
use mtasts::sys::descriptor;

use crate::session::Session;

/// The longest datagram that is read, in octets: a policy of 64 KiB makes a longer one, and Linux sends none of 208 KiB.
const LONGEST: usize = 208 * 1024;
/// The first descriptor of a service manager (sd_listen_fds(3)).
const FIRST_DESCRIPTOR: i32 = 3;

/// A socket at this path, to which each user of the host may send. One that a collector has left behind is replaced, one that a
/// collector reads is not.
///
/// # Errors
/// What the system says; [`ErrorKind::AddrInUse`] if somebody reads it.
pub fn open(path: &Path) -> io::Result<UnixDatagram> {
    if fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket()) {
        match UnixDatagram::unbound()?.connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            _ => return Err(ErrorKind::AddrInUse.into()),
        }
    }
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// The socket that a service manager has opened for this process.
///
/// # Errors
/// There is no such descriptor.
pub fn inherited() -> io::Result<UnixDatagram> {
    let descriptor: OwnedFd = descriptor::inherited(FIRST_DESCRIPTOR)?;
    Ok(descriptor.into())
}

/// Reads the socket for ever: each session is written to the journal. What cannot be written is counted there as lost. Each new
/// reason is told to `tell`. Returns why the socket cannot be read any more.
pub fn collect(socket: &UnixDatagram, store: &Store, mut tell: impl FnMut(&str)) -> io::Error {
    let mut buffer = vec![0; LONGEST];
    let mut told = String::new();
    let mut say = |why: String| {
        if told != why {
            tell(&why);
            told = why;
        }
    };
    loop {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return error,
        };
        let now = unix_now();
        let Some(session) = Session::read(&buffer[..length]) else {
            say("a datagram is not one of libtlsrpt, and is dropped".to_owned());
            continue;
        };
        for line in session.lines() {
            let written = match line.len() <= LONGEST_LINE {
                true => store.append(&line, now),
                false => Err(Loss::TooLong),
            };
            if let Err(loss) = written {
                store.count_loss(&loss, now);
                say(format!("a result is lost: {loss}"));
            }
        }
    }
}
