//! Mail addresses from which a report came back. Whoever reads the mail of `tlsrpt_sender` says so: a mail server does not tell
//! the reporter, and a bounce that arrives by mail can be forged, to keep a domain from its reports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};

use mtasts::cache::store::Store;
use mtasts::protocol::calendar;
use mtasts::protocol::report_record::mail_address;

/// How many days an address gets no report.
pub const DAYS: u64 = 7;
/// The file in the cache directory: a line for each address, with the day on which it was named.
const FILE: &str = ".report-bounced";
/// The longest file that is read, in octets.
const LONGEST: u64 = 1 << 20;

/// The addresses that were named in the last days, in lower case, and when.
///
/// # Errors
/// A sentence: the file cannot be read.
pub fn recent(store: &Store, now: u64) -> Result<BTreeMap<String, String>, String> {
    let path = store.dir().join(FILE);
    let unread = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(unread)?,
    };
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(unread)?;
    let line = |line: &str| {
        let (day, address) = line.split_once(' ')?;
        let since = calendar::day(day)?;
        (now < since + (DAYS + 1) * 86_400).then(|| (address.to_owned(), day.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Notes that mail to an address came back.
///
/// # Errors
/// A sentence: it is not an address, or cannot be noted.
pub fn note(store: &Store, address: &str, now: u64) -> Result<(), String> {
    let address = mail_address(address).ok_or_else(|| format!("{address:?} is not a plain mail address"))?;
    let mut all = recent(store, now)?;
    all.insert(address.to_ascii_lowercase(), calendar::date(now));
    let lines: String = all.iter().map(|(address, day)| format!("{day} {address}\n")).collect();
    let written = tempfile::NamedTempFile::with_prefix_in(FILE, store.dir()).and_then(|mut file| {
        file.write_all(lines.as_bytes())?;
        file.persist(store.dir().join(FILE)).map_err(|error| error.error)
    });
    written
        .map(drop)
        .map_err(|error| format!("{}: {error}", store.dir().join(FILE).display()))
}
