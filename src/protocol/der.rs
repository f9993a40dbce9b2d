//! The little of DER (X.690) that webpki does not read: the text of a name, the key usage of an authority, and what
//! OpenSSL puts behind a certificate that it trusts.
#![forbid(unsafe_code)]

use crate::protocol::text::ascii_line;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` of the trust data of OpenSSL: the uses that are refused.
const REJECTED: u8 = 0xa0;
/// `[0]` of a certificate.
const VERSION: u8 = 0xa0;
/// `[3]` of a certificate.
const EXTENSIONS: u8 = 0xa3;

/// id-ce-subjectAltName.
pub(crate) const SUBJECT_ALT_NAME: &[u8] = b"\x55\x1d\x11";
/// id-ce-nameConstraints.
pub(crate) const NAME_CONSTRAINTS: &[u8] = b"\x55\x1d\x1e";
/// id-ce-keyUsage.
const KEY_USAGE: &[u8] = b"\x55\x1d\x0f";
/// id-kp-serverAuth and anyExtendedKeyUsage.
const SERVER_USES: [&[u8]; 2] = [b"\x2b\x06\x01\x05\x05\x07\x03\x01", b"\x55\x1d\x25\x00"];

/// How much of a reason is made of the name of an authority.
const MAX_AUTHORITY: usize = 64;

/// What identifies an authority in the name of a certificate's issuer (RFC 5280 4.1.2.4), for a human:
/// `CN=Example Root`. One line of ASCII; any other character becomes `?`.
pub(crate) fn authority(name: &[u8]) -> String {
    let attribute = [("CN", 3), ("O", 10), ("OU", 11)]
        .into_iter()
        .find_map(|(label, oid)| Some((label, attribute(name, &[0x55, 0x04, oid])?)));
    let Some((label, text)) = attribute else {
        return "(without a name)".to_owned();
    };
    format!("{label}={}", ascii_line(&String::from_utf8_lossy(text), MAX_AUTHORITY))
}

/// The value of an attribute of an X.501 name: `SEQUENCE OF SET OF SEQUENCE { type, value }`, the outermost header
/// already taken off.
fn attribute<'a>(mut name: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut value = None;
    while let Some((SET, mut set, rest)) = element(name) {
        while let Some((SEQUENCE, pair, others)) = element(set) {
            if let Some((OBJECT_IDENTIFIER, oid, text)) = element(pair)
                && oid == wanted
            {
                value = element(text).map(|(_, text, _)| text);
            }
            set = others;
        }
        name = rest;
    }
    value
}

/// Whether the key of an authority may sign certificates: its certificate has no key usage, or one with keyCertSign
/// (RFC 5280 4.2.1.3). If that cannot be read, it may not.
pub(crate) fn may_sign_certificates(certificate: &[u8]) -> bool {
    match extension(certificate, KEY_USAGE) {
        Some(None) => true,
        // The number of unused bits, then the bits from the highest on; keyCertSign is the sixth.
        Some(Some(value)) => matches!(element(value), Some((BIT_STRING, [_, bits, ..], _)) if bits & 0x04 != 0),
        None => false,
    }
}

/// How many octets an extension of a certificate has.
pub(crate) fn octets_of(certificate: &[u8], wanted: &[u8]) -> usize {
    extension(certificate, wanted).flatten().map_or(0, <[u8]>::len)
}

/// The public key of a certificate with its header (`SubjectPublicKeyInfo`, RFC 5280 4.1), or `None` if this is not
/// exactly one certificate. Fields are told by their place and their tag: what TLS libraries take for the key, and
/// nothing else, is the key.
pub(crate) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (SEQUENCE, parts, []) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut fields, signature) = element(parts)? else {
        return None;
    };
    let (SEQUENCE, _, signature) = element(signature)? else {
        return None;
    };
    let (BIT_STRING, _, []) = element(signature)? else {
        return None;
    };
    if let (VERSION, _, rest) = element(fields)? {
        fields = rest;
    }
    // The serial number, the algorithm, the issuer, the validity, the subject.
    for expected in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        let (tag, _, rest) = element(fields)?;
        if tag != expected {
            return None;
        }
        fields = rest;
    }
    let (_, _, rest) = element(fields)?;
    let key = &fields[..fields.len() - rest.len()];
    is_public_key(key).then_some(key)
}

/// What an element has behind its header.
pub(crate) fn content(der: &[u8]) -> Option<&[u8]> {
    element(der).map(|(_, content, _)| content)
}

/// Whether this is exactly one public key.
pub(crate) fn is_public_key(key: &[u8]) -> bool {
    let inside = |key| {
        let (SEQUENCE, parts, []) = element(key)? else {
            return None;
        };
        let (SEQUENCE, _, bits) = element(parts)? else {
            return None;
        };
        let (BIT_STRING, _, []) = element(bits)? else {
            return None;
        };
        Some(())
    };
    inside(key).is_some()
}

/// The value of an extension of a certificate, or an inner `None` if it has none; `None` if it cannot be read.
fn extension<'a>(certificate: &'a [u8], wanted: &[u8]) -> Option<Option<&'a [u8]>> {
    let (SEQUENCE, certificate, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut fields, _) = element(certificate)? else {
        return None;
    };
    while !fields.is_empty() {
        let (tag, content, rest) = element(fields)?;
        fields = rest;
        if tag != EXTENSIONS {
            continue;
        }
        let (_, mut extensions, _) = element(content)?;
        while !extensions.is_empty() {
            let (_, extension, rest) = element(extensions)?;
            extensions = rest;
            let (_, oid, after) = element(extension)?;
            if oid == wanted {
                let (tag, value, after) = element(after)?;
                return match tag {
                    BOOLEAN => element(after)
                        .filter(|(tag, ..)| *tag == OCTET_STRING)
                        .map(|(_, value, _)| Some(value)),
                    OCTET_STRING => Some(Some(value)),
                    _ => None,
                };
            }
        }
    }
    Some(None)
}

/// Names of a certificate's subjectAltName (RFC 5280 4.2.1.6), at most so many: the tag, and the octets. None if it cannot
/// be read.
pub(crate) fn alt_names(certificate: &[u8], most: usize) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    let Some((SEQUENCE, mut names, _)) = extension(certificate, SUBJECT_ALT_NAME).flatten().and_then(element) else {
        return found;
    };
    while let Some((tag, name, rest)) = element(names).filter(|_| found.len() < most) {
        found.push((tag, name));
        names = rest;
    }
    found
}

/// The common name of a certificate's subject, as one line of ASCII.
pub(crate) fn common_name(subject: &[u8]) -> Option<String> {
    let text = attribute(subject, &[0x55, 0x04, 3])?;
    Some(ascii_line(&String::from_utf8_lossy(text), MAX_AUTHORITY))
}

/// The certificate at the front of a `TRUSTED CERTIFICATE` of OpenSSL (`X509_CERT_AUX`), or `None` if the data after
/// it does not trust it for servers, or cannot be read.
pub(crate) fn trusted_for_servers(der: &[u8]) -> Option<&[u8]> {
    let (SEQUENCE, _, trust) = element(der)? else {
        return None;
    };
    let certificate = &der[..der.len() - trust.len()];
    if trust.is_empty() {
        return Some(certificate);
    }
    let (SEQUENCE, mut trust, _) = element(trust)? else {
        return None;
    };
    let names_servers = |mut uses: &[u8]| {
        while let Some((OBJECT_IDENTIFIER, purpose, rest)) = element(uses) {
            if SERVER_USES.contains(&purpose) {
                return true;
            }
            uses = rest;
        }
        false
    };
    while !trust.is_empty() {
        let (tag, content, rest) = element(trust)?;
        trust = rest;
        match tag {
            SEQUENCE if !names_servers(content) => return None,
            REJECTED if names_servers(content) => return None,
            _ => {}
        }
    }
    Some(certificate)
}

/// The first element: its tag, its content, and what comes after it. Lengths above 16 bits are an error.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, content) = match *der {
        [_, n @ ..=0x7f, ref rest @ ..] => (usize::from(n), rest),
        [_, 0x81, n, ref rest @ ..] => (usize::from(n), rest),
        [_, 0x82, high, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    let (content, rest) = content.split_at_checked(length)?;
    Some((der[0], content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_of_a_name() {
        let attribute = |oid, text: &str| {
            let text = [&[0x0c, text.len() as u8], text.as_bytes()].concat();
            let pair = [&[0x06, 3, 0x55, 0x04, oid], &text[..]].concat();
            let pair = [&[0x30, pair.len() as u8], &pair[..]].concat();
            [&[0x31, pair.len() as u8], &pair[..]].concat()
        };
        let name = |attributes: &[(u8, &str)]| {
            authority(
                &attributes
                    .iter()
                    .flat_map(|(oid, text)| attribute(*oid, text))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            name(&[(6, "DE"), (10, "Example"), (3, "Example's Root (R1)")]),
            "CN=Example's Root (R1)"
        );
        assert_eq!(name(&[(6, "DE"), (11, "Class 2"), (10, "Example")]), "O=Example");
        assert_eq!(name(&[(11, "Class 2")]), "OU=Class 2");
        assert_eq!(name(&[(6, "DE")]), "(without a name)");
        assert_eq!(name(&[]), "(without a name)");
        assert_eq!(name(&[(3, "a\r\n$(b)\"\\`ü")]), "CN=a  $(b)\"\\`?");
        assert_eq!(name(&[(3, &"x".repeat(100))]), format!("CN={}", "x".repeat(64)));
        assert_eq!(authority(b"\x31\x82\xff\xff\x30"), "(without a name)");
        assert_eq!(authority(b"\x31\x84"), "(without a name)");
    }

    #[test]
    fn openssl_says_what_a_certificate_is_trusted_for() {
        const CERTIFICATE: &[u8] = b"\x30\x03\x02\x01\x07";
        const SERVER: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";
        const CLIENT: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02";
        let with = |trust: &[&[u8]]| {
            let trust = trust.concat();
            let der = [CERTIFICATE, &[0x30, trust.len() as u8], &trust].concat();
            trusted_for_servers(&der).map(<[u8]>::to_vec)
        };
        let uses = |tag, oid: &[u8]| [&[tag, oid.len() as u8], oid].concat();
        let alias = b"\x0c\x02CA";
        assert_eq!(trusted_for_servers(CERTIFICATE), Some(CERTIFICATE));
        assert_eq!(with(&[]).as_deref(), Some(CERTIFICATE));
        assert_eq!(with(&[alias]).as_deref(), Some(CERTIFICATE));
        assert_eq!(with(&[&uses(0x30, SERVER), alias]).as_deref(), Some(CERTIFICATE));
        assert_eq!(
            with(&[&uses(0x30, SERVER), &uses(0xa0, CLIENT)]).as_deref(),
            Some(CERTIFICATE)
        );
        assert_eq!(with(&[&uses(0x30, CLIENT)]), None);
        assert_eq!(with(&[&uses(0xa0, SERVER)]), None);
        assert_eq!(with(&[&uses(0xa0, b"\x06\x04\x55\x1d\x25\x00")]), None);
        assert_eq!(trusted_for_servers(b"\x30\x03\x02\x01\x07\x30"), None);
    }
}
