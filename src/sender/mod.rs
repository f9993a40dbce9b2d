//! What a sending mail server does with MTA-STS: look a policy up, judge each MX host, renew what is cached.
#![forbid(unsafe_code)]

pub mod answer;
pub mod attempt;
pub mod dane;
pub mod exception;
pub mod exceptions;
pub mod fleet;
pub mod hosts;
pub mod lookup;
pub mod mta;
pub mod notice;
pub mod outcome;
pub mod precedence;
pub mod queue;
pub mod refresh;
pub mod resolver;
pub mod settings;
mod settings_file;
pub mod silence;
pub mod user;
pub mod validator;
pub mod verdict;
pub mod wire;
