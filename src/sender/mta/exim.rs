//! A policy in the words of Exim: the list for `ignore_target_hosts` (everything but what the patterns allow), the
//! refusal of a certificate, and sentences of the characters that Exim may be given.
//!
//! Exim goes through the list once for each address of each MX host, and all of it stays in memory until the process
//! ends: some copies of the text, and each item that begins with `^`, compiled anew. So there are few items, and the
//! list for a large policy has only the hosts that the domain has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::certificate;
use crate::protocol::names::{Domain, is_ipv4};
use crate::protocol::policy::Policy;
use crate::protocol::tlsa::TlsaSet;
use crate::sender::notice::{Notice, Token};

/// The longest item, in octets. Compiled by PCRE it is at most two and a half times as large, and PCRE takes at most 64
/// KiB: Exim would end with a panic.
const ITEM: usize = 16 << 10;
/// The longest list of hosts, in octets: more hosts than fit are of no use.
const HOSTS: usize = 2048;

/// What Exim's `${base64:$tls_out_peercert}` gives if there is no certificate.
const NO_CERTIFICATE: &str = "dGxzX291dF9wZWVyY2VydA==";
/// Exim's `$tls_out_tlsa_usage` has a bit for each usage: the fourth one is DANE-EE.
const DANE_EE: &str = "8";
/// The transports that enforce have this in their name.
const ENFORCING: &str = "mtasts";

/// The list of all patterns.
pub(crate) fn of_patterns(policy: &Policy) -> String {
    let pattern = |text: &str| (!is_ipv4(text.trim_start_matches("*."))).then(|| expression(text));
    list(policy.mx().filter_map(|mx| pattern(mx.as_str())))
}

/// The names of MX hosts as `${lookup dnsdb{>; mxh=$domain}}` gives them, separated by semicolons or spaces.
pub(crate) fn names(hosts: &str) -> impl Iterator<Item = &str> {
    hosts.split([';', ' ', '\n']).filter(|host| !host.is_empty())
}

/// The list of those of the domain's MX hosts that the policy allows; a domain without any is its own (RFC 5321 5.1).
pub(crate) fn of_hosts(policy: &Policy, domain: &Domain, hosts: &str) -> String {
    let named: Vec<&str> = names(hosts).collect();
    let named = if named.is_empty() { vec![domain.as_str()] } else { named };
    let mut room = HOSTS;
    let allowed = named
        .into_iter()
        .filter_map(|host| Domain::parse(host).ok())
        .filter(|host| policy.allows_mx(host))
        .map(|host| expression(host.as_str()))
        .take_while(|host| {
            let fits = host.len() < room;
            room = room.saturating_sub(host.len() + 1);
            fits
        });
    list(allowed)
}

/// Whether a list costs Exim too much if there are many MX hosts.
pub(crate) const fn is_large(list: &str) -> bool {
    list.len() > HOSTS + 64
}

/// An item that begins with `^` is matched against the host's name, whatever its case; a plain name would be resolved
/// and compared by its address.
fn list(expressions: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = Vec::new();
    for expression in expressions {
        match items.last_mut() {
            Some(item) if item.len() + expression.len() < ITEM => {
                item.push('|');
                item.push_str(&expression);
            }
            _ => items.push(expression),
        }
    }
    let item = |item: &String| match item.contains('|') {
        true => format!("!^({item})$ ; "),
        false => format!("!^{item}$ ; "),
    };
    items.iter().map(item).collect::<String>() + "*"
}

/// A name consists of LDH labels after the optional `*.`: only the dot has to be escaped.
fn expression(name: &str) -> String {
    let (label, name) = name.strip_prefix("*.").map_or(("", name), |name| ("[^.]+[.]", name));
    format!("{label}{}", name.replace('.', "[.]"))
}

/// What an event of Exim says of a session, as `name=value` pairs.
pub(crate) struct Facts<'a>(pub(crate) &'a str);

