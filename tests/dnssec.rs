//! What the stub resolver makes of a real validator: unbound over zones that are signed, unsigned, broken and expired
//! (RFC 4035 3.2.3, RFC 7672 2.1).

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use mtasts::Domain;
use mtasts::network::dns::{Answered, Dns, DnsError, StubResolver};
use mtasts::sender::dane::{HostRecords, records_of};
use mtasts_kit::dns_server::{DnsServer, Reply, address};
use mtasts_kit::pki::{Directory, command};

/// What each zone has.
const HOST: &str = "mx A 192.0.2.1\n_25._tcp.mx TLSA 3 1 1 \
                    0000000000000000000000000000000000000000000000000000000000000007\n@ MX 10 mx\n";
/// Aliases with TLSA records at their own names, and hosts without any.
const ALIASES: &str = "bare A 192.0.2.2\nboth CNAME mx\n_25._tcp.both TLSA 3 1 1 \
                       0000000000000000000000000000000000000000000000000000000000000008\n\
                       own CNAME bare\n_25._tcp.own TLSA 3 1 1 \
                       0000000000000000000000000000000000000000000000000000000000000009\n\
                       away CNAME mx.plain.test.\n_25._tcp.away TLSA 1 1 1 \
                       0000000000000000000000000000000000000000000000000000000000000010\n";
/// More than a UDP answer takes.
const MANY: usize = 60;

/// A server that is ended with the test.
struct Unbound(Child);

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Zones, the server that has them, and the one that validates.
struct Signed {
    directory: Directory,
    /// The DS records and the delegations of the zone above.
    above: String,
    zones: Vec<String>,
}

impl Signed {
    fn zone(&mut self, name: &str, records: &str, signing: Option<&[&str]>) {
        let text =
            format!("$ORIGIN {name}.\n$TTL 300\n@ SOA ns.test. h.test. 1 3600 600 86400 60\n@ NS ns.test.\n{records}");
        self.directory.write(&format!("{name}.zone"), text);
        self.zones.push(name.to_owned());
        let _ = writeln!(self.above, "{name}. NS ns.test.");
        let Some([algorithm, options @ ..]) = signing else {
            return;
        };
        let key = |kind: &[&str]| {
            let output = command("ldns-keygen", "ldnsutils", self.directory.root())
                .args(kind)
                .args([
                    "-a",
                    algorithm,
                    "-b",
                    if algorithm.starts_with("RSA") { "2048" } else { "256" },
                    name,
                ])
                .output()
                .expect("ldns-keygen");
            String::from_utf8(output.stdout)
                .expect("a name of a file")
                .trim()
                .to_owned()
        };
        let (ksk, zsk) = (key(&["-k"]), key(&[]));
        let file = format!("{name}.zone");
        let signed = command("ldns-signzone", "ldnsutils", self.directory.root())
            .args(options)
            .args(["-f", "signed", &file, &ksk, &zsk])
            .status()
            .expect("ldns-signzone");
        assert!(signed.success(), "{name}");
        fs::rename(self.directory.path("signed"), self.directory.path(&file)).expect("a signed zone");
        self.above += &self.directory.read(&format!("{ksk}.ds"));
        fs::copy(
            self.directory.path(&format!("{ksk}.key")),
            self.directory.path("anchor"),
        )
        .expect("an anchor");
    }

    fn start(&self, configuration: &str) -> (Unbound, SocketAddr) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = socket.local_addr().expect("an address");
        drop(socket);
        let file = format!("{}.conf", address.port());
        let text = format!(
            "server:\n chroot: \"\"\n username: \"\"\n do-daemonize: no\n use-syslog: no\n interface: 127.0.0.1\n \
             port: {}\n pidfile: \"\"\n directory: \"{}\"\n local-zone: test nodefault\n{configuration}\
             remote-control:\n control-enable: no\n",
            address.port(),
            self.directory.root().display()
        );
        self.directory.write(&file, text);
        let child = command("unbound", "unbound", self.directory.root())
            .args(["-c", &file])
            .stderr(Stdio::null())
            .spawn()
            .expect("unbound");
        (Unbound(child), address)
    }
}

