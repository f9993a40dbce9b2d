//! Several tenants name the same domain. DNS says whose it is, and not who was first.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::rr::RecordType;
use mtasts_kit::dns_server::{Asked, DnsServer, Reply, address, cname, txt};
use mtasts_kit::until;
use serde_json::Value;

use super::hosting::{HOST, Hosting, Zone, policy};

const DOMAIN: &str = "victim.example";

/// What a resolver has at the policy host of each domain: an alias, or TXT records beside the address of the host.
#[derive(Clone)]
enum Says {
    Alias(String),
    Texts(Vec<String>),
}

type Names = Arc<Mutex<BTreeMap<&'static str, Says>>>;

fn answer(names: &Names, asked: &Asked) -> Option<Reply> {
    let domain = asked.name.strip_prefix("mta-sts.")?;
    let says = names.lock().unwrap().get(domain)?.clone();
    let mut records = match &says {
        Says::Alias(target) => vec![cname(&asked.name, 60, target)],
        Says::Texts(_) => Vec::new(),
    };
    match (asked.kind, &says) {
        (RecordType::A, Says::Alias(target)) => records.push(address(target, HOST)),
        (RecordType::A, Says::Texts(_)) => records.push(address(&asked.name, HOST)),
        (RecordType::TXT, Says::Texts(texts)) => {
            records.extend(texts.iter().map(|text| txt(&asked.name, 60, &[text.as_bytes()])));
        }
        _ => {}
    }
    Some(match records.is_empty() {
        true => Reply::nodata(),
        false => Reply::answers(records),
    })
}

/// A host that asks two resolvers.
struct Site {
    hosting: Hosting,
    names: [Names; 2],
    _second: DnsServer,
}

impl Site {
    fn new() -> Self {
        let hosting = Hosting::new(&[DOMAIN, "eve.example"]);
        let names = [Names::default(), Names::default()];
        let zone = Zone::default();
        let (first, second) = (Arc::clone(&names[0]), Arc::clone(&names[1]));
        hosting.says(move |asked| answer(&first, asked));
        zone.lock().unwrap().push(Box::new(move |asked| answer(&second, asked)));
        let second = Hosting::name_server(&zone);
        hosting.settings(&format!(
            "https = [\"{HOST}:443\"]\nresolvers = [\"{}\", \"{}\"]\n",
            hosting.resolver(),
            second.address
        ));
        Self {
            hosting,
            names,
            _second: second,
        }
    }

    fn tenant(&self, name: &str, domains: &str) {
        self.hosting.write(&format!("host.d/{name}.toml"), domains);
    }

    fn dns(&self, resolver: usize, domain: &'static str, says: Says) {
        self.names[resolver].lock().unwrap().insert(domain, says);
    }

    /// Both resolvers have it, and the server looks.
    fn all_say(&self, domain: &'static str, says: &Says) {
        (0..2).for_each(|resolver| self.dns(resolver, domain, says.clone()));
        self.looks();
    }

    /// Has the server look at DNS, and waits until it has.
    fn looks(&self) {
        self.hosting.reload("settings reloaded");
        std::thread::sleep(Duration::from_millis(1500));
    }

    /// What the DNS of a domain says for a tenant: the alias, and the text of --direct.
    fn of(&self, domain: &str, tenant: &str) -> (Says, String) {
        let alias = self.hosting.ask(&["records", domain, "--tenant", tenant]);
        let (_, target) = alias.lines().next().unwrap().rsplit_once(' ').unwrap();
        let direct = self.hosting.ask(&["records", domain, "--tenant", tenant, "--direct"]);
        let text = direct
            .lines()
            .find(|line| line.contains("mtasts-host="))
            .expect(&direct);
        (
            Says::Alias(target.trim_end_matches('.').to_owned()),
            text.split('"').nth(1).unwrap().to_owned(),
        )
    }

    /// Whose policy is served, by its life.
    fn serves(&self, max_age: u32) {
        until(&format!("{max_age}"), || self.max_age() == Some(max_age));
    }

    fn max_age(&self) -> Option<u32> {
        let text = self.hosting.fetch(DOMAIN).ok()?;
        text.split_once("max_age: ")?.1.trim().parse().ok()
    }

    fn status(&self) -> Value {
        let output = self.hosting.command(&["status", DOMAIN, "--json"]).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["domains"][0].take()
    }

    /// Waits until the server has noted that the token is in DNS, or is not any more.
    fn is_lost(&self, lost: bool) {
        until("a note", || self.status()["lost"].is_null() != lost);
    }

    fn change(&self, statement: &str) {
        let ledger = rusqlite::Connection::open(self.hosting.path("ledger/ledger.db")).unwrap();
        ledger.busy_timeout(Duration::from_secs(5)).unwrap();
        ledger.execute_batch(statement).unwrap();
    }
}

