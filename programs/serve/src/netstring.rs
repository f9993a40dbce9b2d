//! The frames of socketmap_table(5): netstrings, `LENGTH:TEXT,`.

/// The longest query in octets. It is Postfix's own limit.
pub(crate) const LONGEST: usize = 10_000;
/// The longest frame of a query.
pub(crate) const FRAME: usize = LONGEST + "10000:,".len();

/// Octets that are not a netstring, or one that is too long. Nothing behind them can be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The text of the netstring at the beginning, and how long its frame is. Nothing if it has not all come yet.
pub(crate) fn first(octets: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let mut length: usize = 0;
    for (index, octet) in octets.iter().enumerate() {
        match octet {
            b':' if index > 0 => {
                let (begin, end) = (index + 1, index + 1 + length);
                return match octets.get(end) {
                    None => Ok(None),
                    Some(b',') => Ok(Some((&octets[begin..end], end + 1))),
                    Some(_) => Err(Malformed),
                };
            }
            // A leading zero is the whole number.
            b'0'..=b'9' if index == 0 || length > 0 => {
                length = length * 10 + usize::from(octet - b'0');
                if length > LONGEST {
                    return Err(Malformed);
                }
            }
            _ => return Err(Malformed),
        }
    }
    Ok(None)
}

/// Writes a netstring.
pub(crate) fn put(text: &str, into: &mut Vec<u8>) {
    into.extend(text.len().to_string().as_bytes());
    into.push(b':');
    into.extend(text.as_bytes());
    into.push(b',');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_what_is_none() {
        let text = |octets: &'static [u8]| first(octets);
        for (octets, text, frame) in [
            (&b"3:abc,"[..], &b"abc"[..], 6),
            (b"3:abc,3:def,", b"abc", 6),
            (b"0:,", b"", 3),
            (b"3:a,:,", b"a,:", 6),
        ] {
            assert_eq!(first(octets), Ok(Some((text, frame))));
        }
        for octets in [&b""[..], b"3", b"3:", b"3:ab", b"3:abc", b"10000:", b"0", b"0:"] {
            assert_eq!(text(octets), Ok(None), "{octets:?}");
        }
        for octets in [
            &b":"[..],
            b":abc,",
            b"03:abc,",
            b"00:,",
            b"3:abcd",
            b"3:abc;",
            b"-1:",
            b"+3:abc,",
            b" 3:abc,",
            b"3 :abc,",
            b"0x3:abc,",
            b"10001",
            b"1000000000",
            b"99999999999999999999999999",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\x00",
            b"\n",
            b"3:abc\0",
        ] {
            assert_eq!(text(octets), Err(Malformed), "{octets:?}");
        }
    }

    #[test]
    fn the_longest_query() {
        let mut frame = Vec::new();
        put(&"a".repeat(LONGEST), &mut frame);
        assert_eq!(frame.len(), FRAME);
        assert_eq!(first(&frame).unwrap().unwrap().0.len(), LONGEST);
        assert_eq!(first(&frame[..FRAME - 1]), Ok(None));
        frame.clear();
        put(&"a".repeat(LONGEST + 1), &mut frame);
        assert_eq!(first(&frame), Err(Malformed));
    }
}
