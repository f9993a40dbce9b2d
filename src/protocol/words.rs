//! The words that every face shares, each with its value in Rust, its number in C and its meaning.
//!
//! One table. The enums of the header are made from it (`tests/header.rs`); Node's types and constants, Python's enums
//! and the manual are compared with it (`tests/words.rs`). A word is lower case with hyphens. Its name in C and Python
//! is the same in capitals with underscores: `skip-host`, `MTASTS_ACTION_SKIP_HOST`, `Action.SKIP_HOST`.
//!
//! A number is never used again for another meaning: compiled programs have it inside.

use std::ffi::CStr;
use std::fmt;

/// One word of a vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// The word itself: `skip-host`.
    pub name: &'static str,
    /// Its number in C.
    pub number: i32,
    /// What it means, as the header says it: a line of text for each line.
    pub meaning: &'static [&'static str],
}

/// All words of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// The name of the type in Rust, Python and TypeScript: `Action`.
    pub name: &'static str,
    /// What the names in C begin with: `MTASTS_ACTION_`.
    pub prefix: &'static str,
    /// What the words are about, as the header says it.
    pub about: &'static [&'static str],
    /// The words in the order of the table.
    pub words: &'static [Word],
}

impl Vocabulary {
    /// The name of a word in C: `MTASTS_ACTION_SKIP_HOST`. Success alone has none of its kind's prefix: `MTASTS_OK`.
    #[must_use]
    pub fn in_c(&self, word: &Word) -> String {
        match word.name {
            "ok" => "MTASTS_OK".to_owned(),
            name => format!("{}{}", self.prefix, name.to_uppercase().replace('-', "_")),
        }
    }
}

/// The whole table.
pub const VOCABULARIES: [Vocabulary; 10] = [
    Status::VOCABULARY,
    Mode::VOCABULARY,
    Source::VOCABULARY,
    ResultType::VOCABULARY,
    SeenKind::VOCABULARY,
    Action::VOCABULARY,
    NoHost::VOCABULARY,
    Judge::VOCABULARY,
    Channel::VOCABULARY,
    PolicyType::VOCABULARY,
];

/// Declares one vocabulary: the enum, and what it is called elsewhere.
macro_rules! words {
    (
        $(#[doc = $about:literal])+
        $Type:ident, $prefix:literal;
        $( $(#[doc = $meaning:literal])+ $Variant:ident = $number:literal, $name:literal; )+
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $Type {
            $( $(#[doc = $meaning])+ $Variant = $number, )+
        }

        impl $Type {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),+];

            /// What the table says of them.
            pub const VOCABULARY: Vocabulary = Vocabulary {
                name: stringify!($Type),
                prefix: $prefix,
                about: &[$($about),+],
                words: &[$( Word { name: $name, number: $number, meaning: &[$($meaning),+] } ),+],
            };

            /// The word, the same in every output and every language.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$Variant => $name, )+
                }
            }

            /// The word as C reads it.
            #[must_use]
            pub const fn c_name(self) -> &'static CStr {
                let text = match self {
                    $( Self::$Variant => concat!($name, "\0"), )+
                };
                match CStr::from_bytes_with_nul(text.as_bytes()) {
                    Ok(text) => text,
                    Err(_) => unreachable!(),
                }
            }

            /// The number in C.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// The value of a word; the words are case-sensitive.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }

            /// The value of a number.
            #[must_use]
            pub fn from_number(number: i32) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.number() == number)
            }
        }

        impl fmt::Display for $Type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// What became of a call. A failure is negative.
    Status, "MTASTS_E_";
    /// The call succeeded.
    Ok = 0, "ok";
    /// An argument is NULL or out of range.
    Argument = -1, "argument";
    /// Not a valid domain or host name (too long, not UTF-8, empty label, bad character).
    Name = -2, "name";
    /// The name is an IP address or an address literal.
    Address = -3, "address";
    /// A setting or a settings file is wrong. The message names the key and the reason.
    Settings = -4, "settings";
    /// No answer is possible: this host refused what the call needs (a process, a thread, a descriptor, root
    /// certificates, a usable cache directory). This says nothing about the domain: defer its mail.
    Unavailable = -5, "unavailable";
    /// A defect of this library. This says nothing about the domain: defer its mail, and report the defect.
    Defect = -6, "defect";
    /// The program was compiled for another version of the interface.
    Abi = -7, "abi";
    /// The queue belongs to the parent of this process. Make a new queue here.
    Forked = -8, "forked";
    /// The lookup was cancelled.
    Cancelled = -9, "cancelled";
    /// The address is not public and no setting allows it: do not connect to it.
    Refused = -10, "refused";
}

