//! What is read of a certificate that was issued: its life, and by what its authority knows it (RFC 9773 4.1).

use mtasts::protocol::calendar;

/// id-ce-authorityKeyIdentifier.
const AUTHORITY_KEY: &[u8] = b"\x55\x1d\x23";

/// A certificate. Its bytes come from an authority.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Leaf {
    /// The content of its serial number.
    pub(crate) serial: Vec<u8>,
    /// The key identifier of its authority, if it has one.
    pub(crate) authority_key: Option<Vec<u8>>,
    /// From when on it is valid, in Unix seconds.
    pub(crate) from: u64,
    /// Until when.
    pub(crate) until: u64,
}

impl Leaf {
    /// `None` if it is not a certificate.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = element(der, 0x30)?;
        let (mut rest, _) = element(certificate, 0x30)?;
        // The version is there but for the oldest.
        if let Some((_, after)) = element(rest, 0xa0) {
            rest = after;
        }
        let (serial, rest) = element(rest, 0x02)?;
        let (_algorithm, rest) = element(rest, 0x30)?;
        let (_issuer, rest) = element(rest, 0x30)?;
        let (validity, rest) = element(rest, 0x30)?;
        let (from, after) = time(validity)?;
        let (until, _) = time(after)?;
        let (_subject, rest) = element(rest, 0x30)?;
        let (_key, mut rest) = element(rest, 0x30)?;
        let mut authority_key = None;
        while let Some((tag, content, after)) = any(rest) {
            rest = after;
            if tag == 0xa3 {
                authority_key = extension(element(content, 0x30)?.0, AUTHORITY_KEY).and_then(key_identifier);
            }
        }
        Some(Self {
            serial: serial.to_vec(),
            authority_key,
            from,
            until,
        })
    }
}

/// The value of an extension.
fn extension<'d>(mut all: &'d [u8], wanted: &[u8]) -> Option<&'d [u8]> {
    while let Some((one, rest)) = element(all, 0x30) {
        all = rest;
        let (id, mut rest) = element(one, 0x06)?;
        if let Some((_critical, after)) = element(rest, 0x01) {
            rest = after;
        }
        let (value, _) = element(rest, 0x04)?;
        if id == wanted {
            return Some(value);
        }
    }
    None
}

fn key_identifier(value: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = element(value, 0x30)?;
    element(content, 0x80).map(|(key, _)| key.to_vec())
}

/// An element of this tag: its content, and what follows it.
fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any(der)?;
    (tag == wanted).then_some((content, rest))
}

fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// A UTCTime or a GeneralizedTime (RFC 5280 4.1.2.5), in Unix seconds.
fn time(der: &[u8]) -> Option<(u64, &[u8])> {
    let (tag, content, rest) = any(der)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let text = match tag {
        0x17 if text.len() == 12 && text.is_ascii() => {
            let century = if &text[..2] < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        0x18 if text.len() == 14 && text.is_ascii() => text.to_owned(),
        _ => return None,
    };
    let day = calendar::day(&format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..8]))?;
    let part = |at: usize, most: u64| text[at..at + 2].parse::<u64>().ok().filter(|part| *part <= most);
    Some((day + part(8, 23)? * 3600 + part(10, 59)? * 60 + part(12, 59)?, rest))
}

#[cfg(test)]
mod tests {
    use mtasts_kit::pki;
    use rcgen::{SerialNumber, date_time_ymd};

    use super::*;

    #[test]
    fn its_life_and_its_name_for_the_authority() {
        let authority = pki::root("Test Root");
        let host = pki::host(&["mta-sts.example.com"], &authority, |params| {
            params.serial_number = Some(SerialNumber::from(vec![0x87, 0x65, 0x43, 0x21]));
            params.not_before = date_time_ymd(2026, 3, 1);
            params.not_after = date_time_ymd(2061, 3, 2);
        });
        let leaf = Leaf::read(&host.der).unwrap();
        // A leading zero says that it is positive, and belongs to it (RFC 9773 4.1).
        assert_eq!(leaf.serial, [0, 0x87, 0x65, 0x43, 0x21]);
        assert_eq!(leaf.from, calendar::day("2026-03-01").unwrap());
        assert_eq!(leaf.until, calendar::day("2061-03-02").unwrap());
        let key = leaf.authority_key.unwrap();
        let root = authority.der();
        assert!(
            key.len() == 20 && root.windows(20).any(|octets| octets == key),
            "{key:?}"
        );
        let own = pki::self_signed_host(&["mta-sts.example.com"]);
        assert_eq!(Leaf::read(&own.der).unwrap().from, calendar::day("2000-01-01").unwrap());
    }

    #[test]
    fn no_octets_are_a_panic() {
        let authority = pki::root("Test Root");
        let der = pki::host(&["mta-sts.example.com"], &authority, |_| {}).der;
        for end in 0..der.len() {
            Leaf::read(&der[..end]);
            let mut changed = der.clone();
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                changed[end] = value;
                Leaf::read(&changed);
            }
        }
        assert_eq!(Leaf::read(b"\x30\x83\xff\xff\xff"), None);
    }
}
