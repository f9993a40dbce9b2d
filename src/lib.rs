//! MTA-STS (RFC 8461) for sending mail servers.

pub mod addresses;
pub mod dns;
pub mod names;
pub mod result;
mod sys;

pub use names::{Domain, NameError};
pub use result::ResultType;
