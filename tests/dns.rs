//! The resolver against name servers on real sockets.

use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use mtasts::network::dns::{Answered, Dns, DnsError, Mx, StubResolver};
use mtasts::{Domain, Resolver, Settings, Unavailable};
use mtasts_kit::dns_server::{Asked, DnsServer, Reply, address, cname, mx, txt};
use mtasts_kit::{Child, give_up_root, until};

const RECORD: &[u8] = b"v=STSv1; id=20260101T000000;";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn server(zone: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (DnsServer, StubResolver) {
    let server = DnsServer::start(zone);
    let resolver = StubResolver::with_servers(&[server.address]);
    (server, resolver)
}

/// What one name server's reply to any question becomes.
fn txt_of(reply: Reply) -> Result<Answered<Vec<Vec<u8>>>, DnsError> {
    let (_server, resolver) = server(move |_| reply.clone());
    resolver.txt("_mta-sts.example.com", soon())
}

fn records(records: &[&[u8]], ttl: u64) -> Result<Answered<Vec<Vec<u8>>>, DnsError> {
    Ok(Answered {
        data: records.iter().map(|r| r.to_vec()).collect(),
        ttl: Duration::from_secs(ttl),
        authenticated: false,
    })
}

#[test]
fn strings_are_joined_and_records_are_not() {
    let owner = "_mta-sts.example.com";
    let reply = Reply::answers(vec![
        txt(owner, 300, &[b"v=STSv1; id=", b"2026", b"", b"0101;"]),
        txt(owner, 200, &[b"foreign \xff\x00\x80 bytes"]),
        txt(owner, 400, &[b""]),
        txt("_mta-sts.example.net", 1, &[b"not asked for"]),
    ]);
    assert_eq!(
        txt_of(reply),
        records(&[b"v=STSv1; id=20260101;", b"foreign \xff\x00\x80 bytes", b""], 200)
    );
}

#[test]
fn the_question_is_absolute_and_plain() {
    let (server, resolver) = server(|asked| Reply::answers(vec![txt(&asked.name, 60, &[RECORD])]));
    resolver.txt("_mta-sts.Example.com", soon()).expect("an answer");
    resolver.txt("_mta-sts.localhost", soon()).expect("no name is special");
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(
        (asked[0].name.as_str(), asked[0].kind),
        ("_mta-sts.example.com", RecordType::TXT)
    );
    assert!(asked[0].edns && !asked[0].dnssec && !asked[0].tcp, "{asked:?}");
    assert_ne!((asked[0].id, asked[0].from), (asked[1].id, asked[1].from));
}

#[test]
fn absence_and_failure_are_told_apart() {
    for (reply, error, absence) in [
        (Reply::nxdomain(), DnsError::NxDomain, true),
        (Reply::nodata(), DnsError::NoData, true),
        // Without an SOA record it is the same (RFC 2308 2.2).
        (Reply::code(ResponseCode::NXDomain), DnsError::NxDomain, true),
        (Reply::code(ResponseCode::NoError), DnsError::NoData, true),
        (Reply::code(ResponseCode::ServFail), DnsError::ServFail, false),
        (Reply::code(ResponseCode::Refused), DnsError::Refused, false),
        // Only records of other names or types.
        (
            Reply::answers(vec![address("_mta-sts.example.com", "192.0.2.1")]),
            DnsError::NoData,
            true,
        ),
        (
            Reply::answers(vec![txt("other.example", 60, &[RECORD])]),
            DnsError::NoData,
            true,
        ),
    ] {
        let result = txt_of(reply.clone()).expect_err("no records");
        assert_eq!(result, error, "{reply:?}");
        assert_eq!(result.is_absence(), absence, "{reply:?}");
    }
}

#[test]
fn what_proves_nothing_is_no_absence() {
    for (reply, words) in [
        (Reply::referral(), "only refers to other name servers"),
        (Reply::code(ResponseCode::NotImp), "error 4"),
        (Reply::code(ResponseCode::FormErr), "error 1"),
        (Reply::code(ResponseCode::Unknown(12)), "error 12"),
        (Reply::bytes(b"no DNS"), "no name server answered in time"),
    ] {
        let (_server, resolver) = server(move |_| reply.clone());
        let error = resolver
            .txt("_mta-sts.example.com", Instant::now() + Duration::from_secs(5))
            .expect_err(words);
        assert!(
            !error.is_absence() && error.to_string().contains(words),
            "{words}: {error}"
        );
    }
}

#[test]
fn a_server_without_edns_is_asked_without() {
    let (server, resolver) = server(|asked| match asked.edns {
        true => Reply::code(ResponseCode::FormErr),
        false => Reply::answers(vec![txt(&asked.name, 60, &[RECORD])]),
    });
    assert_eq!(resolver.txt("_mta-sts.example.com", soon()), records(&[RECORD], 60));
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn an_answer_with_another_id_is_not_listened_to() {
    let reply = Reply::answers(vec![txt("_mta-sts.example.com", 60, &[RECORD])]).with_wrong_id();
    let (_server, resolver) = server(move |_| reply.clone());
    let result = resolver.txt("_mta-sts.example.com", Instant::now() + Duration::from_millis(700));
    assert_eq!(result, Err(DnsError::Timeout));
}

/// Aliases of RFC 8461 3.1, in one answer or in several, with the smallest TTL of the chain.
#[test]
fn aliases_are_followed() {
    let whole = Reply::answers(vec![
        cname("_mta-sts.example.com", 300, "one.example.net"),
        cname("one.example.net", 30, "two.example.org"),
        txt("two.example.org", 3600, &[RECORD]),
    ]);
    assert_eq!(txt_of(whole), records(&[RECORD], 30));
    // The order in the answer is the server's own affair.
    let shuffled = Reply::answers(vec![
        txt("TWO.example.org", 20, &[RECORD]),
        cname("one.example.net", 30, "two.example.org"),
        cname("_mta-sts.example.com", 300, "ONE.example.net"),
    ]);
    assert_eq!(txt_of(shuffled), records(&[RECORD], 20));
    let (server, resolver) = server(|asked| match asked.name.as_str() {
        "_mta-sts.example.com" => Reply::answers(vec![cname(&asked.name, 300, "one.example.net")]),
        "one.example.net" => Reply::answers(vec![cname(&asked.name, 30, "two.example.org")]),
        _ => Reply::answers(vec![txt(&asked.name, 3600, &[RECORD])]),
    });
    assert_eq!(resolver.txt("_mta-sts.example.com", soon()), records(&[RECORD], 30));
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn the_end_of_a_chain_is_told() {
    let alias = || vec![cname("_mta-sts.example.com", 300, "one.example.net")];
    for (end, error) in [
        (Reply::nxdomain(), DnsError::NxDomain),
        (Reply::nodata(), DnsError::NoData),
        (Reply::code(ResponseCode::ServFail), DnsError::ServFail),
        (Reply::code(ResponseCode::Refused), DnsError::Refused),
    ] {
        // In one answer: only its code speaks of the end (RFC 6604 3).
        if error.is_absence() {
            assert_eq!(txt_of(end.clone().after(alias())), Err(error.clone()));
        }
        let (_server, resolver) = server(move |asked| match asked.name.as_str() {
            "_mta-sts.example.com" => Reply::answers(alias()),
            _ => end.clone(),
        });
        assert_eq!(resolver.txt("_mta-sts.example.com", soon()), Err(error));
    }
}

#[test]
fn chains_end() {
    let chain = |length: usize| {
        server(move |asked| {
            let step: usize = asked
                .name
                .split('.')
                .next()
                .and_then(|n| n.strip_prefix('n')?.parse().ok())
                .unwrap_or(0);
            match step < length {
                true => Reply::answers(vec![cname(&asked.name, 60, &format!("n{}.example", step + 1))]),
                false => Reply::answers(vec![txt(&asked.name, 60, &[RECORD])]),
            }
        })
    };
    let (_server, resolver) = chain(8);
    assert_eq!(resolver.txt("_mta-sts.example.com", soon()), records(&[RECORD], 60));
    let (server_9, resolver) = chain(9);
    let error = resolver.txt("_mta-sts.example.com", soon()).expect_err("too long");
    assert!(!error.is_absence() && error.to_string().contains("aliases"), "{error}");
    assert_eq!(server_9.asked().len(), 9);

    // What the answer has at hand costs no question: a resolver that follows aliases gives them all at once.
    let at_once = |length: usize| {
        let mut answers = vec![cname("_mta-sts.example.com", 60, "n1.example")];
        answers.extend((1..length).map(|n| cname(&format!("n{n}.example"), 60, &format!("n{}.example", n + 1))));
        answers.push(txt(&format!("n{length}.example"), 60, &[RECORD]));
        txt_of(Reply::answers(answers))
    };
    for length in [9, 16] {
        assert_eq!(at_once(length), records(&[RECORD], 60), "{length} aliases");
    }
    assert!(at_once(17).is_err_and(|e| e.to_string().contains("aliases")));

    let (loop_server, resolver) = server(|asked| {
        let other = if asked.name == "a.example" {
            "b.example"
        } else {
            "a.example"
        };
        Reply::answers(vec![cname(&asked.name, 60, other), cname(other, 60, &asked.name)])
    });
    let error = resolver.txt("a.example", soon()).expect_err("a loop");
    assert!(!error.is_absence() && error.to_string().contains("loop"), "{error}");
    assert_eq!(loop_server.asked().len(), 1);
    // An alias of itself.
    let error = txt_of(Reply::answers(vec![cname(
        "_mta-sts.example.com",
        60,
        "_mta-sts.example.com",
    )]));
    assert!(error.is_err_and(|e| e.to_string().contains("loop")));
}

#[test]
fn a_truncated_answer_is_asked_again_over_tcp() {
    let (server, resolver) = server(|asked| match asked.tcp {
        false => Reply::truncated(),
        true => Reply::answers(
            (0..200)
                .map(|n| txt(&asked.name, 60, &[format!("record {n}").as_bytes()]))
                .collect(),
        ),
    });
    let found = resolver.txt("_mta-sts.example.com", soon()).expect("an answer");
    assert_eq!(found.data.len(), 200);
    assert_eq!(server.asked().iter().map(|a| a.tcp).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_dead_server_gives_the_word_to_the_next() {
    let good = DnsServer::start(|asked| Reply::answers(vec![txt(&asked.name, 60, &[RECORD])]));
    let silent = DnsServer::start(|_| Reply::silence());
    let failing = DnsServer::start(|_| Reply::code(ResponseCode::ServFail));
    let refusing = DnsServer::start(|_| Reply::code(ResponseCode::Refused));
    let referring = DnsServer::start(|_| Reply::referral());
    for (first, at_most) in [
        (DnsServer::closed(), Duration::from_millis(2500)),
        (failing.address, Duration::from_millis(900)),
        (refusing.address, Duration::from_millis(900)),
        (referring.address, Duration::from_millis(900)),
        (silent.address, Duration::from_millis(2500)),
    ] {
        // The best of some tries: the machine may be busy.
        let is_in_time = (0..5).any(|_| {
            let start = Instant::now();
            let resolver = StubResolver::with_servers(&[first, good.address]);
            let found = resolver.txt("_mta-sts.example.com", soon());
            assert_eq!(found, records(&[RECORD], 60), "{first}");
            start.elapsed() < at_most
        });
        assert!(is_in_time, "{first}: never within {at_most:?}");
    }
    // An answer is an answer: the next server is not asked for a better one.
    let absent = DnsServer::start(|_| Reply::nxdomain());
    let before = good.asked().len();
    let resolver = StubResolver::with_servers(&[absent.address, good.address]);
    assert_eq!(resolver.txt("_mta-sts.example.com", soon()), Err(DnsError::NxDomain));
    assert_eq!(good.asked().len(), before);
}

#[test]
fn the_failure_that_tells_most_is_told() {
    let failing = DnsServer::start(|_| Reply::code(ResponseCode::ServFail));
    let refusing = DnsServer::start(|_| Reply::code(ResponseCode::Refused));
    let silent = DnsServer::start(|_| Reply::silence());
    for (servers, error) in [
        ([failing.address, refusing.address], "(SERVFAIL)"),
        ([refusing.address, failing.address], "(SERVFAIL)"),
        ([silent.address, refusing.address], "(REFUSED)"),
        ([refusing.address, silent.address], "(REFUSED)"),
        ([silent.address, DnsServer::closed()], "in time"),
        // The system refuses at once to send to the broadcast address.
        (
            ["255.255.255.255:53".parse().expect("an address"), silent.address],
            "cannot be reached",
        ),
    ] {
        let deadline = Instant::now() + Duration::from_secs(4);
        let result = StubResolver::with_servers(&servers)
            .txt("_mta-sts.example.com", deadline)
            .expect_err(error);
        assert!(result.to_string().contains(error), "{servers:?}: {result}");
        assert!(!result.is_absence());
    }
    let error = StubResolver::with_servers(&[])
        .txt("_mta-sts.example.com", soon())
        .expect_err("no server");
    assert_eq!(error.to_string(), "no name server is configured");
}

#[test]
fn a_late_answer_of_the_first_server_still_counts() {
    let late = DnsServer::start(|asked| {
        std::thread::sleep(Duration::from_millis(1600));
        Reply::answers(vec![txt(&asked.name, 60, &[RECORD])])
    });
    let silent = DnsServer::start(|_| Reply::silence());
    let resolver = StubResolver::with_servers(&[late.address, silent.address]);
    assert_eq!(resolver.txt("_mta-sts.example.com", soon()), records(&[RECORD], 60));
    assert!(!silent.asked().is_empty());
}

#[test]
fn the_deadline_holds() {
    let silent = DnsServer::start(|_| Reply::silence());
    let silent_tcp = DnsServer::start(|asked| {
        if asked.tcp {
            Reply::silence()
        } else {
            Reply::truncated()
        }
    });
    for servers in [
        &[silent.address][..],
        &[silent.address, silent.address],
        &[silent_tcp.address],
    ] {
        let resolver = StubResolver::with_servers(servers);
        let start = Instant::now();
        let deadline = start + Duration::from_secs(2);
        assert_eq!(resolver.txt("_mta-sts.example.com", deadline), Err(DnsError::Timeout));
        assert!(start.elapsed() >= Duration::from_millis(1950), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        until("it is sent again", || {
            silent_tcp.address == servers[0] || silent.received().len() >= 2
        });
    }
    let start = Instant::now();
    let resolver = StubResolver::with_servers(&[silent.address]);
    assert_eq!(resolver.txt("_mta-sts.example.com", start), Err(DnsError::Timeout));
    assert_eq!(resolver.addresses("mta-sts.example.com", start), Err(DnsError::Timeout));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

fn ips(texts: &[&str]) -> Result<Vec<std::net::IpAddr>, DnsError> {
    Ok(texts.iter().map(|t| t.parse().expect(t)).collect())
}

#[test]
fn both_families_are_asked() {
    let (_server, resolver) = server(|asked| match asked.kind {
        RecordType::A => {
            let alias = cname(&asked.name, 60, "host.example.net");
            Reply::answers(vec![
                alias,
                address("host.example.net", "192.0.2.1"),
                address("host.example.net", "192.0.2.2"),
            ])
        }
        _ => Reply::answers(vec![address(&asked.name, "2001:db8::1")]),
    });
    assert_eq!(
        resolver
            .addresses("mta-sts.example.com", soon())
            .map(|found| found.data),
        ips(&["2001:db8::1", "192.0.2.1", "192.0.2.2"])
    );
}

#[test]
fn one_family_is_enough() {
    for (other, at_most) in [
        (Reply::nodata(), Duration::from_millis(900)),
        // A name server that denies the name for a type it does not know (RFC 4074 4.2).
        (Reply::nxdomain(), Duration::from_millis(900)),
        (Reply::code(ResponseCode::ServFail), Duration::from_millis(900)),
        (Reply::silence(), Duration::from_millis(2500)),
    ] {
        let (_server, resolver) = server(move |asked| match asked.kind {
            RecordType::A => Reply::answers(vec![address(&asked.name, "192.0.2.1")]),
            _ => other.clone(),
        });
        let is_in_time = (0..5).any(|_| {
            let start = Instant::now();
            let found = resolver.addresses("mta-sts.example.com", soon());
            assert_eq!(found.map(|found| found.data), ips(&["192.0.2.1"]));
            start.elapsed() < at_most
        });
        assert!(is_in_time, "never within {at_most:?}");
    }
}

#[test]
fn a_host_is_absent_only_if_both_families_are() {
    let failure = |code| Reply::code(code);
    for (aaaa, a, error) in [
        (Reply::nodata(), Reply::nodata(), DnsError::NoData),
        (Reply::nxdomain(), Reply::nxdomain(), DnsError::NxDomain),
        (Reply::nodata(), failure(ResponseCode::ServFail), DnsError::ServFail),
        (failure(ResponseCode::ServFail), Reply::nodata(), DnsError::ServFail),
        (Reply::nodata(), failure(ResponseCode::Refused), DnsError::Refused),
        (Reply::nodata(), Reply::silence(), DnsError::Timeout),
    ] {
        let (_server, resolver) = server(move |asked| {
            if asked.kind == RecordType::A {
                a.clone()
            } else {
                aaaa.clone()
            }
        });
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(resolver.addresses("mta-sts.example.com", deadline), Err(error));
    }
}

#[test]
fn mx_records_come_in_their_order() {
    let (_server, resolver) = server(|asked| match asked.name.as_str() {
        "null.example" => Reply::answers(vec![mx("null.example", 0, ".")]),
        name => Reply::answers(vec![
            mx(name, 20, "b.example"),
            mx(name, 10, "MX.example"),
            mx(name, 20, "a.example"),
        ]),
    });
    let asked = |domain: &str| {
        let records = resolver
            .mx(&Domain::parse(domain).expect(domain), soon())
            .expect("records");
        records
            .data
            .into_iter()
            .map(|Mx { preference, exchange }| format!("{preference} {exchange}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked("example.com"), ["10 mx.example", "20 a.example", "20 b.example"]);
    assert_eq!(asked("null.example"), ["0 ."]);
}

/// `/etc/resolv.conf` is read for each question: a laptop moves, a daemon stays.
#[test]
fn the_servers_of_the_system_are_asked() {
    // SAFETY: no memory is involved; the call concerns the calling thread alone.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    assert_eq!(
        result,
        0,
        "namespaces (root is needed): {}",
        std::io::Error::last_os_error()
    );
    let file = std::env::temp_dir().join(format!("mtasts-resolv-{}.conf", std::process::id()));
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    write("");
    let target = std::fs::canonicalize("/etc/resolv.conf").expect("/etc/resolv.conf");
    for (program, arguments) in [
        ("ip", &["link", "set", "lo", "up"].map(std::ffi::OsStr::new)[..]),
        ("mount", &["--make-rprivate", "/"].map(std::ffi::OsStr::new)),
        ("mount", &["--bind".as_ref(), file.as_os_str(), target.as_os_str()]),
    ] {
        let status = std::process::Command::new(program)
            .args(arguments)
            .status()
            .expect(program);
        assert!(status.success(), "{program} {arguments:?}");
    }
    let resolver = StubResolver::system();
    let asked = || resolver.txt("_mta-sts.example.com", soon()).map(|txt| txt.data);
    for ip in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        DnsServer::start_at(ip, move |asked| {
            Reply::answers(vec![txt(&asked.name, 60, &[ip.as_bytes()])])
        });
    }
    assert_eq!(
        asked(),
        Ok(vec![b"127.0.0.1".to_vec()]),
        "without any, the one on this host"
    );
    write("search example.net\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n");
    assert_eq!(asked(), Ok(vec![b"127.0.0.2".to_vec()]));
    write("nameserver 127.0.0.3\n");
    assert_eq!(asked(), Ok(vec![b"127.0.0.3".to_vec()]));
    std::fs::remove_file(&file).expect("the file");
}

/// DNS runs on the thread that it is given, and a lookup starts one: a user whose limit of processes is used up gets an
/// error, nobody is asked, and the process lives on.
#[test]
fn a_lookup_starts_a_thread_and_a_question_does_not() {
    let (server, resolver) = server(|asked| Reply::answers(vec![txt(&asked.name, 60, &[RECORD])]));
    let mut settings = Settings {
        nameservers: vec![server.address],
        ..Settings::default()
    };
    settings.set("cache_dir", "").expect("memory alone");
    let child = Child::start(|| {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a valid pointer.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) }, 0);
        give_up_root();
        let domain = Domain::parse("lookup.example").expect("a name");
        let result = Resolver::new(settings).lookup(&domain, Duration::from_secs(20));
        let told = matches!(&result, Err(Unavailable::Thread(words)) if words.starts_with("cannot start a thread"));
        assert!(told, "{result:?}");
        resolver
            .txt("_mta-sts.example.com", soon())
            .expect("no thread is needed");
    });
    child.ends_well(Duration::from_secs(20));
    let asked: Vec<String> = server.asked().into_iter().map(|asked| asked.name).collect();
    assert_eq!(asked, ["_mta-sts.example.com"]);
    resolver
        .txt("_mta-sts.example.com", soon())
        .expect("the parent is as it was");
}

/// The AD bit of the name servers is passed on, and one answer without it on the way takes it away.
#[test]
fn an_answer_is_authenticated_if_every_answer_on_the_way_is() {
    let (_server, resolver) = server(|asked| {
        let owner = asked.name.as_str();
        let records = match (owner, asked.kind) {
            ("alias.example" | "half.example", _) => vec![cname(owner, 60, "elsewhere.example")],
            (_, RecordType::TXT) => vec![txt(owner, 60, &[RECORD])],
            (_, RecordType::MX) => vec![mx(owner, 10, "mx.example")],
            (_, RecordType::A) => vec![address(owner, "192.0.2.1")],
            _ => vec![address(owner, "2001:db8::1")],
        };
        let is_authentic = match owner {
            "none.example" | "half.example" => false,
            "v4.example" => asked.kind == RecordType::A,
            _ => true,
        };
        let reply = Reply::answers(records);
        if is_authentic { reply.authentic() } else { reply }
    });
    let txt = |name| resolver.txt(name, soon()).expect("a record").authenticated;
    assert!(txt("good.example") && txt("alias.example"));
    assert!(!txt("none.example") && !txt("half.example"));
    let addresses = |name| resolver.addresses(name, soon()).expect("addresses").authenticated;
    assert!(addresses("good.example") && !addresses("v4.example"));
    let mx = |name| {
        resolver
            .mx(&Domain::parse(name).expect(name), soon())
            .expect("records")
            .authenticated
    };
    assert!(mx("good.example") && !mx("none.example"));
}
