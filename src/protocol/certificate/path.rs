//! The search for a path from a certificate to a root: webpki's, within our bounds.
//!
//! webpki tries every order in which the certificates fit by their names, reads all of them again at each step, and has
//! bounds of its own that let a stranger take seconds of the processor. Here it gets few certificates, and
//! we count its work: the algorithms and the purpose that it asks for at each step are ours, and end the search.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext,
};

use crate::protocol::der;

/// How many of the certificates sent are read. A server sends two to four.
const MAX_SENT: usize = 100;
/// How many octets of them: what OpenSSL takes of a whole chain is 100 KiB.
const MAX_OCTETS: usize = 128 * 1024;
/// The largest certificate that webpki reads.
const MAX_CERTIFICATE: usize = 64 * 1024;
/// How many of those sent may take part in the search.
const MAX_ISSUERS: usize = 8;
/// How many steps the search may have. A chain without detours has as many as certificates.
const MAX_STEPS: usize = 48;
/// How many signatures are checked. The longest path that webpki allows has seven.
const MAX_SIGNATURES: usize = 16;

/// The most that the octets of all names times those of all name constraints may be: webpki compares each with each. A
/// hundred names under a CA for five hundred domains have half of it.
const MAX_COMPARED: usize = 64 << 20;

/// id-kp-serverAuth (RFC 5280 4.2.1.12).
const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(b"\x2b\x06\x01\x05\x05\x07\x03\x01");

/// Those of the certificates sent through which a path from the leaf can lead.
pub(super) struct Issuers<'a> {
    /// By their names, nearest first.
    chosen: Vec<CertificateDer<'a>>,
    /// The names of those that would fit, but whose key must not sign certificates.
    barred: Vec<&'a [u8]>,
}

/// Why there is no path.
pub(super) enum NoPath {
    /// It ends before a root: the reason in words.
    Ends(String),
    /// The host's own certificate is at fault.
    Leaf(Error),
    /// Another certificate of the path is.
    Issuer(Error),
}

/// Looks for a path from the leaf, through some of the certificates sent, to a root.
pub(super) fn find(
    leaf: &EndEntityCert<'_>,
    others: &[&[u8]],
    anchors: &[TrustAnchor<'_>],
    at: UnixTime,
) -> Result<(), NoPath> {
    let others = bounded(others);
    let others: Vec<_> = others
        .iter()
        .filter_map(|der| Some((der, EndEntityCert::try_from(der).ok()?)))
        .collect();
    let issuers = Issuers::of(leaf, &others);
    if issuers.compared(&leaf.der()) > MAX_COMPARED {
        return Err(NoPath::Issuer(Error::MaximumNameConstraintComparisonsExceeded));
    }
    let steps = Steps {
        left: AtomicUsize::new(MAX_STEPS),
        signatures: AtomicUsize::new(MAX_SIGNATURES),
        leaf_is_good: AtomicBool::new(false),
    };
    let algorithms: Vec<_> = webpki::ALL_VERIFICATION_ALGS
        .iter()
        .map(|algorithm| Counted {
            algorithm: *algorithm,
            left: &steps.signatures,
        })
        .collect();
    let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = algorithms.iter().map(|counted| counted as _).collect();
    let found = leaf.verify_for_usage(&algorithms, anchors, &issuers.chosen, at, &steps, None, None);
    match found.map(|_| ()) {
        Ok(()) => Ok(()),
        Err(Error::UnknownIssuer) => Err(NoPath::Ends(issuers.end_of_path(leaf))),
        // webpki does not say which certificate is at fault, but it checks the leaf first.
        Err(error) if !steps.leaf_is_good.load(Relaxed) => Err(NoPath::Leaf(error)),
        // The signatures that were not checked any more did not fail.
        Err(_) if steps.signatures.load(Relaxed) == 0 => Err(NoPath::Issuer(Error::MaximumSignatureChecksExceeded)),
        Err(error) => Err(NoPath::Issuer(error)),
    }
}

/// The first of the certificates sent, as many as are read.
pub(crate) fn bounded<'a>(others: &[&'a [u8]]) -> Vec<CertificateDer<'a>> {
    let mut octets = 0;
    others
        .iter()
        .take(MAX_SENT)
        .filter(|der| der.len() <= MAX_CERTIFICATE)
        .take_while(|der| {
            octets += der.len();
            octets <= MAX_OCTETS
        })
        .map(|der| CertificateDer::from(*der))
        .collect()
}

