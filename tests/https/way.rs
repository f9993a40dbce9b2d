//! The way to a policy host: proxies, names, certificates, addresses.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::ResultType;
use mtasts::network::addresses::Rule;
use mtasts::network::dns::StubResolver;
use mtasts::network::https::{FetchError, Https, PolicyHost};
use mtasts_kit::dns_server::{DnsServer, Reply, address, cname};
use mtasts_kit::pki::{host, root, roots, self_signed_host};
use mtasts_kit::policy_server::{BlackHole, PolicyServer, Stream, add_address, isolate};
use rcgen::{DnType, date_time_ymd};

use super::world::{HOST, POLICY, World, answer, dns_of_one, domain, policy_answer};

#[test]
fn proxies_of_the_environment_are_not_used() {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "answers::a_policy_is_fetched"]);
    for name in [
        "https_proxy",
        "HTTPS_PROXY",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env(name, "http://127.0.0.1:9");
    }
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_certificate_has_to_be_good() {
    let world = World::new(&["8.8.8.1"]);
    let stranger = root("Stranger");
    let authority = &world.authority;
    let of = |names: &[&str]| host(names, authority, |_| {});
    for (certificate, words) in [
        (
            of(&["www.example.com"]),
            Some("the certificate names www.example.com, not mta-sts.example.com"),
        ),
        (of(&["example.com"]), Some("the certificate names example.com, not")),
        (
            of(&["m*.example.com"]),
            Some("the certificate names no host in its subjectAltName"),
        ),
        (
            of(&["*.com"]),
            Some("the certificate names no host in its subjectAltName"),
        ),
        (of(&["*.mta-sts.example.com"]), Some("not mta-sts.example.com")),
        (
            host(&[], authority, |p| p.distinguished_name.push(DnType::CommonName, HOST)),
            Some("the certificate names no host"),
        ),
        (
            host(&[HOST], authority, |p| p.not_after = date_time_ymd(2024, 2, 29)),
            Some("expired on 2024-02-29"),
        ),
        (
            host(&[HOST], authority, |p| p.not_before = date_time_ymd(2099, 1, 1)),
            Some("not valid before 2099-01-01"),
        ),
        (self_signed_host(&[HOST]), Some("self-signed")),
        (
            host(&[HOST], &stranger, |_| {}),
            Some("issued by an unknown CA: CN=Stranger"),
        ),
        (of(&["*.example.com"]), None),
        (of(&["other.example.net", "MTA-STS.Example.com"]), None),
    ] {
        isolate(&["8.8.8.1"]);
        let world = World {
            authority: root("unused"),
            dns: dns_of_one(),
        };
        let server = PolicyServer::says("8.8.8.1", &certificate, policy_answer());
        let roots = Arc::new(roots(&[authority]));
        let dns = Arc::new(StubResolver::with_servers(&[world.dns.address]));
        let policy_host = PolicyHost::new(dns, Arc::new(move || Ok(Arc::clone(&roots))), Rule::default());
        let result = policy_host.get(&domain(), Instant::now() + Duration::from_secs(20));
        match words {
            None => assert_eq!(result.as_deref(), Ok(POLICY.as_bytes())),
            Some(words) => {
                let error = result.expect_err(words);
                assert_eq!(error.result(), Some(ResultType::StsWebpkiInvalid), "{error}");
                assert!(error.detail().contains(words), "{words}: {error}");
                assert!(error.detail().starts_with("mta-sts.example.com [8.8.8.1]: "), "{error}");
                assert!(server.requests().is_empty());
            }
        }
    }
}

/// The name of the host that an alias leads to is nobody's proof (RFC 9525 6.1.1).
#[test]
fn an_alias_changes_no_name() {
    for (names, good) in [(&["policies.example.net"][..], false), (&[HOST], true)] {
        isolate(&["8.8.8.1"]);
        let dns = DnsServer::start(|asked| match asked.kind {
            RecordType::A => {
                let alias = cname(&asked.name, 60, "policies.example.net");
                Reply::answers(vec![alias, address("policies.example.net", "8.8.8.1")])
            }
            _ => Reply::nodata().after(vec![cname(&asked.name, 60, "policies.example.net")]),
        });
        let world = World {
            authority: root("Test Root"),
            dns,
        };
        let certificate = host(names, &world.authority, |_| {});
        let server = PolicyServer::start("8.8.8.1", &certificate, |stream: &mut Stream| {
            assert_eq!(stream.conn.server_name(), Some(HOST));
            let _ = stream.write_all(policy_answer().as_bytes());
        });
        match good {
            true => assert_eq!(world.get().as_deref(), Ok(POLICY)),
            false => drop(world.refused(ResultType::StsWebpkiInvalid, "names policies.example.net")),
        }
        assert_eq!(server.requests().len(), usize::from(good));
    }
}