impl<'a> Facts<'a> {
    /// The value of the first pair with this name, if it is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let value = |pair: &'a str| pair.strip_prefix(name)?.strip_prefix('=');
        self.0.split(' ').find_map(value).filter(|value| !value.is_empty())
    }

    /// The text of the first pair with this name, which is in base64 because a stranger wrote it; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        let octets = self.get(name).and_then(|text| STANDARD.decode(text).ok());
        String::from_utf8_lossy(&octets.unwrap_or_default()).into_owned()
    }

    /// The certificate, if there is one.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        let text = self.get("cert").filter(|text| *text != NO_CERTIFICATE)?;
        Some(STANDARD.decode(text).unwrap_or_default())
    }

    /// Whether DANE is in use, so that it decides about the certificate.
    pub(crate) fn has_dane(&self) -> bool {
        self.get("tlsa").is_some_and(|usages| usages != "0")
    }

    /// The TLSA records of the host as `${lookup dnsdb{>; tlsa=...}}` gives them, in base64, if there are any.
    pub(crate) fn records(&self) -> Option<TlsaSet> {
        let text = self.text("records");
        let records: Vec<Vec<u8>> = text.split(';').filter_map(rdata).collect();
        (!records.is_empty()).then(|| TlsaSet::read(records.iter().map(Vec::as_slice)))
    }

    /// The MX hosts of a domain as `${lookup dnsdb{>; mx=$domain}}` gives them, in base64: those that are tried first come
    /// first.
    pub(crate) fn mx_hosts(&self) -> Vec<(u16, String)> {
        let text = self.text("mx");
        let host = |record: &str| {
            let (preference, host) = record.trim().split_once(' ')?;
            Some((preference.parse().ok()?, host.to_owned()))
        };
        let mut hosts: Vec<(u16, String)> = text.split(';').filter_map(host).collect();
        hosts.sort();
        hosts
    }

    /// Whether no handshake was begun, if that is known: Exim asks for the OCSP status of the certificate in each.
    pub(crate) fn has_no_handshake(&self) -> bool {
        self.get("ocsp") == Some("0")
    }

    /// Whether the TLSA records are of usage DANE-EE alone, which knows no names (RFC 7672 3.1.1).
    fn has_dane_ee_alone(&self) -> bool {
        self.get("tlsa") == Some(DANE_EE)
    }
}

/// A TLSA record from `3 1 1 00ff`.
fn rdata(text: &str) -> Option<Vec<u8>> {
    let mut fields = text.split_ascii_whitespace();
    let mut rdata = Vec::new();
    for _ in 0..3 {
        rdata.push(fields.next()?.parse().ok()?);
    }
    let digits = fields.next().unwrap_or_default().as_bytes();
    for pair in digits.chunks(2) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        rdata.push(u8::from_str_radix(pair, 16).ok()?);
    }
    Some(rdata)
}

/// Why the certificate of a host is refused, or nothing. It reads `transport=`, `tlsa=` and `cert=`.
pub(crate) fn refusal(domain: &str, host: &str, facts: &Facts<'_>) -> Option<String> {
    let enforces = facts
        .get("transport")
        .is_some_and(|transport| transport.contains(ENFORCING));
    if facts.has_dane_ee_alone() || !(enforces || facts.has_dane()) {
        return None;
    }
    // Without a certificate Exim's own check refuses.
    let leaf = facts.certificate()?;
    let who = |text: &str| Domain::parse(text).map_or_else(|_| "the host".to_owned(), |name| name.to_string());
    let sentence = if facts.has_dane() {
        // A name must be checked under DANE-TA. GnuTLS's Exim does so, and then takes any name if a public CA vouches for
        // the chain. Of the names that RFC 7672 3.2.2 allows, that of an alias is not known here.
        let is_named = |name: &str| Domain::parse(name).is_ok_and(|name| certificate::check_name(&name, &leaf).is_ok());
        (!is_named(host) && !is_named(domain)).then(|| {
            format!(
                "the certificate of {} has neither that name nor {}, and one is required by its TLSA records of usage \
                 DANE-TA. The host's administrator must install a certificate that has the host's name.",
                who(host),
                who(domain)
            )
        })
    } else {
        // `$host` is the target if the MX host is a CNAME, so Exim's own check decides which name it must be: it falls back
        // to the common name only if there is no DNS name at all.
        (!certificate::has_dns_name(&leaf)).then(|| {
            format!(
                "the certificate of {} has no DNS name in its subjectAltName, which the MTA-STS policy of {} requires. \
                 The host's administrator must install a certificate that has the host's name there.",
                who(host),
                who(domain)
            )
        })
    };
    sentence.map(|sentence| Notice::new(Token::CertificateHostMismatch, sentence).to_string())
}

