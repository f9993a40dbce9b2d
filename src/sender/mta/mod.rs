//! A policy in the words of an MTA, one module for each MTA that has words of its own. They are pure: the C boundary
//! and the server of socketmap lookups only carry them.

pub mod dane;
pub(crate) mod exim;
pub(crate) mod exim_answer;
pub mod exim_line;
pub mod hosts;
pub mod postfix;
pub mod sendmail;
pub mod socketmap;
