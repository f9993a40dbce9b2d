//! A domain judged from outside, as a sender sees it that enforces MTA-STS: the facts ([`survey`]) and what they mean
//! ([`judge`]). It is the whole of `mtasts check` but its words on the screen. [`lint`] looks at a record or a policy
//! before it is published. What can be found has one list of codes ([`finding`]).
#![forbid(unsafe_code)]

pub mod advice;
pub mod ca_file;
pub mod dane;
pub mod finding;
pub mod judge;
pub mod lint;
mod policy_host;
pub mod smtp;
pub mod surroundings;
pub mod survey;
