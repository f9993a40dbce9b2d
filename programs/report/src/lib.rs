//! The results for TLS reports (RFC 8460) that the mail servers of this host have left in the cache directory: read,
//! counted, and reported to the domains that ask for it.

#![forbid(unsafe_code)]

pub mod bounces;
pub mod check;
pub mod collect;
pub mod dkim;
pub mod journals;
pub mod ledger;
pub mod mail;
pub mod report;
pub mod run;
pub mod session;
pub mod settings;
pub mod spf;
pub mod spread;
pub mod totals;
