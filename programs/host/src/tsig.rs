//! Signed messages of DNS (TSIG, RFC 8945) with HMAC-SHA256, from both sides: a request of ours and its answer, a request of a secondary
//! and the messages that answer it.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use data_encoding::BASE64;
use mtasts::Domain;
use ring::hmac;

/// The algorithm, as a name on the wire.
const ALGORITHM: &[u8] = b"\x0bhmac-sha256\0";
/// How far the clocks may be apart, in seconds (RFC 8945 10). What is older is a replay.
pub(crate) const FUDGE: u16 = 300;
const TSIG: u16 = 250;
/// What is wrong with a signature (RFC 8945 3).
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const ANY: u16 = 255;
/// Where the number of additional records is in a message.
const ADDITIONAL: usize = 10;
/// The shortest secret, in octets.
const SHORTEST: usize = 16;

/// A key as the settings name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile {
    /// `key`: its name, as the other side has it.
    pub key: Domain,
    /// `secret_file`: the file with its secret in base64.
    pub secret_file: PathBuf,
}

impl KeyFile {
    /// Reads the secret.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn open(&self) -> Result<Key, String> {
        let at = |why: &dyn fmt::Display| format!("secret_file: {}: {why}", self.secret_file.display());
        let text = fs::read_to_string(&self.secret_file).map_err(|error| at(&error))?;
        let secret = BASE64.decode(text.trim().as_bytes());
        let secret = secret.map_err(|_| at(&"is not a secret in base64"))?;
        if secret.len() < SHORTEST {
            return Err(at(&"the secret is shorter than 16 octets; make one with tsig-keygen"));
        }
        Ok(Key::new(self.key.as_str(), &secret))
    }
}

/// A key that both sides know.
pub(crate) struct Key {
    /// Its name on the wire, in lower case.
    name: Vec<u8>,
    key: hmac::Key,
}

/// What a request says of its signature.
pub(crate) enum Asked {
    /// Nothing.
    Plain,
    /// It is good: the request without it, the signature, to which the answer is bound, and when it was made (in Unix seconds).
    Signed(Vec<u8>, Vec<u8>, u64),
    /// It is not: the whole answer (RFC 8945 5.2).
    Refused(Vec<u8>),
    /// It is no message.
    Garbled,
}

/// The signature of a message: its record, which is the last one (RFC 8945 4.2).
struct Signature<'m> {
    /// Where its record begins.
    at: usize,
    name: Vec<u8>,
    is_hmac_sha256: bool,
    time: u64,
    fudge: u16,
    mac: &'m [u8],
    id: &'m [u8],
    error: u16,
    other: &'m [u8],
}

