//! `mtasts cache` and what stands behind it: the real binary on the test Internet, as root and as an ordinary user.

use mtasts::cache::entry::CachedPolicy;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::Internet;

#[path = "cache/exceptions.rs"]
mod exceptions;
#[path = "cache/look.rs"]
mod look;
#[path = "cache/many.rs"]
mod many;
#[path = "cache/monitoring.rs"]
mod monitoring;
#[path = "cache/pin.rs"]
mod pin;
#[path = "cache/refresh.rs"]
mod refresh;
#[path = "cache/setup.rs"]
mod setup;
#[path = "cache/transfer.rs"]
mod transfer;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The policy was fetched so many seconds ago.
fn age(host: &Internet, domain: &str, seconds: u64) {
    host.change(domain, |entry| {
        let cached = entry.cached.as_ref().unwrap();
        let cached = CachedPolicy::new(cached.id, unix_now() - seconds, cached.text.as_str());
        entry.cached = Some(cached.unwrap().into());
    });
}

fn fetched(host: &Internet, domain: &str) -> u64 {
    host.entry(domain).unwrap().cached.unwrap().fetched
}
