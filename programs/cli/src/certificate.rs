//! `mtasts certificate`: a chain in a file, checked as an MX host's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustls_pki_types::UnixTime;
use serde_json::json;

use super::output::{self, Mark, Page};
use super::{Found, Trouble, input};
use mtasts::network::roots::{Roots, pem};
use mtasts::protocol::certificate::{CertificateFailure, check_chain};
use mtasts::protocol::names::Domain;
use mtasts::protocol::words::ResultType;
use mtasts::sender::resolver::unix_now;

/// A chain of a hundred certificates has some 200 KiB.
const MAX_CHAIN: usize = 4 * 1024 * 1024;

/// Check a certificate chain as a sender does that enforces a policy (RFC 8461 4.2).
///
/// The names in the certificate's subjectAltName must include the host's; the common name is ignored. The chain must
/// lead to a root that is trusted. Exit status: 0 it is good, 1 it is not.
#[derive(Args)]
pub(super) struct Certificate {
    /// The name that the certificate must carry: that of the MX host, as in the MX record.
    host: String,
    /// The chain in PEM, the host's own certificate first; "-" reads it from stdin.
    chain: PathBuf,
    /// A PEM file of the roots to trust [default: those of the system].
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// The time of the check, in Unix seconds [default: now].
    #[arg(long, value_name = "UNIXTIME")]
    at: Option<u64>,
    /// Print {"result":"ok"}, or the result type of RFC 8460 4.3 and the reason.
    #[arg(long)]
    json: bool,
}

impl Certificate {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let roots = super::roots(self.roots.as_deref())?;
        let pem = input::read(&self.chain, MAX_CHAIN)?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(self.at.unwrap_or_else(unix_now)));
        let checked = check(&self.host, &self.chain, &pem, &roots, at);
        if self.json {
            output::print_json(&match &checked {
                Ok(()) => json!({ "result": "ok" }),
                Err(failure) => json!({ "result": failure.result.name(), "reason": failure.reason }),
            })?;
        } else {
            let mut page = Page::new();
            match &checked {
                Ok(()) => page.line(Mark::Good, &format!("the certificate is good for {}", self.host)),
                Err(failure) => page.line(Mark::Bad, &failure.to_string()),
            }
            page.print()?;
        }
        Ok(if checked.is_ok() { Found::Good } else { Found::Bad })
    }
}

fn check(host: &str, file: &Path, pem: &[u8], roots: &Roots, at: UnixTime) -> Result<(), CertificateFailure> {
    let failure = |result, reason| Err(CertificateFailure::new(result, reason));
    let host = match Domain::parse(host) {
        Ok(host) => host,
        Err(error) => {
            let reason = format!("{host:?} is not a name that a certificate can have: {error}");
            return failure(ResultType::CertificateHostMismatch, reason);
        }
    };
    match pem::certificates(pem) {
        Ok(chain) if !chain.is_empty() => {
            let chain: Vec<&[u8]> = chain.iter().map(|section| &*section.der).collect();
            check_chain(&host, &chain, roots.anchors(), at)
        }
        Ok(_) => failure(
            ResultType::ValidationFailure,
            format!("{} has no PEM certificate", file.display()),
        ),
        Err(error) => failure(ResultType::ValidationFailure, format!("{}: {error}", file.display())),
    }
}
