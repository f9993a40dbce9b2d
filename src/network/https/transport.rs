//! Between ureq and the socket: a bound on all that a host may send, TLS, and the difference between a cut connection
//! and the end of a policy.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use ureq::unversioned::transport::time::Duration;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};
use ureq::{Error, Timeout};

/// All that a host may send in one fetch: handshake, header, and a policy in whatever framing. ureq bounds the header
/// and the body, but not what can surround them: tickets, interim answers, chunk extensions, trailers.
pub(super) const MAX_WIRE: usize = 512 * 1024;

/// How long the socket is waited for at a time. The kernel rounds the time-out of a socket up, by as much as an eighth:
/// one of a minute would end two seconds late, when the caller has gone and the host's silence can no longer be
/// reported.
const SLICE: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a fetch ends here, in the words of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// More than [`MAX_WIRE`] arrived.
    TooMuch,
    /// The connection ended without TLS's own end (close_notify): anyone on the path can do that.
    Cut,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch => write!(f, "the host sent more than {} KiB", MAX_WIRE / 1024),
            Self::Cut => f.write_str("the connection was cut"),
        }
    }
}

impl std::error::Error for Stopped {}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        // Never one of the kinds that ureq takes for the end of the body.
        Self::Io(io::Error::other(stopped))
    }
}

/// Counts what comes out of the socket.
#[derive(Debug)]
pub(super) struct Meter;

impl<In: Transport> Connector<In> for Meter {
    type Out = Metered<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Metered<In>>, Error> {
        Ok(chained.map(|inner| Metered { inner, left: MAX_WIRE }))
    }
}

#[derive(Debug)]
pub(super) struct Metered<In> {
    inner: In,
    left: usize,
}

impl<In: Transport> Transport for Metered<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.inner.buffers().input().len();
        let begun = Instant::now();
        let progress = loop {
            let left = timeout.after.saturating_sub(begun.elapsed());
            let slice = NextTimeout {
                after: Duration::Exact(left.min(SLICE)),
                ..timeout
            };
            match self.inner.await_input(slice) {
                Err(Error::Timeout(_)) if left > SLICE => {}
                result => break result?,
            }
        };
        let arrived = self.inner.buffers().input().len().saturating_sub(before);
        self.left = self.left.checked_sub(arrived).ok_or(Stopped::TooMuch)?;
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Speaks TLS over what the chain has connected. ureq's own connector does not take our configuration, and passes an
/// unclean end on as if the body were complete.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// When TCP and the handshake together must be done.
    pub(super) connected_by: Instant,
    /// Set when the host has proved its name.
    pub(super) proved: Arc<AtomicBool>,
}

impl<In: Transport> Connector<In> for Tls {
    type Out = TlsTransport<In>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<TlsTransport<In>>, Error> {
        let (Some(inner), Some(host)) = (chained, details.uri.host()) else {
            return Ok(None);
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Tls("not a valid name for TLS"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut adapter = TransportAdapter::new(inner, Arc::clone(&details.current_time));
        let after = Duration::Exact(self.connected_by.saturating_duration_since(Instant::now()));
        adapter.set_timeout(NextTimeout {
            after,
            reason: Timeout::Connect,
            ..details.timeout
        });
        connection.complete_io(&mut adapter).map_err(no_end)?;
        self.proved.store(true, Ordering::Relaxed);
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(TlsTransport {
            buffers,
            stream: StreamOwned::new(connection, adapter),
        }))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

pub(super) struct TlsTransport<In: Transport> {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter<In>>,
}

impl<In: Transport> Transport for TlsTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output).map_err(no_end)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(no_end)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl<In: Transport> fmt::Debug for TlsTransport<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

/// ureq ends a body of unknown length at these errors, and so would take half a policy for a whole one.
fn no_end(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            Stopped::Cut.into()
        }
        _ => error.into(),
    }
}
