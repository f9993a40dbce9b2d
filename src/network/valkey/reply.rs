//! What such a server answers: RESP, version 2. The server may be a stranger or broken, so all of it is bounded before it
//! is read: octets, elements, and how deep arrays lie in arrays.

use std::io::{self, BufRead, Read};

/// The longest reply in octets, headers and all. A sealed entry has 73 KiB at most.
const MAX_REPLY: usize = 128 * 1024;
/// The longest line: that of an error, of which the one about the protected mode has a thousand.
const MAX_LINE: usize = 2048;
/// How deep arrays may lie in arrays, and how many values one reply may have.
const MAX_DEPTH: usize = 3;
const MAX_VALUES: usize = 2048;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word of the server, such as `OK`.
    Status(Vec<u8>),
    /// The server refuses, in its words.
    Error(Vec<u8>),
    /// A number.
    Number(i64),
    /// Octets that somebody has stored.
    Bulk(Vec<u8>),
    /// There is nothing.
    Nothing,
    /// Several values.
    List(Vec<Self>),
}

impl Reply {
    /// Reads one reply, and no octet beyond it.
    ///
    /// # Errors
    /// What the connection says; [`io::ErrorKind::InvalidData`] if it is not a reply within the bounds.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let (mut octets, mut values) = (MAX_REPLY, MAX_VALUES);
        Self::element(from, &mut octets, &mut values, MAX_DEPTH)
    }

    fn element(from: &mut impl BufRead, octets: &mut usize, values: &mut usize, depth: usize) -> io::Result<Self> {
        *values = values.checked_sub(1).ok_or_else(|| bad("too many values"))?;
        let line = line(from, octets)?;
        let (kind, rest) = line.split_first().ok_or_else(|| bad("an empty line"))?;
        Ok(match kind {
            b'+' => Self::Status(rest.to_vec()),
            b'-' => Self::Error(rest.to_vec()),
            b':' => Self::Number(number(rest)?),
            b'$' => match number(rest)? {
                -1 => Self::Nothing,
                length => {
                    let length = usize::try_from(length).map_err(|_| bad("a negative length"))?;
                    let whole = length.checked_add(2).ok_or_else(|| bad("too long"))?;
                    *octets = octets.checked_sub(whole).ok_or_else(|| bad("too long"))?;
                    let mut bulk = vec![0; whole];
                    from.read_exact(&mut bulk)?;
                    if !bulk.ends_with(b"\r\n") {
                        return Err(bad("a value is longer than its length"));
                    }
                    bulk.truncate(length);
                    Self::Bulk(bulk)
                }
            },
            b'*' => match number(rest)? {
                -1 => Self::Nothing,
                count => {
                    let depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| bad("arrays lie too deep in arrays"))?;
                    let count = usize::try_from(count).map_err(|_| bad("a negative length"))?;
                    // An element has three octets at least, and each is counted before it is read.
                    let mut list = Vec::with_capacity(count.min(16));
                    for _ in 0..count {
                        list.push(Self::element(from, octets, values, depth)?);
                    }
                    Self::List(list)
                }
            },
            _ => return Err(bad("it is not a Valkey or Redis server")),
        })
    }
}

/// A line without its end.
fn line(from: &mut impl BufRead, octets: &mut usize) -> io::Result<Vec<u8>> {
    let most = MAX_LINE.min(*octets);
    let mut line = Vec::new();
    from.take(most as u64).read_until(b'\n', &mut line)?;
    *octets -= line.len();
    if line.pop() == Some(b'\n') && line.pop() == Some(b'\r') {
        return Ok(line);
    }
    Err(if line.len() + 2 >= most {
        bad("a line is too long")
    } else {
        io::ErrorKind::UnexpectedEof.into()
    })
}

/// A number as the protocol has it: no `+`, no spaces.
fn number(text: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("a number is missing"))
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> io::Result<Reply> {
        Reply::read(&mut &*text)
    }

    #[test]
    fn each_kind_of_reply_is_read_to_its_end() {
        let mut all: &[u8] =
            b"+OK\r\n-ERR no\r\n:-3\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:1\r\n";
        for expected in [
            Reply::Status(b"OK".to_vec()),
            Reply::Error(b"ERR no".to_vec()),
            Reply::Number(-3),
            Reply::Bulk(b"a\r\n".to_vec()),
            Reply::Bulk(Vec::new()),
            Reply::Nothing,
            Reply::Nothing,
            Reply::List(vec![Reply::Bulk(b"x".to_vec()), Reply::List(vec![Reply::Number(1)])]),
        ] {
            assert_eq!(Reply::read(&mut all).unwrap(), expected);
        }
        assert!(all.is_empty());
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_before_it_is_read() {
        for (text, why) in [
            (b"$536870912\r\n".to_vec(), "too long"),
            (b"$9223372036854775807\r\n".to_vec(), "too long"),
            (b"$-2\r\n".to_vec(), "a negative length"),
            (b"*-2\r\n".to_vec(), "a negative length"),
            (b"$x\r\n".to_vec(), "a number is missing"),
            (b":+1\r\n".to_vec(), "a number is missing"),
            (b"$1\r\nab\r\n".to_vec(), "longer than its length"),
            (b"*1\r\n".repeat(1_000_000), "too deep"),
            (
                [b"*1000000000\r\n".to_vec(), b":1\r\n".repeat(3000)].concat(),
                "too many values",
            ),
            ([b"-".to_vec(), vec![b'x'; 1 << 20]].concat(), "a line is too long"),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "not a Valkey"),
            (b"\r\n".to_vec(), "an empty line"),
            (b"%1\r\n".to_vec(), "not a Valkey"),
        ] {
            let error = read(&text).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains(why), "{error} instead of {why}");
        }
        for cut in [&b""[..], b"+OK", b"+OK\r", b"$3\r\nab", b"*2\r\n:1\r\n"] {
            assert_eq!(read(cut).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut:?}");
        }
    }
}
