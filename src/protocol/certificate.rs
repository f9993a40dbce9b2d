//! Whether a certificate chain is good for an MX host or a policy host (RFC 8461 3.3, 4.2), and if not, why.
//!
//! The chain and the names in it come from a stranger: the work is bounded whatever it sends, and what goes into a
//! reason is printable ASCII of bounded length.
#![forbid(unsafe_code)]

mod near;
pub(crate) mod path;

use std::fmt;

use rustls_pki_types::{CertificateDer, DnsName, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error};

use crate::protocol::calendar;
use crate::protocol::names::Domain;
use crate::protocol::words::ResultType;
use path::NoPath;

/// How long a reason may be.
const MAX_REASON: usize = 512;
/// How much of a reason is made of the names in the certificate.
const MAX_NAMES: usize = 160;
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
    /// A failure as a report names it, and its reason.
    pub fn new(result: ResultType, reason: impl Into<String>) -> Self {
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
/// the trust anchors at the time `at`, for use by a server, and if that certificate names the host ([`check_name`]).
///
/// Revocation is not checked (RFC 8461 4.2 leaves it open). The TLS libraries settle the strength of the
/// host's own key in the handshake; a signature by SHA-1 or by an RSA key below 2048 bits is not accepted.
///
/// # Errors
/// What is wrong with the host's own certificate comes before what is wrong with its issuers, and the name comes last
/// (RFC 8460 4.3.1):
/// - `validation-failure`: there is no certificate, or it cannot be read;
/// - `certificate-expired`: it, or one that it depends on, has expired;
/// - `certificate-not-trusted`: it is not valid yet, is not meant for a server, or no path leads to a root;
/// - `certificate-host-mismatch`: it does not name the host.
pub fn check_chain(
    host: &Domain,
    chain: &[&[u8]],
    anchors: &[TrustAnchor<'_>],
    at: UnixTime,
) -> Result<(), CertificateFailure> {
    check_chain_of_any(std::slice::from_ref(host), chain, anchors, at)
}

/// The same, if one name of several is enough (RFC 7672 3.2.2). A mismatch is told of the first.
pub(crate) fn check_chain_of_any(
    names: &[Domain],
    chain: &[&[u8]],
    anchors: &[TrustAnchor<'_>],
    at: UnixTime,
) -> Result<(), CertificateFailure> {
    let Some((leaf, others)) = chain.split_first() else {
        return Err(CertificateFailure::new(
            ResultType::ValidationFailure,
            "the host sent no certificate",
        ));
    };
    let leaf = CertificateDer::from(*leaf);
    let leaf = read(&leaf)?;
    path::find(&leaf, others, anchors, at).map_err(|error| match error {
        NoPath::Ends(reason) => CertificateFailure::untrusted(reason),
        NoPath::Leaf(error) => failure(&error, "the certificate"),
        NoPath::Issuer(error) => failure(&error, "a certificate of an issuer"),
    })?;
    let mut mismatch = Ok(());
    for name in names {
        match named(&leaf, name) {
            Ok(()) => return Ok(()),
            error => mismatch = mismatch.and(error),
        }
    }
    mismatch
}

/// Checks that a certificate names the host: a DNS name among its subject alternative names, equal label by label in
/// any letter case, or with `*` in place of the whole left-most label (RFC 8461 4.1, RFC 9525 6.3). The common name,
/// IP addresses and all other names are ignored (RFC 9525 1.3), and so is a name that is not a host name.
///
/// # Errors
/// `certificate-host-mismatch`, or `validation-failure` if the certificate cannot be read
/// (`certificate-not-trusted` if it is a kind of certificate that we do not support).
pub fn check_name(host: &Domain, leaf: &[u8]) -> Result<(), CertificateFailure> {
    named(&read(&CertificateDer::from(leaf))?, host)
}

/// Whether a certificate has a DNS name at all among its subject alternative names. A TLS library that falls back to
/// the common name does so if there is none. A certificate that cannot be read has none.
#[must_use]
pub fn has_dns_name(leaf: &[u8]) -> bool {
    read(&CertificateDer::from(leaf)).is_ok_and(|leaf| leaf.valid_dns_names().next().is_some())
}

fn read<'a>(der: &'a CertificateDer<'a>) -> Result<EndEntityCert<'a>, CertificateFailure> {
    EndEntityCert::try_from(der).map_err(|error| failure(&error, "the certificate"))
}

fn named(leaf: &EndEntityCert<'_>, host: &Domain) -> Result<(), CertificateFailure> {
    let mismatch = |reason| Err(CertificateFailure::new(ResultType::CertificateHostMismatch, reason));
    // A host name whose last label is a number is a Domain for us, and an address for every CA.
    let Ok(name) = DnsName::try_from(host.as_str()) else {
        return mismatch(format!("{host} is not a name that a certificate can have"));
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
    let mut reason = match (shown.as_str(), more) {
        ("", 0) => {
            format!("the certificate names no host in its subjectAltName (the common name is ignored); expected {host}")
        }
        ("", _) => format!("the certificate names other hosts, not {host}"),
        (_, 0) => format!("the certificate names {shown}, not {host}"),
        _ => format!("the certificate names {shown} and {more} more, not {host}"),
    };
    for clause in near::clauses(leaf, host) {
        if reason.len() + 2 + clause.len() <= MAX_REASON {
            reason += "; ";
            reason += &clause;
        }
    }
    mismatch(reason)
}

/// RFC 8460's word and ours for an error of webpki about `whose` certificate.
fn failure(error: &Error, whose: &str) -> CertificateFailure {
    use Error::*;
    let untrusted = |what: &str| CertificateFailure::untrusted(format!("{whose} {what}"));
    match error {
        CertExpired { not_after, .. } => CertificateFailure::new(
            ResultType::CertificateExpired,
            format!("{whose} expired on {}", calendar::date(not_after.as_secs())),
        ),
        CertNotValidYet { not_before, .. } => {
            untrusted(&format!("is not valid before {}", calendar::date(not_before.as_secs())))
        }
        InvalidCertValidity => untrusted("ends before it begins"),
        CaUsedAsEndEntity => untrusted("is a CA certificate, not a host certificate"),
        EndEntityUsedAsCa => untrusted("is a host certificate, not a CA certificate"),
        EmptyEkuExtension | RequiredEkuNotFoundContext(_) => untrusted("is not for servers"),
        PathLenConstraintViolated => untrusted("must not have so many CAs below it"),
        NameConstraintViolation | MalformedNameConstraint | InvalidNetworkMaskConstraint => {
            CertificateFailure::untrusted("the certificate names hosts that its CA must not issue for")
        }
        InvalidSignatureForPublicKey => {
            CertificateFailure::untrusted("a signature does not verify with the key of its issuer, or that key is weak")
        }
        UnsupportedSignatureAlgorithmContext(it) => unsupported(&it.signature_algorithm_id, &[]),
        UnsupportedSignatureAlgorithmForPublicKeyContext(it) => {
            unsupported(&it.signature_algorithm_id, &it.public_key_algorithm_id)
        }
        SignatureAlgorithmMismatch => CertificateFailure::untrusted("a signature names two different algorithms"),
        UnsupportedCriticalExtension => untrusted("has an unknown critical extension"),
        UnsupportedCertVersion => untrusted("is not an X.509 version 3 certificate"),
        MaximumPathDepthExceeded
        | MaximumPathBuildCallsExceeded
        | MaximumSignatureChecksExceeded
        | MaximumNameConstraintComparisonsExceeded => {
            CertificateFailure::untrusted("the path to a root certificate is too long or too complex")
        }
        CertRevoked => untrusted("is revoked"),
        CertDistrusted => untrusted("is distrusted"),
        _ => CertificateFailure::new(ResultType::ValidationFailure, format!("{whose} cannot be read")),
    }
}

/// Kinds of signatures and keys that are good and that rustls cannot check with ring, by how their algorithm identifier
/// begins (RFC 5758, 8410, 4055, 5639).
const UNSUPPORTED: [(&[u8], &str); 8] = [
    (b"\x06\x05\x2b\x81\x04\x00\x23", "keys on the curve P-521"),
    (b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01", "keys on a Brainpool curve"),
    (b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04", "ECDSA with SHA-512"),
    (b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03", "this kind of ECDSA"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a",
        "RSA-PSS with these parameters",
    ),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e", "RSA with SHA-224"),
    (b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03", "this kind of signature"),
];

/// A signature that was not checked: the certificate is at fault if the algorithm is obsolete, otherwise our library
/// is.
fn unsupported(signature: &[u8], key: &[u8]) -> CertificateFailure {
    let curve = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let key = key.strip_prefix(&curve).unwrap_or(key);
    let known = |id: &[u8]| UNSUPPORTED.iter().find(|(known, _)| id.starts_with(known));
    CertificateFailure::untrusted(match known(key).or_else(|| known(signature)) {
        Some((_, what)) => format!("a signature cannot be checked: our TLS library does not support {what}"),
        None => "a signature uses an obsolete or unknown algorithm".to_owned(),
    })
}
