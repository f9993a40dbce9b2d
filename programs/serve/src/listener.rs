//! Where clients connect: unix sockets, TCP on loopback, and sockets that systemd has opened.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::str::FromStr;

use mtasts::sys::descriptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// An address to listen at: a path, or an address and a port on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket at this path. Every user of the host may connect, because Postfix's smtp(8) is another user.
    Unix(PathBuf),
    /// TCP on loopback.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text
            .strip_prefix("unix:")
            .or_else(|| text.starts_with('/').then_some(text))
        {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(format!("{path:?} is not an absolute path")),
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!("{text:?} is neither an absolute path nor an address and a port, such as 127.0.0.1:8461")
        })?;
        // Replies are not secret, but a stranger's questions cost this host lookups.
        match address.ip().is_loopback() {
            true => Ok(Self::Tcp(address)),
            false => Err(format!("{address} is not on loopback; use 127.0.0.1 or [::1]")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// A socket that is open, before there is a runtime.
pub enum Socket {
    /// One at a path.
    Unix(std::os::unix::net::UnixListener),
    /// One at an address and a port.
    Tcp(std::net::TcpListener),
}

impl Address {
    /// Where it listens if nothing else is named: where postfix-mta-sts-resolver does.
    #[must_use]
    pub const fn usual() -> Self {
        Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8461))
    }

    /// Opens the socket. One that a server has left behind is replaced, one that a server listens at is not.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AddrInUse`] if a server listens there.
    pub fn open(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(address) => std::net::TcpListener::bind(address).map(Socket::Tcp),
            Self::Unix(path) => {
                if fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket()) {
                    match StdUnixStream::connect(path) {
                        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                        _ => return Err(io::ErrorKind::AddrInUse.into()),
                    }
                }
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                fs::set_permissions(path, Permissions::from_mode(0o666))?;
                Ok(Socket::Unix(listener))
            }
        }
    }
}

/// The sockets that systemd has opened for this process (sd_listen_fds(3)).
///
/// # Errors
/// What systemd says in the environment is wrong, or a descriptor is not a socket.
pub fn inherited() -> io::Result<Vec<Socket>> {
    sd_notify::listen_fds()?
        .map(|number| {
            let descriptor: OwnedFd = descriptor::inherited(number)?;
            let tcp = std::net::TcpListener::from(descriptor);
            // Only TCP sockets have an address of this kind.
            Ok(match tcp.local_addr() {
                Ok(_) => Socket::Tcp(tcp),
                Err(_) => Socket::Unix(OwnedFd::from(tcp).into()),
            })
        })
        .collect()
}

/// A stream of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A socket in the runtime.
pub enum Listener {
    /// One at a path.
    Unix(UnixListener),
    /// One at an address and a port.
    Tcp(TcpListener),
}

impl Listener {
    /// Puts a socket into the runtime of this thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(socket)?)
            }
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(socket)?)
            }
        })
    }

    /// The next client.
    ///
    /// # Errors
    /// What the system says, such as that there is no descriptor left.
    pub async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, address) in [
            ("/run/a", Address::Unix("/run/a".into())),
            ("unix:/run/a", Address::Unix("/run/a".into())),
            ("127.0.0.1:8461", Address::Tcp("127.0.0.1:8461".parse().unwrap())),
            ("[::1]:8461", Address::Tcp("[::1]:8461".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(address));
        }
        for text in [
            "",
            "a",
            "unix:a",
            "8461",
            "127.0.0.1",
            "0.0.0.0:8461",
            "192.0.2.1:8461",
            "localhost:8461",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
