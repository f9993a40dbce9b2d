//! A Valkey or Redis server, as a client speaks with it: some commands, some replies, and one moment at which all of it is
//! over, on the socket.
//!
//! The crate `redis` is not used. Its time-outs are those of each step, so that a server which sends an octet at a time
//! holds up a client for ever; it cannot be given a connection of ours, on which a deadline could be kept; and it makes the
//! library larger by an eighth (447 KB, or 143 KB for its reader alone, without TLS).

pub mod address;
mod reply;
mod sentinel;

use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain as Family, SockAddr, Socket, Type};

use crate::network::dns::Dns;
use crate::network::https::RootSource;
use crate::network::tls;
use crate::protocol::certificate::check_chain;
use crate::protocol::names::Domain;
use crate::protocol::text::one_line;
use address::{Address, Host, Way};
pub use reply::Reply;

/// How long the way to a server may take: its address, TCP and TLS.
pub const CONNECT: Duration = Duration::from_millis(50);
/// How much of a server's words is repeated in a log.
const MAX_QUOTE: usize = 200;
/// How much is read at once.
const BUFFER: usize = 4096;

/// A command: its name and its arguments.
pub type Command<'a> = &'a [&'a [u8]];

/// A connection. It ends with this value.
pub struct Connection {
    stream: BufReader<Stream>,
    /// What is sent before the first command: AUTH and SELECT.
    greeting: Vec<u8>,
    /// How many replies it has.
    greeted: usize,
    /// Whether the server has closed it.
    is_closed: bool,
}

impl Connection {
    /// Connects, in [`CONNECT`] and before the deadline. Nothing is said before the first command.
    ///
    /// # Errors
    /// Why there is no connection, in words.
    pub fn open(
        address: &Address,
        password: Option<&str>,
        dns: &dyn Dns,
        roots: &RootSource,
        deadline: Instant,
    ) -> Result<Self, String> {
        let by = deadline.min(Instant::now() + CONNECT);
        let master = match &address.way {
            Way::Sentinel(sentinel) => Some(sentinel.master(dns, roots, by)?),
            _ => None,
        };
        let way = master.as_ref().unwrap_or(&address.way);
        let socket = match way {
            Way::Sentinel(_) => return Err("Sentinel cannot be the master".to_owned()),
            Way::Unix(path) => unix(path, by).map_err(|e| words(&e))?,
            Way::Plain(Host::Ip(ip), port) => tcp(&[*ip], *port, by)?,
            Way::Plain(Host::Name(name), port) | Way::Tls(name, port) => tcp(&found(dns, name, by)?, *port, by)?,
        };
        let socket = Timed { socket, deadline: by };
        let stream = match way {
            Way::Tls(name, _) => secure(socket, name, roots)?,
            _ => Stream::Plain(socket),
        };
        let (mut greeting, mut greeted) = (Vec::new(), 0);
        if address.user.is_some() || password.is_some() {
            let (user, password) = (
                address.user.as_deref().unwrap_or("default"),
                password.unwrap_or_default(),
            );
            encode(&[b"AUTH", user.as_bytes(), password.as_bytes()], &mut greeting);
            greeted += 1;
        }
        if address.database > 0 {
            encode(&[b"SELECT", address.database.to_string().as_bytes()], &mut greeting);
            greeted += 1;
        }
        let stream = BufReader::with_capacity(BUFFER, stream);
        Ok(Self {
            stream,
            greeting,
            greeted,
            is_closed: false,
        })
    }

    /// Whether the server has closed it, or said what it was not asked: of more use is another connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed || !self.stream.buffer().is_empty()
    }

    /// Sends commands and reads their replies, before the deadline.
    ///
    /// # Errors
    /// What went wrong, in words: then the connection is of no more use. A reply that is an error is one, too.
    pub fn ask(&mut self, commands: &[Command<'_>], deadline: Instant) -> Result<Vec<Reply>, String> {
        let mut octets = std::mem::take(&mut self.greeting);
        for command in commands {
            encode(command, &mut octets);
        }
        let greeted = std::mem::take(&mut self.greeted);
        let mut replies = Vec::with_capacity(commands.len());
        self.send(&octets, deadline).map_err(|e| self.failed(&e))?;
        for number in 0..greeted + commands.len() {
            match Reply::read(&mut self.stream).map_err(|e| self.failed(&e))? {
                Reply::Error(said) => {
                    let said = one_line(&String::from_utf8_lossy(&said), MAX_QUOTE);
                    return Err(format!("it answered: {said}"));
                }
                reply if number >= greeted => replies.push(reply),
                _ => {}
            }
        }
        Ok(replies)
    }

    fn send(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.set_deadline(deadline);
        stream.write_all(octets)?;
        stream.flush()
    }

    fn failed(&mut self, error: &io::Error) -> String {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        self.is_closed = matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        );
        words(error)
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        match self.stream.get_ref() {
            Stream::Plain(timed) => timed.socket.as_raw_fd(),
            Stream::Tls(tls) => tls.sock.socket.as_raw_fd(),
        }
    }
}

