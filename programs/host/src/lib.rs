//! `mtasts host`: the policies of one domain or of ten thousand, for those who receive mail.
//!
//! What is wanted is in files ([`settings`]); what happened is in the [`ledger`]. The text of a policy is made of values by the
//! room of the library that reads policies for senders ([`published`]), so that nothing is published that a sender cannot
//! read. What DNS says ([`records`]) comes from the same row as what is served ([`server`]). Everything runs on one thread.
#![forbid(unsafe_code)]

pub mod acme;
mod answer;
mod certificates;
mod challenge;
mod connection;
mod crowd;
pub mod exchanges;
pub mod facts;
pub mod families;
pub mod gates;
mod hosted;
pub mod leaving;
pub mod ledger;
mod metrics;
mod mover;
pub mod moving;
mod name_server;
pub mod notation;
pub mod owner;
pub mod proof;
pub mod publish;
pub mod published;
pub mod records;
pub mod rollout;
pub mod seal;
pub mod server;
pub mod service;
pub mod settings;
mod site;
mod source;
pub mod sqlite;
pub mod state;
mod stepper;
pub mod token;
pub mod tsig;
pub mod update;
mod watch;

pub use source::Problem;
