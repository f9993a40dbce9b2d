//! Whether the names of domains lead here, seen by a server that runs and by the one who has to change them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::rr::RecordType;
use mtasts_kit::dns_server::{Reply, address, cname, mx, txt};
use mtasts_kit::until;

use super::hosting::{HOST, Hosting, policy};

/// What DNS says of a domain: where its policy host leads, and its id.
type Says = Arc<Mutex<(Option<String>, String)>>;

fn hosting() -> (Hosting, Says) {
    let hosting = Hosting::new(&["example.com"]);
    let says = Says::default();
    let said = Arc::clone(&says);
    hosting.says(move |asked| {
        let (target, id) = said.lock().unwrap().clone();
        match (asked.name.as_str(), asked.kind) {
            ("mta-sts.example.com" | "loop.example.com", RecordType::A | RecordType::AAAA | RecordType::TXT)
                if target.as_deref() == Some("loop.example.com") =>
            {
                let (first, second) = ("mta-sts.example.com", "loop.example.com");
                Some(Reply::answers(vec![cname(first, 60, second), cname(second, 60, first)]))
            }
            ("mta-sts.example.com", RecordType::A | RecordType::AAAA) => Some(match target {
                Some(target) if asked.kind == RecordType::A && target.parse::<std::net::IpAddr>().is_ok() => {
                    Reply::answers(vec![address(&asked.name, &target)])
                }
                Some(target) if asked.kind == RecordType::A => {
                    Reply::answers(vec![cname(&asked.name, 60, &target), address(&target, HOST)])
                }
                Some(_) => Reply::nodata(),
                None => Reply::nxdomain(),
            }),
            ("_mta-sts.example.com", RecordType::TXT) if !id.is_empty() => {
                let text = format!("v=STSv1; id={id};");
                Some(Reply::answers(vec![txt(&asked.name, 60, &[text.as_bytes()])]))
            }
            _ => None,
        }
    });
    hosting.settings(&format!(
        "https = [\"{HOST}:443\"]\nresolvers = [\"{}\"]\n{}",
        hosting.resolver(),
        policy("example.com", 86_400)
    ));
    (hosting, says)
}

/// The name to which the CNAME of the policy host leads, and the id of what is served.
fn records(hosting: &Hosting) -> (String, String) {
    let delegation = hosting.ask(&["add", "example.com"]);
    let (_, target) = delegation.lines().next().unwrap().rsplit_once(' ').unwrap();
    let direct = hosting.ask(&["records", "example.com", "--direct"]);
    let (_, id) = direct.split_once("id=").unwrap();
    (
        target.trim_end_matches('.').to_owned(),
        id.split(';').next().unwrap().to_owned(),
    )
}

#[test]
fn a_name_that_leads_elsewhere_is_told() {
    let (mut hosting, says) = hosting();
    let (target, id) = records(&hosting);
    *says.lock().unwrap() = (Some(target.clone()), id.clone());
    hosting.start();
    hosting.reload("settings reloaded");
    let other = "aaaaaaaaaaaaaaaa.sts.example.net";
    let cases = [
        (
            None,
            id.as_str(),
            "the addresses of mta-sts.example.com cannot be looked up".to_owned(),
        ),
        (
            Some("loop.example.com"),
            id.as_str(),
            "the addresses of mta-sts.example.com cannot be looked up: more than".to_owned(),
        ),
        (
            Some("8.8.8.2"),
            &id,
            "mta-sts.example.com leads to 8.8.8.2, which is not in the setting addresses".into(),
        ),
        (
            Some(other),
            &id,
            format!("mta-sts.example.com leads to the token of another claim, {other}; it must lead to {target}"),
        ),
        (
            Some(&target),
            "1",
            format!("the record at _mta-sts.example.com has the id 1, and {id} is served"),
        ),
        (Some(&target), "", "there is no record at _mta-sts.example.com".into()),
    ];
    for (leads, id_there, expected) in &cases {
        *says.lock().unwrap() = (leads.map(str::to_owned), (*id_there).to_owned());
        hosting.reload("settings reloaded");
        until(expected, || hosting.log().contains(expected.as_str()));
        assert!(!hosting.log().contains("example.com leads here again"));
        // The policy is served on.
        assert!(hosting.connect("mta-sts.example.com").is_ok());
    }
    // An MX host that the policy does not list.
    *says.lock().unwrap() = (Some(target.clone()), id.clone());
    let has_moved = Arc::new(AtomicBool::new(true));
    let moved = Arc::clone(&has_moved);
    hosting.says(move |asked| {
        let is_asked = (asked.name.as_str(), asked.kind) == ("example.com", RecordType::MX);
        let exchange = if moved.load(Ordering::SeqCst) {
            "new.example.com"
        } else {
            "mx.example.com"
        };
        is_asked.then(|| Reply::answers(vec![mx("example.com", 10, exchange)]))
    });
    hosting.reload("settings reloaded");
    until("the MX host", || {
        hosting
            .log()
            .contains("new.example.com is an MX host of example.com in DNS, and not in the policy")
    });
    // First the policy, for as long as senders may hold the one without it.
    let both = policy("example.com", 86_400).replace("\"mx.example.com\"", "\"mx.example.com\", \"new.example.com\"");
    let old = fs::read_to_string(hosting.path("host.toml")).unwrap();
    hosting.write("host.toml", &old.replace(&policy("example.com", 86_400), &both));
    hosting.reload("settings reloaded");
    let page = hosting.ask(&["status"]);
    let expected = "new.example.com: senders with an older policy refuse it until 20";
    assert!(
        page.contains(expected) && !page.contains("mx.example.com: senders"),
        "{page}"
    );
    hosting.write("host.toml", &old);
    has_moved.store(false, Ordering::SeqCst);
    // It is said once.
    hosting.reload("settings reloaded");
    *says.lock().unwrap() = (Some(target), id);
    hosting.reload("settings reloaded");
    until("its return", || hosting.log().contains("example.com leads here again."));
    assert_eq!(
        hosting.log().matches("there is no record at _mta-sts").count(),
        1,
        "{}",
        hosting.log()
    );
    hosting.stop();
}

#[test]
fn who_adds_a_domain_can_wait_for_dns() {
    let (mut hosting, says) = hosting();
    let (target, id) = records(&hosting);
    hosting.start();
    let mut waiting = hosting
        .command(&["add", "example.com", "--wait"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let mut next = || said.next().unwrap().unwrap();
    assert!(next().contains("the addresses of mta-sts.example.com cannot be looked up"));
    *says.lock().unwrap() = (Some("8.8.8.2".into()), id.clone());
    assert!(next().contains("leads to 8.8.8.2"));
    *says.lock().unwrap() = (Some(target.clone()), String::new());
    assert!(next().contains("there is no record at _mta-sts.example.com"));
    *says.lock().unwrap() = (Some(target), id);
    assert!(waiting.wait().unwrap().success());
    hosting.stop();
}
