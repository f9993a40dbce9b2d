//! The name server of the zone, asked by drill and copied by BIND.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};

use mtasts_kit::{pki, repository, until};

use super::hosting::{HOST, Hosting, policy};

const SECONDARY: &str = "8.8.8.2";

fn settings(hosting: &Hosting, more: &str) {
    hosting.settings(&format!(
        "reports = [\"mailto:tlsrpt@example.net\"]\nhttps = [\"{HOST}:443\"]\ndns = [\"{HOST}:53\"]\nname_servers = \
         [\"ns1.sts.example.net\", \"ns.other.example\"]\nsecondaries = [\"{SECONDARY}\"]\n{more}"
    ));
}

/// What drill prints: the status, and the records without their TTL.
fn drill(hosting: &Hosting, server: &str, arguments: &[&str]) -> (String, BTreeSet<String>) {
    let mut command = pki::command("drill", "ldnsutils", &hosting.path(""));
    let output = command.arg(format!("@{server}")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let status = text
        .split_once("rcode: ")
        .map_or("", |(_, rest)| rest.split(',').next().unwrap());
    let records = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let records = records.map(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.remove(1);
        words.join(" ")
    });
    (status.to_owned(), records.collect())
}

struct Bind(Child);

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bind {
    /// A secondary of the zone. Its packages are unpacked already.
    fn start(hosting: &Hosting) -> Self {
        let tree = repository().join("target/mta/bind9");
        hosting.write(
            "named.conf",
            &format!(
                "options {{\n directory \"{}\";\n listen-on port 53 {{ {SECONDARY}; }};\n listen-on-v6 {{ none; }};\n pid-file \
                 none;\n session-keyfile none;\n recursion no;\n dnssec-validation no;\n transfer-source {SECONDARY};\n \
                 allow-transfer {{ any; }};\n min-refresh-time 1;\n}};\ncontrols {{ }};\nzone \"sts.example.net\" {{ type \
                 secondary; primaries {{ {HOST}; }}; allow-notify {{ {HOST}; {SECONDARY}; }}; }};\n",
                hosting.path("").display()
            ),
        );
        let mut named = Command::new(tree.join("usr/sbin/named"));
        let libraries = fs::read_dir(tree.join("usr/lib"))
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        let libraries: Vec<String> = libraries.map(|path| path.display().to_string()).collect();
        named.env("LD_LIBRARY_PATH", libraries.join(":"));
        let child = named
            .args(["-g", "-c"])
            .arg(hosting.path("named.conf"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(hosting.path("named.log")).unwrap())
            .spawn()
            .unwrap();
        Self(child)
    }
}

#[test]
fn it_says_what_is_served_and_bind_copies_it() {
    let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
        .arg(repository().join("target/mta"))
        .args(["bind9", "bind9"])
        .status();
    assert!(fetched.unwrap().success());
    let mut hosting = Hosting::new(&["example.com", "example.org"]);
    let both = |max_age| policy("example.com", max_age) + &policy("example.org", 86_400);
    settings(&hosting, &both(86_400));
    hosting.start();
    // All that `zone` prints, at its names.
    let zone = hosting.ask(&["zone"]);
    let mut all = BTreeSet::new();
    for line in zone.lines() {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let [name, _, "IN", kind, data] = words[..] else {
            panic!("{line}")
        };
        let (status, records) = drill(&hosting, HOST, &[name, kind]);
        let expected = format!("{name} IN {kind} {data}");
        assert_eq!(
            (status.as_str(), records),
            ("NOERROR", BTreeSet::from([expected.clone()]))
        );
        // Any spelling, and over TCP.
        let (_, over_tcp) = drill(&hosting, HOST, &["-t", &name.to_uppercase(), kind]);
        assert_eq!(over_tcp.len(), 1, "{over_tcp:?}");
        all.insert(expected);
    }
    assert_eq!(all.len(), 6);
    for (name, kind, status, beginning) in [
        (
            "sts.example.net",
            "NS",
            "NOERROR",
            "sts.example.net. IN NS ns.other.example.",
        ),
        (
            "ns1.sts.example.net",
            "A",
            "NOERROR",
            "ns1.sts.example.net. IN A 8.8.8.1",
        ),
        (
            "sts.example.net",
            "SOA",
            "NOERROR",
            "sts.example.net. IN SOA ns1.sts.example.net. hostmaster.sts.example.net. ",
        ),
        // What is not there comes with the SOA.
        ("sts.example.net", "A", "NOERROR", "sts.example.net. IN SOA "),
        ("ns1.sts.example.net", "AAAA", "NOERROR", "sts.example.net. IN SOA "),
        ("nothing.sts.example.net", "A", "NXDOMAIN", "sts.example.net. IN SOA "),
        ("a.ns1.sts.example.net", "A", "NXDOMAIN", "sts.example.net. IN SOA "),
    ] {
        let (found, records) = drill(&hosting, HOST, &[name, kind]);
        assert_eq!(found, status, "{name} {kind}");
        assert!(
            records.iter().any(|record| record.starts_with(beginning)),
            "{name} {kind}: {records:?}"
        );
    }
    // A name that is only above others is there (RFC 8020).
    let below = zone.lines().find(|line| line.contains("_smtp._tls.")).unwrap();
    let above = below
        .split(' ')
        .next()
        .unwrap()
        .strip_prefix("_smtp.")
        .unwrap()
        .to_owned();
    assert_eq!(drill(&hosting, HOST, &[&above, "TXT"]).0, "NOERROR");
    // It is not a resolver, and gives the zone to secondaries alone.
    for name in ["example.com", "net", "xsts.example.net"] {
        assert_eq!(
            drill(&hosting, HOST, &[name, "A"]),
            ("REFUSED".into(), BTreeSet::new()),
            "{name}"
        );
    }
    let (_, stolen) = drill(&hosting, HOST, &["-t", "sts.example.net", "AXFR"]);
    assert!(stolen.len() <= 1, "{stolen:?}");

    let _bind = Bind::start(&hosting);
    let copied = |hosting: &Hosting| drill(hosting, SECONDARY, &["-t", "sts.example.net", "AXFR"]).1;
    until("a transfer", || all.is_subset(&copied(&hosting)));
    let extra: BTreeSet<String> = copied(&hosting).difference(&all).cloned().collect();
    assert_eq!(extra.len(), 4, "SOA, two NS, and the address of one: {extra:?}");

    // A change is served, then announced, and the secondary has it at once.
    settings(&hosting, &both(604_800));
    hosting.reload("settings reloaded");
    let id = |zone: &str| {
        zone.lines()
            .filter(|line| line.contains("id="))
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let new = id(&hosting.ask(&["zone"]));
    let new: Vec<String> = new
        .difference(&id(&zone))
        .map(|line| line.replacen(" 300", "", 1))
        .collect();
    assert_eq!(new.len(), 1);
    let name = new[0].split(' ').next().unwrap().to_owned();
    assert!(drill(&hosting, HOST, &[&name, "TXT"]).1.contains(&new[0]));
    until("the new id", || copied(&hosting).contains(&new[0]));
    hosting.stop();
}

#[test]
fn what_it_needs_is_said() {
    let hosting = Hosting::new(&[]);
    for (settings, expected) in [
        (
            "dns = [\"8.8.8.1:53\"]",
            "the name server needs the settings zone, addresses and name_servers",
        ),
        ("name_servers = [\"a b\"]", "name_servers: \"a b\": "),
        (
            "secondaries = [\"ns.example\"]",
            "secondaries: \"ns.example\" is not an IP address",
        ),
    ] {
        hosting.settings(&format!("https = [\"8.8.8.1:443\"]\n{settings}"));
        let output = hosting.command(&["run"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && error.contains(expected),
            "{settings}: {error}"
        );
    }
}
