//! Debian's own configuration beside ours: what it honours, ours honours too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use mtasts_lab::{Certificate, Change};

use super::host::{self, Config, Fate, Host, Tls};
use super::{World, evidence};

/// Options in which a transport of ours differs from Debian's remote_smtp on purpose.
pub(crate) const TESTING: &[&str] = &["debug_print", "event_action", "multi_domain"];
pub(crate) const ENFORCING: &[&str] = &[
    "connection_max_messages",
    "debug_print",
    "event_action",
    "hosts_avoid_tls",
    "hosts_require_tls",
    "multi_domain",
    "tls_require_ciphers",
    "tls_sni",
    "tls_verify_hosts",
];

const SMARTHOST: &[&str] = &[
    "debug_print",
    "event_action",
    "hosts_avoid_tls",
    "hosts_require_tls",
    "tls_require_ciphers",
    "tls_sni",
    "tls_verify_hosts",
];

/// Each macro of Debian's transports set: our transports have the same options, but for those that make the difference.
pub(crate) fn options(world: &World) {
    let host = world.host(Tls::Gnu, &Config::Debian);
    for (theirs, ours, differs) in [
        ("remote_smtp", "remote_smtp_testing", TESTING),
        ("remote_smtp", "remote_smtp_mtasts", ENFORCING),
        ("remote_smtp_smarthost", "remote_smtp_smarthost_mtasts", SMARTHOST),
    ] {
        setting(
            &host,
            "dc_eximconfig_configtype",
            if differs == SMARTHOST { "smarthost" } else { "internet" },
        );
        let file = host.etc(&format!("exim4/conf.d/transport/30_exim4-config_{theirs}"));
        let text = fs::read_to_string(file).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix(".ifdef "));
        let macros: String = names
            .map(|name| match name {
                "REMOTE_SMTP_HEADERS_REWRITE" => format!("{name} = *@inside.test outside@sender.test\n"),
                "TLS_DH_MIN_BITS" => format!("{name} = 1234\n"),
                _ => format!("{name} = set.{}\n", name.to_lowercase()),
            })
            .collect();
        assert!(macros.lines().count() > 10, "{macros}");
        host.macros(&macros);
        let (theirs, options) = (transport(&host, theirs), transport(&host, ours));
        let set = theirs.values().filter(|value| value.starts_with("set.")).count();
        assert!(set > 5, "the macros had no effect: {theirs:#?}");
        let different: Vec<&str> = theirs
            .iter()
            .filter(|(option, value)| options.get(*option) != Some(value))
            .map(|(option, _)| option.as_str())
            .collect();
        assert_eq!(different, differs, "{ours}: {options:#?}");
        evidence(
            &format!("{ours}: {} options", options.len()),
            &format!("different: {different:?}"),
        );
    }
}

/// Changes a line of update-exim4.conf.conf, which takes effect with the next macros.
pub(crate) fn setting(host: &Host, name: &str, value: &str) {
    let file = host.etc("exim4/update-exim4.conf.conf");
    let text = fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| match line.starts_with(&format!("{name}=")) {
        true => format!("{name}='{value}'\n"),
        false => format!("{line}\n"),
    });
    fs::write(&file, lines.collect::<String>()).unwrap();
}

/// `exim -bP transport NAME`, by option.
pub(crate) fn transport(host: &Host, name: &str) -> BTreeMap<String, String> {
    let output = host::run(host.command("exim4").args(["-bP", "transport", name]));
    let text = String::from_utf8(output.stdout).unwrap();
    let options = text.lines().map(|line| match line.split_once(" = ") {
        Some((option, value)) => (option.trim().to_owned(), value.to_owned()),
        // An empty value, or a switch: no_multi_domain, multi_domain.
        None => {
            let switch = line.trim().trim_end_matches(" =");
            let (option, value) = switch
                .strip_prefix("no_")
                .map_or((switch, "yes"), |option| (option, "no"));
            (
                option.to_owned(),
                if line.ends_with('=') { "" } else { value }.to_owned(),
            )
        }
    });
    options.collect()
}