/// The octets that Exim may get: printable ASCII, without those that quote or expand anything anywhere in Exim's
/// language. `$` is the end of a regular expression: what we yield is not expanded again.
pub(crate) const fn may_be_yielded(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') && !matches!(octet, b'\\' | b'`' | b'{' | b'}')
}

/// A sentence of such octets, with a question mark in place of each other character.
pub(crate) fn plain(text: &str) -> String {
    let plain = |c: char| u8::try_from(c).is_ok_and(may_be_yielded);
    text.chars().map(|c| if plain(c) { c } else { '?' }).collect()
}

/// A sentence in which what would quote or expand has a look-alike.
pub(crate) fn readable(text: &str) -> String {
    let look_alike = |c: char| match c {
        '"' | '`' => '\'',
        '\\' => '/',
        '{' => '(',
        '}' => ')',
        other => other,
    };
    plain(&text.chars().map(look_alike).collect::<String>())
}

/// The same as the value of a pair that `${extract{NAME}{TEXT}}` reads.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", readable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(patterns: &[&str]) -> Policy {
        let lines: String = patterns.iter().map(|mx| format!("mx:{mx}\n")).collect();
        let text = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{lines}");
        Policy::parse(text.as_bytes()).unwrap().0
    }

    #[test]
    fn is_made_of_regular_expressions_alone() {
        assert_eq!(of_patterns(&policy(&["mx1.ok.test"])), "!^mx1[.]ok[.]test$ ; *");
        assert_eq!(
            of_patterns(&policy(&["mx1.ok.test", "*.wild.test", "192.0.2.1", "*.1.2.3.4"])),
            "!^(mx1[.]ok[.]test|[^.]+[.]wild[.]test)$ ; *"
        );
        assert_eq!(of_patterns(&policy(&["192.0.2.1"])), "*", "an address allows nothing");
    }

    /// No item is longer than PCRE takes, and none of the patterns is lost or cut.
    #[test]
    fn of_the_largest_policy_has_few_items() {
        let names: Vec<String> = (0..2600).map(|n| format!("h{n}.example.test")).collect();
        let list = of_patterns(&policy(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        let items: Vec<&str> = list.split(" ; ").collect();
        assert!(
            items.len() < 8 && items.iter().all(|item| item.len() < ITEM + 16),
            "{}",
            items.len()
        );
        let found = |item: &str| -> Vec<String> {
            let item = item
                .strip_prefix("!^(")
                .and_then(|item| item.strip_suffix(")$"))
                .unwrap();
            item.split('|').map(|name| name.replace("[.]", ".")).collect()
        };
        let (last, all) = items.split_last().unwrap();
        assert_eq!((*last, all.iter().flat_map(|item| found(item)).collect()), ("*", names));
        assert!(is_large(&list));
    }

    #[test]
    fn of_hosts_has_those_that_are_allowed_and_no_others() {
        let domain = Domain::parse("ok.test").unwrap();
        let policy = policy(&["mx1.ok.test", "*.wild.test", "ok.test"]);
        let hosts = |text: &str| of_hosts(&policy, &domain, text);
        assert_eq!(
            hosts("MX1.ok.test; a.wild.test\na.b.wild.test;evil.test;x\" ;*"),
            "!^(mx1[.]ok[.]test|a[.]wild[.]test)$ ; *"
        );
        assert_eq!(hosts("evil.test;mx2.ok.test"), "*");
        assert_eq!(
            hosts(" "),
            "!^ok[.]test$ ; *",
            "without an MX record the domain is its own host"
        );
        let many: String = (0..900).map(|n| format!("h{n}.wild.test;")).collect();
        let list = hosts(&many);
        assert!(!is_large(&list) && list.matches('|').count() > 80, "{}", list.len());
    }

    #[test]
    fn a_refusal_only_where_this_transport_enforces_and_dane_does_not() {
        let refuses = |facts: &str| refusal("ok.test", "mx.ok.test", &Facts(facts)).is_some();
        assert!(refuses("cv=1 tlsa=0 transport=remote_smtp_mtasts cert=AAAA"));
        assert!(!refuses("cv=1 tlsa=0 transport=remote_smtp cert=AAAA"));
        assert!(!refuses("cv=1 tlsa=8 transport=remote_smtp_mtasts cert=AAAA"));
        assert!(!refuses("cv=1 tlsa=4 transport=remote_smtp_mtasts cert="));
        assert!(!refuses("transport=remote_smtp_mtasts cert=dGxzX291dF9wZWVyY2VydA=="));
        assert!(!refuses("transport=remote_smtp_mtasts cert="));
    }

    /// Also without a policy, and where there are records of both usages: Exim does not say which has matched.
    #[test]
    fn a_certificate_under_dane_ta_has_a_name_of_the_host() {
        let certificate = rcgen::generate_simple_self_signed(vec!["mx.ok.test".to_owned()]).unwrap();
        let cert = STANDARD.encode(certificate.cert.der());
        for transport in ["remote_smtp_mtasts", "remote_smtp_testing", "remote_smtp"] {
            for (tlsa, domain, host, is_refused) in [
                ("4", "ok.test", "mx.ok.test", false),
                ("4", "mx.ok.test", "mx.other.test", false),
                ("4", "ok.test", "mx.other.test", true),
                ("12", "ok.test", "mx.other.test", true),
                ("4", "ok.test", "[192.0.2.1]", true),
                ("8", "ok.test", "mx.other.test", false),
                ("0", "ok.test", "mx.other.test", false),
            ] {
                let facts = format!("cv=1 tlsa={tlsa} transport={transport} cert={cert}");
                let refused = refusal(domain, host, &Facts(&facts));
                assert_eq!(refused.is_some(), is_refused, "{host} {facts}: {refused:?}");
            }
        }
    }

    #[test]
    fn records_of_dns_are_what_exim_says_of_them() {
        let digest = "0f".repeat(32);
        let lines = |text: &str| {
            let facts = format!("cv=1 records={}", STANDARD.encode(text));
            let records = Facts(&facts).records()?;
            Some(records.used().len())
        };
        assert_eq!(lines(&format!("3 1 1 {digest};2 0 1 {digest}")), Some(2));
        assert_eq!(
            lines(&format!("0 0 1 {digest}")),
            Some(0),
            "there is one, and it is not usable"
        );
        for none in ["", "3 1", "a 1 1 00", "3 1 1 0", "3 1 1 -1", "256 1 1 00", "\u{e9}"] {
            assert_eq!(lines(none), None, "{none}");
        }
        let facts = format!("mx={}", STANDARD.encode("20 b.test;5 c.test; 20 A_.test;x y;7"));
        let hosts = Facts(&facts).mx_hosts();
        let named = |(preference, host): (u16, &str)| (preference, host.to_owned());
        assert_eq!(hosts, [(5, "c.test"), (20, "A_.test"), (20, "b.test")].map(named));
    }

    #[test]
    fn a_sentence_has_no_character_that_quotes_or_expands() {
        assert_eq!(quoted("a \"b\" \\c ${d} `e`\n\u{e9}\0"), "\"a 'b' /c $(d) 'e'???\"");
    }
}
