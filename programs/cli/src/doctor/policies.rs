//! What is in the cache, as the user of the cache reads it.

use std::fs;

use super::finding::{Code, Finding};
use mtasts::cache::Cache as _;
use mtasts::cache::contract::CacheError;
use mtasts::cache::store::Store;
use mtasts::protocol::calendar;
use mtasts::protocol::names::Domain;
use mtasts::sender::refresh;
use mtasts::sender::resolver::unix_now;
use mtasts::sender::settings::Settings;

/// The refresh runs every hour: what is due for longer than this, no refresh has seen.
const OVERDUE: u64 = 3 * 3600;
const DAY: u64 = 86_400;
/// How many files and domains are named.
const NAMED: usize = 5;

/// Domains, of which the first are named.
#[derive(Default)]
struct Domains {
    count: usize,
    first: Vec<String>,
}

impl Domains {
    fn add(&mut self, domain: impl ToString) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(domain.to_string());
        }
    }

    fn names(&self) -> String {
        let more = if self.count > self.first.len() { ", ..." } else { "" };
        format!("{}{more}", self.first.join(", "))
    }
}

/// Reads every file.
pub(super) fn look(settings: &Settings, found: &mut Vec<Finding>) {
    let Some(dir) = settings.cache_dir.as_deref().filter(|dir| dir.is_dir()) else {
        return;
    };
    let store = Store::new(dir.to_owned());
    let domains = match store.domains() {
        Ok(domains) => domains,
        // Said already: it is not used.
        Err(_) if fs::read_dir(dir).is_ok() => return,
        Err(error) => {
            found.push(Finding::new(
                Code::CacheUnreadable,
                format!(
                    "{error}. What is in it is unknown: run mtasts doctor as root. If this user sends mail with libmtasts, make it \
                     a member of the directory's group."
                ),
            ));
            return;
        }
    };
    let now = unix_now();
    let noted = store.uses_are_noted().unwrap_or(false);
    let (mut live, mut expired, mut near) = (0_usize, 0_usize, 0_usize);
    let (mut failed, mut overdue, mut unread) = (Domains::default(), Domains::default(), Domains::default());
    let mut ignored = not_domains(&store);
    for domain in &domains {
        let entry = match store.load(domain) {
            Ok(Some(entry)) => entry,
            Ok(None) => continue,
            Err(CacheError::Unread(why)) => {
                unread.add(why);
                continue;
            }
            Err(error) => {
                ignored.push(format!("{error}. The next fetch replaces it, or remove it."));
                continue;
            }
        };
        match (entry.live(now), &entry.cached) {
            (Some(cached), _) => {
                live += 1;
                near += usize::from(cached.expires() < now + DAY);
                if entry.failed.is_some() && entry.pinned(now).is_none() {
                    failed.add(domain);
                }
            }
            (None, Some(_)) => expired += 1,
            (None, None) => {}
        }
        let idle = refresh::idle(&entry, now, noted).is_some();
        if !idle && refresh::next(&entry, now).is_some_and(|next| next + OVERDUE < now) {
            overdue.add(domain);
        }
    }
    found.push(Finding::new(
        Code::Policies,
        format!("{live} policies are in force, {near} of them for less than a day; {expired} have expired"),
    ));
    let named = |code, domains: &Domains, what: &str| {
        let sentence = format!("{} ({}): {what}", domains.count, domains.names());
        (domains.count > 0).then(|| Finding::new(code, sentence))
    };
    let within = calendar::span(OVERDUE);
    found.extend(named(
        Code::PoliciesFailed,
        &failed,
        "the last fetch failed, and the cached policy stays in force until it expires. Run mtasts cache show DOMAIN, and mtasts \
         check DOMAIN",
    ));
    found.extend(named(
        Code::PoliciesOverdue,
        &overdue,
        &format!(
            "due for renewal for more than {within}. Let mtasts cache refresh run every hour, and look at its errors"
        ),
    ));
    if unread.count > 0 {
        found.push(Finding::new(
            Code::CacheUnreadable,
            format!(
                "{} files cannot be read by this user ({}). What is in them is unknown: run mtasts doctor as root.",
                unread.count,
                unread.names()
            ),
        ));
    }
    let more = ignored.len().saturating_sub(NAMED);
    ignored.truncate(NAMED);
    found.extend(ignored.into_iter().map(|why| Finding::new(Code::CacheFile, why)));
    if more > 0 {
        found.push(Finding::new(
            Code::CacheFile,
            format!("and {more} more files are ignored"),
        ));
    }
}

/// Files whose names are not ours; those of the cache itself begin with a dot.
fn not_domains(store: &Store) -> Vec<String> {
    let files = fs::read_dir(store.dir()).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let others = names.filter(|name| {
        !name.starts_with('.')
            && name != "lost+found"
            && Domain::parse(name).ok().is_none_or(|domain| domain.as_str() != name)
    });
    let mut others: Vec<String> = others.collect();
    others.sort_unstable();
    let about = |name: String| {
        format!(
            "{}: its name is not that of a domain in lower case, so it is ignored. Remove it.",
            store.dir().join(name).display()
        )
    };
    others.into_iter().map(about).collect()
}
