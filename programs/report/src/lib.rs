//! The results for TLS reports (RFC 8460) that the mail servers of this host have left in the cache directory: read, and
//! counted.

#![forbid(unsafe_code)]

pub mod journals;
pub mod report;
pub mod session;
pub mod totals;
