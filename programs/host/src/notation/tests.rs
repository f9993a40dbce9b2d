use std::fs;

use mtasts::Mode;
use mtasts_kit::pki;
use mtasts_kit::repository;
use tempfile::TempDir;

use super::*;
use crate::published::Published;
use crate::records;
use crate::token::Token;

fn zone() -> Domain {
    Domain::parse("example.com").unwrap()
}

fn delegation() -> Vec<Record> {
    let (token, provider) = (
        Token::parse("abcdefghijklmnop").unwrap(),
        Domain::parse("sts.example.net").unwrap(),
    );
    records::delegation(&zone(), &token, &provider, &["mailto:t@example.net".into()])
}

fn direct() -> Vec<Record> {
    let published = Published::new(Mode::Enforce, 86_400, &["mx.example.com".into()]).unwrap();
    let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|address| address.parse().unwrap());
    let reports = [
        "mailto:it's@example.net".to_owned(),
        format!("https://r.example/{}", "a".repeat(300)),
    ];
    records::direct(&zone(), &published, &addresses, &reports)
}

/// The records that BIND reads of a zone file with these lines in it.
fn read_by_bind(lines: &str) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("zone");
    let head = "$TTL 60\n@ IN SOA ns.example.net. h.example.net. 1 2 3 4 5\n@ IN NS ns.example.net.\n";
    fs::write(&file, format!("{head}{lines}")).unwrap();
    let output = pki::command("named-checkzone", "bind9-utils", repository())
        .args(["-D", "-o", "-", "example.com"])
        .arg(&file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{errors}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let fields = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    fields
        .filter(|line| !line.contains(" SOA ") && !line.contains(" NS "))
        .collect()
}

#[test]
fn bind_reads_the_zone_file_as_it_is_meant() {
    let of = |records: &[Record]| {
        let mut lines = read_by_bind(&Notation::Zone.write(&zone(), records));
        lines.sort();
        lines
    };
    assert_eq!(
        of(&delegation()),
        [
            "_mta-sts.example.com. 300 IN CNAME _mta-sts.abcdefghijklmnop.sts.example.net.",
            "_smtp._tls.example.com. 300 IN CNAME _smtp._tls.abcdefghijklmnop.sts.example.net.",
            "mta-sts.example.com. 300 IN CNAME abcdefghijklmnop.sts.example.net.",
        ]
    );
    let direct = of(&direct());
    assert_eq!(
        direct[0],
        format!("_mta-sts.example.com. 300 IN TXT \"v=STSv1; id={};\"", id())
    );
    assert!(
        direct[1].starts_with("_smtp._tls.example.com. 300 IN TXT \"v=TLSRPTv1; rua=mailto:it's@example.net,https")
    );
    assert_eq!(direct[1].matches('"').count(), 4, "two strings: {}", direct[1]);
    assert_eq!(
        direct[2..],
        [
            "mta-sts.example.com. 300 IN A 192.0.2.1",
            "mta-sts.example.com. 300 IN A 192.0.2.2",
            "mta-sts.example.com. 300 IN AAAA 2001:db8::1",
        ]
    );
}

fn id() -> String {
    let Data::Txt(text) = &direct()[3].data else { panic!() };
    text.trim_start_matches("v=STSv1; id=").trim_end_matches(';').to_owned()
}

#[test]
fn nsupdate_replaces_what_is_there() {
    let mut records = direct();
    records.truncate(4);
    let id = id();
    let expected = format!(
        "zone example.com.\n\
         update delete mta-sts.example.com.\n\
         update add mta-sts.example.com. 300 IN A 192.0.2.1\n\
         update add mta-sts.example.com. 300 IN A 192.0.2.2\n\
         update add mta-sts.example.com. 300 IN AAAA 2001:db8::1\n\
         update delete _mta-sts.example.com.\n\
         update add _mta-sts.example.com. 300 IN TXT \"v=STSv1; id={id};\"\n\
         send\n"
    );
    assert_eq!(Notation::Nsupdate.write(&zone(), &records), expected);
}

#[test]
fn octodns_has_sets_below_their_names() {
    let mut records = direct();
    records.truncate(4);
    let id = id();
    let expected = format!(
        "---\n_mta-sts:\n- ttl: 300\n  type: TXT\n  values:\n  - 'v=STSv1\\; id={id}\\;'\nmta-sts:\n- ttl: 300\n  type: A\n  \
         values:\n  - 192.0.2.1\n  - 192.0.2.2\n- ttl: 300\n  type: AAAA\n  values:\n  - 2001:db8::1\n"
    );
    assert_eq!(Notation::Octodns.write(&zone(), &records), expected);
    let text = Notation::Octodns.write(&zone(), &delegation());
    assert!(
        text.contains("mta-sts:\n- ttl: 300\n  type: CNAME\n  value: abcdefghijklmnop.sts.example.net.\n"),
        "{text}"
    );
    let text = Notation::Octodns.write(&zone(), &direct());
    assert!(
        text.contains("'v=TLSRPTv1\\; rua=mailto:it''s@example.net,https://r.example/aaa"),
        "{text}"
    );
}

#[test]
fn dnscontrol_extends_the_zone() {
    let expected = "D_EXTEND(\"example.com\",\n  CNAME(\"mta-sts\", \"abcdefghijklmnop.sts.example.net.\", TTL(300)),\n  \
                    CNAME(\"_mta-sts\", \"_mta-sts.abcdefghijklmnop.sts.example.net.\", TTL(300)),\n  CNAME(\"_smtp._tls\", \
                    \"_smtp._tls.abcdefghijklmnop.sts.example.net.\", TTL(300))\n);\n";
    assert_eq!(Notation::Dnscontrol.write(&zone(), &delegation()), expected);
    let text = Notation::Dnscontrol.write(&zone(), &direct());
    assert!(
        text.contains(&format!("TXT(\"_mta-sts\", \"v=STSv1; id={};\", TTL(300)),", id())),
        "{text}"
    );
    assert!(text.contains("AAAA(\"mta-sts\", \"2001:db8::1\", TTL(300)),"), "{text}");
}

#[test]
fn terraform_has_a_resource_for_each_set() {
    let text = Notation::Terraform.write(&zone(), &delegation());
    let cname = "resource \"dns_cname_record\" \"sts_mta-sts_example_com\" {\n  zone = \"example.com.\"\n  name = \"mta-sts\"\n  \
                 cname = \"abcdefghijklmnop.sts.example.net.\"\n  ttl = 300\n}\n";
    assert!(text.contains(cname), "{text}");
    let text = Notation::Terraform.write(&zone(), &direct());
    let addresses = "resource \"dns_a_record_set\" \"sts_mta-sts_example_com\" {\n  zone = \"example.com.\"\n  name = \"mta-sts\"\n  \
                     addresses = [\"192.0.2.1\", \"192.0.2.2\"]\n  ttl = 300\n}\n";
    assert!(text.contains(addresses), "{text}");
    assert!(text.contains(&format!("txt = [\"v=STSv1; id={};\"]", id())), "{text}");
    assert!(text.contains("\"dns_aaaa_record_set\""), "{text}");
    assert!(text.contains("\"sts__smtp__tls_example_com\""), "{text}");
}

#[test]
fn a_name_is_below_its_zone() {
    let parent = Domain::parse("com").unwrap();
    let text = Notation::Dnscontrol.write(&parent, &delegation());
    assert!(text.contains("CNAME(\"_smtp._tls.example\","), "{text}");
}
