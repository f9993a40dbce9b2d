//! What a sending mail server does with MTA-STS: look a policy up, judge each MX host, renew what is cached.
#![forbid(unsafe_code)]

pub mod answer;
pub mod context;
pub mod exceptions;
pub mod lookup;
pub mod notice;
pub mod queue;
pub mod refresh;
pub mod settings;
pub mod silence;
pub mod verdict;
pub mod wire;
