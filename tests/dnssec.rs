//! What the stub resolver makes of a real validator: unbound over zones that are signed, unsigned, broken and expired
//! (RFC 4035 3.2.3, RFC 7672 2.1).

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use mtasts::Domain;
use mtasts::network::dns::{Answered, Dns, DnsError, Servers, StubResolver};
use mtasts::sender::dane::{Facts, HostRecords, Routing, learn};
use mtasts::sender::validator::{Worth, examine};
use mtasts::{MxName, Resolver, Settings};
use mtasts_kit::dns_server::{DnsServer, Reply, address, cname, mx};
use mtasts_kit::signed::{Signed, answers};

/// What each zone has.
const HOST: &str = "mx A 192.0.2.1\n_25._tcp.mx TLSA 3 1 1 \
                    0000000000000000000000000000000000000000000000000000000000000007\n@ MX 10 mx\n";
/// Aliases with TLSA records at their own names, and hosts without any.
const ALIASES: &str = "bare A 192.0.2.2\nboth CNAME mx\n_25._tcp.both TLSA 3 1 1 \
                       0000000000000000000000000000000000000000000000000000000000000008\n\
                       own CNAME bare\n_25._tcp.own TLSA 3 1 1 \
                       0000000000000000000000000000000000000000000000000000000000000009\n\
                       away CNAME mx.plain.test.\n_25._tcp.away TLSA 1 1 1 \
                       0000000000000000000000000000000000000000000000000000000000000010\n\
                       loose A 192.0.2.4\n_25._tcp.loose CNAME _25._tcp.mx.plain.test.\n";
/// More than a UDP answer takes.
const MANY: usize = 60;

/// The same rows with unbound and with BIND.
#[test]
fn a_validator_and_what_it_says_of_each_zone() {
    let signed = zones();
    let (_authority, authority) = signed.authority();
    let (_unbound, unbound) = signed.unbound(authority, "");
    what_a_validator_says(unbound, authority);
    let (_bind, bind) = signed.bind(authority);
    what_a_validator_says(bind, authority);
}

/// Zones that are signed, unsigned, broken and expired.
fn zones() -> Signed {
    let mut signed = Signed::new("dnssec");
    let aliases = format!("{HOST}alias CNAME mx\nout CNAME mx.plain.test.\n{ALIASES}");
    let many: String = (0..MANY)
        .map(|n| format!("_25._tcp.many TLSA 3 1 2 {n:0128x}\n"))
        .collect();
    signed.zone(
        "ec.test",
        &(aliases + "many A 192.0.2.3\n" + &many),
        Some(&["ECDSAP256SHA256"]),
    );
    signed.zone("rsa.test", HOST, Some(&["RSASHA256"]));
    signed.zone("optout.test", HOST, Some(&["ECDSAP256SHA256", "-n", "-p"]));
    signed.zone("broken.test", HOST, Some(&["ECDSAP256SHA256"]));
    let forged = signed
        .directory
        .read("broken.test.zone")
        .replace("192.0.2.1\n", "192.0.2.66\n");
    signed.directory.write("broken.test.zone", forged);
    signed.zone("forged.test", HOST, Some(&["ECDSAP256SHA256"]));
    let forged = signed.directory.read("forged.test.zone");
    let forged: Vec<_> = forged
        .lines()
        .map(|line| {
            if line.contains("\tTLSA\t") {
                line.replace("07", "06")
            } else {
                line.to_owned()
            }
        })
        .collect();
    signed.directory.write("forged.test.zone", forged.join("\n") + "\n");
    let past = ["ECDSAP256SHA256", "-i", "20200101000000", "-e", "20200201000000"];
    signed.zone("expired.test", HOST, Some(&past));
    signed.zone("plain.test", &format!("{HOST}in CNAME mx.ec.test.\n"), None);
    signed.put_above();
    signed
}

