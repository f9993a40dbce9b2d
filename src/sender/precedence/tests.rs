//! Each row of the table.

use std::time::Duration;

use super::*;

fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn set(rdata: &[&[u8]]) -> TlsaSet {
    TlsaSet::read(rdata.iter().copied())
}

fn usable() -> TlsaSet {
    set(&[&[&[3u8, 1, 1][..], &[7; 32]].concat()])
}

/// What the table makes of a domain with one host, in few words.
fn told(routing: Routing, records: HostRecords, policy: Enforced, strict_both: bool) -> String {
    let host = name("mx.example.com");
    let facts = Facts {
        domain: name("example.com"),
        routing,
        hosts: vec![(host.clone(), records)],
        life: Duration::ZERO,
    };
    let asserted = |asserted: Asserted| {
        let names: Vec<_> = asserted.names.iter().map(Domain::as_str).collect();
        assert_eq!(names[0], asserted.base.as_str());
        names.join(" ")
    };
    match way(&facts, &host, policy, strict_both) {
        Way::Sts => "sts".into(),
        Way::Dane(it) => format!("dane {}", asserted(it)),
        Way::Both(it) => format!("both {}", asserted(it)),
        Way::TlsWithoutName(base) => format!("tls {base}"),
        Way::SkipHost(why) => {
            assert!(!why.is_empty());
            "skip".into()
        }
    }
}

#[test]
fn every_row() {
    let mx = || vec![name("mx0.example.com"), name("mx.example.com")];
    let with = |base: &str, records: TlsaSet| HostRecords::Records {
        base: name(base),
        records,
    };
    let dane = || with("mx.example.com", usable());
    let unusable = || with("mx.example.com", set(&[&[1, 1, 1, 7], &[3, 1, 3, 7]]));
    let unknown = || HostRecords::Unknown("SERVFAIL".into());
    let all = [Enforced::No, Enforced::Listed, Enforced::NotListed];
    for policy in all {
        for strict in [false, true] {
            let told = |routing, records| told(routing, records, policy, strict);
            let which = if strict { "both" } else { "dane" };
            // MX and addresses are secure, and there are usable records: DANE alone, whatever the policy says.
            let names = "mx.example.com example.com";
            assert_eq!(told(Routing::Secure(mx()), dane()), format!("{which} {names}"));
            // An alias: where it leads comes first.
            let end = with("end.example.net", usable());
            assert_eq!(
                told(Routing::Secure(mx()), end),
                format!("{which} end.example.net {names}")
            );
            // The MX records are insecure: the policy says which names are not forged, and the next hop is no name.
            let expected = if policy == Enforced::NotListed {
                "sts".to_owned()
            } else {
                format!("{which} mx.example.com")
            };
            assert_eq!(told(Routing::Insecure(mx()), dane()), expected);
            // Records that nobody can use still ask for TLS.
            assert_eq!(told(Routing::Secure(mx()), unusable()), "tls mx.example.com");
            assert_eq!(told(Routing::Insecure(mx()), unusable()), "tls mx.example.com");
            // No records, proven or insecure.
            for routing in [Routing::Secure(mx()), Routing::Insecure(mx())] {
                for none in [HostRecords::Absent, HostRecords::Insecure] {
                    assert_eq!(told(routing.clone(), none), "sts");
                }
                // Never a fall-back.
                assert_eq!(told(routing, unknown()), "skip");
            }
            // A name that no secure MX record has; an insecure one may have been another a moment ago.
            let other = || vec![name("mx0.example.com")];
            assert_eq!(told(Routing::Secure(other()), dane()), "skip");
            assert_eq!(told(Routing::Secure(other()), HostRecords::Insecure), "skip");
            assert_eq!(told(Routing::Insecure(other()), HostRecords::Insecure), "sts");
            assert_eq!(told(Routing::Secure(Vec::new()), HostRecords::Absent), "skip");
            for records in [
                dane(),
                unusable(),
                unknown(),
                HostRecords::Absent,
                HostRecords::Insecure,
            ] {
                assert_eq!(told(Routing::Unknown("bogus".into()), records.clone()), "skip");
                assert_eq!(told(Routing::Absent, records), "skip");
            }
        }
    }
}

/// RFC 5321 5.1: without MX records the domain is its own host, and a forged absence would be bogus.
#[test]
fn a_domain_is_its_own_host_without_mx_records() {
    let host = name("example.com");
    let records = HostRecords::Records {
        base: host.clone(),
        records: usable(),
    };
    let facts = |records| Facts {
        domain: host.clone(),
        routing: Routing::Absent,
        hosts: vec![(host.clone(), records)],
        life: Duration::ZERO,
    };
    match way(&facts(records), &host, Enforced::No, false) {
        Way::Dane(asserted) => assert_eq!(asserted.names, std::slice::from_ref(&host)),
        other => panic!("{other:?}"),
    }
    assert_eq!(way(&facts(HostRecords::Insecure), &host, Enforced::No, false), Way::Sts);
}

#[test]
fn a_host_that_was_not_looked_up_is_skipped() {
    let facts = Facts {
        domain: name("example.com"),
        routing: Routing::Insecure(vec![name("mx.example.com")]),
        hosts: Vec::new(),
        life: Duration::ZERO,
    };
    let way = way(&facts, &name("mx.example.com"), Enforced::Listed, false);
    assert!(matches!(way, Way::SkipHost(_)), "{way:?}");
}
