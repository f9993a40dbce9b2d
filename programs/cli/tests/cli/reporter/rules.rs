//! What Google and Microsoft ask of senders, one rule after the other, of a report that a reporter has signed and sent. The table
//! of the rules, with where they are published, is in docs/reports.md.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mtasts_kit::{USER, opendkim, repository};
use serde_json::Value;

use super::world::{World, read_mail};

/// A host whose check was good, and the mail that it has sent.
struct Sent {
    world: World,
    key: String,
    text: String,
    mail: Value,
}

impl Sent {
    fn header(&self, name: &str) -> &str {
        self.mail["headers"][name].as_str().unwrap_or_default()
    }

    /// What the check says with this record instead.
    fn checked_with(&self, name: &str, text: Option<&str>) -> String {
        let before = self.world.records.lock().unwrap().get(name).cloned();
        self.world.publish(name, text);
        let ran = self.world.check();
        self.world.publish(name, before.as_deref());
        plain(&ran.out)
    }
}

/// A rule by its row in docs/reports.md, and how it holds.
type Rule = (&'static str, fn(&Sent));

const RULES: [Rule; 10] = [
    ("SPF passes", |sent| {
        let listed = sent.checked_with("txt:sender.test", Some("v=spf1 ip4:8.8.8.1 -all"));
        assert!(
            listed.contains("ok spf: the SPF record of sender.test lists 8.8.8.1"),
            "{listed}"
        );
        let other = sent.checked_with("txt:sender.test", Some("v=spf1 ip4:192.0.2.1 -all"));
        assert!(other.contains("does not list 8.8.8.1"), "{other}");
        let none = sent.checked_with("txt:sender.test", None);
        assert!(none.contains("bad spf: "), "{none}");
    }),
    ("DKIM passes", |sent| {
        let said = opendkim::verify(&sent.world.directory, "s._domainkey.sender.test", &sent.key, &sent.text);
        assert!(
            said.contains("verification (s=s, d=sender.test") && said.contains("succeeded"),
            "{said}"
        );
        let none = sent.checked_with("txt:s._domainkey.sender.test", None);
        assert!(none.contains("bad dkim: "), "{none}");
    }),
    (
        "DMARC, at least `p=none`, and the domain of `From` is that of SPF or DKIM",
        |sent| {
            assert!(
                sent.header("from").ends_with(" <tlsrpt@sender.test>"),
                "{}",
                sent.header("from")
            );
            // The program for mails takes no other envelope sender (World::mailer).
            assert!(
                sent.header("dkim-signature").contains(" d=sender.test;"),
                "{}",
                sent.text
            );
            let none = sent.checked_with("txt:_dmarc.sender.test", None);
            assert!(none.contains("sender.test has no DMARC record"), "{none}");
        },
    ),
    ("the address has a name that leads back to it", |sent| {
        let none = sent.checked_with("ptr:8.8.8.1", None);
        assert!(none.contains("bad ptr: 8.8.8.1 has no name (PTR)"), "{none}");
        let other = sent.checked_with("ptr:8.8.8.1", Some("good.test"));
        assert!(other.contains("ok ptr: 8.8.8.1 is good.test"), "{other}");
        let astray = sent.checked_with("ptr:8.8.8.1", Some("none.test"));
        assert!(
            astray.contains("bad ptr: no name of 8.8.8.1 (PTR) leads back to it"),
            "{astray}"
        );
    }),
    ("TLS", |sent| {
        // Nothing in the mail forbids it: a receiver that offers TLS gets it (tests/exim/reports.rs).
        assert_eq!(sent.header("tls-required"), "No");
    }),
    ("the form of a mail (RFC 5322): one `From`, one `Message-ID`", |sent| {
        let (head, body) = sent.text.split_once("\n\n").unwrap();
        for name in [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "Content-Type",
        ] {
            let field = format!("{}: ", name.to_ascii_lowercase());
            let lines = head
                .lines()
                .filter(|line| line.to_ascii_lowercase().starts_with(&field));
            assert_eq!(lines.count(), 1, "{name}: {head}");
        }
        assert!(head.lines().chain(body.lines()).all(|line| line.len() <= 998), "{head}");
        assert!(
            sent.text
                .bytes()
                .all(|octet| octet == b'\n' || octet == b'\t' || (b' '..=b'~').contains(&octet))
        );
        assert_eq!(sent.mail["defects"], serde_json::json!([]));
    }),
    ("`From` or `Reply-To` takes mail", |sent| {
        let null = sent.checked_with("mx:sender.test", Some("."));
        assert!(null.contains("bad sender: sender.test takes no mail"), "{null}");
    }),
    ("no `From` of gmail.com", |sent| {
        let settings = fs::read_to_string(sent.world.path("mtasts.toml")).unwrap();
        fs::write(
            sent.world.path("mtasts.toml"),
            settings.replace("tlsrpt@sender.test", "tlsrpt@gmail.com"),
        )
        .unwrap();
        let ran = sent.world.check();
        fs::write(sent.world.path("mtasts.toml"), settings).unwrap();
        assert!(
            ran.status == 1 && plain(&ran.out).contains("bad dkim: s._domainkey.gmail.com "),
            "{ran:?}"
        );
    }),
    (
        "few complaints; unsubscribing; addresses that bounce are left out",
        |sent| {
            // Who publishes no record gets nothing: that is how it unsubscribes.
            assert_eq!(sent.header("to"), "reports@mail.test");
            let mut bounced = crate::command_of_user(&["report", "bounced", "reports@mail.test"]);
            bounced.env("MTASTS_CONFIG", sent.world.path("mtasts.toml"));
            assert!(bounced.status().unwrap().success());
            fs::remove_file(sent.world.ledger()).unwrap();
            let ran = sent.world.run();
            assert!(
                ran.err.contains("mail.test gets no report at mailto:reports@mail.test"),
                "{ran:?}"
            );
            assert_eq!(sent.world.mails().len(), 0);
        },
    ),
    ("many mails come slowly", |_| {
        let delays: Vec<u64> = (0..1000)
            .map(|n| mtasts_report::spread::delay(&format!("d{n}.test")))
            .collect();
        for hour in 0..4 {
            let begin = 600 + hour * 3600;
            let due = delays
                .iter()
                .filter(|delay| (begin..begin + 3600).contains(*delay))
                .count();
            assert!((150..350).contains(&due), "{due} of 1000 in hour {hour}");
        }
    }),
];

/// The words of a page, with one space between them.
fn plain(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_rule_of_large_receivers_is_kept() {
    let documented = fs::read_to_string(repository().join("docs/reports.md")).unwrap();
    let (_, rows) = documented
        .split_once("| the rule | who | here |\n|---|---|---|\n")
        .unwrap();
    let rows = rows
        .lines()
        .map_while(|line| line.strip_prefix("| ")?.split(" | ").next());
    assert_eq!(rows.collect::<Vec<_>>(), RULES.map(|(rule, _)| rule));
    // Before this thread has a network of its own.
    opendkim::fetch();
    let sent = sent();
    for (rule, holds) in RULES {
        println!("{rule}");
        holds(&sent);
    }
}

/// A host that sends from 8.8.8.1 and signs.
fn sent() -> Sent {
    let world = World::new(
        "rules",
        &[
            ("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test"),
            ("good.test", "8.8.8.1"),
            ("mx.sender.test", "8.8.8.1"),
            ("ptr:8.8.8.1", "mx.sender.test"),
            ("txt:_dmarc.sender.test", "v=DMARC1; p=none"),
        ],
    );
    let route = ["route", "add", "198.41.0.4", "dev", "lo", "src", "8.8.8.1"];
    assert!(Command::new("ip").args(route).status().unwrap().success());
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let file = world.path("key.pem");
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        &file,
    ]);
    chown(&file, Some(USER), Some(USER)).unwrap();
    let public = openssl(&["pkey", "-in", &file, "-pubout", "-outform", "DER"]);
    let key = format!("v=DKIM1; k=rsa; p={}", BASE64.encode(public));
    world.publish("txt:s._domainkey.sender.test", Some(&key));
    world.configure(&format!("dkim_selector = \"s\"\ndkim_key = \"{file}\""));
    world.sessions(&["mail.test"]);
    let checked = world.check();
    assert_eq!(checked.status, 0, "{checked:?}");
    assert_eq!(world.run().status, 0);
    let file = fs::read_dir(world.path("mail"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(file).unwrap();
    let mail = read_mail(text.as_bytes());
    Sent { world, key, text, mail }
}
