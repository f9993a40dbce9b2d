//! The DNS records of a hosted domain: in its own zone, and in the zone of the provider where its CNAMEs lead.

use std::net::IpAddr;

use mtasts::Domain;

use crate::proof;
use crate::published::Published;
use crate::token::Token;

/// How long resolvers keep them, in seconds. A new id is then seen within minutes.
pub const TTL: u32 = 300;

/// One record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Record {
    /// The whole name, without the root dot.
    pub name: String,
    /// Its data.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// The whole name, without the root dot.
    Cname(String),
    /// The text, without quotation marks.
    Txt(String),
}

impl Data {
    /// The type.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Address(IpAddr::V4(_)) => "A",
            Self::Address(IpAddr::V6(_)) => "AAAA",
            Self::Cname(_) => "CNAME",
            Self::Txt(_) => "TXT",
        }
    }
}

/// The three names of a domain that MTA-STS and its reports have (RFC 8461 3.1 and 3.3, RFC 8460 3).
struct Names {
    policy_host: String,
    record: String,
    reports: String,
}

impl Names {
    fn of(domain: &str) -> Self {
        Self {
            policy_host: format!("mta-sts.{domain}"),
            record: format!("_mta-sts.{domain}"),
            reports: format!("_smtp._tls.{domain}"),
        }
    }

    /// Where the CNAMEs of a domain lead. The policy host's target is the token itself: an underscore cannot be in the name of
    /// a host.
    fn of_target(token: &Token, zone: &Domain) -> Self {
        let policy_host = format!("{token}.{zone}");
        Self {
            record: format!("_mta-sts.{policy_host}"),
            reports: format!("_smtp._tls.{policy_host}"),
            policy_host,
        }
    }

    /// What the names say by themselves; of a policy, if one is served.
    fn say(self, published: Option<&Published>, addresses: &[IpAddr], reports: &[String]) -> Vec<Record> {
        let record = |name: &str, data| Record {
            name: name.to_owned(),
            data,
        };
        let addresses = addresses.iter().map(|address| Data::Address(*address));
        let mut records: Vec<Record> = addresses.map(|data| record(&self.policy_host, data)).collect();
        if let Some(published) = published {
            let text = format!("v=STSv1; id={};", published.id());
            records.push(record(&self.record, Data::Txt(text)));
        }
        if !reports.is_empty() {
            records.push(record(
                &self.reports,
                Data::Txt(format!("v=TLSRPTv1; rua={}", reports.join(","))),
            ));
        }
        records
    }
}

/// The CNAMEs in a domain's own zone: they are made once, and need no change when the policy changes. The third one is there if
/// the host takes reports.
#[must_use]
pub fn delegation(domain: &Domain, token: &Token, zone: &Domain, reports: &[String]) -> Vec<Record> {
    let (from, to) = (Names::of(domain.as_str()), Names::of_target(token, zone));
    let all = [
        (from.policy_host, to.policy_host),
        (from.record, to.record),
        (from.reports, to.reports),
    ];
    let all = all.into_iter().take(if reports.is_empty() { 2 } else { 3 });
    all.map(|(name, target)| Record {
        name,
        data: Data::Cname(target),
    })
    .collect()
}

/// The records in a domain's own zone without a CNAME. The id in them changes with the policy.
#[must_use]
pub fn direct(domain: &Domain, published: &Published, addresses: &[IpAddr], reports: &[String]) -> Vec<Record> {
    Names::of(domain.as_str()).say(Some(published), addresses, reports)
}

/// The record in a domain's own zone that stands for the CNAME to its token.
#[must_use]
pub fn proof(domain: &Domain, token: &Token) -> Record {
    Record {
        name: Names::of(domain.as_str()).policy_host,
        data: Data::Txt(proof::text(token)),
    }
}

/// The records in the provider's zone to which the CNAMEs of a domain lead. As long as no policy is served for it, nothing
/// announces one.
#[must_use]
pub fn targets(
    token: &Token,
    zone: &Domain,
    published: Option<&Published>,
    addresses: &[IpAddr],
    reports: &[String],
) -> Vec<Record> {
    Names::of_target(token, zone).say(published, addresses, reports)
}

/// All names at which a token can have records in the provider's zone.
#[must_use]
pub fn target_names(token: &Token, zone: &Domain) -> [String; 3] {
    let names = Names::of_target(token, zone);
    [names.policy_host, names.record, names.reports]
}