#[test]
fn failures_of_dns_and_of_the_connection_are_told() {
    let error = World::new(&[]).fetch_error("mta-sts.example.com: the name does not exist (NXDOMAIN)");
    assert_eq!(error.to_string(), format!("sts-policy-fetch-error: {}", error.detail()));
    let world = World::new(&["8.8.8.1"]);
    world.fetch_error("mta-sts.example.com [8.8.8.1]: Connection refused");
    // No IPv4 address of the network leads there.
    World::new(&["1.1.1.1"]).fetch_error("unreachable");
    let world = World::new(&["8.8.8.1"]);
    let _server = PolicyServer::raw("8.8.8.1", |mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{POLICY}").as_bytes());
    });
    world.fetch_error("TLS failed");
    let world = World::new(&["8.8.8.1"]);
    let _server = PolicyServer::raw("8.8.8.1", drop);
    world.fetch_error("the connection was cut");
}

#[test]
fn without_roots_nothing_is_asked() {
    let world = World::new(&["8.8.8.1"]);
    let server = PolicyServer::says("8.8.8.1", &world.certificate(), policy_answer());
    let dns = Arc::new(StubResolver::with_servers(&[world.dns.address]));
    let policy_host = PolicyHost::new(
        dns,
        Arc::new(|| Err("cannot read the CA bundle".into())),
        Rule::default(),
    );
    let error = policy_host
        .get(&domain(), Instant::now() + Duration::from_secs(5))
        .expect_err("no roots");
    let own = FetchError::Own("cannot check certificates: cannot read the CA bundle".into());
    assert_eq!(error, own, "that is not the policy host's failure");
    assert_eq!(server.connections(), 0);
}

