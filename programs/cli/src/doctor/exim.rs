//! Exim: which configuration is in force, and whether it asks the library. `mtasts exim` knows; here are its findings.

use std::fs;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::finding::{Code, Finding};
use super::users::me;
use crate::exim::block::State;
use crate::exim::configuration::{Configuration, in_force};

/// How long `exim -bV` may take: it can ask DNS for the name of this host.
const LIMIT: Duration = Duration::from_secs(2);

/// What is found out on a thread, while the rest is looked at.
pub(super) struct Asked(Receiver<Result<Option<Configuration>, String>>);

pub(super) fn ask() -> Asked {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let _ = send.send(in_force());
    });
    Asked(receive)
}

impl Asked {
    pub(super) fn look(&self, found: &mut Vec<Finding>) {
        match self.0.recv_timeout(LIMIT) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(configuration))) => {
                found.extend(judge(&configuration));
                let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
                found.extend(configuration.asks.then(|| of_dane(&resolver)));
            }
            Ok(Err(why)) if me() == 0 => found.push(Finding::new(
                Code::EximInvalid,
                format!("{why}. Repair it: Exim delivers nothing until then."),
            )),
            Ok(Err(why)) => found.push(Finding::new(
                Code::EximUnknown,
                format!("{why}. Run mtasts doctor as root."),
            )),
            Err(_) => found.push(Finding::new(
                Code::EximUnknown,
                "exim -bV does not answer: if it waits for DNS, set primary_hostname in its configuration",
            )),
        }
    }
}

/// Whether Exim, which does DANE by itself, hears from its resolver what the name servers have validated.
fn of_dane(resolv_conf: &str) -> Finding {
    let options = resolv_conf.lines().filter_map(|line| line.strip_prefix("options"));
    let trusts = options
        .flat_map(str::split_whitespace)
        .any(|option| option == "trust-ad");
    let sentence = if trusts {
        "Exim hears what the name servers of /etc/resolv.conf have validated (options trust-ad), and does DANE where they do. \
         They must be on this host, as for the setting dane"
    } else {
        "Exim does no DANE: /etc/resolv.conf does not say \"options trust-ad\". If the name server is on this host and validates \
         DNSSEC, add it"
    };
    Finding::new(Code::EximDane, sentence)
}

fn judge(configuration: &Configuration) -> Vec<Finding> {
    let exim = &configuration.exim;
    let about = format!(
        "Exim {} with {} ({})",
        exim.version,
        configuration.file.display(),
        configuration.kind.name()
    );
    let present = configuration.parts.iter().any(|part| part.state != State::Absent);
    if !configuration.asks && !present {
        return vec![Finding::new(
            Code::EximAbsent,
            format!("{about} does not ask the library: no mail is under MTA-STS. Run mtasts exim install"),
        )];
    }
    let mut found = Vec::new();
    if !exim.dlfunc {
        found.push(Finding::new(
            Code::EximDlfunc,
            format!("{about} cannot call a library (dlfunc): on Debian install exim4-daemon-heavy in place of exim4-daemon-light"),
        ));
    }
    if configuration.stale {
        found.push(Finding::new(
            Code::EximStale,
            format!("{about} was made of other parts than are there now: run update-exim4.conf, and read what it says"),
        ));
    }
    if present {
        let others = configuration.parts.iter().filter_map(|part| {
            let what = match &part.state {
                State::Current => return None,
                State::Absent => "missing".to_owned(),
                State::Edited => "edited".to_owned(),
                State::Outdated { version } => format!("of libmtasts {version}"),
            };
            Some(format!("{} is {what}", part.name))
        });
        let others: Vec<String> = others.collect();
        if !others.is_empty() {
            found.push(Finding::new(
                Code::EximParts,
                format!("{about}: {}. See mtasts exim status", others.join(", ")),
            ));
        }
    }
    if found.is_empty() {
        found.push(Finding::new(Code::Exim, format!("{about} asks the library")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exim::configuration::{Exim, Kind, Part};

    #[test]
    fn what_exim_hears_of_dnssec() {
        for (text, hears) in [
            ("nameserver 127.0.0.1\noptions edns0 trust-ad\n", true),
            ("nameserver 127.0.0.1\noptions edns0\n# options trust-ad\n", false),
            ("", false),
        ] {
            let told = of_dane(text).sentence;
            assert_eq!(told.starts_with("Exim hears"), hears, "{text:?}: {told}");
        }
    }

    /// What `mtasts exim` says, and the codes that follow.
    #[test]
    fn what_is_found_in_a_configuration() {
        let part = |state| Part {
            name: "router/190_mtasts",
            file: "/etc/exim4/conf.d/router/190_mtasts".into(),
            state,
        };
        let of = |dlfunc, asks, stale, state| Configuration {
            exim: Exim {
                program: "/usr/sbin/exim4".into(),
                version: "4.96".to_owned(),
                dlfunc,
            },
            kind: Kind::DebianSplit,
            file: "/var/lib/exim4/config.autogenerated".into(),
            config_type: Some("internet".to_owned()),
            parts: vec![part(state)],
            asks,
            stale,
            unplaceable: None,
        };
        let codes = |configuration: &Configuration| -> Vec<&str> {
            judge(configuration).iter().map(|finding| finding.code.name()).collect()
        };
        let older = || State::Outdated {
            version: "0.0.1".to_owned(),
        };
        assert_eq!(codes(&of(true, true, false, State::Current)), ["exim"]);
        assert_eq!(codes(&of(true, true, false, State::Absent)), ["exim"], "by hand");
        assert_eq!(codes(&of(true, false, false, State::Absent)), ["exim-absent"]);
        assert_eq!(codes(&of(false, false, false, State::Absent)), ["exim-absent"]);
        assert_eq!(codes(&of(false, true, false, State::Current)), ["exim-dlfunc"]);
        assert_eq!(
            codes(&of(true, true, true, State::Edited)),
            ["exim-stale", "exim-parts"]
        );
        assert_eq!(codes(&of(true, true, false, older())), ["exim-parts"]);
        let told = &judge(&of(true, true, false, older()))[0].sentence;
        assert!(
            told.contains("(Debian's split configuration): router/190_mtasts is of libmtasts 0.0.1"),
            "{told}"
        );
    }
}
