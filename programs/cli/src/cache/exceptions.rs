//! `mtasts cache exceptions`.

use clap::Args;
use serde_json::json;

use super::super::output::{self, Mark, Page};
use super::super::{Found, Trouble};
use super::settings;
use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;

/// List the domains for which nothing is enforced, also those whose exception is over.
///
/// They are in the file of the setting `exceptions`, /etc/mtasts/exceptions by default: on each line a domain, the last
/// day (UTC) and a reason.
#[derive(Args)]
pub(crate) struct Exceptions {
    /// Print {"file":..,"exceptions":[{"domain":..,"until":..,"over":..,"reason":..}]}; times are Unix seconds.
    #[arg(long)]
    json: bool,
}

impl Exceptions {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let settings = settings()?;
        let now = unix_now();
        let list = settings.exceptions.iter();
        if self.json {
            let list = list.map(|exception| {
                json!({
                    "domain": exception.domain.as_str(),
                    "until": exception.until,
                    "over": !exception.is_live(now),
                    "reason": exception.reason,
                })
            });
            let file = settings
                .exceptions
                .file()
                .map(|file| file.to_string_lossy().into_owned());
            output::print_json(&json!({ "file": file, "exceptions": list.collect::<Vec<_>>() }))?;
            return Ok(Found::Good);
        }
        let mut page = Page::new();
        for exception in list {
            let (domain, day, reason) = (&exception.domain, calendar::date(exception.until), &exception.reason);
            if exception.is_live(now) {
                page.line(Mark::Advice, &format!("{domain} until {day}: {reason}"));
            } else {
                page.line(Mark::Plain, &format!("{domain} ended on {day}: {reason}"));
            }
        }
        page.print()?;
        Ok(Found::Good)
    }
}
