//! Certificate checks.

use mtasts::CertificateFailure;
use mtasts::protocol::verification_codes;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::error::{Result, guarded, name};

/// The result of a certificate check.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Check {
    /// The result type, or null for a good certificate.
    pub result: Option<&'static str>,
    /// What is wrong, in plain words.
    pub reason: String,
}

impl From<std::result::Result<(), CertificateFailure>> for Check {
    fn from(checked: std::result::Result<(), CertificateFailure>) -> Self {
        let failure = checked.err();
        Self {
            result: failure.as_ref().map(|failure| failure.result.name()),
            reason: failure.map_or_else(String::new, |failure| failure.reason),
        }
    }
}

/// The result type of Node's error code of a failed TLS connection.
#[napi]
pub fn from_node(code: String) -> Result<Check> {
    guarded(|| Ok(Err(verification_codes::from_node(&code)).into()))
}

/// Whether a certificate names a host.
#[napi]
pub fn check_name(host: String, leaf: Uint8Array) -> Result<Check> {
    guarded(|| Ok(mtasts::protocol::certificate::check_name(&leaf, &name(&host)?).into()))
}
