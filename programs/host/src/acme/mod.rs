//! Certificates from a certification authority by ACME (RFC 8555), one for each policy host.

mod authority;
pub(crate) mod caa;
pub(crate) mod challenges;
mod flight;
mod leaf;
pub(crate) mod manager;
mod order;
pub mod schedule;
mod wire;

use std::path::PathBuf;

use crate::source::{Problem, Value};

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The most new orders in three hours: below the 300 of Let's Encrypt, so that an operator can still try something by hand.
const ORDERS: u32 = 250;

/// How a policy host proves to the authority that a name is its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Challenge {
    /// In a TLS handshake on port 443 (RFC 8737).
    TlsAlpn,
    /// By a file on port 80 (RFC 8555 8.3).
    Http,
}

/// The table `acme` of the operator's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acme {
    /// `directory`: the URL of the authority.
    pub directory: String,
    /// `contact`: where it sends warnings, as URIs of `mailto`.
    pub contact: Vec<String>,
    /// `challenge`: `tls-alpn-01` or `http-01`.
    pub challenge: Challenge,
    /// `profile`: which kind of certificate, if the authority has several.
    pub profile: Option<String>,
    /// `orders`: the most new orders in three hours.
    pub orders: u32,
    /// `ca_file`: the trust anchors for the authority's own certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// `eab_kid`, `eab_key_file`: the identifier and the file with the key (in base64url) by which the authority knows its customer
    /// (external account binding, RFC 8555 7.3.4).
    pub eab: Option<(String, PathBuf)>,
    /// `flight_test`: whether this host tries the challenge itself before it orders.
    pub flight_test: bool,
    /// `second`: the authority that is asked when this one has failed for a third of the time that is left.
    pub second: Option<Box<Self>>,
}

impl Acme {
    /// Reads the table.
    pub(crate) fn read(table: &Value<'_, '_>) -> Result<Self, Problem> {
        let mut acme = Self {
            directory: DIRECTORY.into(),
            contact: Vec::new(),
            challenge: Challenge::TlsAlpn,
            profile: None,
            orders: ORDERS,
            ca_file: None,
            eab: None,
            flight_test: true,
            second: None,
        };
        let (mut agreed, mut kid, mut key_file) = (false, None, None);
        for (key, value) in table.entries()? {
            match key.get_ref().as_ref() {
                "directory" => {
                    let url = value.text()?;
                    if !url.starts_with("https://") || url.len() > 255 || !url.bytes().all(|c| c.is_ascii_graphic()) {
                        return Err(value.problem("must be a URL that begins with \"https://\""));
                    }
                    acme.directory = url.to_owned();
                }
                "agree_to_terms" => agreed = value.truth()?,
                "contact" => {
                    acme.contact = value.list(|text| match text.starts_with("mailto:") {
                        true => crate::records::check_report_uri(text).map(|()| text.to_owned()),
                        false => Err("must begin with \"mailto:\"".into()),
                    })?;
                }
                "challenge" => {
                    acme.challenge = match value.text()? {
                        "tls-alpn-01" => Challenge::TlsAlpn,
                        "http-01" => Challenge::Http,
                        _ => return Err(value.problem("must be \"tls-alpn-01\" or \"http-01\"")),
                    }
                }
                "profile" => {
                    let name = value.text()?;
                    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
                    if name.is_empty() || name.len() > 64 || !name.bytes().all(known) {
                        return Err(value.problem("is not the name of a profile"));
                    }
                    acme.profile = Some(name.to_owned());
                }
                "orders" => {
                    acme.orders = value.number()?;
                    if acme.orders == 0 {
                        return Err(value.problem("must be 1 at least"));
                    }
                }
                "ca_file" => acme.ca_file = Some(value.path()?),
                "eab_kid" => {
                    let text = value.text()?;
                    if text.is_empty() || text.len() > 255 || !text.bytes().all(|c| c.is_ascii_graphic()) {
                        return Err(value.problem("is not the identifier of a key"));
                    }
                    kid = Some(text.to_owned());
                }
                "eab_key_file" => key_file = Some(value.path()?),
                "flight_test" => acme.flight_test = value.truth()?,
                "second" => {
                    let second = Self::read(&value)?;
                    // What a policy host does is the same for both.
                    let mine = ["challenge", "orders", "flight_test", "second"];
                    for (key, value) in value.entries()? {
                        if mine.contains(&key.get_ref().as_ref()) {
                            return Err(value.problem("is set in the table acme, for both authorities"));
                        }
                    }
                    acme.second = Some(Box::new(second));
                }
                _ => {
                    return Err(value.problem(
                        "unknown key; there are directory, agree_to_terms, contact, challenge, profile, orders, ca_file, eab_kid, eab_key_file, \
                         flight_test and second",
                    ));
                }
            }
        }
        acme.eab = match (kid, key_file) {
            (Some(kid), Some(file)) => Some((kid, file)),
            (None, None) => None,
            _ => return Err(table.problem("eab_kid and eab_key_file belong together")),
        };
        if acme
            .second
            .as_ref()
            .is_some_and(|second| second.directory == acme.directory)
        {
            return Err(table.problem("the second authority is the first one; set another directory there"));
        }
        match agreed {
            true => Ok(acme),
            false => Err(table.problem(
                "read the terms of service of the authority, and set agree_to_terms = true if you agree to them",
            )),
        }
    }
}
