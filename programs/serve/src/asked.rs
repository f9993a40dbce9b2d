//! Whether a server answers, asked from another process.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::listener::Address;
use crate::netstring;

/// The query whose reply is the version.
pub(crate) const QUESTION: &str = "version";
/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The reply with the version of this server.
pub(crate) fn reply() -> String {
    format!("OK libmtasts {}", env!("CARGO_PKG_VERSION"))
}

/// Asks the server at an address for its version.
///
/// # Errors
/// Nothing listens there, or what does says nothing, or something else.
pub fn version(address: &Address) -> io::Result<String> {
    let reply = match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)?
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)?
        }
    };
    let version = reply.strip_prefix("OK libmtasts ");
    let version = version.ok_or_else(|| io::Error::other("what listens there is no server of libmtasts"))?;
    Ok(version.to_owned())
}

fn ask(mut stream: impl Read + Write) -> io::Result<String> {
    let mut question = Vec::new();
    netstring::put(QUESTION, &mut question);
    stream.write_all(&question)?;
    let mut octets = Vec::new();
    loop {
        let mut part = [0; 256];
        let read = stream.read(&mut part)?;
        octets.extend(&part[..read]);
        match netstring::first(&octets) {
            Ok(Some((text, _))) => return Ok(String::from_utf8_lossy(text).into_owned()),
            Ok(None) if read > 0 => {}
            _ => return Err(io::Error::other("what listens there gives no reply")),
        }
    }
}
