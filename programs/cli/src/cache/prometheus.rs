//! Metrics of the cache and of the last run of the refresh, as a file for the textfile collector of node_exporter.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::super::Trouble;
use super::refresh::Counts;
use super::summary::Summary;
use mtasts::sender::resolver::unix_now;
use mtasts::sender::validator::Worth;

/// The exposition format of Prometheus: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
pub(super) fn page(summary: &Summary, counts: &Counts, took: Duration, dane: &Worth, fleet: &str) -> String {
    let mut page = Page(String::new());
    page.gauge("mtasts_build_info", "The version of the command that wrote this file.");
    page.sample(
        "mtasts_build_info",
        &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")),
        1,
    );
    page.number("mtasts_cache_entries", "Entries of the cache.", summary.entries);
    page.gauge("mtasts_cache_policies", "Policies in force, by mode.");
    for (mode, count) in [
        ("enforce", summary.enforce),
        ("testing", summary.testing),
        ("none", summary.none),
    ] {
        page.sample("mtasts_cache_policies", &format!("{{mode=\"{mode}\"}}"), count);
    }
    for (name, help, count) in [
        (
            "mtasts_cache_policies_enforced",
            "Policies of mode enforce to which no exception applies.",
            summary.enforced,
        ),
        (
            "mtasts_cache_policies_not_renewed",
            "Policies in force that could not be renewed.",
            summary.failing.count,
        ),
        (
            "mtasts_cache_policies_expiring",
            "Policies that could not be renewed and expire within a day, or within a quarter of a shorter life.",
            summary.expiring.count,
        ),
        (
            "mtasts_cache_files_unusable",
            "Files of the cache that cannot be used.",
            summary.broken.count,
        ),
        (
            "mtasts_cache_pins",
            "Policies that the operator has pinned.",
            summary.pins,
        ),
        (
            "mtasts_cache_pins_ending",
            "Pins that end within a week.",
            summary.pins_ending.count,
        ),
        (
            "mtasts_exceptions",
            "Domains for which the operator has switched enforcement off.",
            summary.exceptions,
        ),
    ] {
        page.number(name, help, count);
    }
    for (name, help, time) in [
        (
            "mtasts_cache_oldest_fetch_timestamp_seconds",
            "When the oldest policy in force was fetched.",
            summary.oldest_fetch,
        ),
        (
            "mtasts_cache_next_expiry_timestamp_seconds",
            "When the next policy expires that is still to be renewed.",
            summary.next_expiry,
        ),
        (
            "mtasts_refresh_timestamp_seconds",
            "When the last run of the refresh ended.",
            Some(unix_now()),
        ),
    ] {
        if let Some(time) = time {
            page.number(name, help, time);
        }
    }
    let seconds = format!("{:.3}", took.as_secs_f64());
    page.number("mtasts_refresh_duration_seconds", "How long that run took.", seconds);
    page.gauge("mtasts_refresh_policies", "What that run did, by outcome.");
    for (outcome, count) in [
        ("renewed", counts.renewed),
        ("weakened", counts.weakened),
        ("failed", counts.failed),
        ("removed", counts.removed),
        ("unusable", counts.broken),
    ] {
        page.sample("mtasts_refresh_policies", &format!("{{outcome=\"{outcome}\"}}"), count);
    }
    page.gauge(
        "mtasts_dane_resolver",
        "What the word of the name server of dane_resolver on DNSSEC is worth: 1 for the word that is so.",
    );
    for worth in Worth::NAMES {
        let is_so = u8::from(worth == dane.name());
        page.sample("mtasts_dane_resolver", &format!("{{worth=\"{worth}\"}}"), is_so);
    }
    page.gauge(
        "mtasts_fleet",
        "Whether the server of the setting fleet answered after the run: 1 for the state that is so.",
    );
    for state in ["off", "up", "down"] {
        page.sample(
            "mtasts_fleet",
            &format!("{{state=\"{state}\"}}"),
            u8::from(state == fleet),
        );
    }
    page.0
}

struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn number(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.gauge(name, help);
        self.sample(name, "", value);
    }
}

/// Replaces the file as a whole. The collector reads `*.prom` at any moment, so the new content has another name until it
/// is complete; and it runs as another user, who has to be able to read it.
pub(super) fn write(file: &Path, page: &str) -> Result<(), Trouble> {
    let trouble = |error: io::Error| Trouble(format!("the metrics were not written: {}: {error}", file.display()));
    let name = file
        .file_name()
        .ok_or_else(|| trouble(io::ErrorKind::InvalidInput.into()))?;
    let new = file.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = create(&new, page).and_then(|()| fs::rename(&new, file));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        trouble(error)
    })
}

/// A new file: others may write to the directory too, and a link of theirs would lead into the cache.
fn create(new: &Path, page: &str) -> io::Result<()> {
    let _ = fs::remove_file(new);
    let mut file = File::create_new(new)?;
    file.write_all(page.as_bytes())?;
    file.set_permissions(Permissions::from_mode(0o644))
}
