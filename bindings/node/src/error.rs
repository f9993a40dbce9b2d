//! Errors of the library as errors of JavaScript: the code is a text, such as `ERR_MTASTS_NAME`.

use mtasts::{Status, capi};

use crate::text;

/// The `code` of an error.
pub struct Code(&'static str);

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

impl From<Status> for Code {
    fn from(status: Status) -> Self {
        status.number().into()
    }
}

impl From<i32> for Code {
    fn from(status: i32) -> Self {
        Self(match Status::from_number(status) {
            Some(Status::Argument) => "ERR_MTASTS_ARGUMENT",
            Some(Status::Name) => "ERR_MTASTS_NAME",
            Some(Status::Address) => "ERR_MTASTS_ADDRESS",
            Some(Status::Settings) => "ERR_MTASTS_SETTINGS",
            Some(Status::Unavailable) => "ERR_MTASTS_UNAVAILABLE",
            Some(Status::Forked) => "ERR_MTASTS_FORKED",
            Some(Status::Cancelled) => "ERR_MTASTS_CANCELLED",
            _ => "ERR_MTASTS_DEFECT",
        })
    }
}

pub type Error = napi::Error<Code>;
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with a status of the library.
pub(crate) fn failure(status: impl Into<Code>, message: impl Into<String>) -> Error {
    Error::new(status.into(), message.into())
}

/// A failure of a call to the system.
pub(crate) fn refused(what: &str) -> Error {
    failure(
        Status::Unavailable,
        format!("{what}: {}", std::io::Error::last_os_error()),
    )
}

/// What a status means, for a call that gives no message.
pub(crate) fn meaning(status: i32) -> Error {
    // SAFETY: a static text.
    failure(status, unsafe { text::of(capi::mtasts_strerror(status)) })
}

/// Calls the library with a place for what went wrong. A status of 0 or more is a result.
pub(crate) fn call(body: impl FnOnce(*mut capi::mtasts_error) -> i32) -> Result<i32> {
    let mut error = capi::mtasts_error {
        size: size_of::<capi::mtasts_error>(),
        code: 0,
        message: [0; capi::MTASTS_MESSAGE_SIZE],
    };
    let status = body(&raw mut error);
    if status >= 0 {
        Ok(status)
    } else {
        Err(failure(status, text::in_place(&error.message)))
    }
}
