//! A policy in the words of an MTA, one module for each MTA that has words of its own. They are pure: the C boundary
//! only carries them.

pub(crate) mod exim;
