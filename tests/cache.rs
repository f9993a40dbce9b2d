//! `mtasts cache` and what stands behind it: the real binary on the test Internet, as root and as an ordinary user.

use mtasts::cache::entry::Held;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::Internet;

#[path = "cache/exceptions.rs"]
mod exceptions;
#[path = "cache/look.rs"]
mod look;
#[path = "cache/many.rs"]
mod many;
#[path = "cache/pin.rs"]
mod pin;
#[path = "cache/refresh.rs"]
mod refresh;
#[path = "cache/transfer.rs"]
mod transfer;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The policy was fetched so many seconds ago.
fn age(host: &Internet, domain: &str, seconds: u64) {
    host.change(domain, |entry| {
        let held = entry.held.as_ref().unwrap();
        let held = Held::new(held.id, unix_now() - seconds, held.text.as_str());
        entry.held = Some(held.unwrap().into());
    });
}

fn fetched(host: &Internet, domain: &str) -> u64 {
    host.entry(domain).unwrap().held.unwrap().fetched
}
