//! The eleven result types of RFC 8460 4.3, and what other TLS libraries call the same failures.

use std::fmt;

/// What went wrong, in the words of RFC 8460 4.3. The numbers are those of libtlsrpt, which Postfix uses too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum ResultType {
    /// The MX host did not offer STARTTLS or refused it (RFC 8460 4.3.1).
    StarttlsNotSupported = 201,
    /// The certificate does not name the MX host (RFC 8460 4.3.1).
    CertificateHostMismatch = 202,
    /// The certificate chains to no trusted root, or is not valid for this use (RFC 8460 4.3.1).
    CertificateNotTrusted = 203,
    /// The certificate has expired (RFC 8460 4.3.1).
    CertificateExpired = 204,
    /// Any other failure of the TLS negotiation, and an MX host that the policy does not list (RFC 8460 4.3.1).
    ValidationFailure = 205,
    /// The policy could not be retrieved (RFC 8460 4.3.2.2).
    StsPolicyFetchError = 301,
    /// The policy text is not valid (RFC 8460 4.3.2.2).
    StsPolicyInvalid = 302,
    /// The policy host could not be authenticated (RFC 8460 4.3.2.2).
    StsWebpkiInvalid = 303,
    /// DANE: the TLSA records are unusable (RFC 8460 4.3.2.1).
    TlsaInvalid = 304,
    /// DANE: no valid DNSSEC answer (RFC 8460 4.3.2.1).
    DnssecInvalid = 305,
    /// DANE: required by the sender, and the host has no TLSA records (RFC 8460 4.3.2.1).
    DaneRequired = 306,
}

impl ResultType {
    /// All eleven, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::StarttlsNotSupported,
        Self::CertificateHostMismatch,
        Self::CertificateNotTrusted,
        Self::CertificateExpired,
        Self::ValidationFailure,
        Self::StsPolicyFetchError,
        Self::StsPolicyInvalid,
        Self::StsWebpkiInvalid,
        Self::TlsaInvalid,
        Self::DnssecInvalid,
        Self::DaneRequired,
    ];

    /// The name as it stands in a report: `certificate-expired`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::CertificateExpired => "certificate-expired",
            Self::ValidationFailure => "validation-failure",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
        }
    }

    /// The result type of a number or of nothing: 201 to 205 and 301 to 306.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as i32 == code)
    }

    /// The result type of a name as it stands in a report.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }
}

impl fmt::Display for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
