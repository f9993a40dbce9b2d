//! Commands and replies of SMTP (RFC 5321 4.2), with a bound on what a host may send.

use std::io::{self, ErrorKind, Read, Write};

use mtasts::network::tls;
use mtasts::protocol::text::one_line;

/// The longest reply that is read, all its lines together; real ones have some hundred octets.
const MAX_REPLY: usize = 64 * 1024;
/// How much of a reply is told.
const MAX_QUOTE: usize = 200;

/// Commands and replies over a socket or TLS.
pub(super) struct Talk<S> {
    pub(super) stream: S,
    /// What has come and was not yet looked at.
    pub(super) buffer: Vec<u8>,
}

/// A reply, of however many lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    lines: Vec<String>,
}

pub(super) enum TalkError {
    /// A reply with another code.
    Answer(Reply),
    Io(io::Error),
}

impl TalkError {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Answer(reply) => format!("the host replied {}", reply.text()),
            Self::Io(error) => words(error),
        }
    }
}

impl From<io::Error> for TalkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Reply {
    pub(super) fn text(&self) -> String {
        one_line(&format!("{} {}", self.code, self.lines.join(" ")), MAX_QUOTE)
    }

    /// Whether a keyword stands in the answer to EHLO; its first line is the greeting.
    pub(super) fn offers(&self, keyword: &str) -> bool {
        let mut words = self
            .lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        words.any(|word| word.eq_ignore_ascii_case(keyword))
    }
}

impl<S: Read + Write> Talk<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends a command, or nothing where the host speaks first, and reads the reply.
    pub(super) fn expect(&mut self, command: &str, code: u16) -> Result<Reply, TalkError> {
        if !command.is_empty() {
            self.stream.write_all(format!("{command}\r\n").as_bytes())?;
            self.stream.flush()?;
        }
        let reply = self.reply()?;
        if reply.code == code {
            Ok(reply)
        } else {
            Err(TalkError::Answer(reply))
        }
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let (mut lines, mut length) = (Vec::new(), 0);
        loop {
            let line = self.line()?;
            length += line.len();
            let text = String::from_utf8_lossy(&line);
            let not_smtp = || io::Error::other(format!("the reply is not SMTP: {:?}", one_line(&text, MAX_QUOTE)));
            let code = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
            let code = code
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
                .ok_or_else(not_smtp)?;
            // RFC 5321 4.2: a hyphen stands behind the code in all lines but the last.
            let more = match line.get(3) {
                Some(b'-') => true,
                Some(b' ') | None => false,
                Some(_) => return Err(not_smtp()),
            };
            lines.push(text.chars().skip(4).collect());
            if !more {
                return Ok(Reply { code, lines });
            }
            if length > MAX_REPLY {
                return Err(io::Error::other("the host sent an endless reply"));
            }
        }
    }

    /// A line without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|octet| *octet == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            if self.buffer.len() > MAX_REPLY {
                return Err(io::Error::other("the host sent an endless line"));
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => self.buffer.extend_from_slice(&chunk[..length]),
            }
        }
    }
}

/// What an error says, for people.
pub(super) fn words(error: &io::Error) -> String {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return one_line(&tls::words(error), MAX_QUOTE);
    }
    match error.kind() {
        // Some systems call an expired socket timeout the one, some the other.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "the host did not answer in time".to_owned(),
        ErrorKind::UnexpectedEof => "the host closed the connection".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the host reset the connection".to_owned(),
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::HostUnreachable => "no route to the host".to_owned(),
        _ => one_line(&error.to_string(), MAX_QUOTE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the host sends, and nothing more.
    struct Host(io::Cursor<Vec<u8>>);

    impl Read for Host {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Host {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reply(sent: &[u8]) -> (Result<Reply, String>, Vec<u8>) {
        let mut talk = Talk::new(Host(io::Cursor::new(sent.to_vec())));
        (talk.reply().map_err(|error| words(&error)), talk.buffer)
    }

    #[test]
    fn replies() {
        let (ehlo, rest) = reply(b"250-mx.example Hello\r\n250-SIZE 1000\n250 StartTLS\r\n250 injected\r\n");
        let ehlo = ehlo.expect("a reply");
        assert_eq!((ehlo.code, ehlo.lines.len()), (250, 3));
        assert!(ehlo.offers("STARTTLS") && ehlo.offers("SIZE") && !ehlo.offers("mx.example"));
        assert_eq!(rest, b"250 injected\r\n");
        assert_eq!(reply(b"421\r\n").0.expect("a reply").text(), "421");
        assert!(
            !reply(b"250-mx STARTTLS\r\n250 XSTARTTLS\r\n")
                .0
                .expect("a reply")
                .offers("STARTTLS")
        );
    }

    #[test]
    fn what_is_no_reply() {
        for (sent, error) in [
            (&b""[..], "the host closed the connection"),
            (b"220 half", "the host closed the connection"),
            (
                b"HTTP/1.1 400 \x1b[31m\r\n",
                "the reply is not SMTP: \"HTTP/1.1 400  [31m\"",
            ),
            (b"2\xff0 x\r\n", "the reply is not SMTP: \"2\u{fffd}0 x\""),
            (b"2200 x\r\n", "the reply is not SMTP: \"2200 x\""),
            (b"\r\n", "the reply is not SMTP: \"\""),
        ] {
            assert_eq!(reply(sent).0, Err(error.to_owned()), "{sent:?}");
        }
        let flood = [b"220 ".to_vec(), vec![b'x'; 2 * MAX_REPLY]].concat();
        assert_eq!(reply(&flood).0, Err("the host sent an endless line".to_owned()));
        let flood = b"250-x\r\n".repeat(MAX_REPLY);
        assert_eq!(reply(&flood).0, Err("the host sent an endless reply".to_owned()));
    }
}
