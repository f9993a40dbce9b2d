//! Handshakes that go wrong on purpose, and what a good one tells.

use super::log::Tls;
use rustls::{HandshakeKind, ServerConnection};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How a handshake is refused.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// A fatal alert (RFC 8446 6).
    Alert(u8),
    /// RST.
    Reset,
    /// FIN.
    Close,
    /// These octets instead of a ServerHello.
    Clear(&'static [u8]),
    /// Nothing.
    Silence,
}

/// Waits for the ClientHello and refuses it.
pub(super) async fn refuse(mut stream: TcpStream, refusal: Refusal) -> io::Result<()> {
    let mut hello = [0; 4096];
    if stream.read(&mut hello).await? == 0 {
        return Ok(());
    }
    match refusal {
        Refusal::Alert(alert) => stream.write_all(&[21, 3, 1, 0, 2, 2, alert]).await?,
        Refusal::Clear(octets) => stream.write_all(octets).await?,
        Refusal::Reset => return stream.set_zero_linger(),
        Refusal::Close | Refusal::Silence => {}
    }
    if !matches!(refusal, Refusal::Silence) {
        stream.shutdown().await?;
    }
    drain(&mut stream).await
}

/// Reads until the client gives up: to close earlier could destroy what it has not read yet.
pub(super) async fn drain(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What the log says about a TLS session.
pub(super) fn describe(connection: &ServerConnection) -> Tls {
    Tls {
        version: connection
            .protocol_version()
            .map_or_else(String::new, |version| format!("{version:?}")),
        sni: connection.server_name().map(str::to_owned),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}
