//! What the reporter signs verifies.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mtasts_kit::{USER, opendkim};
use serde_json::json;

use super::world::{KEY, World, read_mail};

/// For a host whose mail server does not sign: each signature verifies, by a program of others.
#[test]
fn the_reporter_signs_by_rsa_and_by_ed25519() {
    // Before this thread has a network of its own.
    opendkim::fetch();
    let world = World::new("signs", &[("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test")]);
    world.sessions(&["mail.test"]);
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let key = world.path("key.pem");
    for (algorithm, option, name) in [
        ("RSA", &["-pkeyopt", "rsa_keygen_bits:2048"][..], "rsa-sha256"),
        ("ED25519", &[], "ed25519-sha256"),
    ] {
        openssl(&[&["genpkey", "-algorithm", algorithm, "-out", &key], option].concat());
        chown(&key, Some(USER), Some(USER)).unwrap();
        let spki = openssl(&["pkey", "-in", &key, "-pubout", "-outform", "DER"]);
        let record = match algorithm {
            "RSA" => format!("v=DKIM1; k=rsa; p={}", BASE64.encode(&spki)),
            _ => format!(
                "v=DKIM1; k=ed25519; s=email:tlsrpt; p={}",
                BASE64.encode(&spki[spki.len() - 32..])
            ),
        };
        world.configure(&format!("dkim_selector = \"s\"\ndkim_key = \"{key}\""));
        world.publish("txt:s._domainkey.sender.test", Some(KEY));
        let other = world.check();
        assert!(other.status == 1 && other.out.contains("dkim_key"), "{other:?}");
        world.publish("txt:s._domainkey.sender.test", Some(&record));
        let checked = world.check();
        assert!(
            checked.status == 0 && checked.out.contains("the reporter signs"),
            "{checked:?}"
        );
        let _ = fs::remove_file(world.ledger());
        assert_eq!(world.run().status, 0);
        let file = fs::read_dir(world.path("mail"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mail = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        assert_eq!(read_mail(mail.as_bytes())["defects"], json!([]));
        let (field, rest) = mail.split_once("\nFrom:").unwrap();
        assert!(
            field.starts_with(&format!("DKIM-Signature: v=1; a={name}; ")) && !field.contains("; l="),
            "{field}"
        );
        assert!(
            field.contains("h=TLS-Report-Domain:\n\t TLS-Report-Submitter:\n"),
            "{field}"
        );
        let said = opendkim::verify(&world.directory, "s._domainkey.sender.test", &record, &mail);
        assert!(
            said.contains("verification (s=s, d=sender.test") && said.contains("succeeded"),
            "{name}: {said}\n{field}"
        );
        let line = mail.lines().find(|line| line.starts_with("H4sI")).unwrap();
        for changed in [
            mail.replacen(line, &line.replace('H', "I"), 1),
            mail.replacen("Domain: mail.test", "Domain: x.test", 1),
        ] {
            assert_ne!(changed, mail, "{rest}");
            let said = opendkim::verify(&world.directory, "s._domainkey.sender.test", &record, &changed);
            assert!(!said.contains("succeeded"), "{name}: {said}");
        }
    }
}
