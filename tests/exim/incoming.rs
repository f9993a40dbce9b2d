//! Mail that comes in. Our routers look up policies of recipients; whoever sends to this host must not notice them.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::host::{self, Config, Host};
use super::versions::smtp;
use super::{World, evidence};

/// A policy that does not fit the MX host, and a policy host that says nothing.
const UNFIT: &str = "nomatch.test";
const SILENT: &str = "https-silent.test";
/// A lookup of the silent one takes as long as this.
const TIMEOUT: Duration = Duration::from_secs(20);

/// `verify = sender` routes the sender's domain and knows nothing of its policy.
pub(crate) fn senders(world: &World) {
    for (number, (tls, config)) in world.combinations().into_iter().enumerate() {
        let host = world.host(tls, &config);
        verify_senders(&host, &config);
        let settings = host::SETTINGS.replace("timeout = 6", &format!("timeout = {}", TIMEOUT.as_secs()));
        fs::write(host.etc("mtasts/mtasts.toml"), settings).unwrap();
        let daemon = SocketAddr::from(([127, 0, 0, 1], 2600 + u16::try_from(number).unwrap()));
        host.daemon(daemon);
        let mail = |domain: &str| {
            let from = format!("MAIL FROM:<someone@{domain}>");
            let begun = Instant::now();
            let replies = smtp(daemon, &["EHLO client.test", &from, "RCPT TO:<root@sender.test>"]);
            (replies[2].clone(), begun.elapsed())
        };
        let asked = || {
            let counters = world.lab.counters();
            let of = |domain: &str| {
                counters
                    .dns
                    .get(&format!("_mta-sts.{domain} TXT"))
                    .copied()
                    .unwrap_or(0)
                    + counters
                        .https_connections
                        .get(&format!("mta-sts.{domain}"))
                        .copied()
                        .unwrap_or(0)
            };
            of(UNFIT) + of(SILENT)
        };
        let before = asked();
        for domain in [UNFIT, SILENT] {
            let (reply, took) = mail(domain);
            assert!(reply.starts_with("250"), "{domain}: {reply}\n{}", host.log());
            assert!(took < TIMEOUT / 2, "RCPT was held for {took:?}");
            evidence(&format!("mail from {domain} ({tls:?})"), &reply);
        }
        assert_eq!(asked(), before, "a policy of a sender's domain was looked up");
        // The row can fail: a sender whose domain does not exist is refused.
        let (reply, _) = mail("nowhere.test");
        assert!(reply.starts_with('5') || reply.starts_with("451"), "{reply}");
        fs::write(host.etc("mtasts/mtasts.toml"), "no_such_setting = true\n").unwrap();
        let (reply, _) = mail("good.test");
        assert!(reply.starts_with("250"), "broken settings: {reply}\n{}", host.log());
        evidence(&format!("mail comes in under broken settings ({tls:?})"), &reply);
    }
}

/// Makes the configuration verify senders.
fn verify_senders(host: &Host, config: &Config) {
    match config {
        Config::Debian => host.macros("CHECK_RCPT_VERIFY_SENDER = yes\n"),
        _ => host.configure(&host::edited(&[
            ("acl_smtp_rcpt = accept\n", "acl_smtp_rcpt = check\n"),
            (
                "begin routers",
                "begin acl\ncheck:\n  require verify = sender\n  accept\n\nbegin routers",
            ),
        ])),
    }
}
