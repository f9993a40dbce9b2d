//! One connection, several messages; one message, several recipients; one host, several domains. Each row first shows a
//! plausible configuration that lets mail for an enforcing domain out unverified, then that ours does not.

use super::host::{self, Config, Fate, Host, Tls};
use super::{World, builds, evidence};
use mtasts_lab::{Certificate, Change, Mx, policy_text};
use std::thread;
use std::time::Duration;

/// The plausible configuration: a single transport whose options ask what the policy is.
/// `mode` is the expression for it.
fn single_transport(mode: &str, more: &str) -> Config {
    let strict = format!("${{if eq{{{mode}}}{{enforce}}{{*}}{{}}}}");
    Config::Text(format!(
        "domainlist local_domains = @
acl_smtp_rcpt = accept
keep_environment =
log_selector = +tls_certificate_verified
queue_run_in_order
begin routers
all:
  driver = dnslookup
  domains = ! +local_domains
  address_data = ${{dlfunc{{libmtasts.so.1}}{{mtasts_exim_lookup}}{{$domain}}}}
  ignore_target_hosts = <; 0.0.0.0 ; ${{extract{{ignore}}{{$address_data}}}}
  fail_defer_domains = *
  transport = all
  same_domain_copy_routing = yes
  no_more
begin transports
all:
  driver = smtp
  hosts_require_tls = {strict}
  tls_verify_hosts = {strict}
  tls_verify_certificates = system
  {more}
begin retry
* * F,2h,15m
"
    ))
}

const ASK: &str = "${dlfunc{libmtasts.so.1}{mtasts_exim_mode}{$domain}}";
const REMEMBER: &str = "${extract{mode}{$address_data}}";

/// Our configurations, with the queue run in order.
fn in_order(world: &World) -> Vec<(Tls, Config)> {
    let minimal = host::edited(&[("keep_environment =\n", "keep_environment =\nqueue_run_in_order\n")]);
    world
        .combinations()
        .into_iter()
        .map(|(tls, config)| match config {
            Config::Complete => (tls, minimal.clone()),
            other => (tls, other),
        })
        .collect()
}

/// A connection opened for a domain without policy must not carry mail for one that enforces.
pub(crate) fn reused_connection(world: &World) {
    let (free, strict) = ("a@shared-nopolicy.test", "b@shared-strict.test");
    for tls in builds() {
        let host = world.host(*tls, &single_transport(ASK, ""));
        host.queue(&[free]);
        host.queue(&[strict]);
        let outcome = host.run_queue("-qqff");
        let (fate, line) = outcome.of(strict);
        assert_eq!(fate, Fate::Delivered, "the row can no longer fail:\n{}", outcome.log);
        assert!(line.contains("]* ") && line.contains("CV=no"), "not by reuse: {line}");
        evidence(
            &format!("single transport ({tls:?}): unverified connection reused"),
            line,
        );
    }
    let before = world.received(strict);
    for (tls, config) in in_order(world) {
        let host = world.host(tls, &config);
        host.queue(&[free]);
        host.queue(&[strict]);
        let outcome = host.run_queue("-qqff");
        assert_eq!(outcome.of(free).0, Fate::Delivered, "{}", outcome.log);
        let (fate, line) = outcome.of(strict);
        assert_eq!(fate, Fate::Deferred, "{}", outcome.log);
        evidence("ours: not reused", line);
        assert_eq!(world.received(strict), before);
    }
}

/// One message to two domains at one host.
pub(crate) fn several_domains(world: &World) {
    let (free, strict) = ("c@shared-nopolicy.test", "d@shared-strict.test");
    for tls in builds() {
        let host = world.host(*tls, &single_transport(ASK, ""));
        let outcome = host.send(&[free, strict]);
        let (fate, line) = outcome.of(strict);
        assert_eq!(fate, Fate::Delivered, "the row can no longer fail:\n{}", outcome.log);
        evidence(&format!("single transport ({tls:?}): two domains in one session"), line);
    }
    for (tls, config) in world.combinations() {
        let outcome = world.host(tls, &config).send(&[free, strict]);
        assert_eq!(outcome.of(free).0, Fate::Delivered, "{}", outcome.log);
        let (fate, line) = outcome.of(strict);
        assert_eq!(fate, Fate::Deferred, "{}", outcome.log);
        evidence("ours: each domain by itself", line);
    }
}

