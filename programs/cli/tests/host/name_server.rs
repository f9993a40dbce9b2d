//! The name server of the zone, asked by drill and copied by BIND.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;

use mtasts_kit::until;

use super::dns_tools::{SECONDARY, bind, drill, fetch, from_address, settings, zone_of_bind};
use super::hosting::{HOST, Hosting, policy};

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

    let secondary = format!("type secondary; primaries {{ {HOST}; }}; allow-notify {{ {HOST}; {SECONDARY}; }};");
    let _bind = bind(&hosting, &zone_of_bind(&secondary));
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
        .map(|n| from_address(&format!("127.0.{}.{}", 1 + n / 200, 1 + n % 200), 53))
        .collect();
    until("the end of the oldest", || many[..144].iter().all(is_over));
    assert!(many[300..].iter().all(|stream| !is_over(stream)));
    assert_eq!(over_tcp(SECONDARY), good);
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