/// Mail under an enforced policy leaves from the address that SPF and PTR say.
pub(crate) fn interface(world: &World) {
    let host = world.host(Tls::Gnu, &Config::Debian);
    host.macros("REMOTE_SMTP_INTERFACE = 127.0.0.9\nREMOTE_SMTP_HELO_DATA = from.$sending_ip_address.test\n");
    for to in ["a@good.test", "a@testing.test", "a@nopolicy.test"] {
        let outcome = host.send(&[to]);
        let (fate, line) = outcome.of(to);
        assert_eq!(fate, Fate::Delivered, "{}", outcome.log);
        let sessions = world.lab.sessions();
        let said = &sessions.last().unwrap().commands;
        assert!(
            said.iter().any(|command| command == "EHLO from.127.0.0.9.test"),
            "{said:?}"
        );
        evidence("from its address", line);
    }
}

/// A private network that leads to the lab.
const PRIVATE: &str = "10.20.0.0/16";

fn private_host(world: &World, domain: &str) {
    let route = ["route", "replace", "local", PRIVATE, "dev", "lo"];
    host::run(Command::new("ip").args(route));
    let change = Change {
        addresses: Some(vec!["10.20.0.1".parse().unwrap()]),
        ..Change::default()
    };
    world.lab.set(domain, change).unwrap();
}

/// What becomes of a mail, and the log line about it. What failed before is due again after a second.
fn became(host: &Host, to: &str) -> (Fate, String) {
    host.forget();
    thread::sleep(Duration::from_millis(1100));
    let outcome = host.send(&[to]);
    let (fate, line) = outcome.of(to);
    evidence(to, line);
    (fate, line.to_owned())
}

/// Domains that this host is a backup MX or a gateway for: exempt, as Debian's own router for them is, until a macro says
/// otherwise.
pub(crate) fn relayed_domains(world: &World) {
    private_host(world, "good.test");
    let host = world.host(Tls::Gnu, &Config::Debian);
    setting(&host, "dc_relay_domains", "good.test:expired.test");
    host.macros("");
    for to in ["a@good.test", "a@expired.test"] {
        let (fate, line) = became(&host, to);
        assert_eq!(fate, Fate::Delivered, "{line}");
        assert!(line.contains("R=dnslookup_relay_to_domains T=remote_smtp "), "{line}");
    }
    let asked = world.lab.counters().dns.contains_key("_mta-sts.good.test TXT");
    assert!(!asked, "the policy of an exempt domain was looked up");
    assert_eq!(became(&host, "a@selfsigned.test").0, Fate::Deferred, "another domain");
    host.macros("MTASTS_ENFORCE_RELAY_TO_DOMAINS = yes\n");
    let (fate, line) = became(&host, "a@good.test");
    assert_eq!(fate, Fate::Delivered, "{line}");
    assert!(
        line.contains("T=remote_smtp_mtasts") && line.contains("CV=yes"),
        "{line}"
    );
    assert_eq!(became(&host, "a@expired.test").0, Fate::Deferred);
    assert_eq!(became(&host, "a@selfsigned.test").0, Fate::Deferred);
}

