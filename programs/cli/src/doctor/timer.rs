//! What runs `mtasts cache refresh`, as examples/systemd and examples/cron have it, and how its last run ended.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::finding::{Code, Finding};
use super::program;
use super::users::{Role, Users};

/// The timer, and the unit that it starts.
const TIMER: &str = "mtasts-refresh.timer";
const SERVICE: &str = "mtasts-refresh.service";

pub(super) fn look(users: &mut Users, found: &mut Vec<Finding>) {
    let mut unknown = Vec::new();
    if Path::new("/run/systemd/system").is_dir() {
        let properties = "--property=Id,LoadState,ActiveState,Result,ExecMainStatus,ExecMainExitTimestamp,User";
        match program::output("systemctl", &["show", properties, TIMER, SERVICE]) {
            None => unknown.push("systemctl did not answer".to_owned()),
            Some(text) => {
                if let Some(finding) = by_systemd(&text, users) {
                    found.push(finding);
                    return;
                }
            }
        }
    }
    let crontabs = Crontabs::all();
    for (file, text) in &crontabs.texts {
        if let Some(user) = by_cron(file, text) {
            users.add(&user, "whom cron runs the refresh as", Role::Writes);
            found.push(Finding::new(
                Code::Refresh,
                format!(
                    "cron runs it as {user} ({}); cron keeps no result, so see the policies",
                    file.display()
                ),
            ));
            return;
        }
    }
    unknown.extend(crontabs.hidden);
    found.push(if unknown.is_empty() {
        Finding::new(
            Code::RefreshMissing,
            "nothing runs mtasts cache refresh: policies expire, and their protection with them. Install examples/systemd and run \
             systemctl enable --now mtasts-refresh.timer, or install examples/cron",
        )
    } else {
        Finding::new(
            Code::RefreshUnknown,
            format!("what runs mtasts cache refresh is unknown ({}). Run mtasts doctor as root.", unknown.join("; ")),
        )
    });
}

/// What `systemctl show` says of the two; `None` if there is no such timer.
fn by_systemd(text: &str, users: &mut Users) -> Option<Finding> {
    let unit = |id: &str| {
        let block = text
            .split("\n\n")
            .find(|block| block.lines().any(|line| line == format!("Id={id}")))?;
        Some(move |key: &str| {
            let value = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_default().to_owned()
        })
    };
    let (timer, service) = (unit(TIMER)?, unit(SERVICE)?);
    if timer("LoadState") != "loaded" {
        return None;
    }
    let user = service("User");
    if !user.is_empty() {
        users.add(&user, "whom systemd runs the refresh as", Role::Writes);
    }
    let last = match service("ExecMainExitTimestamp") {
        last if last.is_empty() => "it has not run since the start of this host".to_owned(),
        last => format!("its last run ended {last}"),
    };
    Some(if timer("ActiveState") != "active" {
        Finding::new(
            Code::RefreshInactive,
            format!(
                "{TIMER} is {}: run systemctl enable --now {TIMER}",
                timer("ActiveState")
            ),
        )
    } else if !matches!(service("Result").as_str(), "success" | "") {
        let (result, status) = (service("Result"), service("ExecMainStatus"));
        Finding::new(
            Code::RefreshFailed,
            format!("{TIMER} is active, and {last} with {result} (status {status}): see journalctl -u mtasts-refresh"),
        )
    } else {
        Finding::new(Code::Refresh, format!("{TIMER} is active, and {last}"))
    })
}

/// All crontabs that can be read, and what cannot.
struct Crontabs {
    texts: Vec<(PathBuf, String)>,
    hidden: Vec<String>,
}

impl Crontabs {
    fn all() -> Self {
        let mut all = Self {
            texts: Vec::new(),
            hidden: Vec::new(),
        };
        all.add(Path::new("/etc/crontab"));
        for directory in [
            "/etc/cron.d",
            "/etc/cron.hourly",
            "/var/spool/cron/crontabs",
            "/var/spool/cron",
        ] {
            match fs::read_dir(directory) {
                Ok(files) => files.flatten().for_each(|file| all.add(&file.path())),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => all.hidden.push(format!("{directory}: {error}")),
            }
        }
        all
    }

    fn add(&mut self, file: &Path) {
        if !fs::metadata(file).is_ok_and(|about| about.is_file() && about.len() < 1024 * 1024) {
            return;
        }
        match fs::read(file) {
            Ok(text) => self
                .texts
                .push((file.to_owned(), String::from_utf8_lossy(&text).into_owned())),
            Err(error) => self.hidden.push(format!("{}: {error}", file.display())),
        }
    }
}

/// As whom a crontab runs the refresh, if it does.
fn by_cron(file: &Path, text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| {
        !line.starts_with('#') && line.contains("mtasts") && line.contains("cache refresh") && !line.contains("MAILTO")
    })?;
    if file.starts_with("/var/spool/cron") {
        return Some(file.file_name()?.to_string_lossy().into_owned());
    }
    if file.starts_with("/etc/cron.hourly") {
        return Some("root".to_owned());
    }
    // Five fields of time, or one that begins with "@".
    let times = if line.starts_with('@') { 1 } else { 5 };
    line.split_whitespace().nth(times).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd 252 prints it.
    const SHOWN: &str = "Id=mtasts-refresh.timer\nLoadState=loaded\nActiveState=active\nResult=success\n\n\
        Result=success\nExecMainStatus=0\nExecMainExitTimestamp=Thu 2026-11-26 23:07:12 UTC\nUser=mtasts\n\
        Id=mtasts-refresh.service\nLoadState=loaded\nActiveState=inactive\n";

    #[test]
    fn what_systemd_says() {
        for (text, code) in [
            (SHOWN.to_owned(), Some(Code::Refresh)),
            (
                SHOWN.replace("ActiveState=active", "ActiveState=inactive"),
                Some(Code::RefreshInactive),
            ),
            (
                SHOWN.replace("\n\nResult=success", "\n\nResult=exit-code"),
                Some(Code::RefreshFailed),
            ),
            (SHOWN.replacen("LoadState=loaded", "LoadState=not-found", 1), None),
            (String::new(), None),
        ] {
            let mut users = Users::default();
            let finding = by_systemd(&text, &mut users);
            assert_eq!(
                finding.as_ref().map(|finding| finding.code),
                code,
                "{text}\n{finding:?}"
            );
        }
        let finding = by_systemd(SHOWN, &mut Users::default()).unwrap();
        assert!(
            finding.sentence.ends_with("ended Thu 2026-11-26 23:07:12 UTC"),
            "{finding:?}"
        );
    }

    #[test]
    fn what_crontabs_say() {
        let ours = include_str!("../../../../examples/cron/mtasts");
        let user = |file: &str, text: &str| by_cron(Path::new(file), text);
        assert_eq!(user("/etc/cron.d/mtasts", ours).as_deref(), Some("mtasts"));
        assert_eq!(user("/etc/cron.d/mtasts", &ours.replace("\n37", "\n#37")), None);
        let hourly = "@hourly exim mtasts cache refresh";
        assert_eq!(user("/etc/crontab", hourly).as_deref(), Some("exim"));
        let own = "37 * * * * /usr/bin/mtasts cache refresh";
        assert_eq!(user("/var/spool/cron/crontabs/mail", own).as_deref(), Some("mail"));
        assert_eq!(user("/etc/cron.d/other", "37 * * * * root mtasts cache list"), None);
    }
}
