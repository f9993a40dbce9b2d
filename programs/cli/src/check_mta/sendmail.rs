//! The settings of Sendmail, from what it is built with and its sendmail.cf.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::super::Trouble;
use super::Problem;

/// What it must be built with.
const NEEDED: [&str; 2] = ["_FFR_MTA_STS", "_FFR_TLS_ALTNAMES"];

/// Asks sendmail(8), and reads the file of its daemon.
pub(super) fn check() -> Result<Vec<Problem>, Trouble> {
    let failed = |error: std::io::Error| Trouble(format!("cannot run sendmail: {error}"));
    let mut sendmail = Command::new("sendmail");
    // -bt reads rules from stdin until its end.
    sendmail.args(["-d0.13", "-bt"]).stdin(Stdio::null());
    let output = sendmail.output().map_err(failed)?;
    let build = String::from_utf8_lossy(&output.stdout).into_owned();
    if !build.contains("Compiled with:") {
        return Err(Trouble("sendmail -d0.13 is not answered by Sendmail".into()));
    }
    let file = PathBuf::from(file(&build));
    let settings = fs::read(&file).map_err(|error| Trouble(format!("{}: {error}", file.display())))?;
    Ok(judge(&build, &String::from_utf8_lossy(&settings)))
}

/// The file of the daemon: `Conf file: /etc/mail/sendmail.cf (default for MTA)`.
fn file(build: &str) -> &str {
    let line = build.lines().find(|line| line.contains("(default for MTA)"));
    let path = line.and_then(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    path.unwrap_or("/etc/mail/sendmail.cf")
}

/// What is wrong with a build and a sendmail.cf.
fn judge(build: &str, settings: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |code, sentence: String| problems.push(Problem { code, sentence });
    let has_line = |begin: &str| settings.lines().any(|line| line.starts_with(begin));
    let option = |name: &str| {
        let lines = settings.lines().filter_map(|line| line.strip_prefix("O "));
        // The last one counts.
        let mut values = lines.filter_map(|line| line.trim_start().strip_prefix(name)?.trim_start().strip_prefix('='));
        values.next_back().unwrap_or_default().trim()
    };

    for missing in NEEDED
        .iter()
        .filter(|name| !build.split_whitespace().any(|word| word == **name))
    {
        problem(
            "not-built",
            format!(
                "this Sendmail is built without {missing}, and cannot check a policy. Install one that is, as Debian's."
            ),
        );
    }
    if option("CACertFile").is_empty() && option("CACertPath").is_empty() {
        problem(
            "no-root-certificates",
            "confCACERT is not set: no certificate can be verified, and mail to every domain with a policy waits. Set it to \
             /etc/ssl/certs/ca-certificates.crt."
                .into(),
        );
    }
    let map = settings.lines().find(|line| line.starts_with("Ksts "));
    match map {
        None => problem(
            "no-policy-map",
            "there is no FEATURE(`sts'): policies are not asked for. Put the lines of examples/sendmail into sendmail.mc.".into(),
        ),
        Some(map) if !map.contains("-T<TMPF>") => problem(
            "server-down-ignored",
            "the map sts has no -T<TMPF>: if the server does not run, mail goes out without any check. Give the map as \
             examples/sendmail has it."
                .into(),
        ),
        Some(_) => {}
    }
    if map.is_none() {
        return problems;
    }
    if option("StrictTransportSecurity") != "true" {
        problem(
            "no-sts",
            "the option StrictTransportSecurity is not true: policies are looked up and not enforced. Remove what sets it.".into(),
        );
    }
    // The feature's own check, and that of the example.
    let (own, ours) = (has_line("R$={cert_altnames}"), has_line("R< $={cert_altnames} >"));
    if own {
        problem(
            "wildcards-refused",
            "the feature's own check of names accepts no wildcard certificate, and mail to many domains waits. Give the \
             feature NO_SAN_TST, with the rules of examples/sendmail."
                .into(),
        );
    } else if !ours {
        problem(
            "names-not-checked",
            "the names of certificates are not checked, so any valid certificate passes. Add the rules LOCAL_TLS_RCPT of \
             examples/sendmail."
                .into(),
        );
    }
    if option("SetCertAltnames") != "true" {
        problem(
            "no-altnames",
            "the option SetCertAltnames is not true: the rules see no name of a certificate, and mail to every domain with a \
             policy waits. Add O SetCertAltnames=true below LOCAL_CONFIG."
                .into(),
        );
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: &str = "Version 8.17.1.9\n Compiled with: DANE DNSMAP STARTTLS\n FFR Defines: _FFR_MTA_STS _FFR_TLS_ALTNAMES\n\
        \x20Conf file:\t/etc/mail/sendmail.cf (default for MTA)\n";
    const GOOD: &str = "O CACertFile=/etc/ssl/certs/ca-certificates.crt\nO StrictTransportSecurity=true\n\
        Ksts socket -d5 -T<TMPF> inet:5461@127.0.0.1\nO SetCertAltnames=true\nR< $={cert_altnames} >\t$@ ok\n";

    #[test]
    fn each_problem_and_no_other() {
        assert_eq!(judge(BUILD, GOOD), []);
        let codes = |build: &str, settings: &str| -> Vec<&str> {
            judge(build, settings).iter().map(|problem| problem.code).collect()
        };
        assert_eq!(codes(&BUILD.replace("_FFR_MTA_STS ", ""), GOOD), ["not-built"]);
        assert_eq!(codes(&BUILD.replace(" _FFR_TLS_ALTNAMES", ""), GOOD), ["not-built"]);
        for (from, to, code) in [
            (
                "O CACertFile=/etc/ssl/certs/ca-certificates.crt",
                "#O CACertFile",
                "no-root-certificates",
            ),
            ("Ksts socket", "Kother socket", "no-policy-map"),
            (" -T<TMPF>", "", "server-down-ignored"),
            (
                "O StrictTransportSecurity=true",
                "O StrictTransportSecurity=false",
                "no-sts",
            ),
            ("R< $={cert_altnames} >", "R$={cert_altnames}", "wildcards-refused"),
            ("R< $={cert_altnames} >", "R$*", "names-not-checked"),
            ("O SetCertAltnames=true", "", "no-altnames"),
        ] {
            let changed = GOOD.replace(from, to);
            assert_ne!(changed, GOOD, "{from}");
            assert_eq!(codes(BUILD, &changed), [code], "{from} -> {to}");
        }
        assert_eq!(file(BUILD), "/etc/mail/sendmail.cf");
    }
}
