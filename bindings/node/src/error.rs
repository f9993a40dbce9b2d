//! Errors of the library as errors of JavaScript: the code is a text, such as `ERR_MTASTS_NAME`.

use std::fmt::Display;

use mtasts::protocol::text::one_line;
use mtasts::sys::quiet::quietly;
use mtasts::{ContextError, Domain, NameError, QueueError, RootsError, SettingsError};

/// The `code` of an error.
pub struct Code(&'static str);

pub(crate) const ARGUMENT: Code = Code("ERR_MTASTS_ARGUMENT");
pub(crate) const CANCELLED: Code = Code("ERR_MTASTS_CANCELLED");
const UNAVAILABLE: Code = Code("ERR_MTASTS_UNAVAILABLE");

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl From<napi::Status> for Code {
    fn from(_: napi::Status) -> Self {
        Self("ERR_MTASTS_NODE")
    }
}

impl From<&SettingsError> for Code {
    fn from(_: &SettingsError) -> Self {
        Self("ERR_MTASTS_SETTINGS")
    }
}

impl From<&ContextError> for Code {
    fn from(_: &ContextError) -> Self {
        UNAVAILABLE
    }
}

impl From<&RootsError> for Code {
    fn from(_: &RootsError) -> Self {
        UNAVAILABLE
    }
}

impl From<&QueueError> for Code {
    fn from(error: &QueueError) -> Self {
        match error {
            QueueError::Forked => Self("ERR_MTASTS_FORKED"),
            _ => UNAVAILABLE,
        }
    }
}

pub type Error = napi::Error<Code>;
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the library.
pub(crate) fn failure<E: Display>(error: &E) -> Error
where
    for<'a> Code: From<&'a E>,
{
    Error::new(error.into(), error.to_string())
}

/// A failure of a call to the system.
pub(crate) fn refused(what: &str, why: &dyn Display) -> Error {
    Error::new(UNAVAILABLE, format!("{what}: {why}"))
}

/// A domain or the name of a host.
pub(crate) fn name(text: &str) -> Result<Domain> {
    Domain::parse(text).map_err(|error| {
        let code = match error {
            NameError::AddressLiteral => "ERR_MTASTS_ADDRESS",
            _ => "ERR_MTASTS_NAME",
        };
        Error::new(Code(code), format!("{:?}: {error}", one_line(text, 100)))
    })
}

/// Runs what JavaScript asks for. A panic ends here: nothing may unwind into Node, and nothing is printed.
pub(crate) fn guarded<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    quietly(body).unwrap_or_else(|| {
        let message = "libmtasts has a defect (a panic). Please report it.";
        Err(Error::new(Code("ERR_MTASTS_DEFECT"), message.to_owned()))
    })
}