/// `ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS`, whatever is between its items; the hosts of the policy stay the only ones.
pub(crate) fn ignored_addresses(world: &World) {
    private_host(world, "good.test");
    let host = world.host(Tls::Gnu, &Config::Debian);
    let read = |file: &str| fs::read_to_string(host.etc(&format!("exim4/conf.d/router/{file}"))).unwrap();
    let default = |text: &str, name: &str| {
        let line = text.lines().rfind(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(" = ")).unwrap().1.to_owned()
    };
    assert_eq!(
        default(&read("190_mtasts"), "MTASTS_PRIVATE = <"),
        default(
            &read("200_exim4-config_primary"),
            "ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = "
        )
    );
    // The sentence does not say that the policy does not list the host.
    let (fate, line) = became(&host, "a@good.test");
    assert_eq!(fate, Fate::Deferred, "a private address");
    assert!(
        line.contains("mtasts[no-mx-host-left]") && !line.contains("DNS"),
        "{line}"
    );
    let (_, line) = became(&host, "a@nomatch.test");
    assert!(line.contains("mtasts[no-mx-host-in-policy]"), "{line}");
    for list in [
        "0.0.0.0 : 127.0.0.0/8 : ::::1",
        "<; 0.0.0.0 ; 127.0.0.0/8 ; ::1",
        "0.0.0.0",
    ] {
        host.macros(&format!("ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = {list}\n"));
        let (fate, line) = became(&host, "a@good.test");
        assert_eq!(fate, Fate::Delivered, "{list}: {line}");
        assert!(
            line.contains("T=remote_smtp_mtasts") && line.contains("CV=yes"),
            "{line}"
        );
        let (fate, line) = became(&host, "a@mixed.test");
        assert!(
            fate == Fate::Delivered && line.contains(" H=mx2.mixed.test "),
            "{list}: {line}"
        );
        assert_eq!(became(&host, "a@nomatch.test").0, Fate::Deferred, "{list}");
    }
    // A list that cannot be had opens nothing.
    host.macros("ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = ${lookup{x}lsearch{/nowhere}}\n");
    for to in ["a@good.test", "a@nomatch.test"] {
        assert_eq!(became(&host, to).0, Fate::Deferred);
    }
}

/// A CA of the operator's own: the setting `ca_file` is for policy hosts, and the macro is for MX hosts.
pub(crate) fn trust_anchors(world: &World) {
    // No program finds the lab's CA by itself any more.
    let other = {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    };
    let labs = fs::read_to_string(world.lab.ca_file()).unwrap();
    for entry in fs::read_dir("/etc/ssl/certs").unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).is_ok_and(|text| text == labs) {
            fs::write(&path, &other).unwrap();
        }
    }
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        let file = host.etc("mtasts/our-ca.pem");
        fs::write(&file, &labs).unwrap();
        host::public(&file);
        let settings = format!("{}ca_file = \"/etc/mtasts/our-ca.pem\"\n", host::SETTINGS);
        fs::write(host.etc("mtasts/mtasts.toml"), settings).unwrap();
        let (fate, line) = became(&host, "a@good.test");
        assert!(
            fate == Fate::Deferred && line.contains("T=remote_smtp_mtasts"),
            "{tls:?}: {line}"
        );
        match config {
            Config::Debian => host.macros("MTASTS_CA_FILE = /etc/mtasts/our-ca.pem\n"),
            _ => host.configure(&host::edited(&[(
                "MTASTS_CA_FILE = system\n",
                "MTASTS_CA_FILE = /etc/mtasts/our-ca.pem\n",
            )])),
        }
        let (fate, line) = became(&host, "a@good.test");
        assert!(fate == Fate::Delivered && line.contains("CV=yes"), "{tls:?}: {line}");
    }
}