impl Key {
    /// A key by the name that the other side has for it.
    pub(crate) fn new(name: &str, secret: &[u8]) -> Self {
        Self {
            name: wire(name),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// How many octets a signature adds to a message.
    pub(crate) fn room(&self) -> usize {
        appended(&[0; 12], &self.name, 0, &[0; 32], 0, &[]).len() - 12
    }

    /// The message with a signature of this time (in Unix seconds), and the signature. That of an answer is bound to the one of the
    /// request; that of a request to none.
    pub(crate) fn sign(&self, message: &[u8], before: &[u8], now: u64) -> (Vec<u8>, Vec<u8>) {
        let mac = self.mac(&self.signed(before, message, now, FUDGE, 0, &[]));
        (appended(message, &self.name, now, &mac, 0, &[]), mac)
    }

    /// The same for one that goes on with an answer in several messages (RFC 8945 5.3.1).
    pub(crate) fn sign_next(&self, message: &[u8], before: &[u8], now: u64) -> (Vec<u8>, Vec<u8>) {
        let signed = [&counted(before), message, &now.to_be_bytes()[2..], &FUDGE.to_be_bytes()].concat();
        let mac = self.mac(&signed);
        (appended(message, &self.name, now, &mac, 0, &[]), mac)
    }

    /// Whether an answer to a request with this signature is signed with this key at about this time.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub(crate) fn check(&self, answer: &[u8], request: &[u8], now: u64) -> Result<(), String> {
        let Some(signature) = signature(answer) else {
            return Err("the answer is not signed".into());
        };
        if signature.name != self.name {
            return Err("the answer is signed with another key, or not at all".into());
        }
        if !signature.is_hmac_sha256 {
            return Err("the answer is signed otherwise than by HMAC-SHA256".into());
        }
        if signature.error != 0 && signature.mac.is_empty() {
            let what = match signature.error {
                BADSIG => "the signature is wrong (BADSIG)",
                BADKEY => "it does not know the key (BADKEY)",
                BADTIME => "its clock differs (BADTIME)",
                _ => "the signature is refused",
            };
            return Err(format!("the name server says that {what}"));
        }
        if !self.is_good(answer, &signature, request) {
            return Err("the signature of the answer is wrong".into());
        }
        match signature.is_of(now) {
            true => Ok(()),
            false => Err("the answer was signed at another time".into()),
        }
    }

    /// The answer to a request with this signature of this time, which is not taken at this time. It may know ours, and that it is ours
    /// (RFC 8945 5.2.3).
    pub(crate) fn late(&self, request: &[u8], mac: &[u8], time: u64, now: u64) -> Vec<u8> {
        let (answer, other) = (refusal(request), &now.to_be_bytes()[2..]);
        let signed = self.signed(mac, &answer, time, FUDGE, BADTIME, other);
        appended(&answer, &self.name, time, &self.mac(&signed), BADTIME, other)
    }

    fn is_good(&self, message: &[u8], signature: &Signature<'_>, before: &[u8]) -> bool {
        let Signature {
            time,
            fudge,
            error,
            other,
            ..
        } = *signature;
        let signed = self.signed(before, &signature.plain(message), time, fudge, error, other);
        hmac::verify(&self.key, &signed, signature.mac).is_ok()
    }

    fn mac(&self, signed: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key, signed).as_ref().to_vec()
    }

    /// What is signed (RFC 8945 4.3).
    fn signed(&self, before: &[u8], message: &[u8], time: u64, fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
        let begin = if before.is_empty() { Vec::new() } else { counted(before) };
        [
            &begin,
            message,
            &self.name,
            &ANY.to_be_bytes(),
            &[0; 4],
            ALGORITHM,
            &time.to_be_bytes()[2..],
            &fudge.to_be_bytes(),
            &error.to_be_bytes(),
            &counted(other),
        ]
        .concat()
    }
}

/// What a request says of its signature, for a server that knows this key or none, at this time in Unix seconds.
pub(crate) fn asked(key: Option<&Key>, request: &[u8], now: u64) -> Asked {
    let Some(signature) = signature(request) else {
        return match last_record(request) {
            Ok(_) => Asked::Plain,
            Err(Broken) => Asked::Garbled,
        };
    };
    let refused = |error: u16| {
        let answer = appended(&refusal(request), &signature.name, signature.time, &[], error, &[]);
        Asked::Refused(answer)
    };
    let known = key.filter(|key| key.name == signature.name && signature.is_hmac_sha256);
    let Some(key) = known else {
        return refused(BADKEY);
    };
    if !key.is_good(request, &signature, &[]) {
        return refused(BADSIG);
    }
    if !signature.is_of(now) {
        return Asked::Refused(key.late(request, signature.mac, signature.time, now));
    }
    let mut plain = signature.plain(request);
    // The answer has the id with which it came.
    plain[..2].copy_from_slice(&request[..2]);
    Asked::Signed(plain, signature.mac.to_vec(), signature.time)
}

/// The answer to a request with a signature that is not good: NOTAUTH, and nothing of the zone.
fn refusal(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..12].to_vec();
    answer[2] = 0x80 | (request[2] & 0x79);
    answer[3] = 9;
    answer[4..12].fill(0);
    answer
}

impl Signature<'_> {
    fn is_of(&self, now: u64) -> bool {
        self.time.abs_diff(now) <= self.fudge.min(FUDGE).into()
    }

    /// The message as it was before it was signed.
    fn plain(&self, message: &[u8]) -> Vec<u8> {
        let mut plain = message[..self.at].to_vec();
        let count = u16::from_be_bytes([plain[ADDITIONAL], plain[ADDITIONAL + 1]]).saturating_sub(1);
        plain[ADDITIONAL..ADDITIONAL + 2].copy_from_slice(&count.to_be_bytes());
        plain[..2].copy_from_slice(self.id);
        plain
    }
}

