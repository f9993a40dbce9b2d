//! MTA-STS (RFC 8461) for sending mail servers.

pub mod certificate;
pub mod mx;
pub mod names;
pub mod policy;
pub mod record;
pub mod result;
pub mod roots;
pub mod verification_codes;

pub use certificate::{CertificateFailure, check_chain, check_name};
pub use mx::MxPattern;
pub use names::{Domain, NameError};
pub use policy::{Mode, Policy};
pub use record::Record;
pub use result::ResultType;
pub use roots::{Roots, RootsError};
