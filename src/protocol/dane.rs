//! Whether a certificate chain is what the TLSA records of a host say (RFC 7671 5, RFC 7672 3), and if not, why.
//!
//! No trust anchor of this host takes part: the domain has named its own, and DNSSEC vouches for that. Who calls this has
//! seen to it that the records are authentic. What the RFCs leave open is D-34.
#![forbid(unsafe_code)]

use rustls_pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};
use webpki::EndEntityCert;

use crate::protocol::certificate::{CertificateFailure, check_chain_of_any, path};
use crate::protocol::der;
use crate::protocol::names::Domain;
use crate::protocol::tlsa::{Matching, Selector, TlsaSet, Usage};
use crate::protocol::words::ResultType;

/// Checks the chain that a host has sent, the host's own certificate first. It is good if
///
/// - a DANE-EE record matches that certificate. Its names, its dates and all other certificates are then ignored
///   (RFC 7671 5.1, RFC 7672 3.1.1);
/// - or a path leads to the anchor that a DANE-TA record asserts, as [`check_chain`] understands a path, and the
///   certificate has one of the `names`: the TLSA base domain first, then the names that RFC 7672 3.2.2 allows. The
///   anchor is a certificate that the host has sent, or a full value in the record (RFC 7671 5.2).
///
/// Returns the usage that passed.
///
/// # Errors
/// - `tlsa-invalid`: none of the records is usable. There is TLS to be had, and nothing to check (RFC 7672 2.2);
/// - `validation-failure`: no record matches anything that the host has sent, or the host sent no certificate;
/// - `certificate-expired`, `certificate-not-trusted`, `certificate-host-mismatch`: an anchor was found, and what
///   [`check_chain`] says of the rest.
///
/// [`check_chain`]: crate::protocol::certificate::check_chain
pub fn check(names: &[Domain], chain: &[&[u8]], records: &TlsaSet, at: UnixTime) -> Result<Usage, CertificateFailure> {
    if records.used().is_empty() {
        return Err(CertificateFailure::new(
            ResultType::TlsaInvalid,
            "none of the TLSA records is usable",
        ));
    }
    let failed = |reason: &str| Err(CertificateFailure::new(ResultType::ValidationFailure, reason));
    let Some((leaf, others)) = chain.split_first() else {
        return failed("the host sent no certificate");
    };
    if records.matching(Usage::EndEntity, leaf).next().is_some() {
        return Ok(Usage::EndEntity);
    }
    let sent = path::bounded(others);
    let mut anchors = asserted_among(leaf, &sent, records);
    anchors.extend(asserted_in_full(leaf, &sent, records));
    if anchors.is_empty() {
        return failed("no TLSA record matches the certificates of the host");
    }
    check_chain_of_any(names, chain, &anchors, at).map(|()| Usage::TrustAnchor)
}

/// Whether a certificate can be an anchor. The host's own is none: nothing has issued it but itself.
fn may_issue(certificate: &[u8], leaf: &[u8]) -> bool {
    certificate != leaf && der::may_sign_certificates(certificate)
}

/// The certificates sent that a DANE-TA record matches.
fn asserted_among<'a>(leaf: &[u8], sent: &'a [CertificateDer<'_>], records: &TlsaSet) -> Vec<TrustAnchor<'a>> {
    sent.iter()
        .filter(|certificate| may_issue(certificate, leaf))
        .filter(|certificate| records.matching(Usage::TrustAnchor, certificate).next().is_some())
        .filter_map(|certificate| webpki::anchor_from_trusted_cert(certificate).ok())
        .collect()
}

/// The anchors that are in the records themselves, which a host need not send (RFC 7671 5.2). A bare key has no name: it
/// is an anchor under the name of each issuer in the chain.
fn asserted_in_full(leaf: &[u8], sent: &[CertificateDer<'_>], records: &TlsaSet) -> Vec<TrustAnchor<'static>> {
    let full: Vec<_> = records
        .used()
        .iter()
        .filter(|record| record.usage == Usage::TrustAnchor && record.matching == Matching::Full)
        .collect();
    let mut anchors = Vec::new();
    if full.is_empty() {
        return anchors;
    }
    let mut issuers: Vec<Vec<u8>> = Vec::new();
    let own = CertificateDer::from(leaf);
    for certificate in [&own].into_iter().chain(sent) {
        if let Ok(certificate) = EndEntityCert::try_from(certificate)
            && !issuers.iter().any(|known| known == certificate.issuer())
        {
            issuers.push(certificate.issuer().to_vec());
        }
    }
    for record in full {
        match record.selector {
            Selector::Certificate if !may_issue(&record.data, leaf) => {}
            Selector::Certificate => {
                let certificate = CertificateDer::from(record.data.as_slice());
                anchors.extend(webpki::anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned()));
            }
            Selector::PublicKey => anchors.extend(issuers.iter().filter_map(|issuer| {
                Some(TrustAnchor {
                    subject: Der::from(issuer.clone()),
                    subject_public_key_info: Der::from(der::content(&record.data)?.to_vec()),
                    name_constraints: None,
                })
            })),
        }
    }
    anchors
}
