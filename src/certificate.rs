//! Whether a certificate chain is good for an MX host or a policy host (RFC 8461 3.3, 4.2), and if not, why.
//!
//! The chain and the names in it come from a stranger: the work is bounded whatever he sends, and what goes into a
//! reason is printable ASCII of bounded length.
#![forbid(unsafe_code)]

use std::fmt;

use rustls_pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::names::Domain;
use crate::result::ResultType;
use crate::roots::Roots;

/// How many of the certificates sent are looked at. A server sends two to four; OpenSSL's limit is 100 KiB of them.
const MAX_SENT: usize = 100;
/// How many of those sent may take part in the search for a path. Its cost grows with the factorial of their number.
const MAX_ISSUERS: usize = 8;
/// How much of a reason is made of the names in the certificate.
const MAX_NAMES: usize = 160;
/// How much of a reason is made of the name of an authority.
const MAX_AUTHORITY: usize = 64;

/// What is wrong with a certificate chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFailure {
    /// The word for it in a report (RFC 8460 4.3.1).
    pub result: ResultType,
    /// The same in plain words, fit for a log and for the `failure-reason-code` of a report: printable ASCII, at most
    /// 512 octets, and always the same for the same chain, so that reports can count it.
    pub reason: String,
}

impl CertificateFailure {
    pub(crate) fn new(result: ResultType, reason: impl Into<String>) -> Self {
        Self {
            result,
            reason: reason.into(),
        }
    }

    fn untrusted(reason: impl Into<String>) -> Self {
        Self::new(ResultType::CertificateNotTrusted, reason)
    }
}

impl fmt::Display for CertificateFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.result, self.reason)
    }
}

impl std::error::Error for CertificateFailure {}

/// Checks the chain that a host has sent: DER certificates, the host's own first, the others in any order and with
/// or without strangers and the root among them. It is good if a path leads from the host's certificate to one of
/// the roots at the time `at`, for use by a server, and if that certificate names the host ([`check_name`]).
///
/// Revocation is not checked (RFC 8461 4.2 leaves it open). The strength of the host's own key is its TLS library's
/// to settle in the handshake; a signature by SHA-1 or by an RSA key below 2048 bits counts for nothing.
///
/// # Errors
/// What is wrong with the host's own certificate comes before what is wrong with its issuers, and the name comes last
/// (RFC 8460 4.3.1):
/// - `validation-failure`: there is no certificate, or it cannot be read;
/// - `certificate-expired`: it, or one that it depends on, has expired;
/// - `certificate-not-trusted`: it is not valid yet, is not meant for a server, or no path leads to a root;
/// - `certificate-host-mismatch`: it does not name the host.
pub fn check_chain(chain: &[&[u8]], host: &Domain, roots: &Roots, at: UnixTime) -> Result<(), CertificateFailure> {
    let Some((leaf, others)) = chain.split_first() else {
        return Err(CertificateFailure::new(
            ResultType::ValidationFailure,
            "no certificate was sent",
        ));
    };
    let leaf = CertificateDer::from(*leaf);
    let leaf = read(&leaf)?;
    let others: Vec<_> = others
        .iter()
        .take(MAX_SENT)
        .map(|der| CertificateDer::from(*der))
        .collect();
    let issuers = possible_issuers(&leaf, &others);
    let verified = |roots, issuers| {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            roots,
            issuers,
            at,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map(|_| ())
    };
    if let Err(error) = verified(roots.anchors(), &issuers) {
        return Err(match error {
            Error::UnknownIssuer => CertificateFailure::untrusted(missing_issuer(&leaf, &issuers)),
            // The path search does not say whose fault it is; without anybody else it can only be the leaf's.
            _ if verified(&[], &[]).is_err_and(|alone| alone == error) => failure(&error, "the certificate"),
            _ => failure(&error, "a certificate of an issuer"),
        });
    }
    named(&leaf, host)
}

/// Checks that a certificate names the host: a DNS name among its subject alternative names, equal label by label in
/// any letter case, or with `*` in place of the whole left-most label (RFC 8461 4.1, RFC 9525 6.3). The common name,
/// IP addresses and all other names never count (RFC 9525 1.3); a name that is no host name is passed over.
///
/// # Errors
/// `certificate-host-mismatch`, or `validation-failure` if the certificate cannot be read
/// (`certificate-not-trusted` if it is a kind of certificate that we do not support).
pub fn check_name(leaf: &[u8], host: &Domain) -> Result<(), CertificateFailure> {
    named(&read(&CertificateDer::from(leaf))?, host)
}

/// Whether a certificate has a DNS name at all among its subject alternative names. A TLS library that falls back to the
/// common name does so where there is none. A certificate that cannot be read has none.
#[must_use]
pub fn has_dns_name(leaf: &[u8]) -> bool {
    read(&CertificateDer::from(leaf)).is_ok_and(|leaf| leaf.valid_dns_names().next().is_some())
}

