//! The ways in which a domain of the test Internet can behave: one word each, the same word in the table, in
//! `mtasts lab set` and on the control socket.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One closed list of words. The word is what people type and read; the variant is what the code matches.
macro_rules! words {
    ($(#[$about:meta])* $type:ident { $($(#[$doc:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $type {
            $($(#[$doc])+ $variant,)+
        }

        impl $type {
            /// Every behaviour of this kind.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|known| known.word() == word).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|known| known.word()).collect();
                    format!("{word:?} is not one of: {}", known.join(", "))
                })
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(word: String) -> Result<Self, String> {
                word.parse()
            }
        }

        impl From<$type> for &'static str {
            fn from(value: $type) -> Self {
                value.word()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

words! {
/// What the DNS says instead of an answer.
Fault {
    /// The name does not exist.
    NxDomain = "NXDOMAIN",
    /// The name exists, the type does not.
    NoData = "NODATA",
    /// The server failed; a validating resolver also says this for a bogus signature.
    ServFail = "SERVFAIL",
    /// The server does not want to answer.
    Refused = "REFUSED",
    /// The query is swallowed.
    Silent = "SILENT",
}}

words! {
/// What the policy host does when it is asked for the policy.
Https {
    /// 200, `text/plain`, the policy.
    Ok = "ok",
    /// As `ok`, with ETag, Last-Modified, Age and Cache-Control; a conditional request is answered 304.
    Cacheable = "cacheable",
    /// As `ok`, the media type written `TEXT/PLAIN`.
    TypeUpper = "type-upper",
    /// As `ok`, the media type with parameters.
    TypeParameters = "type-parameters",
    /// As `ok`, in chunks.
    Chunked = "chunked",
    /// As `ok`, without a length: the end of the connection is the end of the body.
    UntilClose = "until-close",
    /// As `ok`, the body padded by an extension field to exactly 65536 octets.
    Exactly64k = "exactly-64k",
    /// As `exactly-64k`, one octet more.
    Over64k = "over-64k",
    /// Status 203 with the policy.
    Status203 = "203",
    /// Status 204 although a policy follows.
    Status204 = "204",
    /// Status 206 with the policy.
    Status206 = "206",
    /// Status 301 with the policy as body, to another path of this host, which serves the policy.
    Status301 = "301",
    /// Status 302 with the policy as body, to another path of this host, which serves the policy.
    Status302 = "302",
    /// Status 302 to the policy host of good.test.
    RedirectHost = "redirect-host",
    /// Status 302 to http: of the same host.
    RedirectHttp = "redirect-http",
    /// Status 304 although nothing conditional was asked.
    Status304 = "304",
    /// Status 403 with the policy as body.
    Status403 = "403",
    /// Status 404 with the policy as body.
    Status404 = "404",
    /// Status 500 with the policy as body.
    Status500 = "500",
    /// The policy as `text/html`.
    Html = "html",
    /// The policy without a Content-Type.
    NoType = "no-type",
    /// The policy as `text/plain+`.
    TypePlus = "type-plus",
    /// The policy gzip-coded, which nobody asked for.
    Gzip = "gzip",
    /// Content-Length 131193, the policy first.
    Oversize = "oversize",
    /// The same in chunks.
    OversizeChunked = "oversize-chunked",
    /// The connection ends before Content-Length is reached; what came is a valid policy.
    Short = "short",
    /// One octet each second.
    Drip = "drip",
    /// Headers without end.
    HeaderFlood = "header-flood",
    /// The policy, 50 ms after it was asked for: a host far away.
    After50 = "after-50",
    /// Not HTTP at all.
    Garbage = "garbage",
    /// TLS is well, then never an answer.
    Silent = "silent",
    /// Accepts the connection and never says anything.
    BlackHole = "black-hole",
    /// Answers the ClientHello with the alert protocol_version, as a TLS 1.1 host does.
    TlsAlert = "tls-alert",
    /// Answers it with handshake_failure, as a host does that has no cipher suite in common with the client.
    Alert40 = "alert-40",
    /// Answers it with internal_error, as a host does that has no certificate for the name.
    Alert80 = "alert-80",
    /// Answers it with unrecognized_name.
    Alert112 = "alert-112",
    /// Resets the connection at the ClientHello.
    TlsReset = "tls-reset",
    /// Speaks plain HTTP on port 443.
    NotTls = "not-tls",
    /// Nobody listens: connection refused.
    Refused = "refused",
    /// Its address has no route.
    Unreachable = "unreachable",
}}

words! {
/// What an MX host does on port 25.
Mx {
    /// Takes mail, offers STARTTLS.
    Ok = "ok",
    /// As `ok`, at most TLS 1.2.
    Tls12 = "tls12",
    /// Takes mail, knows no STARTTLS.
    NoStarttls = "no-starttls",
    /// Offers STARTTLS and answers it 454.
    Starttls454 = "starttls-454",
    /// Offers STARTTLS and answers it 554.
    Starttls554 = "starttls-554",
    /// A man in the middle turned the word STARTTLS of the EHLO answer into X's and the command into nonsense.
    Stripped = "stripped",
    /// A man in the middle put an EHLO answer in clear behind the 220 of STARTTLS, in the same segment (RFC 3207 4).
    Injected = "injected",
    /// Answers the ClientHello with the alert protocol_version, as a TLS 1.1 host does.
    TlsAlert = "tls-alert",
    /// Answers it with handshake_failure, as a host does that has no cipher suite in common with the client.
    Alert40 = "alert-40",
    /// Resets the connection at the ClientHello.
    TlsReset = "tls-reset",
    /// Says 220 to STARTTLS and goes on in clear.
    NotTls = "not-tls",
    /// Hangs up at the ClientHello, in good order.
    TlsClose = "tls-close",
    /// Says 220 to STARTTLS and then nothing more.
    TlsSilent = "tls-silent",
    /// Hangs up after the handshake.
    ClosedAfterTls = "closed-after-tls",
    /// Hangs up at EHLO.
    CloseAfterEhlo = "close-after-ehlo",
    /// Greets with 421 and hangs up.
    Greeting421 = "421",
    /// Greets with 554 (RFC 5321 3.1).
    Greeting554 = "554",
    /// Answers EHLO with 502.
    Ehlo502 = "ehlo-502",
    /// Answers RCPT with 550.
    Rcpt550 = "rcpt-550",
    /// Accepts the connection and never says anything.
    BlackHole = "black-hole",
    /// Nobody listens: connection refused.
    Refused = "refused",
    /// Its address has no route.
    Unreachable = "unreachable",
}}

words! {
/// The certificate chain a host presents. "Its name" is the host's name, for a policy host `mta-sts.DOMAIN`.
Certificate {
    /// Leaf for its name and the intermediate, under the lab's root.
    Valid = "valid",
    /// `*.PARENT`, the star in the place of the left-most label.
    Wildcard = "wildcard",
    /// `*.GRANDPARENT`: one label too many.
    WildcardTwoLabels = "wildcard-two-labels",
    /// `m*.PARENT`: the star is only a part of the label.
    PartialWildcard = "partial-wildcard",
    /// Empty subject, its name only in the (then critical) subjectAltName.
    EmptySubject = "empty-subject",
    /// Expired an hour ago.
    Expired = "expired",
    /// Expires in five days.
    EndsSoon = "ends-soon",
    /// Valid from tomorrow.
    NotYetValid = "not-yet-valid",
    /// Signed by itself.
    SelfSigned = "self-signed",
    /// Under a CA that nobody knows; the CA's certificate is sent too.
    UnknownCa = "unknown-ca",
    /// For `mx.elsewhere.test`.
    WrongName = "wrong-name",
    /// Its name only as the Common Name: no subjectAltName.
    CnOnly = "cn-only",
    /// The intermediate is not sent.
    NoIntermediate = "no-intermediate",
    /// The leaf is fine, the intermediate has expired.
    ExpiredIntermediate = "expired-intermediate",
    /// For TLS clients only.
    ClientOnly = "client-only",
    /// Under an intermediate that may not sign names below `.test`.
    ConstrainedCa = "constrained-ca",
    /// For `mx2.DOMAIN`, another host of the same policy.
    Sibling = "sibling",
    /// For `mx1.DOMAIN` and `mx2.DOMAIN`.
    Siblings = "siblings",
    /// For the recipient domain itself.
    Domain = "domain",
    /// For `real.DOMAIN`, where the CNAME of the host leads.
    CnameTarget = "cname-target",
}}

words! {
/// The TLSA record of an MX host (RFC 7672).
Tlsa {
    /// None.
    None = "none",
    /// `3 1 1` of the leaf.
    Ee = "ee",
    /// `3 1 1` of some other key.
    EeMismatch = "ee-mismatch",
    /// `2 1 1` of the CA certificate that comes with the leaf.
    Ta = "ta",
    /// `0 1 1`, which SMTP does not use (RFC 7672 3.1.3).
    Unusable = "unusable",
    /// The lookup fails, as for a bogus signature.
    ServFail = "servfail",
}}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_behaviour() {
        for word in Https::ALL {
            assert_eq!(word.to_string().parse::<Https>().as_ref(), Ok(word));
        }
        for word in Mx::ALL {
            assert_eq!(word.to_string().parse::<Mx>().as_ref(), Ok(word));
        }
        for word in Certificate::ALL {
            assert_eq!(word.to_string().parse::<Certificate>().as_ref(), Ok(word));
        }
        let error = "okay".parse::<Mx>().unwrap_err();
        assert!(error.contains("starttls-454"), "{error}");
    }
}
