//! Reports on their way out: the reporter signs, Exim sends, and no report counts that session.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;

use super::host::{self, Tls};
use super::{World, counted};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mtasts::cache::store::Store;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::{mtasts, opendkim};
use mtasts_lab::{Change, policy_text};

const SENDER: &str = "tlsrpt@good.test";

pub(crate) fn go_out(world: &World) {
    let config = host::edited(&[(
        "keep_environment =\n",
        "keep_environment =\ntrusted_users = mtasts\nMTASTS_REPORTS = yes\n",
    )]);
    let host = world.host(Tls::Gnu, &config);
    let settings = format!(
        "{}tlsrpt_journal = \"on\"\ntlsrpt_sender = \"{SENDER}\"\n",
        host::SETTINGS
    );
    fs::write(host.etc("mtasts/mtasts.toml"), settings).unwrap();
    // The key is for the owner of the cache directory alone.
    let key = host.etc("mtasts/dkim.pem");
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let file = key.to_str().unwrap();
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        file,
    ]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = fs::metadata(host.var("lib/mtasts")).unwrap();
    chown(&key, Some(owner.uid()), None).unwrap();
    let public = STANDARD.encode(openssl(&["pkey", "-in", file, "-pubout", "-outform", "DER"]));
    let record = format!("v=DKIM1; p={public}");
    let report = "sendmail = \"/usr/sbin/exim4\"\ndkim_selector = \"s\"\ndkim_key = \"/etc/mtasts/dkim.pem\"\n";
    fs::write(host.etc("mtasts/report.toml"), report).unwrap();
    let publish = |domain: &str, records: &[(&str, &str)], change: Change| {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let change = Change {
            txt_at: records.iter().map(own).collect(),
            ..change
        };
        world.lab.set(domain, change).unwrap();
    };
    publish(
        "good.test",
        &[("", "v=spf1 mx -all"), ("s._domainkey", &record)],
        Change::default(),
    );
    let receiver = "cname-mx.test";
    let testing = Change::publish("fits", policy_text("testing", &["mx.cname-mx.test"], 86_400));
    publish(
        receiver,
        &[("_smtp._tls", &format!("v=TLSRPTv1; rua=mailto:reports@{receiver}"))],
        testing,
    );
    let store = Store::new(host.var("lib/mtasts"));
    let line = format!("{{\"dpv\":\"1\",\"d\":\"{receiver}\",\"policies\":[{{\"policy-type\":2,\"t\":0,\"f\":0}}]}}");
    store.append(&line, unix_now() - 86_400).unwrap();
    let run = |arguments: &[&str]| {
        let output = host.command(mtasts()).arg("report").args(arguments).output().unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        out.into_owned()
    };
    let checked = run(&["check"]);
    assert!(checked.contains("the reporter signs"), "{checked}");
    let ran = run(&["run", "--at-once"]);
    assert_eq!(
        ran,
        "reports: 1 sent, 0 failed, 0 domains want none, of 0 DNS does not say\n"
    );
    host.settle();
    let mails = world.mail(&format!("reports@{receiver}"));
    assert_eq!(
        (mails.len(), mails[0].sender.as_str()),
        (1, SENDER),
        "{}",
        host.outcome().log
    );
    assert!(mails[0].tls.is_some());
    // What arrives verifies, whatever Exim has put before it.
    let body = &mails[0].body;
    let said = opendkim::verify(world.folder(), "s._domainkey.good.test", &record, body);
    assert!(said.contains("succeeded"), "{said}\n{body}");
    // The session was under a policy in testing, which is in the journal but for this mail.
    let sessions = || {
        let of_receiver = |session: &&serde_json::Value| session["d"] == receiver;
        counted::journal(&host).iter().filter(of_receiver).count()
    };
    assert_eq!(sessions(), 1, "only that of yesterday");
    host.send(&[&format!("user@{receiver}")]);
    assert!(sessions() > 1, "another mail is counted");
}