fn what_a_validator_says(validator: SocketAddr, authority: SocketAddr) {
    let dns = StubResolver::validating(validator);
    answers(&dns);
    let soon = || Instant::now() + Duration::from_secs(10);

    fn told<T>(result: Result<Answered<T>, DnsError>) -> Result<bool, DnsError> {
        result.map(|answered| answered.authenticated)
    }
    let (secure, insecure) = (Ok(true), Ok(false));
    let failed = Err(DnsError::ServFail);
    let absent = Err(DnsError::NxDomain);
    for (host, expected) in [
        ("mx.ec.test", &secure),
        ("mx.rsa.test", &secure),
        ("mx.optout.test", &secure),
        ("alias.ec.test", &secure),
        ("out.ec.test", &insecure),
        ("in.plain.test", &insecure),
        ("mx.plain.test", &insecure),
        ("mx.broken.test", &failed),
        ("mx.expired.test", &failed),
        ("no.ec.test", &absent),
        ("no.optout.test", &absent),
    ] {
        assert_eq!(told(dns.addresses(host, soon())), *expected, "{host}");
    }
    for (zone, expected) in [
        ("ec.test", &secure),
        ("rsa.test", &secure),
        ("optout.test", &secure),
        ("plain.test", &insecure),
        ("expired.test", &failed),
    ] {
        let domain = Domain::parse(zone).expect("a domain");
        assert_eq!(told(dns.mx(&domain, soon())), *expected, "{zone}");
    }
    // Over TCP, because they do not fit.
    match &of(&dns, "ec.test", &["many.ec.test"]).hosts[0].1 {
        HostRecords::Records { records, .. } => assert_eq!(records.used().len(), MANY),
        other => panic!("{other:?}"),
    }

    // RFC 7672 2.1-2.2: the TLSA base domain of each host.
    for (host, expected) in [
        ("mx.ec.test", Ok(Some("mx.ec.test"))),
        ("mx.rsa.test", Ok(Some("mx.rsa.test"))),
        ("mx.optout.test", Ok(Some("mx.optout.test"))),
        // Where a secure alias leads comes first, then its own name.
        ("alias.ec.test", Ok(Some("mx.ec.test"))),
        ("both.ec.test", Ok(Some("mx.ec.test"))),
        ("own.ec.test", Ok(Some("own.ec.test"))),
        // It leads to an insecure host: its own name alone.
        ("away.ec.test", Ok(Some("away.ec.test"))),
        ("out.ec.test", Ok(None)),
        ("bare.ec.test", Ok(None)),
        // Nothing vouches for the TLSA records that it refers to.
        ("loose.ec.test", Ok(None)),
        // The alias itself is insecure, whatever the host has.
        ("in.plain.test", Ok(None)),
        ("mx.plain.test", Ok(None)),
        // Nothing is learnt of these: they wait.
        ("mx.forged.test", Err(DnsError::ServFail)),
        ("mx.broken.test", Err(DnsError::ServFail)),
        ("mx.expired.test", Err(DnsError::ServFail)),
        ("no.ec.test", Err(DnsError::NxDomain)),
    ] {
        let facts = of(&dns, "ec.test", &[host]);
        let base = match &facts.hosts[0].1 {
            HostRecords::Records { base, records } => {
                let usable = base.as_str() != "away.ec.test";
                assert_eq!(
                    (records.used().len(), records.unusable()),
                    (usize::from(usable), usize::from(!usable))
                );
                Ok(Some(base.as_str()))
            }
            HostRecords::Insecure | HostRecords::Absent => Ok(None),
            HostRecords::NoAddress => Err(DnsError::NxDomain.to_string()),
            HostRecords::Unknown(why) => Err(why.clone()),
        };
        assert_eq!(base, expected.map_err(|error: DnsError| error.to_string()), "{host}");
    }
    assert_eq!(of(&dns, "ec.test", &["bare.ec.test"]).hosts[0].1, HostRecords::Absent);
    assert_eq!(
        of(&dns, "ec.test", &["mx.plain.test"]).hosts[0].1,
        HostRecords::Insecure
    );

    // The alias is insecure, and its own name is not asked about.
    let learnt = of(&dns, "ec.test", &["in.plain.test"]);
    assert_eq!(learnt.hosts[0].1, HostRecords::Insecure);

    // The MX records, and their hosts where the mail server names none.
    for (domain, routing, host) in [
        ("ec.test", Routing::Secure(vec![named("mx.ec.test")]), "mx.ec.test"),
        (
            "plain.test",
            Routing::Insecure(vec![named("mx.plain.test")]),
            "mx.plain.test",
        ),
        ("mx.ec.test", Routing::Absent, "mx.ec.test"),
        ("mx.plain.test", Routing::Absent, "mx.plain.test"),
    ] {
        let facts = of(&dns, domain, &[]);
        assert_eq!(facts.routing, routing, "{domain}");
        assert_eq!(facts.hosts.len(), 1, "{domain}");
        assert_eq!(facts.hosts[0].0.as_str(), host, "{domain}");
        assert!(
            facts.life <= Duration::from_secs(300) && facts.life > Duration::ZERO,
            "{domain}"
        );
    }
    let facts = of(&dns, "expired.test", &[]);
    assert_eq!(facts.routing, Routing::Unknown(DnsError::ServFail.to_string()));

    // What the word of each server is worth.
    let worth = |server: SocketAddr, bogus: &str| {
        let mut settings = Settings::default();
        settings.set("dane", "auto").expect("a setting");
        settings.set("dane_resolver", &server.to_string()).expect("a setting");
        settings.set("dane_bogus_name", bogus).expect("a setting");
        examine(&settings, soon())
    };
    assert_eq!(worth(validator, "mx.broken.test"), Worth::Validates);
    assert_eq!(worth(validator, "mx.expired.test"), Worth::Validates);
    assert_eq!(worth(validator, "mx.ec.test").name(), "unfit");
    assert_eq!(worth(validator, "no.ec.test").name(), "unfit");
    // It has the zones, and does not validate.
    assert_eq!(worth(authority, "mx.broken.test").name(), "unfit");
}

