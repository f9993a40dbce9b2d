//! The certificate check on real certificates (RFC 8461 4.2, RFC 9525 6, RFC 5280).

#[path = "certificate/hostile.rs"]
mod hostile;
#[path = "certificate/kinds.rs"]
mod kinds;
#[path = "certificate/names.rs"]
mod names;
#[path = "certificate/path.rs"]
mod path;

use std::time::Duration;

use mtasts::Domain;
use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::check_chain;
use rustls_pki_types::UnixTime;

const MX: &str = "mx1.example.com";

/// 2026-06-01: the day of all tests.
fn today() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_780_272_000))
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("a host name")
}

fn told(result: Result<(), mtasts::CertificateFailure>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(failure) => {
            assert!(failure.reason.len() <= 512, "{failure}");
            assert!(
                failure.reason.chars().all(|c| c == ' ' || c.is_ascii_graphic()),
                "{failure}"
            );
            failure.to_string()
        }
    }
}

fn verdict(chain: &[&[u8]], roots: &Roots) -> String {
    told(check_chain(&domain(MX), chain, roots.anchors(), today()))
}
