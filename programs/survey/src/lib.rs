//! A domain judged from outside, as a sender sees it that enforces MTA-STS: the facts ([`survey`]) and what they mean
//! ([`judge`]). It is the whole of `mtasts check` but its words on the screen.
#![forbid(unsafe_code)]

pub mod advice;
pub mod judge;
pub mod smtp;
pub mod survey;