fn read<'a>(der: &'a CertificateDer<'a>) -> Result<EndEntityCert<'a>, CertificateFailure> {
    EndEntityCert::try_from(der).map_err(|error| failure(&error, "the certificate"))
}

fn named(leaf: &EndEntityCert<'_>, host: &Domain) -> Result<(), CertificateFailure> {
    let mismatch = |reason| Err(CertificateFailure::new(ResultType::CertificateHostMismatch, reason));
    // A host name whose last label is a number is a Domain for us, and an address for everybody who issues names.
    let Ok(name) = DnsName::try_from(host.as_str()) else {
        return mismatch(format!("no certificate can name {host}"));
    };
    if leaf
        .verify_is_valid_for_subject_name(&ServerName::DnsName(name))
        .is_ok()
    {
        return Ok(());
    }
    let (mut shown, mut more) = (String::new(), 0);
    for name in leaf.valid_dns_names() {
        if more == 0 && shown.len() + name.len() <= MAX_NAMES {
            shown += if shown.is_empty() { "" } else { ", " };
            shown += name;
        } else {
            more += 1;
        }
    }
    mismatch(match (shown.as_str(), more) {
        ("", 0) => format!("names no host in its subjectAltName (a common name does not count); expected {host}"),
        ("", _) => format!("names other hosts, not {host}"),
        (_, 0) => format!("names {shown}; not {host}"),
        _ => format!("names {shown} and {more} more; not {host}"),
    })
}

/// Those of the certificates sent that can be issuers in a path from the leaf, going by their names, nearest first.
///
/// webpki tries every order in which those it is given fit, and at each step parses all of them again: a ring of
/// authorities that fit in any order and some thousands of strangers would take it minutes.
fn possible_issuers<'a>(leaf: &EndEntityCert<'_>, others: &'a [CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    let others: Vec<_> = others
        .iter()
        .filter_map(|der| Some((der, EndEntityCert::try_from(der).ok()?)))
        .collect();
    let mut wanted = vec![leaf.issuer()];
    let mut issuers: Vec<CertificateDer<'a>> = Vec::new();
    let mut next = 0;
    while let Some(&name) = wanted.get(next) {
        next += 1;
        for &(der, ref certificate) in others.iter().filter(|(_, certificate)| certificate.subject() == name) {
            if issuers.len() < MAX_ISSUERS && !issuers.contains(der) {
                issuers.push(CertificateDer::from(der.as_ref()));
                if !wanted.contains(&certificate.issuer()) {
                    wanted.push(certificate.issuer());
                }
            }
        }
    }
    issuers
}

/// Where the path ends that should have led to a root.
fn missing_issuer(leaf: &EndEntityCert<'_>, issuers: &[CertificateDer<'_>]) -> String {
    if leaf.issuer() == leaf.subject() {
        return "self-signed certificate".to_owned();
    }
    let mut name = leaf.issuer().to_vec();
    for _ in issuers {
        let found = issuers
            .iter()
            .filter_map(|der| EndEntityCert::try_from(der).ok())
            .find(|c| c.subject() == name);
        match found {
            Some(issuer) if issuer.issuer() == name => {
                return format!("the chain ends in an unknown root: {}", der::authority(&name));
            }
            Some(issuer) => name = issuer.issuer().to_vec(),
            None => break,
        }
    }
    format!("issued by an unknown CA: {}", der::authority(&name))
}

/// RFC 8460's word and ours for an error of webpki about `whose` certificate.
fn failure(error: &Error, whose: &str) -> CertificateFailure {
    use Error::*;
    let untrusted = |what: &str| CertificateFailure::untrusted(format!("{whose} {what}"));
    match error {
        CertExpired { not_after, .. } => CertificateFailure::new(
            ResultType::CertificateExpired,
            format!("{whose} expired on {}", Date::of(*not_after)),
        ),
        CertNotValidYet { not_before, .. } => untrusted(&format!("is not valid before {}", Date::of(*not_before))),
        InvalidCertValidity => untrusted("ends before it begins"),
        CaUsedAsEndEntity => untrusted("is a CA's, not a host's"),
        EndEntityUsedAsCa => untrusted("is a host's, not a CA's"),
        EmptyEkuExtension | RequiredEkuNotFoundContext(_) => untrusted("is not meant for servers"),
        PathLenConstraintViolated => untrusted("must not have that many CAs beneath it"),
        NameConstraintViolation | MalformedNameConstraint | InvalidNetworkMaskConstraint => {
            CertificateFailure::untrusted("names hosts that its CA must not issue for")
        }
        InvalidSignatureForPublicKey => {
            CertificateFailure::untrusted("a signature does not verify with the key of its issuer, or that key is weak")
        }
        UnsupportedSignatureAlgorithmContext(_)
        | UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | SignatureAlgorithmMismatch => {
            CertificateFailure::untrusted("a signature is of a kind that is obsolete or unknown")
        }
        UnsupportedCriticalExtension => untrusted("has an unknown critical extension"),
        UnsupportedCertVersion => untrusted("is not of X.509 version 3"),
        MaximumPathDepthExceeded
        | MaximumPathBuildCallsExceeded
        | MaximumSignatureChecksExceeded
        | MaximumNameConstraintComparisonsExceeded => {
            CertificateFailure::untrusted("the path to a root is too long or too complicated")
        }
        CertRevoked => untrusted("is revoked"),
        CertDistrusted => untrusted("is distrusted"),
        _ => CertificateFailure::new(ResultType::ValidationFailure, format!("{whose} cannot be read")),
    }
}

