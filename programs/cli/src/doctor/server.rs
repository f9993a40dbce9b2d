//! The server (`mtasts serve`): whether it runs and answers, and has the version of this command.

use std::path::Path;

use super::super::daemon::{self, Said};
use super::finding::{Code, Finding};
use super::program;

/// Its unit.
const SERVICE: &str = "mtasts-serve.service";

pub(super) fn look(found: &mut Vec<Finding>) {
    let servers = daemon::running();
    if servers.is_empty() && Path::new("/run/systemd/system").is_dir() {
        let enabled = program::output("systemctl", &["is-enabled", SERVICE]);
        found.extend(enabled.as_deref().and_then(missing));
    }
    found.extend(servers.iter().map(|server| finding(server.ask())));
}

/// No server runs, and systemd says this of its unit.
fn missing(enabled: &str) -> Option<Finding> {
    (enabled.trim() == "enabled").then(|| {
        let sentence = format!(
            "{SERVICE} is enabled, and no server runs: Postfix, Sendmail or Exim let all mail wait. See systemctl status {SERVICE}"
        );
        Finding::new(Code::ServerMissing, sentence)
    })
}

fn finding(said: Said) -> Finding {
    match said {
        Said::Answers(what) => Finding::new(Code::Server, what),
        Said::Other(what) => Finding::new(Code::ServerVersion, format!("{what}: restart {SERVICE}")),
        Said::Silent(what) => Finding::new(
            Code::ServerSilent,
            format!("{what}: mail servers that ask it let all mail wait. See journalctl -u {SERVICE}"),
        ),
        Said::NotAsked(what) => Finding::new(Code::ServerUnknown, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_for_each_state() {
        let what = || "mtasts serve at /run/a".to_owned();
        for (said, code) in [
            (Said::Answers(what()), Code::Server),
            (Said::Other(what()), Code::ServerVersion),
            (Said::Silent(what()), Code::ServerSilent),
            (Said::NotAsked(what()), Code::ServerUnknown),
        ] {
            let finding = finding(said);
            assert!(
                finding.code == code && finding.sentence.starts_with("mtasts serve at /run/a"),
                "{finding:?}"
            );
        }
        assert_eq!(
            missing("enabled\n").map(|finding| finding.code),
            Some(Code::ServerMissing)
        );
        assert_eq!(missing("disabled\n"), None);
    }
}
