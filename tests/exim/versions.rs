//! Rows that need a daemon: an MX host that speaks only old TLS, and SMTP sessions that verify or deliver while they last.

use super::host::{self, Config, Fate, Host, Tls};
use super::{World, builds, evidence};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An MX host that takes everything.
const SINK: &str = "tls_advertise_hosts = *
tls_certificate = /etc/exim4/server.pem
tls_privatekey = /etc/exim4/server.pem
tls_require_ciphers = PRIORITY
acl_smtp_rcpt = accept
keep_environment =
begin routers
sink:
  driver = redirect
  data = :blackhole:
";

/// The address of the MX host of `refused.test`, where the lab does not listen.
fn free_address(host: &Host) -> SocketAddr {
    let route = host::run(host.command("exim4").args(["-bt", "a@refused.test"]));
    let route = String::from_utf8_lossy(&route.stdout).into_owned();
    let (_, rest) = route.split_once('[').unwrap_or_else(|| panic!("{route}"));
    let (address, _) = rest.split_once(']').unwrap();
    SocketAddr::new(address.trim().parse().unwrap(), 25)
}

/// A certificate that is good for the name, under a CA of our own, trusted like the lab's from now on.
fn trusted_certificate(name: &str) -> String {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "an old host's CA");
    let key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(ca, key);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let trusted = fs::read_to_string(bundle).unwrap();
    fs::write(bundle, format!("{trusted}{ca_pem}")).unwrap();
    format!("{}{}", leaf.pem(), key.serialize_pem())
}

/// TLS 1.0 and 1.1 with a valid certificate (RFC 8996). GnuTLS would take them; OpenSSL 3 does not anyway.
pub(crate) fn old_tls(world: &World) {
    let pem = trusted_certificate("mx.refused.test");
    // Ubuntu forbids these versions to each program: here it is for us to do so.
    let _ = fs::remove_file("/etc/gnutls/config");
    let address = free_address(&world.host(Tls::Gnu, &Config::Complete));
    for version in ["TLS1.0", "TLS1.1", "TLS1.2", "TLS1.3"] {
        let sink = SINK.replace("PRIORITY", &format!("NORMAL:-VERS-ALL:+VERS-{version}"));
        let server = world.host(Tls::Gnu, &Config::Text(sink));
        fs::write(server.etc("exim4/server.pem"), &pem).unwrap();
        host::public(&server.etc("exim4/server.pem"));
        server.daemon(address);
        let modern = version >= "TLS1.2";
        for (tls, config) in world.combinations() {
            let outcome = world.host(tls, &config).send(&["a@refused.test"]);
            let (fate, line) = outcome.of("a@refused.test");
            assert_eq!(
                fate,
                if modern { Fate::Delivered } else { Fate::Deferred },
                "{version}: {}",
                outcome.log
            );
            evidence(&format!("{version} ({tls:?})"), line);
        }
        let line = "  tls_require_ciphers = NORMAL:-VERS-TLS1.0:-VERS-TLS1.1\n";
        let outcome = world
            .host(Tls::Gnu, &host::edited(&[(line, "")]))
            .send(&["a@refused.test"]);
        let (fate, line) = outcome.of("a@refused.test");
        assert_eq!(fate, Fate::Delivered, "the row can no longer fail: {}", outcome.log);
        evidence(&format!("{version} (Gnu), without our tls_require_ciphers"), line);
    }
}

/// One SMTP session; the replies to these commands.
pub(crate) fn smtp(address: SocketAddr, commands: &[&str]) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut reply = || {
        let mut whole = String::new();
        loop {
            let line = lines.next().expect("a reply").unwrap();
            whole.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return whole;
            }
            whole.push(' ');
        }
    };
    reply();
    let mut replies = Vec::new();
    for command in commands {
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        replies.push(reply());
    }
    replies
}

/// A recipient verified by a callout, and a message passed on while it comes in.
pub(crate) fn callouts(world: &World) {
    let begin = ["EHLO client.test", "MAIL FROM:<alice@sender.test>"];
    for tls in builds() {
        for (number, action) in [
            "verify = recipient/callout=10s,no_cache",
            "control = cutthrough_delivery/defer=pass\n  verify = recipient",
        ]
        .into_iter()
        .enumerate()
        {
            let acl = format!("begin acl\ncheck:\n  accept {action}\n\nbegin routers");
            let config = host::edited(&[
                ("acl_smtp_rcpt = accept\n", "acl_smtp_rcpt = check\n"),
                ("begin routers", &acl),
            ]);
            let host = world.host(*tls, &config);
            let daemon = SocketAddr::from(([127, 0, 0, 1], 2500 + number as u16));
            host.daemon(daemon);
            for (domain, accepted) in [
                ("good", true),
                ("expired", false),
                ("nostarttls", false),
                ("nomatch", false),
                ("testing-expired", true),
            ] {
                let to = format!("callout@{domain}.test");
                let before = world.received(&to);
                let rcpt = format!("RCPT TO:<{to}>");
                let mut commands = begin.to_vec();
                commands.push(&rcpt);
                let replies = smtp(daemon, &commands);
                let reply = &replies[2];
                assert_eq!(
                    reply.starts_with("250"),
                    accepted,
                    "{action}: {to}: {reply}\n{}",
                    host.log()
                );
                assert!(accepted || reply.starts_with("451"), "{reply}");
                assert_eq!(world.received(&to), before);
                let seen = world
                    .lab
                    .sessions()
                    .iter()
                    .any(|session| session.commands.iter().any(|line| line.contains(&to)));
                assert_eq!(seen, accepted, "the recipient was named to an MX host: {to}");
                evidence(
                    &format!("{} ({tls:?}) {to}", action.split_whitespace().nth(2).unwrap_or(action)),
                    reply,
                );
            }
        }
    }
}