fn named(name: &str) -> Domain {
    Domain::parse(name).expect("a name")
}

fn of(dns: &StubResolver, domain: &str, hosts: &[&str]) -> Facts {
    let hosts: Vec<Domain> = hosts.iter().map(|host| named(host)).collect();
    let domain = named(domain);
    let questions = async |servers: Servers| learn(&servers, &domain, &hosts).await;
    dns.together(Instant::now() + Duration::from_secs(10), questions)
        .expect("facts")
}

/// Name servers of unsigned zones often fail at TLSA: they are not asked (RFC 7672 2.1.1).
#[test]
fn no_tlsa_question_where_addresses_are_insecure() {
    let server = DnsServer::start(|asked| match asked.kind {
        RecordType::A => Reply::answers(vec![address(&asked.name, "192.0.2.1")]),
        RecordType::TLSA => Reply::code(ResponseCode::ServFail),
        _ => Reply::nodata(),
    });
    let dns = StubResolver::validating(server.address);
    let facts = of(&dns, "example.com", &["mx.example.com"]);
    assert_eq!(facts.hosts[0].1, HostRecords::Insecure);
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.dnssec), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.kind != RecordType::TLSA), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.kind != RecordType::CNAME), "{asked:?}");
}

/// One host that is silent or broken holds up no other, and two hosts cost no more time than one.
#[test]
fn a_host_waits_alone() {
    let server = DnsServer::start(|asked| {
        if asked.name.contains("silent") {
            return Reply::silence();
        }
        if asked.name.contains("broken") {
            return Reply::code(ResponseCode::ServFail);
        }
        std::thread::sleep(Duration::from_millis(5));
        match asked.kind {
            RecordType::A => Reply::answers(vec![address(&asked.name, "192.0.2.1")]).authentic(),
            RecordType::MX => Reply::answers(vec![
                mx(&asked.name, 10, "silent.example.com"),
                mx(&asked.name, 20, "broken.example.com"),
                mx(&asked.name, 30, "good.example.com"),
            ])
            .authentic(),
            _ => Reply::nodata(),
        }
    });
    let dns = StubResolver::validating(server.address);
    let begun = Instant::now();
    let facts = of(&dns, "example.com", &[]);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let unknown = |error: DnsError| HostRecords::Unknown(error.to_string());
    let learnt: Vec<_> = facts.hosts.iter().map(|(_, records)| records.clone()).collect();
    assert_eq!(
        learnt,
        [
            unknown(DnsError::Timeout),
            unknown(DnsError::ServFail),
            HostRecords::Absent
        ]
    );
    assert!(
        facts.life <= Duration::from_secs(5),
        "a failure is not kept: {:?}",
        facts.life
    );
}

