//! A failing call inside the boundary.

use crate::protocol::words::Status;

/// Its status, and one line that says what is wrong.
pub(super) struct Fault {
    pub(super) status: Status,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn argument(message: &str) -> Self {
        Self::new(Status::Argument, message)
    }
}
