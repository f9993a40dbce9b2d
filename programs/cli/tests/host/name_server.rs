//! The name server of the zone, asked by drill and copied by BIND.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use mtasts_kit::{pki, repository, until};

use super::hosting::{HOST, Hosting, policy};

const SECONDARY: &str = "8.8.8.2";
const KNOT: &str = "127.0.0.3";

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

/// A name server, which ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gets these packages, which a network without a way out cannot.
fn fetch(name: &str, packages: &[&str]) {
    let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
        .arg(repository().join("target/mta"))
        .arg(name)
        .args(packages)
        .status();
    assert!(fetched.unwrap().success());
}

/// A program of them, with their libraries.
fn program(name: &str, program: &str) -> Command {
    let tree = repository().join("target/mta").join(name);
    let libraries = fs::read_dir(tree.join("usr/lib"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let libraries: Vec<String> = libraries.map(|path| path.display().to_string()).collect();
    let mut command = Command::new(tree.join("usr").join(program));
    command.env("LD_LIBRARY_PATH", libraries.join(":")).stdin(Stdio::null());
    command
}

/// BIND with this zone, and what is before it.
fn bind(hosting: &Hosting, before: &str, zone: &str) -> Running {
    hosting.write(
        "named.conf",
        &format!(
            "options {{\n directory \"{}\";\n listen-on port 53 {{ {SECONDARY}; }};\n listen-on-v6 {{ none; }};\n pid-file \
             none;\n session-keyfile none;\n recursion no;\n dnssec-validation no;\n transfer-source {SECONDARY};\n \
             allow-transfer {{ any; }};\n}};\ncontrols {{ }};\n{before}zone \"sts.example.net\" {{ {zone} }};\n",
            hosting.path("").display()
        ),
    );
    let child = program("bind9", "sbin/named")
        .args(["-g", "-c"])
        .arg(hosting.path("named.conf"))
        .stderr(fs::File::create(hosting.path("named.log")).unwrap())
        .spawn()
        .unwrap();
    until("named", || TcpStream::connect((SECONDARY, 53)).is_ok());
    Running(child)
}

/// Knot with a key, and the rest of its configuration behind that.
fn knot(hosting: &Hosting, key: &str, more: &str) -> Running {
    let directory = hosting.path("knot").display().to_string();
    fs::create_dir_all(&directory).unwrap();
    let text = format!(
        "server:\n    listen: {KNOT}@53\n    rundir: \"{directory}\"\ndatabase:\n    storage: \"{directory}\"\nkey:\n  - id: {key}\n    \
         algorithm: hmac-sha256\n    secret: {SECRET}\n{more}    storage: \"{directory}\"\n"
    );
    hosting.write("knot.conf", &text);
    let child = program("knot", "sbin/knotd")
        .arg("-c")
        .arg(hosting.path("knot.conf"))
        .stdout(fs::File::create(hosting.path("knot.log")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("knotd", || TcpStream::connect((KNOT, 53)).is_ok());
    Running(child)
}

#[test]
fn it_says_what_is_served_and_bind_copies_it() {
    fetch("bind9", &["bind9"]);
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
    let mut silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect((HOST, 53)).unwrap()).collect();
    for n in 0..2000_usize {
        let noise: Vec<u8> = (0..n % 600).map(|at| (at * 31 + n * 17) as u8).collect();
        let datagram = if n % 2 == 0 { &noise } else { &question };
        socket.send_to(datagram, (HOST, 53)).unwrap();
    }
    for stream in silent.iter_mut().take(100) {
        let _ = stream.write_all(b"\xff\xff half");
    }
    until("an answer", || {
        drill(&hosting, HOST, &["sts.example.net", "NS"]).1.len() >= 2
    });
    assert!(hosting.connect("mta-sts.example.com").is_ok());
    drop(silent);

    let zone_of_bind = format!("type secondary; primaries {{ {HOST}; }}; allow-notify {{ {HOST}; {SECONDARY}; }};");
    let _bind = bind(&hosting, "", &zone_of_bind);
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

/// Whether the server has ended a connection.
fn is_over(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.peek(&mut [0; 1]) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn connections_are_bounded_and_end_when_nobody_asks() {
    let mut hosting = Hosting::new(&["example.com"]);
    settings(&hosting, &policy("example.com", 86_400));
    hosting.start();
    let over_tcp = |from: &str| {
        let (status, records) = drill(&hosting, HOST, &["-I", from, "-t", "sts.example.net", "NS"]);
        (status, records.len())
    };
    let good = ("NOERROR".to_owned(), 2);
    assert_eq!(over_tcp(HOST), good);
    // One address has some of them, and the next one is not taken; another address is not in its way.
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect((HOST, 53)).unwrap()).collect();
    until("the end of most", || {
        silent.iter().filter(|stream| is_over(stream)).count() == 40 - 16
    });
    assert_ne!(over_tcp(HOST), good);
    assert_eq!(over_tcp(SECONDARY), good);
    // They end by themselves, also one that sends an octet now and then.
    let begun = std::time::Instant::now();
    until("the end of the silent", || {
        if let Some(mut stream) = silent.iter().find(|stream| !is_over(stream)) {
            let _ = stream.write_all(&[0]);
        }
        silent.iter().all(is_over)
    });
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!(over_tcp(HOST), good);
    // From many addresses: the oldest go, and the newest are answered.
    let many: Vec<TcpStream> = (0..400)
        .map(|n| from_address(&format!("127.0.{}.{}", 1 + n / 200, 1 + n % 200)))
        .collect();
    until("the end of the oldest", || many[..144].iter().all(is_over));
    assert!(many[300..].iter().all(|stream| !is_over(stream)));
    assert_eq!(over_tcp(SECONDARY), good);
    hosting.stop();
}

/// A connection with the name server from this address of the machine.
fn from_address(address: &str) -> TcpStream {
    let (from, to) = (format!("{address}:0"), format!("{HOST}:53"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(from.parse().unwrap())?;
        socket.connect(to.parse().unwrap()).await?.into_std()
    });
    connected.unwrap()
}

/// The records that dig or kdig prints, without their TTL; and all that it says.
fn ask(tree: &str, tool: &str, arguments: &[&str]) -> (BTreeSet<String>, String) {
    let output = program(tree, tool).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    let is_record = |line: &&str| !line.starts_with(';') && line.split_whitespace().nth(2) == Some("IN");
    let records = text.lines().filter(is_record).map(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.remove(1);
        words.join(" ")
    });
    (records.collect(), text)
}

#[test]
fn secondaries_that_sign_copy_the_same_zone() {
    fetch("bind9", &["bind9"]);
    fetch("dig", &["bind9-dnsutils"]);
    fetch("knot", &["knot", "knot-dnsutils"]);
    let mut hosting = Hosting::new(&[]);
    // More than fit into one message.
    let domains = |max_age| {
        let names = (0..40).map(|n| policy(&format!("d{n}.example"), if n == 7 { max_age } else { 86_400 }));
        names.collect::<String>()
    };
    let set = |hosting: &Hosting, max_age| {
        hosting.write("transfer.key", SECRET);
        let key = format!(
            "[transfer]\nkey = \"transfer.example\"\nsecret_file = \"{}\"\n",
            hosting.path("transfer.key").display()
        );
        settings(hosting, &(key + &domains(max_age)));
        let text = fs::read_to_string(hosting.path("host.toml")).unwrap();
        let both = format!("secondaries = [\"{SECONDARY}\", \"{KNOT}\"]");
        hosting.write(
            "host.toml",
            &text.replace(&format!("secondaries = [\"{SECONDARY}\"]"), &both),
        );
    };
    set(&hosting, 86_400);
    hosting.start();
    let at = format!("@{HOST}");
    let signed = format!("hmac-sha256:transfer.example:{SECRET}");
    let dig = |arguments: &[&str]| ask("dig", "bin/dig", &[&[at.as_str()], arguments].concat());
    let kdig = |arguments: &[&str]| ask("knot", "bin/kdig", &[&[at.as_str()], arguments].concat());
    let zone = ["sts.example.net", "AXFR"];
    // Neither from another address, nor without the key, nor with another one.
    let wrong = format!("hmac-sha256:transfer.example:{}", SECRET.replace("c2Vj", "d2Vj"));
    let unknown = format!("hmac-sha256:other.example:{SECRET}");
    for (arguments, expected) in [
        (&["-b", HOST, "-y", &signed][..], "Transfer failed"),
        (&["-b", SECONDARY], "Transfer failed"),
        (&["-b", SECONDARY, "-y", &wrong], "BADSIG"),
        (&["-b", SECONDARY, "-y", &unknown], "BADKEY"),
    ] {
        let (records, text) = dig(&[arguments, &zone].concat());
        assert!(records.is_empty() && text.contains(expected), "{arguments:?}: {text}");
    }
    let (ours, text) = dig(&["-b", SECONDARY, "-y", &signed, zone[0], zone[1]]);
    assert_eq!(ours.len(), 1 + 3 + 40 * 3, "{text}");
    assert!(!text.contains("WARNING") && !text.contains("Couldn't verify"), "{text}");
    let (seen, text) = kdig(&["-b", SECONDARY, "-y", &signed, zone[0], zone[1]]);
    assert_eq!(seen, ours, "{text}");
    // A secondary asks so over UDP whether there is something new. Who validates gets an answer too.
    for arguments in [
        &["+norec", "-y", &signed, "sts.example.net", "SOA"][..],
        &["+norec", "+dnssec", "sts.example.net", "SOA"],
        &["+norec", "+tcp", "+dnssec", "-y", &signed, "sts.example.net", "SOA"],
    ] {
        for (records, text) in [dig(arguments), kdig(arguments)] {
            assert!(
                records.len() == 1 && ours.is_superset(&records),
                "{arguments:?}: {text}"
            );
            assert!(!text.to_ascii_lowercase().contains("warning"), "{arguments:?}: {text}");
        }
    }

    let key = format!("key \"transfer.example\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    let primaries = format!(
        "type secondary; primaries {{ {HOST} key \"transfer.example\"; }}; allow-notify {{ {HOST}; {SECONDARY}; }};"
    );
    let _bind = bind(&hosting, &key, &primaries);
    let _knot = knot(
        &hosting,
        "transfer.example",
        &format!(
            "remote:\n  - id: primary\n    address: {HOST}@53\n    via: {KNOT}\n    key: transfer.example\nacl:\n  - id: primary\n    \
             address: [{HOST}, 127.0.0.0/8]\n    key: transfer.example\n    action: notify\n  - id: all\n    address: [8.8.8.0/24, \
             127.0.0.0/8]\n    action: transfer\nzone:\n  - domain: sts.example.net\n    master: primary\n    acl: [primary, all]\n"
        ),
    );
    let same = |expected: &BTreeSet<String>| {
        for secondary in [SECONDARY, KNOT] {
            let at = format!("@{secondary}");
            until(secondary, || {
                let (copy, _) = ask("dig", "bin/dig", &[&at, zone[0], zone[1]]);
                copy == *expected
            });
        }
    };
    same(&ours);
    // Both are told of a change.
    set(&hosting, 604_800);
    hosting.reload("settings reloaded");
    let (changed, _) = dig(&["-b", SECONDARY, "-y", &signed, zone[0], zone[1]]);
    assert_eq!(changed.difference(&ours).count(), 2, "the SOA and an id");
    same(&changed);
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
    fetch("bind9", &["bind9"]);
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
    let _bind = bind(
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

    // One that leaves while this host does not run.
    update(&hosting, 5353, SECRET, &both);
    hosting.reload("settings reloaded");
    until("its return", || there(&hosting).len() == 4 + 6);
    hosting.stop();
    update(&hosting, 5353, SECRET, &policy("example.com", 604_800));
    hosting.ask(&["remove", "example.org", "--force"]);
    hosting.start();
    until("its end", || there(&hosting).len() == 4 + 3);
    assert!(all(&hosting).is_subset(&there(&hosting)));

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

#[test]
fn knot_takes_updates() {
    fetch("knot", &["knot", "knot-dnsutils"]);
    let mut hosting = Hosting::new(&[]);
    let set = |hosting: &Hosting, domains: &str| {
        hosting.write("secret", SECRET);
        hosting.settings(&format!(
            "reports = [\"mailto:tlsrpt@example.net\"]\nhttps = [\"{HOST}:443\"]\n[update]\nserver = \"{KNOT}\"\nkey = \
             \"update.example\"\nsecret_file = \"{}\"\n{domains}",
            hosting.path("secret").display()
        ));
    };
    fs::create_dir(hosting.path("knot")).unwrap();
    hosting.write(
        "knot/sts.example.net.zone",
        "$ORIGIN sts.example.net.\n$TTL 300\n@ SOA ns.sts.example.net. h.sts.example.net. 1 3600 600 86400 60\n@ NS ns.sts.example.net.\nns \
         A 127.0.0.3\nother TXT \"stays\"\n",
    );
    let _knot = knot(
        &hosting,
        "update.example",
        "acl:\n  - id: update\n    key: update.example\n    action: update\n  - id: all\n    address: [8.8.8.0/24, 127.0.0.0/8]\n    action: \
         transfer\nzone:\n  - domain: sts.example.net\n    acl: [update, all]\n",
    );
    let there = |hosting: &Hosting| drill(hosting, KNOT, &["-t", "sts.example.net", "AXFR"]).1;
    let all = |hosting: &Hosting| {
        let zone = hosting.ask(&["zone"]);
        let lines = zone.lines().map(|line| line.replacen(" 300", "", 1));
        lines.collect::<BTreeSet<_>>()
    };
    until("the zone", || there(&hosting).len() == 4);
    set(
        &hosting,
        &(policy("example.com", 86_400) + &policy("example.org", 86_400)),
    );
    hosting.start();
    until("the records", || all(&hosting).is_subset(&there(&hosting)));
    assert_eq!(there(&hosting).len(), 4 + 6);
    set(&hosting, &policy("example.com", 604_800));
    hosting.reload("settings reloaded");
    hosting.ask(&["remove", "example.org", "--force"]);
    until("its end", || there(&hosting).len() == 4 + 3);
    until("the new id", || all(&hosting).is_subset(&there(&hosting)));
    hosting.stop();
}

#[test]
fn a_command_publishes_what_is_served() {
    let mut hosting = Hosting::new(&[]);
    let copy = hosting.path("ledger/copy");
    // It copies the file, and counts; and it fails as long as it is told to.
    let script = format!(
        "#!/bin/sh\nset -e\n[ \"$MTASTS_ZONE\" = sts.example.net ]\n[ ! -e {copy}.no ] || {{ echo \"no way\" >&2; exit 3; }}\ncp \"$MTASTS_FILE\" \
         {copy}.$1\necho >>{copy}.count\n",
        copy = copy.display()
    );
    hosting.write("publish", &script);
    fs::set_permissions(hosting.path("publish"), PermissionsExt::from_mode(0o755)).unwrap();
    let set = |hosting: &Hosting, max_age| {
        hosting.settings(&format!(
            "proxy = [\"127.0.0.1:8080\"]\n[publish]\nfile = \"{}\"\nexec = [\"{}\", \"done\"]\n{}",
            hosting.path("ledger/zone").display(),
            hosting.path("publish").display(),
            policy("example.com", max_age)
        ));
    };
    let published = |hosting: &Hosting| fs::read_to_string(hosting.path("ledger/copy.done")).unwrap_or_default();
    let count = |hosting: &Hosting| fs::read_to_string(hosting.path("ledger/copy.count")).unwrap().len();
    set(&hosting, 86_400);
    hosting.start();
    until("the records", || published(&hosting) == hosting.ask(&["zone"]));
    // What has not changed is not published again.
    hosting.reload("settings reloaded");
    thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(count(&hosting), 1);
    set(&hosting, 604_800);
    hosting.reload("settings reloaded");
    until("the new id", || published(&hosting) == hosting.ask(&["zone"]));
    assert_eq!(count(&hosting), 2);
    // A failure is told with what it says.
    fs::write(hosting.path("ledger/copy.no"), "").unwrap();
    set(&hosting, 604_801);
    hosting.reload("settings reloaded");
    until("a complaint", || {
        hosting.log().contains("the records are not published: ")
            && hosting.log().contains("exit status: 3: no way; it is tried again")
    });
    hosting.stop();
}
