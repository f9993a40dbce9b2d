//! The private Exim of these tests survives what happens to a checkout.

use super::host::{self, Tls};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// `chown -R` over the checkout takes Exim's set-uid bit, and the next test brings it back.
pub(crate) fn after_a_chown() {
    host::fetch(Tls::Gnu);
    let copy = std::env::temp_dir().join(format!("mtasts-exim-{}-chown", std::process::id()));
    fs::create_dir(&copy).unwrap();
    let tree = mtasts_kit::repository().join("target/exim/gnutls");
    host::run(Command::new("cp").arg("-a").arg(tree).arg(&copy));
    host::run(Command::new("chown").args(["-R", "65534:65534"]).arg(&copy));
    host::run(Command::new(mtasts_kit::repository().join("tests/exim/fetch.sh")).arg(&copy));
    let exim = copy.join("gnutls/usr/sbin/exim4").metadata().unwrap();
    let file = copy.join("gnutls/complete").metadata().unwrap();
    fs::remove_dir_all(&copy).unwrap();
    assert_eq!((exim.uid(), exim.mode() & 0o7777, file.uid()), (0, 0o4755, 0));
}
