//! Errors of the library as errors of JavaScript: the code is a text, such as `ERR_MTASTS_NAME`.

use std::fmt::Display;

use mtasts::protocol::text::one_line;
use mtasts::protocol::words::Status;
use mtasts::queue::QueueError;
use mtasts::sys::quiet::quietly;
use mtasts::{Domain, NameError, RootsError, SettingsError, Unavailable};

/// The `code` of an error.
pub struct Code(String);

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Status> for Code {
    fn from(status: Status) -> Self {
        Self(format!("ERR_MTASTS_{}", status.name().to_uppercase()))
    }
}

impl From<napi::Status> for Code {
    fn from(_: napi::Status) -> Self {
        Self("ERR_MTASTS_NODE".to_owned())
    }
}

pub type Error = napi::Error<Code>;
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the library, with its status in C.
pub(crate) trait Fault: Display {
    fn status(&self) -> Status;
}

impl<F: Fault> Fault for &F {
    fn status(&self) -> Status {
        (**self).status()
    }
}

impl Fault for SettingsError {
    fn status(&self) -> Status {
        Status::Settings
    }
}

impl Fault for Unavailable {
    fn status(&self) -> Status {
        Status::Unavailable
    }
}

impl Fault for RootsError {
    fn status(&self) -> Status {
        Status::Unavailable
    }
}

impl Fault for QueueError {
    fn status(&self) -> Status {
        match self {
            Self::Forked => Status::Forked,
            _ => Status::Unavailable,
        }
    }
}

pub(crate) fn error(status: Status, message: impl Into<String>) -> Error {
    Error::new(status.into(), message.into())
}

/// An error of the library.
pub(crate) fn failure(fault: impl Fault) -> Error {
    error(fault.status(), fault.to_string())
}

/// A failure of a call to the system.
pub(crate) fn refused(what: &str, why: &dyn Display) -> Error {
    error(Status::Unavailable, format!("{what}: {why}"))
}

/// An argument that is not what it must be.
pub(crate) fn argument(text: &str, what: &str) -> Error {
    error(Status::Argument, format!("{:?} is not {what}", one_line(text, 100)))
}

/// A domain or the name of a host.
pub(crate) fn name(text: &str) -> Result<Domain> {
    Domain::parse(text).map_err(|why| {
        let status = match why {
            NameError::AddressLiteral => Status::Address,
            _ => Status::Name,
        };
        error(status, format!("{:?}: {why}", one_line(text, 100)))
    })
}

/// Runs what JavaScript asks for. A panic ends here: nothing may unwind into Node, and nothing is printed.
pub(crate) fn guarded<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let defect = || error(Status::Defect, "libmtasts has a defect (a panic). Please report it.");
    quietly(body).unwrap_or_else(|| Err(defect()))
}
