//! The settings of Exim, from `exim -bP`. Whether the parts are those of this version is `mtasts exim status`.

use std::process::{Command, Stdio};

use super::super::Trouble;
use super::Problem;

/// What a transport that enforces must have, as `exim -bP transport` prints it, and what goes wrong otherwise.
const OPTIONS: [(&str, &str); 8] = [
    ("hosts_require_tls = *", "mail may go out without TLS"),
    ("hosts_avoid_tls =", "mail may go out without TLS"),
    ("tls_verify_hosts = *", "certificates are not verified"),
    ("tls_verify_cert_hostnames = *", "a certificate of any name passes"),
    (
        "tls_resumption_hosts =",
        "a session whose certificate was not verified may be resumed",
    ),
    (
        "no_multi_domain",
        "mail for another domain goes out in the same session",
    ),
    (
        "connection_max_messages = 1",
        "mail for another domain goes out in the same session",
    ),
    (
        "tls_sni = $host",
        "the MX host may send the certificate of another name",
    ),
];

/// Asks exim(8).
pub(super) fn check() -> Result<Vec<Problem>, Trouble> {
    let program = ["exim4", "exim"].into_iter().find(|name| ask(name, &["-bV"]).is_ok());
    let program = program.ok_or_else(|| Trouble("cannot run exim4 or exim".into()))?;
    let version = ask(program, &["-bV"])?;
    let settings = ask(program, &["-bP", "config"])?;
    let transports = ask(program, &["-bP", "transports"])?;
    Ok(judge(&version, &settings, &transports))
}

fn ask(program: &str, arguments: &[&str]) -> Result<String, Trouble> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Trouble(format!("cannot run {program}: {error}")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Trouble(format!(
            "{program} {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// What is wrong with the version, the configuration and all transports, as Exim prints them.
fn judge(version: &str, settings: &str, transports: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |code, sentence: String| problems.push(Problem { code, sentence });
    let (library, server) = (
        settings.contains("{mtasts_exim_lookup}"),
        settings.contains("{exim lookup "),
    );
    if !library && !server {
        problem(
            "no-policy-lookup",
            "no router asks for policies. Run mtasts exim install, or take the parts of examples/exim/light for an Exim \
             without dlfunc."
                .into(),
        );
        return problems;
    }
    if library && !version.contains("Expand_dlfunc") {
        problem(
            "no-dlfunc",
            "this Exim cannot load the library, and all mail waits. Install exim4-daemon-heavy, or take the parts of \
             examples/exim/light."
                .into(),
        );
    }
    let enforcing: Vec<(&str, &str)> = transports
        .split("\n\n")
        .filter_map(|text| text.trim().split_once(" transport:\n"))
        .filter(|(name, _)| name.contains("mtasts"))
        .collect();
    if enforcing.is_empty() {
        problem(
            "no-enforcing-transport",
            "there is no transport whose name contains mtasts: policies are looked up and not enforced. Take that of the \
             examples."
                .into(),
        );
    }
    for (name, text) in enforcing {
        let has = |option: &str| text.lines().any(|line| line.trim() == option);
        for (option, otherwise) in OPTIONS.iter().filter(|(option, _)| !has(option)) {
            problem(
                "weak-transport",
                format!("the transport {name} does not say {option}: {otherwise}. Set it."),
            );
        }
        if has("tls_verify_certificates =") {
            problem(
                "no-root-certificates",
                format!(
                    "tls_verify_certificates of {name} is empty: no certificate can be verified. Set it to system."
                ),
            );
        }
        if !text.contains("mtasts_exim_event") && !text.contains("{exim certificate ") {
            problem(
                "names-in-cn",
                format!(
                    "event_action of {name} does not ask about certificates: one that has its name in the CN alone passes."
                ),
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "Exim version 4.96\nSupport for: Expand_dlfunc DANE\n";
    const SETTINGS: &str = "address_data = ${dlfunc{libmtasts.so.1}{mtasts_exim_lookup}{$domain}}\n";
    const TRANSPORTS: &str = "remote_smtp transport:\nhosts_require_tls =\n\nremote_smtp_mtasts transport:\n\
        hosts_require_tls = *\nhosts_avoid_tls =\ntls_verify_hosts = *\ntls_verify_cert_hostnames = *\n\
        tls_resumption_hosts =\nno_multi_domain\nconnection_max_messages = 1\ntls_sni = $host\n\
        tls_verify_certificates = system\nevent_action = ${dlfunc{libmtasts.so.1}{mtasts_exim_event}}\n";

    #[test]
    fn each_problem_and_no_other() {
        let codes = |version: &str, settings: &str, transports: &str| -> Vec<&str> {
            let problems = judge(version, settings, transports);
            problems.iter().map(|problem| problem.code).collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(codes(VERSION, SETTINGS, TRANSPORTS), none);
        assert_eq!(codes(VERSION, "dnslookup:\n", TRANSPORTS), ["no-policy-lookup"]);
        let light = VERSION.replace("Expand_dlfunc ", "");
        assert_eq!(codes(&light, SETTINGS, TRANSPORTS), ["no-dlfunc"]);
        let asks = "${readsocket{/run/mtasts/socketmap}{exim lookup $domain\\n}}";
        assert_eq!(codes(&light, asks, TRANSPORTS), none);
        let other = TRANSPORTS.replace("smtp_mtasts", "smtp_other");
        assert_eq!(codes(VERSION, SETTINGS, &other), ["no-enforcing-transport"]);
        let enforcing = TRANSPORTS.split("\n\n").nth(1).unwrap();
        for (option, _) in OPTIONS {
            let weak = enforcing.replace(option, "other = 1");
            assert_ne!(weak, enforcing, "{option}");
            assert_eq!(codes(VERSION, SETTINGS, &weak), ["weak-transport"], "{option}");
        }
        let bare = enforcing.replace("certificates = system", "certificates =");
        assert_eq!(codes(VERSION, SETTINGS, &bare), ["no-root-certificates"]);
        let deaf = enforcing.replace("mtasts_exim_event", "other");
        assert_eq!(codes(VERSION, SETTINGS, &deaf), ["names-in-cn"]);
    }
}
