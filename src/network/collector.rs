//! The socket of a collector for TLS reports on this host: sys4's tlsrpt-collectd, or what takes its place.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::protocol::report::Loss;

/// Sends one datagram and waits for nothing. The socket is closed before the call returns.
///
/// # Errors
/// [`Loss::QueueFull`]: the collector is slow or has stopped, and the kernel keeps only ten datagrams for it
/// (net.unix.max_dgram_qlen). [`Loss::NoCollector`]: nothing listens there, or this process may not write to it.
pub fn send(socket: &Path, datagram: &[u8]) -> Result<(), Loss> {
    let sent = || -> io::Result<usize> {
        let from = UnixDatagram::unbound()?;
        from.set_nonblocking(true)?;
        from.send_to(datagram, socket)
    };
    match sent() {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Err(Loss::QueueFull),
        Err(e) => Err(Loss::NoCollector(format!("{}: {e}", socket.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_arrives_or_is_lost_at_once() {
        let path = std::env::temp_dir().join(format!("mtasts-collector-{}", std::process::id()));
        let lost = send(&path, b"{}").unwrap_err().to_string();
        assert!(lost.ends_with(": No such file or directory (os error 2)"), "{lost}");
        let collector = UnixDatagram::bind(&path).unwrap();
        send(&path, b"{}").unwrap();
        let mut buffer = [0; 10];
        assert_eq!(collector.recv(&mut buffer).unwrap(), 2);
        // It has stopped, and its queue is soon full.
        let full = (0..10_000).find_map(|_| send(&path, &[b'x'; 8191]).err());
        assert_eq!(full, Some(Loss::QueueFull));
        // It has died, and left its socket.
        drop(collector);
        // What another test has just forked holds it for a moment.
        let dead = (0..6000).find_map(|_| match send(&path, b"{}").unwrap_err() {
            Loss::QueueFull => {
                std::thread::sleep(std::time::Duration::from_millis(10));
                None
            }
            loss => Some(loss.to_string()),
        });
        let dead = dead.expect("it is gone");
        assert!(dead.ends_with(": Connection refused (os error 111)"), "{dead}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(send(&path, b"{}"), Err(Loss::NoCollector(_))));
        std::fs::remove_file(&path).unwrap();
    }
}
