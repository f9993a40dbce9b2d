//! What the RFCs say, as values and functions: names, records, policies, certificates, result types. No I/O.
#![forbid(unsafe_code)]

pub mod calendar;
pub mod certificate;
pub mod dane;
pub mod datagram;
pub mod der;
pub mod mx;
pub mod mx_name;
pub mod names;
pub mod policy;
pub mod record;
pub mod report;
pub mod report_record;
pub mod text;
pub mod tlsa;
pub mod verification_codes;
pub mod words;