/// Waits until a server is up.
fn answers(server: &StubResolver) {
    let begun = Instant::now();
    while server
        .addresses("mx.ec.test", Instant::now() + Duration::from_secs(2))
        .is_err()
    {
        assert!(begun.elapsed() < Duration::from_secs(20), "unbound does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_validator_and_what_it_says_of_each_zone() {
    let mut signed = Signed {
        directory: Directory::new("dnssec"),
        above: String::new(),
        zones: Vec::new(),
    };
    let aliases = format!("{HOST}alias CNAME mx\nout CNAME mx.plain.test.\n{ALIASES}");
    let many: String = (0..MANY)
        .map(|n| format!("_25._tcp.many TLSA 3 1 2 {n:0128x}\n"))
        .collect();
    signed.zone("ec.test", &(aliases + &many), Some(&["ECDSAP256SHA256"]));
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
    let above = format!("ns A 127.0.0.1\n{}", signed.above);
    signed.zone("test", &above, Some(&["ECDSAP256SHA256"]));

    let zones: String = signed
        .zones
        .iter()
        .map(|zone| format!("auth-zone:\n name: {zone}\n zonefile: {zone}.zone\n for-upstream: no\n"))
        .collect();
    let (_authority, authority) = signed.start(&format!(" module-config: \"iterator\"\n{zones}"));
    // A validator that finds nobody there does not ask again for a while.
    answers(&StubResolver::with_servers(&[authority]));
    let (_validator, validator) = signed.start(&format!(
        " do-not-query-localhost: no\n trust-anchor-file: anchor\nstub-zone:\n name: test\n stub-addr: {}@{}\n",
        authority.ip(),
        authority.port()
    ));
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
        let records = dns.tlsa(&format!("_25._tcp.mx.{zone}"), soon());
        assert_eq!(told(records.clone()), *expected, "{zone}");
        if let Ok(records) = records {
            let rdata = [&[3u8, 1, 1][..], &[0; 31], &[7]].concat();
            assert_eq!(records.data, [rdata], "{zone}");
        }
    }
    assert_eq!(told(dns.tlsa("_25._tcp.alias.ec.test", soon())), absent);
    // Over TCP, because they do not fit.
    let many = dns.tlsa("_25._tcp.many.ec.test", soon()).expect("records");
    assert!(many.authenticated && many.data.len() == MANY, "{}", many.data.len());

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
        // The alias itself is insecure, whatever the host has.
        ("in.plain.test", Ok(None)),
        ("mx.plain.test", Ok(None)),
        // Nothing is learnt of these: they wait.
        ("mx.forged.test", Err(DnsError::ServFail)),
        ("mx.broken.test", Err(DnsError::ServFail)),
        ("mx.expired.test", Err(DnsError::ServFail)),
        ("no.ec.test", Err(DnsError::NxDomain)),
    ] {
        let found = records_of(&dns, &Domain::parse(host).expect("a name"), soon());
        let base = found.map(|found| match found {
            HostRecords::Records { base, records, .. } => {
                let usable = base.as_str() != "away.ec.test";
                assert_eq!(
                    (records.used().len(), records.unusable()),
                    (usize::from(usable), usize::from(!usable))
                );
                Some(base.to_string())
            }
            HostRecords::None => None,
        });
        assert_eq!(base, expected.map(|base| base.map(str::to_owned)), "{host}");
    }
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
    let host = Domain::parse("mx.example.com").expect("a name");
    let deadline = Instant::now() + Duration::from_secs(10);
    assert_eq!(records_of(&dns, &host, deadline), Ok(HostRecords::None));
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.dnssec), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.kind != RecordType::TLSA), "{asked:?}");
}
