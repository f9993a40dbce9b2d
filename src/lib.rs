//! MTA-STS (RFC 8461) for sending mail servers.

pub mod names;
pub mod result;

pub use names::{Domain, NameError};
pub use result::ResultType;
