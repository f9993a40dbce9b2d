//! MTA-STS (RFC 8461) for sending mail servers.

pub mod addresses;
pub mod certificate;
pub mod dns;
pub mod https;
pub mod names;
pub mod result;
pub mod roots;
mod sys;
pub mod verification_codes;

pub use certificate::{CertificateFailure, check_chain, check_name};
pub use names::{Domain, NameError};
pub use result::ResultType;
pub use roots::{Roots, RootsError};