/// The message with the record of a signature behind it.
fn appended(message: &[u8], name: &[u8], time: u64, mac: &[u8], error: u16, other: &[u8]) -> Vec<u8> {
    let data = [
        ALGORITHM,
        &time.to_be_bytes()[2..],
        &FUDGE.to_be_bytes(),
        &counted(mac),
        &message[..2],
        &error.to_be_bytes(),
        &counted(other),
    ]
    .concat();
    let mut signed = message.to_vec();
    let count = u16::from_be_bytes([message[ADDITIONAL], message[ADDITIONAL + 1]]) + 1;
    signed[ADDITIONAL..ADDITIONAL + 2].copy_from_slice(&count.to_be_bytes());
    signed.extend_from_slice(name);
    signed.extend(TSIG.to_be_bytes());
    signed.extend(ANY.to_be_bytes());
    signed.extend([0; 4]);
    signed.extend(counted(&data));
    signed
}

/// Octets with their number before them.
fn counted(octets: &[u8]) -> Vec<u8> {
    let count = u16::try_from(octets.len()).unwrap_or_default();
    [&count.to_be_bytes(), octets].concat()
}

/// The signature of a message, if it has one that can be read.
fn signature(message: &[u8]) -> Option<Signature<'_>> {
    let at = last_record(message).ok()??;
    let (name, end) = name_at(message, at)?;
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    if number(end)? != TSIG || number(end + 2)? != ANY {
        return None;
    }
    let (algorithm, mut at) = name_at(message, end + 10)?;
    let mut take = |length: usize| {
        let octets = message.get(at..at + length);
        at += length;
        octets
    };
    let mut time = [0; 8];
    time[2..].copy_from_slice(take(6)?);
    let two = |octets: &[u8]| u16::from_be_bytes([octets[0], octets[1]]);
    let fudge = two(take(2)?);
    let length = two(take(2)?);
    let mac = take(length.into())?;
    let (id, error) = (take(2)?, two(take(2)?));
    let length = two(take(2)?);
    let other = take(length.into())?;
    (at == message.len()).then_some(Signature {
        at: last_record(message).ok()??,
        name,
        is_hmac_sha256: algorithm == ALGORITHM,
        time: u64::from_be_bytes(time),
        fudge,
        mac,
        id,
        error,
        other,
    })
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

/// What is not a message of DNS.
struct Broken;

/// Where the last of the additional records of a message begins, if there is any.
fn last_record(message: &[u8]) -> Result<Option<usize>, Broken> {
    let count = |at: usize| match message.get(at..at + 2) {
        Some(two) => Ok(u16::from_be_bytes([two[0], two[1]])),
        None => Err(Broken),
    };
    let mut at = 12;
    for _ in 0..count(4)? {
        at = after_name(message, at).ok_or(Broken)? + 4;
    }
    let additional = count(ADDITIONAL)?;
    let records = u32::from(count(6)?) + u32::from(count(8)?) + u32::from(additional);
    let mut last = None;
    for _ in 0..records {
        last = Some(at);
        let end = after_name(message, at).ok_or(Broken)?;
        at = end + 10 + usize::from(count(end + 8)?);
    }
    // Nothing may be behind it that is not signed.
    match at == message.len() {
        true => Ok(last.filter(|_| additional > 0)),
        false => Err(Broken),
    }
}