/// A day in UTC.
struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// Counts from 0000-03-01, so that the leap day is a year's last (the calendar repeats every 146097 days).
    fn of(time: UnixTime) -> Self {
        let days = time.as_secs() / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: 400 * era + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// The little of DER (X.690) that webpki does not read: the text of a name.
mod der {
    use super::MAX_AUTHORITY;

    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OBJECT_IDENTIFIER: u8 = 0x06;

    /// What tells an authority from others in the name of a certificate's issuer (RFC 5280 4.1.2.4), for a human:
    /// `CN=Example Root`. Characters that could mean something to a log or a shell become `?`.
    pub(super) fn authority(name: &[u8]) -> String {
        let attribute = [("CN", 3), ("O", 10), ("OU", 11)]
            .into_iter()
            .find_map(|(label, oid)| Some((label, attribute(name, &[0x55, 0x04, oid])?)));
        let Some((label, text)) = attribute else {
            return "(without a name)".to_owned();
        };
        let text = String::from_utf8_lossy(text);
        let plain = text.chars().map(|c| {
            if c.is_ascii_alphanumeric() || " .,:()'@&+*/_-".contains(c) {
                c
            } else {
                '?'
            }
        });
        format!("{label}={}", plain.take(MAX_AUTHORITY).collect::<String>())
    }

    /// The value of an attribute of an X.501 name: `SEQUENCE OF SET OF SEQUENCE { type, value }`, the outermost
    /// header already taken off.
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

    /// The first element: its tag, its content, and what comes after it. Lengths above 16 bits are not for us.
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
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_767_225_599, "2025-12-31"),
            (1_767_225_600, "2026-01-01"),
            (4_107_542_400, "2100-03-01"),
            (253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(
                Date::of(UnixTime::since_unix_epoch(Duration::from_secs(seconds))).to_string(),
                date
            );
        }
    }

    #[test]
    fn issuers_are_chosen_by_name_and_few() {
        let made = |name: &str, issuer: Option<&rcgen::CertifiedIssuer<'static, rcgen::KeyPair>>| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = rcgen::KeyPair::generate().expect("a key");
            match issuer {
                Some(issuer) => rcgen::CertifiedIssuer::signed_by(params, key, issuer),
                None => rcgen::CertifiedIssuer::self_signed(params, key),
            }
            .expect("a certificate")
        };
        let root = made("Root", None);
        let (one, stranger) = (made("One", Some(&root)), made("Stranger", Some(&root)));
        let (two, leaf) = (made("Two", Some(&one)), made("Two", Some(&one)));
        let host = made("host", Some(&two));
        let host = EndEntityCert::try_from(host.der()).expect("readable");
        let others: Vec<_> = [&stranger, &root, &one, &two, &leaf, &two, &one]
            .map(|c| c.der().clone())
            .into();
        let expected: Vec<_> = [&two, &leaf, &one, &root].map(|c| c.der().clone()).into();
        assert_eq!(possible_issuers(&host, &others), expected);
        let ring: Vec<_> = (0..20).map(|_| made("Two", Some(&two)).der().clone()).collect();
        assert_eq!(possible_issuers(&host, &ring), ring[..MAX_ISSUERS]);
        assert_eq!(possible_issuers(&host, &[]), []);
    }

    #[test]
    fn authority_of_a_name() {
        let attribute = |oid, text: &str| {
            let text = [&[0x0c, text.len() as u8], text.as_bytes()].concat();
            let pair = [&[0x06, 3, 0x55, 0x04, oid], &text[..]].concat();
            let pair = [&[0x30, pair.len() as u8], &pair[..]].concat();
            [&[0x31, pair.len() as u8], &pair[..]].concat()
        };
        let name = |attributes: &[(u8, &str)]| {
            der::authority(
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
        assert_eq!(name(&[(3, "a\r\n$(b)\"\\`ü")]), "CN=a???(b)????");
        assert_eq!(name(&[(3, &"x".repeat(100))]), format!("CN={}", "x".repeat(64)));
        assert_eq!(der::authority(b"\x31\x82\xff\xff\x30"), "(without a name)");
        assert_eq!(der::authority(b"\x31\x84"), "(without a name)");
    }
}
