//! System calls that the standard library does not offer: the only `unsafe` code beside the C ABI.

#[cfg(feature = "lab")]
pub(crate) mod namespace;
