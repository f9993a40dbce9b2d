//! Whose a domain is: without the word of its DNS no certificate is ordered for a tenant, and no policy is served.

use std::fs;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::rr::RecordType;
use mtasts_kit::dns_server::{Reply, address, cname, txt};
use mtasts_kit::until;

use super::hosting::{HOST, Hosting, exchange, policy};
use super::issuing::{acme, change, without_certificates};
use super::pebble::{DIRECTORY, Pebble};

/// What DNS says of a policy host: where it leads, and a TXT record beside that.
#[derive(Clone, Default)]
struct Says {
    target: Option<String>,
    text: Option<String>,
}

type Names = Arc<Mutex<std::collections::BTreeMap<&'static str, Says>>>;

/// A host with an authority, whose own questions to DNS get these answers.
fn hosting(files: &[(&str, &str)]) -> (Hosting, Pebble, Names) {
    let hosting = Pebble::hosting();
    let pebble = Pebble::start(&hosting, 0);
    let names = Names::default();
    let said = Arc::clone(&names);
    hosting.says(move |asked| {
        let says = said.lock().unwrap();
        let domain = asked.name.strip_prefix("mta-sts.")?;
        let says = says.get(domain)?;
        let target = says.target.as_deref()?;
        let mut records = Vec::new();
        let is_alias = target.parse::<std::net::IpAddr>().is_err();
        if is_alias {
            records.push(cname(&asked.name, 60, target));
        }
        match asked.kind {
            RecordType::A => records.push(address(if is_alias { target } else { &asked.name }, HOST)),
            RecordType::TXT => {
                let text = says.text.iter().filter(|_| !is_alias);
                records.extend(text.map(|text| txt(&asked.name, 60, &[text.as_bytes()])));
            }
            _ => {}
        }
        Some(match records.is_empty() {
            true => Reply::nodata(),
            false => Reply::answers(records),
        })
    });
    let acme = acme(&hosting, &hosting.resolver(), DIRECTORY, "");
    let own: String = files
        .iter()
        .filter(|(tenant, _)| tenant.is_empty())
        .map(|(_, domain)| policy(domain, 86_400))
        .collect();
    hosting.settings(&format!("https = [\"{HOST}:443\"]\n{acme}{own}"));
    without_certificates(&hosting);
    for (tenant, domain) in files.iter().filter(|(tenant, _)| !tenant.is_empty()) {
        hosting.write(&format!("host.d/{tenant}.toml"), &policy(domain, 86_400));
    }
    (hosting, pebble, names)
}

fn leads(names: &Names, domain: &'static str, target: &str, text: Option<&str>) {
    let says = Says {
        target: Some(target.to_owned()),
        text: text.map(str::to_owned),
    };
    names.lock().unwrap().insert(domain, says);
}

/// The name to which the CNAME of a policy host has to lead.
fn target(hosting: &Hosting, domain: &str) -> String {
    let records = hosting.ask(&["records", domain]);
    let (_, target) = records.lines().next().unwrap().rsplit_once(' ').unwrap();
    target.trim_end_matches('.').to_owned()
}

fn is_served(hosting: &Hosting, domain: &str) -> bool {
    let name = format!("mta-sts.{domain}");
    let fetched = hosting
        .connect(&name)
        .and_then(|mut stream| exchange(&mut stream, &name));
    fetched.is_ok_and(|(_, text)| text.contains(&format!("mx: mx.{domain}\r\n")))
}

