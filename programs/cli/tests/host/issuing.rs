//! What the tests share in which a host gets its certificates from an authority.

use std::fs;
use std::time::Duration;

use rusqlite::Connection;

use super::hosting::{Hosting, exchange, policy};
use super::pebble::NAMES;

/// The key of a customer, by which an authority knows the host.
pub(crate) const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// The settings for an authority with this directory, and these besides.
pub(crate) fn acme(hosting: &Hosting, resolver: &str, directory: &str, more: &str) -> String {
    let roots = hosting.path("roots.pem");
    format!(
        "resolvers = [\"{resolver}\"]\n[acme]\ndirectory = \"{directory}\"\nagree_to_terms = true\nca_file = \"{}\"\n{more}",
        roots.display()
    )
}

/// Those for a customer of an authority, with the key in a file.
pub(crate) fn customer(hosting: &Hosting, kid: &str) -> String {
    hosting.write("eab", KEY);
    format!(
        "eab_kid = \"{kid}\"\neab_key_file = \"{}\"\n",
        hosting.path("eab").display()
    )
}

/// The operator's file: settings of the service, an authority, and these domains.
pub(crate) fn settings(hosting: &Hosting, service: &str, directory: &str, more: &str, domains: &[&str]) {
    let domains: String = domains.iter().map(|domain| policy(domain, 86_400)).collect();
    let acme = acme(hosting, NAMES, directory, more);
    hosting.settings(&format!("https = [\"8.8.8.1:443\"]\n{service}{acme}{domains}"));
    without_certificates(hosting);
}

/// The files of another client come second.
pub(crate) fn without_certificates(hosting: &Hosting) {
    let text = fs::read_to_string(hosting.path("host.toml")).unwrap();
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("certificates")).collect();
    hosting.write("host.toml", &text.join("\n"));
}

/// Whether the authority's certificate is served for a domain.
pub(crate) fn is_served(hosting: &Hosting, domain: &str) -> bool {
    let name = format!("mta-sts.{domain}");
    let fetched = hosting
        .connect(&name)
        .and_then(|mut stream| exchange(&mut stream, &name));
    fetched.is_ok_and(|(_, text)| text == hosting.ask(&["policy", domain]))
}

/// Whether the host has said since its start that a domain got a certificate.
pub(crate) fn is_certified(hosting: &Hosting, domain: &str) -> bool {
    hosting
        .log()
        .contains(&format!("mta-sts.{domain} has a certificate until "))
}

fn open(hosting: &Hosting) -> Connection {
    let ledger = Connection::open(hosting.path("ledger/ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(5)).unwrap();
    ledger
}

/// A number that the ledger has.
pub(crate) fn ledger(hosting: &Hosting, query: &str) -> i64 {
    open(hosting).query_row(query, (), |row| row.get(0)).unwrap()
}

/// A text that it has.
pub(crate) fn text(hosting: &Hosting, query: &str) -> String {
    open(hosting).query_row(query, (), |row| row.get(0)).unwrap()
}

/// Changes the ledger: mostly, the clock is put on.
pub(crate) fn change(hosting: &Hosting, statement: &str) {
    open(hosting).execute_batch(statement).unwrap();
}

/// Stops the host, changes the ledger, and starts the host.
pub(crate) fn again(hosting: &mut Hosting, statement: &str) {
    hosting.stop();
    change(hosting, statement);
    hosting.start();
}