/// Of a thousand MX hosts the first ones are looked up; no name is asked for twice.
#[test]
fn a_crowd_of_hosts_is_bounded() {
    let server = DnsServer::start(|asked| match asked.kind {
        RecordType::A => Reply::answers(vec![address(&asked.name, "192.0.2.1")]).authentic(),
        // They do not fit.
        RecordType::MX if !asked.tcp => Reply::truncated(),
        RecordType::MX => {
            let host = |n: u16| mx(&asked.name, n, &format!("mx{n}.example.com"));
            Reply::answers((0..1000).map(host).collect()).authentic()
        }
        _ => Reply::nodata(),
    });
    let facts = of(&StubResolver::validating(server.address), "example.com", &[]);
    assert_eq!(facts.hosts.len(), 1000);
    let known = facts
        .hosts
        .iter()
        .filter(|(_, records)| *records == HostRecords::Absent);
    assert_eq!(known.count(), 32);
    // A busy machine may be asked again.
    let asked: HashSet<_> = server
        .asked()
        .into_iter()
        .map(|asked| (asked.name, asked.kind, asked.tcp))
        .collect();
    assert!(asked.len() <= 2 + 32 * 3, "{}", asked.len());
}

/// Sets of hundreds of records over TCP, hosts with twenty addresses, aliases in capitals and to what is not a host name.
#[test]
fn answers_of_strangers_are_bounded() {
    let server = DnsServer::start(|asked| {
        let addresses = |name: &str| {
            (1..=20)
                .map(|n| address(name, &format!("192.0.2.{n}")))
                .collect::<Vec<_>>()
        };
        let led = |end: &str| [vec![cname(&asked.name, 60, end)], addresses(end)].concat();
        let reply = match (asked.name.as_str(), asked.kind) {
            (name, RecordType::TLSA) if name.starts_with("_25._tcp.many.") => {
                let records = (0..500).map(|n: u32| tlsa_of(&asked.name, &n.to_be_bytes().repeat(8)));
                match asked.tcp {
                    false => Reply::truncated(),
                    true => Reply::answers(records.collect()),
                }
            }
            ("_25._tcp.mx.example.net" | "_25._tcp.odd.example.com", RecordType::TLSA) => {
                Reply::answers(vec![tlsa(&asked.name)])
            }
            ("capitals.example.com", RecordType::A) => Reply::answers(led("MX.Example.NET")),
            ("odd.example.com", RecordType::A) => Reply::answers(led("a_b.example.net")),
            (name, RecordType::A) => Reply::answers(addresses(name)),
            _ => return Reply::nodata(),
        };
        reply.authentic()
    });
    let dns = StubResolver::validating(server.address);
    let base_of = |host: &str| match &of(&dns, "example.com", &[host]).hosts[0].1 {
        HostRecords::Records { base, records } => (base.to_string(), records.used().len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(base_of("many.example.com"), ("many.example.com".to_owned(), 500));
    assert_eq!(base_of("capitals.example.com"), ("mx.example.net".to_owned(), 1));
    assert_eq!(base_of("odd.example.com"), ("odd.example.com".to_owned(), 1));
    assert!(
        server.asked().iter().all(|asked| !asked.name.contains("a_b")),
        "{:?}",
        server.asked()
    );
    // So large a set is not kept in memory: the name server of this host has it.
    let resolver = resolver("trust", &server);
    let large = [MxName::from_mx("many.example.com")];
    for _ in 0..2 {
        let before = server.asked().len();
        resolver
            .hosts(&named("example.com"), &large, Duration::from_secs(10))
            .expect("hosts");
        assert!(server.asked().len() > before);
    }
}

/// Loops of aliases end, and a loop is no absence.
#[test]
fn a_loop_of_aliases_is_not_an_absence() {
    let server = DnsServer::start(|asked| match asked.name.as_str() {
        "a.example.com" => Reply::answers(vec![cname(&asked.name, 60, "b.example.com")]).authentic(),
        "b.example.com" => Reply::answers(vec![cname(&asked.name, 60, "a.example.com")]).authentic(),
        _ => Reply::nodata(),
    });
    let facts = of(
        &StubResolver::validating(server.address),
        "example.com",
        &["a.example.com"],
    );
    assert!(
        matches!(&facts.hosts[0].1, HostRecords::Unknown(why) if why.contains("loop")),
        "{facts:?}"
    );
}

/// A name server that says nothing costs the time that there is, and the hosts wait.
#[test]
fn silence_is_not_an_error_of_this_host() {
    let server = DnsServer::start(|_| Reply::silence());
    for (dane, worth) in [("trust", "trusted"), ("auto", "unknown")] {
        let (host, begun) = (MxName::from_mx("mx.example.com"), Instant::now());
        let asked = resolver(dane, &server).hosts(&named("example.com"), &[host], Duration::from_secs(1));
        let hosts = asked.expect("hosts");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert_eq!(hosts.worth().name(), worth);
        assert!(matches!(hosts.facts().expect("facts").routing, Routing::Unknown(_)));
    }
}

/// What the self-test of `dane = auto` says of name servers that do not do their part.
#[test]
fn a_resolver_that_does_not_validate_is_found_out() {
    let examined = |server: SocketAddr| {
        let mut settings = Settings::default();
        settings.set("dane", "auto").expect("a setting");
        settings.set("dane_resolver", &server.to_string()).expect("a setting");
        examine(&settings, Instant::now() + Duration::from_secs(10))
    };
    let named = |asked: &mtasts_kit::dns_server::Asked| match asked.kind {
        RecordType::NS => ns_of_root(),
        _ => Reply::answers(vec![address(&asked.name, "192.0.2.1")]),
    };
    let everything = DnsServer::start(move |asked| named(asked).authentic());
    let worth = examined(everything.address);
    assert!(
        worth.to_string().starts_with("it answers for dnssec-failed.org"),
        "{worth}"
    );
    let nothing = DnsServer::start(named);
    let worth = examined(nothing.address);
    assert!(worth.to_string().starts_with("it says of no answer"), "{worth}");
    let good = DnsServer::start(|asked| match asked.kind {
        RecordType::NS => ns_of_root().authentic(),
        _ => Reply::code(ResponseCode::ServFail),
    });
    assert_eq!(examined(good.address), Worth::Validates);
    // Silence and a resolver that is cut off prove nothing, either way.
    let silent = DnsServer::start(|_| Reply::silence());
    assert_eq!(examined(silent.address).name(), "unknown");
    let cut_off = DnsServer::start(|_| Reply::code(ResponseCode::ServFail));
    assert_eq!(examined(cut_off.address).name(), "unknown");
    // Nobody there, which is known at once: mail and `mtasts check` wait for it. And nobody there for TCP after a truncated
    // answer.
    let begun = Instant::now();
    assert_eq!(examined(DnsServer::closed()).name(), "absent");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let worth = examined(truncating());
    assert_eq!(worth.name(), "unfit", "{worth}");
}

fn ns_of_root() -> Reply {
    use hickory_resolver::proto::rr::{RData, rdata::NS};
    use mtasts_kit::dns_server::{name, record};
    Reply::answers(vec![record(".", 60, RData::NS(NS(name("a.root.example"))))])
}

/// A name server that truncates each answer, and nothing listens for TCP.
fn truncating() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut message) {
            // QR and TC.
            message[2] |= 0x82;
            let _ = socket.send_to(&message[..length], from);
        }
    });
    address
}

