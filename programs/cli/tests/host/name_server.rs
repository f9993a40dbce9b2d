//! The name server of the zone, asked by drill and copied by BIND.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

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
    /// Gets its packages, which a network without a way out cannot.
    fn fetch() {
        let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
            .arg(repository().join("target/mta"))
            .args(["bind9", "bind9"])
            .status();
        assert!(fetched.unwrap().success());
    }

    /// With this zone, and what is before it.
    fn start(hosting: &Hosting, before: &str, zone: &str) -> Self {
        let tree = repository().join("target/mta/bind9");
        hosting.write(
            "named.conf",
            &format!(
                "options {{\n directory \"{}\";\n listen-on port 53 {{ {SECONDARY}; }};\n listen-on-v6 {{ none; }};\n pid-file \
                 none;\n session-keyfile none;\n recursion no;\n dnssec-validation no;\n transfer-source {SECONDARY};\n \
                 allow-transfer {{ any; }};\n}};\ncontrols {{ }};\n{before}zone \"sts.example.net\" {{ {zone} }};\n",
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
        until("named", || TcpStream::connect((SECONDARY, 53)).is_ok());
        Self(child)
    }
}

#[test]
fn it_says_what_is_served_and_bind_copies_it() {
    Bind::fetch();
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

    // What is not DNS harms nothing, nor does who says nothing.
    let socket = std::net::UdpSocket::bind((HOST, 0)).unwrap();
    let question = [b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x03sts", &[0xc0; 3][..]].concat();
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect((HOST, 53)).unwrap()).collect();
    for n in 0..2000_usize {
        let noise: Vec<u8> = (0..n % 600).map(|at| (at * 31 + n * 17) as u8).collect();
        let datagram = if n % 2 == 0 { &noise } else { &question };
        socket.send_to(datagram, (HOST, 53)).unwrap();
    }
    for mut stream in silent.iter().take(100) {
        stream.write_all(b"\xff\xff half").unwrap();
    }
    until("an answer", || {
        drill(&hosting, HOST, &["sts.example.net", "NS"]).1.len() >= 2
    });
    assert!(hosting.connect("mta-sts.example.com").is_ok());
    drop(silent);

    let zone_of_bind = format!("type secondary; primaries {{ {HOST}; }}; allow-notify {{ {HOST}; {SECONDARY}; }};");
    let _bind = Bind::start(&hosting, "", &zone_of_bind);
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

const SECRET: &str = "c2VjcmV0IG9mIHRoZSB0ZXN0IG9mIHVwZGF0ZXM=";

/// What a relay before a name server does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    Nothing,
    /// It answers an update with the answer to an earlier one.
    Replays,
    /// It says that nothing is at any name.
    Forgets,
}

/// A relay at port 5353 of this host.
fn relay() -> Arc<Mutex<Lie>> {
    let lie = Arc::new(Mutex::new(Lie::Nothing));
    let (lies, first) = (Arc::clone(&lie), Arc::new(Mutex::new(Vec::new())));
    let listener = TcpListener::bind((HOST, 5353)).unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (lies, first) = (Arc::clone(&lies), Arc::clone(&first));
            thread::spawn(move || {
                let mut server = TcpStream::connect((SECONDARY, 53)).ok()?;
                loop {
                    let question = read(&mut client)?;
                    let lie = *lies.lock().unwrap();
                    let is_update = question[2] & 0x78 == 0x28;
                    write(&mut server, &question)?;
                    let mut answer = read(&mut server)?;
                    if is_update {
                        let mut first = first.lock().unwrap();
                        if first.is_empty() {
                            first.clone_from(&answer);
                        } else if lie == Lie::Replays {
                            answer.clone_from(&first);
                            answer[..2].copy_from_slice(&question[..2]);
                        }
                    } else if lie == Lie::Forgets {
                        answer = question.clone();
                        answer[2] |= 0x80;
                    }
                    write(&mut client, &answer)?;
                }
                #[allow(unreachable_code)]
                Some(())
            });
        }
    });
    lie
}

fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn write(stream: &mut TcpStream, message: &[u8]) -> Option<()> {
    let length = u16::try_from(message.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), message].concat()).ok()
}

#[test]
fn bind_takes_updates_and_a_name_server_that_lies_is_found_out() {
    Bind::fetch();
    let mut hosting = Hosting::new(&["example.com", "example.org"]);
    let update = |hosting: &Hosting, port: u16, secret: &str, domains: &str| {
        hosting.write("secret", secret);
        let server = if port == 53 { SECONDARY } else { HOST };
        hosting.settings(&format!(
            "reports = [\"mailto:tlsrpt@example.net\"]\nhttps = [\"{HOST}:443\"]\n[update]\nserver = \"{server}:{port}\"\nkey = \
             \"update.example\"\nsecret_file = \"{}\"\n{domains}",
            hosting.path("secret").display()
        ));
    };
    hosting.write(
        "zone",
        "$TTL 300\n@ SOA ns.sts.example.net. h.sts.example.net. 1 3600 600 86400 60\n@ NS ns.sts.example.net.\nns A 8.8.8.2\nother TXT \
         \"stays\"\n",
    );
    let key = format!("key \"update.example\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    let _bind = Bind::start(
        &hosting,
        &key,
        "type primary; file \"zone\"; allow-update { key \"update.example\"; };",
    );
    let lie = relay();
    let there = |hosting: &Hosting| drill(hosting, SECONDARY, &["-t", "sts.example.net", "AXFR"]).1;
    let all = |hosting: &Hosting| {
        let zone = hosting.ask(&["zone"]);
        zone.lines()
            .map(|line| line.replacen(" 300", "", 1))
            .collect::<BTreeSet<_>>()
    };
    until("the zone", || there(&hosting).len() == 4);
    let empty = there(&hosting);

    // A wrong secret changes nothing.
    let both = policy("example.com", 86_400) + &policy("example.org", 86_400);
    update(&hosting, 53, "YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Q=", &both);
    hosting.start();
    until("a refusal", || {
        hosting
            .log()
            .contains("the name server says that the signature is wrong (BADSIG)")
    });
    assert_eq!(there(&hosting), empty);
    hosting.stop();

    // All of both domains, and nothing else is touched.
    update(&hosting, 5353, SECRET, &both);
    hosting.start();
    until("the records", || all(&hosting).is_subset(&there(&hosting)));
    assert_eq!(there(&hosting).len(), 4 + 6, "{:?}", there(&hosting));
    // A change, which replaces; and a domain that is gone.
    update(&hosting, 5353, SECRET, &policy("example.com", 604_800));
    hosting.reload("settings reloaded");
    until("the new id", || all(&hosting).is_subset(&there(&hosting)));
    assert_eq!(there(&hosting).len(), 4 + 6);
    hosting.ask(&["remove", "example.org", "--force"]);
    until("its end", || there(&hosting).len() == 4 + 3);
    assert!(all(&hosting).is_subset(&there(&hosting)));
    assert!(there(&hosting).contains("other.sts.example.net. IN TXT \"stays\""));

    for (what, max_age, expected) in [
        (Lie::Replays, 700_000, "the signature of the answer is wrong"),
        (
            Lie::Forgets,
            800_000,
            "the name server has taken the update, and _mta-sts.",
        ),
    ] {
        *lie.lock().unwrap() = what;
        update(&hosting, 5353, SECRET, &policy("example.com", max_age));
        hosting.reload("settings reloaded");
        until(expected, || hosting.log().contains(expected));
        hosting.stop();
        hosting.start();
    }
    hosting.stop();
}
