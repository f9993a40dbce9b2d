//! MTA-STS (RFC 8461) for sending mail servers.

pub mod mx;
pub mod names;
pub mod policy;
pub mod record;
pub mod result;

pub use mx::MxPattern;
pub use names::{Domain, NameError};
pub use policy::{Mode, Policy};
pub use record::Record;
pub use result::ResultType;