/// Whether this can be an address for reports (RFC 8460 3): a URI of `mailto` or `https`.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn check_report_uri(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("mailto:").or_else(|| text.strip_prefix("https://"));
    if rest.is_none_or(str::is_empty) {
        return Err("must begin with \"mailto:\" or \"https://\"".into());
    }
    // RFC 3986 without what the record itself uses: "," and ";" separate, "!" is encoded (RFC 8460 3).
    let known = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@$&'()*+=%".contains(c);
    match text.chars().find(|c| !known(*c)) {
        Some(c) => Err(format!(
            "the character {c:?} cannot be in an address for reports; encode it as in a URI"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mtasts::Mode;
    use mtasts::protocol::record;

    fn example() -> (Domain, Token, Domain, Published) {
        (
            Domain::parse("example.com").unwrap(),
            Token::parse("abcdefghijklmnop").unwrap(),
            Domain::parse("sts.provider.net").unwrap(),
            Published::new(Mode::Enforce, 86_400, &["mx.example.com".into()]).unwrap(),
        )
    }

    fn shown(records: &[Record]) -> Vec<String> {
        let show = |record: &Record| format!("{} {} {:?}", record.name, record.data.kind(), record.data);
        records.iter().map(show).collect()
    }

    #[test]
    fn the_cnames_lead_to_names_that_have_the_rest() {
        let (domain, token, zone, published) = example();
        let (addresses, reports) = (["192.0.2.1".parse().unwrap()], ["mailto:t@provider.net".to_owned()]);
        let cnames = delegation(&domain, &token, &zone, &reports);
        assert_eq!(
            shown(&cnames),
            [
                "mta-sts.example.com CNAME Cname(\"abcdefghijklmnop.sts.provider.net\")",
                "_mta-sts.example.com CNAME Cname(\"_mta-sts.abcdefghijklmnop.sts.provider.net\")",
                "_smtp._tls.example.com CNAME Cname(\"_smtp._tls.abcdefghijklmnop.sts.provider.net\")",
            ]
        );
        // The target of each has what the name itself would have.
        let at_targets = targets(&token, &zone, Some(&published), &addresses, &reports);
        let mut followed = Vec::new();
        for record in direct(&domain, &published, &addresses, &reports) {
            let cname = cnames.iter().find(|cname| cname.name == record.name).expect("a CNAME");
            let Data::Cname(target) = &cname.data else { panic!() };
            followed.push(Record {
                name: target.clone(),
                data: record.data,
            });
        }
        assert_eq!(at_targets, followed);
        assert_eq!(at_targets.len(), 3);
        assert_eq!(delegation(&domain, &token, &zone, &[]).len(), 2);
        // Without a policy there is no record of one.
        let bare = targets(&token, &zone, None, &addresses, &[]);
        assert_eq!(shown(&bare), ["abcdefghijklmnop.sts.provider.net A Address(192.0.2.1)"]);
        assert_eq!(
            shown(&[proof(&domain, &token)]),
            ["mta-sts.example.com TXT Txt(\"mtasts-host=abcdefghijklmnop\")"]
        );
        assert_eq!(direct(&domain, &published, &addresses, &[]).len(), 2);
    }

    #[test]
    fn senders_read_the_record() {
        let (domain, _, _, published) = example();
        let records = direct(&domain, &published, &[], &[]);
        let Data::Txt(text) = &records[0].data else { panic!() };
        let read = record::Record::find(&[text.clone().into_bytes()]).unwrap();
        assert_eq!(read.id.as_str(), published.id());
    }

    #[test]
    fn an_address_for_reports_cannot_leave_its_record() {
        for good in [
            "mailto:a@example.com",
            "mailto:a%21b@example.com",
            "https://r.example/v1?x=y",
        ] {
            assert_eq!(check_report_uri(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a@example.com",
            "mailto:",
            "ftp://x.example/",
            "mailto:a@b.example,mailto:c@d.example",
            "mailto:a@b.example;x=y",
            "mailto:a!b@c.example",
            "mailto:a b@c.example",
            "mailto:\"a\"@c.example",
            "mailto:a\\@c.example",
            "mailto:a@c.example\n",
            "https://x.example/${y}",
            "mailto:\u{e4}@c.example",
        ] {
            assert!(check_report_uri(bad).is_err(), "{bad:?}");
        }
    }
}