/// A resolver whose one name server for DANE is this one.
fn resolver(dane: &str, server: &DnsServer) -> Resolver {
    let mut settings = Settings {
        cache_dir: None,
        ..Settings::default()
    };
    for (key, value) in [
        ("dane", dane),
        ("dane_resolver", &server.address.to_string()),
        ("user", "nobody"),
    ] {
        settings.set(key, value).expect(key);
    }
    Resolver::new(settings)
}

/// A cold domain costs the round trip for the addresses, which the mail server makes as well, and one more; a domain that is
/// remembered costs nothing. This runs as root, and a child of it asks.
#[test]
fn a_cold_domain_costs_one_more_round_trip() {
    let server = DnsServer::start(|asked| match asked.kind {
        RecordType::A => Reply::answers(vec![address(&asked.name, "192.0.2.1")]).authentic(),
        RecordType::MX => Reply::answers(vec![mx(&asked.name, 10, "mx.example.com")]).authentic(),
        RecordType::TLSA => Reply::answers(vec![tlsa(&asked.name)]).authentic(),
        _ => Reply::nodata(),
    });
    let (domain, hosts) = (named("example.com"), [MxName::from_mx("MX.example.com.")]);
    let off = resolver("off", &server);
    assert_eq!(
        *off.hosts(&domain, &hosts, Duration::from_secs(10))
            .expect("hosts")
            .worth(),
        Worth::Off
    );
    assert!(server.asked().is_empty(), "{:?}", server.asked());

    let trusting = resolver("trust", &server);
    let ask = || trusting.hosts(&domain, &hosts, Duration::from_secs(10)).expect("hosts");
    let found = ask();
    assert_eq!(
        found.facts().expect("facts").routing,
        Routing::Secure(vec![named("mx.example.com")])
    );
    assert!(matches!(
        found.facts().expect("facts").hosts[0].1,
        HostRecords::Records { .. }
    ));
    let asked: Vec<_> = server.asked().into_iter().map(|asked| asked.kind).collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked[3], RecordType::TLSA, "{asked:?}");
    assert_eq!(ask(), found);
    assert_eq!(server.asked().len(), 4);
    // Another host of the same domain is another question.
    let more = [hosts[0].clone(), MxName::from_mx("mx2.example.com")];
    trusting.hosts(&domain, &more, Duration::from_secs(10)).expect("hosts");
    assert_eq!(server.asked().len(), 11);
}

