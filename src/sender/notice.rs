//! What the administrator reads in a log: a token for log watchers, and a sentence.
//!
//! A log line is `mtasts[TOKEN]: SENTENCE`. A sentence may change with a version of the library, a token does not.
//! `docs/log.md` has a row for each token.

use std::fmt;

use crate::protocol::text::Line;

macro_rules! tokens {
    ($($variant:ident = $name:literal,)*) => {
        /// What a log line is about, in one stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Token {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Token {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

tokens! {
    // The verdict on an MX host or on a mail. `reason_code` begins with these, but for the first two.
    Deliver = "deliver",
    Defer = "defer",
    MxNotInPolicy = "mx-host-not-in-policy",
    MxNotAHostName = "mx-not-a-host-name",
    NoMxHostInPolicy = "no-mx-host-in-policy",
    NoMxHostLeft = "no-mx-host-left",
    MxLookupNxDomain = "mx-lookup-nxdomain",
    MxLookupNoData = "mx-lookup-nodata",
    NullMx = "null-mx",
    StarttlsNotOffered = "starttls-not-offered",
    StarttlsRefused = "starttls-refused",
    TlsHandshakeFailed = "tls-handshake-failed",
    CertificateExpired = "certificate-expired",
    CertificateHostMismatch = "certificate-host-mismatch",
    CertificateNotTrusted = "certificate-not-trusted",
    CertificateCheckFailed = "certificate-check-failed",
    PolicyFetchError = "sts-policy-fetch-error",
    PolicyInvalid = "sts-policy-invalid",
    PolicyHostCertificate = "sts-webpki-invalid",
    Dane = "dane",
    DnssecInvalid = "dnssec-invalid",
    TlsaInvalid = "tlsa-invalid",
    // What the administrator should know of a domain.
    PolicyWeakened = "policy-weakened",
    PolicyNotRenewed = "policy-not-renewed",
    Exception = "exception",
    // What is wrong on this host, while mail is delivered.
    ExceptionsNotRead = "exceptions-not-read",
    CaCertificateSkipped = "ca-certificate-skipped",
    CacheNotRead = "cache-not-read",
    CacheNotWritten = "cache-not-written",
    CacheInMemory = "cache-in-memory",
    LookupNotLocked = "lookup-not-locked",
    DaneResolver = "dane-resolver",
    ReportLost = "report-lost",
    FleetNotUsed = "fleet-not-used",
    // What the refresh did.
    EntryRemoved = "entry-removed",
    CacheFull = "cache-full",
    RefreshRunning = "refresh-running",
    RefreshStuck = "refresh-stuck",
    // Why there is no answer, so that mail is deferred.
    LookupNotStarted = "lookup-not-started",
    LookupFailed = "lookup-failed",
    NoCacheOwner = "no-cache-owner",
    Settings = "settings",
    Usage = "usage",
    Defect = "defect",
}

impl Token {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|token| token.name() == name)
    }
}

/// What the administrator should know. It displays as a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub token: Token,
    /// What happened, and what to do.
    pub sentence: Line,
}

impl Notice {
    /// A notice of what happened.
    pub fn new(token: Token, sentence: impl Into<Line>) -> Self {
        let sentence = sentence.into();
        Self { token, sentence }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line(self.token.name(), &self.sentence))
    }
}

/// A line of the log.
#[must_use]
pub fn line(token: &str, sentence: &str) -> String {
    format!("mtasts[{token}]: {sentence}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A log watcher finds each token in the documentation, and nothing there that no line has.
    #[test]
    fn the_documentation_has_a_row_for_each_token_and_no_other() {
        let page = include_str!("../../docs/log.md");
        let rows = page
            .lines()
            .filter_map(|row| row.strip_prefix("| `")?.split('`').next());
        let rows: Vec<&str> = rows.collect();
        let documented: BTreeSet<&str> = rows.iter().copied().collect();
        let tokens: BTreeSet<&str> = Token::ALL.iter().map(|token| token.name()).collect();
        assert_eq!(documented, tokens);
        assert_eq!(rows.len(), tokens.len(), "a row appears twice");
        for token in tokens {
            assert!(token.bytes().all(|c| c.is_ascii_lowercase() || c == b'-'), "{token}");
            assert_eq!(Token::from_name(token).map(Token::name), Some(token));
        }
    }
}
