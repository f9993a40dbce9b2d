//! Signed messages of DNS (TSIG, RFC 8945) with HMAC-SHA256: a request and its answer.

use ring::hmac;

/// The algorithm, as a name on the wire.
const ALGORITHM: &[u8] = b"\x0bhmac-sha256\0";
/// How far the clocks may be apart, in seconds (RFC 8945 10).
const FUDGE: u16 = 300;
const TSIG: u16 = 250;
const ANY: u16 = 255;
/// Where the number of additional records is in a message.
const ADDITIONAL: usize = 10;

/// A key that both sides know.
pub(crate) struct Key {
    /// Its name on the wire, in lower case.
    name: Vec<u8>,
    key: hmac::Key,
}

impl Key {
    /// A key by the name that the server has for it.
    pub(crate) fn new(name: &str, secret: &[u8]) -> Self {
        Self {
            name: wire(name),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// The message with a signature of this time (in Unix seconds), and the signature, to which the answer is bound.
    pub(crate) fn sign(&self, message: &[u8], now: u64) -> (Vec<u8>, Vec<u8>) {
        let mac = self.mac(&[], message, now, FUDGE, 0, &[]);
        let mut signed = message.to_vec();
        let count = u16::from_be_bytes([message[ADDITIONAL], message[ADDITIONAL + 1]]) + 1;
        signed[ADDITIONAL..ADDITIONAL + 2].copy_from_slice(&count.to_be_bytes());
        let length = u16::try_from(mac.len()).unwrap_or_default();
        let data = [
            ALGORITHM,
            &now.to_be_bytes()[2..],
            &FUDGE.to_be_bytes(),
            &length.to_be_bytes(),
            &mac,
            &message[..2],
            &[0; 4],
        ]
        .concat();
        signed.extend_from_slice(&self.name);
        signed.extend(TSIG.to_be_bytes());
        signed.extend(ANY.to_be_bytes());
        signed.extend([0; 4]);
        signed.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
        signed.extend(data);
        (signed, mac)
    }

    /// Whether an answer to a request with this signature is signed with this key at about this time.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub(crate) fn check(&self, answer: &[u8], request: &[u8], now: u64) -> Result<(), String> {
        let at = last_record(answer).ok_or("the answer is not signed")?;
        let name_end = at + self.name.len();
        if answer.get(at..name_end).map(<[u8]>::to_ascii_lowercase).as_deref() != Some(&self.name) {
            return Err("the answer is signed with another key, or not at all".into());
        }
        let short = || "the signature of the answer is cut off".to_owned();
        let head = answer.get(name_end..name_end + 10).ok_or_else(short)?;
        let data = &answer[name_end + 10..];
        let rest = data
            .strip_prefix(ALGORITHM)
            .ok_or("the answer is signed otherwise than by HMAC-SHA256")?;
        let number = |at: usize| rest.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        let (fudge, length) = number(6).zip(number(8)).ok_or_else(short)?;
        let mac = rest.get(10..10 + usize::from(length)).ok_or_else(short)?;
        let after = 10 + usize::from(length);
        let (error, other) = number(after + 2).zip(number(after + 4)).ok_or_else(short)?;
        let other = rest.get(after + 6..after + 6 + usize::from(other)).ok_or_else(short)?;
        if head[..2] != TSIG.to_be_bytes() {
            return Err("the answer is not signed".into());
        }
        if error != 0 && mac.is_empty() {
            let what = match error {
                16 => "the signature is wrong (BADSIG)",
                17 => "it does not know the key (BADKEY)",
                18 => "its clock differs (BADTIME)",
                _ => "the signature is refused",
            };
            return Err(format!("the name server says that {what}"));
        }
        let mut plain = answer[..at].to_vec();
        let count = u16::from_be_bytes([plain[ADDITIONAL], plain[ADDITIONAL + 1]]).saturating_sub(1);
        plain[ADDITIONAL..ADDITIONAL + 2].copy_from_slice(&count.to_be_bytes());
        plain[..2].copy_from_slice(&rest[after..after + 2]);
        let mut time = [0; 8];
        time[2..].copy_from_slice(&rest[..6]);
        let time = u64::from_be_bytes(time);
        let begin = [&u16::try_from(request.len()).unwrap_or_default().to_be_bytes(), request].concat();
        let signed = self.signed(&begin, &plain, time, fudge, error, other);
        hmac::verify(&self.key, &signed, mac).map_err(|_| "the signature of the answer is wrong")?;
        match time.abs_diff(now) <= FUDGE.into() {
            true => Ok(()),
            false => Err("the answer was signed at another time".into()),
        }
    }

    fn mac(&self, begin: &[u8], message: &[u8], time: u64, fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
        let signed = self.signed(begin, message, time, fudge, error, other);
        hmac::sign(&self.key, &signed).as_ref().to_vec()
    }

    /// What is signed (RFC 8945 4.3).
    fn signed(&self, begin: &[u8], message: &[u8], time: u64, fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
        let length = u16::try_from(other.len()).unwrap_or_default();
        [
            begin,
            message,
            &self.name,
            &ANY.to_be_bytes(),
            &[0; 4],
            ALGORITHM,
            &time.to_be_bytes()[2..],
            &fudge.to_be_bytes(),
            &error.to_be_bytes(),
            &length.to_be_bytes(),
            other,
        ]
        .concat()
    }
}

/// A name on the wire, in lower case, without compression.
pub(crate) fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len().min(63)).unwrap_or_default());
        wire.extend(label.bytes().take(63).map(|c| c.to_ascii_lowercase()));
    }
    wire.push(0);
    wire
}