/// A command as the protocol has it: an array of strings.
fn encode(command: Command<'_>, octets: &mut Vec<u8>) {
    octets.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for word in command {
        octets.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        octets.extend_from_slice(word);
        octets.extend_from_slice(b"\r\n");
    }
}

/// A socket on which everything is over at one moment, however little arrives at a time.
struct Timed {
    socket: Socket,
    deadline: Instant,
}

impl Timed {
    /// Gives the socket what is left of the time.
    fn arm(&self) -> io::Result<()> {
        let left = left(self.deadline)?;
        self.socket.set_read_timeout(Some(left))?;
        self.socket.set_write_timeout(Some(left))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.arm()?;
        self.socket.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Plain(socket) => socket.deadline = deadline,
            Self::Tls(tls) => tls.sock.deadline = deadline,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(octets),
            Self::Tls(tls) => tls.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// The handshake. Our own check alone says whether the certificate is good.
fn secure(mut socket: Timed, name: &Domain, roots: &RootSource) -> Result<Stream, String> {
    let roots = roots().map_err(|e| format!("its certificate cannot be checked: {e}"))?;
    let host = name.clone();
    let judge = move |chain: &[&[u8]], now| check_chain(&host, chain, roots.anchors(), now);
    let config = tls::config(judge).map_err(|e| e.to_string())?;
    let server = ServerName::try_from(name.as_str().to_owned()).map_err(|e| e.to_string())?;
    let mut connection = ClientConnection::new(Arc::new(config), server).map_err(|e| e.to_string())?;
    connection.complete_io(&mut socket).map_err(|e| words(&e))?;
    Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
}

/// The addresses of a host.
fn found(dns: &dyn Dns, name: &Domain, by: Instant) -> Result<Vec<IpAddr>, String> {
    match dns.addresses(name.as_str(), by) {
        Ok(found) => Ok(found.data),
        Err(e) => Err(format!("its address cannot be looked up: {e}")),
    }
}

/// The first address that takes the connection.
fn tcp(addresses: &[IpAddr], port: u16, by: Instant) -> Result<Socket, String> {
    let mut last = words(&io::ErrorKind::TimedOut.into());
    for address in addresses {
        let connected = left(by).and_then(|left| TcpStream::connect_timeout(&SocketAddr::new(*address, port), left));
        match connected {
            Ok(stream) => {
                // A command is one write: nothing is gained by waiting for more.
                let _ = stream.set_nodelay(true);
                return Ok(stream.into());
            }
            Err(e) => last = words(&e),
        }
    }
    Err(last)
}

/// The kernel lets a client wait while the queue of a listener is full: for as long as a write may take.
fn unix(path: &Path, by: Instant) -> io::Result<Socket> {
    let socket = Socket::new(Family::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(left(by)?))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// What is left until a moment, or that it is over. Zero would mean to a socket that there is no limit.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left.max(Duration::from_millis(1)))
}

/// What a system call or TLS says.
fn words(error: &io::Error) -> String {
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        let why = tls::certificate_failure(error).unwrap_or_else(|| tls::words(error));
        return format!("TLS failed: {}", one_line(&why, MAX_QUOTE));
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it did not answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}
