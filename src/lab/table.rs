//! The table of domains: what `mtasts lab list` prints and what the lab serves.

mod fetch;
mod host;
mod policy;
mod record;

use super::entry::Entry;

/// Every domain of the test Internet as it is after the start.
pub fn table() -> Vec<Entry> {
    let mut table = host::good();
    table.extend(host::broken());
    table.extend(host::dane());
    table.extend(record::entries());
    table.extend(policy::entries());
    table.extend(fetch::entries());
    table
}
