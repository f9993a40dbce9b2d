//! A member of the cache's group (2770) plants a file whose policy id goes on as Exim's language. Any local user can
//! then have root's Exim look at it, by `exim -bt`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use super::host::{Config, Host};
use super::{World, builds, evidence};

/// What the attacker wants root to run: SQL that makes a file. Each `SECRET` is that file.
const IDS: [&str; 3] = [
    "x\" ignore=\"net-sqlite;;SECRET create table t(a)\" y=\"",
    "x\" ignore=\"net-sqlite,file=SECRET;;create table t(a)\" y=\"",
    "x\" ignore=\"${run{/usr/bin/touch SECRET}}\" y=\"",
];

pub(crate) fn is_not_roots_language(world: &World) {
    for tls in builds() {
        let host = world.host(*tls, &Config::Complete);
        host.send(&["a@good.test"]);
        for (number, id) in IDS.iter().enumerate() {
            let secret = world.folder().join(format!("secret-{tls:?}-{number}"));
            plant(&host, &id.replace("SECRET", &secret.display().to_string()));
            let output = host.command("exim4").args(["-bt", "a@good.test"]).output().unwrap();
            let told = [output.stdout, output.stderr].concat();
            let told = String::from_utf8_lossy(&told)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(!secret.exists(), "root has run it: {told}");
            // The file is as good as none, so the policy is fetched again, and nothing else is allowed.
            assert!(
                told.contains("transport = remote_smtp_mtasts") && told.contains("mx.good.test"),
                "{told}"
            );
            evidence(&format!("a planted id, {id:?} ({tls:?})"), &told);
        }
    }
}

/// Writes another id into the file of the domain, with a digest that fits.
fn plant(host: &Host, id: &str) {
    let file = host.var("lib/mtasts/good.test");
    let text = fs::read_to_string(&file).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let body: String = body
        .split_inclusive('\n')
        .map(|line| match line.starts_with("policy-id: ") {
            true => format!("policy-id: {id}\n"),
            false => line.to_owned(),
        })
        .collect();
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let sum: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    fs::write(&file, format!("mtasts 1 {sum}\n{body}")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o660)).unwrap();
    chown(&file, Some(65_534), None).unwrap();
}
