//! Every row of the table, met by a small sender that does what RFC 8461 asks: does what the row expects come out?

use super::in_lab;
use hickory_resolver::proto::rr::{RData, RecordType};
use mtasts_kit::client::{Answer, addresses, command, encrypt, get, greet, mail, mx_hosts, records, texts, trusting};
use mtasts_lab::{Entry, Expect, Lab, Policy, table};
use rustls::{CertificateError, ClientConfig, Error};
use std::collections::BTreeSet;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;

const PATH: &str = "/.well-known/mta-sts.txt";

#[test]
fn the_table_is_sound() {
    let table = table();
    assert!(table.len() > 150, "{}", table.len());
    let names: BTreeSet<_> = table.iter().map(|entry| &entry.name).collect();
    assert_eq!(names.len(), table.len(), "each domain once");
    for entry in &table {
        let nothing = entry.wrong.starts_with("nothing");
        let verified = matches!(entry.expect, Expect::DeliverVerified { .. });
        assert!(!nothing || verified || entry.policy != Policy::Enforce, "{entry:?}");
        assert!(!nothing || entry.result.is_none(), "{entry:?}");
        let safe = verified
            || matches!(
                entry.expect,
                Expect::Defer { .. } | Expect::DeliverVerifiedOrDefer { .. }
            );
        assert_eq!(
            safe,
            entry.policy == Policy::Enforce,
            "enforce, and only that, stands in the way: {entry:?}"
        );
    }
}

#[test]
fn every_policy_is_learnt_as_the_table_says() {
    in_lab(|lab| {
        let config = trusting(lab);
        let check = |entry: &Entry| {
            let learnt = learn(&config, &entry.name);
            (learnt != entry.policy).then(|| format!("{}: {learnt:?}, not {:?}", entry.name, entry.policy))
        };
        assert_eq!(in_parallel(&table(), check), Vec::<String>::new());
        for entry in table() {
            let asked = lab.counters().https.contains_key(&format!("mta-sts.{}", entry.name));
            let may_ask = !matches!(entry.policy, Policy::Absent | Policy::Unknown);
            assert!(may_ask || !asked, "{}", entry.name);
        }
    });
}

#[test]
fn mail_goes_where_the_table_says() {
    in_lab(|lab| {
        let config = trusting(lab);
        let check = |entry: &Entry| {
            deliver(lab, &config, entry)
                .err()
                .map(|error| format!("{}: {error}", entry.name))
        };
        assert_eq!(in_parallel(&table(), check), Vec::<String>::new());
        for mail in lab.mail() {
            let entry = table().into_iter().find(|entry| entry.name == mail.domain).unwrap();
            if let Expect::DeliverVerified { hosts } | Expect::DeliverVerifiedOrDefer { hosts } = entry.expect {
                // Two names at one address: the host there goes by the first.
                let shares = entry.name == "sameip.test";
                assert!((shares || hosts.contains(&mail.host)) && mail.tls.is_some(), "{mail:?}");
            }
            assert_eq!(mail.body, "Subject: test\r\n\r\nhello\r\n.\r\n");
        }
    });
}

/// OpenSSL judges by DANE alone here; what its own names and trust say does not count for usage 3 (RFC 7672 3.1.1).
#[test]
fn tlsa_records_match_the_certificates_or_do_not() {
    in_lab(|lab| {
        for (domain, matches) in [
            ("dane.test", true),
            ("dane-ta.test", true),
            ("dane-selfsigned.test", true),
            ("dane-private-ca.test", true),
            ("dane-nopolicy.test", true),
            ("dane-mismatch.test", false),
            ("dane-ta-wrongname.test", false),
        ] {
            let host = format!("mx.{domain}");
            let [RData::TLSA(tlsa)] = &records(&format!("_25._tcp.{host}"), RecordType::TLSA).unwrap()[..] else {
                panic!("one record at {host}")
            };
            let data: String = tlsa.cert_data.iter().map(|octet| format!("{octet:02x}")).collect();
            let record = format!(
                "{} {} {} {data}",
                u8::from(tlsa.cert_usage),
                u8::from(tlsa.selector),
                u8::from(tlsa.matching)
            );
            let output = Command::new("openssl")
                .args(["s_client", "-starttls", "smtp", "-connect", &format!("{host}:25")])
                .args(["-dane_tlsa_domain", &host, "-dane_tlsa_rrdata", &record])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("SSL handshake has read"), "{domain}: {output:?}");
            assert_eq!(
                text.contains("Verify return code: 0 (ok)"),
                matches,
                "{domain} {record}: {text}"
            );
        }
        mtasts_kit::until("the end of the last handshake", || {
            lab.sessions().iter().all(|session| session.tls.is_some())
        });
    });
}