words! {
    /// What a domain asks of senders (RFC 8461 3.2, 5).
    Mode, "MTASTS_MODE_";
    /// Nothing: the domain has no policy in force, or a policy in mode none.
    None = 0, "none";
    /// Deliver to a host that fails the policy, and report the failure. Also the mode of an enforced policy while an
    /// operator's exception for the domain is in force (setting `exceptions`).
    Testing = 1, "testing";
    /// Do not deliver to a host that fails the policy.
    Enforce = 2, "enforce";
}

words! {
    /// Where an answer came from.
    Source, "MTASTS_SOURCE_";
    /// The policy was fetched for this answer.
    Fresh = 1, "fresh";
    /// The policy was in the cache. DNS announces no newer one, or need not be asked yet.
    Cached = 2, "cached";
    /// The policy was in the cache, and the attempt to renew it failed. It stays in force (RFC 8461 3.3).
    CachedAfterFailure = 3, "cached-after-failure";
    /// The domain has no policy: it has no TXT record, or no valid one.
    NoPolicy = 4, "no-policy";
    /// Whether the domain has a policy, or what it says, could not be determined, and the cache holds none. Deliver as
    /// usual (RFC 8461 3.3), unless the answer has a time until which mail must wait.
    CouldNotLearn = 5, "could-not-learn";
}

words! {
    /// What a TLS report calls a failure (RFC 8460 4.3). The numbers are those of libtlsrpt, which Postfix uses too.
    ResultType, "MTASTS_RESULT_";
    /// The MX host did not offer STARTTLS, or refused it (RFC 8460 4.3.1).
    StarttlsNotSupported = 201, "starttls-not-supported";
    /// The certificate does not name the MX host (RFC 8460 4.3.1).
    CertificateHostMismatch = 202, "certificate-host-mismatch";
    /// The certificate chains to no trust anchor, or is not valid for this use (RFC 8460 4.3.1).
    CertificateNotTrusted = 203, "certificate-not-trusted";
    /// The certificate has expired (RFC 8460 4.3.1).
    CertificateExpired = 204, "certificate-expired";
    /// Any other failure of the TLS negotiation, and an MX host that the policy does not list (RFC 8460 4.3.1).
    ValidationFailure = 205, "validation-failure";
    /// The policy could not be retrieved (RFC 8460 4.3.2.2).
    StsPolicyFetchError = 301, "sts-policy-fetch-error";
    /// The policy text is not valid (RFC 8460 4.3.2.2).
    StsPolicyInvalid = 302, "sts-policy-invalid";
    /// The certificate of the policy host is not valid (RFC 8460 4.3.2.2).
    StsWebpkiInvalid = 303, "sts-webpki-invalid";
    /// DANE: the TLSA records cannot be used (RFC 8460 4.3.2.1).
    TlsaInvalid = 304, "tlsa-invalid";
    /// DANE: there is no valid DNSSEC answer (RFC 8460 4.3.2.1).
    DnssecInvalid = 305, "dnssec-invalid";
    /// DANE: the sender requires it, and the host has no TLSA records (RFC 8460 4.3.2.1).
    DaneRequired = 306, "dane-required";
}

words! {
    /// What the MTA saw at an MX host.
    SeenKind, "MTASTS_SEEN_";
    /// Only the name of the host so far: the MTA has not connected yet.
    Name = 0, "name";
    /// The host's EHLO reply does not offer STARTTLS.
    StarttlsNotOffered = 1, "starttls-not-offered";
    /// The host refused the STARTTLS command, with whatever code.
    StarttlsRefused = 2, "starttls-refused";
    /// The TLS handshake failed for a reason other than the certificate: an alert, a protocol version, a closed
    /// connection.
    HandshakeFailed = 3, "handshake-failed";
    /// The host's certificate was checked for the name in the MX record.
    Certificate = 4, "certificate";
}