/// A name that leads into the private network opens no connection at all.
#[test]
fn private_addresses_are_not_asked() {
    for (ip, words) in [
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("10.0.0.1", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("fd00::1", "a private address"),
        ("2001:1::1", "an address of a protocol"),
        ("2001:1::2", "an address of a protocol"),
        ("2001:1::3", "an address of a protocol"),
        ("192.175.48.1", "an anycast address of a service (AS112)"),
    ] {
        let world = World::new(Box::leak(Box::new([ip])));
        if !["127.0.0.1", "::1"].contains(&ip) {
            add_address(ip);
        }
        let server = PolicyServer::says(ip, &world.certificate(), policy_answer());
        let error = world.fetch_error(words);
        assert!(error.detail().contains(&format!("add {ip}/")), "{error}");
        assert_eq!(server.connections(), 0, "{ip}");
        // The proof that it would have been reached.
        let open = world
            .policy_host(&[ip])
            .get(&domain(), Instant::now() + Duration::from_secs(5));
        assert_eq!(open.as_deref(), Ok(POLICY.as_bytes()), "{ip}");
        assert_eq!(server.connections(), 1, "{ip}");
    }
    for (ip, words) in [
        ("::ffff:10.0.0.1", "a private address"),
        ("64:ff9b::10.0.0.1", "a private address"),
    ] {
        World::new(Box::leak(Box::new([ip]))).fetch_error(words);
    }
}

/// The translator of the operator's own network is a way to his private addresses that he alone can know of.
#[test]
fn nobody_is_led_through_the_operators_own_translator() {
    let nat64 = ["2a00:64::/96"].map(|prefix| prefix.parse().expect(prefix)).to_vec();
    let rule = Rule {
        nat64,
        ..Rule::default()
    };
    for (ip, refused) in [("2a00:64::10.0.0.1", true), ("2a00:64::8.8.8.8", false)] {
        let world = World::new(Box::leak(Box::new([ip])));
        add_address(ip);
        let server = PolicyServer::says(ip, &world.certificate(), policy_answer());
        let get = |rule: Rule| {
            world
                .policy_host_by(rule)
                .get(&domain(), Instant::now() + Duration::from_secs(5))
        };
        match get(rule.clone()) {
            Err(error) if refused => assert!(error.detail().contains("a private address"), "{error}"),
            got => assert_eq!(got.as_deref(), Ok(POLICY.as_bytes()), "{ip}"),
        }
        assert_eq!(server.connections() == 0, refused, "{ip}");
        // The proof that it would have been reached.
        assert_eq!(get(Rule::default()).as_deref(), Ok(POLICY.as_bytes()), "{ip}");
    }
}

#[test]
fn of_public_and_private_addresses_the_public_ones_are_asked() {
    let world = World::new(&["127.0.0.1", "8.8.8.1", "::1"]);
    let private = PolicyServer::says("127.0.0.1", &world.certificate(), policy_answer());
    let private_v6 = PolicyServer::says("::1", &world.certificate(), policy_answer());
    // A public address that fails is no reason to ask the others.
    world.fetch_error("[8.8.8.1]: Connection refused");
    let _public = PolicyServer::says("8.8.8.1", &world.certificate(), policy_answer());
    assert_eq!(world.get().as_deref(), Ok(POLICY));
    assert_eq!((private.connections(), private_v6.connections()), (0, 0));
}

/// One address after the other, until one answers.
#[test]
fn the_next_address_is_tried() {
    let tried = |prepare: &dyn Fn(&World) -> Box<dyn std::any::Any>, time: Duration| {
        let world = World::new(&["8.8.8.1", "8.8.8.2"]);
        let _kept = prepare(&world);
        let good = PolicyServer::says("8.8.8.2", &world.certificate(), policy_answer());
        let start = Instant::now();
        assert_eq!(world.get_within(Duration::from_secs(12)).as_deref(), Ok(POLICY));
        assert!(start.elapsed() < time, "{:?}", start.elapsed());
        assert_eq!(good.requests().len(), 1);
    };
    let at_once = Duration::from_millis(2500);
    let a_share = Duration::from_secs(10);
    tried(&|_| Box::new(()), at_once);
    tried(&|_| Box::new(PolicyServer::raw("8.8.8.1", drop)), at_once);
    tried(
        &|_| Box::new(PolicyServer::says("8.8.8.1", &self_signed_host(&[HOST]), "")),
        at_once,
    );
    tried(
        &|world| Box::new(PolicyServer::says("8.8.8.1", &world.certificate(), "")),
        at_once,
    );
    tried(&|_| Box::new(BlackHole::start("8.8.8.1")), a_share);
    tried(
        &|_| Box::new(PolicyServer::raw("8.8.8.1", |_socket| sleep(Duration::from_secs(15)))),
        a_share,
    );
    let silent = |_: &mut Stream| sleep(Duration::from_secs(15));
    tried(
        &|world| Box::new(PolicyServer::start("8.8.8.1", &world.certificate(), silent)),
        a_share,
    );
}

#[test]
fn both_families_are_tried() {
    let world = World::new(&["8.8.8.1", "2600::1"]);
    let server = PolicyServer::says("2600::1", &world.certificate(), policy_answer());
    assert_eq!(world.get().as_deref(), Ok(POLICY));
    assert_eq!(server.requests().len(), 1);
    // IPv6 does not work, and is not even reached when IPv4 does.
    let world = World::new(&["2600:2::2", "8.8.8.1"]);
    let _server = PolicyServer::says("8.8.8.1", &world.certificate(), policy_answer());
    assert_eq!(world.get().as_deref(), Ok(POLICY));
}

#[test]
fn any_answer_is_final() {
    for answer in [
        answer("404 Not Found", "", ""),
        answer("200 OK", "", POLICY),
        format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)),
    ] {
        let world = World::new(&["8.8.8.1", "8.8.8.2"]);
        let _first = PolicyServer::says("8.8.8.1", &world.certificate(), answer);
        let second = PolicyServer::says("8.8.8.2", &world.certificate(), policy_answer());
        let error = world.fetch_error("mta-sts.example.com [8.8.8.1]: ");
        assert!(!error.detail().contains("addresses"), "{error}");
        assert_eq!(second.connections(), 0);
    }
}

#[test]
fn of_several_failures_the_certificate_is_told() {
    let world = World::new(&["8.8.8.1", "8.8.8.2", "8.8.8.3"]);
    let _bad = PolicyServer::says("8.8.8.2", &self_signed_host(&[HOST]), "");
    let error = world.refused(ResultType::StsWebpkiInvalid, "[8.8.8.2]: self-signed certificate");
    assert!(
        error.detail().ends_with("(none of its 3 addresses returned a policy)"),
        "{error}"
    );
}
