//! What the error of a policy host means to those who run it.
//!
//! The library tells an error in one sentence, which is made here into a kind and a next step. `programs/cli/tests` has each
//! of them from a real server.

use crate::finding::{Code, Finding};
use mtasts::network::https::FetchError;
use mtasts::network::tls;
use mtasts::protocol::names::Domain;
use mtasts::protocol::words::ResultType;

/// What is wrong and what to do.
pub(crate) fn finding(domain: &Domain, error: &FetchError) -> Finding {
    let detail = error.detail();
    let code = match error.result() {
        None => Code::OwnError,
        Some(ResultType::StsWebpkiInvalid) => of_certificate(detail),
        Some(_) => of_fetch(detail),
    };
    let about = match code {
        Code::PolicyRedirect
        | Code::PolicyForbidden
        | Code::PolicyNotFound
        | Code::PolicyStatus
        | Code::PolicyContentType => {
            format!("https://mta-sts.{domain}/.well-known/mta-sts.txt: {detail}")
        }
        _ => detail.to_owned(),
    };
    Finding::new(code, about)
}

fn of_fetch(detail: &str) -> Code {
    if let Some((_, rest)) = detail.split_once("the HTTP status is ") {
        return match rest.get(..3).unwrap_or_default() {
            "300" | "301" | "302" | "303" | "307" | "308" => Code::PolicyRedirect,
            "401" | "403" | "405" | "406" | "429" => Code::PolicyForbidden,
            "404" | "410" => Code::PolicyNotFound,
            _ => Code::PolicyStatus,
        };
    }
    if tls::may_be_ours(detail) {
        return Code::PolicyHostTlsUnsupported;
    }
    const SIGNS: [(&str, Code); 23] = [
        ("Content-Type", Code::PolicyContentType),
        ("Content-Encoding", Code::PolicyEncoding),
        ("Transfer-Encoding", Code::PolicyEncoding),
        ("the policy is longer than", Code::PolicyTooLong),
        ("(NXDOMAIN)", Code::PolicyHostMissing),
        ("(NODATA)", Code::PolicyHostMissing),
        ("(SERVFAIL)", Code::PolicyHostDns),
        ("(REFUSED)", Code::PolicyHostDns),
        ("no name server answered", Code::PolicyHostDns),
        ("and is not contacted", Code::PolicyHostPrivate),
        ("Connection refused", Code::PolicyHostDown),
        ("unreachable", Code::PolicyHostDown),
        ("timed out", Code::PolicyHostSilent),
        ("not complete in time", Code::PolicyHostSilent),
        // The alerts of RFC 8446 6. A server that gets certificates on demand has none for a name that is not configured there.
        ("protocol_version (70)", Code::PolicyHostTlsVersion),
        ("unrecognized_name (112)", Code::PolicyHostTlsName),
        ("internal_error (80)", Code::PolicyHostTlsName),
        ("TLS failed: received corrupt message", Code::PolicyHostNotTls),
        ("TLS failed", Code::PolicyHostTls),
        ("the connection was cut", Code::PolicyIncomplete),
        ("the response ends before", Code::PolicyIncomplete),
        ("the response header is longer", Code::PolicyNotHttp),
        ("the host sent more than", Code::PolicyTooLong),
    ];
    SIGNS
        .iter()
        .find(|(sign, _)| detail.contains(sign))
        .map_or(Code::PolicyNotHttp, |(_, code)| *code)
}

fn of_certificate(detail: &str) -> Code {
    match certificate_kind(detail) {
        Kind::Unsupported => Code::PolicyCertificateUnsupported,
        Kind::Expired => Code::PolicyCertificateExpired,
        Kind::Name => Code::PolicyCertificateName,
        Kind::Issuer => Code::PolicyCertificateIssuer,
        Kind::Other => Code::PolicyCertificate,
    }
}

enum Kind {
    Unsupported,
    Expired,
    Name,
    Issuer,
    Other,
}

fn certificate_kind(detail: &str) -> Kind {
    const SIGNS: [(&str, Kind); 6] = [
        ("our TLS library does not support", Kind::Unsupported),
        (" expired on ", Kind::Expired),
        ("the certificate names ", Kind::Name),
        ("issued by an unknown CA", Kind::Issuer),
        ("self-signed certificate", Kind::Issuer),
        ("unknown root certificate", Kind::Issuer),
    ];
    SIGNS
        .into_iter()
        .find(|(sign, _)| detail.contains(sign))
        .map_or(Kind::Other, |(_, kind)| kind)
}

/// Whether a certificate was not accepted because of what our TLS library does not support.
pub(crate) fn is_unsupported_certificate(detail: &str) -> bool {
    matches!(certificate_kind(detail), Kind::Unsupported)
}
