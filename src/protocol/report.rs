//! What a TLS report counts (RFC 8460 4): plain data, one event for one session with an MX host.

use std::fmt;
use std::net::IpAddr;

use crate::protocol::mx_name::MxName;
use crate::protocol::names::Domain;
use crate::protocol::text::Line;
pub use crate::protocol::words::PolicyType;
use crate::protocol::words::ResultType;

/// One session with one MX host: a success or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportEvent {
    /// The policy that the session is counted under.
    pub policy_type: PolicyType,
    /// The policy domain (`policy-domain`): the recipient's domain, or the TLSA base domain under a policy of type `tlsa`,
    /// if it is known.
    pub domain: Domain,
    /// The lines of the policy as the policy host sent them, or the TLSA records (`policy-string`, RFC 8460 4.5). A stranger
    /// wrote them.
    pub policy_lines: Vec<String>,
    /// The MX patterns of the policy (`mx-host`).
    pub patterns: Vec<String>,
    /// The MX host (`receiving-mx-hostname`).
    pub host: MxName,
    /// Its address, if a connection was made (`receiving-ip`).
    pub address: Option<IpAddr>,
    /// The address that the connection came from (`sending-mta-ip`).
    pub local_address: Option<IpAddr>,
    /// What failed, or `None` for a success (`result-type`).
    pub result: Option<ResultType>,
    /// The `failure-reason-code`; empty for a success.
    pub reason_code: Line,
}

/// Why a result is in no report. A loss is counted, and harms no mail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The collector does not take datagrams as fast as they come.
    QueueFull,
    /// No collector can be reached, in words.
    NoCollector(String),
    /// DNS did not say whether the domain wants reports.
    RecordUnknown,
    /// The journal has all that it may have of this day.
    JournalFull,
    /// The journal cannot be written, in words.
    NotWritten(String),
    /// The events of the session are more than a datagram takes.
    TooLong,
}

impl Loss {
    /// The letter that stands for it where losses are counted.
    #[must_use]
    pub const fn letter(&self) -> char {
        match self {
            Self::QueueFull => 'q',
            Self::NoCollector(_) => 'c',
            Self::RecordUnknown => 'r',
            Self::JournalFull => 'f',
            Self::NotWritten(_) => 'w',
            Self::TooLong => 'l',
        }
    }

    /// A short stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::NoCollector(_) => "no-collector",
            Self::RecordUnknown => "record-unknown",
            Self::JournalFull => "journal-full",
            Self::NotWritten(_) => "not-written",
            Self::TooLong => "too-long",
        }
    }

    /// The words in it.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::NoCollector(why) | Self::NotWritten(why) => why,
            _ => "",
        }
    }

    /// The loss of this letter.
    #[must_use]
    pub fn of(letter: char, words: &str) -> Option<Self> {
        let all = [
            Self::QueueFull,
            Self::NoCollector(words.to_owned()),
            Self::RecordUnknown,
            Self::JournalFull,
            Self::NotWritten(words.to_owned()),
            Self::TooLong,
        ];
        all.into_iter().find(|loss| loss.letter() == letter)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => f.write_str("the collector does not keep up"),
            Self::NoCollector(why) => write!(f, "the collector cannot be reached at {why}"),
            Self::RecordUnknown => f.write_str("DNS did not say whether the domain wants reports"),
            Self::JournalFull => f.write_str("the journal of this day is full"),
            Self::NotWritten(why) => write!(f, "the journal cannot be written: {why}"),
            Self::TooLong => f.write_str("the session has more events than a datagram takes"),
        }
    }
}

impl std::error::Error for Loss {}