/// Some rows make us wait: a few threads for all of them, on our side of the namespace.
fn in_parallel(table: &[Entry], check: impl Fn(&Entry) -> Option<String> + Sync) -> Vec<String> {
    std::thread::scope(|scope| {
        let check = &check;
        let threads: Vec<_> = (0..16)
            .map(|n| scope.spawn(move || table.iter().skip(n).step_by(16).filter_map(check).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// The policy as RFC 8461 3 finds it, as far as the table needs it.
fn learn(config: &Arc<ClientConfig>, domain: &str) -> Policy {
    let Ok(records) = texts(&format!("_mta-sts.{domain}")) else {
        return Policy::Unknown;
    };
    if !valid_record(&records) {
        return Policy::Absent;
    }
    let host = format!("mta-sts.{domain}");
    let answer = match get(config, &host, PATH, "") {
        Ok(answer) => answer,
        Err(error) if certificate_error(&error).is_some() => {
            return Policy::Unobtainable("sts-webpki-invalid");
        }
        Err(_) => return Policy::Unobtainable("sts-policy-fetch-error"),
    };
    if is_forbidden(&host) {
        // They all serve a policy: who goes there is caught.
        assert_eq!(answer.status, 200, "{host}");
        return Policy::Unobtainable("sts-policy-fetch-error");
    }
    match policy_body(&answer) {
        None => Policy::Unobtainable("sts-policy-fetch-error"),
        Some(body) => mode(&body).unwrap_or(Policy::Unobtainable("sts-policy-invalid")),
    }
}

fn is_forbidden(host: &str) -> bool {
    let addresses = addresses(host).unwrap();
    addresses.iter().all(|address| {
        !["198.18.", "2001:2:"]
            .iter()
            .any(|ours| address.to_string().starts_with(ours))
    })
}

/// RFC 8461 3.1, for the records of the table.
fn valid_record(records: &[Vec<u8>]) -> bool {
    let ours: Vec<_> = match records {
        [one] => vec![one],
        many => many.iter().filter(|text| text.starts_with(b"v=STSv1;")).collect(),
    };
    let [record] = ours[..] else { return false };
    let Ok(text) = std::str::from_utf8(record) else {
        return false;
    };
    let Some(fields) = text.strip_prefix("v=STSv1") else {
        return false;
    };
    let fields: Vec<_> = fields
        .trim_end_matches([' ', '\t'])
        .split(';')
        .map(|field| field.trim_matches([' ', '\t']))
        .collect();
    let end = if fields.last() == Some(&"") {
        fields.len() - 1
    } else {
        fields.len()
    };
    let ends_well = end < fields.len() || !text.ends_with(' ');
    let pair = |field: &&str| {
        field.split_once('=').is_some_and(|(key, value)| {
            !key.ends_with(' ')
                && !value.is_empty()
                && value.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=')
        })
    };
    let id = |field: &&str| {
        field
            .strip_prefix("id=")
            .is_some_and(|id| (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric()))
    };
    ends_well && end > 1 && fields[0].is_empty() && fields[1..end].iter().all(pair) && fields[1..end].iter().any(id)
}

/// RFC 8461 3.3: what of an answer may be a policy.
fn policy_body(answer: &Answer) -> Option<Vec<u8>> {
    let media = answer
        .header("Content-Type")
        .and_then(|media| media.split(';').next())
        .unwrap_or_default();
    let plain = media.trim().eq_ignore_ascii_case("text/plain") && answer.header("Content-Encoding").is_none();
    let body = answer.complete_body()?;
    (answer.status == 200 && plain && body.len() <= 65536).then_some(body)
}

/// The mode of a policy that is valid, for the policies of the table.
fn mode(body: &[u8]) -> Option<Policy> {
    let text = std::str::from_utf8(body).ok()?;
    let mut found = (None, None, None, 0);
    for line in text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.is_empty())
    {
        let (key, value) = line.split_once(':')?;
        let value = value.trim_matches([' ', '\t']);
        let plain = !value.is_empty() && !value.chars().any(|c| c.is_control());
        if !plain
            || !key
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"_.-".contains(&octet))
        {
            return None;
        }
        match key {
            "version" => drop(found.0.get_or_insert(value)),
            "mode" => drop(found.1.get_or_insert(value)),
            "max_age" => drop(found.2.get_or_insert(value)),
            "mx" => {
                let name = value.strip_prefix("*.").unwrap_or(value);
                let name = name.strip_suffix('.').unwrap_or(name);
                let label = |label: &str| {
                    let end = |end: Option<u8>| end.is_some_and(|octet| octet.is_ascii_alphanumeric());
                    let bytes = label.as_bytes();
                    end(bytes.first().copied())
                        && end(bytes.last().copied())
                        && bytes
                            .iter()
                            .all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
                };
                if !name.split('.').all(label) {
                    return None;
                }
                found.3 += 1;
            }
            _ => {}
        }
    }
    let age = found.2?;
    let sound = found.0? == "STSv1" && (1..=10).contains(&age.len()) && age.bytes().all(|octet| octet.is_ascii_digit());
    match found.1? {
        _ if !sound => None,
        "enforce" if found.3 > 0 => Some(Policy::Enforce),
        "testing" if found.3 > 0 => Some(Policy::Testing),
        "none" => Some(Policy::None),
        _ => None,
    }
}

/// Sends one mail as a conformant sender does under the policy of the row, and compares.
fn deliver(lab: &Lab, config: &Arc<ClientConfig>, entry: &Entry) -> io::Result<()> {
    let domain = &entry.name;
    let patterns = match entry.policy {
        Policy::Enforce => {
            let answer = get(config, &format!("mta-sts.{domain}"), PATH, "")?;
            let body = String::from_utf8(answer.complete_body().unwrap_or_default()).map_err(io::Error::other)?;
            Some(
                body.lines()
                    .filter_map(|line| Some(line.strip_prefix("mx:")?.trim().trim_end_matches('.').to_lowercase()))
                    .collect::<Vec<_>>(),
            )
        }
        _ => None,
    };
    let mut results = BTreeSet::new();
    let delivered = mx_hosts(domain).map(|hosts| {
        hosts.into_iter().flatten().find(|host| match &patterns {
            Some(patterns) if !patterns.iter().any(|pattern| matches(pattern, host)) => {
                results.insert("validation-failure");
                false
            }
            Some(_) => match over_tls(config, host, domain) {
                Ok(()) => true,
                Err(Failure::Tls(result)) => {
                    results.insert(result);
                    false
                }
                Err(Failure::Other) => false,
            },
            None => at_any_rate(config, host, domain),
        })
    });
    let fits = match (&entry.expect, &delivered) {
        (Expect::DeliverVerified { hosts } | Expect::DeliverVerifiedOrDefer { hosts }, Ok(Some(host))) => {
            hosts.contains(host)
        }
        (Expect::Deliver, Ok(Some(_))) => true,
        (Expect::Defer { .. }, Ok(None) | Err(_)) => true,
        (Expect::DeliverVerifiedOrDefer { .. }, Ok(None)) => true,
        (Expect::Bounce, Ok(None)) => true,
        _ => false,
    };
    // The result type of the session; those of the policy host were looked at elsewhere.
    let typed = match (entry.policy, entry.result) {
        (Policy::Enforce, Some(result)) => results.contains(result),
        (Policy::Enforce, None) if matches!(delivered, Ok(None)) => results.is_empty(),
        _ => true,
    };
    let kept = lab.mail().iter().filter(|mail| mail.domain == *domain).count();
    let counted = kept == usize::from(matches!(delivered, Ok(Some(_))));
    if fits && typed && counted {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{delivered:?} {results:?}, kept {kept}, not {} {:?}",
            entry.expect, entry.result
        )))
    }
}

fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => pattern == host,
    }
}

enum Failure {
    /// With its RFC 8460 result type.
    Tls(&'static str),
    Other,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Other
    }
}

/// Verified TLS or nothing.
fn over_tls(config: &Arc<ClientConfig>, host: &str, domain: &str) -> Result<(), Failure> {
    let (mut stream, offered) = greet(host)?;
    if !offered || command(&mut stream, "STARTTLS")?.code != 220 {
        return Err(Failure::Tls("starttls-not-supported"));
    }
    // RFC 3207: what came in clear behind the 220 is not TLS.
    let mut peeked = [0; 1];
    stream.set_nonblocking(true)?;
    let injected = matches!(stream.peek(&mut peeked), Ok(1));
    stream.set_nonblocking(false)?;
    if injected {
        return Err(Failure::Other);
    }
    let mut stream = match encrypt(config, host, stream) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Err(Failure::Other);
        }
        Err(error) => {
            return Err(Failure::Tls(certificate_error(&error).unwrap_or("validation-failure")));
        }
    };
    command(&mut stream, "EHLO sender.test")?;
    Ok(mail(&mut stream, &format!("someone@{domain}"))?)
}

/// Without a policy that forbids it: TLS if it works, in clear if not.
fn at_any_rate(config: &Arc<ClientConfig>, host: &str, domain: &str) -> bool {
    let in_clear = || -> io::Result<()> {
        let (mut stream, _) = greet(host)?;
        mail(&mut stream, &format!("someone@{domain}"))
    };
    over_tls(config, host, domain).is_ok() || in_clear().is_ok()
}

/// The RFC 8460 result type of a certificate that was refused.
fn certificate_error(error: &io::Error) -> Option<&'static str> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some("certificate-expired")
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("certificate-host-mismatch"),
        Error::InvalidCertificate(_) => Some("certificate-not-trusted"),
        _ => None,
    }
}
