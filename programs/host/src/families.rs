//! The MX hosts of great providers, which add hosts of the same kind without a word: the host in DNS -> the pattern for its kind.
//!
//! The star of a pattern stands for one label (RFC 8461 4.1), so it has to stand at the right depth.

use mtasts::Domain;

/// Who it is, what its MX hosts end with, and how many labels are before that: the first of them is the one that differs.
const FAMILIES: [(&str, &str, usize); 7] = [
    ("Google", "aspmx.l.google.com", 1),
    ("Google", "gmail-smtp-in.l.google.com", 1),
    ("Microsoft", "mail.protection.outlook.com", 1),
    // contoso-com.a-v1.mx.microsoft: the second label is the cell of the tenant.
    ("Microsoft", "mx.microsoft", 2),
    ("Cloudflare", "mx.cloudflare.net", 1),
    ("Proton", "mail.protonmail.ch", 0),
    ("Proton", "mailsec.protonmail.ch", 0),
];

/// Whose MX host this is, if it is one of these, and the pattern for all of its kind.
#[must_use]
pub fn family(host: &Domain) -> Option<(&'static str, String)> {
    let host = host.as_str();
    FAMILIES.iter().find_map(|(name, end, labels)| {
        let front = host.strip_suffix(end)?;
        let front = match front {
            "" => "",
            front => front.strip_suffix('.')?,
        };
        let count = front.split('.').filter(|label| !label.is_empty()).count();
        if count != *labels {
            return None;
        }
        let pattern = match host.split_once('.') {
            Some((_, rest)) if count > 0 => format!("*.{rest}"),
            _ => host.to_owned(),
        };
        Some((*name, pattern))
    })
}

/// The pattern with which a policy lists this MX host.
#[must_use]
pub fn pattern(host: &Domain) -> String {
    family(host).map_or_else(|| host.as_str().to_owned(), |(_, pattern)| pattern)
}

#[cfg(test)]
mod tests {
    use mtasts::{Mode, Policy};

    use super::*;

    #[test]
    fn each_family_has_its_pattern_and_strangers_have_none() {
        let of = |host: &str| {
            let host = Domain::parse(host).unwrap();
            let pattern = pattern(&host);
            // Whatever it is, the policy allows the host.
            let policy = Policy::new(Mode::Enforce, 86_400, [pattern.as_str()]).unwrap();
            assert!(policy.allows_mx(&host), "{host} {pattern}");
            (family(&host).map(|(name, _)| name), pattern)
        };
        for (host, name, pattern) in [
            ("alt1.aspmx.l.google.com", "Google", "*.aspmx.l.google.com"),
            ("ALT4.aspmx.l.google.com", "Google", "*.aspmx.l.google.com"),
            (
                "alt2.gmail-smtp-in.l.google.com",
                "Google",
                "*.gmail-smtp-in.l.google.com",
            ),
            (
                "contoso-com.mail.protection.outlook.com",
                "Microsoft",
                "*.mail.protection.outlook.com",
            ),
            ("contoso-com.a-v1.mx.microsoft", "Microsoft", "*.a-v1.mx.microsoft"),
            ("route3.mx.cloudflare.net", "Cloudflare", "*.mx.cloudflare.net"),
            ("mail.protonmail.ch", "Proton", "mail.protonmail.ch"),
            ("mailsec.protonmail.ch", "Proton", "mailsec.protonmail.ch"),
        ] {
            assert_eq!(of(host), (Some(name), pattern.to_owned()), "{host}");
        }
        for stranger in [
            "aspmx.l.google.com",
            "a.b.aspmx.l.google.com",
            "evil-aspmx.l.google.com",
            "contoso-com.mx.microsoft",
            "a.b.a-v1.mx.microsoft",
            "mx.microsoft",
            "x.mail.protonmail.ch",
            "mail.protection.outlook.com.example.net",
            "mx.example.com",
        ] {
            assert_eq!(of(stranger), (None, stranger.to_owned()));
        }
    }
}
