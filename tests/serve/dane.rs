//! What it answers with the setting `dane`, by the word of a real validator on zones that are signed, unsigned and broken.

use super::server::Server;
use mtasts_kit::on_the_internet_with;
use mtasts_kit::signed::Signed;

const SIGNED: Option<&[&str]> = Some(&["ECDSAP256SHA256"]);
const ONLY: &str = "OK dane-only";
const DANE: &str = "OK dane";
const NOTHING: &str = "NOTFOUND ";
const UNKNOWN: &str = "TEMP the MX hosts of ";

/// MX hosts by letters: usable TLSA records, records of no use, none, no address, a forged record.
fn hosts(letters: &str) -> String {
    let digest = "07".repeat(32);
    let record = |n: usize, letter: char| {
        let records = match letter {
            'u' | 'f' => format!("_25._tcp.mx{n} TLSA 3 1 1 {digest}\n"),
            'x' => format!("_25._tcp.mx{n} TLSA 1 1 1 {digest}\n"),
            _ => String::new(),
        };
        let address = match letter {
            'n' => String::new(),
            _ => format!("mx{n} A 192.0.2.{n}\n"),
        };
        format!("@ MX {n} mx{n}\n{address}{records}")
    };
    (1..)
        .zip(letters.chars())
        .map(|(n, letter)| record(n, letter))
        .collect()
}

/// The zones have the names of domains of the test Internet, which has their policies.
#[test]
fn what_a_validator_says_of_the_hosts_decides() {
    let mut signed = Signed::new("serve-dane");
    let zones: [(&str, &str, Option<&[&str]>, &str); 15] = [
        // In mode enforce.
        ("good.test", "u", SIGNED, ONLY),
        ("wild.test", "uu", SIGNED, ONLY),
        ("twomx.test", "ua", SIGNED, ONLY),
        ("mixed.test", "un", SIGNED, ONLY),
        ("v6.test", "x", SIGNED, "OK secure match="),
        ("implicit.test", "a", SIGNED, "OK secure match="),
        ("wildcert.test", "u", None, "OK secure match="),
        ("hub.test", "fu", SIGNED, ONLY),
        ("tls12.test", "f", SIGNED, UNKNOWN),
        // In mode testing, and without a policy.
        ("testing-nottls.test", "u", SIGNED, ONLY),
        ("nopolicy.test", "ua", SIGNED, DANE),
        ("nopolicy-tls11.test", "x", SIGNED, DANE),
        ("nopolicy-nottls.test", "a", SIGNED, NOTHING),
        ("broken.test", "u", SIGNED, UNKNOWN),
        ("unsigned.test", "u", None, NOTHING),
    ];
    for (name, letters, signing, _) in zones {
        signed.zone(name, &hosts(letters), signing);
        let forge = |signed: &Signed, is_forged: fn(&str) -> bool| {
            let file = format!("{name}.zone");
            let text = signed.directory.read(&file);
            let lines = text.lines().map(|line| match is_forged(line) {
                true => line
                    .replace("07", "06")
                    .replace("192.0.2.", "192.0.3.")
                    .replace("MX\t1", "MX\t2"),
                false => line.to_owned(),
            });
            let lines: Vec<String> = lines.collect();
            signed.directory.write(&file, lines.join("\n") + "\n");
        };
        if letters.starts_with('f') {
            forge(&signed, |line| {
                line.starts_with("_25._tcp.mx1") && line.contains("\tTLSA\t3")
            });
        }
        if name == "broken.test" {
            forge(&signed, |line| line.contains("\tMX\t1") || line.contains("\tA\t192"));
        }
    }
    // A host in a signed zone, named by MX records for which nothing vouches.
    signed.zone("nopolicy-handshake-reset.test", "@ MX 1 mx1.good.test.\n", None);
    let told = zones.map(|(name, _, _, expected)| (name, expected));
    on_the_internet_with("serve-dane", &[("timeout", "5s")], move |internet| {
        let running = signed.start();
        internet.set(&format!(
            "dane = \"auto\"\ndane_resolver = \"{}\"\ndane_bogus_name = \"mx1.broken.test\"",
            running.validator
        ));
        let server = Server::start(internet);
        assert!(server.log().contains("DANE is on"), "{}", server.log());
        for (name, expected) in told {
            for map in ["postfix", "postfix-3.10"] {
                let reply = server.ask(map, name);
                let is_whole = reply == expected || expected.ends_with(['=', ' ']) && reply.starts_with(expected);
                assert!(is_whole, "{map} {name}: {reply}");
            }
        }
        for (map, key, reply) in [
            ("postfix", "nopolicy-handshake-reset.test", DANE),
            // A host that is named: its own records count.
            ("postfix", "[mx1.good.test]:25", ONLY),
            ("postfix", "[mx2.twomx.test]", NOTHING),
            // Sendmail has no word for DANE, and looks itself; so does Exim.
            ("sts", "good.test", "OK secure match=mx.good.test servername=hostname"),
            ("sts", "nopolicy.test", NOTHING),
        ] {
            assert_eq!(server.ask(map, key), reply, "{map} {key}");
        }
        assert!(
            server
                .exim("exim lookup good.test\n")
                .starts_with("OK mode=enforce enforce=yes ")
        );
        // A validator that is gone: what is remembered stays, and the rest waits.
        drop(running);
        assert_eq!(server.ask("postfix", "good.test"), ONLY);
        let reply = server.ask("postfix", "signed.test");
        assert!(reply.starts_with(UNKNOWN), "{reply}");
    });
}
