//! `mtasts report run`: reports to mail addresses and to https URLs of a small Internet, each once.

#[path = "reporter/checks.rs"]
mod checks;
#[path = "reporter/crashes.rs"]
mod crashes;
#[path = "reporter/readers.rs"]
mod readers;
#[path = "reporter/rules.rs"]
mod rules;
#[path = "reporter/sends.rs"]
mod sends;
#[path = "reporter/signs.rs"]
mod signs;
#[path = "reporter/world.rs"]
mod world;