words! {
    /// What the MTA must do.
    Action, "MTASTS_ACTION_";
    /// Deliver to this host, under the MTA's other rules.
    Deliver = 1, "deliver";
    /// Deliver to this host, and report the failure.
    DeliverAndReport = 2, "deliver-and-report";
    /// Send nothing to this host. Try the next one; if none is left, defer the mail (RFC 8461 5).
    SkipHost = 3, "skip-host";
    /// Keep the mail in the queue and try again later. Never bounce it for this.
    Defer = 4, "defer";
}

words! {
    /// Why there is no MX host to deliver to.
    NoHost, "MTASTS_NO_HOST_";
    /// There are MX hosts, and each was tried or skipped.
    Left = 0, "left";
    /// The MX lookup says that the domain does not exist (NXDOMAIN).
    NxDomain = 1, "nxdomain";
    /// The MX lookup says that the domain has no MX record (NODATA). Its only MX host would be the domain itself
    /// (RFC 5321 5.1).
    NoData = 2, "nodata";
    /// The only MX record is `.`: the domain accepts no mail (RFC 7505).
    NullMx = 3, "null-mx";
    /// The MX lookup gives no host that the policy lists: it denies all hosts, or names others. For a program that
    /// cannot tell which of the two it is.
    NotListed = 4, "not-listed";
}

words! {
    /// What decides about the certificate of an MX host (RFC 8461 2, RFC 7672 2.2).
    Judge, "MTASTS_JUDGE_";
    /// The policy of the domain. Without one TLS is opportunistic.
    Sts = 0, "sts";
    /// The TLSA records of the host alone (DANE).
    Dane = 1, "dane";
    /// The TLSA records and the policy: both have to pass.
    Both = 2, "both";
    /// The host has TLSA records and none is usable: TLS is required, and the certificate is checked only for a policy.
    TlsWithoutName = 3, "tls-without-name";
    /// Nothing: the host cannot be looked up, and gets no mail now.
    SkipHost = 4, "skip-host";
}

words! {
    /// How far the session with an MX host came.
    Channel, "MTASTS_CHANNEL_";
    /// There was no session: the host was skipped by its name, or did not answer.
    None = 0, "none";
    /// The session continued in clear text.
    Clear = 1, "clear";
    /// The session continued under TLS, whether or not the certificate is good.
    Tls = 2, "tls";
}

words! {
    /// The kind of policy that a session is reported under (RFC 8460 4.4, `policy-type`). The numbers are those of
    /// libtlsrpt.
    PolicyType, "MTASTS_POLICY_";
    /// The TLSA records of an MX host (DANE).
    Tlsa = 1, "tlsa";
    /// An MTA-STS policy. Its text is empty if the domain announces a policy that could not be fetched.
    Sts = 2, "sts";
    /// The domain has no policy, or a policy in mode none.
    NoPolicyFound = 9, "no-policy-found";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_word_and_no_number_stands_twice() {
        for vocabulary in VOCABULARIES {
            let names: BTreeSet<&str> = vocabulary.words.iter().map(|word| word.name).collect();
            let numbers: BTreeSet<i32> = vocabulary.words.iter().map(|word| word.number).collect();
            assert_eq!(names.len(), vocabulary.words.len(), "{}", vocabulary.name);
            assert_eq!(numbers.len(), vocabulary.words.len(), "{}", vocabulary.name);
        }
    }

    #[test]
    fn a_value_is_found_by_its_word_and_by_its_number() {
        for action in Action::ALL.iter().copied() {
            assert_eq!(Action::from_name(action.name()), Some(action));
            assert_eq!(Action::from_number(action.number()), Some(action));
            assert_eq!(action.c_name().to_str(), Ok(action.name()));
        }
        assert_eq!(Action::from_name("Deliver"), None);
        assert_eq!(Action::from_number(0), None);
    }
}
