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

/// So many domains in order, `many0.test` and so on, for those who measure.
pub(super) fn crowd(number: u16) -> impl Iterator<Item = Entry> {
    (0..number).map(|n| Entry::new(&format!("many{n}.test")))
}

/// Whether a name is that of a domain of the crowd, or below one.
pub(super) fn is_crowd(name: &str) -> bool {
    let domain = name
        .strip_suffix(".test")
        .map(|name| name.rsplit('.').next().unwrap_or(name));
    domain
        .and_then(|label| label.strip_prefix("many"))
        .is_some_and(|n| n.parse::<u16>().is_ok())
}
