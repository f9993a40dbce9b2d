//! What root's helper says of the hosts to its parent: lines of text. The parent reads each value as strictly as if a
//! stranger had sent it.

use std::fmt::Write as _;
use std::time::Duration;

use super::Hosts;
use crate::protocol::names::Domain;
use crate::protocol::text::one_line;
use crate::protocol::tlsa::TlsaSet;
use crate::sender::dane::{Facts, HostRecords, Routing};
use crate::sender::validator::Worth;

/// The longest reason that is passed on, in octets.
const REASON: usize = 300;

impl Hosts {
    /// The hosts as text.
    pub(crate) fn to_text(&self) -> String {
        let why = match &self.worth {
            Worth::Absent(why) | Worth::Unfit(why) | Worth::Unknown(why) => one_line(why, REASON),
            _ => String::new(),
        };
        let mut text = format!("worth {} {why}\n", self.worth.name());
        let Some(facts) = &self.facts else { return text };
        let (routing, listed, why) = match &facts.routing {
            Routing::Secure(listed) => ("secure", &listed[..], String::new()),
            Routing::Insecure(listed) => ("insecure", &listed[..], String::new()),
            Routing::Absent => ("absent", &[][..], String::new()),
            Routing::Unknown(why) => ("unknown", &[][..], one_line(why, REASON)),
        };
        let _ = writeln!(text, "life {}\nmx {routing} {why}", facts.life.as_secs());
        for name in listed {
            let _ = writeln!(text, "listed {name}");
        }
        for (name, records) in &facts.hosts {
            let _ = match records {
                HostRecords::Insecure => writeln!(text, "host {name} insecure "),
                HostRecords::Absent => writeln!(text, "host {name} absent "),
                HostRecords::NoAddress => writeln!(text, "host {name} nowhere "),
                HostRecords::Unknown(why) => writeln!(text, "host {name} unknown {}", one_line(why, REASON)),
                HostRecords::Records { base, records } => {
                    let rdata: Vec<String> = records.rdata().iter().map(|rdata| hex(rdata)).collect();
                    writeln!(text, "host {name} records {base} {}", rdata.join(","))
                }
            };
        }
        text
    }

    /// The hosts of a domain from text, or nothing if it is anything else.
    pub(crate) fn from_text(text: &str, domain: &Domain, strict_both: bool) -> Option<Self> {
        let mut lines = text.lines();
        let (word, why) = lines.next()?.strip_prefix("worth ")?.split_once(' ')?;
        let worth = match word {
            "off" => Worth::Off,
            "trusted" => Worth::Trusted,
            "validates" => Worth::Validates,
            "absent" => Worth::Absent(one_line(why, REASON)),
            "unfit" => Worth::Unfit(one_line(why, REASON)),
            "unknown" => Worth::Unknown(one_line(why, REASON)),
            _ => return None,
        };
        let Some(life) = lines.next() else {
            return Some(Self::without(worth));
        };
        let life = Duration::from_secs(life.strip_prefix("life ")?.parse::<u32>().ok()?.into());
        let (routing, why) = lines.next()?.strip_prefix("mx ")?.split_once(' ')?;
        let (mut listed, mut hosts) = (Vec::new(), Vec::new());
        for line in lines {
            match line.split_once(' ')? {
                ("listed", name) => listed.push(Domain::parse(name).ok()?),
                ("host", rest) => hosts.push(host(rest)?),
                _ => return None,
            }
        }
        let routing = match routing {
            "secure" => Routing::Secure(listed),
            "insecure" => Routing::Insecure(listed),
            "absent" if listed.is_empty() => Routing::Absent,
            "unknown" if listed.is_empty() => Routing::Unknown(one_line(why, REASON)),
            _ => return None,
        };
        let domain = domain.clone();
        Some(Self::new(
            worth,
            Facts {
                domain,
                routing,
                hosts,
                life,
            },
            strict_both,
        ))
    }
}

/// `mx.example.com records mx.example.com 030101...,0301...`
fn host(line: &str) -> Option<(Domain, HostRecords)> {
    let (name, line) = line.split_once(' ')?;
    let (word, rest) = line.split_once(' ')?;
    let records = match word {
        "insecure" => HostRecords::Insecure,
        "absent" => HostRecords::Absent,
        "nowhere" => HostRecords::NoAddress,
        "unknown" => HostRecords::Unknown(one_line(rest, REASON)),
        "records" => {
            let (base, rdata) = rest.split_once(' ')?;
            let rdata: Option<Vec<Vec<u8>>> = rdata.split(',').map(octets).collect();
            HostRecords::Records {
                base: Domain::parse(base).ok()?,
                records: TlsaSet::read(rdata?.iter().map(Vec::as_slice)),
            }
        }
        _ => return None,
    };
    Some((Domain::parse(name).ok()?, records))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn whole() -> Hosts {
        let rdata = [[&[3u8, 1, 1][..], &[7; 32]].concat(), vec![1, 1, 1, 9], Vec::new()];
        let records = HostRecords::Records {
            base: name("end.example.net"),
            records: TlsaSet::read(rdata.iter().map(Vec::as_slice)),
        };
        Hosts::new(
            Worth::Validates,
            Facts {
                domain: name("example.com"),
                routing: Routing::Secure(vec![name("mx.example.com"), name("b.example.com")]),
                hosts: vec![
                    (name("mx.example.com"), records),
                    (name("b.example.com"), HostRecords::Absent),
                    (name("c.example.com"), HostRecords::Insecure),
                    (name("e.example.com"), HostRecords::NoAddress),
                    (name("d.example.com"), HostRecords::Unknown("no answer\nin time".into())),
                ],
                life: Duration::from_secs(300),
            },
            true,
        )
    }

    #[test]
    fn text_and_back() {
        let domain = name("example.com");
        let text = whole().to_text();
        let back = Hosts::from_text(&text, &domain, true).unwrap();
        assert_eq!(back.to_text(), text);
        assert_eq!(back.facts().unwrap().hosts[0], whole().facts().unwrap().hosts[0]);
        for worth in [
            Worth::Off,
            Worth::Unfit("not here".into()),
            Worth::Unknown("silent".into()),
        ] {
            let hosts = Hosts::without(worth);
            assert_eq!(Hosts::from_text(&hosts.to_text(), &domain, true), Some(hosts));
        }
    }

    /// A helper that lies, or was cut off, has said nothing.
    #[test]
    fn anything_else_is_nothing() {
        let (domain, text) = (name("example.com"), whole().to_text());
        for (good, bad) in [
            ("worth validates", "worth good"),
            ("life 300", "life -1"),
            ("mx secure", "mx absent"),
            ("listed mx.example.com", "listed mx example.com"),
            ("host b.example.com absent", "host b.example.com gone"),
            ("host c.example.com", "host c_example.com"),
            (",010101", ",01010"),
            ("030101", "+30101"),
            ("records end.example.net", "records ."),
        ] {
            let told = text.replace(good, bad);
            if told == text {
                continue;
            }
            assert_eq!(Hosts::from_text(&told, &domain, true), None, "{bad}");
        }
        assert_eq!(Hosts::from_text("", &domain, true), None);
    }
}
