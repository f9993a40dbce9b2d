//! Results for TLS reports (RFC 8460) on their way out: the record of a domain, the collector of sys4's tlsrpt-reporter that
//! Postfix feeds too, and the journal.

#[path = "tlsrpt/collector.rs"]
mod collector;
#[path = "tlsrpt/journal.rs"]
mod journal;
#[path = "tlsrpt/place.rs"]
mod place;
#[path = "tlsrpt/record.rs"]
mod record;
