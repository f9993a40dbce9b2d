//! One exception: a domain for which the operator has switched enforcement off until a day.

use std::fmt;

use crate::protocol::calendar;
use crate::protocol::names::Domain;

/// Enforcement is off for one policy domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The policy domain; those below it are others.
    pub domain: Domain,
    /// The last second, in Unix time, at which it is in force: the end of a day in UTC.
    pub until: u64,
    /// Why, in the operator's words, on one line.
    pub reason: String,
}

impl Exception {
    /// Whether it is in force at this time.
    #[must_use]
    pub const fn is_live(&self, now: u64) -> bool {
        now <= self.until
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = calendar::date(self.until);
        write!(
            f,
            "enforcement is off until {day} (operator exception: {})",
            self.reason
        )
    }
}