impl<'a> Issuers<'a> {
    fn of(leaf: &'a EndEntityCert<'_>, others: &'a [(&CertificateDer<'a>, EndEntityCert<'a>)]) -> Self {
        let (mut chosen, mut barred) = (Vec::<CertificateDer<'a>>::new(), Vec::new());
        let mut wanted = vec![leaf.issuer()];
        let mut next = 0;
        while let Some(&name) = wanted.get(next) {
            next += 1;
            for (der, certificate) in others.iter().filter(|(_, certificate)| certificate.subject() == name) {
                if chosen.len() == MAX_ISSUERS || chosen.contains(der) {
                    continue;
                }
                // For webpki basicConstraints are enough.
                if !der::may_sign_certificates(der) {
                    barred.push(name);
                    continue;
                }
                chosen.push(CertificateDer::from(der.as_ref()));
                if !wanted.contains(&certificate.issuer()) {
                    wanted.push(certificate.issuer());
                }
            }
        }
        Self { chosen, barred }
    }

    /// How much there may be to compare because of name constraints.
    fn compared(&self, leaf: &[u8]) -> usize {
        let of = |id| self.chosen.iter().map(|der| der::octets_of(der, id)).sum::<usize>();
        (der::octets_of(leaf, der::SUBJECT_ALT_NAME) + of(der::SUBJECT_ALT_NAME)) * of(der::NAME_CONSTRAINTS)
    }

    /// The certificate at which the path ends that should have led to a root.
    fn end_of_path(&self, leaf: &EndEntityCert<'_>) -> String {
        if leaf.issuer() == leaf.subject() {
            return "self-signed certificate".to_owned();
        }
        let read: Vec<_> = self
            .chosen
            .iter()
            .filter_map(|der| EndEntityCert::try_from(der).ok())
            .collect();
        let mut name = leaf.issuer();
        for _ in &read {
            match read.iter().find(|certificate| certificate.subject() == name) {
                Some(issuer) if issuer.issuer() == name => {
                    return format!(
                        "the chain ends in an unknown root certificate: {}",
                        der::authority(name)
                    );
                }
                Some(issuer) => name = issuer.issuer(),
                None => break,
            }
        }
        if self.barred.contains(&name) {
            return format!(
                "the key usage of a CA certificate does not allow it to issue certificates: {}",
                der::authority(name)
            );
        }
        format!("issued by an unknown CA: {}", der::authority(name))
    }
}

/// What is asked at each step of a search: whether the certificate is meant for servers, and whether it is to go on.
struct Steps {
    left: AtomicUsize,
    signatures: AtomicUsize,
    /// The first certificate that came this far is the leaf, or the search would have ended.
    leaf_is_good: AtomicBool,
}

impl ExtendedKeyUsageValidator for Steps {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        // These two end the search; any other error would only end its branch.
        if !one_more(&self.left) {
            return Err(Error::MaximumPathBuildCallsExceeded);
        }
        if self.signatures.load(Relaxed) == 0 {
            return Err(Error::MaximumSignatureChecksExceeded);
        }
        let mut any = false;
        for purpose in purposes {
            if purpose? == SERVER_AUTH {
                any = false;
                break;
            }
            any = true;
        }
        if any {
            return Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext {
                required: KeyUsage::server_auth(),
                present: Vec::new(),
            }));
        }
        self.leaf_is_good.store(true, Relaxed);
        Ok(())
    }
}

/// A kind of signature, and how many may still be checked.
#[derive(Debug)]
struct Counted<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    left: &'a AtomicUsize,
}

impl SignatureVerificationAlgorithm for Counted<'_> {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        if !one_more(self.left) {
            return Err(InvalidSignature);
        }
        self.algorithm.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// Takes one unit of the work that is left, if there is any.
fn one_more(left: &AtomicUsize) -> bool {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let chosen = |others: &[CertificateDer<'static>]| {
            let read: Vec<_> = others
                .iter()
                .map(|der| (der, EndEntityCert::try_from(der).expect("readable")))
                .collect();
            Issuers::of(&host, &read)
                .chosen
                .iter()
                .map(|der| der.to_vec())
                .collect::<Vec<_>>()
        };
        let others: Vec<_> = [&stranger, &root, &one, &two, &leaf, &two, &one]
            .map(|c| c.der().clone())
            .into();
        let expected: Vec<_> = [&two, &leaf, &one, &root].map(|c| c.der().to_vec()).into();
        assert_eq!(chosen(&others), expected);
        let ring: Vec<_> = (0..20).map(|_| made("Two", Some(&two)).der().clone()).collect();
        let first: Vec<_> = ring[..MAX_ISSUERS].iter().map(|der| der.to_vec()).collect();
        assert_eq!(chosen(&ring), first);
        assert_eq!(chosen(&[]), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_sent_is_bounded() {
        let (small, large, huge) = (vec![0; 1000], vec![0; MAX_CERTIFICATE], vec![0; MAX_CERTIFICATE + 1]);
        assert_eq!(bounded(&vec![&small[..]; 200]).len(), MAX_SENT);
        assert_eq!(bounded(&[&huge, &small, &large, &large, &small]).len(), 2);
    }
}
