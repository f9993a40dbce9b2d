//! A domain as people have it at hand: in an address, in a URL, in the name of a record.

use crate::Trouble;
use crate::output;
use mtasts::protocol::names::Domain;

/// The domain that is meant. If that is not what was typed, it is said on stderr which one it is.
pub(super) fn read(text: &str) -> Result<Domain, Trouble> {
    let meant = meant(text);
    match Domain::parse(meant) {
        Ok(domain) => {
            if meant != text.trim() {
                output::tell(&format!("{text:?}: the domain is {domain}"));
            }
            Ok(domain)
        }
        Err(error) => Err(Trouble(format!("{text:?} is not a domain: {error}"))),
    }
}

fn meant(text: &str) -> &str {
    let around = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\'' | ',' | ';');
    let mut text = text.trim_matches(around);
    let url = text.split_once("://").map(|(_, rest)| rest);
    let policy_host = url.and_then(|rest| rest.strip_prefix("mta-sts."));
    text = policy_host.or(url).unwrap_or(text);
    text = text.strip_prefix("mailto:").unwrap_or(text);
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    text = &text[..end];
    text = text.rsplit_once('@').map_or(text, |(_, domain)| domain);
    // A port, and not the end of an address literal.
    if let Some((host, port)) = text.rsplit_once(':')
        && !host.contains(':')
        && port.bytes().all(|c| c.is_ascii_digit())
    {
        text = host;
    }
    ["_mta-sts.", "_smtp._tls."]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        for text in [
            "example.com",
            " example.com ",
            "user@example.com",
            "<user@example.com>,",
            "https://example.com",
            "https://example.com:443/x?y",
            "https://mta-sts.example.com/.well-known/mta-sts.txt",
            "_mta-sts.example.com",
            "_smtp._tls.example.com",
            "mailto:user@example.com",
            "smtp://example.com",
            "example.com:25",
            "example.com/",
        ] {
            assert_eq!(meant(text), "example.com", "{text}");
        }
        for text in ["mta-sts.example.com", "[192.0.2.1]", "2001:db8::1", ""] {
            assert_eq!(meant(text), text);
        }
    }
}