/// A smart host has a policy of its own: that of its name (RFC 8461 3.4). The recipient's policy is not asked for.
pub(crate) fn smart_hosts(world: &World) {
    let host = world.host(Tls::Gnu, &Config::Debian);
    setting(&host, "dc_eximconfig_configtype", "smarthost");
    let via = |smart: &str, to: &str| {
        setting(&host, "dc_smarthost", smart);
        host.macros("");
        became(&host, to)
    };
    // A host with a policy that lists it, and then with a bad certificate.
    for smart in ["implicit.test", "implicit.test::25"] {
        let (fate, line) = via(smart, "a@implicit.test");
        assert_eq!(fate, Fate::Delivered, "{line}");
        assert!(
            line.contains("T=remote_smtp_smarthost_mtasts") && line.contains("CV=yes"),
            "{line}"
        );
    }
    world
        .lab
        .set("implicit.test", Change::certificate(Certificate::Expired))
        .unwrap();
    assert_eq!(via("implicit.test", "a@implicit.test").0, Fate::Deferred);
    // A policy that does not list it.
    let (fate, line) = via("nomatch-implicit.test", "a@nomatch-implicit.test");
    assert!(
        fate == Fate::Deferred && line.contains("the smart host nomatch-implicit.test"),
        "{line}"
    );
    // No policy, and a recipient whose domain has one that the host fails.
    for (smart, to) in [
        ("nopolicy-nomatch-implicit.test", "a@nopolicy-nomatch-implicit.test"),
        ("testing-nomatch-implicit.test", "a@testing-nomatch-implicit.test"),
        ("mx.expired.test", "a@expired.test"),
        ("mx.expired.test:mx.selfsigned.test", "a@expired.test"),
    ] {
        let (fate, line) = via(smart, to);
        assert_eq!(fate, Fate::Delivered, "{line}");
        assert!(line.contains("T=remote_smtp_smarthost "), "{line}");
    }
    assert!(!world.lab.counters().dns.contains_key("_mta-sts.expired.test TXT"));
    assert_eq!(host.panic_log(), "");
}

/// Debian's default, one template instead of conf.d: the drop-ins are in force after a new template is made of conf.d.
pub(crate) fn unsplit(world: &World) {
    let host = world.host(Tls::Gnu, &Config::Debian);
    setting(&host, "dc_use_split_config", "false");
    host.macros("");
    assert_eq!(
        became(&host, "a@expired.test").0,
        Fate::Delivered,
        "the row can no longer fail"
    );
    host::run(host.command("update-exim4.conf.template").arg("-r"));
    fs::write(
        host.etc("exim4/exim4.conf.localmacros"),
        "MAIN_LOG_SELECTOR = +delivery_size\n",
    )
    .unwrap();
    host.macros("");
    assert_eq!(became(&host, "a@expired.test").0, Fate::Deferred);
    let (fate, line) = became(&host, "a@good.test");
    assert_eq!(fate, Fate::Delivered, "{line}");
    assert!(line.contains("T=remote_smtp_mtasts") && line.contains(" S="), "{line}");
    let kept = fs::read_dir(host.etc("exim4"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let kept: Vec<_> = kept
        .filter(|name| name.to_string_lossy().starts_with("exim4.conf.template.bak."))
        .collect();
    assert_eq!(kept.len(), 1);
}

/// exim4-daemon-light has no `dlfunc`: `update-exim4.conf` says so, and the configuration before it stays in force.
pub(crate) fn light(world: &World, program: &Path) {
    let host = world.host(Tls::Gnu, &Config::Debian);
    for file in ["router/190_mtasts", "transport/30_mtasts", "retry/20_mtasts"] {
        fs::remove_file(host.etc(&format!("exim4/conf.d/{file}"))).unwrap();
    }
    host.macros("");
    let before = fs::read(host.var("lib/exim4/config.autogenerated")).unwrap();
    host::run(
        host.command("install")
            .args(["-m", "4755"])
            .arg(program)
            .arg("/usr/sbin/exim4"),
    );
    let update = |host: &Host| host.command("update-exim4.conf").output().unwrap();
    assert!(update(&host).status.success(), "this Exim does not run");
    host::run(
        Command::new("cp")
            .arg("-r")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/exim/conf.d"))
            .arg(host.etc("exim4")),
    );
    let refused = update(&host);
    let says = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert!(!refused.status.success(), "{says}");
    assert!(says.contains("install exim4-daemon-heavy"), "{says}");
    assert_eq!(fs::read(host.var("lib/exim4/config.autogenerated")).unwrap(), before);
    evidence("exim4-daemon-light", says.trim());
}
