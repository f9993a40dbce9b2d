//! placeholder

mod sys;

#[cfg(feature = "lab")]
pub mod lab;