fn tlsa(owner: &str) -> hickory_resolver::proto::rr::Record {
    tlsa_of(owner, &[7; 32])
}

fn tlsa_of(owner: &str, digest: &[u8]) -> hickory_resolver::proto::rr::Record {
    use hickory_resolver::proto::rr::{RData, rdata::TLSA};
    let data = TLSA::new(3.into(), 1.into(), 1.into(), digest.to_vec());
    mtasts_kit::dns_server::record(owner, 60, RData::TLSA(data))
}

/// The self-test goes with the first question, and not with each; and a host that does not validate has no DANE.
#[test]
fn the_self_test_is_made_once() {
    for validates in [true, false] {
        let server = DnsServer::start(move |asked| {
            let reply = match (asked.name.as_str(), asked.kind) {
                ("dnssec-failed.org", _) => return Reply::code(ResponseCode::ServFail),
                (_, RecordType::A) => Reply::answers(vec![address(&asked.name, "192.0.2.1")]),
                (_, RecordType::NS) => ns_of_root(),
                (_, RecordType::TLSA) => Reply::answers(vec![tlsa(&asked.name)]),
                _ => Reply::nodata(),
            };
            if validates { reply.authentic() } else { reply }
        });
        let (resolver, patience) = (resolver("auto", &server), Duration::from_secs(10));
        for domain in ["a.example.com", "b.example.com"] {
            let hosts = resolver.hosts(&named(domain), &[], patience).expect("hosts");
            assert_eq!(hosts.worth().name(), if validates { "validates" } else { "unfit" });
        }
        let tests = server.asked().into_iter().filter(|asked| asked.kind == RecordType::NS);
        assert_eq!(tests.count(), 1);
    }
}

