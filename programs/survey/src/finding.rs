//! What can be found in a record, in a policy or around a domain: one code for each kind, the same in every output and in
//! the manual, and a sentence that says what is wrong and what to do.

use std::fmt;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It could be better.
    Advice,
    /// Senders accept it, and it is probably not what was meant.
    Warning,
    /// It says nothing of the domain: something could not be determined from here.
    Unknown,
    /// Senders find no valid record or policy, or send no mail.
    Error,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Error => "error",
        }
    }
}

/// The closed list of codes: the variant, the word, how much it matters, and what the manual says of it.
macro_rules! codes {
    ($($variant:ident = $word:literal, $level:ident, $meaning:literal;)+) => {
        /// The kind of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the meaning of each stands beside it")]
        pub enum Code {
            $($variant,)+
        }

        impl Code {
            /// Every kind, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// A short stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// How much it matters.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level),+ }
            }

            /// What the manual says of it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

codes! {
    // The text of a policy as a whole.
    TooLarge = "policy-too-large", Error, "the policy is longer than 65536 octets; shorten it";
    NotUtf8 = "not-utf8", Error, "the text is not UTF-8; save the file as plain text";
    Utf16 = "utf-16", Error, "the text is UTF-16; save the file as UTF-8 without a byte order mark";
    ByteOrderMark = "byte-order-mark", Error, "the text begins with a byte order mark; save the file as UTF-8 without one";
    RichText = "rich-text", Error, "the file is a document in Rich Text Format; save it as plain text";
    WebPage = "web-page", Error, "the file is a web page; serve the text of the policy itself";
    LiteralNewline = "literal-newline", Error, "the text has a backslash and an n in place of the end of a line";
    Empty = "empty-file", Error, "there is no text; publish a policy, or remove the file together with the record at _mta-sts";
    NotAPolicy = "not-a-policy", Error, "the text has none of the fields of a policy: version, mode, mx and max_age";
    FrontMatter = "front-matter", Error, "the text begins with the header of a site generator, which was not removed";
    // The lines of a policy.
    Comment = "comment", Error, "a policy has no comments; remove it";
    Indented = "indented", Error, "a line begins with a space; a field begins at the start of its line";
    OddSpace = "odd-space", Error, "the line has a space that is not one: a non-breaking space, or a character without a width";
    Quotes = "quotation-marks", Error, "a value has quotation marks or brackets around it; remove them";
    Separator = "separator", Error, "a field is not written as \"name: value\" on a line of its own";
    StrayLine = "stray-line", Error, "a line is not a field; remove it";
    Placeholder = "placeholder", Error, "a template was not filled in; write the domain's own value";
    FieldName = "field-name", Error, "a field name has a character that it must not have";
    FieldValue = "field-value", Error, "a value is empty or has a control character";
    Version = "version", Error, "the version must be STSv1";
    Mode = "mode", Error, "the mode must be enforce, testing or none";
    MaxAge = "max_age", Error, "max_age must be a number of seconds, in digits alone";
    Mx = "mx", Error, "an mx must be a host name, or \"*.\" and a host name";
    MxPreference = "mx-preference", Error, "an mx has the preference of the MX record; a policy has the host name alone";
    MxUrl = "mx-url", Error, "an mx is a URL or an address with a port; a policy has the host name alone";
    MxList = "mx-list", Error, "an mx has several hosts; each has a line of its own";
    MxStar = "mx-star", Error, "the star of an mx must be the whole first label, as in *.example.com";
    MxNull = "mx-null", Error, "an mx is the root; a policy cannot say that a domain takes no mail; a domain without mail needs none";
    MxUnicode = "mx-unicode", Error, "an mx has letters that are not ASCII; write its A-labels (xn--...)";
    MissingVersion = "missing-version", Error, "the policy has no version field";
    MissingMode = "missing-mode", Error, "the policy has no mode field";
    MissingMaxAge = "missing-max_age", Error, "the policy has no max_age field";
    MissingMx = "missing-mx", Error, "the policy has no mx field, and its mode is not none";
    LostPattern = "lost-pattern", Warning, "a field is ignored because of its name, and with it a host that was probably meant to be an mx";
    BlankLine = "blank-line", Warning, "a line is blank; some senders reject the policy because of it";
    DuplicateField = "duplicate-field", Warning, "a field appears twice; senders use the first one";
    MaxAgeClamped = "max_age-clamped", Warning, "max_age is over 31557600; senders use 31557600";
    MxTrailingDot = "mx-trailing-dot", Warning, "an mx ends with a dot; some senders reject it";
    MxIpLiteral = "mx-ip-literal", Warning, "an mx is an IP address, which matches no host";
    NearField = "near-field", Advice, "a field is ignored because its name is not exactly that of the field that was probably meant";
    // What a valid policy could do better.
    ModeTesting = "mode-testing", Advice, "mode testing protects nothing; when the reports are clean, raise max_age and change to enforce, with a new id";
    ModeNoneLong = "mode-none-long", Advice, "mode none has a long max_age; a day is enough (RFC 8461 8.3)";
    MaxAgeZero = "max_age-zero", Advice, "max_age 0 protects only the mail for which the policy was fetched";
    MaxAgeShort = "max_age-short", Advice, "max_age is short; raise it in steps: a day, a week, some weeks (RFC 8461 10.2)";
    MxIgnored = "mx-ignored", Advice, "mode none ignores the mx lines";
    MxWildcard = "mx-wildcard", Advice, "a wildcard allows every host directly below a name (RFC 8461 10.4); list the hosts by name";
    MxTopWildcard = "mx-top-wildcard", Advice, "a wildcard allows hosts of everybody below a top-level domain";
    MxRepeated = "mx-repeated", Advice, "an mx is listed more than once";
    VersionNotFirst = "version-not-first", Advice, "the version is not the first line; not every sender reads it elsewhere";
    // The record.
    RecordNone = "record-none", Error, "no TXT record is an MTA-STS record";
    RecordSeveral = "record-several", Error, "there are several MTA-STS records; senders ignore all of them; keep one";
    RecordQuotes = "record-quotation-marks", Error, "the record has quotation marks, which a zone file needs and the record does not have";
    RecordBackslash = "record-backslash", Error, "the record has a backslash, which a zone file needs and the record does not have";
    RecordSpace = "record-space", Error, "the record has a space where none may be, or one that is not a space";
    RecordSeparator = "record-separator", Error, "the fields of the record are not separated by semicolons, or a name and its value by \"=\"";
    RecordEmptyField = "record-empty-field", Error, "there is nothing between two semicolons";
    RecordVersion = "record-version", Error, "the record must begin with v=STSv1, in exactly these letters";
    RecordId = "record-id", Error, "the id must be 1 to 32 letters and digits, without a dash, a dot or an underscore";
    RecordMissingId = "record-missing-id", Error, "the record has no id; choose a new one with each change of the policy";
    RecordField = "record-field", Error, "the record has a field that is not \"name=value\"";
    RecordPolicyField = "record-policy-field", Warning, "the record has a field of the policy, which senders ignore there; it belongs into the policy";
    StarOneLabel = "star-one-label", Advice, "a star stands for exactly one label (RFC 8461 4.1)";
    // The record and the policy as they are published.
    NoRecord = "no-record", Error, "there is no MTA-STS; publish a policy, then a TXT record \"v=STSv1; id=...;\" at _mta-sts";
    RecordIgnored = "record-ignored", Error, "the record at _mta-sts is ignored, for the reasons that are said there";
    RecordUnknown = "record-unknown", Unknown, "the record at _mta-sts could not be looked up; check the domain's name servers";
    PolicyInvalid = "policy-invalid", Error, "the policy is not valid, for the reasons that are said there";
    RecordMisplaced = "record-misplaced", Error, "the record is at _mta_sts, with an underscore in place of the hyphen; senders look at _mta-sts alone";
    // The policy host.
    PolicyRedirect = "policy-redirect", Error, "the policy host redirects, and senders must not follow (RFC 8461 3.3); serve the policy at this URL itself";
    PolicyForbidden = "policy-forbidden", Error, "the policy host refuses access; allow clients that are not browsers (a protection against bots does that)";
    PolicyNotFound = "policy-not-found", Error, "the policy host has no file at this URL; some web servers hide names that begin with a dot, such as .well-known";
    PolicyStatus = "policy-status", Error, "the policy host answers with another status than 200; repair the web server";
    PolicyContentType = "policy-content-type", Error, "the policy is not served as text/plain; set the type for this file";
    PolicyEncoding = "policy-encoding", Error, "the policy is compressed or in an unusual coding, which senders do not ask for; switch that off for this file";
    PolicyTooLong = "policy-too-long", Error, "the policy is longer than senders read";
    PolicyNotHttp = "policy-not-http", Error, "the policy host does not answer as a web server does; check what listens on port 443";
    PolicyIncomplete = "policy-incomplete", Error, "the policy host does not finish its answer; check the web server and what is before it";
    PolicyHostMissing = "policy-host-missing", Error, "the name of the policy host has no address; add A and AAAA records, or a CNAME";
    PolicyHostDns = "policy-host-dns", Unknown, "the address of the policy host could not be looked up; check the domain's name servers";
    PolicyHostPrivate = "policy-host-private", Error, "the policy host has an address that senders outside cannot reach; give it a public one";
    PolicyHostDown = "policy-host-down", Error, "the policy host does not accept connections on port 443; start the web server, or open the firewall";
    PolicyHostSilent = "policy-host-silent", Error, "the policy host does not answer in time; check the firewall and the web server";
    PolicyHostNotTls = "policy-host-not-tls", Error, "the policy host does not speak TLS on port 443; enable HTTPS there";
    PolicyHostTlsVersion = "policy-host-tls-version", Error, "the policy host does not speak TLS 1.2 or newer; update it";
    PolicyHostTlsName = "policy-host-tls-name", Error, "the server seems to have no certificate for the name of the policy host; add one there";
    PolicyHostTlsUnsupported = "policy-host-tls-unsupported", Unknown, "libmtasts does not support the TLS that the policy host wants (it has no CBC suites, no RSA key exchange and no P-521); other senders may reach it; allow ECDHE with AES-GCM or TLS 1.3 there";
    PolicyHostTls = "policy-host-tls", Error, "the TLS handshake with the policy host fails; repair TLS there";
    PolicyCertificateExpired = "policy-certificate-expired", Error, "the certificate of the policy host has expired; renew it";
    PolicyCertificateName = "policy-certificate-name", Error, "the certificate of the policy host has other names; it must have that of the policy host as a DNS name in its subjectAltName";
    PolicyCertificateIssuer = "policy-certificate-issuer", Error, "the certificate of the policy host does not lead to a known root; serve the whole chain, with its intermediates, of a public CA";
    PolicyCertificateUnsupported = "policy-certificate-unsupported", Unknown, "libmtasts does not support this kind of certificate; other senders may accept it; use ECDSA on P-256 or P-384, or RSA";
    PolicyCertificate = "policy-certificate", Error, "the certificate of the policy host is not good; install another one";
    OwnError = "own-error", Unknown, "an error on this host; it says nothing of the domain";
    // The MX records and hosts.
    NoDomain = "no-domain", Error, "the domain does not exist, or DNS denies the MX hosts that its policy lists";
    NullMx = "null-mx", Error, "the domain takes no mail (null MX), so there is nothing to protect";
    MxUnknown = "mx-unknown", Unknown, "the MX records could not be looked up; check the domain's name servers";
    MxNotAHost = "mx-not-a-host", Error, "an MX record is not a host name; correct it";
    MxNoAddress = "mx-no-address", Error, "an MX host has no address; add one, or remove its MX record";
    MxAddressUnknown = "mx-address-unknown", Unknown, "the address of an MX host could not be looked up; check its name servers";
    MxNotListed = "mx-not-listed", Error, "an MX host is not in the policy; add it to the policy, or remove its MX record";
    Port25 = "port-25", Unknown, "no MX host answered on port 25; is it blocked here? Many providers and clouds do that; try from another network, or with --no-smtp";
    MxUnreachable = "mx-unreachable", Error, "an MX host does not answer on port 25, and another one does";
    MxNoRoute = "mx-no-route", Unknown, "this machine has no route to any address of an MX host";
    MxNoService = "mx-no-service", Error, "an MX host refuses the connection, or does not speak SMTP as it should";
    MxInjected = "mx-injected", Error, "an MX host sends cleartext after its reply to STARTTLS; an attacker may have put it there";
    MxAfterTls = "mx-after-tls", Error, "an MX host does not go on after the TLS handshake";
    MxStarttls = "mx-starttls", Error, "an MX host does not offer STARTTLS, or rejects it; enable it";
    MxTls = "mx-tls", Error, "the TLS handshake with an MX host fails; repair TLS there";
    MxTlsUnsupported = "mx-tls-unsupported", Unknown, "libmtasts does not support the TLS that an MX host wants (it has no CBC suites, no RSA key exchange and no P-521); an MTA with OpenSSL or GnuTLS may deliver there";
    MxCertificate = "mx-certificate", Error, "senders that enforce the policy do not accept the certificate of an MX host";
    MxCertificateUnsupported = "mx-certificate-unsupported", Unknown, "libmtasts does not support the kind of certificate that an MX host has; an MTA with OpenSSL or GnuTLS may deliver there";
    // What a receiver can do better.
    PatternUnused = "pattern-unused", Advice, "no MX host matches a pattern of the policy; remove it, unless its host is a reserve";
    PatternHostMissing = "pattern-host-missing", Warning, "a host of the policy does not exist in DNS; if others can register its name, they can receive the mail; remove it";
    NoTlsrpt = "no-tlsrpt", Advice, "the policy is in testing, but without a TLSRPT record no sender reports what fails; publish a TLSRPT record (RFC 8460), such as \"v=TLSRPTv1; rua=mailto:tlsrpt@DOMAIN\"";
    MxPrivate = "mx-private", Advice, "an MX host has an address that senders outside cannot reach; give it a public one in the public DNS";
    CertificateEndsSoon = "certificate-ends-soon", Warning, "a certificate ends within two weeks; renew it, and check why it was not renewed yet";
    CaFileDiffers = "ca-file-differs", Warning, "the setting ca_file decides otherwise about an MX host than the system's trust anchors; Exim checks MX hosts with its own, by the macro MTASTS_CA_FILE";
    DaneRecords = "dane-records", Advice, "an MX host has a name for TLSA records; senders with DANE go by those in place of the policy if the zone is signed; keep them in step with the certificate";
    // TLSA records, as a name server that validates says.
    DaneMismatch = "dane-mismatch", Error, "senders with DANE send no mail to the host; correct the TLSA records, or install the certificate that they are of";
    DaneUnknown = "dane-unknown", Error, "senders with DANE send no mail to the host now; repair DNSSEC of the zone";
    DaneUnusable = "dane-unusable", Warning, "none of the TLSA records is usable, so that they only require TLS; publish records of usage 3 or 2 (RFC 7672 3.1)";
    DaneRenewal = "dane-renewal", Warning, "the TLSA records are of this certificate alone and break with each renewal; publish a record of the key (3 1 1), and keep the key or publish that of the next one before";
    DaneRenewalKey = "dane-renewal-key", Advice, "the TLSA records are of this key alone; before a renewal with another key publish a record of that one too, and wait for two TTLs (RFC 7671 8)";
    DaneRecordUnused = "dane-record-unused", Advice, "a TLSA record is of no certificate that the host has now; if it is not that of the next key, remove it";
    DaneResolver = "dane-resolver", Warning, "the name server of dane_resolver does not count, so that TLSA records were not looked at";
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub code: Code,
    /// The line of the policy from 1 on, or the number of the record; 0 if it is about the whole.
    pub line: usize,
    /// What is wrong and what to do. It can quote strangers.
    pub sentence: String,
    /// The line as it is.
    pub text: Option<String>,
    /// What it was probably meant to be; no line at all if it is to be removed.
    pub meant: Option<Vec<String>>,
}

impl Finding {
    /// What the manual says of this kind, behind what it is about: a value, a name, an address.
    #[must_use]
    pub fn new(code: Code, about: impl fmt::Display) -> Self {
        let sentence = match about.to_string() {
            about if about.is_empty() => code.meaning().to_owned(),
            about => format!("{about}: {}", code.meaning()),
        };
        Self::told(code, sentence)
    }

    /// A finding with a sentence of its own.
    #[must_use]
    pub fn told(code: Code, sentence: impl Into<String>) -> Self {
        Self {
            code,
            line: 0,
            sentence: sentence.into(),
            text: None,
            meant: None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.sentence)
    }
}
