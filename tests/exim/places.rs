//! Where in a configuration a library call that fails closes the gate, and where it opens it. These are facts of Exim,
//! proven on the running build: they are why `examples/exim` asks in `address_data` and nowhere else.

use super::host::{self, Config, Fate, Host};
use super::{World, builds, evidence};
use std::fs;

/// One router to one transport, with a line to be added to each.
fn simple(router: &str, transport: &str) -> Config {
    Config::Text(format!(
        "domainlist local_domains = @
acl_smtp_rcpt = accept
keep_environment =
log_selector = +tls_certificate_verified
begin routers
first:
  driver = dnslookup
  domains = ! +local_domains
  {router}
  no_more
begin transports
opportunistic:
  driver = smtp
  tls_verify_certificates = system
  {transport}
strict:
  driver = smtp
  hosts_require_tls = *
begin retry
* * F,2h,15m
"
    ))
}

/// A library call that ends with this status, or that is to a library which is not there.
fn call(status: &str) -> String {
    match status {
        "missing" => "${dlfunc{/nowhere/libmtasts.so}{status}{0}}".to_owned(),
        _ => format!("${{dlfunc{{libmtasts.so.1}}{{status}}{{{status}}}}}"),
    }
}

/// DEFER, FAIL, ERROR, no library. (4 is FAIL_FORCED.)
const FAILURES: &[&str] = &["1", "2", "3", "missing"];

/// Sends to a recipient under each failure and expects one fate, which a line of the log shows.
fn each(host: &Host, place: &str, statuses: &[&str], config: impl Fn(String) -> Config, to: &str, fate: Fate) {
    for status in statuses {
        host.configure(&config(call(status)));
        host.forget();
        let outcome = host.send(&[to]);
        let (became, line) = outcome.of(to);
        assert_eq!(became, fate, "{place}, status {status}:\n{}", outcome.log);
        evidence(&format!("{place}, status {status}"), line);
    }
}

/// The rows that fail closed, and those that fail open.
pub(crate) fn failing_calls(world: &World) {
    for tls in builds() {
        let host = world.host(*tls, &Config::Complete);
        let fault = host::compiled("fault", world.folder());
        host.install(&fault);
        let route = "transport = opportunistic";

        let config = |call: String| simple(&format!("address_data = {call}\n  {route}"), "");
        each(
            &host,
            "router address_data",
            FAILURES,
            config,
            "a@nopolicy.test",
            Fate::Deferred,
        );
        each(
            &host,
            "router address_data",
            &["4"],
            config,
            "a@nopolicy.test",
            Fate::Bounced,
        );

        let config = |call: String| simple(&format!("transport = {call}"), "");
        each(
            &host,
            "router transport",
            FAILURES,
            config,
            "a@nopolicy.test",
            Fate::Deferred,
        );
        each(
            &host,
            "router transport",
            &["4"],
            config,
            "a@nopolicy.test",
            Fate::Deferred,
        );

        // The host knows no TLS, and what decides about it is never asked or not heard: the mail goes out in clear.
        let open: &[&str] = &["1", "2", "3", "missing", "4"];
        let to = "a@nopolicy-nostarttls.test";
        let config = |call: String| {
            let router = format!("condition = {call}\n  transport = strict\nsecond:\n  driver = dnslookup\n  {route}");
            simple(&router, "")
        };
        each(&host, "router condition", open, config, to, Fate::Delivered);

        let config = |call: String| simple(route, &format!("hosts_require_tls = {call}"));
        each(
            &host,
            "transport hosts_require_tls",
            FAILURES,
            config,
            to,
            Fate::Delivered,
        );

        let to = "a@nopolicy-expired.test";
        let config = |call: String| simple(route, &format!("tls_verify_hosts = {call}"));
        each(
            &host,
            "transport tls_verify_hosts",
            FAILURES,
            config,
            to,
            Fate::Delivered,
        );

        let config = |call: String| simple(route, &format!("event_action = {call}"));
        each(&host, "transport event_action", open, config, to, Fate::Delivered);

        let list = "ignore_target_hosts = <; 0.0.0.0 ;";
        let config = |_: String| simple(&format!("{list} *\n  {route}"), "");
        each(
            &host,
            "(without a call) router ignore_target_hosts",
            &["-"],
            config,
            to,
            Fate::Bounced,
        );
        let config = |call: String| simple(&format!("{list} {call}\n  {route}"), "");
        each(&host, "router ignore_target_hosts", open, config, to, Fate::Delivered);

        lost_by_set(&host);
    }
}

/// `set =` in a router: 4.96 loses the message, later versions bounce it. Neither waits.
fn lost_by_set(host: &Host) {
    for status in FAILURES {
        host.configure(&simple(
            &format!("set = r_policy = {}\n  transport = opportunistic", call(status)),
            "",
        ));
        host.forget();
        let outcome = host.send(&["a@nopolicy.test"]);
        assert!(
            !outcome.log.contains(" == ") && !outcome.log.contains(" => a@"),
            "{}",
            outcome.log
        );
        let line = outcome
            .log
            .lines()
            .find(|line| line.ends_with("Completed"))
            .expect("the message is gone");
        evidence(&format!("router set, status {status}"), line);
    }
}

/// Our configurations under a lookup that fails in each way: mail waits, or goes out over verified TLS.
pub(crate) fn our_configurations(world: &World) {
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        host.install(&host::compiled("fault", world.folder()));
        let what = format!("{tls:?} {config:?}");
        for status in ["1", "2", "3", "77"] {
            fs::write(host.etc("mtasts/fault"), format!("lookup {status}")).unwrap();
            let outcome = host.send(&["a@good.test"]);
            let (fate, line) = outcome.of("a@good.test");
            assert_eq!(fate, Fate::Deferred, "{what}: {}", outcome.log);
            evidence(&format!("our configuration ({what}), lookup status {status}"), line);
        }
        // Status 4 is one that libmtasts never returns. Even then only verified TLS is left.
        fs::write(host.etc("mtasts/fault"), "lookup 4").unwrap();
        for (to, fate) in [
            ("a@good.test", Fate::Delivered),
            ("a@expired.test", Fate::Deferred),
            ("a@nostarttls.test", Fate::Deferred),
        ] {
            let outcome = host.send(&[to]);
            assert_eq!(outcome.of(to).0, fate, "{what}: {}", outcome.log);
            evidence(
                &format!("our configuration ({what}), lookup status 4"),
                outcome.of(to).1,
            );
        }
        // An answer without a mode, as from some other library.
        fs::remove_file(host.etc("mtasts/fault")).unwrap();
        host.uninstall();
        let outcome = host.send(&["a@good.test"]);
        assert_eq!(outcome.of("a@good.test").0, Fate::Deferred, "{what}: {}", outcome.log);
        evidence(
            &format!("our configuration ({what}), no library"),
            outcome.of("a@good.test").1,
        );
    }
}
