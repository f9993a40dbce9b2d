//! The sealed entry: what one host of a fleet has learnt of a domain, as it lies on a server that the fleet shares.
//!
//! ```text
//! mtasts-fleet 1 1790000000 <HMAC-SHA-256 of all but this word, in hex>
//! mtasts 1 <SHA-256 of all that follows this line, in hex>
//! domain: example.com
//! policy-id: 20160831085700Z
//! fetched: 1790000000
//! mode-since: 1780000000
//!
//! version: STSv1
//! ...
//! ```
//!
//! Below the first line is a file of the cache ([`Entry::to_file`]), and the same strict reader reads it. Whoever may write
//! to the server could plant a policy; without a key of the fleet nothing that is written there is an entry. The number is
//! the time of the fetch or of the failure once more, for the server's script, which keeps the later of two.

use std::fmt::{self, Write as _};

use ring::hmac::{self, HMAC_SHA256, Key};

use super::entry::{Entry, EntryError, MAX_FILE};
use crate::protocol::names::Domain;

/// The format's version. A reader that meets another one has met nothing.
pub const FORMAT: &str = "mtasts-fleet 1 ";
/// The longest sealed entry, in octets.
pub const MAX_SEALED: usize = MAX_FILE + 256;
/// How far the clocks of two hosts may differ, in seconds.
pub const CLOCKS_DIFFER: u64 = 300;
/// The octets of a key, and how many keys there may be: one, and during a change of keys the old one.
const KEY: usize = 32;
const MOST_KEYS: usize = 2;
/// The longest password.
const MAX_PASSWORD: usize = 512;

/// What the hosts of a fleet have in common and nobody else may know: the keys of their seals, and the password for the
/// server.
///
/// The file has a line for each: `key` and 64 hexadecimal digits, once or twice, and `password` and a text. The first key
/// seals, and the seal of either is good. Empty lines and lines that begin with `#` are skipped.
pub struct Secrets {
    keys: Vec<Key>,
    password: Option<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} keys)", self.keys.len())
    }
}

