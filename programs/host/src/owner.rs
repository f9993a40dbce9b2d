//! Whom a process of root becomes: the owner of the ledger's directory. Root never talks to the network, and writes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mtasts::sys::identity::{Identity, become_identity};
use mtasts::sys::process::is_root;

/// Makes a process of root the owner of the directory of this file, for good. Another process stays as it is.
///
/// # Errors
/// A sentence: the directory cannot be used, or it belongs to root; or the system refuses, and the process must do nothing
/// more.
pub fn leave_root(ledger: &Path) -> Result<(), String> {
    if !is_root() {
        return Ok(());
    }
    let directory = ledger.parent().unwrap_or_else(|| Path::new("/"));
    let shown = directory.display();
    let about = fs::metadata(directory).map_err(|error| format!("the directory of the ledger, {shown}: {error}"))?;
    let (uid, gid) = (about.uid(), about.gid());
    if uid == 0 || gid == 0 {
        return Err(format!(
            "the directory of the ledger, {shown}, belongs to root. Create it for a user of its own: \
             install -d -m 0750 -o mtasts-host -g mtasts-host {shown}"
        ));
    }
    become_identity(Identity { uid, gid }).map_err(|error| format!("cannot become the owner of {shown}: {error}"))
}
