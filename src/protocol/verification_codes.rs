//! What OpenSSL, GnuTLS and Node say about a certificate, in RFC 8460's words.
//!
//! For mail servers that verify with their own TLS library. The word is the one that [`crate::check_chain`] has for
//! the same certificate; if a library gives several reasons at once, the order is the same as there.
#![forbid(unsafe_code)]

use crate::protocol::certificate::CertificateFailure;
use crate::protocol::words::ResultType::{
    self, CertificateExpired as Expired, CertificateHostMismatch as Mismatch, CertificateNotTrusted as NotTrusted,
    ValidationFailure as Failure,
};

/// How much of an unknown code of Node goes into a reason.
const MAX_CODE: usize = 64;

/// Every `X509_V_ERR_` of OpenSSL 1.0.2 to 4.0 with its number. An error of a revocation list or an OCSP answer is
/// not the certificate's, and is therefore a `validation-failure`.
#[rustfmt::skip] // a row a line
const OPENSSL: &[(i64, &str, ResultType, &str)] = &[
    (1, "UNSPECIFIED", Failure, "the verification failed"),
    (2, "UNABLE_TO_GET_ISSUER_CERT", NotTrusted, "the certificate of an issuer is missing"),
    (3, "UNABLE_TO_GET_CRL", Failure, "no revocation list"),
    (4, "UNABLE_TO_DECRYPT_CERT_SIGNATURE", NotTrusted, "a signature cannot be read"),
    (5, "UNABLE_TO_DECRYPT_CRL_SIGNATURE", Failure, "the signature of a revocation list cannot be read"),
    (6, "UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY", NotTrusted, "the key of an issuer cannot be read"),
    (7, "CERT_SIGNATURE_FAILURE", NotTrusted, "a signature does not match its issuer"),
    (8, "CRL_SIGNATURE_FAILURE", Failure, "the signature of a revocation list is not its issuer's"),
    (9, "CERT_NOT_YET_VALID", NotTrusted, "a certificate is not valid yet"),
    (10, "CERT_HAS_EXPIRED", Expired, "a certificate has expired"),
    (11, "CRL_NOT_YET_VALID", Failure, "a revocation list is not valid yet"),
    (12, "CRL_HAS_EXPIRED", Failure, "a revocation list has expired"),
    (13, "ERROR_IN_CERT_NOT_BEFORE_FIELD", Failure, "a certificate's first day cannot be read"),
    (14, "ERROR_IN_CERT_NOT_AFTER_FIELD", Failure, "a certificate's last day cannot be read"),
    (15, "ERROR_IN_CRL_LAST_UPDATE_FIELD", Failure, "a revocation list's day cannot be read"),
    (16, "ERROR_IN_CRL_NEXT_UPDATE_FIELD", Failure, "a revocation list's last day cannot be read"),
    (17, "OUT_OF_MEM", Failure, "out of memory"),
    (18, "DEPTH_ZERO_SELF_SIGNED_CERT", NotTrusted, "self-signed certificate"),
    (19, "SELF_SIGNED_CERT_IN_CHAIN", NotTrusted, "the chain ends in an unknown root certificate"),
    (20, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY", NotTrusted, "issued by an unknown CA"),
    (21, "UNABLE_TO_VERIFY_LEAF_SIGNATURE", NotTrusted, "issued by an unknown CA, no intermediate sent"),
    (22, "CERT_CHAIN_TOO_LONG", NotTrusted, "the chain is too long"),
    (23, "CERT_REVOKED", NotTrusted, "a certificate is revoked"),
    (24, "NO_ISSUER_PUBLIC_KEY", NotTrusted, "an issuer is not a CA or has no key"),
    (25, "PATH_LENGTH_EXCEEDED", NotTrusted, "a CA must not have so many CAs below it"),
    (26, "INVALID_PURPOSE", NotTrusted, "a certificate is not for servers"),
    (27, "CERT_UNTRUSTED", NotTrusted, "the root is not trusted for servers"),
    (28, "CERT_REJECTED", NotTrusted, "the root is marked as rejected"),
    (29, "SUBJECT_ISSUER_MISMATCH", NotTrusted, "a certificate is not from the issuer that follows it"),
    (30, "AKID_SKID_MISMATCH", NotTrusted, "a certificate names another key of its issuer"),
    (31, "AKID_ISSUER_SERIAL_MISMATCH", NotTrusted, "a certificate names another certificate of its issuer"),
    (32, "KEYUSAGE_NO_CERTSIGN", NotTrusted, "an issuer's key is not meant to sign certificates"),
    (33, "UNABLE_TO_GET_CRL_ISSUER", Failure, "the issuer of a revocation list is missing"),
    (34, "UNHANDLED_CRITICAL_EXTENSION", NotTrusted, "a certificate has an unknown critical extension"),
    (35, "KEYUSAGE_NO_CRL_SIGN", Failure, "an issuer's key is not meant to sign revocation lists"),
    (36, "UNHANDLED_CRITICAL_CRL_EXTENSION", Failure, "a revocation list has an unknown critical extension"),
    (37, "INVALID_NON_CA", NotTrusted, "a CA certificate is where none may be"),
    (38, "PROXY_PATH_LENGTH_EXCEEDED", NotTrusted, "too many proxy certificates"),
    (39, "KEYUSAGE_NO_DIGITAL_SIGNATURE", NotTrusted, "a proxy's issuer must not sign"),
    (40, "PROXY_CERTIFICATES_NOT_ALLOWED", NotTrusted, "a proxy certificate"),
    (41, "INVALID_EXTENSION", NotTrusted, "a certificate has a malformed extension"),
    (42, "INVALID_POLICY_EXTENSION", NotTrusted, "a certificate has a malformed policy extension"),
    (43, "NO_EXPLICIT_POLICY", NotTrusted, "the chain has no certificate policy"),
    (44, "DIFFERENT_CRL_SCOPE", Failure, "a revocation list is for other certificates"),
    (45, "UNSUPPORTED_EXTENSION_FEATURE", NotTrusted, "a certificate has an unsupported extension"),
    (46, "UNNESTED_RESOURCE", NotTrusted, "a certificate covers more than its issuer may issue for"),
    (47, "PERMITTED_VIOLATION", NotTrusted, "a name that the CA must not issue for"),
    (48, "EXCLUDED_VIOLATION", NotTrusted, "a name that the CA must not issue for"),
    (49, "SUBTREE_MINMAX", NotTrusted, "a name constraint that is not supported"),
    (50, "APPLICATION_VERIFICATION", Failure, "the mail server's own check failed"),
    (51, "UNSUPPORTED_CONSTRAINT_TYPE", NotTrusted, "a name constraint that is not supported"),
    (52, "UNSUPPORTED_CONSTRAINT_SYNTAX", NotTrusted, "a name constraint that cannot be read"),
    (53, "UNSUPPORTED_NAME_SYNTAX", NotTrusted, "a name that cannot be read"),
    (54, "CRL_PATH_VALIDATION_ERROR", Failure, "no path to a revocation list's root"),
    (55, "PATH_LOOP", NotTrusted, "the chain is a loop"),
    (56, "SUITE_B_INVALID_VERSION", NotTrusted, "a certificate's version is not allowed (Suite B)"),
    (57, "SUITE_B_INVALID_ALGORITHM", NotTrusted, "a key is of a kind that is not allowed (Suite B)"),
    (58, "SUITE_B_INVALID_CURVE", NotTrusted, "a key's curve is not allowed (Suite B)"),
    (59, "SUITE_B_INVALID_SIGNATURE_ALGORITHM", NotTrusted, "a signature's kind is not allowed (Suite B)"),
    (60, "SUITE_B_LOS_NOT_ALLOWED", NotTrusted, "a key's strength is not allowed (Suite B)"),
    (61, "SUITE_B_CANNOT_SIGN_P_384_WITH_P_256", NotTrusted, "a stronger key is signed by a weaker (Suite B)"),
    (62, "HOSTNAME_MISMATCH", Mismatch, "the certificate does not name the host"),
    (63, "EMAIL_MISMATCH", Mismatch, "the certificate does not name the mail address"),
    (64, "IP_ADDRESS_MISMATCH", Mismatch, "the certificate does not name the address"),
    (65, "DANE_NO_MATCH", Failure, "no TLSA record matches"),
    (66, "EE_KEY_TOO_SMALL", NotTrusted, "the host's key is too weak"),
    (67, "CA_KEY_TOO_SMALL", NotTrusted, "a CA's key is too weak"),
    (68, "CA_MD_TOO_WEAK", NotTrusted, "a signature's digest is too weak"),
    (69, "INVALID_CALL", Failure, "the mail server's call to OpenSSL was invalid"),
    (70, "STORE_LOOKUP", Failure, "the trust anchors could not be searched"),
    (71, "NO_VALID_SCTS", NotTrusted, "the certificate is in no certificate transparency log"),
    (72, "PROXY_SUBJECT_NAME_VIOLATION", NotTrusted, "a proxy certificate has a wrong name"),
    (73, "OCSP_VERIFY_NEEDED", Failure, "an OCSP answer is needed"),
    (74, "OCSP_VERIFY_FAILED", Failure, "the OCSP answer could not be verified"),
    (75, "OCSP_CERT_UNKNOWN", NotTrusted, "the OCSP responder does not know the certificate"),
    (76, "UNSUPPORTED_SIGNATURE_ALGORITHM", NotTrusted, "a signature uses an unknown algorithm"),
    (77, "SIGNATURE_ALGORITHM_MISMATCH", NotTrusted, "a signature's algorithm does not match the issuer's key"),
    (78, "SIGNATURE_ALGORITHM_INCONSISTENCY", NotTrusted, "a certificate names two signature algorithms"),
    (79, "INVALID_CA", NotTrusted, "an issuer is not a CA"),
    (80, "PATHLEN_INVALID_FOR_NON_CA", NotTrusted, "a path length in a certificate that is not a CA's"),
    (81, "PATHLEN_WITHOUT_KU_KEY_CERT_SIGN", NotTrusted, "a path length in a certificate that must not sign"),
    (82, "KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA", NotTrusted, "a certificate that is not a CA's says it may sign"),
    (83, "ISSUER_NAME_EMPTY", NotTrusted, "a certificate without its issuer's name"),
    (84, "SUBJECT_NAME_EMPTY", NotTrusted, "a CA's certificate without a name"),
    (85, "MISSING_AUTHORITY_KEY_IDENTIFIER", NotTrusted, "a certificate without its issuer's key identifier"),
    (86, "MISSING_SUBJECT_KEY_IDENTIFIER", NotTrusted, "a CA's certificate without its key identifier"),
    (87, "EMPTY_SUBJECT_ALT_NAME", Mismatch, "the certificate's subjectAltName is empty"),
    (88, "EMPTY_SUBJECT_SAN_NOT_CRITICAL", NotTrusted, "a certificate's only names are not marked critical"),
    (89, "CA_BCONS_NOT_CRITICAL", NotTrusted, "a CA certificate's basic constraints are not critical"),
    (90, "AUTHORITY_KEY_IDENTIFIER_CRITICAL", NotTrusted, "an issuer's key identifier is marked critical"),
    (91, "SUBJECT_KEY_IDENTIFIER_CRITICAL", NotTrusted, "a key identifier is marked critical"),
    (92, "CA_CERT_MISSING_KEY_USAGE", NotTrusted, "a CA's certificate without key usage"),
    (93, "EXTENSIONS_REQUIRE_VERSION_3", NotTrusted, "a certificate's version is too old for its extensions"),
    (94, "EC_KEY_EXPLICIT_PARAMS", NotTrusted, "a key has explicit curve parameters"),
    (95, "RPK_UNTRUSTED", NotTrusted, "a raw public key that is not trusted"),
    (96, "OCSP_RESP_INVALID", Failure, "the OCSP answer is invalid"),
    (97, "OCSP_SIGNATURE_FAILURE", Failure, "the signature of the OCSP answer is wrong"),
    (98, "OCSP_NOT_YET_VALID", Failure, "the OCSP answer is not valid yet"),
    (99, "OCSP_HAS_EXPIRED", Failure, "the OCSP answer has expired"),
    (100, "OCSP_NO_RESPONSE", Failure, "no OCSP answer"),
    (101, "CRL_VERIFY_FAILED", Failure, "a revocation list could not be verified"),
    (102, "EMPTY_AUTHORITY_KEY_IDENTIFIER", NotTrusted, "an issuer's key identifier is empty"),
    (103, "AKID_ISSUER_SERIAL_NOT_PAIRED", NotTrusted, "an issuer's name and serial number are not paired"),
    (104, "DUPLICATE_EXTENSION", NotTrusted, "a certificate has the same extension twice"),
];

/// Every bit of `gnutls_certificate_status_t`, the most telling first. GnuTLS sets a bit for each error.
#[rustfmt::skip] // a row a line
const GNUTLS: &[(u32, &str, ResultType, &str)] = &[
    (1 << 10, "EXPIRED", Expired, "a certificate has expired"),
    (1 << 9, "NOT_ACTIVATED", NotTrusted, "a certificate is not valid yet"),
    (1 << 5, "REVOKED", NotTrusted, "a certificate is revoked"),
    (1 << 6, "SIGNER_NOT_FOUND", NotTrusted, "issued by an unknown CA"),
    (1 << 7, "SIGNER_NOT_CA", NotTrusted, "an issuer is not a CA"),
    (1 << 11, "SIGNATURE_FAILURE", NotTrusted, "a signature does not match its issuer"),
    (1 << 16, "SIGNER_CONSTRAINTS_FAILURE", NotTrusted, "a name or path that the CA must not issue for"),
    (1 << 8, "INSECURE_ALGORITHM", NotTrusted, "a signature or key is too weak"),
    (1 << 18, "PURPOSE_MISMATCH", NotTrusted, "a certificate is not for servers"),
    (1 << 21, "UNKNOWN_CRIT_EXTENSIONS", NotTrusted, "a certificate has an unknown critical extension"),
    (1 << 17, "MISMATCH", NotTrusted, "the certificate is not the one that was expected"),
    (1 << 14, "UNEXPECTED_OWNER", Mismatch, "the certificate does not name the host"),
    (1 << 12, "REVOCATION_DATA_SUPERSEDED", Failure, "a revocation list has expired"),
    (1 << 15, "REVOCATION_DATA_ISSUED_IN_FUTURE", Failure, "a revocation list is not valid yet"),
    (1 << 19, "MISSING_OCSP_STATUS", Failure, "no OCSP answer"),
    (1 << 20, "INVALID_OCSP_STATUS", Failure, "the OCSP answer is invalid"),
    // Set beside any other bit; alone it says no more than this.
    (1 << 1, "INVALID", NotTrusted, "the certificate is not trusted"),
];

/// Node's own check of the name, made after OpenSSL's of the chain; and its name for every code of OpenSSL that it
/// has no name for, such as a broken name constraint or a weak signature.
const NODE: &[(&str, ResultType, &str)] = &[
    (
        "ERR_TLS_CERT_ALTNAME_INVALID",
        Mismatch,
        "the certificate does not name the host",
    ),
    (
        "ERR_TLS_CERT_ALTNAME_FORMAT",
        Mismatch,
        "the certificate's subjectAltName cannot be read",
    ),
    (
        "UNSPECIFIED",
        NotTrusted,
        "the certificate is not trusted; Node.js does not say why",
    ),
];

/// Reads OpenSSL's verdict: `SSL_get_verify_result`, Python's `verify_code`, `X509_STORE_CTX_get_error`.
///
/// # Errors
/// Every code but `X509_V_OK` (0). A code that is not known yet is a `validation-failure` with its number.
pub fn from_openssl(code: i64) -> Result<(), CertificateFailure> {
    if code == 0 {
        return Ok(());
    }
    Err(match OPENSSL.iter().find(|row| row.0 == code) {
        Some((_, name, result, text)) => CertificateFailure::new(*result, format!("{text} (X509_V_ERR_{name})")),
        None => CertificateFailure::new(Failure, format!("the verification failed (X509_V_ERR {code})")),
    })
}

/// Reads GnuTLS's verdict: the status of `gnutls_certificate_verify_peers3`.
///
/// # Errors
/// Every status but 0. A bit that is not known yet is a `validation-failure`, unless a known one says more; the
/// reason has the names or numbers of all.
pub fn from_gnutls(status: u32) -> Result<(), CertificateFailure> {
    if status == 0 {
        return Ok(());
    }
    let (mut rest, mut first, mut names) = (status, None, Vec::new());
    for (bit, name, result, text) in GNUTLS.iter().filter(|row| status & row.0 != 0) {
        rest &= !bit;
        // INVALID is the last: beside another it says nothing.
        if first.is_none() || *name != "INVALID" {
            names.push(format!("GNUTLS_CERT_{name}"));
        }
        first.get_or_insert((*result, *text));
    }
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    let (result, text) = first.unwrap_or((Failure, "the verification failed"));
    Err(CertificateFailure::new(
        result,
        format!("{text} ({})", names.join(", ")),
    ))
}

/// Reads the `code` of an error of Node's `tls`, be it in an `error` event or in `authorizationError`. Node has no
/// code for a good certificate.
///
/// A code that is not about a certificate (`ECONNRESET`, `ERR_SSL_WRONG_VERSION_NUMBER`) is a handshake that failed in
/// another way, and so is a code that is not known yet: a `validation-failure` that names the code.
#[must_use]
pub fn from_node(code: &str) -> CertificateFailure {
    let openssl = OPENSSL.iter().map(|(_, name, result, text)| (*name, *result, *text));
    match NODE.iter().copied().chain(openssl).find(|row| row.0 == code) {
        Some((name, result, text)) => CertificateFailure::new(result, format!("{text} ({name})")),
        None => {
            let plain = code.chars().take(MAX_CODE);
            let plain: String = plain
                .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '?' })
                .collect();
            CertificateFailure::new(Failure, format!("the TLS handshake failed ({plain})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_each_code_once() {
        for (i, row) in OPENSSL.iter().enumerate() {
            assert_eq!(row.0, i as i64 + 1);
            assert!(OPENSSL[..i].iter().all(|other| other.1 != row.1), "{}", row.1);
        }
        let mut all = 0;
        for (bit, name, ..) in GNUTLS {
            assert!(bit.is_power_of_two() && all & bit == 0, "{name}");
            all |= bit;
        }
    }

    #[test]
    fn good_bad_and_unknown_are_told_apart() {
        assert_eq!(from_openssl(0), Ok(()));
        assert_eq!(from_gnutls(0), Ok(()));
        let told = |failure: CertificateFailure| failure.to_string();
        let openssl = |code| told(from_openssl(code).expect_err("bad"));
        assert_eq!(
            openssl(10),
            "certificate-expired: a certificate has expired (X509_V_ERR_CERT_HAS_EXPIRED)"
        );
        assert_eq!(
            openssl(9999),
            "validation-failure: the verification failed (X509_V_ERR 9999)"
        );
        assert_eq!(
            openssl(-1),
            "validation-failure: the verification failed (X509_V_ERR -1)"
        );
        let gnutls = |status| told(from_gnutls(status).expect_err("bad"));
        assert_eq!(
            gnutls(1 << 1 | 1 << 6 | 1 << 10 | 1 << 14),
            "certificate-expired: a certificate has expired \
             (GNUTLS_CERT_EXPIRED, GNUTLS_CERT_SIGNER_NOT_FOUND, GNUTLS_CERT_UNEXPECTED_OWNER)"
        );
        assert_eq!(
            gnutls(1 << 1),
            "certificate-not-trusted: the certificate is not trusted (GNUTLS_CERT_INVALID)"
        );
        assert_eq!(
            gnutls(1 << 30),
            "validation-failure: the verification failed (0x40000000)"
        );
        assert_eq!(
            gnutls(1 << 1 | 1 << 30),
            "certificate-not-trusted: the certificate is not trusted (GNUTLS_CERT_INVALID, 0x40000000)"
        );
        let node = |code| told(from_node(code));
        assert_eq!(
            node("CERT_HAS_EXPIRED"),
            "certificate-expired: a certificate has expired (CERT_HAS_EXPIRED)"
        );
        assert_eq!(
            node("ECONNRESET"),
            "validation-failure: the TLS handshake failed (ECONNRESET)"
        );
        assert_eq!(node("a\r\nb"), "validation-failure: the TLS handshake failed (a??b)");
        assert_eq!(
            node(&"x".repeat(1000)).len(),
            "validation-failure: the TLS handshake failed ()".len() + MAX_CODE
        );
    }
}