#[test]
fn a_domain_is_the_tenants_whose_token_is_in_dns() {
    let mut site = Site::new();
    // Who names a domain first, without its DNS, has nothing of it.
    site.tenant("eve", &(policy(DOMAIN, 86_401) + &policy("eve.example", 86_401)));
    site.hosting.start();
    let (eves, eves_text) = site.of(DOMAIN, "eve");
    let (hers, _) = site.of("eve.example", "eve");
    site.tenant("vera", &policy(DOMAIN, 86_402));
    site.tenant("xena", &policy(DOMAIN, 86_403));
    site.looks();
    assert!(
        !site.hosting.log().contains("Nothing of this file"),
        "{}",
        site.hosting.log()
    );
    let stands = site.status();
    assert_eq!((&stands["tenant"], &stands["proven"]), (&"eve".into(), &false.into()));
    assert_eq!(stands["rivals"], serde_json::json!(["vera", "xena"]));
    let page = site.hosting.command(&["status"]).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(
        page.contains("vera names it too, and gets it when DNS names its token"),
        "{page}"
    );
    // The rest of each file is in force.
    site.all_say("eve.example", &hers);
    until("eve's own", || site.hosting.fetch("eve.example").is_ok());
    assert_eq!(site.max_age(), None);

    // Each has a token of its own, at which there is no more than an address.
    let ((veras, veras_text), (xenas, _)) = (site.of(DOMAIN, "vera"), site.of(DOMAIN, "xena"));
    let zone = site.hosting.ask(&["zone"]);
    for says in [&eves, &veras, &xenas] {
        let Says::Alias(target) = says else { panic!() };
        assert!(zone.contains(&format!("{target}. 300 IN A {HOST}")), "{zone}");
        assert!(!zone.contains(&format!("_mta-sts.{target}")), "{zone}");
    }
    // One resolver that says so is not enough.
    site.dns(0, DOMAIN, veras.clone());
    site.looks();
    assert_eq!(site.status()["tenant"], "eve");
    site.all_say(DOMAIN, &veras);
    site.serves(86_402);
    let said = "DNS says that victim.example is for vera, and not for eve any more.";
    assert!(site.hosting.log().contains(said), "{}", site.hosting.log());
    assert_eq!(site.status()["rivals"], serde_json::json!(["eve", "xena"]));

    // What senders hold is served until DNS has named another tenant for an hour.
    site.all_say(DOMAIN, &xenas);
    site.is_lost(true);
    let said = "the token of victim.example is not in DNS any more";
    assert!(site.hosting.log().contains(said), "{}", site.hosting.log());
    site.change("UPDATE domain SET lost = lost - 3000 WHERE name = 'victim.example'");
    site.looks();
    assert_eq!(
        (site.max_age(), &site.status()["tenant"]),
        (Some(86_402), &"vera".into())
    );
    // It comes back, and the hour begins anew.
    site.all_say(DOMAIN, &veras);
    site.is_lost(false);
    site.all_say(DOMAIN, &xenas);
    site.is_lost(true);
    site.change("UPDATE domain SET lost = lost - 3590 WHERE name = 'victim.example'");
    // No fetch fails meanwhile.
    for _ in 0..3 {
        site.looks();
        assert!(site.max_age().is_some());
    }
    site.change("UPDATE domain SET lost = lost - 3600 WHERE name = 'victim.example' AND lost IS NOT NULL");
    site.looks();
    site.serves(86_403);

    // By addresses: two tokens at a time are a doubt, and it stays whose it is.
    let xenas_text = site.of(DOMAIN, "xena").1;
    site.all_say(DOMAIN, &Says::Texts(vec![eves_text.clone(), xenas_text]));
    site.change("UPDATE domain SET lost = 1 WHERE name = 'victim.example'");
    site.looks();
    assert_eq!(site.status()["tenant"], "xena");
    site.all_say(DOMAIN, &Says::Texts(vec![veras_text]));
    site.is_lost(true);
    site.change("UPDATE domain SET lost = 1 WHERE name = 'victim.example'");
    site.looks();
    site.serves(86_402);

    // The one who has it is in no file any more: it is kept, and DNS decides as before.
    fs::remove_file(site.hosting.path("host.d/vera.toml")).unwrap();
    site.all_say(DOMAIN, &eves);
    until("a note", || {
        site.hosting
            .log()
            .matches("the token of victim.example is not in DNS any more")
            .count()
            >= 4
    });
    site.change("UPDATE domain SET lost = 1 WHERE name = 'victim.example'");
    site.looks();
    site.serves(86_401);
    // The operator's word is the last.
    site.hosting.ask(&["move", DOMAIN, "xena"]);
    site.looks();
    assert_eq!(
        (site.max_age(), &site.status()["tenant"]),
        (Some(86_401), &"xena".into())
    );
    site.hosting.stop();
}

/// Somebody who named the domain once, and does not any more, is in nobody's way.
#[test]
fn a_claim_that_was_never_proven_waits_for_nobody() {
    let mut site = Site::new();
    site.tenant("eve", &policy(DOMAIN, 86_401));
    site.hosting.start();
    fs::remove_file(site.hosting.path("host.d/eve.toml")).unwrap();
    site.tenant("vera", &policy(DOMAIN, 86_402));
    site.looks();
    let page = site.hosting.command(&["status"]).output().unwrap();
    let text = String::from_utf8(page.stdout).unwrap();
    assert!(
        page.status.code() == Some(1) && text.contains("victim.example: not served") && text.contains("vera names it"),
        "{text}"
    );
    let said = site.hosting.command(&["add", DOMAIN]).output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("It is for vera when DNS names this token"), "{said}");
    let (veras, _) = site.of(DOMAIN, "vera");
    site.all_say(DOMAIN, &veras);
    site.serves(86_402);
    site.hosting.stop();
}