/// Where the last record of a message begins.
fn last_record(message: &[u8]) -> Option<usize> {
    let count = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let mut at = 12;
    for _ in 0..count(4)? {
        at = after_name(message, at)? + 4;
    }
    let records = u32::from(count(6)?) + u32::from(count(8)?) + u32::from(count(10)?);
    let mut last = None;
    for _ in 0..records {
        last = Some(at);
        let end = after_name(message, at)?;
        at = end + 10 + usize::from(count(end + 8)?);
    }
    // Nothing may be behind it that is not signed.
    last.filter(|_| at == message.len() && count(10).is_some_and(|additional| additional > 0))
}

fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_798_675_200;

    /// An answer as a server with this key signs it.
    fn answer(key: &Key, request: &[u8], now: u64) -> Vec<u8> {
        let plain = b"\x12\x34\xa8\0\0\0\0\0\0\0\0\0";
        let begin = [&[0, 32], request].concat();
        let mac = key.mac(&begin, plain, now, FUDGE, 0, &[]);
        let (mut signed, own) = key.sign(plain, now);
        let at = signed.windows(32).position(|octets| octets == own).unwrap();
        signed[at..at + 32].copy_from_slice(&mac);
        signed
    }

    #[test]
    fn an_answer_is_bound_to_its_request_its_key_and_its_time() {
        let (key, other) = (
            Key::new("Update.Example", b"secret"),
            Key::new("update.example", b"other"),
        );
        let (_, mac) = key.sign(b"\x12\x34\x28\0\0\0\0\0\0\0\0\0", NOW);
        let good = answer(&key, &mac, NOW);
        assert_eq!(key.check(&good, &mac, NOW + 299), Ok(()));
        // Replayed for another request, at another time, by another key, or by none.
        let (_, second) = key.sign(b"\x12\x34\x28\0\0\0\0\0\0\0\0\0", NOW + 1);
        for (answer, request, now) in [
            (&good, &second, NOW),
            (&good, &mac, NOW + 301),
            (&answer(&other, &mac, NOW), &mac, NOW),
            (&b"\x12\x34\xa8\0\0\0\0\0\0\0\0\0".to_vec(), &mac, NOW),
            (&[&good[..], b"x"].concat(), &mac, NOW),
        ] {
            assert!(key.check(answer, request, now).is_err());
        }
        // Each octet counts, and no octets are a panic.
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            // The id is that of the message before a server has changed it; class and TTL are not looked at.
            let is_free = at < 2 || (30..36).contains(&at);
            assert!(is_free || key.check(&changed, &mac, NOW).is_err(), "{at}");
            let _ = key.check(&good[..at], &mac, NOW);
        }
    }
}