/// A cold domain at a validator that is 50 ms away from all name servers: beside the questions that the mail server asks
/// anyway, the TLSA question alone takes time. (With QNAME minimisation, RFC 9156, the validator asks about labels before it.)
#[test]
fn a_cold_domain_costs_one_more_round_trip_at_50_ms() {
    const AWAY: Duration = Duration::from_millis(50);
    let signed = zones();
    let (_authority, authority) = signed.authority();
    let far = far_away(authority, AWAY);
    // The best of some runs: the machine may be busy.
    let runs = (0..10).map(|_| {
        let (_unbound, unbound) = signed.unbound(far, "qname-minimisation: no");
        let (dns, soon) = (StubResolver::validating(unbound), || {
            Instant::now() + Duration::from_secs(10)
        });
        answers(&dns);
        // The keys of each zone are known, as those of a domain that gets mail; its hosts are not.
        for zone in ["rsa.test", "optout.test"] {
            let _ = dns.addresses(&format!("other.{zone}"), soon());
        }
        let mail_server = |zone: &str, dane: &dyn Fn()| {
            let begun = Instant::now();
            dns.mx(&named(zone), soon()).expect("MX records");
            dane();
            dns.addresses(&format!("mx.{zone}"), soon()).expect("addresses");
            begun.elapsed()
        };
        let learn = || {
            let facts = of(&dns, "optout.test", &["mx.optout.test"]);
            assert!(matches!(facts.hosts[0].1, HostRecords::Records { .. }), "{facts:?}");
        };
        let without = mail_server("rsa.test", &|| {});
        let with = mail_server("optout.test", &learn);
        println!("{AWAY:?} away: {without:?} without DANE, {with:?} with");
        (without, with)
    });
    let (without, with): (Vec<_>, Vec<_>) = runs.unzip();
    let (without, with) = (
        without.into_iter().min().expect("runs"),
        with.into_iter().min().expect("runs"),
    );
    assert!(
        without >= AWAY * 2 && with < without + AWAY * 19 / 10,
        "{without:?} {with:?}"
    );
}

/// A way to a name server that takes that long, there and back.
fn far_away(server: SocketAddr, away: Duration) -> SocketAddr {
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = front.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok((length, from)) = front.recv_from(&mut message) {
            let (question, front) = (message[..length].to_vec(), front.try_clone().expect("a socket"));
            std::thread::spawn(move || {
                std::thread::sleep(away);
                let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
                back.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
                let mut answer = [0; 65_535];
                let asked = back.send_to(&question, server).and_then(|_| back.recv(&mut answer));
                if let Ok(length) = asked {
                    let _ = front.send_to(&answer[..length], from);
                }
            });
        }
    });
    address
}

/// With `dane = off` each octet of the questions is as if there were no such setting, and there is no DO bit.
#[test]
fn off_changes_no_octet_of_what_is_asked() {
    let asked_by = |settings: &[(&str, &str)]| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        // The first question comes when it comes.
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        let server = socket.local_addr().expect("an address").to_string();
        let questions = std::thread::spawn(move || {
            let (mut all, mut ids, mut message) = (Vec::new(), Vec::new(), [0; 512]);
            while let Ok((length, from)) = socket.recv_from(&mut message) {
                // Without the identifier, which is random. What is sent again has the same.
                if !ids.contains(&[message[0], message[1]]) {
                    ids.push([message[0], message[1]]);
                    all.push(message[2..length].to_vec());
                }
                socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
                // QR, and NXDOMAIN.
                message[2] |= 0x80;
                message[3] = 3;
                let _ = socket.send_to(&message[..length], from);
            }
            all
        });
        let mut wanted = Settings {
            cache_dir: None,
            ..Settings::default()
        };
        for (key, value) in [("nameservers", server.as_str()), ("user", "nobody")]
            .iter()
            .chain(settings)
        {
            wanted.set(key, value).expect(key);
        }
        let resolver = Resolver::new(wanted);
        resolver
            .lookup("example.com", Duration::from_secs(2))
            .expect("an answer");
        let hosts = [MxName::from_mx("mx.example.com")];
        resolver
            .hosts(&named("example.com"), &hosts, Duration::from_secs(2))
            .expect("hosts");
        questions.join().expect("the questions")
    };
    let default = asked_by(&[]);
    assert_eq!(default.len(), 1, "{default:?}");
    let off = asked_by(&[
        ("dane", "off"),
        ("dane_resolver", "127.0.0.1:9"),
        ("dane_bogus_name", "bogus.example"),
    ]);
    assert_eq!(off, default);
    // RD, one question, EDNS (RFC 6891 6.1.2): the flags of the OPT record are its seventh and eighth octet.
    let message = &default[0];
    assert_eq!(&message[..10], [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let question = b"\x08_mta-sts\x07example\x03com\0\0\x10\0\x01";
    assert_eq!(&message[10..10 + question.len()], question);
    let opt = &message[10 + question.len()..];
    assert_eq!((&opt[..3], &opt[7..9]), (&[0, 0, 41][..], &[0, 0][..]), "{opt:?}");
}
