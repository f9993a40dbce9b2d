//! What was tried against a host that uses the library, and fails: by a local user, by a member of the cache's group, by
//! a neighbour that hangs, by a hostile domain, by a hostile network. Each file is one kind of it, on the test Internet; as
//! root (`cargo test --test attacks`).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use mtasts_kit::Internet;

mod crowds;
mod hostile_domain;
mod neighbours;
mod privileges;
mod roots;
mod values;

/// The setting `timeout`, and so the patience of each lookup.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on a test Internet of its own.
fn on_the_internet(name: &str, test: impl FnOnce(&Internet) + Send + 'static) {
    mtasts_kit::on_the_internet_with(name, &[("timeout", "20s")], test);
}

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap().permissions().mode() & 0o777
}