/// A name of a message, in lower case without compression, and where it ends.
fn name_at(message: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let end = after_name(message, at)?;
    let (mut name, mut at) = (Vec::new(), at);
    // RFC 1035 4.1.4: a pointer leads back, so that there is an end.
    loop {
        match *message.get(at)? {
            0 => break,
            length @ 1..=63 => {
                let label = message.get(at..at + 1 + usize::from(length))?;
                name.push(length);
                name.extend(label[1..].to_ascii_lowercase());
                at += label.len();
            }
            high @ 192.. => {
                let to = usize::from(high & 63) << 8 | usize::from(*message.get(at + 1)?);
                at = Some(to).filter(|to| *to < at)?;
            }
            _ => return None,
        }
        if name.len() > 254 {
            return None;
        }
    }
    name.push(0);
    Some((name, end))
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
    const REQUEST: &[u8] = b"\x12\x34\x28\0\0\0\0\0\0\0\0\0";
    const ANSWER: &[u8] = b"\x12\x34\xa8\0\0\0\0\0\0\0\0\0";

    fn keys() -> [Key; 2] {
        [
            Key::new("Update.Example", b"secret"),
            Key::new("update.example", b"other"),
        ]
    }

    #[test]
    fn an_answer_is_bound_to_its_request_its_key_and_its_time() {
        let [key, other] = keys();
        let (_, mac) = key.sign(REQUEST, &[], NOW);
        let (good, _) = key.sign(ANSWER, &mac, NOW);
        assert_eq!(key.check(&good, &mac, NOW + 299), Ok(()));
        // Replayed for another request, at another time, by another key, or by none.
        let (_, second) = key.sign(REQUEST, &[], NOW + 1);
        for (answer, request, now) in [
            (&good, &second, NOW),
            (&good, &mac, NOW + 301),
            (&other.sign(ANSWER, &mac, NOW).0, &mac, NOW),
            (&ANSWER.to_vec(), &mac, NOW),
            (&[&good[..], b"x"].concat(), &mac, NOW),
        ] {
            assert!(key.check(answer, request, now).is_err());
        }
        // Each octet counts, and no octets are a panic.
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            // The id is that of the message before a server has changed it; its TTL is not looked at.
            let is_free = at < 2 || (32..36).contains(&at);
            assert!(is_free || key.check(&changed, &mac, NOW).is_err(), "{at}");
            let _ = key.check(&good[..at], &mac, NOW);
        }
    }

    #[test]
    fn a_request_is_taken_with_this_key_at_this_time() {
        let [key, other] = keys();
        let (good, mac) = key.sign(REQUEST, &[], NOW);
        let Asked::Signed(plain, signature, time) = asked(Some(&key), &good, NOW + 300) else {
            panic!("it is good")
        };
        assert_eq!((&plain[..], signature, time), (REQUEST, mac.clone(), NOW));
        assert!(matches!(asked(Some(&key), REQUEST, NOW), Asked::Plain));
        let refused = |key: Option<&Key>, request: &[u8], now| match asked(key, request, now) {
            Asked::Refused(answer) => answer,
            _ => panic!("it is not refused"),
        };
        for (key, request, now, error) in [
            (None, &good, NOW, 17),
            (Some(&Key::new("x.example", b"secret")), &good, NOW, 17),
            (Some(&key), &other.sign(REQUEST, &[], NOW).0, NOW, 16),
            // A replay.
            (Some(&key), &good, NOW + 301, 18),
            (Some(&key), &good, NOW - 301, 18),
        ] {
            let answer = refused(key, request, now);
            assert_eq!((&answer[..2], answer[2] & 0x80, answer[3]), (&REQUEST[..2], 0x80, 9));
            assert_eq!(super::signature(&answer).unwrap().error, error);
        }
        // Who asked at another time learns ours, and believes it.
        let late = refused(Some(&key), &good, NOW + 1000);
        let said = super::signature(&late).unwrap();
        assert_eq!(said.other, &(NOW + 1000).to_be_bytes()[2..]);
        assert!(key.is_good(&late, &said, &mac));
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let is_free = at < 2 || (32..36).contains(&at);
            let is_taken = matches!(asked(Some(&key), &changed, NOW), Asked::Signed(..));
            assert!(is_free || !is_taken, "{at}");
            assert!(
                !matches!(asked(Some(&key), &good[..at], NOW), Asked::Signed(..)),
                "{at}"
            );
        }
    }

    #[test]
    fn a_name_is_read_whatever_is_in_it() {
        let message = b"\x03Key\x07Example\0\x01a\xc0\x00\xc0\x0d\xc0\x15";
        assert_eq!(name_at(message, 0), Some((wire("key.example"), 13)));
        assert_eq!(name_at(message, 13), Some((wire("a.key.example"), 17)));
        assert_eq!(name_at(message, 17), Some((wire("a.key.example"), 19)));
        // One that leads to itself or forward, or has no end.
        for (message, at) in [
            (&b"\xc0\x00"[..], 0),
            (b"\xc0\x02\xc0\x00", 0),
            (b"\x3fab", 0),
            (b"\x41a\0", 0),
            (b"", 0),
        ] {
            assert_eq!(name_at(message, at), None, "{message:?}");
        }
    }
}
