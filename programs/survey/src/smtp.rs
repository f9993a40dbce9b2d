//! What an MX host does up to the point where mail would be sent: EHLO, STARTTLS, the handshake, EHLO again, QUIT
//! (RFC 5321, RFC 3207). No mail is ever sent.
//!
//! Whatever certificate comes is taken, and handed over to be judged by the one check of this library.

mod talk;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, Error, ProtocolVersion, StreamOwned};
use rustls_pki_types::ServerName;

use mtasts::network::tls;
use mtasts::protocol::names::Domain;
use talk::{Reply, Talk, TalkError, words};

/// How long an address may take to accept a connection. One that has not by then is behind a firewall.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long a host may take to say good-bye.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// A connection to an MX host at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// How it ended.
    pub end: End,
    /// How many octets came in clear behind the answer to STARTTLS. They were thrown away (RFC 3207 4.2); a client that
    /// takes them for answers within TLS obeys whoever has put them there.
    pub injected: usize,
}

impl Session {
    /// One with a host that was not to be asked.
    pub(crate) const fn not_asked() -> Self {
        Self {
            end: End::NotAsked,
            injected: 0,
        }
    }
}

/// How far it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// This machine has no way to such addresses: that says nothing of the host.
    NoRoute,
    /// It was not to be asked.
    NotAsked,
    /// No connection: nothing at all came from this address, which may be the fault of a network that blocks port 25.
    Unreached(String),
    /// There is no SMTP service: it refuses the connection, is silent in it, or sends us away.
    NoService(String),
    /// STARTTLS is not among what it offers.
    StarttlsNotOffered,
    /// It answers the command STARTTLS with an error.
    StarttlsRefused(String),
    /// The handshake failed, but not over the certificate.
    HandshakeFailed(String),
    /// The handshake failed, and another TLS library than ours may well succeed.
    Unsupported(String),
    /// Encrypted.
    Tls {
        /// `TLSv1.3` or `TLSv1.2`.
        version: &'static str,
        /// In DER and the order in which they were sent.
        chain: Vec<Vec<u8>>,
        /// What went wrong when EHLO was sent once more, as every client must (RFC 3207 4.2).
        after: Result<(), String>,
    },
}

/// Talks to a host at port 25 of an address, up to the deadline at the longest.
///
/// The address is not looked at: unlike a policy host (see `addresses`), an MX host is asked because the operator asks
/// for it, and in his own network it may well be.
pub fn session(address: IpAddr, host: &Domain, deadline: Instant) -> Session {
    let mut injected = 0;
    let end = talk(address, host, deadline, &mut injected).unwrap_or_else(|end| end);
    Session { end, injected }
}

/// Every way to the end; those that leave early are errors for the sake of `?`.
fn talk(address: IpAddr, host: &Domain, deadline: Instant, injected: &mut usize) -> Result<End, End> {
    let wire = Wire::connect(SocketAddr::new(address, 25), deadline)?;
    let name = wire.own_name();
    let mut talk = Talk::new(wire);
    talk.expect("", 220).map_err(|error| End::NoService(error.words()))?;
    let capabilities = talk.expect(&format!("EHLO {name}"), 250);
    let offered = match capabilities {
        Ok(reply) => reply.offers("STARTTLS"),
        // Who does not know EHLO offers nothing, and can still be sent mail.
        Err(TalkError::Answer(Reply { code: 500..=504, .. })) => false,
        Err(error) => return Err(End::NoService(error.words())),
    };
    if !offered {
        talk.leave();
        return Ok(End::StarttlsNotOffered);
    }
    match talk.expect("STARTTLS", 220) {
        Ok(_) => {}
        Err(TalkError::Answer(reply)) => {
            talk.leave();
            return Ok(End::StarttlsRefused(reply.text()));
        }
        Err(TalkError::Io(error)) => return Err(End::HandshakeFailed(words(&error))),
    }
    *injected = talk.buffer.len();
    let mut wire = talk.stream;
    let mut connection = encrypt(host, address).map_err(|error| End::HandshakeFailed(error.to_string()))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut wire).map_err(|error| match words(&error) {
            why if tls::may_be_ours(&why) => End::Unsupported(why),
            why => End::HandshakeFailed(why),
        })?;
    }
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let chain = connection.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    let mut talk = Talk::new(StreamOwned::new(connection, wire));
    let after = talk.expect(&format!("EHLO {name}"), 250);
    let after = after.map(|_| talk.leave()).map_err(|error| error.words());
    Ok(End::Tls { version, chain, after })
}

fn encrypt(host: &Domain, address: IpAddr) -> Result<ClientConnection, Error> {
    // Whatever certificate comes is taken, if only its owner made the handshake: it is judged later.
    let config = tls::config(|_, _| Ok(()))?;
    // RFC 8461 7.1: SNI has the MX host's name. A Domain that is no name for TLS (its last label is a number) gets none.
    let name = ServerName::try_from(host.as_str().to_owned()).unwrap_or_else(|_| address.into());
    ClientConnection::new(Arc::new(config), name)
}

/// The socket, with one deadline for all that happens on it.
struct Wire {
    stream: TcpStream,
    deadline: Instant,
}

impl Wire {
    fn connect(address: SocketAddr, deadline: Instant) -> Result<Self, End> {
        let left = left(deadline).map_err(|error| End::Unreached(words(&error)))?;
        match TcpStream::connect_timeout(&address, left.min(CONNECT_TIME)) {
            Ok(stream) => Ok(Self { stream, deadline }),
            Err(error) if is_no_route(&error) => Err(End::NoRoute),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(End::NoService(words(&error))),
            Err(error) => Err(End::Unreached(words(&error))),
        }
    }

    /// Our address as a name for EHLO (RFC 5321 4.1.3): this machine may have no better one.
    fn own_name(&self) -> String {
        match self.stream.local_addr().map(|address| address.ip().to_canonical()) {
            Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
            Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
            Err(_) => "[127.0.0.1]".to_owned(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What is left of the time; never zero, which would mean "for ever".
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// A machine without IPv6, most often.
fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

impl<S: Read + Write + Hurry> Talk<S> {
    /// Says good-bye. What comes of it does not matter any more.
    fn leave(&mut self) {
        self.stream.hurry(Instant::now() + LEAVE_TIME);
        let _ = self.expect("QUIT", 221);
    }
}

/// What can be given less time than it had.
trait Hurry {
    fn hurry(&mut self, deadline: Instant);
}

impl Hurry for Wire {
    fn hurry(&mut self, deadline: Instant) {
        self.deadline = self.deadline.min(deadline);
    }
}

impl Hurry for StreamOwned<ClientConnection, Wire> {
    fn hurry(&mut self, deadline: Instant) {
        self.sock.hurry(deadline);
    }
}
