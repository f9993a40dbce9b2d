//! Domains told apart by their `_mta-sts` TXT record (RFC 8461 3.1).

use crate::behaviour::Fault;
use crate::entry::Entry;

pub(super) fn entries() -> Vec<Entry> {
    // Nothing wrong: the record is found and valid.
    let valid: &[(&str, &[&str], &str)] = &[
        (
            "txt-nodelimiter.test",
            &["v=STSv1; id=a"],
            "nothing; no semicolon at the end of the record",
        ),
        (
            "txt-tabs.test",
            &["v=STSv1;\t  id=a \t; \t"],
            "nothing; blanks and tabs around the semicolons",
        ),
        (
            "txt-blank.test",
            &["v=STSv1 ; id=a"],
            "nothing; a blank before the first semicolon",
        ),
        (
            "txt-id32.test",
            &["v=STSv1; id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA9;"],
            "nothing; the longest id",
        ),
        (
            "txt-extension.test",
            &["v=STSv1; id=a; more=a; ext=2"],
            "nothing; unknown fields in the record",
        ),
        (
            "txt-twice.test",
            &["v=STSv1; id=a; id=b;"],
            "nothing; a second id, which is ignored",
        ),
        (
            "txt-split.test",
            &[r#""v=STSv1; id=2016" "0831085700Z;""#],
            "nothing; the record is split into two strings",
        ),
        (
            "txt-foreign.test",
            &["google-site-verification=abc123", "v=STSv1; id=a;"],
            "nothing; a foreign TXT record beside",
        ),
        (
            "txt-foreign10.test",
            &["v=STSv10; id=b;", "v=STSv1; id=a;"],
            "nothing; a record of another version beside",
        ),
    ];
    let invalid: &[(&str, &[&str], &str)] = &[
        ("txt-two.test", &["v=STSv1; id=a;", "v=STSv1; id=b;"], "two records"),
        (
            "txt-twobad.test",
            &["v=STSv1; id=a;", "v=STSv1;"],
            "two records, one of them malformed",
        ),
        (
            "txt-other.test",
            &["google-site-verification=abc123", "bogus"],
            "only foreign TXT records",
        ),
        ("txt-noid.test", &["v=STSv1;"], "no id"),
        ("txt-emptyid.test", &["v=STSv1; id=;"], "the id is empty"),
        (
            "txt-badid.test",
            &["v=STSv1; id=2019-04-29;"],
            "the id has characters it may not have",
        ),
        (
            "txt-id33.test",
            &["v=STSv1; id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA9x;"],
            "the id is too long",
        ),
        ("txt-upperid.test", &["v=STSv1; ID=a;"], "the key is written ID"),
        ("txt-version2.test", &["v=STSv2; id=a;"], "wrong version: STSv2"),
        ("txt-version10.test", &["v=STSv10; id=a;"], "wrong version: STSv10"),
        ("txt-order.test", &["id=a; v=STSv1;"], "the version is not first"),
        (
            "txt-spaces.test",
            &["v = STSv1; id = a;"],
            "blanks around the equals sign",
        ),
        ("txt-doublesemi.test", &["v=STSv1; id=a;;"], "two semicolons at the end"),
        (
            "txt-trailing.test",
            &["v=STSv1; id=a "],
            "a blank at the end without a semicolon",
        ),
        (
            "txt-value.test",
            &["v=STSv1; id=a; k=b=c;"],
            "an extension value with an equals sign",
        ),
        ("txt-nonascii.test", &["v=STSv1; id=a; note=caf\u{e9};"], "not ASCII"),
    ];
    let new = Entry::new;
    let mut entries: Vec<_> = valid
        .iter()
        .map(|(name, txt, wrong)| new(name).txt(txt).wrong(wrong))
        .collect();
    let broken = |(name, txt, wrong): &(&str, &[&str], &str)| {
        new(name).txt(txt).absent().wrong(&format!("broken record: {wrong}"))
    };
    entries.extend(invalid.iter().map(broken));
    entries.extend([
        new("txt-big.test")
            .txt(&big())
            .wrong("nothing; so many TXT records that the answer needs TCP"),
        new("txt-cname.test")
            .txt_alias("_mta-sts.provider.test")
            .wrong("nothing; the record is behind a CNAME"),
        new("txt-cname2.test")
            .txt_alias("_mta-sts.txt-cname.test")
            .wrong("nothing; the record is behind two CNAMEs"),
        new("provider.test")
            .txt(&["v=STSv1; id=p;"])
            .wrong("nothing; other domains' CNAMEs lead to its record"),
        new("txt-cname-loop.test")
            .txt_alias("_mta-sts.txt-cname-loop.test")
            .unknown()
            .wrong("a CNAME that leads to itself"),
        new("txt-cname-dangling.test")
            .txt_alias("_mta-sts.nowhere.test")
            .absent()
            .wrong("a CNAME to nothing"),
        new("txt-cname-servfail.test")
            .txt_alias("_mta-sts.txt-servfail.test")
            .unknown()
            .wrong("a CNAME to a name whose lookup fails"),
        new("txt-nxdomain.test")
            .txt_fault(Fault::NxDomain)
            .absent()
            .wrong("a policy is there, the record is not (NXDOMAIN)"),
        new("txt-nodata.test")
            .txt_fault(Fault::NoData)
            .absent()
            .wrong("a policy is there, the record is not (NODATA)"),
        new("txt-servfail.test")
            .txt_fault(Fault::ServFail)
            .unknown()
            .wrong("the lookup of the record fails (SERVFAIL)"),
        new("txt-refused.test")
            .txt_fault(Fault::Refused)
            .unknown()
            .wrong("the lookup of the record is refused"),
        new("txt-silent.test")
            .txt_fault(Fault::Silent)
            .unknown()
            .wrong("the lookup of the record gets no answer"),
    ]);
    entries
}

/// More than fits into 4096 octets, the record in the middle.
fn big() -> Vec<&'static str> {
    const FOREIGN: &str = "foreign=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
        0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
    let mut records = vec![FOREIGN; 40];
    records[20] = "v=STSv1; id=big;";
    records
}
