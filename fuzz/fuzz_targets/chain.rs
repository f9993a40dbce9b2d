#![no_main]

use std::sync::LazyLock;

use mtasts::network::roots::Roots;

#[path = "../../tests/properties/invariants.rs"]
mod invariants;

/// The root of the seeds.
static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::from_pem(include_bytes!("../seeds/root.pem")).expect("a root"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| invariants::chain(data, &ROOTS));