/// What `status` says of a domain, which is bad.
fn complaint(hosting: &Hosting, domain: &str) -> String {
    let output = hosting.command(&["status", domain]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for a line of the log, and says which it was.
fn logged(hosting: &Hosting, expected: &str) {
    until(expected, || hosting.log().contains(expected));
}

#[test]
fn a_tenant_gets_nothing_for_a_domain_whose_dns_does_not_name_its_token() {
    let (mut hosting, pebble, names) =
        hosting(&[("", "own.example"), ("anna", "anna.example"), ("eve", "victim.example")]);
    for domain in ["own.example", "anna.example", "victim.example"] {
        leads(&names, domain, HOST, None);
    }
    hosting.start();
    pebble.is_trusted(&hosting);
    // The operator's own word is enough for what is in the operator's file.
    until("the operator's", || is_served(&hosting, "own.example"));
    let (annas, eves) = (target(&hosting, "anna.example"), target(&hosting, "victim.example"));
    for domain in ["anna.example", "victim.example"] {
        let why = format!("DNS does not say that mta-sts.{domain} is for this tenant");
        logged(&hosting, &why);
        assert!(complaint(&hosting, domain).contains(&why));
        assert!(hosting.connect(&format!("mta-sts.{domain}")).is_err());
    }
    // The zone has the addresses alone: no record announces a text that is not served.
    let zone = hosting.ask(&["zone"]);
    assert!(zone.contains(&format!("{annas}. 300 IN A {HOST}")), "{zone}");
    assert!(!zone.contains(&format!("_mta-sts.{annas}")), "{zone}");

    // Another tenant's token, also if somebody puts eve's into a TXT record that is not read.
    leads(&names, "victim.example", &annas, Some(&eves));
    hosting.reload("settings reloaded");
    let why = format!("mta-sts.victim.example leads to the token of another claim, {annas}; it must lead to {eves}");
    logged(&hosting, &why);
    assert!(complaint(&hosting, "victim.example").contains(&why));
    let text = format!("mtasts-host={}", annas.split('.').next().unwrap());
    leads(&names, "victim.example", HOST, Some(&text));
    hosting.reload("settings reloaded");
    assert_eq!(pebble.orders(), 1);

    // Its own, by a CNAME or by the TXT record of --direct.
    leads(&names, "anna.example", &annas, None);
    hosting.reload("settings reloaded");
    until("anna's", || is_served(&hosting, "anna.example"));
    assert!(
        hosting
            .ask(&["zone"])
            .contains(&format!("_mta-sts.{annas}. 300 IN TXT"))
    );
    let direct = hosting.ask(&["records", "victim.example", "--direct"]);
    let text = direct
        .lines()
        .find(|line| line.starts_with("mta-sts.victim.example. 300 IN TXT"))
        .expect(&direct);
    leads(&names, "victim.example", HOST, Some(text.split('"').nth(1).unwrap()));
    hosting.reload("settings reloaded");
    until("the victim's", || is_served(&hosting, "victim.example"));
    assert_eq!(pebble.orders(), 3);
    assert!(
        !hosting
            .ask(&["records", "own.example", "--direct"])
            .contains("mtasts-host=")
    );

    // No renewal either, for no one, and what senders hold is served on.
    leads(&names, "anna.example", &eves, None);
    leads(&names, "own.example", &annas, None);
    // Not while it runs: it writes its times back.
    hosting.stop();
    change(&hosting, "UPDATE certificate SET renew = 0, ask = 0");
    hosting.start();
    for domain in ["anna.example", "own.example"] {
        let why = format!("mta-sts.{domain} gets no certificate: mta-sts.{domain} leads to the token of another claim");
        logged(&hosting, &why);
        assert!(complaint(&hosting, domain).contains("no new certificate: "));
        assert!(is_served(&hosting, domain));
    }
    until("a renewal", || pebble.orders() == 4);
    assert!(!hosting.log().contains("mta-sts.victim.example gets no certificate"));

    // Until nobody holds it any more. DNS that does not answer proves nothing.
    logged(&hosting, "the token of anna.example is not in DNS any more");
    change(
        &hosting,
        "UPDATE domain SET lost = lost - 86000 WHERE name = 'anna.example'",
    );
    hosting.reload("settings reloaded");
    assert!(is_served(&hosting, "anna.example"));
    change(
        &hosting,
        "UPDATE domain SET lost = lost - 500 WHERE name = 'anna.example'",
    );
    hosting.reload("settings reloaded");
    logged(&hosting, "anna.example is not served any more");
    until("its end", || hosting.connect("mta-sts.anna.example").is_err());
    assert!(complaint(&hosting, "anna.example").contains("not served"));
    leads(&names, "anna.example", &annas, None);
    hosting.reload("settings reloaded");
    until("its return", || is_served(&hosting, "anna.example"));

    // Who gets a domain of another tenant has to prove it anew.
    fs::remove_file(hosting.path("host.d/anna.toml")).unwrap();
    hosting.write(
        "host.d/eve.toml",
        &(policy("victim.example", 86_400) + &policy("anna.example", 99_999)),
    );
    hosting.ask(&["move", "anna.example", "eve"]);
    hosting.reload("settings reloaded");
    logged(&hosting, "it must lead to");
    let text = hosting
        .connect("mta-sts.anna.example")
        .and_then(|mut stream| exchange(&mut stream, "mta-sts.anna.example"));
    assert!(text.unwrap().1.contains("max_age: 86400"), "what senders hold");
    let moved = target(&hosting, "anna.example");
    leads(&names, "anna.example", &moved, None);
    hosting.reload("settings reloaded");
    until("eve's policy", || {
        let text = hosting
            .connect("mta-sts.anna.example")
            .and_then(|mut stream| exchange(&mut stream, "mta-sts.anna.example"));
        text.unwrap().1.contains("max_age: 99999")
    });
    hosting.stop();
}
