//! What receivers make of a report.

use std::fs;
use std::process::Command;

use mtasts_kit::repository;
use serde_json::{Value, json};

use super::world::World;

/// Another reader: what it finds in the mail is what the journal had.
#[test]
#[ignore = "downloads parsedmarc and all that it needs: half a minute"]
fn parsedmarc_reads_a_report() {
    const READ: &str = "import sys, json, parsedmarc
print(json.dumps(parsedmarc.parse_report_email(sys.stdin.buffer.read(), offline=True), default=str))";
    let reader = repository().join("target/parsedmarc");
    let fetched = Command::new(repository().join("tests/tlsrpt/parsedmarc.sh"))
        .arg(&reader)
        .status();
    assert!(fetched.unwrap().success(), "tests/tlsrpt/parsedmarc.sh");
    let world = World::new(
        "parsedmarc",
        &[("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test")],
    );
    world.sessions(&["mail.test"]);
    assert_eq!(world.run().status, 0);
    let mail = fs::read_dir(world.path("mail")).unwrap().next().unwrap().unwrap();
    let output = Command::new(reader.join("venv/bin/python"))
        .args(["-c", READ])
        .stdin(fs::File::open(mail.path()).unwrap())
        .output()
        .unwrap();
    let read: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(read["report_type"], "smtp_tls");
    let report = &read["report"];
    assert_eq!(
        (&report["organization_name"], &report["contact_info"]),
        (&json!("Sénder"), &json!("tlsrpt@sender.test"))
    );
    let policy = &report["policies"][0];
    assert_eq!(
        (&policy["policy_domain"], &policy["policy_type"]),
        (&json!("mail.test"), &json!("sts"))
    );
    assert_eq!(
        (&policy["successful_session_count"], &policy["failed_session_count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(policy["failure_details"][0]["result_type"], "certificate-expired");
}