/// One message to two users of one domain: the second's routing is a copy of the first's, without its address_data.
pub(crate) fn several_recipients(world: &World) {
    let users = ["e@selfsigned.test", "f@selfsigned.test", "g@selfsigned.test"];
    for tls in builds() {
        let host = world.host(*tls, &single_transport(REMEMBER, "max_rcpt = 1"));
        let outcome = host.send(&users);
        let out: Vec<_> = users
            .iter()
            .map(|user| outcome.of(user))
            .filter(|(fate, _)| *fate == Fate::Delivered)
            .collect();
        let (_, line) = out
            .first()
            .unwrap_or_else(|| panic!("the row can no longer fail:\n{}", outcome.log));
        evidence(&format!("single transport ({tls:?}): address_data is gone"), line);
    }
    for (tls, config) in world.combinations() {
        let outcome = world.host(tls, &config).send(&users);
        for user in users {
            let (fate, line) = outcome.of(user);
            assert_eq!(fate, Fate::Deferred, "{}", outcome.log);
            evidence("ours: every recipient waits", line);
        }
        let good = ["e@good.test", "f@good.test", "g@good.test"];
        let outcome = world.host(tls, &config).send(&good);
        for user in good {
            let (fate, line) = outcome.of(user);
            assert_eq!(fate, Fate::Delivered, "{}", outcome.log);
            assert!(
                line.contains("T=remote_smtp_mtasts") && line.contains("CV=yes"),
                "{line}"
            );
        }
        evidence("ours: every recipient verified", outcome.of(good[2]).1);
    }
}

/// OpenSSL takes a resumed session as it is and does not look at the certificate again.
pub(crate) fn resumed_session(world: &World) {
    let (free, strict) = ("h@shared-nopolicy.test", "i@shared-strict.test");
    for tls in builds() {
        let resume = "tls_resumption_hosts = *\n  tls_sni = $host\n";
        let two_transports = host::edited(&[
            ("  tls_require_ciphers = HIGH:!aNULL:!SSLv3:!TLSv1\n", ""),
            ("  tls_require_ciphers = NORMAL:-VERS-TLS1.0:-VERS-TLS1.1\n", ""),
            ("  tls_resumption_hosts =\n", "  tls_resumption_hosts = *\n"),
            (
                "remote_smtp:\n  driver = smtp\n",
                &format!("remote_smtp:\n  driver = smtp\n  {resume}"),
            ),
            ("log_selector =", "log_selector = +tls_resumption"),
        ]);
        let host = world.host(*tls, &two_transports);
        let first = host.send(&[free]);
        assert_eq!(first.of(free).0, Fate::Delivered, "{}", first.log);
        let outcome = host.send(&[strict]);
        let (fate, line) = outcome.of(strict);
        let expected = if *tls == Tls::Open {
            Fate::Delivered
        } else {
            Fate::Deferred
        };
        assert_eq!(fate, expected, "resumption allowed, {tls:?}:\n{}", outcome.log);
        evidence(&format!("resumption allowed ({tls:?})"), line);

        let ours = host::edited(&[
            (
                "remote_smtp:\n  driver = smtp\n",
                &format!("remote_smtp:\n  driver = smtp\n  {resume}"),
            ),
            ("log_selector =", "log_selector = +tls_resumption"),
        ]);
        let host = world.host(*tls, &ours);
        host.send(&[free]);
        let outcome = host.send(&[strict]);
        let (fate, line) = outcome.of(strict);
        assert_eq!(fate, Fate::Deferred, "{}", outcome.log);
        evidence(
            &format!("ours ({tls:?}): never resumed, even beside a transport that resumes"),
            line,
        );
    }
}

/// What fails under one domain's policy must not delay other domains' mail at the same host: a certificate, and a refusal
/// of STARTTLS, which Exim does not call a TLS failure if `tls_tempfail_tryclear` is off.
pub(crate) fn retry_records(world: &World) {
    let (free, strict) = ("j@shared-nopolicy.test", "k@shared-strict.test");
    let after = |host: &Host| {
        host.forget();
        assert_eq!(host.send(&[strict]).of(strict).0, Fate::Deferred);
        let hints = retry_hints(host);
        assert!(hints.contains("T:mx.shared.test:"), "no hint about the host: {hints}");
        // The hint is good for a second.
        thread::sleep(Duration::from_secs(2));
        let outcome = host.send(&[free]);
        let (fate, line) = outcome.of(free);
        (fate, format!("{line}\n{hints}"))
    };
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        let (fate, line) = after(&host);
        assert_eq!(fate, Fate::Delivered, "{line}");
        evidence(&format!("ours ({tls:?} {config:?})"), &line);
        world.lab.set("shared.test", Change::mx(Mx::Starttls454)).unwrap();
        let (fate, line) = after(&host);
        assert_eq!(fate, Fate::Delivered, "{line}");
        evidence(&format!("ours, STARTTLS refused ({tls:?} {config:?})"), &line);
        let strict = host::edited(&[(
            "  connection_max_messages = 1\n",
            "  connection_max_messages = 1\n  tls_tempfail_tryclear = false\n",
        )]);
        let (fate, line) = after(&world.host(tls, &strict));
        assert_eq!(fate, Fate::Deferred, "the row can no longer fail: {line}");
        world.lab.reset().unwrap();
        let without = host::edited(&[("* tls_required F,4d,1s\n", "")]);
        let (fate, line) = after(&world.host(tls, &without));
        assert_eq!(fate, Fate::Deferred, "the row can no longer fail: {line}");
        evidence(&format!("without our retry rule ({tls:?})"), &line);
    }
}

