//! The settings of Postfix, from postconf(1).

use std::collections::HashMap;
use std::process::Command;

use mtasts::Settings;
use mtasts::sender::settings::Trust;

use super::super::Trouble;
use super::Problem;

/// What is asked for.
const NAMES: [&str; 10] = [
    "mail_version",
    "smtp_tls_policy_maps",
    "smtp_tls_CAfile",
    "smtp_tls_CApath",
    "smtp_tls_session_cache_database",
    "smtp_dns_support_level",
    "smtp_delivery_status_filter",
    "smtp_tls_dane_insecure_mx_policy",
    "smtp_tls_connection_reuse",
    "smtp_connection_reuse_time_limit",
];

/// How long a connection may be used again: it was checked when it was opened, and a policy may have changed since.
const REUSE: u64 = 300;

/// The maps of the server, and whether they have the attributes that only Postfix 3.10 and newer understands.
const MAPS: [(&str, bool); 4] = [
    ("postfix", false),
    ("QUERY", false),
    ("postfix-3.10", true),
    ("QUERYwithTLSRPT", true),
];

/// Asks postconf(1).
pub(super) fn check() -> Result<Vec<Problem>, Trouble> {
    let ask = |arguments: &[&str]| {
        let output = Command::new("postconf").args(arguments).output();
        let output = output.map_err(|error| Trouble(format!("cannot run postconf: {error}")))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(Trouble(format!(
                "postconf failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))),
        }
    };
    let settings = ask(&[&["-x"], &NAMES[..]].concat())?;
    // `smtp/unix/chroot = y`
    let chroot = ask(&["-F", "smtp/unix/chroot"])?;
    let server = Settings::of_process().map_err(|error| Trouble(error.to_string()))?;
    let uses_dane = server.dane.trust != Trust::Nothing;
    Ok(judge(&settings, chroot.trim().ends_with("= y"), uses_dane))
}

/// What is wrong with the settings, as postconf(1) prints them. `uses_dane`: the server does.
fn judge(settings: &str, chroot: bool, uses_dane: bool) -> Vec<Problem> {
    let settings: HashMap<&str, &str> = settings
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let value = |name: &str| settings.get(name).copied().unwrap_or_default();
    let version = version(value("mail_version"));
    let mut problems = Vec::new();
    let mut problem = |code, sentence: String| problems.push(Problem { code, sentence });

    if value("smtp_tls_CAfile").is_empty() && value("smtp_tls_CApath").is_empty() {
        problem(
            "no-root-certificates",
            "smtp_tls_CAfile is empty: no certificate can be verified, and mail to every domain with a policy waits. Set it \
             to /etc/ssl/certs/ca-certificates.crt."
                .into(),
        );
    }
    let tables: Vec<&str> = value("smtp_tls_policy_maps")
        .split([' ', ',', '\t'])
        .filter(|table| !table.is_empty())
        .collect();
    // socketmap:inet:HOST:PORT:MAP and socketmap:unix:PATH:MAP
    let ours = tables.iter().position(|table| {
        let map = table.rsplit(':').next().unwrap_or_default();
        table.starts_with("socketmap:") && MAPS.iter().any(|(name, _)| *name == map)
    });
    match ours {
        None => problem(
            "no-policy-map",
            "smtp_tls_policy_maps does not name the server: policies are not asked for. Add \
             socketmap:inet:127.0.0.1:8461:postfix."
                .into(),
        ),
        Some(place) => {
            let table = tables[place];
            let map = table.rsplit(':').next().unwrap_or_default();
            let has_attributes = MAPS.iter().any(|(name, attributes)| *name == map && *attributes);
            match (has_attributes, version >= (3, 10, 0)) {
                (true, false) => problem(
                    "map-too-new",
                    format!(
                        "Postfix {} does not understand the map {map}, and mail to every domain with a policy waits. Use \
                         the map postfix.",
                        value("mail_version")
                    ),
                ),
                (false, true) => problem(
                    "map-too-old",
                    format!(
                        "Postfix {} checks each MX host only with the map postfix-3.10. Use it in place of {map}.",
                        value("mail_version")
                    ),
                ),
                _ => {}
            }
            if let Some(later) = tables.get(place + 1) {
                problem(
                    "later-table",
                    format!(
                        "{later} comes after the server in smtp_tls_policy_maps, so that it does not win. Put it before."
                    ),
                );
            }
            let path = table
                .strip_prefix("socketmap:unix:")
                .and_then(|rest| rest.rsplit_once(':'));
            if let Some((path, _)) = path
                && chroot
                && path.starts_with('/')
            {
                problem(
                    "socket-outside-chroot",
                    format!(
                        "smtp(8) runs in a chroot and cannot reach {path}. Let the server listen below the queue directory, and \
                         write the path relative to that."
                    ),
                );
            }
        }
    }
    if !value("smtp_tls_session_cache_database").is_empty() && version < (3, 10, 5) {
        problem(
            "session-cache",
            "smtp_tls_session_cache_database is set, and this version does not check the names again when a TLS session is \
             resumed: a changed policy applies up to an hour late. Make it empty."
                .into(),
        );
    }
    if value("smtp_dns_support_level") == "disabled" {
        problem(
            "no-dns",
            "smtp_dns_support_level is disabled: Postfix does not look up the MX hosts that a policy lists.".into(),
        );
    }
    if uses_dane && value("smtp_dns_support_level") != "dnssec" {
        problem(
            "no-dnssec",
            "the setting dane is on, and smtp_dns_support_level is not dnssec: Postfix looks up no TLSA records, takes dane for \
             may, and lets mail wait at dane-only. Set it to dnssec, or dane to off."
                .into(),
        );
    }
    // Before 3.6.17, 3.7.13, 3.8.8 and 3.9.2 the default follows smtp_tls_security_level, and not the level of the policy.
    if uses_dane && value("smtp_tls_dane_insecure_mx_policy") != "dane" {
        problem(
            "insecure-mx-policy",
            "the setting dane is on, and smtp_tls_dane_insecure_mx_policy is not dane: TLSA records are ignored where nothing \
             vouches for the MX records. Set it to dane."
                .into(),
        );
    }
    if value("smtp_tls_connection_reuse") == "yes"
        && seconds(value("smtp_connection_reuse_time_limit")).is_none_or(|limit| limit > REUSE)
    {
        problem(
            "reuse-limit",
            format!(
                "smtp_tls_connection_reuse is on, and smtp_connection_reuse_time_limit is {}: a changed policy applies so much \
                 later. Set it to {REUSE}s or less.",
                value("smtp_connection_reuse_time_limit")
            ),
        );
    }
    if value("smtp_delivery_status_filter").is_empty() {
        problem(
            "starttls-bounces",
            "a host that refuses STARTTLS with a permanent error lets Postfix bounce mail because of a policy. Set \
             smtp_delivery_status_filter as examples/postfix has it."
                .into(),
        );
    }
    problems
}

/// A time of Postfix: a number, and a unit or none.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd', 'w']) {
        Some(number) => (number, text.as_bytes()[number.len()]),
        None => (text, b's'),
    };
    let factor = match unit {
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        b'w' => 604_800,
        _ => 1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The numbers of a version such as `3.7.11` or `3.11-20261101`.
fn version(text: &str) -> (u32, u32, u32) {
    let mut numbers = text
        .split(['.', '-'])
        .map(|number| number.parse::<u32>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "mail_version = 3.7.11\nsmtp_tls_policy_maps = hash:/etc/postfix/own, \
        socketmap:inet:127.0.0.1:8461:postfix\nsmtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\nsmtp_tls_CApath =\n\
        smtp_tls_session_cache_database =\nsmtp_dns_support_level =\n\
        smtp_delivery_status_filter = regexp:/etc/postfix/delivery_status\nsmtp_tls_dane_insecure_mx_policy = may\n\
        smtp_tls_connection_reuse = no\nsmtp_connection_reuse_time_limit = 3600s\n";

    #[test]
    fn each_problem_and_no_other() {
        assert_eq!(judge(GOOD, true, false), []);
        for (from, to, code) in [
            (
                "smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt",
                "smtp_tls_CAfile =",
                "no-root-certificates",
            ),
            (
                "socketmap:inet:127.0.0.1:8461:postfix",
                "socketmap:inet:127.0.0.1:8461:other",
                "no-policy-map",
            ),
            ("8461:postfix", "8461:postfix-3.10", "map-too-new"),
            ("8461:postfix", "8461:QUERYwithTLSRPT", "map-too-new"),
            ("3.7.11", "3.10.13", "map-too-old"),
            ("8461:postfix", "8461:postfix hash:/etc/postfix/more", "later-table"),
            (
                "inet:127.0.0.1:8461:postfix",
                "unix:/run/mtasts:postfix",
                "socket-outside-chroot",
            ),
            (
                "session_cache_database =",
                "session_cache_database = btree:/var/lib/postfix/smtp_scache",
                "session-cache",
            ),
            (
                "smtp_dns_support_level =",
                "smtp_dns_support_level = disabled",
                "no-dns",
            ),
            ("regexp:/etc/postfix/delivery_status", "", "starttls-bounces"),
            ("connection_reuse = no", "connection_reuse = yes", "reuse-limit"),
        ] {
            let changed = GOOD.replace(from, to);
            assert_ne!(changed, GOOD, "{from}");
            let found: Vec<&str> = judge(&changed, true, false)
                .iter()
                .map(|problem| problem.code)
                .collect();
            assert_eq!(found, [code], "{from} -> {to}");
        }
        let unix = GOOD.replace("inet:127.0.0.1:8461", "unix:mtasts/socketmap");
        assert_eq!(judge(&unix, true, false), []);
        let outside = GOOD.replace("inet:127.0.0.1:8461", "unix:/run/mtasts");
        assert_eq!(judge(&outside, false, false), []);
        let new = GOOD
            .replace("3.7.11", "3.11-20261101")
            .replace("8461:postfix", "8461:postfix-3.10");
        let cached = new.replace("cache_database =", "cache_database = btree:/x");
        assert_eq!(
            (judge(&new, true, false), judge(&cached, true, false)),
            (vec![], vec![])
        );
    }

    /// With DANE, what Postfix 3.7.11 has by default, and what it must have.
    #[test]
    fn what_dane_needs() {
        let codes =
            |settings: &str| -> Vec<&str> { judge(settings, true, true).iter().map(|problem| problem.code).collect() };
        assert_eq!(codes(GOOD), ["no-dnssec", "insecure-mx-policy"]);
        let dnssec = GOOD.replace("support_level =", "support_level = dnssec");
        assert_eq!(codes(&dnssec), ["insecure-mx-policy"]);
        assert_eq!(codes(&dnssec.replace("mx_policy = may", "mx_policy = dane")), [""; 0]);
    }

    #[test]
    fn times_of_connections() {
        let reuse = GOOD.replace("reuse = no", "reuse = yes");
        for (limit, code) in [
            ("300s", None),
            ("300", None),
            ("5m", None),
            ("301s", Some("reuse-limit")),
            ("1h", Some("reuse-limit")),
        ] {
            let found = judge(&reuse.replace("3600s", limit), true, false);
            assert_eq!(found.first().map(|problem| problem.code), code, "{limit}");
        }
    }
}
