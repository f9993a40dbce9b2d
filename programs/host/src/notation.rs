//! Records as those write them who have to publish them: a zone file, nsupdate(1), octoDNS, DNSControl, Terraform.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mtasts::Domain;

use crate::records::{Data, Record, TTL};

/// The longest string of a TXT record in octets (RFC 1035 3.3.14).
const STRING: usize = 255;

/// How records are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notation {
    /// A zone file (RFC 1035 5).
    Zone,
    /// The commands of nsupdate(1): an update (RFC 2136) that replaces what is there.
    Nsupdate,
    /// The YAML of an octoDNS zone.
    Octodns,
    /// The JavaScript of DNSControl.
    Dnscontrol,
    /// Terraform with the provider hashicorp/dns.
    Terraform,
}

impl Notation {
    /// The notation of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "zone" => Some(Self::Zone),
            "nsupdate" => Some(Self::Nsupdate),
            "octodns" => Some(Self::Octodns),
            "dnscontrol" => Some(Self::Dnscontrol),
            "terraform" => Some(Self::Terraform),
            _ => None,
        }
    }

    /// The records as they are written in the zone `zone`, in which all their names are.
    #[must_use]
    pub fn write(self, zone: &Domain, records: &[Record]) -> String {
        match self {
            Self::Zone => as_zone(records),
            Self::Nsupdate => as_nsupdate(zone, records),
            Self::Octodns => as_octodns(zone, records),
            Self::Dnscontrol => as_dnscontrol(zone, records),
            Self::Terraform => as_terraform(zone, records),
        }
    }
}

/// The data as in a zone file. No text of ours has a quotation mark or a backslash.
fn presented(data: &Data) -> String {
    match data {
        Data::Address(address) => address.to_string(),
        Data::Cname(target) => format!("{target}."),
        Data::Txt(text) => {
            let strings = text.as_bytes().chunks(STRING);
            let strings = strings.map(|string| format!("\"{}\"", String::from_utf8_lossy(string)));
            strings.collect::<Vec<_>>().join(" ")
        }
    }
}

fn line(record: &Record) -> String {
    format!(
        "{}. {TTL} IN {} {}",
        record.name,
        record.data.kind(),
        presented(&record.data)
    )
}

/// The name below the zone.
fn below<'r>(record: &'r Record, zone: &Domain) -> &'r str {
    let name = record.name.strip_suffix(zone.as_str());
    name.and_then(|name| name.strip_suffix('.')).unwrap_or(&record.name)
}

/// The records by name and type, in order.
fn sets<'r>(zone: &Domain, records: &'r [Record]) -> BTreeMap<(&'r str, &'static str), Vec<&'r Data>> {
    let mut sets: BTreeMap<_, Vec<&Data>> = BTreeMap::new();
    for record in records {
        let key = (below(record, zone), record.data.kind());
        sets.entry(key).or_default().push(&record.data);
    }
    sets
}

fn as_zone(records: &[Record]) -> String {
    records.iter().map(|record| line(record) + "\n").collect()
}

fn as_nsupdate(zone: &Domain, records: &[Record]) -> String {
    let mut text = format!("zone {zone}.\n");
    let mut before = "";
    for record in records {
        // Beside a CNAME nothing can be, and what was at the name is in the way of both.
        if record.name != before {
            let _ = writeln!(text, "update delete {}.", record.name);
            before = &record.name;
        }
        let _ = writeln!(text, "update add {}", line(record));
    }
    text + "send\n"
}

fn as_octodns(zone: &Domain, records: &[Record]) -> String {
    let mut text = String::from("---\n");
    let mut before = "";
    for ((name, kind), data) in sets(zone, records) {
        if name != before {
            let _ = writeln!(text, "{name}:");
            before = name;
        }
        // octoDNS wants semicolons escaped, and splits a long text itself.
        let values = data.iter().map(|data| match data {
            Data::Txt(text) => format!("'{}'", text.replace('\'', "''").replace(';', "\\;")),
            other => presented(other),
        });
        let values = values.collect::<Vec<_>>().join("\n  - ");
        let field = if kind == "CNAME" { "value: " } else { "values:\n  - " };
        let _ = writeln!(text, "- ttl: {TTL}\n  type: {kind}\n  {field}{values}");
    }
    text
}

fn as_dnscontrol(zone: &Domain, records: &[Record]) -> String {
    let mut text = format!("D_EXTEND(\"{zone}\"");
    for record in records {
        let value = match &record.data {
            Data::Txt(text) => text.clone(),
            other => presented(other),
        };
        let (name, kind) = (below(record, zone), record.data.kind());
        let _ = write!(text, ",\n  {kind}(\"{name}\", \"{value}\", TTL({TTL}))");
    }
    text + "\n);\n"
}

fn as_terraform(zone: &Domain, records: &[Record]) -> String {
    let mut text = String::new();
    for ((name, kind), data) in sets(zone, records) {
        let (resource, field) = match kind {
            "A" => ("dns_a_record_set", "addresses"),
            "AAAA" => ("dns_aaaa_record_set", "addresses"),
            "CNAME" => ("dns_cname_record", "cname"),
            _ => ("dns_txt_record_set", "txt"),
        };
        let values = data.iter().map(|data| match data {
            Data::Txt(text) => format!("\"{text}\""),
            other => format!("\"{}\"", presented(other)),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let values = if kind == "CNAME" { values } else { format!("[{values}]") };
        // An identifier begins with a letter and has no dot.
        let identifier = format!("sts_{name}_{zone}").replace('.', "_");
        let _ = write!(
            text,
            "resource \"{resource}\" \"{identifier}\" {{\n  zone = \"{zone}.\"\n  name = \"{name}\"\n  {field} = {values}\n  \
             ttl = {TTL}\n}}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests;