/// A domain's MX host is an alias of another domain's, and the certificate is not for the alias. Exim files hints under
/// the target's name: the other domain, whose policy is met, must not wait for them.
pub(crate) fn shared_host(world: &World) {
    let (strict, other) = ("m@cname-target.test", "n@hub-other.test");
    let target = "real.cname-target.test";
    serves(world, "hub-other.test", target);
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        assert_eq!(host.send(&[strict]).of(strict).0, Fate::Deferred);
        let hints = retry_hints(&host);
        assert!(hints.contains(target), "no hint about the host: {hints}");
        // The hint is good for a second.
        thread::sleep(Duration::from_secs(2));
        let outcome = host.send(&[other]);
        let (fate, line) = outcome.of(other);
        assert_ne!(fate, Fate::Deferred, "{}\n{hints}", outcome.log);
        // The lab's host does not know the domain, and says so once TLS is verified.
        let verified = line.contains(&format!("H={target} ")) && line.contains("CV=yes");
        assert!(verified && line.contains("after RCPT TO:<"), "{line}");
        evidence(&format!("the other domain at the host ({tls:?} {config:?})"), line);
    }
}

/// A connection that was verified for one domain's MX name carries no mail of another domain: there the certificate is
/// not for the name.
pub(crate) fn reused_enforced_connection(world: &World) {
    let (first, second) = ("o@cname-mx.test", "p@hub-other.test");
    serves(world, "hub-other.test", "real.cname-mx.test");
    for (tls, config) in in_order(world) {
        let host = world.host(tls, &config);
        host.queue(&[first]);
        host.queue(&[second]);
        let outcome = host.run_queue("-qqff");
        assert_eq!(outcome.of(first).0, Fate::Delivered, "{}", outcome.log);
        let (fate, line) = outcome.of(second);
        assert_eq!(fate, Fate::Deferred, "{}", outcome.log);
        evidence(&format!("not reused under another policy ({tls:?})"), line);
    }
}

/// The second MX host is judged as the first: Exim forgets the name of the transport once a host has failed.
pub(crate) fn second_host(world: &World) {
    let second = Change {
        host: Some("mx2.downfirst.test".into()),
        ..Change::certificate(Certificate::CnOnly)
    };
    world.lab.set("downfirst.test", second).unwrap();
    let to = "s@downfirst.test";
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        let outcome = host.send(&[to]);
        assert_eq!(outcome.of(to).0, Fate::Deferred, "{tls:?} {config:?}: {}", outcome.log);
        assert_eq!(world.received(to), 0);
        evidence(
            &format!("the second host is refused ({tls:?} {config:?})"),
            outcome.of(to).1,
        );
    }
}

/// Gives a domain this MX host of another one, and a policy that lists it.
fn serves(world: &World, domain: &str, host: &str) {
    let change = Change {
        hosts: Some(vec![host.into()]),
        ..Change::publish("elsewhere", policy_text("enforce", &[host], 86_400))
    };
    world.lab.set(domain, change).unwrap();
}

/// Exim's retry hints, as it dumps them.
fn retry_hints(host: &Host) -> String {
    let hints = host::run(host.command("exim_dumpdb").args(["/var/spool/exim4", "retry"]));
    String::from_utf8_lossy(&hints.stdout).into_owned()
}

/// What an operator finds in the wild: routers that ask in a condition, a transport without requirements.
pub(crate) fn existing_practice(world: &World) {
    let config = Config::Text(
        "domainlist local_domains = @
keep_environment =
log_selector = +tls_certificate_verified
begin routers
enforce:
  driver = dnslookup
  domains = ! +local_domains
  condition = ${if eq{${dlfunc{libmtasts.so.1}{mtasts_exim_mode}{$domain}}}{enforce}}
  transport = enforce
  no_more
begin transports
enforce:
  driver = smtp
  tls_verify_certificates = system
begin retry
* * F,2h,15m
"
        .to_owned(),
    );
    for tls in builds() {
        let host = world.host(*tls, &config);
        for domain in [
            "expired",
            "selfsigned",
            "wrongname",
            "unknownca",
            "nostarttls",
            "nomatch",
        ] {
            let to = format!("l@{domain}.test");
            let outcome = host.send(&[&to]);
            let (fate, line) = outcome.of(&to);
            assert_eq!(fate, Fate::Delivered, "{}", outcome.log);
            evidence(&format!("a transport without requirements ({tls:?})"), line);
        }
    }
}