/// Why a text is not an entry of this fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealError {
    /// Not a sealed entry, or of another version of the format.
    Format,
    /// No key of this fleet has sealed it.
    Seal,
    /// It was learnt more than [`CLOCKS_DIFFER`] from now.
    Future,
    /// It has what no fleet shares.
    Foreign,
    /// What is sealed cannot be read.
    Entry(EntryError),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("not a sealed entry of this version of mtasts"),
            Self::Seal => f.write_str("no key of fleet_key_file has sealed it"),
            Self::Future => f.write_str("its time is more than five minutes from now"),
            Self::Foreign => f.write_str("it has what a fleet does not share"),
            Self::Entry(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for SealError {}

impl Secrets {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// The line and what is wrong with it, without its text: it may be a key with a typing error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut keys, mut password) = (Vec::new(), None);
        for (number, line) in (1..).zip(text.lines()) {
            let fail = |why: &str| Err(format!("line {number}: {why}"));
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(' ').map(|(name, value)| (name, value.trim())) {
                Some(("key", _)) if keys.len() == MOST_KEYS => return fail("more than two keys"),
                Some(("key", hex)) => match octets(hex) {
                    Some(octets) => keys.push(Key::new(HMAC_SHA256, &octets)),
                    None => return fail("a key has 64 hexadecimal digits; make one with: openssl rand -hex 32"),
                },
                Some(("password", _)) if password.is_some() => return fail("a second password"),
                Some(("password", text)) if text.len() <= MAX_PASSWORD && !text.contains(char::is_control) => {
                    password = Some(text.to_owned());
                }
                Some(("password", _)) => return fail("the password is too long, or has a control character"),
                _ => return fail("must be \"key\" and 64 hexadecimal digits, or \"password\" and a text"),
            }
        }
        if keys.is_empty() {
            return Err("there is no key; make one with: openssl rand -hex 32".to_owned());
        }
        Ok(Self { keys, password })
    }

    /// The password for the server, if it wants one.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

/// What hosts share of an entry: its policy, or else its failed fetch.
#[must_use]
pub fn shared(entry: &Entry) -> Entry {
    let mut shared = Entry::new(entry.domain.clone());
    if entry.cached.is_some() {
        shared.cached.clone_from(&entry.cached);
        shared.mode_since = entry.mode_since;
    } else {
        shared.failed.clone_from(&entry.failed);
    }
    shared
}

/// The time of a shared entry: of its fetch, or of its failure.
#[must_use]
pub fn time(entry: &Entry) -> u64 {
    let failed = || entry.failed.as_ref().map_or(0, |failed| failed.at);
    entry.cached.as_ref().map_or_else(failed, |cached| cached.fetched)
}

/// Seals what is shared of an entry.
#[must_use]
pub fn seal(secrets: &Secrets, entry: &Entry) -> String {
    let entry = shared(entry);
    let (time, file) = (time(&entry), entry.to_file());
    let tag = secrets.keys.first().map(|key| hmac::sign(key, &signed(time, &file)));
    let mut sealed = format!("{FORMAT}{time} ");
    for octet in tag.iter().flat_map(AsRef::as_ref) {
        let _ = write!(sealed, "{octet:02x}");
    }
    sealed.push('\n');
    sealed.push_str(&file);
    sealed
}

/// Reads what [`seal`] has made of an entry of this domain, by a host whose clock differs from `now` by
/// [`CLOCKS_DIFFER`] seconds at most. A time in the future is cut to `now`.
///
/// # Errors
/// A [`SealError`]: there is no such entry.
pub fn open(secrets: &Secrets, domain: &Domain, text: &[u8], now: u64) -> Result<Entry, SealError> {
    let text = std::str::from_utf8(text).map_err(|_| SealError::Format)?;
    let (first, file) = text.split_once('\n').ok_or(SealError::Format)?;
    let (at, tag) = first
        .strip_prefix(FORMAT)
        .and_then(|rest| rest.split_once(' '))
        .ok_or(SealError::Format)?;
    // One spelling alone: what is signed is the number, and what is compared on the server is the text.
    let at = at.parse().ok().filter(|number: &u64| number.to_string() == at);
    let tag = octets(tag).filter(|_| !tag.contains(|c: char| c.is_ascii_uppercase()));
    let (at, tag) = at.zip(tag).ok_or(SealError::Format)?;
    let signed = signed(at, file);
    if !secrets.keys.iter().any(|key| hmac::verify(key, &signed, &tag).is_ok()) {
        return Err(SealError::Seal);
    }
    if at > now.saturating_add(CLOCKS_DIFFER) {
        return Err(SealError::Future);
    }
    let entry = Entry::from_file(domain, file.as_bytes(), now).map_err(SealError::Entry)?;
    // What a fetch in the future is marked with, a pin, a use: no host of this fleet shares that.
    let honest = shared(&entry) == entry && !entry.is_empty() && time(&entry) == at.min(now);
    honest.then_some(entry).ok_or(SealError::Foreign)
}

/// What is signed: all of it, so that no word can be exchanged.
fn signed(time: u64, file: &str) -> Vec<u8> {
    format!("{FORMAT}{time}\n{file}").into_bytes()
}

/// The octets of 64 hexadecimal digits.
fn octets(hex: &str) -> Option<[u8; KEY]> {
    let mut octets = [0; KEY];
    if hex.len() != 2 * KEY || !hex.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, digits) in octets.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::entry::{CachedPolicy, FailedFetch, TxtSeen};
    use crate::protocol::words::ResultType;

    const NOW: u64 = 1_800_000_000;
    const POLICY: &str = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";

    fn secrets(keys: &[char]) -> Secrets {
        let line = |digit: &char| format!("key {}\n", digit.to_string().repeat(64));
        Secrets::parse(&keys.iter().map(line).collect::<String>()).unwrap()
    }

    fn domain() -> Domain {
        Domain::parse("example.com").unwrap()
    }

    fn fetched(at: u64) -> Entry {
        let mut entry = Entry::new(domain());
        entry.cached = Some(Arc::new(CachedPolicy::new("a1".parse().unwrap(), at, POLICY).unwrap()));
        entry.mode_since = Some(at - 9);
        entry
    }

    #[test]
    fn a_host_of_the_fleet_reads_what_another_has_sealed() {
        let entry = fetched(NOW - 5);
        let sealed = seal(&secrets(&['a']), &entry);
        assert!(sealed.len() < 500, "{} octets", sealed.len());
        assert_eq!(
            open(&secrets(&['a']), &domain(), sealed.as_bytes(), NOW),
            Ok(entry.clone())
        );
        // A change of keys: first each host knows both, then each seals with the new one.
        for keys in [['a', 'b'], ['b', 'a']] {
            assert_eq!(
                open(&secrets(&keys), &domain(), sealed.as_bytes(), NOW),
                Ok(entry.clone())
            );
        }
        assert_eq!(
            open(&secrets(&['b']), &domain(), sealed.as_bytes(), NOW),
            Err(SealError::Seal)
        );
        let mut failed = Entry::new(domain());
        let why = FailedFetch::new(
            "a1".parse().unwrap(),
            NOW,
            ResultType::StsPolicyFetchError,
            "HTTP status 500",
        );
        failed.failed = Some(why);
        let sealed = seal(&secrets(&['a']), &failed);
        assert_eq!(open(&secrets(&['a']), &domain(), sealed.as_bytes(), NOW), Ok(failed));
    }

    #[test]
    fn what_is_this_hosts_own_is_not_sealed() {
        let mut entry = fetched(NOW);
        entry.txt = Some(TxtSeen { at: NOW, next: NOW + 9 });
        entry.pinned_until = Some(NOW + 9);
        entry.used = Some(NOW);
        entry.imported = Some(NOW);
        let sealed = seal(&secrets(&['a']), &entry);
        assert_eq!(
            open(&secrets(&['a']), &domain(), sealed.as_bytes(), NOW),
            Ok(fetched(NOW))
        );
    }

    /// A host of the fleet whose clock is wrong, or that another program has the key of.
    #[test]
    fn a_seal_does_not_make_everything_good() {
        let key = secrets(&['a']);
        let by_hand = |time: u64, file: &str| {
            let tag = hmac::sign(&key.keys[0], &signed(time, file));
            let tag: String = tag.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            format!("{FORMAT}{time} {tag}\n{file}")
        };
        let open = |text: String| open(&key, &domain(), text.as_bytes(), NOW);
        let ahead = fetched(NOW + CLOCKS_DIFFER);
        let read = open(by_hand(NOW + CLOCKS_DIFFER, &ahead.to_file())).unwrap();
        assert_eq!(read.cached.unwrap().fetched, NOW, "it counts no longer than from now");
        let future = fetched(NOW + CLOCKS_DIFFER + 1);
        assert_eq!(open(by_hand(time(&future), &future.to_file())), Err(SealError::Future));
        assert_eq!(
            open(by_hand(NOW, &future.to_file())),
            Err(SealError::Foreign),
            "it lies"
        );
        let mut pinned = fetched(NOW);
        pinned.pinned_until = Some(NOW + 99);
        assert_eq!(open(by_hand(NOW, &pinned.to_file())), Err(SealError::Foreign));
        assert_eq!(
            open(by_hand(0, &Entry::new(domain()).to_file())),
            Err(SealError::Foreign)
        );
        let mut other = fetched(NOW);
        other.domain = Domain::parse("example.net").unwrap();
        assert_eq!(
            open(by_hand(NOW, &other.to_file())),
            Err(SealError::Entry(EntryError::OtherDomain))
        );
        let newer = fetched(NOW).to_file().replacen("mtasts 1 ", "mtasts 2 ", 1);
        assert_eq!(open(by_hand(NOW, &newer)), Err(SealError::Entry(EntryError::Format)));
        assert_eq!(
            open(seal(&key, &fetched(NOW)).replacen("fleet 1", "fleet 2", 1)),
            Err(SealError::Format)
        );
    }

    /// Each octet changed in turn, each cut, and each entry under another time.
    #[test]
    fn a_writer_without_the_key_plants_nothing() {
        let key = secrets(&['a']);
        let sealed = seal(&key, &fetched(NOW - 9)).into_bytes();
        for at in 0..sealed.len() {
            assert!(open(&key, &domain(), &sealed[..at], NOW).is_err(), "cut at {at}");
            for flip in [1, 2, 16, 0x20, 0x80] {
                let mut changed = sealed.clone();
                changed[at] ^= flip;
                assert!(open(&key, &domain(), &changed, NOW).is_err(), "{at} ^ {flip}");
            }
        }
        let text = String::from_utf8(sealed).unwrap();
        let later = text.replacen(&(NOW - 9).to_string(), &NOW.to_string(), 1);
        assert_eq!(open(&key, &domain(), later.as_bytes(), NOW), Err(SealError::Seal));
        for other in [format!("+{}", NOW - 9), format!("0{}", NOW - 9)] {
            let other = text.replacen(&(NOW - 9).to_string(), &other, 1);
            assert_eq!(open(&key, &domain(), other.as_bytes(), NOW), Err(SealError::Format));
        }
    }

    #[test]
    fn a_file_of_secrets_is_whole_or_refused() {
        let hex = "0123456789abcdefABCDEF9876543210".repeat(2);
        let good = Secrets::parse(&format!("# ours\n\nkey {hex}\nkey  {hex}\npassword a b\n")).unwrap();
        assert_eq!((good.keys.len(), good.password()), (2, Some("a b")));
        assert_eq!(format!("{good:?}"), "Secrets(2 keys)");
        for (text, why) in [
            (String::new(), "there is no key"),
            ("password x\n".to_owned(), "there is no key"),
            (format!("key {}\n", &hex[1..]), "line 1: a key has 64"),
            (format!("key {hex}0\n"), "line 1: a key has 64"),
            (format!("key {}g\n", &hex[1..]), "line 1: a key has 64"),
            (format!("key {hex}\n").repeat(3), "line 3: more than two"),
            (format!("key {hex}\npassword a\npassword b"), "line 3: a second"),
            (format!("{hex}\n"), "line 1: must be"),
            (
                format!("key {hex}\npassword {}", "x".repeat(513)),
                "line 2: the password",
            ),
        ] {
            let error = Secrets::parse(&text).unwrap_err();
            assert!(error.starts_with(why) && !error.contains(&hex[2..]), "{error}");
        }
    }
}
